// Certified derivatives of the test error under the square loss: rules are refined until the
// derivatives agree, too.
#pragma once

#include <cstdint>

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
  double* test_error;
  double* alpha;
  double* beta;
  double* lam;
  double* noise;  // at a fixed spike
  double* along;  // points x directions
  double* quadrature_error;
  std::int32_t* status;
};

// False if an activation or target could not be evaluated (the results are then incomplete).
bool gradient(const Problem& problem, const Points& points, const Gradients& results);

}  // namespace spikedrf
