#include "tables/labels.hpp"

#include <algorithm>
#include <cmath>

#include "numerics/dispatch.hpp"
#include "numerics/vector_math.hpp"

namespace spikedrf {

namespace {

// <theta, x> is looked at this far out, at this many points.
constexpr double kReach = 12.0;
constexpr int kScan = 2400;

constexpr double kInvSqrtTwoPi = 0.39894228040143267794;

constexpr Index kMostEntries = Index{1} << 22;

// The function itself: its moments at sd = 0.
class Target {
 public:
  explicit Target(GaussianMoments& moments) : moments_(moments) {}

  bool operator()(const double* x, Index n, double* out) {
    scratch_.resize(2 * n);
    return moments_.evaluate(x, n, 0.0, 0, out, scratch_.data(), scratch_.data() + n, nullptr);
  }

 private:
  GaussianMoments& moments_;
  Array<double> scratch_;
};

// From values of the target to chances of +1, and their derivatives by the noise.
SPIKEDRF_MULTIVERSION
void blur_signs(double noise, Index n, double* SPIKEDRF_RESTRICT value,
                double* SPIKEDRF_RESTRICT by_noise) noexcept {
  if (noise == 0.0) {
    for (Index j = 0; j < n; ++j) {
      by_noise[j] = 0.0;  // the gain on one side of the step is the loss on the other
      value[j] = value[j] >= 0.0 ? 1.0 : 0.0;
    }
    return;
  }
  SPIKEDRF_SIMD
  for (Index j = 0; j < n; ++j) {
    const double z = value[j] / noise;
    // With z bounded: far out the density is nothing.
    const double bounded = z > 37.0 ? 37.0 : (z < -37.0 ? -37.0 : z);
    by_noise[j] = -bounded * kInvSqrtTwoPi * vmath::gaussian(bounded) / noise;
    value[j] = vmath::normal_cdf(z);
  }
}

}  // namespace

bool LabelVariation::find(LabelKind kind, GaussianMoments& target) {
  crossing_.clear();
  x_.clear();
  g_.clear();
  if (kind == LabelKind::real) return true;
  Target g(target);
  Array<double>& x = x_;
  Array<double>& y = g_;
  x.resize(kScan + 1);
  y.resize(kScan + 1);
  // Off the round numbers, where functions are zero.
  for (int i = 0; i <= kScan; ++i) {
    x[i] = kReach * (2.0 * i / kScan - 1.0) + 1e-4;
  }
  if (!g(x.data(), x.size(), y.data())) return false;
  Array<double> left, right;
  for (Index i = 0; i + 1 < x.size(); ++i) {
    if ((y[i] >= 0.0) == (y[i + 1] >= 0.0)) continue;
    left.push_back(x[i]);
    right.push_back(x[i + 1]);
  }
  // Bisection of all brackets together.
  Array<double> middle(left.size()), value(left.size()), at_left(left.size());
  if (left.empty()) return true;
  if (!g(left.data(), left.size(), at_left.data())) return false;
  for (int halving = 0; halving < 60; ++halving) {
    for (Index i = 0; i < left.size(); ++i) middle[i] = 0.5 * (left[i] + right[i]);
    if (!g(middle.data(), middle.size(), value.data())) return false;
    for (Index i = 0; i < left.size(); ++i) {
      ((value[i] >= 0.0) == (at_left[i] >= 0.0) ? left : right)[i] = middle[i];
    }
  }
  constexpr double kNear = 1e-5;
  Array<double> beside(left.size());
  for (Index i = 0; i < left.size(); ++i) beside[i] = left[i] - kNear;
  if (!g(beside.data(), beside.size(), at_left.data())) return false;
  for (Index i = 0; i < left.size(); ++i) beside[i] = right[i] + kNear;
  if (!g(beside.data(), beside.size(), value.data())) return false;
  for (Index i = 0; i < left.size(); ++i) {
    // Of the steeper side, if they differ.
    const double steeper = std::max(std::fabs(at_left[i]), std::fabs(value[i])) / kNear;
    crossing_.push_back({left[i], steeper});
  }
  return true;
}

void LabelVariation::add(double slope, double sd, double noise, Variation& variation) const {
  slope = std::fabs(slope);
  if (slope == 0.0) return;
  for (const Crossing& crossing : crossing_) {
    const double width = noise > 0.0 ? noise / std::max(crossing.slope, 1e-300) : 0.0;
    variation.features.push_back({crossing.at / slope, std::hypot(sd, width) / slope});
  }
  for (Index i = 0; i + 1 < x_.size(); ++i) {
    const double from = std::fabs(g_[i]);
    const double to = std::fabs(g_[i + 1]);
    if ((from < noise) == (to < noise)) continue;
    const double step = x_[i + 1] - x_[i];
    const double width = noise * step / std::fabs(to - from);
    if (width < step) continue;  // it is at a crossing then
    const double at = x_[i] + step * (noise - from) / (to - from);
    variation.features.push_back({at / slope, std::hypot(sd, width) / slope});
  }
}

bool LabelVariation::differentiable_without_noise() const {
  constexpr double kFlat = 1e-4;
  for (const Crossing& crossing : crossing_) {
    if (!(crossing.slope > kFlat)) return false;
  }
  for (Index i = 0; i + 1 < g_.size(); ++i) {
    if (g_[i] == 0.0 && g_[i + 1] == 0.0) return false;
  }
  return true;
}

bool LabelTable::fill(LabelKind kind, const Array<double>& kappa, int level, double gamma,
                      double noise, const LabelVariation& labels, GaussianMoments& target,
                      const MoreScales& more) {
  Array<double> at(kappa.size());
  for (Index i = 0; i < kappa.size(); ++i) at[i] = gamma * kappa[i];
  const double sd = std::sqrt(std::max(0.0, (1.0 - gamma) * (1.0 + gamma)));
  return fill_around(kind, at, level, sd, noise, labels, target, more);
}

bool LabelTable::fill_around(LabelKind kind, const Array<double>& at, int level, double sd,
                             double noise, const LabelVariation& labels, GaussianMoments& target,
                             const MoreScales& more) {
  constexpr double kNegligible = 1e-18;  // beside a whole of one
  constexpr Index kMostNodes = 1u << 13;
  begin_.assign(1, 0);
  zeta_.clear();
  weight_.clear();
  largest_ = 0;
  directions_ = 1;
  Variation around;  // centres for kappa = 0
  target.add_variation(sd, 0.0, around);
  labels.add(sd, 0.0, noise, around);
  const bool shifts = sd > 0.0 && !around.features.empty();
  Rule rule;
  double step = 0.0;
  bool moves = true;  // whether the rule is another on every node
  for (Index i = 0; i < at.size(); ++i) {
    if (moves) {
      Variation here = around;
      for (auto& feature : here.features) feature.centre -= at[i] / sd;
      if (more) more(i, here);
      RuleLadder ladder(here, kMostNodes, RuleLadder::Start::gradual, kNegligible);
      const double last = step;
      step = ladder.step(level);
      exhausted_ = !(step > 0.0 && step == last) && !ladder.make(level, rule);
      if (exhausted_) return false;
      moves = more || (shifts && step == 0.0);
    }
    zeta_.insert(zeta_.end(), rule.node.begin(), rule.node.end());
    weight_.insert(weight_.end(), rule.weight.begin(), rule.weight.end());
    begin_.push_back(zeta_.size());
    largest_ = std::max(largest_, rule.node.size());
    exhausted_ = zeta_.size() > kMostEntries;
    if (exhausted_) return false;
  }
  value_.resize(zeta_.size());
  Array<double> own;
  Array<double>& x = kind == LabelKind::sign ? by_noise_ : own;
  x.resize(zeta_.size());
  for (Index i = 0; i < at.size(); ++i) {
    for (Index j = begin_[i]; j < begin_[i + 1]; ++j) x[j] = at[i] + sd * zeta_[j];
  }
  if (!Target(target)(x.data(), x.size(), value_.data())) return false;
  if (kind == LabelKind::sign) {
    blur_signs(noise, value_.size(), value_.data(), by_noise_.data());
  }
  look_for_mirror(kind, at);
  known_cuts_ = kind == LabelKind::sign && noise == 0.0 && sd > 0.0;
  if (!known_cuts_) return true;
  up_first_ = labels.starts_up();
  cut_count_ = labels.crossings().size();
  cuts_.clear();
  for (double middle : at) {
    for (const Crossing& c : labels.crossings()) cuts_.push_back((c.at - middle) / sd);
  }
  return true;
}

void LabelTable::look_for_mirror(LabelKind kind, const Array<double>& at) {
  constexpr double kRounding = 1e-14;
  mirrored_ = false;
  const Index count = at.size();
  const Index entries = weight_.size();
  for (Index i = 0; i < count; ++i) {
    const Index other = count - 1 - i;
    const bool alike = std::fabs(at[i] + at[other]) <= kRounding * std::fabs(at[i]) &&
                       begin_[i] + begin_[other + 1] == entries;
    if (!alike) return;
  }
  const double whole = kind == LabelKind::sign ? 1.0 : 0.0;
  for (Index j = 0; j < entries; ++j) {
    const Index other = entries - 1 - j;
    const double size = std::max(whole, std::fabs(value_[j]));
    const double place = 1.0 + std::fabs(zeta_[j]);
    const bool alike = std::fabs(zeta_[j] + zeta_[other]) <= kRounding * place &&
                       std::fabs(weight_[j] - weight_[other]) <= 100.0 * kRounding * weight_[j] &&
                       std::fabs(value_[j] + value_[other] - whole) <= kRounding * size;
    if (!alike) return;
  }
  mirrored_ = true;
}

void LabelTable::take(const double* rows, const Array<Index>& begin, int directions) {
  begin_ = begin;
  directions_ = directions;
  exhausted_ = mirrored_ = known_cuts_ = false;
  const Index count = begin_.back();
  weight_.assign(rows, rows + count);
  value_.assign(rows + count, rows + 2 * count);
  zeta_.assign(rows + 2 * count, rows + (2 + directions) * count);
  largest_ = 0;
  for (Index i = 0; i + 1 < begin_.size(); ++i) {
    largest_ = std::max(largest_, begin_[i + 1] - begin_[i]);
  }
}

}  // namespace spikedrf
