// What is differentiated: an average over kappa of a function of the readout's field, and its
// derivatives by everything that it depends on directly.
#pragma once


#include "averages/loss_averages.hpp"
#include "equations/field_state.hpp"
#include "tables/moments.hpp"

namespace spikedrf {

struct Objective {
  double value = 0.0;
  FieldState by;       // by the coefficients of the field; not by V, which is of training samples
  LabelSlopes labels;
  Array<double> r, c;  // through the tables, if their slopes are given
};

// Weights on the nodes of V, mean, s and t; null for none.
struct FieldWeights {
  const double *V, *mean, *s, *t;
};

// Adds how sum_i (V, mean, s, t)_i . weights_i of a field moves with the r_k and c_k of its tables,
// its coefficients fixed.
void add_table_slopes(const Tables& tables, const TableSlopes& slopes, const FieldWeights& weights,
                      const FieldState& state, double* r, double* c);

// From the objective on the nodes, in `state`. `slopes` may be null.
Objective gather(const Tables& tables, const TableSlopes* slopes,
                 const Array<NodeObjective>& nodes, const FieldState& state);

}  // namespace spikedrf
