#include "batches/gradient.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "batches/ridge.hpp"
#include "equations/sensitivity.hpp"
#include "numerics/lanes.hpp"

namespace spikedrf {

namespace {

constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

// Whether the test error jumps when the spike moves along (dr, dc). Where the mu0_k depend linearly
// on each other, sum_k a_k mu0_k = 0, moving them apart adds the function sum_k a_k dmu0_k to what
// the unpenalised readout m can fit, at once and however small the move is. (An odd activation
// has mu0 = 0 without a spike; groups may be alike.) It does not if the sum lies in the span of
// the mu0_k, or if it has no overlap with the residual.
template <int KS>
bool jumps(const Tables& tables, const TableSlopes& slopes, const Resolvent<KS>& step_a,
           const OrderParameters<KS>& order, const double* dr, const double* dc,
           Array<double>& function) {
  constexpr double kRounding = 1e-9;
  const int K = step_a.groups();
  const Index n = tables.stride;
  if (function.size() < n) function.resize(n);
  double size = 0.0;
  for (int k = 0; k < K; ++k) size = std::max({size, std::fabs(dr[k]), std::fabs(dc[k])});
  size *= std::sqrt(tables.feature_power());
  for (int i = 0; i < order.dependencies; ++i) {
    const double* a = order.dependency.data() + i * K;
    std::fill_n(function.begin(), n, 0.0);
    for (int k = 0; k < K; ++k) {
      for (Index at = 0; at < n; ++at) {
        function[at] +=
            a[k] * (dr[k] * tables.kappa_mu1(k)[at] + dc[k] * slopes.mu0_c(k)[at]);
      }
    }
    double mean_weight = 0.0;
    for (Index at = 0; at < n; ++at) {
      mean_weight += step_a.w_omega[at];
      function[at] *= std::sqrt(step_a.w_omega[at]);
    }
    for (int j = 0; j < K; ++j) {
      const double* basis = order.fit_function(tables, j);
      const double share = dot(basis, function.data(), n);
      for (Index at = 0; at < n; ++at) function[at] -= share * basis[at];
    }
    const double left = std::sqrt(dot(function.data(), function.data(), n));
    if (!(left > kRounding * size * std::sqrt(mean_weight))) continue;
    double overlap = 0.0;
    double residual = 0.0;
    for (Index at = 0; at < n; ++at) {
      double misfit = tables.h()[at];
      for (int k = 0; k < K; ++k) {
        misfit -= order.m[k] * tables.mu0(k)[at] + order.theta[k] * tables.kappa_mu1(k)[at];
      }
      misfit *= std::sqrt(step_a.w_omega[at]);
      overlap += function[at] * misfit;
      residual += misfit * misfit;
    }
    const double least = std::max(residual, 1e-20 * tables.label_power() * mean_weight);
    if (std::fabs(overlap) > kRounding * left * std::sqrt(least)) return true;
  }
  return false;
}

// The derivatives at one point, on the last two rules.
template <int KS>
class Watcher {
 public:
  Watcher(const Gradients& wanted, int groups, int bulk_nodes, const Latents& latents)
      : sensitivity_(groups, std::max(bulk_nodes, 1), latents),
        directions_(wanted.directions),
        isotropic_(bulk_nodes == 0),
        wanted_{wanted.by_alpha, wanted.by_beta, wanted.by_lam, wanted.by_noise},
        now_(4 + directions_.count),
        before_(4 + directions_.count) {}

  // Returns the largest change of a wanted derivative since the last call, relative to the
  // derivative or to 1e-4 test / scale, whichever is larger.
  double look(const Tables& tables, const TableSlopes* slopes, const Points& points, Index point,
              Index rule, bool linear, const Regime& regime, const Errors& errors,
              Resolvent<KS>& step_a, OrderParameters<KS>& order) {
    constexpr double kFloor = 1e-4;
    const int K = step_a.groups();
    const double alpha = points.alpha[point];
    const double noise = points.noise[point];
    // Down to what rounding leaves of the labels' power, as in `climb`.
    const double label = tables.label_power() + noise * noise;
    const double test = std::max(errors.excess + noise * noise, 1e-14 * label);
    std::swap(now_, before_);
    undefined = false;
    const Sensitivity<KS>& s = sensitivity_;
    sensitivity_.solve(tables, slopes, regime, step_a, order, noise);
    const bool population = std::isinf(alpha);
    // A ridge matters when it makes up for the stiffness y, or for the response when V ~ 1/lam.
    double ridge = regime.lam * std::max(s.response, regime.weighting.epsilon);
    if (regime.weighting.epsilon == 1.0) {
      for (int k = 0; k < K; ++k) ridge = std::max(ridge, step_a.y(k));
    }
    const double scale[4] = {population ? 1.0 : alpha, regime.beta, ridge, std::sqrt(test)};
    now_[1] = s.beta;
    now_[3] = s.noise;
    if (population) {
      now_[0] = now_[2] = 0.0;
    } else {
      now_[0] = s.delta / regime.beta;
      now_[1] -= s.delta * regime.delta / regime.beta;
      now_[2] = s.lam;
    }
    const bool ridgeless = population || points.lam[point] == 0.0;
    if (linear && ridgeless && regime.beta == 1.0 && alpha > 1.0) {
      // As many linear features as dimensions, without a ridge: their rank has a kink in beta and
      // the ridge enters as sqrt(lam).
      now_[1] = kNotANumber;
      if (!population) now_[2] = std::copysign(std::numeric_limits<double>::infinity(), s.lam);
    }
    double moved = 0.0;
    const auto compare = [&](Index i, double by) {
      if (now_[i] == before_[i]) return;
      const double size = std::max(std::fabs(now_[i]), kFloor * test / by);
      const double change = std::fabs(now_[i] - before_[i]) / size;
      constexpr double kInfinity = std::numeric_limits<double>::infinity();
      moved = std::isnan(change) ? kInfinity : std::max(moved, change);
    };
    for (Index i = 0; i < 4; ++i) {
      if (!wanted_[i]) continue;
      if (std::isnan(now_[i])) {
        undefined = true;
      } else {
        compare(i, scale[i]);
      }
    }
    const Index spike = points.spike[point];
    const Index width = 2 * K + 1;
    const Index bulk_width = regime.bulk.nodes * (K + 4);
    for (Index d = 0; d < directions_.count; ++d) {
      const Index row = spike * directions_.count + d;
      const double* dr = directions_.slope + row * width;
      const double* dc = dr + K;
      const double dgamma = dr[2 * K];
      double along = dgamma == 0.0 ? 0.0 : dgamma * s.gamma;
      for (int k = 0; k < K; ++k) along += dr[k] * s.r[k] + dc[k] * s.c[k];
      if (isotropic_) {
        along += s.along_values(dc);
      } else if (directions_.bulk != nullptr) {
        const Index move = rule * directions_.count + d;
        along += s.along_bulk(directions_.bulk + move * bulk_width, regime.bulk.nodes);
      }
      if (!std::isfinite(along)) {
        along = kNotANumber;
      } else if (order.dependencies > 0 &&
                 jumps(tables, *slopes, step_a, order, dr, dc, function_)) {
        along = kNotANumber;
      }
      now_[4 + d] = along;
      if (std::isnan(along)) {
        undefined = true;
      } else {
        compare(4 + d, directions_.scale[row]);
      }
    }
    return moved;
  }

  double value(Index i) const { return now_[i]; }
  bool undefined = false;

 private:
  Sensitivity<KS> sensitivity_;
  const Directions& directions_;
  bool isotropic_;
  bool wanted_[4];
  Array<double> now_, before_;
  Array<double> function_;
};

template <int KS>
bool gradient_groups(const Problem& problem, const Points& points, const Gradients& results) {
  const Spikes& spikes = problem.spikes;
  const Index directions = results.directions.count;
  const int K = spikes.groups;
  const bool linear = problem.activation->linear();
  Resolvent<KS> step_a(K, std::max(spikes.bulk_nodes, 1));
  OrderParameters<KS> order(K, problem.latents);
  Watcher<KS> watcher(results, K, spikes.bulk_nodes, problem.latents);

  Index point = 0;
  while (point < points.count) {
    const Index spike = points.spike_of(point);
    TableLadder ladder(problem, spike, directions > 0);
    for (; point < points.count && points.spike_of(point) == spike; ++point) {
      double moved = std::numeric_limits<double>::infinity();
      const auto watch = [&](Index level, const Regime& regime, const Errors& errors) {
        moved = watcher.look(ladder[level], ladder.slopes(level), points, point,
                             spikes.bulk_rule(spike, level), linear, regime, errors, step_a,
                             order);
        return moved;
      };
      RidgeClimber climber(problem, points, point, ladder, step_a, order, watch);
      if (!climber.climb()) return false;
      const auto put = [&](double* array, Index entry, double value) {
        array[entry] = climber.at.solved ? value : kNotANumber;
      };
      const double noise2 = points.noise[point] * points.noise[point];
      put(results.test_error, point, climber.errors.excess + noise2);
      put(results.alpha, point, watcher.value(0));
      put(results.beta, point, watcher.value(1));
      put(results.lam, point, watcher.value(2));
      put(results.noise, point, watcher.value(3));
      for (Index d = 0; d < directions; ++d) {
        put(results.along, point * directions + d, watcher.value(4 + d));
      }
      results.quadrature_error[point] = std::max(climber.at.moved[0], moved);
      Status status = climber.at.status;
      if (status == Status::converged && watcher.undefined) status = Status::undefined;
      results.status[point] = static_cast<std::int32_t>(status);
    }
  }
  return true;
}

}  // namespace

bool gradient(const Problem& problem, const Points& points, const Gradients& results) {
  return with_groups(problem.spikes.groups, [&](auto groups) {
    return gradient_groups<decltype(groups)::value>(problem, points, results);
  });
}

}  // namespace spikedrf
