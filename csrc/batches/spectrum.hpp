// The spectrum of Phi^T Phi / p, Phi the learned features, at batches of points z (theory.md,
// section 7): Stieltjes transform, cumulative distribution, and what isolated eigenvalues solve.
#pragma once

#include <cstdint>

#include "batches/problem.hpp"

namespace spikedrf {

struct Transforms {
  double* V2;          // count x K x 2, sums to the Stieltjes transform
  double* slope;       // count x K x 2, dV2/dz
  double* cumulative;  // share of the eigenvalues <= z on the real axis, NaN above it
  double* residual;
  double* quadrature_error;
  double* mean;  // of the eigenvalues: the trace
  double* form;  // null, or a square for each point, see isolated_form; NaN inside the support
  std::int32_t* status;
  std::int32_t* nit;
  std::int64_t* nodes;
};

// False if the activation could not be evaluated (the results are then incomplete).
bool spectrum(const Problem& problem, const Points& points, const Transforms& results);

}  // namespace spikedrf
