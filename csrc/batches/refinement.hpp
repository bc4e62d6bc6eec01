// The way of one point to a certified answer: rule after rule until nothing moves any more.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <limits>
#include <type_traits>

#include "batches/solver.hpp"
#include "equations/order_parameters.hpp"
#include "numerics/quadrature.hpp"

namespace spikedrf {

// Calls f with the number of groups as a compile-time constant, 0 if there are many.
template <class F>
auto with_groups(int groups, const F& f) {
  switch (groups) {
    case 1:
      return f(std::integral_constant<int, 1>());
    case 2:
      return f(std::integral_constant<int, 2>());
    case 3:
      return f(std::integral_constant<int, 3>());
    case 4:
      return f(std::integral_constant<int, 4>());
    default:
      return f(std::integral_constant<int, 0>());
  }
}

// The tables of one spike, and with `slopes` their slopes, on every rule that some point has asked
// for. The rules also resolve what else is in `more`.
class TableLadder {
 public:
  TableLadder(const Spikes& spikes, std::size_t index, GaussianMoments& activation,
              GaussianMoments& target, std::size_t max_nodes, bool with_slopes = false,
              const Variation& more = {}, RuleLadder::Start start = RuleLadder::Start::hermite)
      : groups_(spikes.groups),
        r_(spikes.r + index * static_cast<std::size_t>(spikes.groups)),
        c_(spikes.c + index * static_cast<std::size_t>(spikes.groups)),
        gamma_(spikes.gamma[index]),
        activation_(activation),
        target_(target),
        with_slopes_(with_slopes),
        rules_(variation(more), max_nodes, start) {}

  enum class Step { ready, exhausted, failed };

  Step reach(std::size_t level) {
    while (tables_.size() <= level) {
      Rule rule;
      if (!rules_.make(static_cast<int>(tables_.size()), rule)) return Step::exhausted;
      tables_.emplace_back();
      if (with_slopes_) slopes_.emplace_back();
      const int effort = static_cast<int>(tables_.size()) - 1;
      if (!tables_.back().fill(rule, effort, groups_, r_, c_, gamma_, activation_, target_,
                               with_slopes_ ? &slopes_.back() : nullptr)) {
        return Step::failed;
      }
    }
    return Step::ready;
  }
  const Tables& operator[](std::size_t level) const { return tables_[level]; }
  const TableSlopes* slopes(std::size_t level) const {
    return with_slopes_ ? &slopes_[level] : nullptr;
  }

 private:
  Variation variation(Variation result) const {
    for (int k = 0; k < groups_; ++k) {
      activation_.add_variation(r_[k], std::sqrt(c_[k]), result);
    }
    const double sd = std::sqrt(std::max(0.0, (1.0 - gamma_) * (1.0 + gamma_)));
    target_.add_variation(gamma_, sd, result);
    return result;
  }

  int groups_;
  const double* r_;
  const double* c_;
  double gamma_;
  GaussianMoments& activation_;
  GaussianMoments& target_;
  bool with_slopes_;
  RuleLadder rules_;
  std::deque<Tables> tables_;
  std::deque<TableSlopes> slopes_;
};

// Which of all rules for the bulk (of all spikes) a spike uses on a level.
inline std::size_t bulk_rule(const Spikes& spikes, std::size_t index, std::size_t level) {
  const auto rules = static_cast<std::size_t>(spikes.bulk_rules);
  return index * rules + level % rules;
}

inline Bulk bulk_of(const Spikes& spikes, std::size_t index, std::size_t level) {
  const auto groups = static_cast<std::size_t>(spikes.groups);
  if (spikes.bulk_nodes == 0) return Bulk::isotropic(spikes.c + index * groups);
  const std::size_t at =
      bulk_rule(spikes, index, level) * static_cast<std::size_t>(spikes.bulk_nodes);
  Bulk bulk = spikes.bulk;
  bulk.nodes = spikes.bulk_nodes;
  bulk.value += at * groups;
  bulk.trace += at;
  bulk.forms += at;
  return bulk;
}

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

// Where a point has arrived.
struct Ascent {
  Errors errors;
  NewtonReport newton;  // of the last rule
  Status status = Status::quadrature;
  double moved = std::numeric_limits<double>::infinity();  // relative change of the test error
  std::int32_t iterations = 0;
  std::size_t level = 0;
  Regime regime;
};

// Climbs until the errors, and the derivatives that `watch` looks at, move by less than rtol from
// one rule to the next, or until it is rounding that moves them, which no rule can help. watch(level,
// regime, errors) is called on every rule on which steps A to C have been solved; it returns the
// largest relative change since its last call. False if a function could not be evaluated.
template <int KS, class Watch>
bool climb(TableLadder& ladder, const Spikes& spikes, const Points& points, std::size_t point,
           bool linear, Accuracy accuracy, Resolvent<KS>& step_a, OrderParameters<KS>& order,
           Ascent& at, const Watch& watch) {
  const auto spike = static_cast<std::size_t>(points.spike[point]);
  const double noise2 = points.noise[point] * points.noise[point];
  constexpr int kInVain = 2;
  at = Ascent();
  Errors previous;
  double least_watched = std::numeric_limits<double>::infinity();
  int in_vain = 0;  // rules after which derivatives moved no less, and no more than rounding may
  for (;; ++at.level) {
    const auto reached = ladder.reach(at.level);
    if (reached == TableLadder::Step::failed) return false;
    if (reached == TableLadder::Step::exhausted) {
      --at.level;
      break;
    }
    const Tables& tables = ladder[at.level];
    at.regime = pose(points.alpha[point], points.beta[point], points.lam[point], linear, tables);
    at.regime.pi = spikes.pi + spike * static_cast<std::size_t>(spikes.groups);
    at.regime.bulk = bulk_of(spikes, spike, at.level);
    const bool warm = at.level > 0 && at.newton.converged;
    at.newton = step_a.solve(tables, at.regime, warm);
    at.iterations += at.newton.iterations;
    if (!at.newton.converged) {
      at.status = Status::newton;
      // A coarse rule may pose a problem that has no regular solution; a finer one follows.
      continue;
    }
    previous = at.errors;
    at.errors = order.solve(tables, at.regime, step_a, noise2);
    const double watched = watch(at.level, at.regime, at.errors);
    at.status = Status::quadrature;
    if (!warm) continue;
    // Each error must stand still relative to itself, down to what rounding leaves of it in the
    // powers that it is the difference of.
    const double label = tables.label_power() + noise2;
    const auto relative = [](double now, double before, double floor) {
      const double scale = std::max(std::fabs(now), floor);
      return now == before ? 0.0 : std::fabs(now - before) / scale;
    };
    at.moved = relative(at.errors.excess + noise2, previous.excess + noise2, 1e-14 * label);
    const double moved =
        std::max({at.moved, relative(at.errors.train, previous.train, 1e-15 * label),
                  relative(at.errors.norm, previous.norm, 1e-10 * label / tables.feature_power())});
    const bool better = watched < 0.5 * least_watched;
    in_vain = better || watched > at.errors.slope_rounding ? 0 : in_vain + 1;
    least_watched = std::min(least_watched, watched);
    if (moved > std::max(accuracy.rtol, at.errors.rounding)) continue;
    if (watched <= accuracy.rtol || in_vain >= kInVain) {
      // Two rules may agree by accident where rounding is amplified: agreement is not enough.
      const double certain = std::max({moved, watched, at.errors.rounding});
      at.status = certain <= accuracy.rtol ? Status::converged : Status::rounding;
      break;
    }
  }
  at.moved = std::max(at.moved, at.errors.rounding);
  if (!at.newton.converged) {
    at.errors.excess = at.errors.train = at.errors.norm = std::numeric_limits<double>::quiet_NaN();
    at.moved = std::numeric_limits<double>::infinity();
  }
  return true;
}

}  // namespace spikedrf
