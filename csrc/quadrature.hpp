// Nodes and weights for averages over kappa ~ N(0, 1), and the ladder of ever finer rules that
// the solver climbs until its answer stops moving.
#pragma once

#include <cstddef>
#include <vector>

namespace spikedrf {

// A rule for E f(kappa), kappa ~ N(0, 1): sum_i weight[i] f(node[i]).
struct Rule {
  std::vector<double> node;
  std::vector<double> weight;
};

// Gauss-Legendre nodes and weights on [-1, 1].
struct LegendreRule {
  std::vector<double> node;
  std::vector<double> weight;
};
LegendreRule gauss_legendre(int n);

// The same, made once for each degree up to 32.
const LegendreRule& legendre_rule(int degree);

// Gauss-Hermite rule for the standard normal measure; nodes whose weight cannot matter in double
// precision are left out.
Rule gauss_hermite(int n);

// How the tables of the problem vary with kappa. Scales are in units of kappa.
struct Variation {
  double finest = 1e300;      // smallest scale met near kappa = 0
  double everywhere = 1e300;  // scale met anywhere on the axis (oscillation, unknown functions)
  bool jump = false;          // not analytic at kappa = 0 itself
};

// The sequence of rules for one problem. Mild problems start on Gauss-Hermite rules; everything
// else, and whatever those leave unresolved, is integrated on Gauss-Legendre panels that double
// in width away from kappa = 0.
class RuleLadder {
 public:
  RuleLadder(const Variation& variation, std::size_t max_nodes);

  // False when the rule would exceed max_nodes.
  bool make(int level, Rule& rule) const;

 private:
  std::vector<double> edge_;  // panel edges on [0, cutoff], the axis is symmetric
  int hermite_levels_;
  std::size_t max_nodes_;
};

}  // namespace spikedrf
