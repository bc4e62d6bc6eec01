// How one point is refined: rule after rule, until two neighbours agree to the accuracy asked for.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "batches/problem.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

// What became of a rule that was asked for.
enum class Reached {
  ready,
  exhausted,  // there is none as fine
  failed,     // a function could not be evaluated
};

// What was found on one rule.
struct Rung {
  bool solved = true;
  double moved = std::numeric_limits<double>::infinity();  // since the last rule, as reported
  bool stands = false;                   // whether everything that matters moved little enough
  Status verdict = Status::converged;    // if it does on every axis
  Index stride = 1;    // so many levels up the next rule is expected to be good enough
  bool both = false;   // or a little finer on both axes at once it is expected to stand
};

// Where a point has arrived.
struct Refinement {
  Index level[2] = {0, 0};  // below zero where not even the first rule could be made
  double moved[2] = {std::numeric_limits<double>::infinity(),
                     std::numeric_limits<double>::infinity()};
  Status status = Status::quadrature;
  bool solved = false;  // on the last rule
};

inline double relative_change(double now, double before, double floor) {
  return now == before ? 0.0 : std::fabs(now - before) / std::max(std::fabs(now), floor);
}

// Refines the rule of the first axis until that moves nothing any more, then that of the second, if
// there are two; where that still does, the first again. Where a rule cannot be refined any more
// the other one still is, so that its error is known. A climber has
//
//   Reached reach(const Index* level)                           rules of these levels
//   Reached attempt(const Index* level, bool warm, Rung& now)   the answer on them, from the
//                                                                     last one if `warm`
//
// A rung may say that rules can be left out, or that both axes can be refined at once: if nothing
// moves then, neither rule was to blame for anything.
//
// A coarse rule may pose a problem that has no regular solution, and a finer one follows:
// `patience` of them in a row. False if a function could not be evaluated.
template <class Climber>
bool refine(Climber& climber, int axes, int patience, Refinement& at) {
  at = Refinement();
  bool steady[] = {false, axes == 1};
  bool exhausted[] = {false, axes == 1};
  if (axes == 1) at.moved[1] = 0.0;
  int axis = 0;
  Index stride = 0;
  bool both = false;
  for (int failures = 0;;) {
    Reached reached = climber.reach(at.level);
    if (reached == Reached::failed) return false;
    if (reached == Reached::exhausted && (both || stride > 1)) {
      at.level[axis] += 1 - stride;
      if (both) --at.level[1 - axis];
      both = false;
      stride = 1;
      continue;
    }
    if (reached == Reached::exhausted) {
      exhausted[axis] = true;
      --at.level[axis];
      axis = 1 - axis;
      if (exhausted[axis] || steady[axis] || !at.solved) break;
      ++at.level[axis];
      continue;
    }
    Rung now;
    reached = climber.attempt(at.level, at.solved, now);
    if (reached == Reached::failed) return false;
    if (reached == Reached::exhausted) break;
    if (now.solved) {
      if (at.solved) {
        at.moved[axis] = now.moved;
        if (both) at.moved[1 - axis] = 0.0;
        // A finer rule that changed the problem puts the other one in doubt again.
        if (axes == 2 && (both || !now.stands)) steady[1 - axis] = now.stands;
        steady[axis] = now.stands;
      }
      at.status = Status::quadrature;
      failures = 0;
    } else {
      at.status = Status::newton;
      ++failures;
    }
    at.solved = now.solved;
    if (failures >= patience) break;  // on this rule: the next one has not been made
    if (steady[0] && steady[1]) {
      at.status = now.verdict;
      break;
    }
    axis = (steady[0] || exhausted[0]) && !exhausted[1] ? 1 : 0;
    if (exhausted[axis] || (exhausted[1 - axis] && steady[axis])) break;
    stride = now.solved ? now.stride : 1;
    both = now.solved && now.both && axes == 2 && !steady[0] && !steady[1] && !exhausted[0] &&
           !exhausted[1];
    at.level[axis] += stride;
    if (both) ++at.level[1 - axis];
  }
  return true;
}

}  // namespace spikedrf
