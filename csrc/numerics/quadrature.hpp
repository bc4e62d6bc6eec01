// Nodes and weights for averages over kappa ~ N(0, 1), and the ladder of ever finer rules that
// the solver climbs until its answer stops moving.
#pragma once

#include "numerics/array.hpp"

namespace spikedrf {

// A rule for E f(kappa), kappa ~ N(0, 1): sum_i weight[i] f(node[i]).
struct Rule {
  Array<double> node;
  Array<double> weight;
};

// Gauss-Legendre nodes and weights on [-1, 1].
struct LegendreRule {
  Array<double> node;
  Array<double> weight;
};
LegendreRule gauss_legendre(int n);

// The same, made once for each degree up to 32.
const LegendreRule& legendre_rule(int degree);

// Values at the n nodes of the left half of a panel from those at its n Gauss-Legendre nodes
// (matrix[j * n + i]: node i from node j), and the same for the right half; n is 16, 24 or 32.
struct LegendreHalves {
  Array<double> left, right;
};
const LegendreHalves& legendre_halves(int degree);

// Gauss-Hermite rule for the standard normal measure; nodes whose weight cannot matter in double
// precision are left out.
Rule gauss_hermite(int n);

// Appends to a rule for N(0, 1) the Gauss-Legendre panel around `middle` of half width `half`;
// nodes of smaller weight than `negligible` are left out.
void append_panel(double middle, double half, const LegendreRule& base, double negligible,
                  Rule& rule);

// How the tables of the problem vary with kappa.
struct Variation {
  // Around `centre` something changes on a scale of `scale` (0: it is not analytic there).
  struct Feature {
    double centre;
    double scale;
  };
  Array<Feature> features;
  double everywhere = 1e300;  // scale met anywhere on the axis (oscillation, unknown functions)
  // There may be more that nobody has told: then panels must not end where those before did.
  bool unknown = false;
};

// Ends of panels on [left, right], ascending: at every feature, no wider than `widest` nor, once
// beyond its scale, than the distance from a feature.
Array<double> graded_edges(double left, double right, double widest,
                           const Array<Variation::Feature>& features);

// The Gaussian itself wants panels no wider than this; the floor keeps an absurd scale from asking
// for an absurd number of panels (refinement goes on by bisection then).
constexpr double kWidestPanel = 2.8;
constexpr double kNarrowestPanel = 0.02;
double widest_panel(const Variation& variation);

// The same on the whole axis for N(mean, 1), means from `low` to `high`.
Array<double> axis_edges(const Variation& variation, double low = 0.0, double high = 0.0);

// The sequence of rules for one problem. Smooth problems start on a few rules for the whole axis;
// everything else, and whatever those leave unresolved, is integrated on Gauss-Legendre panels with
// graded edges.
class RuleLadder {
 public:
  // The rules for the whole axis.
  enum class Start {
    hermite,  // Gauss-Hermite with 64, 128 nodes, where nothing varies on a scale below 0.7
    uniform,  // the trapezoid rule, its step a fraction of the smallest scale if that is not tiny
    gradual,  // the same with many steps: one goes straight to those that are needed
    fine,     // the finer ones of these
  };

  // Weights below `negligible` are left out.
  RuleLadder(const Variation& variation, Index max_nodes, Start start = Start::hermite,
             double negligible = 1e-28);

  // False when the rule would exceed max_nodes; the first rule (level 0) is always made.
  bool make(int level, Rule& rule) const;

  // The step of a uniform rule, 0 of any other. Uniform rules do not depend on where the features
  // are, only on how wide.
  double step(int level) const;

 private:
  Variation variation_;
  Start start_;
  int whole_levels_;
  double step_ = 0.0;  // of the first trapezoid rule
  Index max_nodes_;
  double negligible_;
};

}  // namespace spikedrf
