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

// The same with `count` rows z, z + n, ...: of the products x y there is one for two or four.
// Written out: of a loop over the rows GCC keeps the sums in memory, a tenth of a point of two
// groups.
SPIKEDRF_INLINE void dot_rows(const double* x, const double* y, const double* z, Index n, int count,
                              double* out) {
  for (; count >= 4; count -= 4, z += 4 * n, out += 4) {
    double lane0[kLanes] = {}, lane1[kLanes] = {}, lane2[kLanes] = {}, lane3[kLanes] = {};
    for (Index i = 0; i < n; i += kLanes) {
      SPIKEDRF_SIMD
      for (int j = 0; j < kLanes; ++j) {
        const double product = x[i + j] * y[i + j];
        lane0[j] += product * z[i + j];
        lane1[j] += product * z[n + i + j];
        lane2[j] += product * z[2 * n + i + j];
        lane3[j] += product * z[3 * n + i + j];
      }
    }
    out[0] = collect(lane0);
    out[1] = collect(lane1);
    out[2] = collect(lane2);
    out[3] = collect(lane3);
  }
  if (count >= 2) {
    double lane0[kLanes] = {}, lane1[kLanes] = {};
    for (Index i = 0; i < n; i += kLanes) {
      SPIKEDRF_SIMD
      for (int j = 0; j < kLanes; ++j) {
        const double product = x[i + j] * y[i + j];
        lane0[j] += product * z[i + j];
        lane1[j] += product * z[n + i + j];
      }
    }
    out[0] = collect(lane0);
    out[1] = collect(lane1);
    count -= 2, z += 2 * n, out += 2;
  }
  if (count == 1) *out = dot(x, y, z, n);
}

}  // namespace spikedrf
