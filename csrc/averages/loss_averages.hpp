// The averages over (zeta, omega, y) at one node of kappa: the inner loops of theory.md, section
// 11.
//
// At fixed kappa the cavity field is omega = mean + s.zeta + sqrt(t) N(0, 1), zeta the latents
// beside kappa that labels depend on. Everything that the equations need is the gradient of one
// function, the average Moreau envelope
//
//   env(V, mean, s, t) = E min_h [ loss(y, h) + (h - omega)^2 / (2 V) ],
//   d/dV = -E f^2 / 2,   d/dmean = -E f,   d/ds = -E zeta f,   d/dt = -E f' / 2,
//
// and Newton's method its Hessian. Given zeta and the label, x = sigma (y - omega) is N(mu, tau^2)
// (loss.hpp), and env is a sum of e(V, mu, tau^2) = E of the envelope at x, whose derivatives are
// Gaussian averages of products of phi and its derivatives: by the heat equation d/dtau^2 is half
// the second derivative in mu, and d phi/dV = -phi phi'. So nothing is ever differenced.
#pragma once

#include <cmath>

#include "averages/ramp_averages.hpp"
#include "functions/loss.hpp"
#include "numerics/array.hpp"
#include "tables/labels.hpp"

namespace spikedrf {

// What the averages depend on.
struct CavityField {
  double V, mean, t;
  double s[kMostLabelDirections];
};

// The same, by number; kS is the first of those that belong to the directions of zeta.
enum Channel { kV, kT, kMean, kS };
constexpr int kChannels = kS + kMostLabelDirections;

// First derivatives as in the equations, then the Hessian of env by channels.
struct EnvelopeSums {
  double f = 0.0;                             // E f
  double zeta_f[kMostLabelDirections] = {};   // E zeta f
  double f2 = 0.0;                            // E f^2
  double slope = 0.0;                         // -E f' = the second derivative in mean
  double second[kChannels][kChannels] = {};

  // The derivative of env by a channel.
  double first(int channel) const {
    switch (channel) {
      case kV:
        return -0.5 * f2;
      case kT:
        return 0.5 * slope;
      case kMean:
        return -f;
      default:
        return -zeta_f[channel - kS];
    }
  }
  // Where the mean and the labels have the opposite sign.
  EnvelopeSums turned() const {
    EnvelopeSums result = *this;
    result.f = -f;
    for (int channel = 0; channel < kChannels; ++channel) {
      if (channel == kMean) continue;
      result.second[kMean][channel] = result.second[channel][kMean] = -second[kMean][channel];
    }
    return result;
  }
  // Of `weight` times the loss, where these are those of the loss itself at weight V.
  void weigh(double weight);
};

// What is reported of the readout, given kappa.
struct Outcome {
  double test_error = 0.0;   // of real labels E (y - omega)^2
  double train_error = 0.0;  // the same with h in place of omega
  double test_loss = 0.0;
  double train_loss = 0.0;
  double test_margin = 0.0;  // E y omega
  double train_margin = 0.0;
  // Rates of wrong signs of labels +-1 on this node, NaN for others. Where the field is narrow they
  // take rules that resolve its steps: sign_rates.hpp.
  double wrong = 0.0;
  double train_wrong = 0.0;

  void add(double weight, const Outcome& other);
};

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
  // Smooth losses are averaged to the digits that an answer of this accuracy needs.
  LossAverages(Loss loss, LabelKind kind, double rtol);

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
  void average(double V, bool hessian);
  void fresh_losses();  // loss', loss'' and loss as the rows kPhi, kSlope and kThird
  void average_smooth(double V, bool hessian, bool losses);
  // Whether the density of x is laid on a grid, rather than phi averaged for every entry.
  bool on_grid(const LabelTable& labels) const {
    return !traits(loss_).broken_line && labels.directions() == 1;
  }
  EnvelopeSums sum_smooth(double V, bool hessian);
  void sum_outcome(double V, Outcome& result);
  // The points on which phi is averaged: on a uniform grid, on panels, or three for each mu.
  enum class Grid { uniform, panels, three };
  Grid lay_grid(double V, bool fresh);
  void lay_uniform(double strip, double reach);
  bool spread_signs(const LabelTable& labels, Index node, double flip, const CavityField& field,
                    bool fresh);
  void spread(Grid grid, bool hessian);
  PhiRows phi_on_grid(double V);
  double* row(int i) { return rows_.data() + i * capacity_; }
  double* zeta(int axis) { return zeta_.data() + axis * capacity_; }
  void rates(const CavityField& field, Outcome& result);

  Loss loss_;
  LabelKind kind_;
  // The entries: mean of x, its standard deviation, weight, weight times sigma, zeta, label.
  Index count_ = 0, capacity_ = 0;
  double tau_ = 0.0;
  int directions_ = 0;  // of zeta, each with a row of entries
  Array<double> mu_, weight_, signed_, zeta_, label_, rows_;
  Array<double> by_noise_, by_flip_;  // of the weights, if wanted
  double exponent_, cutoff_;  // Gaussian weights are e^-exponent at the cutoff
  // The pieces of a uniform grid: number of the first point in steps, its place in x_.
  struct Piece {
    double step;
    Index place;
  };
  double origin_ = 0.0, step_ = 0.0;
  Array<Piece> pieces_;
  // The density of x on the grid: for each label the weight, times zeta, times zeta^2; and what is
  // needed to spread it.
  Array<double> density_, profile_, offset_, zeta_weight_;
  Array<Index> place_, places_;
  // The grid for smooth losses: points x, quadrature weights, and phi and products of it there.
  Array<double> sorted_, x_, quadrature_, phi_rows_, products_;
};

}  // namespace spikedrf
