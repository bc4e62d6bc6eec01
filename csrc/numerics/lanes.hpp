// Sums over nodes that the compiler vectorises: one accumulator per lane, so that nothing needs to
// be reassociated. The number of nodes is a multiple of the lane count.
#pragma once

#include "numerics/array.hpp"
#include "numerics/dispatch.hpp"

namespace spikedrf {

constexpr int kLanes = 8;

SPIKEDRF_INLINE double collect(const double* lane) {
  return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

SPIKEDRF_INLINE double dot(const double* x, const double* y, Index n) {
  double lane[kLanes] = {};
  for (Index i = 0; i < n; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) lane[j] += x[i + j] * y[i + j];
  }
  return collect(lane);
}

SPIKEDRF_INLINE double dot(const double* x, const double* y, const double* z, Index n) {
  double lane[kLanes] = {};
  for (Index i = 0; i < n; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) lane[j] += x[i + j] * y[i + j] * z[i + j];
  }
  return collect(lane);
}

}  // namespace spikedrf
