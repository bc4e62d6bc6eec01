// Finds the points of zeta on whose scale the averages over zeta change (theory.md, section 11).
//
// The integrand is phi(x), smoothed by the width of the field, and phi has corners (loss.hpp).
// Where the field is narrow (features that have died out far along the spike, large penalties,
// many samples) it steps at those corners, at points that the target knows nothing of.
#pragma once

#include "averages/loss_averages.hpp"
#include "functions/loss.hpp"
#include "numerics/array.hpp"
#include "tables/labels.hpp"

namespace spikedrf {

class LabelCorners {
 public:
  LabelCorners(Loss loss, LabelKind kind) : loss_(loss), kind_(kind) {}

  // For the field on every node of kappa. `labels` is a table on the same nodes, between whose
  // entries the corners are looked for. False if the target could not be evaluated.
  bool find(const Array<double>& kappa, const Array<CavityField>& field, const LabelTable& labels,
            double gamma, double noise, GaussianMoments& target);

  // Whether there is any that a rule for the labels alone might miss.
  bool any() const { return !corner_.empty(); }
  // Adds those of one node.
  void add(Index node, Variation& variation) const;

 private:
  struct Corner {
    Index node;
    double at;           // in zeta
    double scale;        // of the step there
    double x;            // where phi has it
    double other;        // while it is looked for: the other end of the bracket,
    double left, right;  // and x minus its place at the two ends
  };
  Loss loss_;
  LabelKind kind_;
  Array<Corner> corner_;
};

}  // namespace spikedrf
