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

class LossAverages {
 public:
  LossAverages(Loss loss, LabelKind kind);

  // Without `hessian` only the first four sums.
  EnvelopeSums envelope(const LabelTable& labels, Index node, double noise, double flip,
                        const CavityField& field, bool hessian);
  Outcome outcome(const LabelTable& labels, Index node, double noise, double flip,
                  const CavityField& field);

 private:
  // Rows of averages over x ~ N(mu, tau^2), one entry for each zeta and label.
  enum Row { kPhi, kSlope, kPhi2, kBend, kThird, kPhiSlope, kPhiSlopeSlope, kPhi2Slope, kRows };
  PhiAverages averages() {
    return {row(kPhi),   row(kSlope),    row(kPhi2),          row(kBend),
            row(kThird), row(kPhiSlope), row(kPhiSlopeSlope), row(kPhi2Slope)};
  }

  void branch(const LabelTable& labels, Index node, double noise, double flip,
              const CavityField& field);
  void average_smooth(double V, bool hessian, bool losses);
  bool lay_grid(double V);
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
  // The grid for smooth losses: points x, quadrature weights, and phi and products of it there.
  Array<double> sorted_, x_, quadrature_, phi_rows_, products_;
};

}  // namespace spikedrf
