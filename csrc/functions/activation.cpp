#include "functions/activation.hpp"

#include <algorithm>
#include <limits>

#include "numerics/dispatch.hpp"
#include "numerics/vector_math.hpp"

namespace spikedrf {

namespace {

template <class Op>
struct ValueOf {
  template <class T>
  static SPIKEDRF_INLINE T inside(T x) noexcept {
    return Op::value(x);
  }
  template <class T>
  static T outside(T x) noexcept {
    return Op::far_value(x);
  }
};

template <class Op>
struct DerivativeOf {
  template <class T>
  static SPIKEDRF_INLINE T inside(T x) noexcept {
    return Op::derivative(x);
  }
  template <class T>
  static T outside(T x) noexcept {
    return Op::far_derivative(x);
  }
};

// Elements beyond max_argument are computed again, one by one, from a copy made before the block
// may be overwritten; the others get the same bits whatever their neighbours are.
template <class Function, class T>
SPIKEDRF_INLINE void apply_in_blocks(const T* x, T* out, Index n, T max_argument) noexcept {
  constexpr Index block = 256;
  T copy[block];
  for (Index start = 0; start < n; start += block) {
    const Index size = std::min(block, n - start);
    const T* const from = x + start;
    T* const to = out + start;
    int any_outside = 0;
    SPIKEDRF_SIMD_REDUCTION(|, any_outside)
    for (Index i = 0; i < size; ++i) {
      any_outside |= vmath::magnitude(from[i]) > max_argument ? 1 : 0;
    }
    if (any_outside != 0) std::copy(from, from + size, copy);
    SPIKEDRF_SIMD
    for (Index i = 0; i < size; ++i) to[i] = Function::inside(from[i]);
    if (any_outside != 0) {
      for (Index i = 0; i < size; ++i) {
        if (vmath::magnitude(copy[i]) > max_argument) to[i] = Function::outside(copy[i]);
      }
    }
  }
}

// One loop per activation, inlined into the multiversioned functions below.
template <template <class> class FunctionOf, class T>
struct Apply {
  const T* x;
  T* out;
  Index n;

  template <class Op>
  SPIKEDRF_INLINE void operator()(Op) const noexcept {
    using Function = FunctionOf<Op>;
    if constexpr (Op::max_argument < std::numeric_limits<T>::infinity()) {
      apply_in_blocks<Function>(x, out, n, Op::max_argument);
    } else {
      SPIKEDRF_SIMD
      for (Index i = 0; i < n; ++i) out[i] = Function::inside(x[i]);
    }
  }
};

}  // namespace

SPIKEDRF_MULTIVERSION
void activate(Activation activation, const double* x, double* out, Index n) noexcept {
  visit_activation<double>(activation, Apply<ValueOf, double>{x, out, n});
}

SPIKEDRF_MULTIVERSION
void activate(Activation activation, const float* x, float* out, Index n) noexcept {
  visit_activation<float>(activation, Apply<ValueOf, float>{x, out, n});
}

SPIKEDRF_MULTIVERSION
void activate_derivative(Activation activation, const double* x, double* out, Index n) noexcept {
  visit_activation<double>(activation, Apply<DerivativeOf, double>{x, out, n});
}

SPIKEDRF_MULTIVERSION
void activate_derivative(Activation activation, const float* x, float* out, Index n) noexcept {
  visit_activation<float>(activation, Apply<DerivativeOf, float>{x, out, n});
}

}  // namespace spikedrf
