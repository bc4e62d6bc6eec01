// The one entry into the kernels of the theory: run(problem, points, wanted).
#pragma once

#include "batches/gradient.hpp"
#include "batches/problem.hpp"
#include "batches/solutions.hpp"
#include "batches/spectrum.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

// What is wanted of the points: one of these.
struct Wanted {
  const Solutions* solutions = nullptr;
  const Gradients* gradients = nullptr;
  const Transforms* transforms = nullptr;
};

// Certified answers: every point climbs the ladder of quadrature rules of its spike until nothing
// moves any more. Points that share a spike share its tables. False if an activation or target
// could not be evaluated (the answers are then incomplete).
bool run(const Problem& problem, const Points& points, const Wanted& wanted);

// The tables of the first spike on one rule of its ladder, for averages that are taken elsewhere:
// rows of one number for each node, weight, h, hz, g2, then mu0, mu1 and kappa mu1 of every group.
// No rows once the ladder is at its end. False if a function could not be evaluated.
bool tabulate(const Problem& problem, Index level, Array<double>& rows);

}  // namespace spikedrf
