#include "tables/analytic_moments.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "numerics/dispatch.hpp"
#include "numerics/lanes.hpp"
#include "numerics/quadrature.hpp"
#include "numerics/vector_math.hpp"
#include "tables/moments.hpp"

namespace spikedrf {

namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kInvSqrtTwoPi = 0.39894228040143267794;

// Half width of the z axis. Not where the Gaussian is 1e-16: a feature that is dead except far out
// in z still wants its moments relatively accurate.
constexpr double kCutoff = 11.0;

// Up to this standard deviation a uniform grid resolves the activation cheaply.
constexpr double kUniformLimit = 8.0;

inline double density(double z) { return kInvSqrtTwoPi * std::exp(-0.5 * z * z); }

// Spacing in z of the trapezoid rule. Against the Gaussian its error is e^{a^2/2 - 2 pi a / step}
// for any a up to the distance d = strip/sd of the nearest singularity, wherever the grid lies; the
// step makes that e^-37. For f growing like e^{y^2/2} on the imaginary axis the exponent is
// a^2/2 + (a sd)^2 (f^2 is integrated too), whose optimum gives the second formula.
double spacing(Activation activation, double sd) {
  const double strip = traits(activation).strip;
  if (strip == 0.0) return 2.0 * kPi / std::sqrt(74.0 * (1.0 + 2.0 * sd * sd));
  const double d = std::min(strip / sd, 8.6);
  return 2.0 * kPi * d / (37.0 + 0.5 * d * d);
}

struct Expansion {
  double e0, e1, e2, f2, f3, p1, p2;
};

// The moments of the function whose values at z are f, given about what it is near z = 0. Sums of
// what is left beyond level + slope z: where the activation saturates, and for a small sd, e1 and
// e2 keep their relative accuracy instead of drowning in the rounding of differences.
SPIKEDRF_MULTIVERSION
void expand(const double* z, const double* weight, const double* f, Index points, double level,
            double slope, bool with_slopes, Expansion& out) noexcept {
  double s0 = 0.0;
  double s1 = 0.0;
  double s2 = 0.0;
#pragma omp simd reduction(+ : s0, s1, s2)
  for (Index j = 0; j < points; ++j) {
    const double beyond = (f[j] - level) - slope * z[j];
    const double weighted = weight[j] * beyond;
    s0 += weighted;
    s1 += weighted * z[j];
    s2 += weighted * beyond;
  }
  out.e0 = level + s0;
  out.e1 = slope + s1;
  out.e2 = std::max(0.0, s2 - s0 * s0 - s1 * s1);
  if (!with_slopes) return;
  double f2 = 0.0;
  double f3 = 0.0;
  double p1 = 0.0;
  double p2 = 0.0;
#pragma omp simd reduction(+ : f2, f3, p1, p2)
  for (Index j = 0; j < points; ++j) {
    const double rest = (f[j] - level) - slope * z[j] - (s0 + s1 * z[j]);
    const double square = z[j] * z[j];
    const double weighted = weight[j] * rest;
    f2 += weighted * (square - 1.0);
    f3 += weighted * z[j] * (square - 3.0);
    p1 += weighted * rest * z[j];
    p2 += weighted * rest * (square - 1.0);
  }
  out.f2 = f2;
  out.f3 = f3;
  out.p1 = p1;
  out.p2 = p2;
}

SPIKEDRF_INLINE void shift_vector(const double* SPIKEDRF_RESTRICT z,
                                  const double* SPIKEDRF_RESTRICT weight, double e, double factor,
                                  const double* power, double* SPIKEDRF_RESTRICT to_z,
                                  double* SPIKEDRF_RESTRICT to_weight) noexcept {
  SPIKEDRF_SIMD
  for (int j = 0; j < kLanes; ++j) {
    to_z[j] = z[j] - e;
    to_weight[j] = weight[j] * (factor * power[j]);
  }
}

// Moves a grid of z with Gaussian weights by e, at most half its spacing:
//   exp(-(z - e)^2/2) = exp(-z^2/2) scale q^l,   z = l spacing,   q = exp(e spacing),
//   scale = exp(-e^2/2).
// The powers of q grow from l = 0 outwards, eight at a time, so that what rounding adds to them is
// large only where the Gaussian is nothing. z = 0 is in the middle of an even number of vectors.
SPIKEDRF_MULTIVERSION
void shift(const double* SPIKEDRF_RESTRICT z, const double* SPIKEDRF_RESTRICT weight, Index points,
           double e, double q, double scale, double* SPIKEDRF_RESTRICT to_z,
           double* SPIKEDRF_RESTRICT to_weight) noexcept {
  const double q2 = q * q;
  const double q3 = q2 * q;
  const double q4 = q2 * q2;
  const double power[kLanes] = {1.0, q, q2, q3, q4, q4 * q, q4 * q2, q4 * q3};
  const double up = q4 * q4;
  const double down = 1.0 / up;
  double factor = scale;
  for (Index i = points / 2; i < points; i += kLanes, factor *= up) {
    shift_vector(z + i, weight + i, e, factor, power, to_z + i, to_weight + i);
  }
  factor = scale * down;
  for (Index i = points / 2; i > 0; factor *= down) {
    i -= kLanes;
    shift_vector(z + i, weight + i, e, factor, power, to_z + i, to_weight + i);
  }
}

// Where the rule moves for each mean: to the nearest point of the lattice, and on by e.
SPIKEDRF_MULTIVERSION
void place(const double* mean, Index n, double sd, double spacing, double* nearest, double* e,
           double* q, double* scale) noexcept {
  const double step = sd * spacing;
  SPIKEDRF_SIMD
  for (Index i = 0; i < n; ++i) {
    nearest[i] = std::nearbyint(mean[i] / step);
    e[i] = (mean[i] - nearest[i] * step) / sd;
    q[i] = vmath::exp(e[i] * spacing);
    scale[i] = vmath::exp(-0.5 * e[i] * e[i]);
  }
}

}  // namespace

// Up to kUniformLimit the rule is a uniform grid in z. Moved by a fraction of its spacing from mean
// to mean, all of them need the function on one and the same lattice in x = mean + sd z: it is
// evaluated there once, and what a mean costs is three sums. Where that lattice has more points
// than the rules together (sd much smaller than the distance of the means), each mean keeps its
// own.
//
// Beyond, f varies on scale 1/sd around z = -mean/sd only: Gauss-Legendre panels.
void AnalyticMoments::evaluate(const double* mean, Index n, double sd, double* e0, double* e1,
                               double* e2, const MomentSlopes* slopes) {
  if (n == 0) return;
  const bool uniform = sd <= kUniformLimit;
  if (uniform) make_grid(sd);
  const bool shared = uniform && make_lattice(mean, n, sd);
  Expansion out{};
  // A function that is odd about its value at 0: e0 there is that value, and what it grows by is
  // lost in the rounding of the sum where the mean is small. With t = mean/sd, by Taylor's series,
  //   e0 - f(0) = t e1 - t^3/3 f3 + O(t^5),   e1 and f3 at this very mean.
  const Reflection mirror = traits(activation_).reflection;
  const double small = mirror.sign < 0.0 ? 1e-4 * std::hypot(1.0, sd) : -1.0;
  for (Index i = 0; i < n; ++i) {
    const bool near_centre = std::fabs(mean[i]) <= small;
    if (!uniform) make_panels(mean[i], sd);
    const Index points = z_.size();
    const double* z = z_.data();
    const double* weight = weight_.data();
    const double* f = nullptr;
    double level = 0.0;
    double slope = 0.0;
    if (shared) {
      shift(z_.data(), weight_.data(), points, e_[i], q_[i], scale_[i], shifted_z_.data(),
            shifted_weight_.data());
      z = shifted_z_.data();
      weight = shifted_weight_.data();
      const double* at = lattice_.data() + static_cast<Index>(nearest_[i] - first_);
      const auto one = static_cast<Index>(std::ceil(1.0 / spacing_));
      slope = (at[one] - at[-one]) / (2.0 * spacing_ * static_cast<double>(one));
      level = at[0] + slope * e_[i];
      f = at - points / 2;
    } else {
      value_.resize(points + 3);
      for (Index j = 0; j < points; ++j) value_[j] = mean[i] + sd * z_[j];
      for (Index j = 0; j < 3; ++j) value_[points + j] = mean[i] + sd * (j - 1.0);
      activate(activation_, value_.data(), value_.data(), points + 3);
      f = value_.data();
      level = f[points + 1];
      slope = 0.5 * (f[points + 2] - f[points]);
    }
    expand(z, weight, f, points, level, slope, slopes != nullptr || near_centre, out);
    if (near_centre) {
      const double t = mean[i] / sd;
      out.e0 = 0.5 * mirror.constant + t * (out.e1 - t * t / 3.0 * out.f3);
    }
    e0[i] = out.e0;
    e1[i] = out.e1;
    e2[i] = out.e2;
    if (slopes == nullptr) continue;
    slopes->f2[i] = out.f2;
    slopes->f3[i] = out.f3;
    slopes->p1[i] = out.p1;
    slopes->p2[i] = out.p2;
  }
}

// The uniform rule around z = 0.
void AnalyticMoments::make_grid(double sd) {
  spacing_ = spacing(activation_, sd);
  constexpr Index kVector = kLanes;
  const Index vectors = static_cast<Index>(kCutoff / spacing_) / kVector + 1;
  const Index half = vectors * kVector;
  for (auto* array : {&z_, &weight_, &shifted_z_, &shifted_weight_}) array->resize(2 * half);
  for (Index j = 0; j < 2 * half; ++j) {
    z_[j] = (static_cast<double>(j) - static_cast<double>(half)) * spacing_;
    weight_[j] = spacing_ * density(z_[j]);
  }
}

// The function on the lattice that all means share; false if that is not worth it.
bool AnalyticMoments::make_lattice(const double* mean, Index n, double sd) {
  const double step = sd * spacing_;
  const double half = static_cast<double>(z_.size() / 2);
  const auto [low, high] = std::minmax_element(mean, mean + n);
  const double first = std::nearbyint(*low / step) - half;
  const double count = std::nearbyint(*high / step) + half - first;
  if (!(count <= static_cast<double>(n * z_.size()))) return false;
  first_ = first;
  lattice_.resize(static_cast<Index>(count));
  for (Index j = 0; j < lattice_.size(); ++j) {
    lattice_[j] = (first + static_cast<double>(j)) * step;
  }
  activate(activation_, lattice_.data(), lattice_.data(), lattice_.size());
  for (auto* array : {&nearest_, &e_, &q_, &scale_}) array->resize(n);
  place(mean, n, sd, spacing_, nearest_.data(), e_.data(), q_.data(), scale_.data());
  return true;
}

// Panels that double in width away from where the argument of f is 0. Narrower than rounding lets
// one tell from there they cannot be, and need not: f is a step or a kink then.
void AnalyticMoments::make_panels(double mean, double sd) {
  constexpr double kWidest = 1.5;
  const LegendreRule& rule = legendre_rule(16);
  z_.clear();
  weight_.clear();
  const double centre = std::clamp(-mean / sd, -kCutoff, kCutoff);
  const double narrowest =
      std::max(2.0 / sd, 4.0 * std::numeric_limits<double>::epsilon() * kCutoff);
  const auto add = [&](double left, double right) {
    const double half_width = 0.5 * (right - left);
    for (Index j = 0; j < rule.node.size(); ++j) {
      const double z = left + half_width * (1.0 + rule.node[j]);
      z_.push_back(z);
      weight_.push_back(half_width * rule.weight[j] * density(z));
    }
  };
  for (double left = centre, width = narrowest; left < kCutoff;) {
    const double right = std::min(left + width, kCutoff);
    add(left, right);
    left = right;
    width = std::min(right - centre, kWidest);
  }
  for (double right = centre, width = narrowest; right > -kCutoff;) {
    const double left = std::max(right - width, -kCutoff);
    add(left, right);
    right = left;
    width = std::min(centre - left, kWidest);
  }
}

}  // namespace spikedrf
