#include "tables/moments.hpp"

#include <algorithm>
#include <cmath>

#include "functions/closed_moments.hpp"
#include "numerics/dual.hpp"
#include "numerics/small_matrix.hpp"

namespace spikedrf {

namespace {

// Runs a closed form over the means. `with` takes the standard deviation and gives a function of
// the mean. Slopes: with m and s,
//   d e0/ds = d e1/dm = f2/s,   d e1/ds = (e1 + f3)/s,   d e2/dm = p1/s,   d e2/ds = p2/s.
template <class With>
void closed_form(const double* mean, Index n, double sd, double* e0, double* e1, double* e2,
                 const MomentSlopes* slopes, const With& with) {
  if (slopes == nullptr) {
    const auto moment = with(sd);
    for (Index i = 0; i < n; ++i) {
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
  for (Index i = 0; i < n; ++i) {
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

}  // namespace

// Rules are mostly symmetric, and every named function is related to its mirror image: half of the
// means do. Those <= 0, on whose side the tails are that cannot be had as differences.
bool NamedMoments::evaluate(const double* mean, Index n, double sd, int, double* e0, double* e1,
                            double* e2, const MomentSlopes* slopes) {
  bool symmetric = n > 1;
  for (Index i = 0; symmetric && i < n / 2; ++i) symmetric = mean[i] == -mean[n - 1 - i];
  if (!symmetric) {
    expand(mean, n, sd, e0, e1, e2, slopes);
    return true;
  }
  const Index half = n - n / 2;
  const Index at = mean[0] <= 0.0 ? 0 : n - half;
  MomentSlopes of_half{};
  if (slopes != nullptr) of_half = slopes->from(at);
  expand(mean + at, half, sd, e0 + at, e1 + at, e2 + at, slopes != nullptr ? &of_half : nullptr);
  const Reflection f = traits(activation_).reflection;
  for (Index i = at; i < at + half; ++i) {
    const Index mirror = n - 1 - i;
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

void NamedMoments::expand(const double* mean, Index n, double sd, double* e0, double* e1,
                          double* e2, const MomentSlopes* slopes) {
  if (sd == 0.0) {
    activate(activation_, mean, e0, n);
    std::fill_n(e1, n, 0.0);
    std::fill_n(e2, n, 0.0);
    if (slopes != nullptr) slopes->clear(n);
    return;
  }
  visit_type(Activations{}, static_cast<int>(activation_), [&](auto type) {
    using A = typename decltype(type)::type;
    if constexpr (A::closed_form) {
      closed_form(mean, n, sd, e0, e1, e2, slopes, [](auto s) { return A::moments(s); });
    } else {
      analytic_.evaluate(mean, n, sd, e0, e1, e2, slopes);
    }
  });
}

void NamedMoments::add_variation(double slope, double sd, Variation& variation) const {
  slope = std::fabs(slope);
  const ActivationTraits shape = traits(activation_);
  if (slope == 0.0 || shape.linear) return;
  if (shape.oscillates) {
    variation.everywhere = std::min(variation.everywhere, 1.0 / slope);
    return;
  }
  // The tables are the function smoothed by the Gaussian: a kink survives at scale sd, a smooth
  // function has its own unit scale besides. A polynomial's tables are ratios on scale sd.
  const bool own_scale = !shape.kink && shape.growth <= 1;
  const double scale = std::sqrt(sd * sd + (own_scale ? 1.0 : 0.0)) / slope;
  if (scale > 0.0 || shape.kink) variation.features.push_back({0.0, scale});
}

// Means of sin and cos are exp(-sd^2/2) small. That of sin without a spike is zero.
bool NamedMoments::underflows(double slope, double sd) const {
  const ActivationTraits shape = traits(activation_);
  if (!shape.oscillates || std::exp(-sd * sd) > 1e-280) return false;
  return slope != 0.0 || shape.reflection.sign > 0.0;
}

void CallbackMoments::add_variation(double slope, double sd, Variation& variation) const {
  if (slope == 0.0) return;
  variation.unknown = true;
  const double scale = sd / std::fabs(slope);
  const double own = std::sqrt(sd * sd + grain_ * grain_) / std::fabs(slope);
  variation.everywhere = std::min(variation.everywhere, std::max(own, 0.01));
  // Many breaks that the Gaussian smooths are one scale, met everywhere.
  constexpr Index kMany = 32;
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
  data_.assign((feature_at() + pairs + groups) * stride, 0.0);
  scratch_.resize(stride);
  std::copy(rule.weight.begin(), rule.weight.end(), row(0));

  double* mean = scratch_.data();
  for (Index i = 0; i < nodes; ++i) mean[i] = gamma * rule.node[i];
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
    for (Index i = 0; i < nodes; ++i) {
      const double kappa = rule.node[i];
      slopes->row(0)[i] = (kappa * hz()[i] + along_sd * moved.f2[i]) / target_sd;
      slopes->row(1)[i] = (kappa * moved.f2[i] + along_sd * (hz()[i] + moved.f3[i])) / target_sd;
      slopes->row(2)[i] = (kappa * moved.p1[i] + along_sd * moved.p2[i]) / target_sd;
    }
  }

  feature_power_ = 0.0;
  level_power_.assign(groups, 0.0);
  level_lost_ = false;
  for (int k = 0; k < groups; ++k) {
    double* mu0 = row(mu0_at() + k);
    double* mu1 = row(mu0_at() + groups + k);
    double* kappa_mu1 = row(mu0_at() + 2 * groups + k);
    double* mu2 = row(feature_at() + pairs + k);
    for (Index i = 0; i < nodes; ++i) mean[i] = r[k] * rule.node[i];
    const double sd = std::sqrt(c[k]);
    if (!activation.evaluate(mean, nodes, sd, level, mu0, mu1, mu2, wanted)) return false;
    if (slopes != nullptr) {
      // mean = r kappa and sd = sqrt(c): d/dr = kappa d/dmean, d/dc = d/dsd / (2 sd); mu1 = e1/sd.
      for (Index i = 0; i < nodes; ++i) {
        const double kappa = rule.node[i];
        slopes->row(4 + 5 * k)[i] = moved.f2[i] / (2.0 * c[k]);
        slopes->row(5 + 5 * k)[i] = kappa * moved.f2[i] / c[k];
        slopes->row(6 + 5 * k)[i] = moved.f3[i] / (2.0 * c[k] * sd);
        slopes->row(7 + 5 * k)[i] = kappa * moved.p1[i] / sd;
        slopes->row(8 + 5 * k)[i] = moved.p2[i] / (2.0 * c[k]);
      }
    }
    double power = 0.0;
    double mean_power = 0.0;
    for (Index i = 0; i < nodes; ++i) {
      power += row(0)[i] * (mu0[i] * mu0[i] + mu1[i] * mu1[i] + mu2[i]);
      mean_power += row(0)[i] * mu0[i] * mu0[i];
      mu1[i] /= sd;  // e1 = E z sigma = sqrt(c) mu1
      kappa_mu1[i] = rule.node[i] * mu1[i];
    }
    feature_power_ += power;
    level_power_[k] = mean_power;
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
      for (Index i = 0; i < nodes; ++i) f[i] = mu1(k)[i] * mu1(l)[i];
    }
  }
  // On padding nodes V must not vanish: 1/V is taken there too, though with weight zero.
  for (int a = 0; a < pairs + groups; ++a) {
    double* f = row(feature_at() + a);
    for (Index i = nodes; i < stride; ++i) f[i] = 1.0;
  }

  const double* const w = weight();
  mean_feature_.resize(pairs + groups);
  for (int a = 0; a < pairs + groups; ++a) {
    const double* const f = feature(a);
    double mean = 0.0;
    for (Index i = 0; i < nodes; ++i) mean += w[i] * f[i];
    mean_feature_[a] = mean;
  }
  const double* const level = h();
  signs_.resize(classes());
  for (int c = 0; c < classes(); ++c) {
    Index i = begin(c);
    while (i < begin(c + 1) && std::fabs(level[i]) == 1.0) ++i;
    signs_[c] = i == begin(c + 1);
  }
  double label_power = 0.0;
  for (Index i = 0; i < nodes; ++i) {
    double power = level[i] * level[i] + g2()[i];
    for (int l = 0; l < latents.rest(); ++l) power += hz(l)[i] * hz(l)[i];
    label_power += w[i] * power;
  }
  label_power_ = label_power;
}

bool Tables::fold() {
  const Index half = nodes / 2;
  if (half % lanes != 0 || nodes != stride || 2 * half != nodes || classes() != 1) return false;
  const auto mirrored = [&](const double* values) {
    Index i = 0;
    while (i < half && values[nodes - 1 - i] == values[i]) ++i;
    return i == half;
  };
  if (!mirrored(weight())) return false;
  for (int a = 0; a < pair_count(groups) + groups; ++a) {
    if (!mirrored(feature(a))) return false;
  }
  const Index rows = data_.size() / stride;
  for (Index r = 0; r < rows; ++r) {
    std::copy_n(data_.begin() + r * nodes, half, data_.begin() + r * half);
  }
  for (Index i = 0; i < half; ++i) data_[i] *= 2.0;
  data_.resize(rows * half);
  kappa_.resize(half);
  nodes = stride = half;
  begin_ = {0, half};
  return true;
}

const double* Tables::take(const double* rows, Index count, const Array<Index>& begin,
                           int group_count, const Latents& of) {
  groups = group_count;
  latents = of;
  nodes = count;
  begin_ = begin;
  stride = (nodes + lanes - 1) / lanes * lanes;
  const int pairs = pair_count(groups);
  data_.assign((feature_at() + pairs + groups) * stride, 0.0);
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
  level_power_.assign(groups, 0.0);
  level_lost_ = false;
  for (int k = 0; k < groups; ++k) {
    const double* mu2 = row(feature_at() + pairs + k);
    double& level = level_power_[k];
    for (Index i = 0; i < nodes; ++i) {
      level += weight()[i] * mu0(k)[i] * mu0(k)[i];
      feature_power_ += weight()[i] * (mu1(k)[i] * mu1(k)[i] + mu2[i]);
    }
    feature_power_ += level;
  }
  complete();
  pulled_feature_.clear();
  if (inverse_weight_.empty()) return next;
  pulled_feature_.assign(mean_feature_.size(), 0.0);
  for (int a = 0; a < pairs + groups; ++a) {
    for (Index i = 0; i < nodes; ++i) {
      pulled_feature_[a] += weight()[i] / inverse_weight_[i] * feature(a)[i];
    }
  }
  return next;
}

}  // namespace spikedrf
