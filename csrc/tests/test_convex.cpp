// Convex losses: proximal maps, averages over the field, and whole solutions.
#include <cmath>
#include <limits>
#include <string>
#include <thread>

#include "batch.hpp"
#include "batches/run.hpp"
#include "check.hpp"
#include "functions/loss.hpp"
#include "named.hpp"
#include "tables/moments.hpp"

using namespace spikedrf;
namespace A = named;

namespace {

Loss made(int kind) {
  const Loss loss{static_cast<LossKind>(kind), 0.0};
  const bool level = loss.kind == loss_of<losses::Quantile>();
  return {loss.kind, level ? 0.3 : 0.7};  // others than quantile take a delta, or nothing
}

Found solved(const Case& p, Loss loss, LabelKind labels, double flip, double rtol,
             Index max_nodes = 1u << 13) {
  const Array<double> alpha{p.alpha}, beta{p.beta}, lam{p.lam}, noise{p.noise}, flips{flip};
  const Array<std::int64_t> which{0};
  NamedMoments activation(p.activation), target(p.target);
  Found answer(1, p.r.size());
  Points points{1, which.data(), alpha.data(), beta.data(), lam.data(), noise.data()};
  points.flip = flips.data();
  const Solutions view = answer.view();
  check::that(run({spikes_of(p), &activation, &target, loss, labels, {rtol, max_nodes}}, points,
                  {&view}),
              "named functions");
  return answer;
}

// Values, slopes, and proximal maps of every loss, from points near a kink to points far out.
void every_loss() {
  Array<double> x;
  for (double size : {0.0, 1e-9, 0.3, 0.7, 1.0, 2.5, 40.0, 1e6}) {
    x.push_back(size);
    x.push_back(-size);
  }
  for (int kind = 0; kind < loss_count; ++kind) {
    const Loss loss = made(kind);
    const std::string name = traits(loss).name;
    for (double V : {1e-6, 0.4, 1.0, 300.0}) {
      Array<double> t(x.size()), value(x.size()), above(x.size()), below(x.size());
      prox(loss, V, x.data(), t.data(), x.size());
      loss_values(loss, t.data(), value.data(), t.size());
      for (Index i = 0; i < x.size(); ++i) {
        // No point beside t has a smaller (t - x)^2 / (2 V) + loss(t).
        const auto objective = [&](double at) {
          double found = 0.0;
          loss_values(loss, &at, &found, 1);
          return (at - x[i]) * (at - x[i]) / (2.0 * V) + found;
        };
        const double step = 1e-4 * (1.0 + std::fabs(t[i]));
        const double least = objective(t[i]);
        const double slack = 1e-12 * (1.0 + std::fabs(least) + x[i] * x[i] / V);
        check::that(least <= objective(t[i] + step) + slack, name + ", prox from above");
        check::that(least <= objective(t[i] - step) + slack, name + ", prox from below");
        check::that(value[i] >= 0.0 && std::isfinite(loss_slope(loss, t[i])), name);
      }
    }
    if (traits(loss).broken_line) continue;
    // phi and its derivatives against differences, on one grid.
    const double h = 1e-4;
    const double V = 0.8;
    const Array<double> grid = {-3.0, -3.0 + h, -3.0 - h, 0.2, 0.2 + h, 0.2 - h};
    Array<double> rows(6 * grid.size());
    double* row = rows.data();
    const Index n = grid.size();
    smooth_phi(loss, V, grid.data(), n,
               {row, row + n, row + 2 * n, row + 3 * n, row + 4 * n, row + 5 * n});
    for (Index at : {Index{0}, Index{3}}) {
      for (Index order = 1; order < 4; ++order) {
        const double* f = row + order * n;
        check::near((f[at + 1] - f[at + 2]) / (2.0 * h), f[n + at], 1e-5, 1e-8,
                    name + ", derivative " + std::to_string(order));
      }
    }
  }
}

const Case one{A::tanh, A::sin, {1.3}, {1.05}, {1.0}, 0.9, 1.7, 1.2, 0.1, 0.2};
const Case two{A::erf, A::tanh, {1.5, -0.8}, {1.05, 1.2}, {0.6, 0.4}, 0.8, 2.0, 1.0, 0.2, 0.1};

// Every loss on the labels that it takes, one group and two, with labels turned around: an answer
// that the equations certify.
void every_loss_is_solved() {
  for (int kind = 0; kind < loss_count; ++kind) {
    const Loss loss = made(kind);
    for (const Case* p : {&one, &two}) {
      for (const LabelKind labels : {LabelKind::real, LabelKind::sign}) {
        if (traits(loss).margin && labels == LabelKind::real) continue;
        const Found answer = solved(*p, loss, labels, 0.05, 1e-5);
        const std::string name = std::string(traits(loss).name) + ", " +
                                 std::to_string(p->r.size()) + " groups";
        check::that(answer.status[0] == 0, name + " converges");
        check::that(answer.residual[0] < 1e-7, name + ", residual");
        const double fresh = answer.losses[0], trained = answer.losses[1];
        check::that(trained > 0.0 && trained < fresh, name + ", training is easier");
      }
    }
  }
}

// Losses that are others in disguise have their errors.
void relatives() {
  const Loss square{loss_of<losses::Square>(), 0.0};
  for (const Case* p : {&one, &two}) {
    const double exact = solved(*p, square, LabelKind::real, 0.0, 1e-8).test[0];
    // Beyond delta nothing happens; the pseudo-Huber loss differs by t^4 / (8 delta^2).
    const Loss wide{loss_of<losses::Huber>(), 1e3};
    check::near(solved(*p, wide, LabelKind::real, 0.0, 1e-7).test[0], exact, 1e-7, 0.0, "huber");
    const Loss soft{loss_of<losses::PseudoHuber>(), 1e4};
    check::near(solved(*p, soft, LabelKind::real, 0.0, 1e-7).test[0], exact, 1e-6, 0.0, "pseudo");
    Case half = *p;
    half.lam *= 0.5;
    const Loss median{loss_of<losses::Quantile>(), 0.5};
    const Loss absolute{loss_of<losses::Absolute>(), 0.0};
    check::near(solved(half, median, LabelKind::real, 0.0, 1e-7).test[0],
                solved(*p, absolute, LabelKind::real, 0.0, 1e-7).test[0], 1e-6, 0.0, "median");
  }
}

// Strong spikes, small ridges, labels without noise, a rule that may not grow: an answer or a flag.
void hard_problems() {
  for (int kind = 0; kind < loss_count; ++kind) {
    const Loss loss = made(kind);
    for (double lam : {1.0, 1e-4}) {
      const Case p{A::relu, A::sign, {30.0}, {1.2}, {1.0}, 0.95, 3.0, 1.3, lam, 0.0};
      const Found answer = solved(p, loss, LabelKind::sign, 0.0, 1e-4, 512);
      const std::string name = std::string(traits(loss).name) + ", lam " + std::to_string(lam);
      check::that(answer.status[0] != 0 || std::isfinite(answer.test[0]), name);
    }
  }
}

// Each call has its own equations: threads do not change a bit.
void threads() {
  const Loss logistic{loss_of<losses::Logistic>(), 0.0};
  Array<double> found(4);
  Array<std::thread> workers;
  for (double& slot : found) {
    workers.emplace_back(
        [&slot, logistic] { slot = solved(one, logistic, LabelKind::sign, 0.1, 1e-4).test[0]; });
  }
  for (std::thread& worker : workers) worker.join();
  for (double value : found) check::that(value == found[0], "the same bits");
}

const check::Register t1("every loss: values, slopes, proximal maps", every_loss);
const check::Register t2("every loss is solved", every_loss_is_solved);
const check::Register t3("losses that are others in disguise", relatives);
const check::Register t4("hard problems of convex losses", hard_problems);
const check::Register t5("convex losses on threads", threads);

}  // namespace
