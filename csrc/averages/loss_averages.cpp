#include "averages/loss_averages.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "averages/ramp_averages.hpp"
#include "numerics/dispatch.hpp"
#include "numerics/quadrature.hpp"
#include "numerics/vector_math.hpp"

namespace spikedrf {

namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kInvSqrtTwoPi = 0.39894228040143267794;

// Gaussian weights are e^-37 there.
constexpr double kCutoff = 8.6;
// A Gaussian that is so much narrower than anything that varies is as good as its second moment.
constexpr double kPointlike = 1e-3;
// Labels of a smaller weight do not matter in double precision.
constexpr double kNegligible = 1e-30;

// ---- Smooth losses: a Gaussian convolution on a grid --------------------------------------------

// phi and the products of which averages are taken, on the grid.
struct GridRows {
  const double* phi;
  const double* slope;
  const double* phi2;
  const double* bend;
  const double* third;
  const double* phi_slope;
  const double* phi_slope_slope;
  const double* phi2_slope;
};

SPIKEDRF_MULTIVERSION
void convolve_first(const double* x, const double* quadrature, Index n, double mu, double inverse,
                    const GridRows& g, double* sum) noexcept {
  double s0 = 0.0, s1 = 0.0, s2 = 0.0;
#pragma omp simd reduction(+ : s0, s1, s2)
  for (Index i = 0; i < n; ++i) {
    const double z = (x[i] - mu) * inverse;
    const double w = quadrature[i] * vmath::exp_in_range(-0.5 * z * z);
    s0 += w * g.phi[i];
    s1 += w * g.slope[i];
    s2 += w * g.phi2[i];
  }
  sum[0] = s0;
  sum[1] = s1;
  sum[2] = s2;
}

SPIKEDRF_MULTIVERSION
void convolve_all(const double* x, const double* quadrature, Index n, double mu, double inverse,
                  const GridRows& g, double* sum) noexcept {
  double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0, s4 = 0.0, s5 = 0.0, s6 = 0.0, s7 = 0.0;
#pragma omp simd reduction(+ : s0, s1, s2, s3, s4, s5, s6, s7)
  for (Index i = 0; i < n; ++i) {
    const double z = (x[i] - mu) * inverse;
    const double w = quadrature[i] * vmath::exp_in_range(-0.5 * z * z);
    s0 += w * g.phi[i];
    s1 += w * g.slope[i];
    s2 += w * g.phi2[i];
    s3 += w * g.bend[i];
    s4 += w * g.third[i];
    s5 += w * g.phi_slope[i];
    s6 += w * g.phi_slope_slope[i];
    s7 += w * g.phi2_slope[i];
  }
  const double all[] = {s0, s1, s2, s3, s4, s5, s6, s7};
  std::copy(all, all + 8, sum);
}

// ---- Sums over zeta and the label ---------------------------------------------------------------

SPIKEDRF_MULTIVERSION
double sum_products(const double* a, const double* b, Index n) noexcept {
  double total = 0.0;
#pragma omp simd reduction(+ : total)
  for (Index j = 0; j < n; ++j) total += a[j] * b[j];
  return total;
}

SPIKEDRF_MULTIVERSION
double sum_products(const double* a, const double* b, const double* c, Index n) noexcept {
  double total = 0.0;
#pragma omp simd reduction(+ : total)
  for (Index j = 0; j < n; ++j) total += a[j] * b[j] * c[j];
  return total;
}

}  // namespace

LossAverages::LossAverages(Loss loss, LabelKind kind) : loss_(loss), kind_(kind) {}

// One entry for every zeta, or with sign labels for every zeta and label: the mean mu of
// x = sigma (y - omega) and the weight. Real labels bring their noise into the variance of x.
void LossAverages::branch(const LabelTable& labels, Index node, double noise, double flip,
                          const CavityField& field, bool differentiate) {
  const Index first = labels.begin(node);
  const Index last = labels.begin(node + 1);
  const bool signs = kind_ == LabelKind::sign;
  const Index most = (signs ? 2 : 1) * labels.largest();
  if (capacity_ < most) {
    capacity_ = most;
    for (auto* array : {&mu_, &weight_, &signed_, &label_, &by_noise_, &by_flip_}) {
      array->resize(most);
    }
    zeta_.resize(kMostLabelDirections * most);
    rows_.resize(kRows * most);
  }
  directions_ = labels.directions();
  tau_ = std::sqrt(signs ? field.t : field.t + noise * noise);
  const bool margin = traits(loss_).margin;
  count_ = 0;
  const auto add = [&](double weight, double y, Index entry) {
    if (weight < kNegligible && !differentiate) return;
    const double sigma = margin ? y : 1.0;
    double omega = field.mean;
    for (int a = 0; a < directions_; ++a) {
      const double at = labels.zeta(a)[entry];
      omega += field.s[a] * at;
      zeta(a)[count_] = at;
    }
    mu_[count_] = sigma * (y - omega);
    weight_[count_] = weight;
    signed_[count_] = sigma * weight;
    label_[count_] = y;
    ++count_;
  };
  for (Index j = first; j < last; ++j) {
    const double weight = labels.weight()[j];
    const double value = labels.value()[j];
    if (signs) {
      const double up = flip + (1.0 - 2.0 * flip) * value;
      add(weight * up, 1.0, j);
      add(weight * (1.0 - up), -1.0, j);
      if (!differentiate) continue;
      by_flip_[count_ - 2] = weight * (1.0 - 2.0 * value);
      by_noise_[count_ - 2] = weight * (1.0 - 2.0 * flip) * labels.by_noise()[j];
      by_flip_[count_ - 1] = -by_flip_[count_ - 2];
      by_noise_[count_ - 1] = -by_noise_[count_ - 2];
    } else {
      add(weight, value, j);
    }
  }
}

void EnvelopeSums::weigh(double weight) {
  f *= weight;
  f2 *= weight * weight;
  slope *= weight;
  for (double& entry : zeta_f) entry *= weight;
  for (int a = 0; a < kChannels; ++a) {
    for (int b = 0; b < kChannels; ++b) {
      second[a][b] *= weight * (a == kV ? weight : 1.0) * (b == kV ? weight : 1.0);
    }
  }
}

void Outcome::add(double weight, const Outcome& other) {
  test_error += weight * other.test_error;
  train_error += weight * other.train_error;
  test_loss += weight * other.test_loss;
  train_loss += weight * other.train_loss;
  test_margin += weight * other.test_margin;
  train_margin += weight * other.train_margin;
  wrong += weight * other.wrong;
  train_wrong += weight * other.train_wrong;
}

void LossAverages::average(double V, bool hessian) {
  if (traits(loss_).broken_line) {
    Ramp ramp = ramp_of(loss_);
    ramp.width += V;
    ramp_averages(ramp, mu_.data(), count_, tau_, hessian, averages());
  } else {
    average_smooth(V, hessian, false);
  }
}

void LossAverages::fresh_losses() {
  constexpr double kNone = 1e-60;  // a response that changes nothing
  if (!traits(loss_).broken_line) {
    average_smooth(kNone, false, true);
    return;
  }
  ramp_averages(ramp_of(loss_), mu_.data(), count_, tau_, false, averages());
  ramp_fit(ramp_of(loss_), 0.0, mu_.data(), count_, tau_, row(kThird), row(kPhi2Slope));
}

EnvelopeSums LossAverages::envelope(const LabelTable& labels, Index node, double noise, double flip,
                                    const CavityField& field, bool hessian) {
  branch(labels, node, noise, flip, field);
  average(field.V, hessian);
  double* rows[kRows];
  for (int i = 0; i < kRows; ++i) rows[i] = row(i);
  if (products_.size() < count_) products_.resize(count_);
  EnvelopeSums sums;
  const Index n = count_;
  const double* weight = weight_.data();
  const double* sign = signed_.data();
  sums.f = sum_products(sign, rows[kPhi], n);
  sums.slope = sum_products(weight, rows[kSlope], n);
  sums.f2 = sum_products(weight, rows[kPhi2], n);
  for (int a = 0; a < directions_; ++a) {
    sums.zeta_f[a] = sum_products(sign, zeta(a), rows[kPhi], n);
  }
  if (!hessian) return sums;
  const auto put = [&sums](int a, int b, double value) {
    sums.second[a][b] = sums.second[b][a] = value;
  };
  put(kMean, kMean, sums.slope);
  put(kMean, kT, -0.5 * sum_products(sign, rows[kBend], n));
  put(kT, kT, 0.25 * sum_products(weight, rows[kThird], n));
  put(kMean, kV, sum_products(sign, rows[kPhiSlope], n));
  put(kT, kV, -0.5 * sum_products(weight, rows[kPhiSlopeSlope], n));
  put(kV, kV, sum_products(weight, rows[kPhi2Slope], n));
  for (int a = 0; a < directions_; ++a) {
    const double* along = zeta(a);
    double* with_slope = products_.data();
    for (Index j = 0; j < n; ++j) with_slope[j] = weight[j] * along[j] * rows[kSlope][j];
    double total = 0.0;
    for (Index j = 0; j < n; ++j) total += with_slope[j];
    put(kMean, kS + a, total);
    for (int b = a; b < directions_; ++b) put(kS + a, kS + b, sum_products(with_slope, zeta(b), n));
    put(kS + a, kT, -0.5 * sum_products(sign, along, rows[kBend], n));
    put(kS + a, kV, sum_products(sign, along, rows[kPhiSlope], n));
  }
  return sums;
}

// The points x on which phi is evaluated, every mu within reach of its Gaussian.
//
// phi is analytic but for corners at a distance `strip` from the real axis. If that is no less than
// half of tau: a uniform grid (trapezoid), whose error for the convolution is
// e^{a^2/2 - 2 pi a tau/step} for any a up to strip/tau; the step makes it e^-37. Only points that
// some mu needs are kept. Otherwise Gauss-Legendre panels that are graded towards the corners.
//
// Where tau is tiny instead every mu has three points of its own (Gauss-Hermite), and no grid is
// laid: false.
bool LossAverages::lay_grid(double V) {
  x_.clear();
  quadrature_.clear();
  const Corners corners = corners_of(loss_, V);
  const double strip = corners.strip;
  const double reach = kCutoff * tau_;
  if (tau_ < kPointlike * strip) {
    // phi is a polynomial of degree 5 as far as N(mu, tau^2) can tell.
    for (Index j = 0; j < count_; ++j) {
      for (int side = -1; side <= 1; ++side) x_.push_back(mu_[j] + side * std::sqrt(3.0) * tau_);
    }
    return false;
  }
  sorted_.assign(mu_.begin(), mu_.begin() + count_);
  std::sort(sorted_.begin(), sorted_.end());
  if (strip >= 0.5 * tau_) {
    const double d = std::min(strip / tau_, 8.6);
    const double step = tau_ * 2.0 * kPi * d / (37.0 + 0.5 * d * d);
    const double origin = sorted_.front() - reach;
    double next = 0.0;  // in steps
    for (double mu : sorted_) {
      const double from = std::max(next, std::ceil((mu - reach - origin) / step));
      const double to = std::floor((mu + reach - origin) / step);
      for (next = from; next <= to; next += 1.0) {
        x_.push_back(origin + next * step);
        quadrature_.push_back(step);
      }
    }
    return true;
  }
  const LegendreRule& base = legendre_rule(20);
  const Array<double> edge =
      graded_edges(sorted_.front() - reach, sorted_.back() + reach, 3.0 * tau_,
                   {{corners.right, strip}, {corners.left, strip}});
  for (Index e = 0; e + 1 < edge.size(); ++e) {
    const double half = 0.5 * (edge[e + 1] - edge[e]);
    for (Index i = 0; i < base.node.size(); ++i) {
      x_.push_back(edge[e] + half * (1.0 + base.node[i]));
      quadrature_.push_back(half * base.weight[i]);
    }
  }
  return true;
}

void LossAverages::average_smooth(double V, bool hessian, bool losses) {
  const bool grid = lay_grid(V);
  const Index n = x_.size();
  phi_rows_.resize(6 * n);
  products_.resize(4 * n);
  double* at = phi_rows_.data();
  const PhiRows phi{at, at + n, at + 2 * n, at + 3 * n, at + 4 * n, at + 5 * n};
  smooth_phi(loss_, V, x_.data(), n, phi);
  double* product = products_.data();
  for (Index i = 0; i < n; ++i) {
    product[i] = phi.phi[i] * phi.phi[i];
    product[n + i] = phi.phi[i] * phi.slope[i];
    product[2 * n + i] = phi.slope[i] * phi.slope[i] + phi.phi[i] * phi.bend[i];
    product[3 * n + i] = product[i] * phi.slope[i];
  }
  GridRows rows{phi.phi,  phi.slope,   product,         phi.bend,
                phi.third, product + n, product + 2 * n, product + 3 * n};
  if (losses) {  // in place of what is not needed then
    loss_values(loss_, phi.t, phi.bend, n);
    loss_values(loss_, x_.data(), phi.third, n);
    for (Index i = 0; i < n; ++i) product[n + i] = phi.t[i] * phi.t[i];
  }
  const double* all_rows[] = {rows.phi,   rows.slope,     rows.phi2,            rows.bend,
                              rows.third, rows.phi_slope, rows.phi_slope_slope, rows.phi2_slope};
  if (!grid) {
    for (int i = 0; i < kRows; ++i) {
      for (Index j = 0; j < count_; ++j) {
        const double* at_j = all_rows[i] + 3 * j;
        row(i)[j] = (at_j[0] + 4.0 * at_j[1] + at_j[2]) / 6.0;
      }
    }
    return;
  }
  const double inverse = 1.0 / tau_;
  const double norm = kInvSqrtTwoPi * inverse;
  for (Index j = 0; j < count_; ++j) {
    const auto from = std::lower_bound(x_.begin(), x_.end(), mu_[j] - kCutoff * tau_);
    const auto to = std::upper_bound(from, x_.end(), mu_[j] + kCutoff * tau_);
    const Index start = from - x_.begin();
    const Index size = to - from;
    GridRows here = rows;
    for (const double** each : {&here.phi, &here.slope, &here.phi2, &here.bend, &here.third,
                                &here.phi_slope, &here.phi_slope_slope, &here.phi2_slope}) {
      *each += start;
    }
    double sum[kRows];
    const bool all = hessian || losses;
    (all ? convolve_all : convolve_first)(x_.data() + start, quadrature_.data() + start, size,
                                          mu_[j], inverse, here, sum);
    for (int i = 0; i < (all ? kRows : 3); ++i) row(i)[j] = norm * sum[i];
  }
}

Outcome LossAverages::outcome(const LabelTable& labels, Index node, double noise, double flip,
                              const CavityField& field) {
  branch(labels, node, noise, flip, field);
  const double V = field.V;
  const Index n = count_;
  double* rows[kRows];
  for (int i = 0; i < kRows; ++i) rows[i] = row(i);
  const double* fresh_loss = rows[kThird];
  const double* trained_loss = rows[kBend];
  const double* trained_square = rows[kPhiSlope];
  if (traits(loss_).broken_line) {
    Ramp envelope = ramp_of(loss_);
    envelope.width += V;
    ramp_averages(envelope, mu_.data(), n, tau_, false, averages());
    ramp_fit(ramp_of(loss_), 0.0, mu_.data(), n, tau_, rows[kThird], rows[kPhi2Slope]);
    ramp_fit(ramp_of(loss_), V, mu_.data(), n, tau_, rows[kBend], rows[kPhiSlope]);
  } else {
    average_smooth(V, false, true);
  }
  Outcome result;
  for (Index j = 0; j < n; ++j) {
    result.test_loss += weight_[j] * fresh_loss[j];
    result.train_loss += weight_[j] * trained_loss[j];
  }
  rates(field, result);
  if (kind_ == LabelKind::real) {
    for (Index j = 0; j < n; ++j) {
      result.test_error += weight_[j] * (mu_[j] * mu_[j] + tau_ * tau_);
      result.train_error += weight_[j] * trained_square[j];
    }
    return result;
  }
  // h = omega + V f.
  const bool margin = traits(loss_).margin;
  for (Index j = 0; j < n; ++j) {
    // label times the mean of omega: mu = sigma (y - omega), with sigma = y or 1
    const double at = margin ? 1.0 - mu_[j] : label_[j] * (label_[j] - mu_[j]);
    const double force = margin ? rows[kPhi][j] : label_[j] * rows[kPhi][j];
    result.test_margin += weight_[j] * at;
    result.train_margin += weight_[j] * (at + V * force);
  }
  return result;
}

// The sign of y h is wrong where omega is beyond -V f(h = 0), since h increases with omega (V = 0
// for a fresh sample): a normal cdf.
void LossAverages::rates(const CavityField& field, Outcome& result) {
  const bool margin = traits(loss_).margin;
  // f(h = 0) of the label, with its sign: of a loss of the margin phi = loss'(1) at h = 0, of
  // another f = loss'(y).
  const double up = field.V * loss_slope(loss_, 1.0);
  const double down = margin ? up : -field.V * loss_slope(loss_, -1.0);
  const double inverse = 1.0 / std::sqrt(field.t);
  for (Index j = 0; j < count_; ++j) {
    if (std::fabs(label_[j]) != 1.0) {
      result.wrong = result.train_wrong = std::numeric_limits<double>::quiet_NaN();
      return;
    }
    const double sigma = margin ? label_[j] : 1.0;
    const double at = label_[j] * (label_[j] - sigma * mu_[j]);
    result.wrong += weight_[j] * vmath::normal_cdf(-at * inverse);
    const double shift = label_[j] > 0.0 ? up : down;
    result.train_wrong += weight_[j] * vmath::normal_cdf(-(at + shift) * inverse);
  }
}

}  // namespace spikedrf
