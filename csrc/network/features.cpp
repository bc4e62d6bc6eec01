#include "network/features.hpp"

#include <algorithm>
#include <limits>

#include "functions/activation.hpp"
#include "numerics/dispatch.hpp"
#include "numerics/vector_math.hpp"

namespace spikedrf {

namespace {

// Arguments are formed in a buffer of this many elements, which never leaves the nearest cache.
constexpr Index chunk_size = 256;

// Sin and cos are vectorised up to max_argument; elements beyond it are done one by one. For every
// other activation max_argument is infinite and nothing is left of this test.
template <class Op, class Real>
SPIKEDRF_INLINE bool any_far(const Real* x, Index n) noexcept {
  int far = 0;
  if constexpr (Op::max_argument < std::numeric_limits<Real>::infinity()) {
    SPIKEDRF_SIMD_REDUCTION(|, far)
    for (Index i = 0; i < n; ++i) far |= vmath::magnitude(x[i]) > Op::max_argument ? 1 : 0;
  }
  return far != 0;
}

template <class Op, class Real>
SPIKEDRF_INLINE void value_of_chunk(const Real* x, Real* out, Index n) noexcept {
  SPIKEDRF_SIMD
  for (Index i = 0; i < n; ++i) out[i] = Op::value(x[i]);
  if constexpr (Op::max_argument < std::numeric_limits<Real>::infinity()) {
    if (!any_far<Op>(x, n)) return;
    for (Index i = 0; i < n; ++i) {
      if (vmath::magnitude(x[i]) > Op::max_argument) out[i] = Op::far_value(x[i]);
    }
  }
}

template <class Real>
SPIKEDRF_INLINE bool all_finite(const Real* x, Index n) noexcept {
  int bad = 0;
  SPIKEDRF_SIMD_REDUCTION(|, bad)
  for (Index i = 0; i < n; ++i) {
    bad |= vmath::magnitude(x[i]) <= std::numeric_limits<Real>::max() ? 0 : 1;
  }
  return bad == 0;
}

template <class Real>
struct SpikeRow {
  const Real* z;
  const Real* u;
  Real shift;
  Real* out;
  Index n;

  template <class Op>
  SPIKEDRF_INLINE void operator()(Op) const noexcept {
    if constexpr (Op::max_argument < std::numeric_limits<Real>::infinity()) {
      Real argument[chunk_size];
      for (Index start = 0; start < n; start += chunk_size) {
        const Index size = std::min(chunk_size, n - start);
        SPIKEDRF_SIMD
        for (Index i = 0; i < size; ++i) argument[i] = z[start + i] + shift * u[start + i];
        value_of_chunk<Op>(argument, out + start, size);
      }
    } else {
      SPIKEDRF_SIMD
      for (Index i = 0; i < n; ++i) out[i] = Op::value(z[i] + shift * u[i]);
    }
  }
};

// z <- sigma'(z), and sum_i u[i] sigma(z[i]): chunks are summed in the working precision,
// vectorised, their totals in double, so that the error does not grow with the width.
template <class Real>
struct OutputAndSlopes {
  Real* z;
  const Real* u;
  double* total;
  Index n;

  template <class Op>
  SPIKEDRF_INLINE void operator()(Op) const noexcept {
    double sum = 0.0;
    for (Index start = 0; start < n; start += chunk_size) {
      const Index size = std::min(chunk_size, n - start);
      sum += static_cast<double>(chunk(Op{}, z + start, u + start, size));
    }
    *total = sum;
  }

  template <class Op>
  static SPIKEDRF_INLINE Real chunk(Op, Real* x, const Real* weight, Index size) noexcept {
    Real sum = 0;
    if constexpr (Op::max_argument < std::numeric_limits<Real>::infinity()) {
      if (any_far<Op>(x, size)) {
        for (Index i = 0; i < size; ++i) {
          const bool far = vmath::magnitude(x[i]) > Op::max_argument;
          sum += weight[i] * (far ? Op::far_value(x[i]) : Op::value(x[i]));
          x[i] = far ? Op::far_derivative(x[i]) : Op::derivative(x[i]);
        }
        return sum;
      }
    }
    SPIKEDRF_SIMD_REDUCTION(+, sum)
    for (Index i = 0; i < size; ++i) {
      const vmath::ValueAndSlope<Real> at = Op::both(x[i]);
      sum += weight[i] * at.value;
      x[i] = at.slope;
    }
    return sum;
  }
};

// A row each: multiversioned functions cannot be templates, so every precision has its own.
template <class Real>
SPIKEDRF_INLINE bool spike_row(Activation activation, const SpikeRow<Real>& row) noexcept {
  if (!all_finite(row.z, row.n)) return false;
  visit_activation<Real>(activation, row);
  return true;
}

template <class Real>
SPIKEDRF_INLINE Real residual_row(Activation activation, Real* z, Real y, const Real* u,
                                  Index n) noexcept {
  double total = 0.0;
  visit_activation<Real>(activation, OutputAndSlopes<Real>{z, u, &total, n});
  return static_cast<Real>(y - total / static_cast<double>(n));
}

SPIKEDRF_MULTIVERSION
bool do_spike_row(Activation activation, const SpikeRow<double>& row) noexcept {
  return spike_row(activation, row);
}

SPIKEDRF_MULTIVERSION
bool do_spike_row(Activation activation, const SpikeRow<float>& row) noexcept {
  return spike_row(activation, row);
}

SPIKEDRF_MULTIVERSION
double do_residual_row(Activation activation, double* z, double y, const double* u,
                       Index n) noexcept {
  return residual_row(activation, z, y, u, n);
}

SPIKEDRF_MULTIVERSION
float do_residual_row(Activation activation, float* z, float y, const float* u, Index n) noexcept {
  return residual_row(activation, z, y, u, n);
}

}  // namespace

template <class Real>
Index spike_features(Activation activation, const Real* z, const Real* s, const Real* u, Real eta,
                     Real* out, Index rows, Index cols) noexcept {
  for (Index m = 0; m < rows; ++m) {
    const Index at = m * cols;
    if (!do_spike_row(activation, SpikeRow<Real>{z + at, u, eta * s[m], out + at, cols})) return m;
  }
  return rows;
}

template <class Real>
void residual_and_slopes(Activation activation, Real* z, const Real* y, const Real* u,
                         Real* residual, Index rows, Index cols) noexcept {
  for (Index m = 0; m < rows; ++m) {
    residual[m] = do_residual_row(activation, z + m * cols, y[m], u, cols);
  }
}

template Index spike_features(Activation, const float*, const float*, const float*, float, float*,
                              Index, Index) noexcept;
template Index spike_features(Activation, const double*, const double*, const double*, double,
                              double*, Index, Index) noexcept;
template void residual_and_slopes(Activation, float*, const float*, const float*, float*, Index,
                                  Index) noexcept;
template void residual_and_slopes(Activation, double*, const double*, const double*, double*, Index,
                                  Index) noexcept;

}  // namespace spikedrf
