// The way of one point under any convex loss to its answer: rules over kappa and, on each of these,
// over zeta.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "averages/label_corners.hpp"
#include "batches/refinement.hpp"
#include "batches/sign_rates.hpp"
#include "batches/solutions.hpp"
#include "batches/table_ladder.hpp"
#include "equations/convex_equations.hpp"

namespace spikedrf {

// The tables of one spike and, with sign labels, one noise: features of both enter the rules over
// kappa. To each of these belong ever finer rules over zeta.
class LabelledLadder {
 public:
  LabelledLadder(const Problem& problem, Index index, double noise, const LabelVariation& variation,
                 bool with_slopes = false)
      : problem_(problem),
        gamma_(problem.source == nullptr ? problem.spikes.gamma[index] : 0.0),
        noise_(noise),
        kind_(problem.labels),
        variation_(variation),
        target_(*problem.target),
        tables_(problem, index, with_slopes, label_scales(), RuleLadder::Start::gradual) {}

  Reached reach(Index level, Index fine) {
    const Reached reached = tables_.reach(level);
    if (reached != Reached::ready) return reached;
    while (labels_.size() <= level) labels_.emplace_back();
    Deque<LabelTable>& column = labels_[level];
    while (problem_.source != nullptr && column.size() <= fine) {
      LabelTable table;
      const auto made = problem_.source->label(level, column.size(), problem_.latents, table);
      if (made == TableSource::Made::failed) return Reached::failed;
      if (made == TableSource::Made::exhausted) return Reached::exhausted;
      column.push_back(std::move(table));
    }
    while (column.size() <= fine) column.emplace_back();
    if (!column[fine].empty()) return Reached::ready;
    LabelTable table;
    if (!table.fill(kind_, tables_[level].kappa(), static_cast<int>(fine), gamma_, noise_,
                    variation_, target_)) {
      return table.exhausted() ? Reached::exhausted : Reached::failed;
    }
    column[fine] = std::move(table);
    return Reached::ready;
  }
  double step(Index level) const { return tables_.step(level); }
  Deque<Deque<LabelTable>>& rate_room() { return rate_room_; }
  const Tables& operator[](Index level) const { return tables_[level]; }
  const TableSlopes* slopes(Index level) const { return tables_.slopes(level); }
  const LabelTable& labels(Index level, Index fine) const { return labels_[level][fine]; }
  // Rules that also resolve the corners of this field, if it has any of its own.
  Reached sharpen(Index level, Index fine, const Array<CavityField>& field, double noise,
                  LabelCorners& corners, LabelTable& table) {
    const Array<double>& kappa = tables_[level].kappa();
    if (!corners.find(kappa, field, labels(level, fine), gamma_, noise, target_)) {
      return Reached::failed;
    }
    if (!corners.any()) return Reached::ready;
    // Such rules change from node to node, and what the first of them leave is noise over kappa.
    const int above = static_cast<int>(fine) + 1;
    const auto more = [&corners](Index i, Variation& around) { corners.add(i, around); };
    if (table.fill(kind_, kappa, above, gamma_, noise_, variation_, target_, more)) {
      return Reached::ready;
    }
    return table.exhausted() ? Reached::exhausted : Reached::failed;
  }

 private:
  Variation label_scales() const {
    Variation result;
    if (problem_.source != nullptr) return result;
    const double sd = std::sqrt(std::max(0.0, (1.0 - gamma_) * (1.0 + gamma_)));
    variation_.add(gamma_, sd, noise_, result);
    return result;
  }

  const Problem& problem_;
  double gamma_;
  double noise_;
  LabelKind kind_;
  const LabelVariation& variation_;
  GaussianMoments& target_;
  TableLadder tables_;
  Deque<Deque<LabelTable>> labels_;
  Deque<Deque<LabelTable>> rate_room_;
};

// After the answer was known to `change` on the rule of kappa that came before this level: on
// uniform rules errors fall like e^-c/step. That tells what rule is good enough, and that the one
// after it will only confirm it.
template <class Ladder>
void look_ahead(const Ladder& ladder, Index level, double step, double change, double rtol,
                Rung& now) {
  constexpr double kSure = 0.1;
  constexpr double kNear = 1e-4;
  if (!(change < 0.5)) return;
  now.both = change <= kNear;
  if (step == 0.0) return;
  const double enough = step * std::log(change) / std::log(kSure * rtol);
  Index next = level;
  while (ladder.step(next) > enough) ++next;
  now.both = next == level;
  now.stride = std::max(next - level, Index{1});
}

// The rates of wrong signs of a field, refined until they stand still.
class RateClimber {
 public:
  RateClimber(SignRateRules& rules, const FieldState& field, double flip, double rtol)
      : rules_(rules), field_(field), flip_(flip), rtol_(rtol) {}

  static double test_change(const SignRates& now, const SignRates& before) {
    return relative_change(now.test, before.test, kLeastRate);
  }
  static double train_change(const SignRates& now, const SignRates& before) {
    return relative_change(now.train, before.train, kLeastTrainRate);
  }

  Reached reach(const Index* level) { return rules_.reach(level[0], level[1]); }
  Reached attempt(const Index* level, bool warm, Rung& now) {
    const SignRates before = rates;
    const Index last = level_;
    rates = rules_.evaluate(level[0], level[1], field_, flip_);
    level_ = level[0];
    if (!warm) return Reached::ready;
    now.moved = test_change(rates, before);
    const double all = std::max(now.moved, train_change(rates, before));
    now.stands = all <= rtol_;
    if (level_ != last) look_ahead(rules_, level_, rules_.step(last), all, rtol_, now);
    return Reached::ready;
  }

  SignRates rates;

 private:
  SignRateRules& rules_;
  const FieldState& field_;
  double flip_;
  double rtol_;
  Index level_ = 0;
};

// One point. The watch looks at derivatives, or at nothing:
//
//   Reached look(levels, turn, field, moved)
//                                         after the equations have been solved on these rules:
//                                         `moved` becomes the largest relative change since the
//                                         last look, 0 of nothing
//   Reached settle(field, moved)          after the last one, on rules for its field
template <class Watch>
class ConvexClimber {
 public:
  ConvexClimber(const Problem& problem, const Points& points, Index point, LabelledLadder& ladder,
                ConvexEquations& equations, Watch& watch)
      : problem_(problem),
        spike_(points.spike_of(point)),
        noise_(points.noise[point]),
        flip_(points.flip == nullptr ? 0.0 : points.flip[point]),
        ladder_(ladder),
        equations_(equations),
        watch_(watch) {
    regime_.beta = points.beta[point];
    regime_.delta = points.alpha[point] / points.beta[point];
    regime_.lam = points.lam[point];
    regime_.pi = problem.spikes.pi_of(spike_);
  }

  // False if a function could not be evaluated.
  bool climb(const LabelVariation& variation) {
    constexpr int kPatience = 4;
    const bool alone = latent() && problem_.latents.label_directions() == 0;
    if (!refine(*this, alone ? 1 : 2, kPatience, at)) return false;
    moved = std::max(at.moved[0] + at.moved[1], equations_.last_step);
    if (signs() && !latent() && at.solved && !climb_rates(variation)) return false;
    if (at.solved) {
      if (watch_.settle(field_, watched) == Reached::failed) return false;
      if (at.status == Status::converged && !(watched <= problem_.accuracy.rtol)) {
        at.status = Status::quadrature;
      }
    }
    if (at.status == Status::converged && moved > 3.0 * problem_.accuracy.rtol) {
      at.status = Status::rounding;
    }
    if (at.status == Status::converged &&
        unattainable(*tables, equations_.m.data(), problem_.accuracy.rtol)) {
      at.status = Status::unattainable;
    }
    return true;
  }

  Reached reach(const Index* level) { return ladder_.reach(level[0], level[1]); }

  Reached attempt(const Index* level, bool warm, Rung& now) {
    tables = &ladder_[level[0]];
    const Index turn = turn_++;
    regime_.bulk = problem_.spikes.bulk_of(spike_, turn);  // one rule after the other
    equations_.pose(*tables, ladder_.labels(level[0], level[1]), regime_, noise_, flip_);
    Index fine = level[1];  // of the rule over zeta that is used
    if (warm && !latent()) {
      const Array<CavityField> cavity = equations_.cavity();
      LabelCorners corners(problem_.loss, problem_.labels);
      if (!cavity.empty()) {
        const Reached sharpened =
            ladder_.sharpen(level[0], level[1], cavity, noise_, corners, sharp_);
        if (sharpened != Reached::ready) return sharpened;
        if (corners.any()) {
          equations_.use(sharp_);
          ++fine;
        }
      }
    }
    if (!warm) equations_.reach_everywhere();
    newton = equations_.solve_from(warm);
    iterations += newton.iterations;
    now.solved = newton.converged;
    if (!now.solved) return Reached::ready;
    const Outcome then = outcome;
    const double norm_then = norm;
    const Array<ClassErrors> classes_then = by_class_;
    outcome = equations_.outcome();
    if (!warm) equations_.limit_reach();
    if (latent()) sort_by_class();
    norm = equations_.norm();
    field_before_ = std::move(field_);
    field_ = equations_.field();
    const Index before = level_;
    for (Index i = 0; i < 2; ++i) coarser_[i] = -1;
    for (const auto& last : climbed_) {
      if (last.first >= level[0] || last.second >= level[1]) continue;
      coarser_[0] = last.first;
      coarser_[1] = last.second;
    }
    climbed_.emplace_back(level[0], level[1]);
    level_ = level[0];
    const bool finer = level[1] == level_of_zeta_ || fine > fine_;
    level_of_zeta_ = level[1];
    fine_ = fine;
    const Reached looked = watch_.look(level, turn, field_, watched);
    if (looked != Reached::ready || !warm) return looked;
    // Everything relative to itself, down to what rounding leaves of it.
    const double label = signs() ? 1.0 : tables->label_power() + noise_ * noise_;
    const double others =
        std::max({relative_change(outcome.test_loss, then.test_loss, 1e-15 * label),
                  relative_change(outcome.train_loss, then.train_loss, 1e-15 * label),
                  relative_change(norm, norm_then, 1e-10 * label / tables->feature_power())});
    now.moved = others;  // rates of wrong signs come later, on rules of their own
    double train = 0.0;
    if (!signs()) {
      now.moved = relative_change(outcome.test_error, then.test_error, 1e-14 * label);
      train = relative_change(outcome.train_error, then.train_error, 1e-15 * label);
    } else if (latent()) {
      now.moved = relative_change(outcome.wrong, then.wrong, kLeastRate);
      train = relative_change(outcome.train_wrong, then.train_wrong, kLeastTrainRate);
    }
    double classes = 0.0;
    for (Index c = 0; latent() && c < by_class_.size(); ++c) {
      const double share = by_class_[c].share;
      const double floor = signs() ? kLeastRate : kLeastRate * outcome.test_error;
      const ClassErrors& last = classes_then[c];
      classes = std::max(classes, relative_change(by_class_[c].test, last.test, floor * share));
      if (std::isnan(last.wrong)) continue;  // labels are no signs
      const double least = kLeastRate * share;
      classes = std::max(classes, relative_change(by_class_[c].wrong, last.wrong, least));
    }
    // Over a grid two rules may agree by accident, unless they have nearly agreed before.
    const double all = std::max({now.moved, others, train, classes, watched});
    const double rtol = problem_.accuracy.rtol;
    const bool sure = !problem_.doubtful || all <= 1e-3 * rtol || last_moved_ <= 100.0 * rtol;
    last_moved_ = all;
    // Corners that were sharpened before, and are none now, leave the rule over zeta as it was.
    now.stands = sure && finer && all <= rtol;
    if (level[0] != before && !latent()) {
      look_ahead(ladder_, level[0], ladder_.step(before), all, rtol, now);
    }
    return Reached::ready;
  }

  Answer answer() const {
    Answer result;
    result.status = at.status;
    result.iterations = iterations;
    result.nodes = tables == nullptr ? 0 : tables->nodes;
    result.residual = newton.residual;
    result.moved = moved;
    result.test_error = rates() ? outcome.wrong : outcome.test_error;
    result.excess_error = signs() ? std::numeric_limits<double>::quiet_NaN()
                                  : outcome.test_error - noise_ * noise_;
    result.train_error = rates() ? outcome.train_wrong : outcome.train_error;
    result.norm = norm;
    result.test_loss = outcome.test_loss;
    result.train_loss = outcome.train_loss;
    if (signs()) {
      result.test_margin = outcome.test_margin;
      result.train_margin = outcome.train_margin;
    }
    result.m = equations_.m.data();
    result.theta = equations_.theta();
    result.psi = equations_.psi.data();
    result.q = equations_.q();
    result.v = equations_.v.data();
    result.columns = equations_.columns();
    result.free_entries = static_cast<int>(equations_.psi.size());
    if (latent()) result.by_class = &by_class_;
    return result;
  }

  Refinement at;
  Outcome outcome;
  double norm = 0.0;
  double moved = std::numeric_limits<double>::infinity();  // relative change of the test error
  double watched = 0.0;                                    // and of what is watched
  NewtonReport newton;                                     // of the last rules
  std::int32_t iterations = 0;
  const Tables* tables = nullptr;

 private:
  bool signs() const { return problem_.labels == LabelKind::sign; }
  bool latent() const { return problem_.source != nullptr; }
  // Whether errors are rates on the nodes of the equations.
  bool rates() const { return latent() && signs(); }

  void sort_by_class() {
    by_class_.resize(equations_.by_class.size());
    for (Index c = 0; c < by_class_.size(); ++c) {
      const Outcome& there = equations_.by_class[c];
      ClassErrors& errors = by_class_[c];
      errors = {0.0, signs() ? there.wrong : there.test_error, there.train_error, there.wrong};
      const int which = static_cast<int>(c);
      for (Index i = tables->begin(which); i < tables->begin(which + 1); ++i) {
        errors.share += tables->weight()[i];
      }
    }
  }

  // The rates of wrong signs of the field that was found, on rules of their own. Where they tell
  // its last two rules apart, the next one.
  bool climb_rates(const LabelVariation& variation) {
    constexpr int kMostMore = 2;
    for (int more = 0;; ++more) {
      bool steady = false;
      if (!rate(variation, steady)) return false;
      if (at.status != Status::converged || steady) return true;
      Index level[] = {at.level[0] + 1, at.level[1]};
      if (more == kMostMore || reach(level) != Reached::ready) break;
      Rung next;
      if (attempt(level, true, next) != Reached::ready || !next.solved) break;
      ++at.level[0];
      at.moved[0] = next.moved;
    }
    at.status = Status::quadrature;
    return true;
  }
  bool rate(const LabelVariation& variation, bool& steady) {
    const bool mirrored = equations_.mirrored();
    if (rate_here(variation, mirrored)) {
      steady = true;
      return true;
    }
    SignRateRules rules(problem_, spike_, noise_, field_, *tables, variation,
                        {false, false, mirrored}, ladder_.rate_room());
    const double rtol = problem_.accuracy.rtol;
    RateClimber rates(rules, field_, flip_, rtol);
    Refinement fine;
    if (!refine(rates, 2, 1, fine)) return false;
    if (!fine.solved) {  // not even the coarsest labels could be resolved
      outcome.test_error = outcome.train_error = std::numeric_limits<double>::quiet_NaN();
      moved = std::numeric_limits<double>::infinity();
      if (at.status == Status::converged) at.status = Status::quadrature;
      return true;
    }
    outcome.test_error = rates.rates.test;
    outcome.train_error = rates.rates.train;
    // What the last refinement of the equations meant for them, which the coarsest rules show too.
    double by_field = 0.0, by_field_train = 0.0;
    if (!field_before_.m.empty()) {
      const SignRates coarse = rules.evaluate(0, 0, field_, flip_);
      const SignRates then = rules.evaluate(0, 0, field_before_, flip_);
      by_field = RateClimber::test_change(coarse, then);
      by_field_train = RateClimber::train_change(coarse, then);
    }
    const double by_rules = fine.moved[0] + fine.moved[1];
    moved = std::max({by_rules + by_field, at.moved[0] + at.moved[1], equations_.last_step});
    if (fine.status == Status::converged) {
      steady = std::max(by_field, by_field_train) <= rtol;
    } else if (at.status == Status::converged) {
      at.status = Status::quadrature;
    }
    return true;
  }

  // Over the rules of the equations themselves. True if that is good enough: they see every step,
  // and rules that are coarser on both axes, and the field that was found before, say the same.
  bool rate_here(const LabelVariation& variation, bool mirrored) {
    if (coarser_[0] < 0 || field_before_.m.empty()) return false;
    const SignRateSums sums(problem_, spike_, noise_, variation);
    const auto over = [&](const Index* level, const FieldState& field) {
      return sums.over(ladder_[level[0]], ladder_.labels(level[0], level[1]), mirrored, field,
                       flip_);
    };
    const auto same = [&](const SignRates& one, const SignRates& other) {
      return std::max(RateClimber::test_change(one, other),
                      RateClimber::train_change(one, other)) <= problem_.accuracy.rtol;
    };
    for (const Index* level : {coarser_, at.level}) {
      const LabelTable& labels = ladder_.labels(level[0], level[1]);
      if (!sums.resolve(ladder_[level[0]], labels, field_)) return false;
    }
    const SignRates now = over(at.level, field_);
    const SignRates coarse = over(coarser_, field_);
    if (!same(now, coarse)) return false;
    const SignRates then = over(at.level, field_before_);
    if (!same(now, then)) return false;
    const double by_rule = RateClimber::test_change(now, coarse);
    const double by_field = RateClimber::test_change(now, then);
    outcome.test_error = now.test;
    outcome.train_error = now.train;
    moved = std::max({by_rule + by_field, at.moved[0] + at.moved[1], equations_.last_step});
    return true;
  }

  const Problem& problem_;
  Index spike_;
  double noise_;
  double flip_;
  LabelledLadder& ladder_;
  ConvexEquations& equations_;
  Watch& watch_;
  Regime regime_;
  LabelTable sharp_;
  FieldState field_, field_before_;  // on the last rules and on those before
  Array<ClassErrors> by_class_;
  Index turn_ = 0;
  // Of the last rules that had a solution: of kappa, of zeta, and that of zeta with its corners.
  Index level_ = 0, level_of_zeta_ = 0, fine_ = -1;
  double last_moved_ = std::numeric_limits<double>::infinity();
  Array<std::pair<Index, Index>> climbed_;  // all of those
  // The last of them that is coarser on both axes than what came last.
  Index coarser_[2] = {-1, -1};
};

}  // namespace spikedrf
