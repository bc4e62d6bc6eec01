#include "tables/panel_tables.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "numerics/small_matrix.hpp"

namespace spikedrf {

namespace {

// As in quadrature.cpp, degree before bisection; every degree is a multiple of the lanes.
struct PanelLevel {
  int degree;
  int split;
};
constexpr PanelLevel kLevels[] = {{16, 1}, {24, 1}, {32, 1}, {24, 2}, {32, 2},
                                  {32, 4}, {32, 8}, {32, 16}};
constexpr Index kLevelCount = sizeof(kLevels) / sizeof(PanelLevel);

constexpr double kPowerRatio = 50.0;   // e^{2 t} on [-1, 1]: 16 nodes interpolate it to 1e-13
constexpr double kNoPower = 1e-34;     // relative to the largest: eigenvalues that count as zero
constexpr double kNegligible = 1e-16;  // weight of a panel that does not matter
constexpr int kDivisions = 24;

}  // namespace

LineLadder::LineLadder(int groups, const double* r, const double* c, const Classes& seen,
                       GaussianMoments& activation, Index max_nodes)
    : groups_(groups),
      r_(r),
      c_(c),
      seen_(seen),
      activation_(activation),
      no_target_(activation_of<activations::Identity>()),
      max_nodes_(max_nodes) {
  Variation variation;
  for (int k = 0; k < groups; ++k) activation.add_variation(r[k], std::sqrt(c[k]), variation);
  double low = seen.mean_of(0, 0), high = low;
  for (int i = 1; i < seen.size(); ++i) {
    low = std::min(low, seen.mean_of(i, 0));
    high = std::max(high, seen.mean_of(i, 0));
  }
  edge_ = axis_edges(variation, low, high);
}

PanelLadder::Step LineLadder::make(Index level, PanelTables& out) {
  if (level >= kLevelCount) return Step::exhausted;
  const auto [degree, split] = kLevels[level];
  const auto nodes = (edge_.size() - 1) * (degree * split);
  if (level > 1 && nodes > max_nodes_) return Step::exhausted;
  do {
    if (!fill(degree, split, static_cast<int>(level), out)) return Step::failed;
  } while (level == 0 && divide(out));
  if (seen_.count == 0) fold(out);
  return Step::ready;
}

bool LineLadder::fill(int degree, int split, int effort, PanelTables& out) {
  // Rules of the classes, each a panel after the other, on the same nodes.
  Rule rule;
  Array<Rule> of_class(seen_.size());
  const LegendreRule& base = legendre_rule(degree);
  for (Index e = 0; e + 1 < edge_.size(); ++e) {
    const double half = 0.5 * (edge_[e + 1] - edge_[e]) / split;
    for (int part = 0; part < split; ++part) {
      const double middle = edge_[e] + half * (2.0 * part + 1.0);
      for (int i = 0; i < seen_.size(); ++i) {
        append_panel(middle - seen_.mean_of(i, 0), half, base, 0.0, of_class[i]);
      }
      for (double node : base.node) rule.node.push_back(middle + half * node);
    }
  }
  rule.weight.assign(rule.node.size(), 0.0);
  for (int i = 0; i < seen_.size(); ++i) {
    for (Index n = 0; n < rule.node.size(); ++n) {
      of_class[i].weight[n] *= seen_.share_of(i);
      rule.weight[n] += of_class[i].weight[n];
    }
  }
  out.degree = degree;
  out.panels = (edge_.size() - 1) * split;
  TableSlopes slopes;
  if (!out.tables.fill(rule, effort, groups_, r_, c_, 0.0, activation_, no_target_,
                       seen_.spread != nullptr ? &slopes : nullptr)) {
    return false;
  }
  out.of_class.clear();
  for (int i = 0; i < seen_.count; ++i) {
    out.of_class.insert(out.of_class.end(), of_class[i].weight.begin(), of_class[i].weight.end());
  }
  out.halves = {};
  out.length.clear();
  for (int k = 0; k < groups_ && seen_.spread != nullptr; ++k) {
    for (Index n = 0; n < rule.node.size(); ++n) {
      out.length.push_back(c_[k] * slopes.mu0_c(k)[n]);
    }
  }
  return true;
}

// What is the same on both sides is kept on one.
void LineLadder::fold(PanelTables& panels) {
  if (panels.panels % 2 != 0) return;
  auto whole = std::make_shared<PanelTables>(panels);
  if (!panels.tables.fold()) return;
  panels.whole = std::move(whole);
  panels.panels /= 2;
}

// Halves the panels on which the power mu1_k^2 + mu2_k^2 of some group varies too much.
bool LineLadder::divide(const PanelTables& coarse) {
  const Index degree = coarse.degree;
  if (edge_.size() * degree > max_nodes_ / 2) return false;
  const Tables& tables = coarse.tables;
  Array<char> wide(coarse.panels, 0);
  for (int k = 0; k < groups_; ++k) {
    const double* linear = tables.feature(pair_index(k, k, groups_));
    const double* rest = tables.feature(pair_count(groups_) + k);
    double most = 0.0;
    for (Index i = 0; i < tables.nodes; ++i) most = std::max(most, linear[i] + rest[i]);
    for (Index p = 0; p < coarse.panels; ++p) {
      double low = most;
      double high = 0.0;
      double weight = 0.0;
      for (Index i = p * degree; i < (p + 1) * degree; ++i) {
        const double power = std::max(linear[i] + rest[i], kNoPower * most);
        low = std::min(low, power);
        high = std::max(high, power);
        weight += tables.weight()[i];
      }
      const bool fine = edge_[p + 1] - edge_[p] < std::ldexp(1.0, -kDivisions);
      if (high > kPowerRatio * low && weight > kNegligible && !fine) wide[p] = 1;
    }
  }
  Array<double> finer;
  for (Index p = 0; p < coarse.panels; ++p) {
    finer.push_back(edge_[p]);
    if (wide[p]) finer.push_back(0.5 * (edge_[p] + edge_[p + 1]));
  }
  finer.push_back(edge_.back());
  const bool changed = finer.size() > edge_.size();
  edge_ = std::move(finer);
  return changed;
}

}  // namespace spikedrf
