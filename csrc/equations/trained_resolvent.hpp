// The resolvent of a trained first layer's bulk, Sigma = (I + a M)^2 + b S (theory.md, section 10).
//
// Three equations Xi = E q(Xi), whose averages over the residuals of the step are sums over the
// nodes of their law. Forms that follow from the solution are in first_layer/trained_resolvent.py.
#pragma once

#include "numerics/array.hpp"

namespace spikedrf {

// The law of the residuals: rows of nodes and of weights of E f, E s f and E s^2 f.
class TrainedLaw {
 public:
  TrainedLaw(const double* law, Index nodes);

 private:
  friend class TrainedEquations;
  Index nodes_;            // padded
  Array<double> columns_;  // nodes, then the weights of their powers
};

// Averages of 1/(1 + QH) that the forms are made of: of res and res^2 with s^2, of res^2 and res^3
// with s, of res to res^4 alone.
constexpr int kTrainedSums = 8;

// Solves at ascending x >= 0 for one bulk: a, b and 1/alpha0. Writes (Xi_11, Xi_12, Xi_22) and the
// averages, each `stride` after the one before: NaN where Newton's method fails.
void solve_trained(const TrainedLaw& law, const double* bulk, const double* x, Index count,
                   Index stride, double* out);

}  // namespace spikedrf
