// The density of x (envelope.hpp) on a grid, for smooth losses and one direction of zeta: phi is
// evaluated once at each point, however many zeta and labels there are.
#pragma once

#include "averages/envelope.hpp"
#include "averages/phi_grid.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

// x is N(mu, tau^2) given zeta and the label, one entry for each; the first `ups` are not of labels
// -1.
struct FieldEntries {
  const double* mu;
  const double* weight;
  const double* zeta;
  const double* label;
  Index ups, count;
  double tau;
};

class FieldDensity {
 public:
  FieldDensity(Loss loss, LabelKind kind, double rtol)
      : loss_(loss), kind_(kind), grid_(loss, rtol) {}

  // With `fresh` the grid also serves the loss itself. Moments with zeta^2 are for the Hessian.
  void spread(const FieldEntries& entries, double V, bool fresh, bool hessian);
  bool spread_signs(const LabelTable& labels, Index node, double flip, const CavityField& field,
                    bool fresh, bool hessian);

  // Of what was spread last.
  EnvelopeSums envelope(double V, bool hessian);
  // But for the test error of real labels, which the entries give.
  void outcome(double V, Outcome& result);

 private:
  Loss loss_;
  LabelKind kind_;
  PhiGrid grid_;
  // For each label the weight, times zeta, times zeta^2; and what is needed to spread it.
  Array<double> density_, profile_, up_, start_, ratio_, place_;
};

}  // namespace spikedrf
