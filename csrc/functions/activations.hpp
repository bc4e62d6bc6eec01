// The named activations, one type each, and their list. To add one is to write its type here.
//
// A type says, in its base classes or itself,
//
//   name, formula   as Python and the documentation have them (the formula in Python's notation)
//   symmetry        what it is in the mirror: f(-x) = sign f(x) + constant + slope x
//   at 0            smooth, with a kink, with a jump, or straight altogether
//   far out         growth n (|f| grows like |x|^n at its faster end, 0 for bounded); on which side
//                   its derivative dies out: features of samples far out are constant there
//   Op<T>           values for whole arrays in double or float
//   closed_form     moments(s): a function of the mean m with the Moment of f(m + s z); otherwise
//                   strip, the distance of the nearest singularity from the real axis, 0 for an
//                   entire function that grows like a Gaussian along the imaginary axis
//
// Nothing has a default: what is missing does not compile.
//
// Op is branch-free; NaN in gives NaN out, the limits at +-infinity are right. Up to max_argument
// in magnitude a value is as accurate as vector_math.hpp says; beyond it, it is NaN, and far_value
// and far_derivative have to be called. Derivatives are within 3 ulp, except where they have zeros
// away from 0: gelu' and silu' are within 2 ulp of 1 in absolute terms, Hermite polynomials within
// 4 ulp of their largest term. At a kink the derivative is 0 (relu, abs) or that on the left.
#pragma once

#include <cmath>
#include <limits>

#include "functions/closed_moments.hpp"
#include "functions/types.hpp"
#include "numerics/dispatch.hpp"
#include "numerics/vector_math.hpp"

namespace spikedrf {

// f(-x) = sign f(x) + constant + slope x.
struct Reflection {
  double sign;
  double constant;
  double slope;
};

namespace activations {

struct Odd {
  static constexpr Reflection reflection{-1.0, 0.0, 0.0};
};
struct Even {
  static constexpr Reflection reflection{1.0, 0.0, 0.0};
};
// f(x) - f(-x) = x: half of it is even.
struct EvenBesidesHalf {
  static constexpr Reflection reflection{1.0, 0.0, -1.0};
};

struct Smooth {
  static constexpr bool kink = false, differentiable = true, linear = false;
};
struct Kink {
  static constexpr bool kink = true, differentiable = true, linear = false;
};
// The derivative is 0 almost everywhere, which is not E z f(z).
struct Jump {
  static constexpr bool kink = true, differentiable = false, linear = false;
};
struct Straight {
  static constexpr bool kink = false, differentiable = true, linear = true;
};

struct Saturating {
  static constexpr bool saturates_left = true, saturates_right = true, oscillates = false;
  static constexpr int growth = 0;
};
// Dies out to the left, grows linearly to the right.
struct OneSided {
  static constexpr bool saturates_left = true, saturates_right = false, oscillates = false;
  static constexpr int growth = 1;
};
struct Oscillating {
  static constexpr bool saturates_left = false, saturates_right = false, oscillates = true;
  static constexpr int growth = 0;
};
template <int degree>
struct Growing {
  static constexpr bool saturates_left = false, saturates_right = false, oscillates = false;
  static constexpr int growth = degree;
};

struct ClosedForm {
  static constexpr bool closed_form = true;
};
struct ByQuadrature {
  static constexpr bool closed_form = false;
};

// `both` is value and derivative at once, for a pass that needs both, within 4 and 6 ulp. Where
// they are written in terms of the same exponential, or of the same sine and cosine, the compiler
// finds what they share; elsewhere a type has to say it itself.
template <class Op, class T>
struct OpUpTo {
  static SPIKEDRF_INLINE vmath::ValueAndSlope<T> both(T x) noexcept {
    return {Op::value(x), Op::derivative(x)};
  }
};
template <class Op, class T>
struct OpOnWholeLine : OpUpTo<Op, T> {
  static constexpr T max_argument = std::numeric_limits<T>::infinity();
};

template <class T>
SPIKEDRF_INLINE T keep_nan(T x, T otherwise) noexcept {
  return x != x ? x : otherwise;
}

constexpr double kPi = 3.14159265358979323846;

struct Tanh : Odd, Smooth, Saturating, ByQuadrature {
  static constexpr const char* name = "tanh";
  static constexpr const char* formula = "tanh(z)";
  static constexpr double strip = 0.5 * kPi;
  template <class T>
  struct Op : OpOnWholeLine<Op<T>, T> {
    static SPIKEDRF_INLINE T value(T x) noexcept { return vmath::tanh(x); }
    // sech^2 from e = exp(-2|x|): 1 - tanh^2 would be 0 from |x| = 19 on.
    static SPIKEDRF_INLINE T derivative(T x) noexcept {
      const T y = T(-2) * vmath::magnitude(x);
      const T e = vmath::exp_in_range(y);
      return y < vmath::Format<T>::exp_min ? T(0) : T(4) * e / (T(1) + e * (T(2) + e));
    }
    static SPIKEDRF_INLINE vmath::ValueAndSlope<T> both(T x) noexcept {
      return vmath::tanh_and_slope(x);
    }
  };
};

struct Relu : EvenBesidesHalf, Kink, OneSided, ClosedForm {
  static constexpr const char* name = "relu";
  static constexpr const char* formula = "max(z, 0)";
  template <class S>
  static auto moments(const S& s) {
    return [s](const S& m) { return closed::relu_moment(m, s); };
  }
  template <class T>
  struct Op : OpOnWholeLine<Op<T>, T> {
    static SPIKEDRF_INLINE T value(T x) noexcept { return x < T(0) ? T(0) : x; }
    static SPIKEDRF_INLINE T derivative(T x) noexcept {
      return keep_nan(x, x > T(0) ? T(1) : T(0));
    }
  };
};

// 2 Phi(z) - 1: the error function of a normal variable, whose moments have the simplest form.
struct Erf : Odd, Smooth, Saturating, ClosedForm {
  static constexpr const char* name = "erf";
  static constexpr const char* formula = "erf(z / sqrt(2))";
  template <class S>
  static auto moments(const S& s) {
    return closed::ErfMoments<S>(s);
  }
  template <class T>
  struct Op : OpOnWholeLine<Op<T>, T> {
    static SPIKEDRF_INLINE T value(T x) noexcept { return vmath::erf_normal(x); }
    static SPIKEDRF_INLINE T derivative(T x) noexcept {
      return static_cast<T>(0.79788456080286536) * vmath::gaussian(x);
    }
    static SPIKEDRF_INLINE vmath::ValueAndSlope<T> both(T x) noexcept {
      return vmath::erf_normal_and_slope(x);
    }
  };
};

// The error function itself.
struct ErfPlain : Odd, Smooth, Saturating, ClosedForm {
  static constexpr const char* name = "erf_plain";
  static constexpr const char* formula = "erf(z)";
  template <class S>
  static auto moments(const S& s) {
    constexpr double kSqrt2 = 1.41421356237309504880;
    return [all = closed::ErfMoments<S>(s * kSqrt2)](const S& m) { return all(m * kSqrt2); };
  }
  template <class T>
  struct Op : OpOnWholeLine<Op<T>, T> {
    static SPIKEDRF_INLINE T value(T x) noexcept {
      return vmath::erf_normal(static_cast<T>(1.41421356237309505) * x);
    }
    // exp(-x^2) as a square: x sqrt 2 would have to be known beyond its rounding.
    static SPIKEDRF_INLINE T derivative(T x) noexcept {
      const T root = vmath::gaussian(x);
      return (static_cast<T>(1.1283791670955126) * root) * root;
    }
  };
};

struct Sin : Odd, Smooth, Oscillating, ClosedForm {
  static constexpr const char* name = "sin";
  static constexpr const char* formula = "sin(z)";
  template <class S>
  static auto moments(const S& s) {
    return [all = closed::TrigonometricMoments<S>(s)](const S& m) { return all.of_sin(m); };
  }
  template <class T>
  struct Op : OpUpTo<Op<T>, T> {
    static constexpr T max_argument = vmath::Format<T>::trig_max;
    static SPIKEDRF_INLINE T value(T x) noexcept { return vmath::sin(x); }
    static SPIKEDRF_INLINE T derivative(T x) noexcept { return vmath::cos(x); }
    static T far_value(T x) noexcept { return std::sin(x); }
    static T far_derivative(T x) noexcept { return std::cos(x); }
  };
};

struct Cos : Even, Smooth, Oscillating, ClosedForm {
  static constexpr const char* name = "cos";
  static constexpr const char* formula = "cos(z)";
  template <class S>
  static auto moments(const S& s) {
    return [all = closed::TrigonometricMoments<S>(s)](const S& m) { return all.of_cos(m); };
  }
  template <class T>
  struct Op : OpUpTo<Op<T>, T> {
    static constexpr T max_argument = vmath::Format<T>::trig_max;
    static SPIKEDRF_INLINE T value(T x) noexcept { return vmath::cos(x); }
    static SPIKEDRF_INLINE T derivative(T x) noexcept { return -vmath::sin(x); }
    static T far_value(T x) noexcept { return std::cos(x); }
    static T far_derivative(T x) noexcept { return -std::sin(x); }
  };
};

struct Sigmoid : Smooth, Saturating, ByQuadrature {
  static constexpr const char* name = "sigmoid";
  static constexpr const char* formula = "1 / (1 + exp(-z))";
  static constexpr Reflection reflection{-1.0, 1.0, 0.0};
  static constexpr double strip = kPi;
  template <class T>
  struct Op : OpOnWholeLine<Op<T>, T> {
    static SPIKEDRF_INLINE T value(T x) noexcept { return vmath::sigmoid(x); }
    static SPIKEDRF_INLINE T derivative(T x) noexcept {
      const T y = -vmath::magnitude(x);
      const T e = vmath::exp_in_range(y);
      return y < vmath::Format<T>::exp_min ? T(0) : e / (T(1) + e * (T(2) + e));
    }
  };
};

struct Softplus : EvenBesidesHalf, Smooth, OneSided, ByQuadrature {
  static constexpr const char* name = "softplus";
  static constexpr const char* formula = "log(1 + exp(z))";
  static constexpr double strip = kPi;
  template <class T>
  struct Op : OpOnWholeLine<Op<T>, T> {
    static SPIKEDRF_INLINE T value(T x) noexcept { return vmath::softplus(x); }
    static SPIKEDRF_INLINE T derivative(T x) noexcept { return vmath::sigmoid(x); }
  };
};

struct Gelu : EvenBesidesHalf, Smooth, OneSided, ByQuadrature {
  static constexpr const char* name = "gelu";
  static constexpr const char* formula = "z * (1 + erf(z / sqrt(2))) / 2";
  static constexpr double strip = 0.0;
  template <class T>
  struct Op : OpOnWholeLine<Op<T>, T> {
    static SPIKEDRF_INLINE T value(T x) noexcept { return vmath::gelu(x); }
    static SPIKEDRF_INLINE T derivative(T x) noexcept {
      const T density = static_cast<T>(0.39894228040143268) * vmath::gaussian(x);
      return vmath::with_limits(x, vmath::Format<T>::normal_max, -T(0), T(1),
                                vmath::normal_cdf(x) + x * density);
    }
  };
};

struct Silu : EvenBesidesHalf, Smooth, OneSided, ByQuadrature {
  static constexpr const char* name = "silu";
  static constexpr const char* formula = "z / (1 + exp(-z))";
  static constexpr double strip = kPi;
  template <class T>
  struct Op : OpOnWholeLine<Op<T>, T> {
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
};

struct LeakyRelu : Kink, Growing<1>, ClosedForm {
  static constexpr const char* name = "leaky_relu";
  static constexpr const char* formula = "max(z, z / 100)";
  static constexpr Reflection reflection{1.0, 0.0, -1.01};
  template <class S>
  static auto moments(const S& s) {
    return [s](const S& m) { return closed::hinge_moment(m, s, 0.01, 0.99); };
  }
  template <class T>
  struct Op : OpOnWholeLine<Op<T>, T> {
    static constexpr T slope = static_cast<T>(0.01);
    static SPIKEDRF_INLINE T value(T x) noexcept { return x > T(0) ? x : slope * x; }
    static SPIKEDRF_INLINE T derivative(T x) noexcept {
      return keep_nan(x, x > T(0) ? T(1) : slope);
    }
  };
};

struct Sign : Odd, Jump, Saturating, ClosedForm {
  static constexpr const char* name = "sign";
  static constexpr const char* formula = "sign(z)";
  template <class S>
  static auto moments(const S& s) {
    return [s](const S& m) { return closed::sign_moment(m, s); };
  }
  template <class T>
  struct Op : OpOnWholeLine<Op<T>, T> {
    static SPIKEDRF_INLINE T value(T x) noexcept {
      return x > T(0) ? T(1) : (x < T(0) ? T(-1) : x);
    }
    static SPIKEDRF_INLINE T derivative(T x) noexcept { return keep_nan(x, T(0)); }
  };
};

struct Abs : Even, Kink, Growing<1>, ClosedForm {
  static constexpr const char* name = "abs";
  static constexpr const char* formula = "abs(z)";
  template <class S>
  static auto moments(const S& s) {
    return [s](const S& m) { return closed::hinge_moment(m, s, -1.0, 2.0); };
  }
  template <class T>
  struct Op : OpOnWholeLine<Op<T>, T> {
    static SPIKEDRF_INLINE T value(T x) noexcept { return vmath::magnitude(x); }
    static SPIKEDRF_INLINE T derivative(T x) noexcept { return Sign::Op<T>::value(x); }
  };
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

// Orthonormal under N(0, 1).
template <int degree>
struct Hermite : Growing<degree>, ClosedForm {
  template <class S>
  static auto moments(const S& s) {
    return [s](const S& m) { return closed::hermite_moment(degree, m, s); };
  }
  template <class T>
  struct Op : OpOnWholeLine<Op<T>, T> {
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
};

struct Hermite1 : Hermite<1>, Odd, Straight {
  static constexpr const char* name = "hermite1";
  static constexpr const char* formula = "z";
};
struct Hermite2 : Hermite<2>, Even, Smooth {
  static constexpr const char* name = "hermite2";
  static constexpr const char* formula = "(z**2 - 1) / sqrt(2)";
};
struct Hermite3 : Hermite<3>, Odd, Smooth {
  static constexpr const char* name = "hermite3";
  static constexpr const char* formula = "(z**3 - 3 * z) / sqrt(6)";
};
struct Hermite4 : Hermite<4>, Even, Smooth {
  static constexpr const char* name = "hermite4";
  static constexpr const char* formula = "(z**4 - 6 * z**2 + 3) / sqrt(24)";
};
struct Hermite5 : Hermite<5>, Odd, Smooth {
  static constexpr const char* name = "hermite5";
  static constexpr const char* formula = "(z**5 - 10 * z**3 + 15 * z) / sqrt(120)";
};

struct Identity : Hermite<1>, Odd, Straight {
  static constexpr const char* name = "identity";
  static constexpr const char* formula = "z";
};

}  // namespace activations

// In the order in which Python lists them.
using Activations =
    Types<activations::Tanh, activations::Relu, activations::Erf, activations::ErfPlain,
          activations::Sin, activations::Cos, activations::Sigmoid, activations::Softplus,
          activations::Gelu, activations::Silu, activations::LeakyRelu, activations::Abs,
          activations::Sign, activations::Identity, activations::Hermite1, activations::Hermite2,
          activations::Hermite3, activations::Hermite4, activations::Hermite5>;

}  // namespace spikedrf
