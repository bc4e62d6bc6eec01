#include "batches/convex.hpp"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <utility>

#include "averages/label_corners.hpp"
#include "batches/refinement.hpp"
#include "batches/sign_rates.hpp"
#include "equations/convex_equations.hpp"

namespace spikedrf {

namespace {

using Step = TableLadder::Step;

// The tables of one spike and, with sign labels, one noise: features of both enter the rules over
// kappa. To each of these belong ever finer rules over zeta.
class LabelledLadder {
 public:
  LabelledLadder(const Spikes& spikes, std::size_t index, double noise, LabelKind kind,
                 const LabelVariation& variation, GaussianMoments& activation,
                 GaussianMoments& target, std::size_t max_nodes)
      : gamma_(spikes.gamma[index]),
        noise_(noise),
        kind_(kind),
        variation_(variation),
        target_(target),
        tables_(spikes, index, activation, target, max_nodes, false, label_scales(),
                RuleLadder::Start::uniform) {}

  Step reach(std::size_t level, std::size_t fine) {
    const Step reached = tables_.reach(level);
    if (reached != Step::ready) return reached;
    while (labels_.size() <= level) labels_.emplace_back();
    std::deque<LabelTable>& column = labels_[level];
    while (column.size() <= fine) {
      LabelTable table;
      if (!table.fill(kind_, tables_[level].kappa(), static_cast<int>(column.size()), gamma_,
                      noise_, variation_, target_)) {
        return table.exhausted() ? Step::exhausted : Step::failed;
      }
      column.push_back(std::move(table));
    }
    return Step::ready;
  }
  const Tables& operator[](std::size_t level) const { return tables_[level]; }
  const LabelTable& labels(std::size_t level, std::size_t fine) const {
    return labels_[level][fine];
  }
  // Rules that also resolve the corners of this field, if it has any of its own.
  Step sharpen(std::size_t level, std::size_t fine, const std::vector<CavityField>& field,
               double noise, LabelCorners& corners, LabelTable& table) {
    const std::vector<double>& kappa = tables_[level].kappa();
    if (!corners.find(kappa, field, labels(level, fine), gamma_, noise, target_)) {
      return Step::failed;
    }
    if (!corners.any()) return Step::ready;
    // Such rules change from node to node, and what the first of them leave is noise over kappa.
    const int above = static_cast<int>(fine) + 1;
    const auto more = [&corners](std::size_t i, Variation& around) { corners.add(i, around); };
    if (table.fill(kind_, kappa, above, gamma_, noise_, variation_, target_, more)) {
      return Step::ready;
    }
    return table.exhausted() ? Step::exhausted : Step::failed;
  }

 private:
  Variation label_scales() const {
    Variation result;
    const double sd = std::sqrt(std::max(0.0, (1.0 - gamma_) * (1.0 + gamma_)));
    variation_.add(gamma_, sd, noise_, result);
    return result;
  }

  double gamma_;
  double noise_;
  LabelKind kind_;
  const LabelVariation& variation_;
  GaussianMoments& target_;
  TableLadder tables_;
  std::deque<std::deque<LabelTable>> labels_;
};

// Where a point has arrived.
struct Arrival {
  Outcome outcome;
  double norm = 0.0;
  FieldState field, field_before;  // on the last rules and on those before
  NewtonReport newton;             // of the last rules
  Status status = Status::quadrature;
  double moved = std::numeric_limits<double>::infinity();  // relative change of the test error
  std::int32_t iterations = 0;
  std::size_t level = 0;  // of the rule over kappa
};

double relative_change(double now, double before, double floor) {
  return now == before ? 0.0 : std::fabs(now - before) / std::max(std::fabs(now), floor);
}

// The problem at one point, as it is handed around.
struct Problem {
  const Spikes& spikes;
  std::size_t spike;
  Regime regime;
  double noise;
  double flip;
  Loss loss;
  LabelKind kind;
  Accuracy accuracy;
};

// Refine the rule over kappa until that moves nothing any more, then the one over zeta; where that
// still does, kappa again. Where a rule cannot be refined any more the other one still is, so that its
// error is known. False if a function could not be evaluated.
bool climb(const Problem& problem, LabelledLadder& ladder, ConvexEquations& equations,
           Arrival& at) {
  const bool signs = problem.kind == LabelKind::sign;
  const double rtol = problem.accuracy.rtol;
  constexpr int kPatience = 4;  // rules in a row without a solution
  enum Axis { kappa, zeta };
  std::size_t level[] = {0, 0};
  constexpr double infinity = std::numeric_limits<double>::infinity();
  double moved[] = {infinity, infinity};
  bool steady[] = {false, false};
  bool exhausted[] = {false, false};
  Axis axis = kappa;
  for (int failures = 0; failures < kPatience;) {
    const Step reached = ladder.reach(level[kappa], level[zeta]);
    if (reached == Step::failed) return false;
    if (reached == Step::exhausted) {
      exhausted[axis] = true;
      --level[axis];
      axis = axis == kappa ? zeta : kappa;
      if (exhausted[axis] || steady[axis] || !at.newton.converged) break;
      ++level[axis];
      continue;
    }
    at.level = level[kappa];
    const Tables& tables = ladder[at.level];
    Regime regime = problem.regime;
    regime.bulk = bulk_of(problem.spikes, problem.spike, level[kappa] + level[zeta]);
    equations.pose(tables, ladder.labels(level[kappa], level[zeta]), regime, problem.noise,
                   problem.flip);
    const bool warm = at.newton.converged;
    LabelTable sharp;
    if (warm) {
      const std::vector<CavityField> field = equations.cavity();
      LabelCorners corners(problem.loss, problem.kind);
      if (!field.empty()) {
        const Step sharpened =
            ladder.sharpen(level[kappa], level[zeta], field, problem.noise, corners, sharp);
        if (sharpened == Step::failed) return false;
        if (sharpened == Step::exhausted) break;
        if (corners.any()) equations.use(sharp);
      }
    }
    at.newton = equations.solve_from(warm);
    at.iterations += at.newton.iterations;
    if (at.newton.converged) {
      const Outcome then = at.outcome;
      const double norm_then = at.norm;
      at.outcome = equations.outcome();
      at.norm = equations.norm();
      at.field_before = std::move(at.field);
      at.field = equations.field();
      if (warm) {
        // Everything relative to itself, down to what rounding leaves of it.
        const double label = signs ? 1.0 : tables.label_power() + problem.noise * problem.noise;
        const Outcome& now = at.outcome;
        const double others = std::max(
            {relative_change(now.test_loss, then.test_loss, 1e-15 * label),
             relative_change(now.train_loss, then.train_loss, 1e-15 * label),
             relative_change(at.norm, norm_then, 1e-10 * label / tables.feature_power())});
        moved[axis] = others;  // rates of wrong signs come later
        if (!signs) {
          moved[axis] = relative_change(now.test_error, then.test_error, 1e-14 * label);
        }
        const bool stands =
            std::max({moved[axis], others,
                      relative_change(now.train_error, then.train_error, 1e-15 * label)}) <= rtol;
        // A finer rule that changed the problem puts the other one in doubt again.
        if (!stands) steady[1 - axis] = false;
        steady[axis] = stands;
      }
      at.status = Status::quadrature;
      failures = 0;
    } else {
      // A coarse rule may pose a problem that has no regular solution; a finer one follows.
      at.status = Status::newton;
      ++failures;
    }
    if (steady[kappa] && steady[zeta]) {
      at.status = Status::converged;
      break;
    }
    axis = (steady[kappa] || exhausted[kappa]) && !exhausted[zeta] ? zeta : kappa;
    if (exhausted[axis] || (exhausted[1 - axis] && steady[axis])) break;
    ++level[axis];
  }
  at.moved = std::max(moved[kappa] + moved[zeta], equations.last_step);
  return true;
}

// The rates of wrong signs of the field that was found, refined until they stand still. Small ones
// are held to a fixed rate instead of to themselves. False if a function could not be evaluated.
bool climb_rates(const Problem& problem, const Tables& tables, const LabelVariation& variation,
                 GaussianMoments& activation, GaussianMoments& target, Arrival& at) {
  constexpr double kTest = 1e-6;
  constexpr double kTrain = 1e-2;
  SignRateRules rules(problem.spikes, problem.spike, problem.noise, problem.loss, at.field, tables,
                      variation, activation, target, problem.accuracy.max_nodes);
  SignRates now, before;
  double moved = std::numeric_limits<double>::infinity();
  bool steady = false;
  std::size_t level = 0;
  for (; !steady; ++level) {
    before = now;
    const Step reached = rules.evaluate(level, at.field, problem.flip, now);
    if (reached == Step::failed) return false;
    if (reached == Step::exhausted) {
      now = before;
      break;
    }
    if (level == 0) continue;
    moved = relative_change(now.test, before.test, kTest);
    const double others = relative_change(now.train, before.train, kTrain);
    steady = std::max(moved, others) <= problem.accuracy.rtol;
  }
  at.outcome.test_error = now.test;
  at.outcome.train_error = now.train;
  // What the last refinement of the equations meant for them.
  SignRates then = now;
  if (level > 0 && !at.field_before.m.empty()) {
    if (rules.evaluate(level - 1, at.field_before, problem.flip, then) == Step::failed) return false;
  }
  const double by_field = relative_change(now.test, then.test, kTest);
  const double by_field_train = relative_change(now.train, then.train, kTrain);
  at.moved = std::max(moved + by_field, at.moved);
  if (at.status == Status::converged) {
    steady = steady && std::max(by_field, by_field_train) <= problem.accuracy.rtol;
    if (!steady) at.status = Status::quadrature;
  }
  return true;
}

void store(const ConvexEquations& equations, const Arrival& at, std::size_t point, double noise,
           LabelKind kind, std::int64_t nodes, const Results& results, const LossResults& more) {
  const int K = equations.groups();
  const int P = equations.pairs();
  const double not_a_number = std::numeric_limits<double>::quiet_NaN();
  const auto put = [&](double* array, std::size_t entry, double value) {
    array[entry] = at.newton.converged ? value : not_a_number;
  };
  const bool signs = kind == LabelKind::sign;
  const Outcome& outcome = at.outcome;
  put(results.test_error, point, outcome.test_error);
  put(results.excess_error, point, signs ? not_a_number : outcome.test_error - noise * noise);
  put(results.train_error, point, outcome.train_error);
  put(results.norm, point, at.norm);
  put(more.test_loss, point, outcome.test_loss);
  put(more.train_loss, point, outcome.train_loss);
  put(more.test_margin, point, signs ? outcome.test_margin : not_a_number);
  put(more.train_margin, point, signs ? outcome.train_margin : not_a_number);
  results.status[point] = static_cast<std::int32_t>(at.status);
  results.nit[point] = at.iterations;
  results.nodes[point] = nodes;
  results.residual[point] = at.newton.residual;
  results.quadrature_error[point] = at.moved;
  for (int k = 0; k < K; ++k) {
    const auto group = static_cast<std::size_t>(k);
    const std::size_t row = point * static_cast<std::size_t>(K) + group;
    put(results.m, row, equations.m[group]);
    put(results.theta, row, equations.theta()[k]);
    put(results.psi, row, equations.psi[group]);
    put(results.q2, row, equations.q()[P + k]);
    put(results.V2, row, equations.v[static_cast<std::size_t>(P + k)]);
    for (int l = 0; l < K; ++l) {
      const auto other = static_cast<std::size_t>(l);
      const int a = pair_index(k, l, K);
      const double share = k == l ? 1.0 : 0.5;
      const std::size_t entry = row * static_cast<std::size_t>(K) + other;
      put(results.q1, entry,
          share * equations.q()[a] + equations.psi[group] * equations.psi[other]);
      put(results.V1, entry, share * equations.v[static_cast<std::size_t>(a)]);
    }
  }
}

}  // namespace

bool solve_convex(const Spikes& spikes, const Points& points, const double* flip, Loss loss,
                  LabelKind kind, GaussianMoments& activation, GaussianMoments& target,
                  Accuracy accuracy, const Results& results, const LossResults& more) {
  LabelVariation variation;
  if (!variation.find(kind, target)) return false;
  ConvexEquations equations(spikes.groups, std::max(spikes.bulk_nodes, 1), loss, kind);
  std::size_t point = 0;
  while (point < points.count) {
    const std::int64_t which = points.spike[point];
    const auto spike = static_cast<std::size_t>(which);
    const double noise = points.noise[point];
    LabelledLadder ladder(spikes, spike, noise, kind, variation, activation, target,
                          accuracy.max_nodes);
    // Real labels take their noise along later: their tables serve every noise.
    for (; point < points.count && points.spike[point] == which &&
           (points.noise[point] == noise || kind == LabelKind::real);
         ++point) {
      Problem problem{spikes, spike, {}, points.noise[point], flip[point], loss, kind, accuracy};
      Regime& regime = problem.regime;
      regime.beta = points.beta[point];
      regime.delta = points.alpha[point] / points.beta[point];
      regime.lam = points.lam[point];
      regime.pi = spikes.pi + spike * static_cast<std::size_t>(spikes.groups);
      Arrival at;
      if (!climb(problem, ladder, equations, at)) return false;
      const Tables& tables = ladder[at.level];
      if (kind == LabelKind::sign && at.newton.converged &&
          !climb_rates(problem, tables, variation, activation, target, at)) {
        return false;
      }
      if (at.status == Status::converged && at.moved > 3.0 * accuracy.rtol) {
        at.status = Status::rounding;
      }
      if (!at.newton.converged) at.moved = std::numeric_limits<double>::infinity();
      store(equations, at, point, problem.noise, kind, static_cast<std::int64_t>(tables.nodes),
            results, more);
    }
  }
  return true;
}

}  // namespace spikedrf
