// The losses of theory.md, section 11: value, derivatives and proximal map.
//
// A loss of a label y and a prediction h is a function of one argument, of the residual t = y - h
// or, for labels +-1 and a loss of the margin, of t = 1 - y h = y (y - h): in both cases
// t = sigma (y - h) with sigma = 1 or sigma = y. With x = sigma (y - omega) for t, the proximal map
// and the force are
//
//   t = argmin_t (t - x)^2 / (2 V) + loss(t),   phi = loss'(t) = (x - t) / V,   f = sigma phi,
//
// phi the derivative of the Moreau envelope of the loss at x, increasing, with df/domega = -phi'.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstddef>

#include "numerics/dispatch.hpp"
#include "numerics/vector_math.hpp"

namespace spikedrf {

// The numbers are part of the interface with Python: append, never reorder.
enum class LossKind : int {
  square,         // t^2 / 2
  huber,          // t^2 / 2 up to |t| = delta, then linear
  pseudo_huber,   // delta^2 (sqrt(1 + t^2/delta^2) - 1)
  absolute,       // |t|
  quantile,       // max(level t, (level - 1) t)
  logistic,       // log(1 + exp(t - 1)),  t = 1 - y h as in the next two
  hinge,          // max(0, t)
  squared_hinge,  // max(0, t)^2
};

struct Loss {
  LossKind kind = LossKind::square;
  double parameter = 0.0;  // delta or level
};

// Labels +-1 only.
constexpr bool has_margin(LossKind kind) {
  return kind == LossKind::logistic || kind == LossKind::hinge || kind == LossKind::squared_hinge;
}
// The derivative is a broken line: everything else about the loss has a closed form.
constexpr bool is_ramp(LossKind kind) {
  return kind != LossKind::logistic && kind != LossKind::pseudo_huber;
}

// loss'(t) = clip(t / width, lo, hi), width 0 for a jump: the loss is sup_f f t - width f^2 / 2
// over lo <= f <= hi. Its Moreau envelope is the same with width + V for width.
struct Ramp {
  double width, lo, hi;

  // Stands for no bound: products with it and with its square stay finite, and 0 times it is 0.
  static constexpr double unbounded = 1e120;

  SPIKEDRF_INLINE double slope(double x) const {
    return x > hi * width ? hi : (x < lo * width ? lo : (width > 0.0 ? x / width : 0.0));
  }
  SPIKEDRF_INLINE double value(double x) const {
    const double f = slope(x);
    return f * x - 0.5 * width * f * f;
  }
  // The proximal map at x. On the sloping part t = width f exactly: 0 at a kink.
  SPIKEDRF_INLINE double prox(double V, double x) const {
    const double f = Ramp{width + V, lo, hi}.slope(x);
    return f > lo && f < hi ? width * f : x - V * f;
  }
};

inline Ramp ramp_of(Loss loss) {
  constexpr double all = Ramp::unbounded;
  switch (loss.kind) {
    case LossKind::huber:
      return {1.0, -loss.parameter, loss.parameter};
    case LossKind::absolute:
      return {0.0, -1.0, 1.0};
    case LossKind::quantile:
      return {0.0, loss.parameter - 1.0, loss.parameter};
    case LossKind::hinge:
      return {0.0, 0.0, 1.0};
    case LossKind::squared_hinge:
      return {0.5, 0.0, all};
    default:
      return {1.0, -all, all};
  }
}

// ---- Smooth losses ------------------------------------------------------------------------------
//
// Their proximal map is found by Newton's method in a reduced problem r -> u in which it converges
// monotonically from `start`, to machine precision: the last step is below `enough`, and the error
// left is at most its square times the curvature of the equation, 1e-16 in units of t (logistic) or
// of delta (pseudo-Huber); phi is then as accurate relative to itself as t is absolutely.
//
// `at` gives the first four derivatives. With t' = 1 / (1 + V d2) along x the derivatives of phi are
//   phi' = d2 t',   phi'' = d3 t'^3,   phi''' = d4 t'^4 - 3 V d3^2 t'^5.
// `corner` is the singularity of phi in the upper half plane, 1 + V loss''(t) = 0, of the larger
// real part; the other one that matters has real part `reflected`. phi is analytic in between, and
// varies on no scale smaller than their imaginary part.

struct Derivatives {
  double d1, d2, d3, d4;
};

struct LogisticLoss {
  static constexpr double enough = 1e-8;

  SPIKEDRF_INLINE double value(double t) const { return vmath::softplus(t - 1.0); }
  SPIKEDRF_INLINE Derivatives at(double t) const {
    const double p = vmath::sigmoid(t - 1.0);
    const double c = p * vmath::sigmoid(1.0 - t);
    return {p, c, c * (1.0 - 2.0 * p), c * (1.0 - 6.0 * c)};
  }
  // u + V sigmoid(u) = r with u = t - 1, r = x - 1; the reflection u -> -u, r -> V - r leaves
  // u <= 0, where the left-hand side is convex: Newton's method comes from the right.
  SPIKEDRF_INLINE double reduce(double V, double x) const { return std::min(x - 1.0, V + 1.0 - x); }
  SPIKEDRF_INLINE double start(double, double r) const { return std::min(r, 0.0); }
  SPIKEDRF_INLINE double step(double V, double r, double u) const {
    const double p = vmath::sigmoid(u);
    return (u + V * p - r) / (1.0 + V * p * (1.0 - p));
  }
  SPIKEDRF_INLINE double restore(double V, double x, double u) const {
    return x - 1.0 <= V + 1.0 - x ? 1.0 + u : 1.0 - u;
  }
  // sigmoid' = -1/V at u = i pi +- 2 asinh(sqrt(V)/2).
  std::complex<double> corner(double V) const {
    const double rho = 2.0 * std::asinh(0.5 * std::sqrt(V));
    return {1.0 + V + rho + (V > 0.0 ? V / std::expm1(rho) : 0.0), 3.14159265358979323846};
  }
  double reflected(double V, double corner) const { return V + 2.0 - corner; }
};

struct PseudoHuberLoss {
  double delta;
  double enough;

  explicit PseudoHuberLoss(double d) : delta(d), enough(1e-8 * d) {}

  SPIKEDRF_INLINE double value(double t) const {
    const double q = t / delta;
    return t * (t / (1.0 + std::sqrt(1.0 + q * q)));
  }
  SPIKEDRF_INLINE Derivatives at(double t) const {
    const double q = t / delta;
    const double w2 = 1.0 / (1.0 + q * q);
    const double w = std::sqrt(w2);
    const double c = w2 * w;
    return {t * w, c, -3.0 * q / delta * c * w2,
            -3.0 / (delta * delta) * c * w2 * w2 * (1.0 - 4.0 * q * q)};
  }
  // u + V loss'(u) = r = |x|: concave, Newton's method comes from the left.
  SPIKEDRF_INLINE double reduce(double, double x) const { return vmath::magnitude(x); }
  SPIKEDRF_INLINE double start(double V, double r) const {
    return std::max(r / (1.0 + V), r - V * delta);
  }
  SPIKEDRF_INLINE double step(double V, double r, double u) const {
    const double q = u / delta;
    const double w2 = 1.0 / (1.0 + q * q);
    const double w = std::sqrt(w2);
    return (u + V * u * w - r) / (1.0 + V * w2 * w);
  }
  SPIKEDRF_INLINE double restore(double, double x, double u) const {
    return vmath::with_sign_of(u, x);
  }
  // (1 + t^2/delta^2)^(3/2) = w^3 = -V, where x = t (1 + V/w) = -delta (w^2 - 1)^(3/2).
  std::complex<double> corner(double V) const {
    const std::complex<double> w2 = std::polar(std::cbrt(V * V), 2.0 / 3.0 * 3.14159265358979323846);
    const std::complex<double> root = std::sqrt(w2 - 1.0);
    const std::complex<double> x = delta * root * root * root;
    return {std::fabs(x.real()), std::fabs(x.imag())};
  }
  double reflected(double, double corner) const { return -corner; }
};

// t at every x, out of place.
void prox(Loss loss, double V, const double* x, double* t, std::size_t n);

// The derivatives of the Moreau envelope's derivative phi, and the products that go with them, at
// points of a grid; rows of one length.
struct PhiRows {
  double* t;        // proximal map
  double* phi;
  double* slope;    // phi'
  double* bend;     // phi''
  double* third;    // phi'''
  double* scratch;
};
void smooth_phi(Loss loss, double V, const double* x, std::size_t n, const PhiRows& rows);

// loss(t), or its derivative, elementwise.
void loss_values(Loss loss, const double* t, double* out, std::size_t n);
double loss_slope(Loss loss, double t);  // at a kink the middle of the subdifferential or an end

}  // namespace spikedrf
