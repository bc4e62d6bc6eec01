// The averages over (zeta, omega, y) at one node of kappa: the inner loops of theory.md, section
// 11 (envelope.hpp).
#pragma once

#include <cmath>

#include "averages/envelope.hpp"
#include "averages/field_density.hpp"
#include "averages/phi_grid.hpp"
#include "averages/ramp_averages.hpp"
#include "functions/loss.hpp"
#include "numerics/array.hpp"
#include "tables/labels.hpp"

namespace spikedrf {

// Derivatives by what the labels and the loss depend on besides the field: gamma at fixed kappa,
// the noise, the share of labels turned around, the logarithm of the unit of the labels (noise
// left alone), the level of a quantile.
struct LabelSlopes {
  double gamma = 0.0, noise = 0.0, flip = 0.0, unit = 0.0, level = 0.0;

  void add(double weight, const LabelSlopes& other) {
    gamma += weight * other.gamma;
    noise += weight * other.noise;
    flip += weight * other.flip;
    unit += weight * other.unit;
    level += weight * other.level;
  }
};

// Averages over zeta, differentiated by gamma. Given kappa the target's argument is
// u = gamma kappa + sd zeta, sd^2 = 1 - gamma^2. What is averaged depends on u through the label
// and on zeta through the field, so at fixed u
//
//   d/dgamma E F(y(u), zeta) = E [ zeta' (dF/dzeta - zeta F) + (gamma/sd^2) F ],
//   zeta' = dzeta/dgamma = -kappa/sd + gamma zeta/sd^2 :
//
// no derivative of the target is needed, which may have kinks and jumps.
class AlongGamma {
 public:
  AlongGamma(double kappa, double gamma)
      : gamma_(gamma),
        variance_((1.0 - gamma) * (1.0 + gamma)),
        shift_(kappa / std::sqrt(variance_)) {}

  // Of one zeta, from F and dF/dzeta at a fixed label.
  double operator()(double zeta, double value, double by_zeta) const {
    const double moves = gamma_ * zeta / variance_ - shift_;
    return moves * (by_zeta - zeta * value) + gamma_ / variance_ * value;
  }

 private:
  double gamma_, variance_, shift_;
};

// What is differentiated, at one node of kappa: its value, and its derivatives by the field and by
// the labels.
struct NodeObjective {
  double value = 0.0;
  double mean = 0.0, s = 0.0, t = 0.0;
  LabelSlopes labels;
};

enum class ObjectiveKind : int {
  error,  // the mean square of real labels, of signs the rate of wrong ones
  loss,   // of fresh samples
};

class LossAverages {
 public:
  // Smooth losses are averaged to the digits that an answer of this accuracy needs. Rates of wrong
  // signs are a part of the outcome only if asked for.
  LossAverages(Loss loss, LabelKind kind, double rtol, bool with_rates);

  // Without `hessian` only the first four sums.
  EnvelopeSums envelope(const LabelTable& labels, Index node, double noise, double flip,
                        const CavityField& field, bool hessian);
  Outcome outcome(const LabelTable& labels, Index node, double noise, double flip,
                  const CavityField& field);

  // At `gamma` and this kappa: how the derivatives of env by the labels move when the field does.
  LabelSlopes label_motion(const LabelTable& labels, Index node, double kappa, double gamma,
                           double noise, double flip, const CavityField& field,
                           const CavityField& motion);
  // The mean square error of real labels, or the loss, of fresh samples.
  NodeObjective objective(ObjectiveKind kind, const LabelTable& labels, Index node,
                          double kappa, double gamma, double noise, double flip,
                          const CavityField& field);

 private:
  // Rows of averages over x ~ N(mu, tau^2), one entry for each zeta and label.
  enum Row { kPhi, kSlope, kPhi2, kBend, kThird, kPhiSlope, kPhiSlopeSlope, kPhi2Slope, kRows };
  PhiAverages averages() {
    return {row(kPhi),   row(kSlope),    row(kPhi2),          row(kBend),
            row(kThird), row(kPhiSlope), row(kPhiSlopeSlope), row(kPhi2Slope)};
  }

  void branch(const LabelTable& labels, Index node, double noise, double flip,
              const CavityField& field, bool differentiate = false);
  void drop_negligible(Index from);
  void average(double V, bool hessian);
  void fresh_losses();  // loss', loss'' and loss as the rows kPhi, kSlope and kThird
  void average_smooth(double V, bool hessian, bool losses);
  // Whether the density of x is laid on a grid, rather than phi averaged for every entry.
  bool on_grid(const LabelTable& labels) const {
    return !traits(loss_).broken_line && labels.directions() == 1;
  }
  FieldEntries entries() {
    return {mu_.data(), weight_.data(), zeta(0), label_.data(), ups_, count_, tau_};
  }
  double* row(int i) { return rows_.data() + i * capacity_; }
  double* zeta(int axis) { return zeta_.data() + axis * capacity_; }
  void rates(const CavityField& field, Outcome& result);

  Loss loss_;
  LabelKind kind_;
  bool with_rates_;
  // The entries: mean of x, its standard deviation, weight, weight times sigma, zeta, label.
  Index count_ = 0, ups_ = 0, capacity_ = 0;  // `ups_` of them, the first, not of labels -1
  double tau_ = 0.0;
  int directions_ = 0;  // of zeta, each with a row of entries
  Array<double> mu_, weight_, signed_, zeta_, label_, rows_;
  Array<double> by_noise_, by_flip_;  // of the weights, if wanted
  Array<double> products_;
  PhiGrid grid_;
  FieldDensity density_;
};

}  // namespace spikedrf
