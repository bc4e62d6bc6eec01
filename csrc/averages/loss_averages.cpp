#include "averages/loss_averages.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "averages/ramp_averages.hpp"
#include "numerics/dispatch.hpp"
#include "numerics/vector_math.hpp"

namespace spikedrf {

namespace {

constexpr double kInvSqrtTwoPi = 0.39894228040143267794;
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
void add_products(double a, const double* x, Index n, double* SPIKEDRF_RESTRICT out) noexcept {
  SPIKEDRF_SIMD
  for (Index j = 0; j < n; ++j) out[j] += a * x[j];
}

// The weights of one label, of chance rest + share value, and these times sigma. Returns the
// smallest.
SPIKEDRF_MULTIVERSION
double weigh_labels(const double* weight, const double* value, Index n, double rest, double share,
                    double sigma, double* SPIKEDRF_RESTRICT out,
                    double* SPIKEDRF_RESTRICT signed_out) noexcept {
  double least = 1.0;
#pragma omp simd reduction(min : least)
  for (Index j = 0; j < n; ++j) {
    const double here = weight[j] * (rest + share * value[j]);
    out[j] = here;
    signed_out[j] = sigma * here;
    least = here < least ? here : least;
  }
  return least;
}

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
    fresh += weight[j] * vmath::normal_tail_beyond(at * inverse);
    trained += weight[j] * vmath::normal_tail_beyond((at + shift) * inverse);
  }
  *wrong = fresh;
  *train_wrong = trained;
}

}  // namespace

LossAverages::LossAverages(Loss loss, LabelKind kind, double rtol, bool with_rates)
    : loss_(loss),
      kind_(kind),
      with_rates_(with_rates),
      grid_(loss, rtol),
      density_(loss, kind, rtol) {}

// One entry for every zeta, or with sign labels for every zeta and label, the labels +1 before the
// others: the mean mu of
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
  const double* const weight = labels.weight() + first;
  const double* const value = labels.value() + first;
  const Index n = last - first;
  const auto lay = [&](double y) {
    const double sigma = margin ? y : 1.0;
    double* const mu = mu_.data() + count_;
    for (int a = 0; a < directions_; ++a) {
      const double* const at = labels.zeta(a) + first;
      std::copy(at, at + n, zeta(a) + count_);
      add_products(-sigma * field.s[a], at, n, mu);
    }
    count_ += n;
  };
  if (!signs) {
    for (Index j = 0; j < n; ++j) {
      mu_[j] = value[j] - field.mean;
      label_[j] = value[j];
      weight_[j] = signed_[j] = weight[j];
    }
    lay(1.0);
    ups_ = count_;
    return;
  }
  for (double y : {1.0, -1.0}) {
    const double sigma = margin ? y : 1.0;
    const double share = y * (1.0 - 2.0 * flip);
    const double rest = y > 0.0 ? flip : 1.0 - flip;
    const Index from = count_;
    const double least =
        weigh_labels(weight, value, n, rest, share, sigma, weight_.data() + from,
                     signed_.data() + from);
    std::fill_n(mu_.data() + from, n, sigma * (y - field.mean));
    std::fill_n(label_.data() + from, n, y);
    lay(y);
    if (differentiate) {
      for (Index j = 0; j < n; ++j) {
        by_flip_[from + j] = y * weight[j] * (1.0 - 2.0 * value[j]);
        by_noise_[from + j] = share * weight[j] * labels.by_noise()[first + j];
      }
    } else if (least < kNegligible) {
      drop_negligible(from);
    }
    if (y > 0.0) ups_ = count_;
  }
}

void LossAverages::drop_negligible(Index from) {
  Index kept = from;
  for (Index j = from; j < count_; ++j) {
    if (weight_[j] < kNegligible) continue;
    for (auto* array : {&mu_, &weight_, &signed_, &label_}) (*array)[kept] = (*array)[j];
    for (int a = 0; a < directions_; ++a) zeta(a)[kept] = zeta(a)[j];
    ++kept;
  }
  count_ = kept;
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
    average_smooth(kNoResponse, false, true);
    return;
  }
  ramp_averages(ramp_of(loss_), mu_.data(), count_, tau_, false, averages());
  ramp_fit(ramp_of(loss_), 0.0, mu_.data(), count_, tau_, row(kThird), row(kPhi2Slope));
}

EnvelopeSums LossAverages::envelope(const LabelTable& labels, Index node, double noise, double flip,
                                    const CavityField& field, bool hessian) {
  if (on_grid(labels)) {
    if (!density_.spread_signs(labels, node, flip, field, false, hessian)) {
      branch(labels, node, noise, flip, field);
      density_.spread(entries(), field.V, false, hessian);
    }
    return density_.envelope(field.V, hessian);
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

void LossAverages::average_smooth(double V, bool hessian, bool losses) {
  const bool grid = grid_.lay(mu_.data(), count_, tau_, V, losses) != PhiGrid::Kind::three;
  const Index n = grid_.size();
  products_.resize(4 * n);
  const PhiRows phi = grid_.phi(V);
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
    loss_values(loss_, grid_.x(), phi.third, n);
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
    const auto [start, size] = grid_.near(mu_[j]);
    GridRows here = rows;
    for (const double** each : {&here.phi, &here.slope, &here.phi2, &here.bend, &here.third,
                                &here.phi_slope, &here.phi_slope_slope, &here.phi2_slope}) {
      *each += start;
    }
    double sum[kRows];
    const bool all = hessian || losses;
    (all ? convolve_all : convolve_first)(grid_.x() + start, grid_.quadrature() + start, size,
                                          mu_[j], inverse, here, sum);
    for (int i = 0; i < (all ? kRows : 3); ++i) row(i)[j] = norm * sum[i];
  }
}

Outcome LossAverages::outcome(const LabelTable& labels, Index node, double noise, double flip,
                              const CavityField& field) {
  const double V = field.V;
  Outcome result;
  if (!with_rates_ && on_grid(labels) &&
      density_.spread_signs(labels, node, flip, field, true, false)) {
    density_.outcome(V, result);
    return result;
  }
  branch(labels, node, noise, flip, field);
  const Index n = count_;
  if (with_rates_) rates(field, result);
  if (on_grid(labels)) {
    for (Index j = 0; j < n && kind_ == LabelKind::real; ++j) {
      result.test_error += weight_[j] * (mu_[j] * mu_[j] + tau_ * tau_);
    }
    density_.spread(entries(), V, true, false);
    density_.outcome(V, result);
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
