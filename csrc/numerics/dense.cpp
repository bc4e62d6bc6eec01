#include "numerics/dense.hpp"

#include <algorithm>
#include <cmath>

#include "numerics/dispatch.hpp"
#include "numerics/lanes.hpp"

namespace spikedrf {

static_assert(kWide == kLanes, "a block of columns is a vector");

// Blocks of four rows and kLanes columns stay in registers. The last block of either kind begins
// earlier than it might, and does some of the one before once more.
SPIKEDRF_MULTIVERSION
void multiply_wide(const double* a, const double* b, int rows, int inner, int cols, int stride,
                   double* out) noexcept {
  constexpr int kRows = 4;
  for (int row = 0; row < rows; row += kRows) {
    const double* left = a + std::min(row, rows - kRows) * stride;
    double* into = out + std::min(row, rows - kRows) * stride;
    for (int col = 0; col < cols; col += kLanes) {
      const int first = std::min(col, cols - kLanes);
      double sum0[kLanes] = {}, sum1[kLanes] = {}, sum2[kLanes] = {}, sum3[kLanes] = {};
      for (int i = 0; i < inner; ++i) {
        const double* right = b + i * stride + first;
        const double x0 = left[i], x1 = left[stride + i];
        const double x2 = left[2 * stride + i], x3 = left[3 * stride + i];
        SPIKEDRF_SIMD
        for (int j = 0; j < kLanes; ++j) {
          sum0[j] += x0 * right[j];
          sum1[j] += x1 * right[j];
          sum2[j] += x2 * right[j];
          sum3[j] += x3 * right[j];
        }
      }
      for (int j = 0; j < kLanes; ++j) {
        into[first + j] = sum0[j];
        into[stride + first + j] = sum1[j];
        into[2 * stride + first + j] = sum2[j];
        into[3 * stride + first + j] = sum3[j];
      }
    }
  }
}

namespace {

// Rows of whole vectors, so that none is loaded that was stored in parts.
constexpr int kMost = 48;

SPIKEDRF_INLINE int largest_below(const double* column, int stride, int col, int n) {
  int best = col;
  double size = std::fabs(column[col * stride]);
  for (int row = col + 1; row < n; ++row) {
    const double there = std::fabs(column[row * stride]);
    if (there > size) {
      size = there;
      best = row;
    }
  }
  return best;
}

}  // namespace

SPIKEDRF_MULTIVERSION
bool lu_factor_wide(double* a, int* pivot, int n) noexcept {
  alignas(64) double rows[kMost * kMost];
  const bool fits = n <= kMost;
  const int stride = fits ? (n + kLanes - 1) / kLanes * kLanes : n;
  double* work = fits ? rows : a;
  for (int row = 0; row < n && fits; ++row) {
    for (int j = 0; j < n; ++j) work[row * stride + j] = a[row * n + j];
    for (int j = n; j < stride; ++j) work[row * stride + j] = 0.0;
  }
  for (int col = 0; col < n; ++col) {
    const int best = largest_below(work + col, stride, col, n);
    pivot[col] = best;
    double* top = work + col * stride;
    if (best != col) {
      double* other = work + best * stride;
      for (int j = 0; j < stride; ++j) std::swap(top[j], other[j]);
      for (int j = 0; j < col && fits; ++j) std::swap(a[col * n + j], a[best * n + j]);
    }
    const double size = std::fabs(top[col]);
    if (!(size > 0.0) || !std::isfinite(size)) return false;
    const double inverse = 1.0 / top[col];
    const int begin = (col + 1) / kLanes * kLanes;
    for (int row = col + 1; row < n; ++row) {
      double* into = work + row * stride;
      const double factor = into[col] * inverse;
      if (fits) {
        for (int block = begin; block < stride; block += kLanes) {
          SPIKEDRF_SIMD
          for (int j = 0; j < kLanes; ++j) into[block + j] -= factor * top[block + j];
        }
      } else {
        SPIKEDRF_SIMD
        for (int j = col + 1; j < n; ++j) into[j] -= factor * top[j];
      }
      a[row * n + col] = factor;
    }
    for (int j = col + 1; j < n && fits; ++j) a[col * n + j] = top[j];
    a[col * n + col] = inverse;
  }
  return true;
}

}  // namespace spikedrf
