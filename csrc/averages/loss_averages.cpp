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

// Gaussian weights are e^-exponent at the cutoff: no more digits than double precision has.
constexpr double kMostExponent = 37.0;
constexpr double kLeastExponent = 24.0;
// A Gaussian that is so much narrower than anything that varies is as good as its second moment.
constexpr double kPointlike = 1e-3;
// A response that changes nothing.
constexpr double kNone = 1e-60;
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

// ---- The density of x on a grid -----------------------------------------------------------------

// What is spread on a uniform grid: at place[j] begin `width` points, the middle one (`half` from
// the first) offset[j] steps below mu; zeta and two weights.
struct Spread {
  const Index* place;
  const double* offset;
  const double* weight;
  const double* zeta;
  Index count, width, half;
  double step;  // over tau
};

// Adds weight (1, zeta, zeta^2) N(x; mu, tau^2) step to the rows. With x = x_middle + i step and mu
// = x_middle + offset step the Gaussian is e^{-offset^2/2} e^{i offset} e^{-i^2/2} in units of
// tau/step: the last factor is `profile`, the second a geometric sequence, which goes on eight
// points at a time.
SPIKEDRF_MULTIVERSION
void spread_uniform(const Spread& s, const double* SPIKEDRF_RESTRICT profile, bool squares,
                    double* SPIKEDRF_RESTRICT first, double* SPIKEDRF_RESTRICT second,
                    double* SPIKEDRF_RESTRICT third) noexcept {
  constexpr int kBlock = 8;
  const double scale = s.step * s.step;
  const double norm = kInvSqrtTwoPi * s.step;
  for (Index j = 0; j < s.count; ++j) {
    const double rate = scale * s.offset[j];
    const double whole =
        norm * s.weight[j] * vmath::exp_in_range(-0.5 * rate * s.offset[j]);
    const double zeta = s.zeta[j];
    const double square = zeta * zeta;
    const double ratio = vmath::exp_in_range(kBlock * rate);
    double power[kBlock];
    SPIKEDRF_SIMD
    for (int k = 0; k < kBlock; ++k) {
      power[k] = whole * vmath::exp_in_range(rate * static_cast<double>(k - s.half));
    }
    double* const row0 = first + s.place[j];
    double* const row1 = second + s.place[j];
    double* const row2 = third + s.place[j];
    for (Index b = 0; b < s.width; b += kBlock) {
      SPIKEDRF_SIMD
      for (int k = 0; k < kBlock; ++k) {
        const double here = power[k] * profile[b + k];
        row0[b + k] += here;
        row1[b + k] += zeta * here;
        if (squares) row2[b + k] += square * here;
        power[k] *= ratio;
      }
    }
  }
}

SPIKEDRF_MULTIVERSION
void spread_panels(const double* x, const double* quadrature, Index n, double mu, double inverse,
                   double weight, double zeta, double* first, double* second,
                   double* third) noexcept {
  const double norm = kInvSqrtTwoPi * inverse * weight;
  SPIKEDRF_SIMD
  for (Index i = 0; i < n; ++i) {
    const double z = (x[i] - mu) * inverse;
    const double here = norm * quadrature[i] * vmath::exp_in_range(-0.5 * z * z);
    first[i] += here;
    second[i] += zeta * here;
    third[i] += zeta * zeta * here;
  }
}

// The field of signs without noise, for one label y: zeta given omega is N(slope (omega - mean),
// width^2), and jumps are at `cut`, the first label to the left of them all being +1 or not.
struct CutField {
  double y, sigma, mean, inverse, slope, width, step, flip, up_first;
};

SPIKEDRF_MULTIVERSION
void spread_cuts(const CutField& c, const double* cut, Index cuts, const double* x, Index n,
                 double* SPIKEDRF_RESTRICT first, double* SPIKEDRF_RESTRICT second,
                 double* SPIKEDRF_RESTRICT third) noexcept {
  const double inverse_width = 1.0 / c.width;
  SPIKEDRF_SIMD
  for (Index i = 0; i < n; ++i) {
    const double away = c.y - c.sigma * x[i] - c.mean;
    const double centre = c.slope * away;
    const double z = away * c.inverse;
    const double bounded = z > 37.0 ? 37.0 : (z < -37.0 ? -37.0 : z);
    const double density = kInvSqrtTwoPi * c.step * vmath::gaussian(bounded);
    double up0 = c.up_first;
    double up1 = c.up_first * centre;
    double up2 = c.up_first * (centre * centre + c.width * c.width);
    double jump = 1.0 - 2.0 * c.up_first;
    for (Index k = 0; k < cuts; ++k) {
      const double raw = (cut[k] - centre) * inverse_width;
      const double at = raw > 37.0 ? 37.0 : (raw < -37.0 ? -37.0 : raw);
      const double tail = vmath::normal_cdf(-at);
      const double pdf = kInvSqrtTwoPi * vmath::gaussian(at);
      up0 += jump * tail;
      up1 += jump * (centre * tail + c.width * pdf);
      up2 += jump * ((centre * centre + c.width * c.width) * tail +
                     c.width * (centre + cut[k]) * pdf);
      jump = -jump;
    }
    const double kept = 1.0 - 2.0 * c.flip;
    const double of_up0 = c.flip + kept * up0;
    const double of_up1 = c.flip * centre + kept * up1;
    const double of_up2 = c.flip * (centre * centre + c.width * c.width) + kept * up2;
    const bool up = c.y > 0.0;
    first[i] = density * (up ? of_up0 : 1.0 - of_up0);
    second[i] = density * (up ? of_up1 : centre - of_up1);
    third[i] = density * (up ? of_up2 : centre * centre + c.width * c.width - of_up2);
  }
}

SPIKEDRF_MULTIVERSION
void fill_profile(double* profile, Index count, double half, double step) noexcept {
  SPIKEDRF_SIMD
  for (Index i = 0; i < count; ++i) {
    const double z = (static_cast<double>(i) - half) * step;
    profile[i] = vmath::exp_in_range(-0.5 * z * z);
  }
}

// Adds the sums over x of one label.
SPIKEDRF_MULTIVERSION
void sum_grid(Index n, double sigma, const PhiRows& phi, const double* w0, const double* w1,
              const double* w2, bool hessian, EnvelopeSums& sums) noexcept {
  double f = 0.0, zf = 0.0, f2 = 0.0, slope = 0.0;
#pragma omp simd reduction(+ : f, zf, f2, slope)
  for (Index i = 0; i < n; ++i) {
    f += w0[i] * phi.phi[i];
    zf += w1[i] * phi.phi[i];
    f2 += w0[i] * phi.phi[i] * phi.phi[i];
    slope += w0[i] * phi.slope[i];
  }
  sums.f += sigma * f;
  sums.zeta_f[0] += sigma * zf;
  sums.f2 += f2;
  sums.slope += slope;
  if (!hessian) return;
  double ms = 0.0, ss = 0.0, mt = 0.0, st = 0.0, tt = 0.0, mV = 0.0, sV = 0.0, tV = 0.0, VV = 0.0;
#pragma omp simd reduction(+ : ms, ss, mt, st, tt, mV, sV, tV, VV)
  for (Index i = 0; i < n; ++i) {
    const double along = phi.phi[i] * phi.slope[i];
    ms += w1[i] * phi.slope[i];
    ss += w2[i] * phi.slope[i];
    mt += w0[i] * phi.bend[i];
    st += w1[i] * phi.bend[i];
    tt += w0[i] * phi.third[i];
    mV += w0[i] * along;
    sV += w1[i] * along;
    tV += w0[i] * (phi.slope[i] * phi.slope[i] + phi.phi[i] * phi.bend[i]);
    VV += w0[i] * phi.phi[i] * along;
  }
  const auto add = [&sums](int a, int b, double value) {
    sums.second[a][b] += value;
    if (a != b) sums.second[b][a] += value;
  };
  add(kMean, kMean, slope);
  add(kMean, kS, ms);
  add(kS, kS, ss);
  add(kMean, kT, -0.5 * sigma * mt);
  add(kS, kT, -0.5 * sigma * st);
  add(kT, kT, 0.25 * tt);
  add(kMean, kV, sigma * mV);
  add(kS, kV, sigma * sV);
  add(kT, kV, -0.5 * tV);
  add(kV, kV, VV);
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

// Label times the mean of omega: mu = sigma (y - omega), with sigma = y or 1.
SPIKEDRF_INLINE double margin_at(double label, double mu, bool margin) {
  return margin ? 1.0 - mu : label * (label - mu);
}

// Chances of a wrong sign, of fresh samples and of training samples.
SPIKEDRF_MULTIVERSION
void sum_wrong(const double* weight, const double* label, const double* mu, Index n, bool margin,
               double inverse, double up, double down, double* wrong,
               double* train_wrong) noexcept {
  double fresh = 0.0, trained = 0.0;
#pragma omp simd reduction(+ : fresh, trained)
  for (Index j = 0; j < n; ++j) {
    const double at = margin_at(label[j], mu[j], margin);
    const double shift = label[j] > 0.0 ? up : down;
    fresh += weight[j] * vmath::normal_cdf(-at * inverse);
    trained += weight[j] * vmath::normal_cdf(-(at + shift) * inverse);
  }
  *wrong = fresh;
  *train_wrong = trained;
}

}  // namespace

LossAverages::LossAverages(Loss loss, LabelKind kind, double rtol)
    : loss_(loss),
      kind_(kind),
      exponent_(std::clamp(-std::log(1e-5 * rtol), kLeastExponent, kMostExponent)),
      cutoff_(std::sqrt(2.0 * exponent_)) {}

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
  if (!traits(loss_).broken_line) {
    average_smooth(kNone, false, true);
    return;
  }
  ramp_averages(ramp_of(loss_), mu_.data(), count_, tau_, false, averages());
  ramp_fit(ramp_of(loss_), 0.0, mu_.data(), count_, tau_, row(kThird), row(kPhi2Slope));
}

EnvelopeSums LossAverages::envelope(const LabelTable& labels, Index node, double noise, double flip,
                                    const CavityField& field, bool hessian) {
  if (on_grid(labels)) {
    if (!spread_signs(labels, node, flip, field, false)) {
      branch(labels, node, noise, flip, field);
      spread(lay_grid(field.V, false), hessian);
    }
    return sum_smooth(field.V, hessian);
  }
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
// e^{a^2/2 - 2 pi a tau/step} for any a up to strip/tau; the step makes it e^-exponent. Only points
// that some mu needs are kept. Otherwise Gauss-Legendre panels that are graded towards the corners.
//
// Where tau is tiny instead every mu has three points of its own (Gauss-Hermite).
// With `fresh` the loss itself, whose corners are those at V = 0, is averaged on them too.
LossAverages::Grid LossAverages::lay_grid(double V, bool fresh) {
  const Corners corners = corners_of(loss_, V);
  const Corners plain = fresh ? corners_of(loss_, kNone) : corners;
  const double strip = std::min(corners.strip, plain.strip);
  x_.clear();
  quadrature_.clear();
  const double reach = cutoff_ * tau_;
  if (tau_ < kPointlike * strip) {
    // phi is a polynomial of degree 5 as far as N(mu, tau^2) can tell.
    for (Index j = 0; j < count_; ++j) {
      for (int side = -1; side <= 1; ++side) {
        x_.push_back(mu_[j] + side * std::sqrt(3.0) * tau_);
        quadrature_.push_back(side == 0 ? 4.0 / 6.0 : 1.0 / 6.0);
      }
    }
    return Grid::three;
  }
  sorted_.assign(mu_.begin(), mu_.begin() + count_);
  std::sort(sorted_.begin(), sorted_.end());
  if (strip >= 0.5 * tau_) {
    lay_uniform(strip, reach);
    return Grid::uniform;
  }
  const LegendreRule& base = legendre_rule(20);
  const Array<double> edge =
      graded_edges(sorted_.front() - reach, sorted_.back() + reach, 3.0 * tau_,
                   {{corners.right, corners.strip},
                    {corners.left, corners.strip},
                    {plain.right, plain.strip},
                    {plain.left, plain.strip}});
  for (Index e = 0; e + 1 < edge.size(); ++e) {
    const double half = 0.5 * (edge[e + 1] - edge[e]);
    for (Index i = 0; i < base.node.size(); ++i) {
      x_.push_back(edge[e] + half * (1.0 + base.node[i]));
      quadrature_.push_back(half * base.weight[i]);
    }
  }
  return Grid::panels;
}

// Around every entry of sorted_, as far as `reach`.
void LossAverages::lay_uniform(double strip, double reach) {
  const double d = std::min(strip / tau_, cutoff_);
  step_ = tau_ * 2.0 * kPi * d / (exponent_ + 0.5 * d * d);
  origin_ = sorted_.front();
  const double half = std::ceil(reach / step_);
  pieces_.clear();
  double next = -1e300;  // in steps
  Index count = 0;
  for (double mu : sorted_) {
    const double middle = std::floor((mu - origin_) / step_ + 0.5);
    if (middle - half > next) {
      pieces_.push_back({middle - half, count});
      next = middle - half;
    }
    const double fresh = std::max(middle + half + 1.0 - next, 0.0);
    count += static_cast<Index>(fresh);
    next += fresh;
  }
  x_.resize(count);
  quadrature_.assign(count, step_);
  for (Index p = 0; p < pieces_.size(); ++p) {
    const Index end = p + 1 < pieces_.size() ? pieces_[p + 1].place : count;
    for (Index i = pieces_[p].place; i < end; ++i) {
      x_[i] = origin_ + (pieces_[p].step + static_cast<double>(i - pieces_[p].place)) * step_;
    }
  }
}

// Signs without noise: given omega, zeta is N(centre, width^2) and the label a function of it with
// jumps, so that the density of x is known in closed form. False where no uniform grid will do.
bool LossAverages::spread_signs(const LabelTable& labels, Index node, double flip,
                                const CavityField& field, bool fresh) {
  if (!labels.known_cuts()) return false;
  const double least = corners_of(loss_, fresh ? kNone : field.V).strip;
  const double strip = std::min(corners_of(loss_, field.V).strip, least);
  const double s = field.s[0];
  tau_ = std::sqrt(field.t);
  if (strip < 0.5 * tau_ || tau_ < kPointlike * strip) return false;
  const bool margin = traits(loss_).margin;
  const double power = field.t + s * s;
  const double root = std::sqrt(power);
  constexpr double kMostSteps = 64.0;  // in a standard deviation, roughly
  if (root > kMostSteps * tau_) return false;
  sorted_ = {1.0 - field.mean, margin ? 1.0 + field.mean : -1.0 - field.mean};
  std::sort(sorted_.begin(), sorted_.end());
  lay_uniform(strip, cutoff_ * root);
  const Index n = x_.size();
  const Index stride = n + 8;
  density_.assign(6 * stride, 0.0);
  for (int side = 0; side < 2; ++side) {
    const double y = side == 0 ? 1.0 : -1.0;
    const CutField cut{y,
                       margin ? y : 1.0,
                       field.mean,
                       1.0 / root,
                       s / power,
                       std::sqrt(field.t / power),
                       step_ / root,
                       flip,
                       labels.up_first() ? 1.0 : 0.0};
    double* const row = density_.data() + side * 3 * stride;
    spread_cuts(cut, labels.cuts(node), labels.cut_count(), x_.data(), n, row, row + stride,
                row + 2 * stride);
  }
  return true;
}

// The density of x on the grid, label by label, in rows of x_.size() and some room.
void LossAverages::spread(Grid grid, bool hessian) {
  constexpr Index kBlock = 8;
  const Index stride = x_.size() + kBlock;
  density_.assign(6 * stride, 0.0);
  const auto rows_of = [&](Index j) {
    return density_.data() + (kind_ == LabelKind::sign && label_[j] < 0.0 ? 3 * stride : 0);
  };
  if (grid == Grid::three) {
    for (Index j = 0; j < count_; ++j) {
      double* const row = rows_of(j);
      for (Index i = 3 * j; i < 3 * j + 3; ++i) {
        row[i] = weight_[j] * quadrature_[i];
        row[stride + i] = zeta(0)[j] * row[i];
        row[2 * stride + i] = zeta(0)[j] * row[stride + i];
      }
    }
    return;
  }
  if (grid == Grid::panels) {
    for (Index j = 0; j < count_; ++j) {
      const auto from = std::lower_bound(x_.begin(), x_.end(), mu_[j] - cutoff_ * tau_);
      const auto to = std::upper_bound(from, x_.end(), mu_[j] + cutoff_ * tau_);
      const Index start = from - x_.begin();
      double* const row = rows_of(j) + start;
      spread_panels(x_.data() + start, quadrature_.data() + start, to - from, mu_[j], 1.0 / tau_,
                    weight_[j], zeta(0)[j], row, row + stride, row + 2 * stride);
    }
    return;
  }
  const double step = step_ / tau_;
  const double half = std::ceil(cutoff_ / step);
  const Index width = (2 * static_cast<Index>(half) + kBlock) / kBlock * kBlock;
  profile_.assign(width, 0.0);
  fill_profile(profile_.data(), 2 * static_cast<Index>(half) + 1, half, step);
  place_.resize(count_);
  offset_.resize(count_);
  for (Index j = 0; j < count_; ++j) {
    const double at = (mu_[j] - origin_) / step_;
    const double middle = std::floor(at + 0.5);
    offset_[j] = at - middle;
    const auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), middle,
                                        [](double x, const Piece& p) { return x < p.step; });
    const Piece& found = *(piece - 1);
    place_[j] = found.place + static_cast<Index>(middle - half - found.step);
  }
  // Entries of one label follow each other in two runs, or are all of one.
  for (int side = 0; side < 2; ++side) {
    Index n = 0;
    zeta_weight_.resize(3 * count_);
    double* const weight = zeta_weight_.data();
    double* const zetas = weight + count_;
    double* const offset = zetas + count_;
    places_.resize(count_);
    for (Index j = 0; j < count_; ++j) {
      const bool negative = kind_ == LabelKind::sign && label_[j] < 0.0;
      if (negative != (side == 1)) continue;
      weight[n] = weight_[j];
      zetas[n] = zeta(0)[j];
      offset[n] = offset_[j];
      places_[n++] = place_[j];
    }
    double* const row = density_.data() + side * 3 * stride;
    const Spread what{places_.data(), offset, weight,  zetas, n, width,
                      static_cast<Index>(half), step};
    spread_uniform(what, profile_.data(), hessian, row, row + stride, row + 2 * stride);
  }
}

PhiRows LossAverages::phi_on_grid(double V) {
  const Index n = x_.size();
  phi_rows_.resize(6 * n);
  double* at = phi_rows_.data();
  const PhiRows phi{at, at + n, at + 2 * n, at + 3 * n, at + 4 * n, at + 5 * n};
  smooth_phi(loss_, V, x_.data(), n, phi);
  return phi;
}

EnvelopeSums LossAverages::sum_smooth(double V, bool hessian) {
  const PhiRows phi = phi_on_grid(V);
  const Index stride = x_.size() + 8;
  const bool margin = traits(loss_).margin;
  EnvelopeSums sums;
  for (int side = 0; side < (kind_ == LabelKind::sign ? 2 : 1); ++side) {
    const double* const row = density_.data() + side * 3 * stride;
    const double sigma = margin && side == 1 ? -1.0 : 1.0;
    sum_grid(x_.size(), sigma, phi, row, row + stride, row + 2 * stride, hessian, sums);
  }
  return sums;
}

// Losses, squares and forces; what the fields of the entries give is the caller's.
void LossAverages::sum_outcome(double V, Outcome& result) {
  const PhiRows phi = phi_on_grid(V);
  const Index n = x_.size();
  const Index stride = n + 8;
  loss_values(loss_, phi.t, phi.bend, n);
  loss_values(loss_, x_.data(), phi.third, n);
  const double* const up = density_.data();
  const double* const down = up + 3 * stride;
  const bool margin = traits(loss_).margin;
  double force = 0.0;
  for (Index i = 0; i < n; ++i) {
    const double both = up[i] + down[i];
    result.train_loss += both * phi.bend[i];
    result.test_loss += both * phi.third[i];
    if (kind_ == LabelKind::real) result.train_error += both * phi.t[i] * phi.t[i];
    force += (margin ? both : up[i] - down[i]) * phi.phi[i];
  }
  if (kind_ == LabelKind::sign) result.train_margin += V * force;
}

void LossAverages::average_smooth(double V, bool hessian, bool losses) {
  const bool grid = lay_grid(V, losses) != Grid::three;
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
    const auto from = std::lower_bound(x_.begin(), x_.end(), mu_[j] - cutoff_ * tau_);
    const auto to = std::upper_bound(from, x_.end(), mu_[j] + cutoff_ * tau_);
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
  Outcome result;
  rates(field, result);
  if (on_grid(labels)) {
    for (Index j = 0; j < n; ++j) {
      if (kind_ == LabelKind::real) {
        result.test_error += weight_[j] * (mu_[j] * mu_[j] + tau_ * tau_);
      } else {
        const bool margin = traits(loss_).margin;
        result.test_margin += weight_[j] * margin_at(label_[j], mu_[j], margin);
      }
    }
    result.train_margin = result.test_margin;
    if (!spread_signs(labels, node, flip, field, true)) spread(lay_grid(V, true), false);
    sum_outcome(V, result);
    return result;
  }
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
  for (Index j = 0; j < n; ++j) {
    result.test_loss += weight_[j] * fresh_loss[j];
    result.train_loss += weight_[j] * trained_loss[j];
  }
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
    const double at = margin_at(label_[j], mu_[j], margin);
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
  for (Index j = 0; j < count_; ++j) {
    if (std::fabs(label_[j]) != 1.0) {
      result.wrong = result.train_wrong = std::numeric_limits<double>::quiet_NaN();
      return;
    }
  }
  // f(h = 0) of the label, with its sign: of a loss of the margin phi = loss'(1) at h = 0, of
  // another f = loss'(y).
  const double up = field.V * loss_slope(loss_, 1.0);
  const double down = margin ? up : -field.V * loss_slope(loss_, -1.0);
  sum_wrong(weight_.data(), label_.data(), mu_.data(), count_, margin, 1.0 / std::sqrt(field.t), up,
            down, &result.wrong, &result.train_wrong);
}

}  // namespace spikedrf
