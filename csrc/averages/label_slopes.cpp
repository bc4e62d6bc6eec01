// How the averages of loss_averages.hpp depend on the labels: on the law of the target given kappa,
// the noise, the flips, and on the loss's parameter.
#include <cmath>

#include "averages/loss_averages.hpp"

namespace spikedrf {

LabelSlopes LossAverages::label_motion(const LabelTable& labels, Index node, double kappa,
                                       double gamma, double noise, double flip,
                                       const CavityField& field, const CavityField& motion) {
  branch(labels, node, noise, flip, field, true);
  average(field.V, true);
  const AlongGamma along_gamma(kappa, gamma);
  const bool signs = kind_ == LabelKind::sign;
  const bool margin = traits(loss_).margin;
  const double* const zetas = this->zeta(0);
  LabelSlopes sum;
  for (Index j = 0; j < count_; ++j) {
    const double sigma = margin ? label_[j] : 1.0;
    const double zeta = zetas[j];
    const double mu_dot = -sigma * (motion.mean + zeta * motion.s[0]);
    const double phi = row(kPhi)[j];
    const double slope = row(kSlope)[j];
    const double env_dot = -0.5 * row(kPhi2)[j] * motion.V + phi * mu_dot + 0.5 * slope * motion.t;
    const double phi_dot =
        -row(kPhiSlope)[j] * motion.V + slope * mu_dot + 0.5 * row(kBend)[j] * motion.t;
    const double by_zeta = -sigma * (motion.s[0] * phi + field.s[0] * phi_dot);
    sum.gamma += weight_[j] * along_gamma(zeta, env_dot, by_zeta);
    sum.unit += weight_[j] * sigma * label_[j] * phi_dot;
    sum.level += weight_[j] * (mu_dot - motion.V * phi - field.V * phi_dot);
    if (signs) {
      sum.noise += by_noise_[j] * env_dot;
      sum.flip += by_flip_[j] * env_dot;
    } else {
      const double slope_dot = -row(kPhiSlopeSlope)[j] * motion.V + row(kBend)[j] * mu_dot +
                               0.5 * row(kThird)[j] * motion.t;
      sum.noise += noise * weight_[j] * slope_dot;
    }
  }
  return sum;
}

NodeObjective LossAverages::objective(ObjectiveKind kind, const LabelTable& labels,
                                      Index node, double kappa, double gamma, double noise,
                                      double flip, const CavityField& field) {
  branch(labels, node, noise, flip, field, true);
  const bool error = kind == ObjectiveKind::error;
  if (!error) fresh_losses();
  const AlongGamma along_gamma(kappa, gamma);
  const bool signs = kind_ == LabelKind::sign;
  const bool margin = traits(loss_).margin;
  const double* const zetas = this->zeta(0);
  NodeObjective sum;
  for (Index j = 0; j < count_; ++j) {
    const double sigma = margin ? label_[j] : 1.0;
    const double zeta = zetas[j];
    const double value = error ? mu_[j] * mu_[j] + tau_ * tau_ : row(kThird)[j];
    const double force = error ? 2.0 * mu_[j] : row(kPhi)[j];
    const double curvature = error ? 2.0 : row(kSlope)[j];
    sum.value += weight_[j] * value;
    sum.mean -= weight_[j] * sigma * force;
    sum.s -= weight_[j] * sigma * zeta * force;
    sum.t += weight_[j] * 0.5 * curvature;
    sum.labels.gamma += weight_[j] * along_gamma(zeta, value, -sigma * field.s[0] * force);
    sum.labels.unit += weight_[j] * sigma * label_[j] * force;
    if (!error) sum.labels.level += weight_[j] * mu_[j];
    if (signs) {
      sum.labels.noise += by_noise_[j] * value;
      sum.labels.flip += by_flip_[j] * value;
    } else {
      sum.labels.noise += noise * weight_[j] * curvature;
    }
  }
  return sum;
}

}  // namespace spikedrf
