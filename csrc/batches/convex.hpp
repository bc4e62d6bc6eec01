// Certified solutions for any convex loss of the readout: theory.md, section 11.
#pragma once

#include "batches/problem.hpp"
#include "batches/solutions.hpp"

namespace spikedrf {

// Finite alpha and lam > 0. Points of one spike and one noise share most if they are consecutive.
// False if an activation or target could not be evaluated.
bool solve_convex(const Problem& problem, const Points& points, const Solutions& solutions);

}  // namespace spikedrf
