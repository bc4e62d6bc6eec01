// Gaussian moments of the analytic activations that have no closed form: quadrature over z, to full
// precision.
#pragma once

#include "functions/activation.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

struct MomentSlopes;

// The Hermite expansion of f(mean + sd z), as GaussianMoments::evaluate (moments.hpp) has it; sd >
// 0.
class AnalyticMoments {
 public:
  explicit AnalyticMoments(Activation activation) : activation_(activation) {}

  void evaluate(const double* mean, Index n, double sd, double* e0, double* e1, double* e2,
                const MomentSlopes* slopes);

 private:
  void make_grid(double sd);
  bool make_lattice(const double* mean, Index n, double sd);
  void make_panels(double mean, double sd);

  Activation activation_;
  // Scratch, kept between calls. A rule in z; a uniform one has z = 0 in the middle, and may move.
  double spacing_ = 0.0;
  Array<double> z_, weight_, value_, shifted_z_, shifted_weight_;
  // The function at the integers from `first_` on, times sd spacing_; and where on it the means
  // are.
  double first_ = 0.0;
  Array<double> lattice_, nearest_, e_, q_, scale_;
};

}  // namespace spikedrf
