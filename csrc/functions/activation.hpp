// The named activations: values, derivatives, and what the theory wants to know of their shape.
//
// `activate` and `activate_derivative` are for whole arrays. A kernel that computes its argument on
// the fly, sigma(z + e * s * u) say, instantiates its own loop with one of the small types below:
//
//   struct Shifted {
//     const double* z; const double* u; double step; double* out; std::size_t n;
//     template <class Op> SPIKEDRF_INLINE void operator()(Op) const noexcept {
//       SPIKEDRF_SIMD
//       for (std::size_t i = 0; i < n; ++i) out[i] = Op::value(z[i] + step * u[i]);
//     }
//   };
//   SPIKEDRF_MULTIVERSION
//   void kernel(Activation a, ...) { visit_activation<double>(a, Shifted{...}); }
//
// Such a loop must expect NaN from sin and cos where the argument exceeds Op::max_argument.

#ifndef SPIKEDRF_ACTIVATION_HPP
#define SPIKEDRF_ACTIVATION_HPP

#include <cmath>
#include <cstddef>
#include <limits>

#include "numerics/dispatch.hpp"
#include "numerics/vector_math.hpp"

namespace spikedrf {

// The numbers are part of the interface with Python: append, never reorder.
enum class Activation : int {
  tanh,
  relu,
  erf,  // erf(x / sqrt 2)
  sin,
  cos,
  sigmoid,
  softplus,
  gelu,  // x Phi(x)
  silu,  // x sigmoid(x)
  leaky_relu,
  abs,
  sign,
  identity,
  hermite1,  // orthonormal under N(0, 1): hermite2 = (x^2 - 1) / sqrt 2
  hermite2,
  hermite3,
  hermite4,
  hermite5,
};
constexpr int activation_count = static_cast<int>(Activation::hermite5) + 1;

// The name used in Python, "?" for a value that is no activation.
const char* activation_name(Activation activation) noexcept;

// Out-of-place or in place (out == x); any other overlap is not allowed. Sin and cos are right for
// every argument, far ones slowly. The derivative at a kink: relu 0, abs 0, leaky_relu 0.01.
void activate(Activation activation, const double* x, double* out, std::size_t n) noexcept;
void activate(Activation activation, const float* x, float* out, std::size_t n) noexcept;
void activate_derivative(Activation activation, const double* x, double* out,
                         std::size_t n) noexcept;
void activate_derivative(Activation activation, const float* x, float* out,
                         std::size_t n) noexcept;

// ---- Shape --------------------------------------------------------------------------------------

// False for sign: its derivative is 0 almost everywhere, which is not E z sigma(z).
constexpr bool has_derivative(Activation a) noexcept { return a != Activation::sign; }

constexpr bool is_linear(Activation a) noexcept {
  return a == Activation::identity || a == Activation::hermite1;
}

// The derivative tends to 0 on that side: features of samples far out carry nothing but a constant.
constexpr bool saturates_right(Activation a) noexcept {
  return a == Activation::tanh || a == Activation::erf || a == Activation::sigmoid ||
         a == Activation::sign;
}
constexpr bool saturates_left(Activation a) noexcept {
  return saturates_right(a) || a == Activation::relu || a == Activation::softplus ||
         a == Activation::gelu || a == Activation::silu;
}

// Not smooth at 0.
constexpr bool has_kink(Activation a) noexcept {
  return a == Activation::relu || a == Activation::leaky_relu || a == Activation::abs ||
         a == Activation::sign;
}

constexpr bool oscillates(Activation a) noexcept {
  return a == Activation::sin || a == Activation::cos;
}

// n where |sigma(x)| grows like |x|^n (at its faster end), 0 for bounded.
constexpr int growth(Activation a) noexcept {
  if (a >= Activation::hermite1 && a <= Activation::hermite5) {
    return static_cast<int>(a) - static_cast<int>(Activation::hermite1) + 1;
  }
  return saturates_right(a) || oscillates(a) ? 0 : 1;
}

// f(-x) = sign f(x) + constant + slope x.
struct Reflection {
  double sign;
  double constant;
  double slope;
};
constexpr Reflection reflection(Activation a) noexcept {
  switch (a) {
    case Activation::relu:
    case Activation::softplus:
    case Activation::gelu:
    case Activation::silu:
      return {1.0, 0.0, -1.0};
    case Activation::leaky_relu:
      return {1.0, 0.0, -1.01};
    case Activation::sigmoid:
      return {-1.0, 1.0, 0.0};
    case Activation::cos:
    case Activation::abs:
    case Activation::hermite2:
    case Activation::hermite4:
      return {1.0, 0.0, 0.0};
    default:
      return {-1.0, 0.0, 0.0};
  }
}

// ---- One small type each ------------------------------------------------------------------------
//
// Branch-free, NaN in gives NaN out, the limits at +-infinity are right. Up to max_argument in
// magnitude a value is as accurate as vector_math.hpp says; beyond it, it is NaN. Derivatives are
// within 3 ulp, except where they have zeros away from 0: gelu' and silu' are within 2 ulp of 1 in
// absolute terms, Hermite polynomials within 4 ulp of their largest term.

template <class T>
struct OnWholeLine {
  static constexpr T max_argument = std::numeric_limits<T>::infinity();
};

template <class T>
SPIKEDRF_INLINE T keep_nan(T x, T otherwise) noexcept {
  return x != x ? x : otherwise;
}

template <class T>
struct TanhOp : OnWholeLine<T> {
  static SPIKEDRF_INLINE T value(T x) noexcept { return vmath::tanh(x); }
  // sech^2 from e = exp(-2|x|): 1 - tanh^2 would be 0 from |x| = 19 on.
  static SPIKEDRF_INLINE T derivative(T x) noexcept {
    const T y = T(-2) * vmath::magnitude(x);
    const T e = vmath::exp_in_range(y);
    return y < vmath::Format<T>::exp_min ? T(0) : T(4) * e / (T(1) + e * (T(2) + e));
  }
};

template <class T>
struct ReluOp : OnWholeLine<T> {
  static SPIKEDRF_INLINE T value(T x) noexcept { return x < T(0) ? T(0) : x; }
  static SPIKEDRF_INLINE T derivative(T x) noexcept {
    return keep_nan(x, x > T(0) ? T(1) : T(0));
  }
};

template <class T>
struct ErfOp : OnWholeLine<T> {
  static SPIKEDRF_INLINE T value(T x) noexcept { return vmath::erf_normal(x); }
  static SPIKEDRF_INLINE T derivative(T x) noexcept {
    return static_cast<T>(0.79788456080286536) * vmath::gaussian(x);
  }
};

template <class T>
struct SinOp {
  static constexpr T max_argument = vmath::Format<T>::trig_max;
  static SPIKEDRF_INLINE T value(T x) noexcept { return vmath::sin(x); }
  static SPIKEDRF_INLINE T derivative(T x) noexcept { return vmath::cos(x); }
  static T far_value(T x) noexcept { return std::sin(x); }
  static T far_derivative(T x) noexcept { return std::cos(x); }
};

template <class T>
struct CosOp {
  static constexpr T max_argument = vmath::Format<T>::trig_max;
  static SPIKEDRF_INLINE T value(T x) noexcept { return vmath::cos(x); }
  static SPIKEDRF_INLINE T derivative(T x) noexcept { return -vmath::sin(x); }
  static T far_value(T x) noexcept { return std::cos(x); }
  static T far_derivative(T x) noexcept { return -std::sin(x); }
};

template <class T>
struct SigmoidOp : OnWholeLine<T> {
  static SPIKEDRF_INLINE T value(T x) noexcept { return vmath::sigmoid(x); }
  static SPIKEDRF_INLINE T derivative(T x) noexcept {
    const T y = -vmath::magnitude(x);
    const T e = vmath::exp_in_range(y);
    return y < vmath::Format<T>::exp_min ? T(0) : e / (T(1) + e * (T(2) + e));
  }
};

template <class T>
struct SoftplusOp : OnWholeLine<T> {
  static SPIKEDRF_INLINE T value(T x) noexcept { return vmath::softplus(x); }
  static SPIKEDRF_INLINE T derivative(T x) noexcept { return vmath::sigmoid(x); }
};

template <class T>
struct GeluOp : OnWholeLine<T> {
  static SPIKEDRF_INLINE T value(T x) noexcept { return vmath::gelu(x); }
  static SPIKEDRF_INLINE T derivative(T x) noexcept {
    const T density = static_cast<T>(0.39894228040143268) * vmath::gaussian(x);
    return vmath::with_limits(x, vmath::Format<T>::normal_max, -T(0), T(1),
                              vmath::normal_cdf(x) + x * density);
  }
};

template <class T>
struct SiluOp : OnWholeLine<T> {
  static SPIKEDRF_INLINE T value(T x) noexcept { return vmath::silu(x); }
  // With e = exp(-|x|): (1 + e + x e) / (1 + e)^2 on the right, e (1 + e + x) / (1 + e)^2 on the
  // left.
  static SPIKEDRF_INLINE T derivative(T x) noexcept {
    const T e = vmath::exp_in_range(-vmath::magnitude(x));
    const T sum = (T(1) + e) + x * (x < T(0) ? T(1) : e);
    const T value = (x < T(0) ? e : T(1)) * (sum / (T(1) + e * (T(2) + e)));
    return vmath::with_limits(x, -vmath::Format<T>::exp_min, -T(0), T(1), value);
  }
};

template <class T>
struct LeakyReluOp : OnWholeLine<T> {
  static constexpr T slope = static_cast<T>(0.01);
  static SPIKEDRF_INLINE T value(T x) noexcept { return x > T(0) ? x : slope * x; }
  static SPIKEDRF_INLINE T derivative(T x) noexcept {
    return keep_nan(x, x > T(0) ? T(1) : slope);
  }
};

template <class T>
struct SignOp : OnWholeLine<T> {
  static SPIKEDRF_INLINE T value(T x) noexcept {
    return x > T(0) ? T(1) : (x < T(0) ? T(-1) : x);
  }
  static SPIKEDRF_INLINE T derivative(T x) noexcept { return keep_nan(x, T(0)); }
};

template <class T>
struct AbsOp : OnWholeLine<T> {
  static SPIKEDRF_INLINE T value(T x) noexcept { return vmath::magnitude(x); }
  static SPIKEDRF_INLINE T derivative(T x) noexcept { return SignOp<T>::value(x); }
};

// He_n(x) / sqrt(n!), written out: the three-term recurrence would carry the square roots along.
// The derivative of the n-th is sqrt(n) times the one before.
template <int degree, class T>
SPIKEDRF_INLINE T hermite(T x) noexcept {
  static_assert(degree >= 0 && degree <= 5);
  const T x2 = x * x;
  if constexpr (degree == 0) {
    return keep_nan(x, T(1));
  } else if constexpr (degree == 1) {
    return x;
  } else if constexpr (degree == 2) {
    return (x - T(1)) * (static_cast<T>(0.70710678118654752) * (x + T(1)));
  } else if constexpr (degree == 3) {
    return (static_cast<T>(0.40824829046386302) * x) * (x2 - T(3));
  } else if constexpr (degree == 4) {
    const T scale = static_cast<T>(0.20412414523193151);
    return (x2 - T(6)) * (scale * x2) + T(3) * scale;
  } else {
    return (static_cast<T>(0.091287092917527686) * x) * ((x2 - T(10)) * x2 + T(15));
  }
}

template <int degree, class T>
struct HermiteOp : OnWholeLine<T> {
  static constexpr T root_degree =
      static_cast<T>(degree == 1   ? 1.0
                     : degree == 2 ? 1.4142135623730951
                     : degree == 3 ? 1.7320508075688773
                     : degree == 4 ? 2.0
                                   : 2.2360679774997897);
  static SPIKEDRF_INLINE T value(T x) noexcept { return hermite<degree>(x); }
  static SPIKEDRF_INLINE T derivative(T x) noexcept {
    return root_degree * hermite<degree - 1>(x);
  }
};

// Value and derivative at once, for a pass that needs both. Where they are written in terms of the
// same exponential, or of the same sine and cosine, the compiler finds what they share; two of them
// must be told. Within 4 and 6 ulp.
template <class Op, class T>
SPIKEDRF_INLINE vmath::ValueAndSlope<T> value_and_slope(Op, T x) noexcept {
  return {Op::value(x), Op::derivative(x)};
}
template <class T>
SPIKEDRF_INLINE vmath::ValueAndSlope<T> value_and_slope(TanhOp<T>, T x) noexcept {
  return vmath::tanh_and_slope(x);
}
template <class T>
SPIKEDRF_INLINE vmath::ValueAndSlope<T> value_and_slope(ErfOp<T>, T x) noexcept {
  return vmath::erf_normal_and_slope(x);
}

// Calls visitor(Op{}) with the type of `activation`, and not at all for a value that is none.
template <class T, class Visitor>
SPIKEDRF_INLINE void visit_activation(Activation activation, const Visitor& visitor) noexcept {
  switch (activation) {
    case Activation::tanh:
      return visitor(TanhOp<T>{});
    case Activation::relu:
      return visitor(ReluOp<T>{});
    case Activation::erf:
      return visitor(ErfOp<T>{});
    case Activation::sin:
      return visitor(SinOp<T>{});
    case Activation::cos:
      return visitor(CosOp<T>{});
    case Activation::sigmoid:
      return visitor(SigmoidOp<T>{});
    case Activation::softplus:
      return visitor(SoftplusOp<T>{});
    case Activation::gelu:
      return visitor(GeluOp<T>{});
    case Activation::silu:
      return visitor(SiluOp<T>{});
    case Activation::leaky_relu:
      return visitor(LeakyReluOp<T>{});
    case Activation::abs:
      return visitor(AbsOp<T>{});
    case Activation::sign:
      return visitor(SignOp<T>{});
    case Activation::identity:
    case Activation::hermite1:
      return visitor(HermiteOp<1, T>{});
    case Activation::hermite2:
      return visitor(HermiteOp<2, T>{});
    case Activation::hermite3:
      return visitor(HermiteOp<3, T>{});
    case Activation::hermite4:
      return visitor(HermiteOp<4, T>{});
    case Activation::hermite5:
      return visitor(HermiteOp<5, T>{});
  }
}

}  // namespace spikedrf

#endif  // SPIKEDRF_ACTIVATION_HPP
