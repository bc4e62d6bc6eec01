#include "network/few_inputs.hpp"

#include <algorithm>

#include "network/features.hpp"
#include "numerics/dispatch.hpp"

namespace spikedrf {

namespace {

// ---- C <- A B, or C + A B -----------------------------------------------------------------------
//
// B is one panel wide, so that a row of C is one register of AVX-512, two of AVX2. A[i, l] is at
// a[i * row + l * step]: A may be transposed.
template <class Real>
struct Left {
  const Real* a;
  Index row, step;
};

// Rows of C whose sums are in registers together. As many as AVX2 has room for; five and six keep
// the multipliers busy, which take four products that do not wait for each other.
constexpr Index kTogether = 6;

// The first product is not added to zeros: GCC would clear the sums by a call. They are a local
// array because it does not keep what it can reach by a pointer in registers.
template <Index together, bool add, class Real>
SPIKEDRF_INLINE void multiply(const Left<Real>& left, const Real* SPIKEDRF_RESTRICT b, Index length,
                              Index b_stride, Real* SPIKEDRF_RESTRICT c, Index c_stride) noexcept {
  constexpr Index width = panel_width<Real>;
  Real sum[together][width];
  for (Index r = 0; r < together; ++r) {
    const Real factor = left.a[r * left.row];
    SPIKEDRF_SIMD
    for (Index j = 0; j < width; ++j) {
      sum[r][j] = add ? c[r * c_stride + j] + factor * b[j] : factor * b[j];
    }
  }
  for (Index l = 1; l < length; ++l) {
    for (Index r = 0; r < together; ++r) {
      const Real factor = left.a[r * left.row + l * left.step];
      SPIKEDRF_SIMD
      for (Index j = 0; j < width; ++j) sum[r][j] += factor * b[l * b_stride + j];
    }
  }
  for (Index r = 0; r < together; ++r) {
    SPIKEDRF_SIMD
    for (Index j = 0; j < width; ++j) c[r * c_stride + j] = sum[r][j];
  }
}

// A few rows of C, as many as are left: no fewer together than need be.
template <bool add, class Real>
SPIKEDRF_INLINE void multiply_rows(Left<Real> left, Index rows, const Real* b, Index length,
                                   Index b_stride, Real* c, Index c_stride) noexcept {
  for (Index blocks = (rows + kTogether - 1) / kTogether; blocks > 0; --blocks) {
    const Index together = (rows + blocks - 1) / blocks;
    switch (together) {
      case 1: multiply<1, add>(left, b, length, b_stride, c, c_stride); break;
      case 2: multiply<2, add>(left, b, length, b_stride, c, c_stride); break;
      case 3: multiply<3, add>(left, b, length, b_stride, c, c_stride); break;
      case 4: multiply<4, add>(left, b, length, b_stride, c, c_stride); break;
      case 5: multiply<5, add>(left, b, length, b_stride, c, c_stride); break;
      default: multiply<kTogether, add>(left, b, length, b_stride, c, c_stride); break;
    }
    left.a += together * left.row;
    c += together * c_stride;
    rows -= together;
  }
}

// The preactivations of some rows, in whole panels.
template <class Real>
SPIKEDRF_INLINE void forward(const Real* x, const Real* panels, Real* z, Index rows, Index inputs,
                             Index cols, Index stride) noexcept {
  constexpr Index width = panel_width<Real>;
  for (Index i = 0; i < cols; i += width) {
    multiply_rows<false>(Left<Real>{x, inputs, 1}, rows, panels + i * inputs, inputs, width, z + i,
                         stride);
  }
}

// panels += (scaled^T slopes)^T, both of some rows.
template <class Real>
SPIKEDRF_INLINE void backward(const Real* scaled, const Real* slopes, Real* panels, Index rows,
                              Index inputs, Index cols, Index stride) noexcept {
  constexpr Index width = panel_width<Real>;
  for (Index i = 0; i < cols; i += width) {
    multiply_rows<true>(Left<Real>{scaled, 1, inputs}, inputs, slopes + i, rows, stride,
                        panels + i * inputs, width);
  }
}

// Multiversioned functions cannot be templates.
SPIKEDRF_MULTIVERSION
void do_forward(const double* x, const double* panels, double* z, Index rows, Index inputs,
                Index cols, Index stride) noexcept {
  forward(x, panels, z, rows, inputs, cols, stride);
}

SPIKEDRF_MULTIVERSION
void do_forward(const float* x, const float* panels, float* z, Index rows, Index inputs, Index cols,
                Index stride) noexcept {
  forward(x, panels, z, rows, inputs, cols, stride);
}

SPIKEDRF_MULTIVERSION
void do_backward(const double* scaled, const double* slopes, double* panels, Index rows,
                 Index inputs, Index cols, Index stride) noexcept {
  backward(scaled, slopes, panels, rows, inputs, cols, stride);
}

SPIKEDRF_MULTIVERSION
void do_backward(const float* scaled, const float* slopes, float* panels, Index rows, Index inputs,
                 Index cols, Index stride) noexcept {
  backward(scaled, slopes, panels, rows, inputs, cols, stride);
}

// ---- Tiles --------------------------------------------------------------------------------------

// Rows and columns of a tile of features, 40 KiB. Long rows: what is written to memory without a
// break is written twice as fast, and a call of `activate` is worth its while.
constexpr Index kTileRows = 5;
template <class Real>
constexpr Index kTileCols = 8192 / sizeof(Real);

// Rows whose slopes wait for their residuals, which need all columns.
constexpr Index kWaitingRows = 20;

// Of slopes: whole panels, and one more, lest all rows fall on the same lines of the cache.
Index slopes_stride(Index cols, Index size) noexcept {
  return panels_size(cols, 1, size) + panel_bytes / size;
}

}  // namespace

template <class Real>
void pack_panels(const Real* w, Index cols, Index inputs, Real* panels) noexcept {
  constexpr Index width = panel_width<Real>;
  std::fill_n(panels, panels_size(cols, inputs, sizeof(Real)), Real(0));
  for (Index i = 0; i < cols; ++i) {
    Real* const column = panels + i / width * inputs * width + i % width;
    for (Index k = 0; k < inputs; ++k) column[k * width] = w[i * inputs + k];
  }
}

template <class Real>
void few_input_features(Activation activation, const Real* x, const Real* panels, Real* out,
                        Index rows, Index inputs, Index cols) noexcept {
  constexpr Index stride = kTileCols<Real> + panel_width<Real>;
  alignas(64) Real tile[kTileRows * stride];
  for (Index m = 0; m < rows; m += kTileRows) {
    const Index high = std::min(kTileRows, rows - m);
    for (Index i = 0; i < cols; i += kTileCols<Real>) {
      const Index wide = std::min(kTileCols<Real>, cols - i);
      do_forward(x + m * inputs, panels + i * inputs, tile, high, inputs, wide, stride);
      for (Index r = 0; r < high; ++r) {
        activate(activation, tile + r * stride, out + (m + r) * cols + i, wide);
      }
    }
  }
}

Index scratch_size(Index cols, Index inputs, Index size) noexcept {
  return panels_size(cols, inputs, size) + kWaitingRows * (slopes_stride(cols, size) + inputs);
}

template <class Real>
void few_input_gradient(Activation activation, const Real* x, const Real* y, const Real* weight,
                        const Real* panels, const Real* u, Real* residual, Real* total,
                        Real* scratch, Index rows, Index inputs, Index cols) noexcept {
  constexpr Index width = panel_width<Real>;
  const Index stride = slopes_stride(cols, sizeof(Real));
  const Index size = panels_size(cols, inputs, sizeof(Real));
  Real* const sums = scratch;
  Real* const slopes = sums + size;
  Real* const scaled = slopes + kWaitingRows * stride;
  std::fill_n(sums, size, Real(0));
  for (Index m = 0; m < rows; m += kWaitingRows) {
    const Index high = std::min(kWaitingRows, rows - m);
    do_forward(x + m * inputs, panels, slopes, high, inputs, cols, stride);
    for (Index r = 0; r < high; ++r) {
      Real& here = residual[m + r];
      residual_and_slopes(activation, slopes + r * stride, y + m + r, u, &here, 1, cols);
      here *= weight[m + r];
      for (Index k = 0; k < inputs; ++k) scaled[r * inputs + k] = here * x[(m + r) * inputs + k];
    }
    do_backward(scaled, slopes, sums, high, inputs, cols, stride);
  }
  for (Index i = 0; i < cols; ++i) {
    const Real* const column = sums + i / width * inputs * width + i % width;
    for (Index k = 0; k < inputs; ++k) total[i * inputs + k] += column[k * width];
  }
}

template void pack_panels(const float*, Index, Index, float*) noexcept;
template void pack_panels(const double*, Index, Index, double*) noexcept;
template void few_input_features(Activation, const float*, const float*, float*, Index, Index,
                                 Index) noexcept;
template void few_input_features(Activation, const double*, const double*, double*, Index, Index,
                                 Index) noexcept;
template void few_input_gradient(Activation, const float*, const float*, const float*, const float*,
                                 const float*, float*, float*, float*, Index, Index,
                                 Index) noexcept;
template void few_input_gradient(Activation, const double*, const double*, const double*,
                                 const double*, const double*, double*, double*, double*, Index,
                                 Index, Index) noexcept;

}  // namespace spikedrf
