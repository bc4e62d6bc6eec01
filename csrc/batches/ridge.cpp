#include "batches/ridge.hpp"

namespace spikedrf {

namespace {

// Rates of wrong signs by class: the readout is a narrow step on some nodes, which only these see.
// They are refined on their own for the readout that was found. Exhausted: they still move.
template <int KS>
Reached climb_rates(TableLadder& ladder, Index level, const Problem& problem,
                    OrderParameters<KS>& order) {
  constexpr double kLeast = 1e-6;  // smaller rates are held to this instead of to themselves
  const auto rates = [&](Index at) {
    wrong_rates(ladder[at], order.m.data(), order.theta.data(), order.psi.data(), order.q.data(),
                order.by_class.data());
    return order.by_class;
  };
  Array<ClassErrors> before = rates(level);
  const auto has_rate = [](const ClassErrors& of) { return !std::isnan(of.wrong); };
  if (std::none_of(before.begin(), before.end(), has_rate)) return Reached::ready;
  for (;;) {
    const Reached reached = ladder.reach(++level);
    if (reached != Reached::ready) return reached;
    const Array<ClassErrors> now = rates(level);
    double moved = 0.0;
    for (Index c = 0; c < now.size(); ++c) {
      const double floor = kLeast * now[c].share;
      moved = std::max(moved, relative_change(now[c].wrong, before[c].wrong, floor));
    }
    if (moved <= problem.accuracy.rtol) return Reached::ready;
    before = now;
  }
}

template <int KS>
bool solve_groups(const Problem& problem, const Points& points, const Solutions& solutions) {
  const Spikes& spikes = problem.spikes;
  const int K = spikes.groups;
  Resolvent<KS> step_a(K, std::max(spikes.bulk_nodes, 1));
  OrderParameters<KS> order(K, problem.latents);
  if (problem.source != nullptr) order.by_class.resize(problem.classes);
  const bool linear = problem.activation->linear();
  // The errors of the classes are certified too.
  Array<ClassErrors> before;
  const auto watch = [&](Index level, const Regime&, const Errors& errors) {
    double moved = 0.0;
    for (Index i = 0; i < before.size() && level > 0; ++i) {
      const ClassErrors& now = order.by_class[i];
      const double floor = 1e-6 * now.share;
      moved = std::max(moved, relative_change(now.test, before[i].test, floor * errors.excess));
    }
    before = order.by_class;
    return moved;
  };

  Index point = 0;
  while (point < points.count) {
    const Index spike = points.spike_of(point);
    TableLadder ladder(problem, spike);
    for (; point < points.count && points.spike_of(point) == spike; ++point) {
      RidgeClimber climber(problem, points, point, ladder, step_a, order, watch);
      if (!climber.climb()) return false;
      const double alpha = points.alpha[point];
      const double beta = points.beta[point];
      const bool ridgeless = std::isinf(alpha) || points.lam[point] == 0.0;
      if (!order.by_class.empty() && climber.at.solved) {
        const Reached rates = climb_rates(ladder, climber.at.level[0], problem, order);
        if (rates == Reached::failed) return false;
        if (rates == Reached::exhausted && climber.at.status == Status::converged) {
          climber.at.status = Status::quadrature;
        }
      }
      Answer answer;
      answer.status = climber.at.status;
      answer.iterations = climber.iterations;
      answer.nodes = climber.at.level[0] < 0 ? 0 : ladder[climber.at.level[0]].nodes;
      answer.residual = climber.newton.residual;
      answer.moved = climber.at.moved[0];
      answer.excess_error = climber.errors.excess;
      answer.test_error = climber.errors.excess + points.noise[point] * points.noise[point];
      answer.train_error = climber.errors.train;
      answer.norm = climber.errors.norm;
      answer.test_loss = 0.5 * answer.test_error;
      answer.train_loss = 0.5 * answer.train_error;
      answer.m = order.m.data();
      answer.theta = order.theta.data();
      answer.psi = order.psi.data();
      answer.q = order.q.data();
      answer.v = step_a.v.data();
      answer.columns = static_cast<int>(order.theta.size());
      answer.free_entries = static_cast<int>(order.psi.size());
      if (!order.by_class.empty()) answer.by_class = &order.by_class;
      answer.unit = std::isinf(alpha) ? 0.0 : 1.0 / climber.regime.weighting.epsilon;
      answer.free = linear && ridgeless && beta >= 1.0 && alpha > 1.0;
      answer.unbounded = answer.free && beta == 1.0;
      store(answer, climber.at.solved, K, point, solutions);
    }
  }
  return true;
}

}  // namespace

bool solve_ridge(const Problem& problem, const Points& points, const Solutions& solutions) {
  return with_groups(problem.spikes.groups, [&](auto groups) {
    return solve_groups<decltype(groups)::value>(problem, points, solutions);
  });
}

}  // namespace spikedrf
