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

// How the tables of the problem vary with kappa.
struct Variation {
  // Around `centre` something changes on a scale of `scale` (0: it is not analytic there).
  struct Feature {
    double centre;
    double scale;
  };
  std::vector<Feature> features;
  double everywhere = 1e300;  // scale met anywhere on the axis (oscillation, unknown functions)
};

// The sequence of rules for one problem. Mild problems start on Gauss-Hermite rules; everything
// else, and whatever those leave unresolved, is integrated on Gauss-Legendre panels that end at
// every feature and are no wider than their distance from it, once beyond its scale.
class RuleLadder {
 public:
  RuleLadder(const Variation& variation, std::size_t max_nodes);

  // False when the rule would exceed max_nodes; the first rule (level 0) is always made.
  bool make(int level, Rule& rule) const;

 private:
  std::vector<double> edge_;  // ascending
  int hermite_levels_;
  std::size_t max_nodes_;
};

}  // namespace spikedrf
