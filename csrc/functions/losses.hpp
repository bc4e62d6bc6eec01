// The losses of theory.md, section 11, one type each, and their list: value, derivatives, proximal
// map. To add one is to write its type here, and its class in Python.
//
// A loss of a label y and a prediction h is a function of one argument, of the residual t = y - h
// or, for labels +-1 and a loss of the margin, of t = 1 - y h = y (y - h): in both cases
// t = sigma (y - h) with sigma = 1 or sigma = y. With x = sigma (y - omega) for t, the proximal map
// and the force are
//
//   t = argmin_t (t - x)^2 / (2 V) + loss(t),   phi = loss'(t) = (x - t) / V,   f = sigma phi,
//
// phi the derivative of the Moreau envelope of the loss at x, increasing, with df/domega = -phi'.
//
// A type is made of its parameter (0 if it has none) and says
//
//   name, typical   as Python has it; its curvature, roughly, where labels are
//   margin          whether it is a loss of the margin
//   broken_line     whether loss' is a broken line: then `ramp()`, and everything else about it has
//                   a closed form; otherwise it is smooth and has what is said below.
//
// Nothing has a default: what is missing does not compile.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>

#include "functions/types.hpp"
#include "numerics/dispatch.hpp"
#include "numerics/vector_math.hpp"

namespace spikedrf {

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

struct Derivatives {
  double d1, d2, d3, d4;
};

namespace losses {

struct OfResidual {
  static constexpr bool margin = false;
};
struct OfMargin {
  static constexpr bool margin = true;
};

// ---- Broken lines -------------------------------------------------------------------------------

struct BrokenLine {
  static constexpr bool broken_line = true;
};

// t^2 / 2
struct Square : OfResidual, BrokenLine {
  static constexpr const char* name = "square";
  static constexpr double typical = 1.0;
  explicit Square(double) {}
  Ramp ramp() const { return {1.0, -Ramp::unbounded, Ramp::unbounded}; }
};

// t^2 / 2 up to |t| = delta, then linear
struct Huber : OfResidual, BrokenLine {
  static constexpr const char* name = "huber";
  static constexpr double typical = 1.0;
  double delta;
  explicit Huber(double d) : delta(d) {}
  Ramp ramp() const { return {1.0, -delta, delta}; }
};

// |t|
struct Absolute : OfResidual, BrokenLine {
  static constexpr const char* name = "absolute";
  static constexpr double typical = 0.5;
  explicit Absolute(double) {}
  Ramp ramp() const { return {0.0, -1.0, 1.0}; }
};

// max(level t, (level - 1) t)
struct Quantile : OfResidual, BrokenLine {
  static constexpr const char* name = "quantile";
  static constexpr double typical = 0.5;
  double level;
  explicit Quantile(double l) : level(l) {}
  Ramp ramp() const { return {0.0, level - 1.0, level}; }
};

// max(0, t)
struct Hinge : OfMargin, BrokenLine {
  static constexpr const char* name = "hinge";
  static constexpr double typical = 0.5;
  explicit Hinge(double) {}
  Ramp ramp() const { return {0.0, 0.0, 1.0}; }
};

// max(0, t)^2
struct SquaredHinge : OfMargin, BrokenLine {
  static constexpr const char* name = "squared_hinge";
  static constexpr double typical = 1.0;
  explicit SquaredHinge(double) {}
  Ramp ramp() const { return {0.5, 0.0, Ramp::unbounded}; }
};

// ---- Smooth losses ------------------------------------------------------------------------------
//
// Their proximal map is found by the method of Newton (pseudo-Huber) or Halley (logistic) in a
// reduced problem r -> u in which it converges from `start`, to machine precision: the last step is
// below `enough`, and the error left is about its square (its cube) times a derivative of the
// equation, 1e-16 in units of t (logistic) or of delta (pseudo-Huber); phi is then as accurate
// relative to itself as t is absolutely.
//
// `at` gives the first four derivatives. With t' = 1 / (1 + V d2) along x the derivatives of phi
// are
//   phi' = d2 t',   phi'' = d3 t'^3,   phi''' = d4 t'^4 - 3 V d3^2 t'^5.
// `corner` is the singularity of phi in the upper half plane, 1 + V loss''(t) = 0, of the larger
// real part; the other one that matters has real part `reflected`. phi is analytic in between, and
// varies on no scale smaller than their imaginary part.

struct SmoothLoss {
  static constexpr bool broken_line = false;
};

// log(1 + exp(t - 1))
struct Logistic : OfMargin, SmoothLoss {
  static constexpr const char* name = "logistic";
  static constexpr double typical = 0.2;
  explicit Logistic(double) {}

  static constexpr double enough = 4e-6;

  SPIKEDRF_INLINE double value(double t) const { return vmath::softplus(t - 1.0); }
  SPIKEDRF_INLINE Derivatives at(double t) const {
    const double u = t - 1.0;
    const double e = exp_of(-vmath::magnitude(u));
    const double larger = 1.0 / (1.0 + e);
    const double smaller = e * larger;
    const double p = u < 0.0 ? smaller : larger;
    const double c = smaller * larger;
    return {p, c, c * (1.0 - 2.0 * p), c * (1.0 - 6.0 * c)};
  }
  // u + V sigmoid(u) = r with u = t - 1, r = x - 1; the reflection u -> -u, r -> V - r leaves
  // u <= 0, where the left-hand side g is convex and lies above its tangents of slope 1 and at 0.
  SPIKEDRF_INLINE double reduce(double V, double x) const { return std::min(x - 1.0, V + 1.0 - x); }
  SPIKEDRF_INLINE double start(double V, double r) const {
    return std::min(r, (r - 0.5 * V) / (1.0 + 0.25 * V));
  }
  // Halley's step 2 g g' / (2 g'^2 - g g''), all times powers of 1 + e^u: one division. The
  // denominator is positive, since g <= V sigmoid(u).
  SPIKEDRF_INLINE double step(double V, double r, double u) const {
    const double e = exp_of(u);
    const double w = 1.0 + e;
    const double g = ((u - r) * w + V * e) * w;
    const double slope = w * w + V * e;
    return 2.0 * g * slope * w / (2.0 * slope * slope * w - g * (V * e * (1.0 - e)));
  }
  SPIKEDRF_INLINE double restore(double V, double x, double u) const {
    return x - 1.0 <= V + 1.0 - x ? 1.0 + u : 1.0 - u;
  }
  // Of u <= 0; what is below 1e-304 is nothing.
  SPIKEDRF_INLINE static double exp_of(double u) {
    return vmath::exp_in_range(u < -700.0 ? -700.0 : u);
  }
  // sigmoid' = -1/V at u = i pi +- 2 asinh(sqrt(V)/2).
  std::complex<double> corner(double V) const {
    const double rho = 2.0 * std::asinh(0.5 * std::sqrt(V));
    return {1.0 + V + rho + (V > 0.0 ? V / std::expm1(rho) : 0.0), 3.14159265358979323846};
  }
  double reflected(double V, double corner) const { return V + 2.0 - corner; }
};

// delta^2 (sqrt(1 + t^2/delta^2) - 1)
struct PseudoHuber : OfResidual, SmoothLoss {
  static constexpr const char* name = "pseudo_huber";
  static constexpr double typical = 1.0;

  double delta;
  double enough;

  explicit PseudoHuber(double d) : delta(d), enough(1e-8 * d) {}

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
    constexpr double kThird = 2.0 / 3.0 * 3.14159265358979323846;
    const std::complex<double> w2 = std::polar(std::cbrt(V * V), kThird);
    const std::complex<double> root = std::sqrt(w2 - 1.0);
    const std::complex<double> x = delta * root * root * root;
    return {std::fabs(x.real()), std::fabs(x.imag())};
  }
  double reflected(double, double corner) const { return -corner; }
};

}  // namespace losses

using Losses = Types<losses::Square, losses::Huber, losses::PseudoHuber, losses::Absolute,
                     losses::Quantile, losses::Logistic, losses::Hinge, losses::SquaredHinge>;

}  // namespace spikedrf
