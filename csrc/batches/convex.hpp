// Certified solutions for any convex loss of the readout: theory.md, section 11.
#pragma once

#include "batches/solver.hpp"
#include "functions/loss.hpp"
#include "tables/labels.hpp"

namespace spikedrf {

// What a loss has beside `Results`. There test_error and train_error are mean squares for real
// labels and rates of wrong signs for sign labels; excess_error is then NaN.
struct LossResults {
  double* test_loss;
  double* train_loss;
  double* test_margin;  // E y omega, E y h; NaN for real labels
  double* train_margin;
};

// Finite alpha and lam > 0; flip (one for each point) is the chance that a sign label is turned
// around. False if an activation or target could not be evaluated.
bool solve_convex(const Spikes& spikes, const Points& points, const double* flip, Loss loss,
                  LabelKind kind, GaussianMoments& activation, GaussianMoments& target,
                  Accuracy accuracy, const Results& results, const LossResults& more);

}  // namespace spikedrf
