#include "batches/solver.hpp"

#include <cmath>
#include <limits>

#include "batches/refinement.hpp"

namespace spikedrf {

namespace {

template <int KS>
bool solve_groups(const Spikes& spikes, const Points& points, GaussianMoments& activation,
                  GaussianMoments& target, Accuracy accuracy, const Results& results) {
  const int K = spikes.groups;
  const auto width = static_cast<std::size_t>(K);
  const int P = pair_count(K);
  Resolvent<KS> step_a(K, std::max(spikes.bulk_nodes, 1));
  OrderParameters<KS> order(K, Latents());
  Ascent at;

  std::size_t point = 0;
  while (point < points.count) {
    const auto spike = static_cast<std::size_t>(points.spike[point]);
    TableLadder ladder(spikes, spike, activation, target, accuracy.max_nodes);
    for (; point < points.count && static_cast<std::size_t>(points.spike[point]) == spike;
         ++point) {
      const double noise2 = points.noise[point] * points.noise[point];
      if (!climb(ladder, spikes, points, point, activation.linear(), accuracy, step_a, order, at,
                 [](std::size_t, const Regime&, const Errors&) { return 0.0; })) {
        return false;
      }
      const Errors& errors = at.errors;
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
      results.status[point] = static_cast<std::int32_t>(at.status);
      results.nit[point] = at.iterations;
      results.nodes[point] = static_cast<std::int64_t>(ladder[at.level].nodes);
      results.residual[point] = at.newton.residual;
      results.quadrature_error[point] = at.moved;
      // V1, V2 belong to the scaled problem: infinite in the ridgeless limit, zero at alpha = inf.
      const double unit =
          std::isinf(points.alpha[point]) ? 0.0 : 1.0 / at.regime.weighting.epsilon;
      const double not_a_number = std::numeric_limits<double>::quiet_NaN();
      const auto put = [&](double* array, std::size_t entry, double value) {
        array[entry] = at.newton.converged ? value : not_a_number;
      };
      for (int k = 0; k < K; ++k) {
        const std::size_t row = point * width + static_cast<std::size_t>(k);
        put(results.m, row, order.m[k]);
        put(results.theta, row, order.theta[k]);
        put(results.psi, row, order.psi[k]);
        put(results.q2, row, unbounded ? infinity : order.q[P + k]);
        put(results.V2, row, free && unit > 0.0 ? infinity : step_a.v[P + k] * unit);
        for (int l = 0; l < K; ++l) {
          const int a = pair_index(k, l, K);
          const double share = k == l ? 1.0 : 0.5;
          const std::size_t entry = row * width + static_cast<std::size_t>(l);
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
  return with_groups(spikes.groups, [&](auto groups) {
    return solve_groups<decltype(groups)::value>(spikes, points, activation, target, accuracy,
                                                 results);
  });
}

bool tabulate(const Spikes& spikes, GaussianMoments& activation, GaussianMoments& target,
              std::size_t level, std::size_t max_nodes, std::vector<double>& rows) {
  rows.clear();
  TableLadder ladder(spikes, 0, activation, target, max_nodes);
  const auto reached = ladder.reach(level);
  if (reached != TableLadder::Step::ready) return reached == TableLadder::Step::exhausted;
  const Tables& tables = ladder[level];
  const auto add = [&](const double* row) { rows.insert(rows.end(), row, row + tables.nodes); };
  for (const double* row : {tables.weight(), tables.h(), tables.hz(), tables.g2()}) add(row);
  for (int k = 0; k < tables.groups; ++k) add(tables.mu0(k));
  for (int k = 0; k < tables.groups; ++k) add(tables.mu1(k));
  for (int k = 0; k < tables.groups; ++k) add(tables.kappa_mu1(k));
  return true;
}

}  // namespace spikedrf
