#include "tables/moments.hpp"

#include <algorithm>
#include <cmath>

#include "numerics/dual.hpp"
#include "numerics/small_matrix.hpp"

namespace spikedrf {

namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kInvSqrtTwoPi = 0.39894228040143267794;
constexpr double kInvSqrt2 = 0.70710678118654752440;

// The closed forms are written for any scalar T: a Dual gives their slopes.
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

template <class T>
struct Moment {
  T e0, e1, e2;
};

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
    for (std::size_t i = 0; i < kNodes; ++i) {
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

// Runs a closed form over the means. `with` takes the standard deviation and gives a function of
// the mean. Slopes: with m and s,
//   d e0/ds = d e1/dm = f2/s,   d e1/ds = (e1 + f3)/s,   d e2/dm = p1/s,   d e2/ds = p2/s.
template <class With>
void closed_form(const double* mean, std::size_t n, double sd, double* e0, double* e1, double* e2,
                 const MomentSlopes* slopes, const With& with) {
  if (slopes == nullptr) {
    const auto moment = with(sd);
    for (std::size_t i = 0; i < n; ++i) {
      const Moment<double> value = moment(mean[i]);
      e0[i] = value.e0;
      e1[i] = value.e1;
      e2[i] = value.e2;
    }
    return;
  }
  Dual<2> s(sd);
  s.slope[1] = 1.0;
  const auto moment = with(s);
  for (std::size_t i = 0; i < n; ++i) {
    Dual<2> m(mean[i]);
    m.slope[0] = 1.0;
    const Moment<Dual<2>> value = moment(m);
    e0[i] = value.e0.value;
    e1[i] = value.e1.value;
    e2[i] = value.e2.value;
    slopes->f2[i] = sd * value.e1.slope[0];
    slopes->f3[i] = sd * value.e1.slope[1] - value.e1.value;
    slopes->p1[i] = sd * value.e2.slope[0];
    slopes->p2[i] = sd * value.e2.slope[1];
  }
}

int hermite_degree(Activation activation) {
  return static_cast<int>(activation) - static_cast<int>(Activation::hermite1) + 1;
}

}  // namespace

// Rules are mostly symmetric, and every named function is related to its mirror image: half of the
// means do. Those <= 0, on whose side the tails are that cannot be had as differences.
bool NamedMoments::evaluate(const double* mean, std::size_t n, double sd, int, double* e0,
                            double* e1, double* e2, const MomentSlopes* slopes) {
  bool symmetric = n > 1;
  for (std::size_t i = 0; symmetric && i < n / 2; ++i) symmetric = mean[i] == -mean[n - 1 - i];
  if (!symmetric) {
    expand(mean, n, sd, e0, e1, e2, slopes);
    return true;
  }
  const std::size_t half = n - n / 2;
  const std::size_t at = mean[0] <= 0.0 ? 0 : n - half;
  MomentSlopes of_half{};
  if (slopes != nullptr) of_half = slopes->from(at);
  expand(mean + at, half, sd, e0 + at, e1 + at, e2 + at, slopes != nullptr ? &of_half : nullptr);
  const Reflection f = reflection(activation_);
  for (std::size_t i = at; i < at + half; ++i) {
    const std::size_t mirror = n - 1 - i;
    if (mirror == i) continue;
    e0[mirror] = f.sign * e0[i] + f.constant + f.slope * mean[i];
    e1[mirror] = -(f.sign * e1[i] + f.slope * sd);
    e2[mirror] = e2[i];
    if (slopes == nullptr) continue;
    slopes->f2[mirror] = f.sign * slopes->f2[i];
    slopes->f3[mirror] = -f.sign * slopes->f3[i];
    slopes->p1[mirror] = -slopes->p1[i];
    slopes->p2[mirror] = slopes->p2[i];
  }
  return true;
}

void NamedMoments::expand(const double* mean, std::size_t n, double sd, double* e0, double* e1,
                          double* e2, const MomentSlopes* slopes) {
  if (sd == 0.0) {
    activate(activation_, mean, e0, n);
    std::fill_n(e1, n, 0.0);
    std::fill_n(e2, n, 0.0);
    if (slopes != nullptr) slopes->clear(n);
    return;
  }
  const auto each = [&](const auto& with) {
    closed_form(mean, n, sd, e0, e1, e2, slopes, with);
  };
  switch (activation_) {
    case Activation::relu:
      each([](auto s) { return [s](auto m) { return relu_moment(m, s); }; });
      return;
    case Activation::leaky_relu:
      each([](auto s) { return [s](auto m) { return hinge_moment(m, s, 0.01, 0.99); }; });
      return;
    case Activation::abs:
      each([](auto s) { return [s](auto m) { return hinge_moment(m, s, -1.0, 2.0); }; });
      return;
    case Activation::sign:
      each([](auto s) { return [s](auto m) { return sign_moment(m, s); }; });
      return;
    case Activation::erf:
      each([](auto s) { return ErfMoments<decltype(s)>(s); });
      return;
    case Activation::sin:
      each([](auto s) {
        return [all = TrigonometricMoments<decltype(s)>(s)](auto m) { return all.of_sin(m); };
      });
      return;
    case Activation::cos:
      each([](auto s) {
        return [all = TrigonometricMoments<decltype(s)>(s)](auto m) { return all.of_cos(m); };
      });
      return;
    case Activation::identity:
      each([](auto s) {
        return [s](auto m) { return Moment<decltype(m)>{m, s, decltype(m)(0.0)}; };
      });
      return;
    case Activation::hermite1:
    case Activation::hermite2:
    case Activation::hermite3:
    case Activation::hermite4:
    case Activation::hermite5: {
      const int degree = hermite_degree(activation_);
      each([=](auto s) { return [=](auto m) { return hermite_moment(degree, m, s); }; });
      return;
    }
    case Activation::tanh:
    case Activation::sigmoid:
    case Activation::softplus:
    case Activation::gelu:
    case Activation::silu:
      analytic_.evaluate(mean, n, sd, e0, e1, e2, slopes);
      return;
  }
}

void NamedMoments::add_variation(double slope, double sd, Variation& variation) const {
  slope = std::fabs(slope);
  if (slope == 0.0 || is_linear(activation_)) return;
  if (oscillates(activation_)) {
    variation.everywhere = std::min(variation.everywhere, 1.0 / slope);
    return;
  }
  // The tables are the function smoothed by the Gaussian: a kink survives at scale sd, a smooth
  // function has its own unit scale besides. A polynomial's tables are ratios on scale sd.
  const bool own_scale = !has_kink(activation_) && growth(activation_) <= 1;
  const double scale = std::sqrt(sd * sd + (own_scale ? 1.0 : 0.0)) / slope;
  if (scale > 0.0 || has_kink(activation_)) variation.features.push_back({0.0, scale});
}

// Means of sin and cos are exp(-sd^2/2) small. That of sin without a spike is zero.
bool NamedMoments::underflows(double slope, double sd) const {
  if (!oscillates(activation_) || std::exp(-sd * sd) > 1e-280) return false;
  return slope != 0.0 || reflection(activation_).sign > 0.0;
}

void CallbackMoments::add_variation(double slope, double sd, Variation& variation) const {
  if (slope == 0.0) return;
  variation.unknown = true;
  const double scale = sd / std::fabs(slope);
  const double own = std::sqrt(sd * sd + grain_ * grain_) / std::fabs(slope);
  variation.everywhere = std::min(variation.everywhere, std::max(own, 0.01));
  // Many breaks that the Gaussian smooths are one scale, met everywhere.
  constexpr std::size_t kMany = 32;
  constexpr double kSmooth = 0.05;
  if (breaks_.size() > kMany && scale > kSmooth) {
    variation.everywhere = std::min(variation.everywhere, scale);
    return;
  }
  for (double at : breaks_) variation.features.push_back({at / slope, scale});
}

bool Tables::fill(const Rule& rule, int level, int group_count, const double* r, const double* c,
                  double gamma, GaussianMoments& activation, GaussianMoments& target,
                  TableSlopes* slopes) {
  groups = group_count;
  nodes = rule.node.size();
  kappa_ = rule.node;
  stride = (nodes + lanes - 1) / lanes * lanes;
  const int pairs = pair_count(groups);
  data_.assign(static_cast<std::size_t>(feature_at() + pairs + groups) * stride, 0.0);
  scratch_.resize(stride);
  std::copy(rule.weight.begin(), rule.weight.end(), row(0));

  double* mean = scratch_.data();
  for (std::size_t i = 0; i < nodes; ++i) mean[i] = gamma * rule.node[i];
  const double target_sd = std::sqrt(std::max(0.0, (1.0 - gamma) * (1.0 + gamma)));
  MomentSlopes moved{};
  if (slopes != nullptr) {
    slopes->resize(groups, stride);
    moved = slopes->moments();
    std::copy(rule.node.begin(), rule.node.end(), slopes->row(3));
  }
  const MomentSlopes* const wanted = slopes != nullptr ? &moved : nullptr;
  if (!target.evaluate(mean, nodes, target_sd, level, row(1), row(3), row(2), wanted)) return false;
  if (slopes != nullptr && target_sd > 0.0) {
    // mean = gamma kappa and sd = sqrt(1 - gamma^2): d/dgamma = kappa d/dmean - (gamma/sd) d/dsd.
    const double along_sd = -gamma / target_sd;
    for (std::size_t i = 0; i < nodes; ++i) {
      const double kappa = rule.node[i];
      slopes->row(0)[i] = (kappa * hz()[i] + along_sd * moved.f2[i]) / target_sd;
      slopes->row(1)[i] = (kappa * moved.f2[i] + along_sd * (hz()[i] + moved.f3[i])) / target_sd;
      slopes->row(2)[i] = (kappa * moved.p1[i] + along_sd * moved.p2[i]) / target_sd;
    }
  }

  feature_power_ = 0.0;
  level_power_.assign(static_cast<std::size_t>(groups), 0.0);
  level_lost_ = false;
  for (int k = 0; k < groups; ++k) {
    double* mu0 = row(mu0_at() + k);
    double* mu1 = row(mu0_at() + groups + k);
    double* kappa_mu1 = row(mu0_at() + 2 * groups + k);
    double* mu2 = row(feature_at() + pairs + k);
    for (std::size_t i = 0; i < nodes; ++i) mean[i] = r[k] * rule.node[i];
    const double sd = std::sqrt(c[k]);
    if (!activation.evaluate(mean, nodes, sd, level, mu0, mu1, mu2, wanted)) return false;
    if (slopes != nullptr) {
      // mean = r kappa and sd = sqrt(c): d/dr = kappa d/dmean, d/dc = d/dsd / (2 sd); mu1 = e1/sd.
      for (std::size_t i = 0; i < nodes; ++i) {
        const double kappa = rule.node[i];
        slopes->row(4 + 5 * k)[i] = moved.f2[i] / (2.0 * c[k]);
        slopes->row(5 + 5 * k)[i] = kappa * moved.f2[i] / c[k];
        slopes->row(6 + 5 * k)[i] = moved.f3[i] / (2.0 * c[k] * sd);
        slopes->row(7 + 5 * k)[i] = kappa * moved.p1[i] / sd;
        slopes->row(8 + 5 * k)[i] = moved.p2[i] / (2.0 * c[k]);
      }
    }
    double power = 0.0;
    double level = 0.0;
    for (std::size_t i = 0; i < nodes; ++i) {
      power += row(0)[i] * (mu0[i] * mu0[i] + mu1[i] * mu1[i] + mu2[i]);
      level += row(0)[i] * mu0[i] * mu0[i];
      mu1[i] /= sd;  // e1 = E z sigma = sqrt(c) mu1
      kappa_mu1[i] = rule.node[i] * mu1[i];
    }
    feature_power_ += power;
    level_power_[static_cast<std::size_t>(k)] = level;
    level_lost_ = level_lost_ || activation.underflows(r[k], sd);
  }
  begin_ = {0, nodes};
  complete();
  return true;
}

void Tables::complete() {
  const int pairs = pair_count(groups);
  for (int k = 0; k < groups; ++k) {
    for (int l = k; l < groups; ++l) {
      double* f = row(feature_at() + pair_index(k, l, groups));
      for (std::size_t i = 0; i < nodes; ++i) f[i] = mu1(k)[i] * mu1(l)[i];
    }
  }
  // On padding nodes V must not vanish: 1/V is taken there too, though with weight zero.
  for (int a = 0; a < pairs + groups; ++a) {
    double* f = row(feature_at() + a);
    for (std::size_t i = nodes; i < stride; ++i) f[i] = 1.0;
  }

  mean_feature_.assign(static_cast<std::size_t>(pairs + groups), 0.0);
  for (int a = 0; a < pairs + groups; ++a) {
    for (std::size_t i = 0; i < nodes; ++i) {
      mean_feature_[static_cast<std::size_t>(a)] += weight()[i] * feature(a)[i];
    }
  }
  label_power_ = 0.0;
  for (std::size_t i = 0; i < nodes; ++i) {
    double power = h()[i] * h()[i] + g2()[i];
    for (int l = 0; l < latents.rest(); ++l) power += hz(l)[i] * hz(l)[i];
    label_power_ += weight()[i] * power;
  }
}

void Tables::take(const double* rows, std::size_t count, const std::vector<std::size_t>& begin,
                  int group_count, const Latents& of) {
  groups = group_count;
  latents = of;
  nodes = count;
  begin_ = begin;
  stride = (nodes + lanes - 1) / lanes * lanes;
  const int pairs = pair_count(groups);
  data_.assign(static_cast<std::size_t>(feature_at() + pairs + groups) * stride, 0.0);
  const double* next = rows;
  const auto put = [&](int to) {
    std::copy(next, next + nodes, row(to));
    next += nodes;
  };
  put(0);
  inverse_weight_.clear();
  if (std::any_of(next, next + nodes, [](double value) { return value != 1.0; })) {
    inverse_weight_.assign(stride, 1.0);
    std::copy(next, next + nodes, inverse_weight_.begin());
  }
  next += nodes;
  for (int to = 1; to < feature_at(); ++to) put(to);
  for (int k = 0; k < groups; ++k) put(feature_at() + pairs + k);
  feature_power_ = 0.0;
  level_power_.assign(static_cast<std::size_t>(groups), 0.0);
  level_lost_ = false;
  for (int k = 0; k < groups; ++k) {
    const double* mu2 = row(feature_at() + pairs + k);
    double& level = level_power_[static_cast<std::size_t>(k)];
    for (std::size_t i = 0; i < nodes; ++i) {
      level += weight()[i] * mu0(k)[i] * mu0(k)[i];
      feature_power_ += weight()[i] * (mu1(k)[i] * mu1(k)[i] + mu2[i]);
    }
    feature_power_ += level;
  }
  complete();
  pulled_feature_.clear();
  if (inverse_weight_.empty()) return;
  pulled_feature_.assign(mean_feature_.size(), 0.0);
  for (int a = 0; a < pairs + groups; ++a) {
    for (std::size_t i = 0; i < nodes; ++i) {
      pulled_feature_[static_cast<std::size_t>(a)] +=
          weight()[i] / inverse_weight_[i] * feature(a)[i];
    }
  }
}

}  // namespace spikedrf
