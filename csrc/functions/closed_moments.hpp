// Gaussian moments in closed form: f(m + s z), z ~ N(0, 1), in Hermite polynomials of z. Written
// for any scalar T, so that a Dual gives their slopes.
#pragma once

#include <cmath>

#include "numerics/array.hpp"
#include "numerics/dual.hpp"
#include "numerics/quadrature.hpp"

namespace spikedrf {

// e0 = E f,   e1 = E z f,   e2 = E f^2 - e0^2 - e1^2.
template <class T>
struct Moment {
  T e0, e1, e2;
};

namespace closed {

constexpr double kPi = 3.14159265358979323846;
constexpr double kInvSqrtTwoPi = 0.39894228040143267794;
constexpr double kInvSqrt2 = 0.70710678118654752440;

using std::atan;
using std::cos;
using std::erf;
using std::erfc;
using std::exp;
using std::expm1;
using std::sin;
using std::sqrt;

template <class T>
inline T density(const T& t) {
  return kInvSqrtTwoPi * exp(-0.5 * t * t);
}

// P(N(0,1) > t), relatively accurate in the tail.
template <class T>
inline T upper_tail(const T& t) {
  return 0.5 * erfc(t * kInvSqrt2);
}

template <class T>
inline T magnitude(const T& x) {
  return x < 0.0 ? -x : x;
}

// What rounding made negative.
template <class T>
inline T nonnegative(const T& x) {
  return x < 0.0 ? T(0.0) : x;
}

// max(x, 0), x = m + s z. For m > 0 use max(x, 0) = x + max(-x, 0): the nonlinear part is that of
// the mirrored mean, and all cancellation is confined to quantities of the size of the tail.
template <class T>
Moment<T> relu_moment(const T& m, const T& s) {
  const T t = magnitude(m) / s;
  const T tail = upper_tail(t);
  const T phi = density(t);
  const T e0 = s * (phi - t * tail);
  const T e1 = s * tail;
  const T second = s * s * ((1.0 + t * t) * tail - t * phi);
  const T e2 = nonnegative(second - e0 * e0 - e1 * e1);
  if (m < 0.0) return {e0, e1, e2};
  return {m + e0, s - e1, e2};
}

// slope * x + scale * max(x, 0).
template <class T>
Moment<T> hinge_moment(const T& m, const T& s, double slope, double scale) {
  const Moment<T> relu = relu_moment(m, s);
  return {slope * m + scale * relu.e0, slope * s + scale * relu.e1, scale * scale * relu.e2};
}

// sign: E sign = 1 - 2 Q, E z sign = 2 phi, remainder 4 Q (1 - Q) - 4 phi^2 with Q = P(z > |m|/s);
// 1 - 2 Q as erf(|m|/(s sqrt 2)), which is accurate relative to itself near m = 0 as well.
template <class T>
Moment<T> sign_moment(const T& m, const T& s) {
  const T t = magnitude(m) / s;
  const T tail = upper_tail(t);
  const T phi = density(t);
  const T e2 = nonnegative(4.0 * (tail * (1.0 - tail) - phi * phi));
  const T e0 = erf(t * kInvSqrt2);
  return {m < 0.0 ? -e0 : e0, 2.0 * phi, e2};
}

// sin and cos share one pair of remainders. With x = m + s z, c = s^2 and E e^{ix} = e^{im - c/2},
//   remainder = A(m)^2 e^{-c} (cosh c - 1) + A'(m)^2 e^{-c} (sinh c - c),
// A = sin for the sine (all even orders beyond the 0th, all odd ones beyond the 1st): no
// cancellation between its two terms, and none inside them.
template <class T>
struct TrigonometricMoments {
  T s, even, odd, decay;
  explicit TrigonometricMoments(const T& sd) : s(sd) {
    const T c = s * s;
    decay = exp(-0.5 * c);
    const T drop = expm1(-c);   // e^{-c} - 1
    even = 0.5 * drop * drop;   // e^{-c} (cosh c - 1) = (1 - e^{-c})^2 / 2
    if (c < 0.5) {
      // sinh c - c by its series: c^3/6 (1 + c^2/20 (1 + c^2/42 (1 + c^2/72 ...)))
      const T c2 = c * c;
      const T series = 1.0 + c2 / 20.0 * (1.0 + c2 / 42.0 * (1.0 + c2 / 72.0 * (1.0 + c2 / 110.0)));
      odd = exp(-c) * c * c2 / 6.0 * series;
    } else {
      odd = -0.5 * expm1(-2.0 * c) - c * exp(-c);
    }
  }
  Moment<T> of_sin(const T& m) const {
    const T sine = sin(m);
    const T cosine = cos(m);
    return {decay * sine, s * decay * cosine, even * sine * sine + odd * cosine * cosine};
  }
  Moment<T> of_cos(const T& m) const {
    const T sine = sin(m);
    const T cosine = cos(m);
    return {decay * cosine, -s * decay * sine, even * cosine * cosine + odd * sine * sine};
  }
};

// erf(x / sqrt 2) = 2 Phi(x) - 1. With h = m / sqrt(1 + c):
//   E = erf(h / sqrt 2),   E z f = 2 s phi(h) / sqrt(1 + c),
//   Var = 8 [T(h, 1) - T(h, a)],  a = 1/sqrt(1 + 2c), Owen's T,
//       = (4/pi) int_{atan a}^{pi/4} exp(-h^2 / (2 cos^2 w)) dw
// (E Phi^2 = Phi(h) - 2 T(h, a) and T(h, 1) = Phi(h) Phi(-h) / 2). The integral is positive and
// smooth, so nothing cancels until the linear part is taken off. The angle is written without
// subtracting atan a from pi/4: tan(pi/4 - atan a) = (1 - a)/(1 + a).
template <class T>
class ErfMoments {
  static constexpr int kNodes = 32;

 public:
  explicit ErfMoments(const T& s) : s_(s) {
    const T c = s * s;
    const T a = 1.0 / sqrt(1.0 + 2.0 * c);
    const T gap = 2.0 * c * a * a / (1.0 + a);  // 1 - a without cancellation
    width_ = atan(gap / (1.0 + a));
    norm_ = 1.0 / sqrt(1.0 + c);
    const LegendreRule& rule = legendre_rule(kNodes);
    for (Index i = 0; i < kNodes; ++i) {
      const T cosine = cos(0.25 * kPi - 0.5 * width_ * (1.0 + rule.node[i]));
      exponent_[i] = -0.5 / (cosine * cosine);
      weight_[i] = rule.weight[i];
    }
  }
  Moment<T> operator()(const T& m) const {
    const T h = m * norm_;
    const T h2 = h * h;
    const T e1 = 2.0 * s_ * norm_ * density(h);
    T variance(0.0);
    for (int i = 0; i < kNodes; ++i) variance += weight_[i] * exp(h2 * exponent_[i]);
    variance *= 4.0 / kPi * 0.5 * width_;
    return {erf(h * kInvSqrt2), e1, nonnegative(variance - e1 * e1)};
  }

 private:
  T s_, width_, norm_;
  T exponent_[kNodes];
  double weight_[kNodes];
};

// Orthonormal Hermite polynomial of degree n. Its j-th coefficient in z is
//   a_j = s^j binom(n, j) He_{n-j}^{[1-c]}(m) / sqrt(n!),   E z-power  j! a_j^2,
// with He^{[v]} the Hermite polynomials of variance v: p_{k+1} = m p_k - v k p_{k-1}.
template <class T>
Moment<T> hermite_moment(int n, const T& m, const T& s) {
  T p[6] = {T(1.0), m};
  const T v = 1.0 - s * s;
  for (int k = 1; k < n; ++k) p[k + 1] = m * p[k] - v * static_cast<double>(k) * p[k - 1];
  double factorial = 1.0;
  for (int k = 2; k <= n; ++k) factorial *= k;
  const double scale = 1.0 / std::sqrt(factorial);
  T e2(0.0);
  double binomial = 1.0;
  T power(1.0);
  double j_factorial = 1.0;
  for (int j = 1; j <= n; ++j) {
    binomial *= static_cast<double>(n - j + 1) / j;
    power *= s;
    j_factorial *= j;
    const T a = power * binomial * p[n - j] * scale;
    if (j >= 2) e2 += j_factorial * a * a;
  }
  return {p[n] * scale, static_cast<double>(n) * s * p[n - 1] * scale, e2};
}

}  // namespace closed
}  // namespace spikedrf
