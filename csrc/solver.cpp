#include "solver.hpp"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>

#include "order_parameters.hpp"
#include "quadrature.hpp"

namespace spikedrf {

namespace {

// The tables of one spike on every rule that some point has asked for.
class TableLadder {
 public:
  TableLadder(const Spikes& spikes, std::size_t index, GaussianMoments& activation,
              GaussianMoments& target, std::size_t max_nodes)
      : groups_(spikes.groups),
        r_(spikes.r + index * static_cast<std::size_t>(spikes.groups)),
        c_(spikes.c + index * static_cast<std::size_t>(spikes.groups)),
        gamma_(spikes.gamma[index]),
        activation_(activation),
        target_(target),
        rules_(variation(), max_nodes) {}

  enum class Step { ready, exhausted, failed };

  Step reach(std::size_t level) {
    while (tables_.size() <= level) {
      Rule rule;
      if (!rules_.make(static_cast<int>(tables_.size()), rule)) return Step::exhausted;
      tables_.emplace_back();
      const int effort = static_cast<int>(tables_.size()) - 1;
      if (!tables_.back().fill(rule, effort, groups_, r_, c_, gamma_, activation_, target_)) {
        return Step::failed;
      }
    }
    return Step::ready;
  }
  const Tables& operator[](std::size_t level) const { return tables_[level]; }

 private:
  Variation variation() const {
    Variation result;
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
  RuleLadder rules_;
  std::deque<Tables> tables_;
};

Bulk bulk_of(const Spikes& spikes, std::size_t index) {
  const auto groups = static_cast<std::size_t>(spikes.groups);
  if (spikes.bulk_nodes == 0) return Bulk::isotropic(spikes.c + index * groups);
  const std::size_t at = index * static_cast<std::size_t>(spikes.bulk_nodes);
  const Bulk& all = spikes.bulk;
  return {spikes.bulk_nodes, all.value + at * groups, all.trace + at,
          all.vv + at,       all.vx + at,             all.xx + at};
}

// How step A is to be posed at (alpha, beta, lam), limits included (theory.md, section 6).
Regime pose(double alpha, double beta, double lam, bool linear, const Tables& tables) {
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
      regime.weighting.epsilon = lam / kSmallestRidge;
      regime.lam = kSmallestRidge;
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

template <int KS>
bool solve_groups(const Spikes& spikes, const Points& points, GaussianMoments& activation,
                  GaussianMoments& target, Accuracy accuracy, const Results& results) {
  const int K = spikes.groups;
  const auto width = static_cast<std::size_t>(K);
  const int P = pair_count(K);
  Resolvent<KS> step_a(K, std::max(spikes.bulk_nodes, 1));
  OrderParameters<KS> order(K);

  std::size_t point = 0;
  while (point < points.count) {
    const auto spike = static_cast<std::size_t>(points.spike[point]);
    TableLadder ladder(spikes, spike, activation, target, accuracy.max_nodes);
    for (; point < points.count && static_cast<std::size_t>(points.spike[point]) == spike;
         ++point) {
      const double noise2 = points.noise[point] * points.noise[point];
      Errors errors;
      Errors previous;
      NewtonReport newton;
      Status status = Status::quadrature;
      double moved = std::numeric_limits<double>::infinity();
      std::int32_t iterations = 0;
      std::size_t level = 0;
      Regime regime;
      for (;; ++level) {
        const auto reached = ladder.reach(level);
        if (reached == TableLadder::Step::failed) return false;
        if (reached == TableLadder::Step::exhausted) {
          --level;
          break;
        }
        const Tables& tables = ladder[level];
        regime = pose(points.alpha[point], points.beta[point], points.lam[point],
                      activation.linear(), tables);
        regime.pi = spikes.pi + spike * width;
        regime.bulk = bulk_of(spikes, spike);
        const bool warm = level > 0 && newton.converged;
        newton = step_a.solve(tables, regime, warm);
        iterations += newton.iterations;
        if (!newton.converged) {
          status = Status::newton;
          // A coarse rule may pose a problem that has no regular solution; a finer one follows.
          continue;
        }
        previous = errors;
        errors = order.solve(tables, regime, step_a, noise2);
        if (!warm) {
          status = Status::quadrature;
          continue;
        }
        // Each error must stand still relative to itself, down to what rounding leaves of it in
        // the powers that it is the difference of.
        const double label = tables.label_power() + noise2;
        const double test = errors.excess + noise2;
        const auto relative = [](double now, double before, double floor) {
          const double scale = std::max(std::fabs(now), floor);
          return now == before ? 0.0 : std::fabs(now - before) / scale;
        };
        moved = relative(test, previous.excess + noise2, 1e-14 * label);
        const double others =
            std::max(relative(errors.train, previous.train, 1e-15 * label),
                     relative(errors.norm, previous.norm, 1e-10 * label / tables.feature_power()));
        if (moved <= accuracy.rtol && others <= accuracy.rtol) {
          status = Status::converged;
          break;
        }
        status = Status::quadrature;
      }

      // Two rules may agree by accident where rounding is amplified: agreement is not enough.
      moved = std::max(moved, errors.rounding);
      if (status == Status::converged && moved > accuracy.rtol) status = Status::rounding;
      const double not_a_number = std::numeric_limits<double>::quiet_NaN();
      if (!newton.converged) {
        errors.excess = errors.train = errors.norm = not_a_number;
        moved = std::numeric_limits<double>::infinity();
      }
      results.test_error[point] = errors.excess + noise2;
      results.excess_error[point] = errors.excess;
      results.train_error[point] = errors.train;
      // Linear features with p >= d and no ridge: the responses are infinite, and at p = d the
      // errors are finite but reached with unbounded weights.
      const double infinity = std::numeric_limits<double>::infinity();
      const bool ridgeless = std::isinf(points.alpha[point]) || points.lam[point] == 0.0;
      const bool free = activation.linear() && ridgeless && points.beta[point] >= 1.0 &&
                        points.alpha[point] > 1.0;
      const bool unbounded = free && points.beta[point] == 1.0;
      results.norm[point] = unbounded ? infinity : errors.norm;
      results.status[point] = static_cast<std::int32_t>(status);
      results.nit[point] = iterations;
      results.nodes[point] = static_cast<std::int64_t>(ladder[level].nodes);
      results.residual[point] = newton.residual;
      results.quadrature_error[point] = moved;
      // V1, V2 belong to the scaled problem: infinite in the ridgeless limit, zero at alpha = inf.
      const double unit =
          std::isinf(points.alpha[point]) ? 0.0 : 1.0 / regime.weighting.epsilon;
      const auto put = [&](double* array, std::size_t at, double value) {
        array[at] = newton.converged ? value : not_a_number;
      };
      for (int k = 0; k < K; ++k) {
        const std::size_t at = point * width + static_cast<std::size_t>(k);
        put(results.m, at, order.m[k]);
        put(results.theta, at, order.theta[k]);
        put(results.psi, at, order.psi[k]);
        put(results.q2, at, unbounded ? infinity : order.q[P + k]);
        put(results.V2, at, free && unit > 0.0 ? infinity : step_a.v[P + k] * unit);
        for (int l = 0; l < K; ++l) {
          const int a = pair_index(k, l, K);
          const double share = k == l ? 1.0 : 0.5;
          const std::size_t entry = at * width + static_cast<std::size_t>(l);
          put(results.q1, entry, share * order.q[a] + order.psi[k] * order.psi[l]);
          put(results.V1, entry, step_a.v[a] == 0.0 ? 0.0 : share * step_a.v[a] * unit);
        }
      }
    }
  }
  return true;
}

}  // namespace

bool solve(const Spikes& spikes, const Points& points, GaussianMoments& activation,
           GaussianMoments& target, Accuracy accuracy, const Results& results) {
  switch (spikes.groups) {
    case 1:
      return solve_groups<1>(spikes, points, activation, target, accuracy, results);
    case 2:
      return solve_groups<2>(spikes, points, activation, target, accuracy, results);
    case 3:
      return solve_groups<3>(spikes, points, activation, target, accuracy, results);
    case 4:
      return solve_groups<4>(spikes, points, activation, target, accuracy, results);
    default:
      return solve_groups<0>(spikes, points, activation, target, accuracy, results);
  }
}

}  // namespace spikedrf
