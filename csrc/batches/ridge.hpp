// The square loss of real labels, where all but the responses has a closed form: theory.md,
// sections 4 to 6.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "batches/refinement.hpp"
#include "batches/solutions.hpp"
#include "batches/table_ladder.hpp"
#include "equations/order_parameters.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

bool solve_ridge(const Problem& problem, const Points& points, const Solutions& solutions);

// How step A is to be posed at (alpha, beta, lam), limits included (theory.md, section 6).
inline Regime pose(double alpha, double beta, double lam, bool linear, const Tables& tables) {
  constexpr double kSmallestRidge = 1e-30;  // squares of 1/lam must stay representable
  Regime regime;
  regime.beta = beta;
  if (std::isinf(alpha)) {
    regime.delta = 1.0;
    regime.weighting.chi = 0.0;
    regime.lam = 0.0;
  } else {
    regime.delta = alpha / beta;
    regime.lam = lam;
    const double rank = linear ? std::min(beta, 1.0) : beta;
    if (lam == 0.0 && alpha < rank) {
      regime.weighting.epsilon = 0.0;
      regime.lam = 1.0;
    } else if (lam > 0.0 && lam < kSmallestRidge) {
      if (alpha > rank) {
        regime.lam = 0.0;  // nothing depends on it any more
      } else {
        regime.weighting.epsilon = lam / kSmallestRidge;
        regime.lam = kSmallestRidge;
      }
    }
  }
  if (linear && regime.lam == 0.0) {
    // p >= d linear features: some directions of the readout are free (y = 0, g infinite). A tiny
    // ridge stands in for the minimum-norm limit: its effect is of relative order lam (p > d) or
    // sqrt(lam) (p = d). Several groups share one B of rank one, against whose rounding the
    // ridge must stand out.
    const double tiny = tables.groups == 1 ? 1e-24 : 1e-10;
    regime.lam = tiny * regime.delta * tables.mean_feature()[0];
  }
  return regime;
}

// Climbs until the errors, and the derivatives that `watch` looks at, move by less than rtol from
// one rule to the next, or until it is rounding that moves them, which no rule can help.
// watch(level, regime, errors) is called on every rule on which steps A to C have been solved; it
// returns the largest relative change since its last call.
template <int KS, class Watch>
class RidgeClimber {
 public:
  RidgeClimber(const Problem& problem, const Points& points, Index point, TableLadder& ladder,
               Resolvent<KS>& step_a, OrderParameters<KS>& order, const Watch& watch)
      : problem_(problem),
        points_(points),
        point_(point),
        ladder_(ladder),
        step_a_(step_a),
        order_(order),
        watch_(watch) {}

  // False if a function could not be evaluated.
  bool climb() {
    if (!refine(*this, 1, std::numeric_limits<int>::max(), at)) return false;
    if (!at.solved) {
      errors.excess = errors.train = errors.norm = std::numeric_limits<double>::quiet_NaN();
      at.moved[0] = std::numeric_limits<double>::infinity();
    }
    at.moved[0] = std::max(at.moved[0], errors.rounding);
    if (at.status == Status::converged &&
        unattainable(ladder_[at.level[0]], order_.m.data(), problem_.accuracy.rtol)) {
      at.status = Status::unattainable;
    }
    return true;
  }

  Refinement at;
  Errors errors;
  NewtonReport newton;  // of the last rule
  std::int32_t iterations = 0;
  Regime regime;

  Reached reach(const Index* level) { return ladder_.reach(level[0]); }

  Reached attempt(const Index* level, bool warm, Rung& now) {
    constexpr int kInVain = 2;
    const Tables& tables = ladder_[level[0]];
    const Index spike = points_.spike_of(point_);
    const double noise2 = points_.noise[point_] * points_.noise[point_];
    regime = pose(points_.alpha[point_], points_.beta[point_], points_.lam[point_],
                  problem_.activation->linear(), tables);
    regime.pi = problem_.spikes.pi_of(spike);
    regime.bulk = problem_.spikes.bulk_of(spike, level[0]);
    newton = step_a_.solve(tables, regime, warm);
    iterations += newton.iterations;
    now.solved = newton.converged;
    if (!now.solved) return Reached::ready;
    const Errors previous = errors;
    errors = order_.solve(tables, regime, step_a_, noise2);
    const double watched = watch_(level[0], regime, errors);
    if (!warm) return Reached::ready;
    // Each error must stand still relative to itself, down to what rounding leaves of it in the
    // powers that it is the difference of.
    const double label = tables.label_power() + noise2;
    now.moved =
        relative_change(errors.excess + noise2, previous.excess + noise2, 1e-14 * label);
    const double moved = std::max(
        {now.moved, relative_change(errors.train, previous.train, 1e-15 * label),
         relative_change(errors.norm, previous.norm, 1e-10 * label / tables.feature_power())});
    // A chance improvement within what rounding may do is no reason to start counting again.
    const bool better = watched < 0.5 * least_watched_;
    if (watched > errors.slope_rounding) {
      in_vain_ = 0;
    } else if (!better) {
      ++in_vain_;
    }
    least_watched_ = std::min(least_watched_, watched);
    const double rtol = problem_.accuracy.rtol;
    // Beyond doubt it either converges geometrically or has stood nearly still before.
    constexpr double kGeometric = 1e-3;
    constexpr double kNearly = 10.0;
    const bool sure = !problem_.doubtful || moved <= std::max(kGeometric * rtol, errors.rounding) ||
                      last_moved_ <= kNearly * rtol;
    last_moved_ = moved;
    now.stands = sure && moved <= std::max(rtol, errors.rounding) &&
                 (watched <= rtol || in_vain_ >= kInVain);
    // Two rules may agree by accident where rounding is amplified: agreement is not enough.
    const double certain = std::max({moved, watched, errors.rounding});
    now.verdict = certain <= rtol ? Status::converged : Status::rounding;
    return Reached::ready;
  }

 private:
  const Problem& problem_;
  const Points& points_;
  Index point_;
  TableLadder& ladder_;
  Resolvent<KS>& step_a_;
  OrderParameters<KS>& order_;
  const Watch& watch_;
  double last_moved_ = std::numeric_limits<double>::infinity();
  double least_watched_ = std::numeric_limits<double>::infinity();
  int in_vain_ = 0;  // rules after which derivatives moved no less, and no more than rounding may
};

}  // namespace spikedrf
