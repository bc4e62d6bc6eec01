// Rates of wrong signs under a convex loss, if need be on quadrature rules of their own.
//
// Given kappa and zeta the field is N(mean + s zeta, t), and the sign of y h is wrong where omega
// is beyond -V f(h = 0), since h increases with omega (V = 0 for a fresh sample): a normal cdf.
// Mostly the rules of the equations are good enough for it. Where the readout is small or the
// samples are many it is a step in zeta and kappa, of which the equations themselves see nothing:
// their rules would be refined for it in vain.
#pragma once

#include "batches/table_ladder.hpp"
#include "equations/field_state.hpp"
#include "equations/objective.hpp"
#include "functions/loss.hpp"
#include "numerics/array.hpp"
#include "tables/labels.hpp"

namespace spikedrf {

// Small rates of wrong signs are held to these instead of to themselves.
constexpr double kLeastRate = 1e-6;
constexpr double kLeastTrainRate = 1e-2;

struct SignRates {
  double test = 0.0;
  double train = 0.0;
};

// Sums over given rules.
class SignRateSums {
 public:
  SignRateSums(const Problem& problem, Index index, double noise, const LabelVariation& variation);

  // For this field; over half of the nodes if kappa and -kappa are one and the same problem.
  SignRates over(const Tables& tables, const LabelTable& labels, bool mirrored,
                 const FieldState& field, double flip) const;
  // Whether rules see how wide its steps are. Ends of panels may lie on a step, and all rules then
  // agree on one that has no width.
  bool resolve(const Tables& tables, const LabelTable& labels, const FieldState& field) const;

 protected:
  struct Node {
    double V, mean, s, t;
  };
  // How a rule is summed over.
  struct Half {
    Index count = 0;      // of nodes
    bool closed = false;  // no labels are needed
  };
  static Node node(const Tables& tables, const FieldState& field, Index i);
  Half half(const Tables& tables, bool mirrored, bool may_close, const FieldState& field) const;
  SignRates sum(const Tables& tables, const LabelTable& labels, const Half& half,
                const FieldState& field, double flip) const;

  double gamma_, sd_, noise_;
  double pull_up_, pull_down_;  // f(h = 0) of the two labels, that of y = -1 with its sign turned
  const LabelVariation& variation_;

 private:
  // Signs without noise: given kappa the field and zeta are a normal pair, and a rate is a sum of
  // its probabilities of quadrants.
  static bool closed(const Node& here);
  SignRates closed_rates(const Node& here, double kappa, double flip) const;
};

class SignRateRules : private SignRateSums {
 public:
  struct Wanted {
    bool derivatives, slopes;  // by the field and the labels, and by the tables
    bool mirrored;             // kappa and -kappa are one and the same problem: sums over half
  };
  // Rules that resolve the steps of this field on the nodes of `tables`, and the labels, whose
  // tables are made in `room`: they are large, and memory that is asked for anew at every point
  // costs as much as what is done with it.
  SignRateRules(const Problem& problem, Index index, double noise, const FieldState& field,
                const Tables& tables, const LabelVariation& variation, const Wanted& wanted,
                Deque<Deque<LabelTable>>& room);

  // Rules over kappa, and over zeta on each of these.
  Reached reach(Index level, Index fine);
  double step(Index level) const { return tables_.step(level); }
  // On rules that were reached, for this field or one close to it.
  SignRates evaluate(Index level, Index fine, const FieldState& field, double flip) const {
    return sum(tables_[level], labels_[level][fine], half_[level], field, flip);
  }
  // The test rate and its derivatives, if wanted.
  Objective objective(Index level, Index fine, const FieldState& field, double flip) const;

 private:
  Variation scales(const FieldState& field, const Tables& tables) const;

  GaussianMoments& target_;
  FieldState field_;
  TableLadder tables_;
  Wanted wanted_;
  Deque<Deque<LabelTable>>& labels_;
  Deque<Deque<bool>> made_;  // which of them are of this field
  Deque<Half> half_;
};

}  // namespace spikedrf
