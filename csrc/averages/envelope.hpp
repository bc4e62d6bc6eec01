// What the averages of theory.md, section 11, depend on and what they are: the derivatives of the
// average Moreau envelope.
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
    if (channel >= kS) return -zeta_f[channel - kS];
    return channel == kV ? -0.5 * f2 : channel == kT ? 0.5 * slope : -f;
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
  void weigh(double weight) {
    f *= weight;
    f2 *= weight * weight;
    slope *= weight;
    for (double& entry : zeta_f) entry *= weight;
    for (int a = 0; a < kChannels; ++a) {
      for (int b = 0; b < kChannels; ++b) {
        second[a][b] *= weight * (a == kV ? weight : 1.0) * (b == kV ? weight : 1.0);
      }
    }
  }
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

  void add(double weight, const Outcome& other) {
    test_error += weight * other.test_error;
    train_error += weight * other.train_error;
    test_loss += weight * other.test_loss;
    train_loss += weight * other.train_loss;
    test_margin += weight * other.test_margin;
    train_margin += weight * other.train_margin;
    wrong += weight * other.wrong;
    train_wrong += weight * other.train_wrong;
  }
};

}  // namespace spikedrf
