// Certified derivatives of the test error: rules are refined until the derivatives agree, too.
#pragma once

#include <cstdint>

#include "averages/loss_averages.hpp"
#include "batches/problem.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

// Directions in which the spike moves: for each spike `count` rows of dr (K), dc (K), dgamma. The
// scale is what a parameter moves by to matter, for the certificate. The isotropic bulk has the
// variance c and moves with it; a bulk of nodes moves as `bulk` says, not at all if it is null:
// dvalue (nodes x K), then dtrace, dvv, dvx, dxx (nodes each), while dc is c's move in the tables.
struct Directions {
  Index count;
  const double* slope;  // spikes x count x (2K + 1)
  const double* scale;  // spikes x count
  const double* bulk = nullptr;  // spikes x rules x count x nodes (K + 4)
};

// A derivative that does not exist is NaN, and the point has Status::undefined.
struct Gradients {
  Directions directions;
  bool by_alpha, by_beta, by_lam, by_noise;  // which of these are certified too
  // Of sign labels, and of a loss that has a parameter; not looked at under the square loss of real
  // labels.
  bool by_flip, by_parameter;
  ObjectiveKind objective;
  double* test_error;
  double* test_loss;  // this, flip and parameter not under the square loss of real labels
  double* alpha;
  double* beta;
  double* lam;
  double* noise;  // at a fixed spike
  double* flip;
  double* parameter;
  double* along;  // points x directions
  double* quadrature_error;
  std::int32_t* status;
};

// Of the square loss of real labels, and of any other: finite alpha and lam > 0 then. False if an
// activation or target could not be evaluated (the results are then incomplete).
bool gradient(const Problem& problem, const Points& points, const Gradients& results);
bool convex_gradient(const Problem& problem, const Points& points, const Gradients& results);

}  // namespace spikedrf
