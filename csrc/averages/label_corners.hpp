// Where the averages over zeta bend: what is averaged is phi(x), smoothed by the field's own width,
// and phi has corners (loss.hpp). Far out along the spike, where features die out, and for large
// penalties and many samples the field is narrow, and its steps are nowhere that the target knows
// of.
#pragma once

#include <vector>

#include "averages/loss_averages.hpp"
#include "functions/loss.hpp"
#include "tables/labels.hpp"

namespace spikedrf {

class LabelCorners {
 public:
  LabelCorners(Loss loss, LabelKind kind) : loss_(loss), kind_(kind) {}

  // For the field on every node of kappa. `labels` is a table on the same nodes, between whose
  // entries the corners are looked for. False if the target could not be evaluated.
  bool find(const std::vector<double>& kappa, const std::vector<CavityField>& field,
            const LabelTable& labels, double gamma, double noise, GaussianMoments& target);

  // Whether there is any that a rule for the labels alone might miss.
  bool any() const { return !corner_.empty(); }
  // Adds those of one node.
  void add(std::size_t node, Variation& variation) const;

 private:
  struct Corner {
    std::size_t node;
    double at;           // in zeta
    double scale;        // of the step there
    double x;            // where phi has it
    double other;        // while it is looked for: the other end of the bracket,
    double left, right;  // and x minus its place at the two ends
  };
  Loss loss_;
  LabelKind kind_;
  std::vector<Corner> corner_;
};

}  // namespace spikedrf
