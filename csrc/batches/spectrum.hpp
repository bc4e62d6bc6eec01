// The spectrum of Phi^T Phi / p, Phi the learned features, at batches of points z (theory.md,
// section 7): Stieltjes transform, cumulative distribution, and what isolated eigenvalues solve.
#pragma once

#include <cstddef>
#include <cstdint>

#include "batches/solver.hpp"

namespace spikedrf {

// Sorted by spike, and best along the real axis: each point starts from its neighbour's root.
struct SpectralPoints {
  std::size_t count;
  const std::int64_t* spike;
  const double* alpha;  // > 0, finite
  const double* beta;   // > 0
  const double* z;      // count x 2: real and imaginary part >= 0; on the real axis the limit
};

struct SpectralResults {
  double* V2;     // count x K x 2, sums to the Stieltjes transform
  double* slope;  // count x K x 2, dV2/dz
  double* cumulative;  // share of the eigenvalues <= z on the real axis, NaN above it
  double* mean;        // of the eigenvalues: the trace
  double* form;        // null, or count x 2K x 2K: see isolated_form; NaN inside the support
  std::int32_t* status;
  std::int32_t* nit;
  std::int64_t* nodes;
  double* residual;
  double* quadrature_error;
};

// False if the activation could not be evaluated (the results are then incomplete).
bool spectrum(const Spikes& spikes, const SpectralPoints& points, GaussianMoments& activation,
              Accuracy accuracy, const SpectralResults& results);

}  // namespace spikedrf
