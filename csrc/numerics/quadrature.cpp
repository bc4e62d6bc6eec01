#include "numerics/quadrature.hpp"

#include <algorithm>
#include <cmath>

namespace spikedrf {

namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kInvSqrtTwoPi = 0.39894228040143267794;

// Far out on the axis features may die, and there the samples are not fitted: their residuals
// enter the training error with 1/omega^2 ~ 1/lam^2 times the weight of an ordinary sample's. So
// the axis ends where the Gaussian is e^-60, not where it is 1e-16.
constexpr double kNegligibleWeight = 1e-28;
constexpr double kCutoff = 11.0;

// Panels are refined first in degree (geometric convergence when they resolve the scale) and
// then by bisection (which also beats structure the ladder was not told of).
struct PanelLevel {
  int degree;
  int split;
};
constexpr PanelLevel kPanelLevels[] = {{12, 1}, {20, 1}, {32, 1},  {24, 2},  {32, 2},
                                       {24, 4}, {24, 8}, {24, 16}, {24, 32}, {24, 64}};
constexpr int kPanelLevelCount = static_cast<int>(sizeof(kPanelLevels) / sizeof(PanelLevel));

// Gauss-Hermite converges like exp(-scale * sqrt(4 N)), so it deserves trust only where nothing
// varies faster than this.
constexpr int kHermiteLevels = 2;
constexpr double kMildScale = 0.7;

// Where a panel is cut, as a share of it.
constexpr double kCut = 0.38;

// The trapezoid rule converges like exp(-2 pi scale / step), from some 30 nodes on with fewer of
// them than Gauss-Hermite. Below the smallest scale graded panels are the cheaper ones.
constexpr double kUniformSteps[] = {0.5, 0.32, 0.2, 0.13};  // of the smallest scale
constexpr double kFineSteps[] = {0.32, 0.25, 0.2, 0.16, 0.13};
constexpr double kGradualSteps[] = {0.8, 0.5, 0.4, 0.32, 0.25, 0.2, 0.16, 0.13};
constexpr double kSmallestUniform = 0.1;

struct Steps {
  const double* share;
  int count;
};

template <int N>
Steps all_of(const double (&share)[N]) {
  return {share, N};
}

// What nobody has described is looked at more closely from the beginning.
Steps steps_of(RuleLadder::Start start, bool unknown) {
  if (start == RuleLadder::Start::gradual && unknown) start = RuleLadder::Start::uniform;
  switch (start) {
    case RuleLadder::Start::uniform:
      return all_of(kUniformSteps);
    case RuleLadder::Start::fine:
      return all_of(kFineSteps);
    case RuleLadder::Start::gradual:
      return all_of(kGradualSteps);
    case RuleLadder::Start::hermite:
      break;
  }
  return {nullptr, 0};
}

// The node x of a rule in which every kappa has the weight `width` times its density.
void append_node(double x, double width, double negligible, Rule& rule) {
  const double weight = width * kInvSqrtTwoPi * std::exp(-0.5 * x * x);
  if (weight < negligible) return;
  rule.node.push_back(x);
  rule.weight.push_back(weight);
}

}  // namespace

LegendreRule gauss_legendre(int n) {
  LegendreRule rule;
  rule.node.resize(n);
  rule.weight.resize(n);
  for (int i = 0; i < (n + 1) / 2; ++i) {
    double x = std::cos(kPi * (i + 0.75) / (n + 0.5));
    double slope = 1.0;
    for (int iteration = 0; iteration < 20; ++iteration) {
      double p0 = 1.0;
      double p1 = x;
      for (int k = 2; k <= n; ++k) {
        const double p2 = ((2.0 * k - 1.0) * x * p1 - (k - 1.0) * p0) / k;
        p0 = p1;
        p1 = p2;
      }
      slope = n * (x * p1 - p0) / (x * x - 1.0);
      const double step = p1 / slope;
      x -= step;
      if (std::fabs(step) < 1e-15) break;
    }
    if (2 * i + 1 == n) x = 0.0;
    // Mirror images to the last bit: symmetric tables are made by halves.
    const double weight = 2.0 / ((1.0 - x * x) * slope * slope);
    const Index right = n - 1 - i;
    rule.node[i] = -x;
    rule.node[right] = x;
    rule.weight[i] = rule.weight[right] = weight;
  }
  return rule;
}

const LegendreRule& legendre_rule(int degree) {
  static const Array<LegendreRule> rules = [] {
    Array<LegendreRule> all;
    for (int n = 0; n <= 32; ++n) all.push_back(gauss_legendre(n));
    return all;
  }();
  return rules[degree];
}

namespace {

LegendreHalves interpolate_halves(int n) {
  const LegendreRule& rule = legendre_rule(n);
  LegendreHalves halves;
  halves.left.resize(n * n);
  halves.right.resize(n * n);
  Array<double> share(n);
  const auto at = [n](int j, int i) { return j * n + i; };
  for (int i = 0; i < n; ++i) {
    const double x = 0.5 * (rule.node[i] - 1.0);
    double total = 0.0;
    for (int j = 0; j < n; ++j) {
      // Barycentric weights of Gauss-Legendre nodes; no node of a half is one of the whole.
      const double t = rule.node[j];
      const double weight = std::sqrt((1.0 - t * t) * rule.weight[j]);
      share[j] = (j % 2 == 0 ? weight : -weight) / (x - t);
      total += share[j];
    }
    for (int j = 0; j < n; ++j) {
      halves.left[at(j, i)] = share[j] / total;
      halves.right[at(n - 1 - j, n - 1 - i)] = halves.left[at(j, i)];
    }
  }
  return halves;
}

}  // namespace

const LegendreHalves& legendre_halves(int degree) {
  static const LegendreHalves all[] = {interpolate_halves(16), interpolate_halves(24),
                               interpolate_halves(32)};
  return all[(degree - 16) / 8];
}

Rule gauss_hermite(int n) {
  // Orthonormal Hermite polynomials: x p_k = sqrt(k+1) p_{k+1} + sqrt(k) p_{k-1},
  // p_n' = sqrt(n) p_{n-1}, and the weight of root x is 1 / (n p_{n-1}(x)^2).
  const auto evaluate = [n](double x, double& pn, double& below) {
    double p0 = 0.0;
    double p1 = 1.0;
    for (int k = 0; k < n; ++k) {
      const double p2 = (x * p1 - std::sqrt(static_cast<double>(k)) * p0) / std::sqrt(k + 1.0);
      p0 = p1;
      p1 = p2;
    }
    pn = p1;
    below = p0;
  };
  // Newton from the right of the largest root converges monotonically; dividing out the roots
  // already found (in the logarithmic derivative) keeps that true for each following root.
  Array<double> root;
  const double slope = std::sqrt(static_cast<double>(n));
  double x = 2.0 * slope + 1.0;
  for (int i = 0; i < (n + 1) / 2; ++i) {
    double pn = 0.0;
    double below = 0.0;
    for (int iteration = 0; iteration < 200; ++iteration) {
      evaluate(x, pn, below);
      double log_derivative = slope * below / pn;
      for (double known : root) log_derivative -= 1.0 / (x - known);
      const double step = 1.0 / log_derivative;
      if (pn == 0.0) break;
      x -= step;
      if (std::fabs(step) < 1e-9) break;
    }
    for (int polish = 0; polish < 3; ++polish) {
      evaluate(x, pn, below);
      x -= pn / (slope * below);
    }
    root.push_back(x);
    x -= 1e-7;  // off the pole of the deflation term; still right of the next root
  }
  Rule rule;
  const auto add = [&](double at) {
    double pn = 0.0;
    double below = 0.0;
    evaluate(at, pn, below);
    const double weight = 1.0 / (n * below * below);
    if (weight < kNegligibleWeight) return;
    rule.node.push_back(at);
    rule.weight.push_back(weight);
  };
  for (double at : root) add(-at);
  // For odd n the last root is 0 and is its own mirror image.
  for (auto i = root.size() - (n % 2); i-- > 0;) add(root[i]);
  return rule;
}

void append_panel(double middle, double half, const LegendreRule& base, double negligible,
                  Rule& rule) {
  for (Index i = 0; i < base.node.size(); ++i) {
    append_node(middle + half * base.node[i], half * base.weight[i], negligible, rule);
  }
}

Array<double> graded_edges(double left, double right, double widest,
                           const Array<Variation::Feature>& features) {
  constexpr double kFinest = 1e-12;
  Array<double> start{left, right};
  for (const Variation::Feature& feature : features) {
    if (left < feature.centre && feature.centre < right) start.push_back(feature.centre);
  }
  std::sort(start.begin(), start.end());
  const auto width_allowed = [&](double from, double to) {
    double width = widest;
    for (const Variation::Feature& feature : features) {
      const double distance = std::max({0.0, from - feature.centre, feature.centre - to});
      // A point of non-analyticity that panels end at needs no grading: scale 0 constrains nothing.
      if (feature.scale > 0.0) {
        width = std::min(width, std::max({feature.scale, distance, kFinest}));
      }
    }
    return width;
  };
  // Bisection; the pending right ends form a stack.
  Array<double> edge{start.front()};
  Array<double> pending;
  for (Index i = 1; i < start.size(); ++i) {
    if (start[i] - edge.back() < kFinest) continue;
    pending.push_back(start[i]);
    while (!pending.empty()) {
      const double from = edge.back();
      const double to = pending.back();
      if (to - from > width_allowed(from, to) * (1.0 + 1e-9)) {
        pending.push_back(0.5 * (from + to));
      } else {
        edge.push_back(to);
        pending.pop_back();
      }
    }
  }
  return edge;
}

double widest_panel(const Variation& variation) {
  return std::clamp(3.0 * variation.everywhere, kNarrowestPanel, kWidestPanel);
}

Array<double> axis_edges(const Variation& variation, double low, double high) {
  return graded_edges(low - kCutoff, high + kCutoff, widest_panel(variation), variation.features);
}

RuleLadder::RuleLadder(const Variation& variation, Index max_nodes, Start start, double negligible)
    : variation_(variation),
      start_(start),
      whole_levels_(0),
      max_nodes_(max_nodes),
      negligible_(negligible) {
  double smallest = std::min(1.0, variation.everywhere);
  for (const Variation::Feature& feature : variation.features) {
    smallest = std::min(smallest, feature.scale);
  }
  if (start == Start::hermite && smallest >= kMildScale) whole_levels_ = kHermiteLevels;
  if (start != Start::hermite && smallest >= kSmallestUniform) {
    whole_levels_ = steps_of(start, variation.unknown).count;
    step_ = smallest;
  }
}

double RuleLadder::step(int level) const {
  const bool uniform = start_ != Start::hermite && level < whole_levels_;
  return uniform ? steps_of(start_, variation_.unknown).share[level] * step_ : 0.0;
}

bool RuleLadder::make(int level, Rule& rule) const {
  if (level < whole_levels_) {
    if (start_ == Start::hermite) {
      // Immutable after their first use; they do not depend on the problem.
      static const Rule hermite[kHermiteLevels] = {gauss_hermite(64), gauss_hermite(128)};
      rule = hermite[level];
      return level == 0 || rule.node.size() <= max_nodes_;
    }
    rule.node.clear();
    rule.weight.clear();
    const double step = this->step(level);
    const int half = static_cast<int>(kCutoff / step);
    for (int i = -half; i <= half; ++i) append_node(i * step, step, negligible_, rule);
    return level == 0 || rule.node.size() <= max_nodes_;
  }
  // The coarsest panels would be a step back from the rules before.
  const int panel_level = level - whole_levels_ + (whole_levels_ > 0 ? 1 : 0);
  if (panel_level >= kPanelLevelCount) return false;
  const int degree = kPanelLevels[panel_level].degree;
  const int split = kPanelLevels[panel_level].split;
  // On every other level each panel is cut off its middle: what hides at the end of a panel, where
  // there are few nodes and at every degree none, is then inside of one.
  const bool cut = variation_.unknown && panel_level % 2 == 1;
  const Array<double> edge = axis_edges(variation_);
  const Index panels = (edge.size() - 1) * (cut ? 2 * split : split);
  if (level > 0 && panels * degree > max_nodes_) return false;

  const LegendreRule& base = legendre_rule(degree);
  rule.node.clear();
  rule.weight.clear();
  for (Index e = 0; e + 1 < edge.size(); ++e) {
    const double half = 0.5 * (edge[e + 1] - edge[e]) / split;
    for (int part = 0; part < split; ++part) {
      const double middle = edge[e] + half * (2.0 * part + 1.0);
      if (!cut) {
        append_panel(middle, half, base, negligible_, rule);
        continue;
      }
      append_panel(middle - (1.0 - kCut) * half, kCut * half, base, negligible_, rule);
      append_panel(middle + kCut * half, (1.0 - kCut) * half, base, negligible_, rule);
    }
  }
  return true;
}

}  // namespace spikedrf
