#include <cmath>
#include <limits>
#include <memory>

#include "batches/convex_climber.hpp"
#include "batches/gradient.hpp"

namespace spikedrf {

namespace {

constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The derivatives at one point, on the last two rules.
class ConvexWatch {
  enum { kAlpha, kBeta, kLam, kNoise, kFlip, kParameter, kScalars };

 public:
  ConvexWatch(const Problem& problem, const Points& points, const Gradients& wanted,
              const LabelVariation& variation, ConvexEquations& equations)
      : problem_(problem),
        points_(points),
        directions_(wanted.directions),
        kind_(wanted.objective),
        wanted_{wanted.by_alpha, wanted.by_beta, wanted.by_lam,
                wanted.by_noise, wanted.by_flip, wanted.by_parameter},
        variation_(variation),
        equations_(equations),
        now_(kScalars + directions_.count),
        before_(now_.size()) {}

  // Starts anew at a point.
  void begin(Index point, LabelledLadder& ladder) {
    point_ = point;
    spike_ = points_.spike_of(point);
    gamma_ = problem_.spikes.gamma[spike_];
    noise_ = points_.noise[point];
    flip_ = points_.flip == nullptr ? 0.0 : points_.flip[point];
    ladder_ = &ladder;
    rates_.reset();
    known_ = undefined = false;
    of_labels_ = wanted_[kNoise] || wanted_[kFlip] || wanted_[kParameter];
    for (Index d = 0; d < directions_.count; ++d) {
      of_labels_ = of_labels_ || move(d)[2 * equations_.groups()] != 0.0;
    }
  }

  Reached look(const Index* level, Index turn, const FieldState& field, double& moved) {
    tables_ = &(*ladder_)[level[0]];
    slopes_ = ladder_->slopes(level[0]);
    rule_ = problem_.spikes.bulk_rule(spike_, turn);
    moved = kInfinity;
    if (!equations_.linearise()) return Reached::ready;
    if (!of_rates()) {
      moved = differentiate(equations_.objective(kind_, gamma_, slopes_));
      return Reached::ready;
    }
    if (rates_ == nullptr) {
      known_ = false;
      const Reached climbed = climb_rates(field);
      known_ = false;  // two rules of the rates are not two of the equations
      if (climbed != Reached::ready) return climbed;
    }
    moved = differentiate(rates_->objective(rates_level_, rates_level_, field, flip_));
    return Reached::ready;
  }

  Reached settle(const FieldState& field, double& moved) {
    if (!of_rates() || tables_ == nullptr) return Reached::ready;
    const Array<double> looked = now_;
    const Reached climbed = climb_rates(field);
    if (climbed == Reached::failed) return climbed;
    before_ = looked;
    if (climbed == Reached::exhausted) moved = kInfinity;
    moved = std::max({moved, rates_moved_, change()});
    return Reached::ready;
  }

  double value(Index i) const { return now_[i]; }
  double along(Index d) const { return now_[kScalars + d]; }
  bool undefined = false;

  // Rules for the rates, climbed by `refine`.
  Reached reach(const Index* level) { return rates_->reach(level[0], level[0]); }
  Reached attempt(const Index* level, bool warm, Rung& now) {
    rates_level_ = level[0];
    const Objective rate = rates_->objective(level[0], level[0], *rates_field_, flip_);
    const double change = differentiate(rate);
    if (!warm) return Reached::ready;
    now.moved = change;
    now.stands = change <= problem_.accuracy.rtol;
    return Reached::ready;
  }

 private:
  // The mean square of real labels and all losses are averages on the equations' own rules.
  bool of_rates() const {
    return problem_.labels == LabelKind::sign && kind_ == ObjectiveKind::error;
  }

  Reached climb_rates(const FieldState& field) {
    const SignRateRules::Wanted wanted{true, slopes_ != nullptr, false};
    rates_ = std::make_unique<SignRateRules>(problem_, spike_, noise_, field, *tables_, variation_,
                                             wanted, rate_room_);
    rates_field_ = &field;
    Refinement fine;
    if (!refine(*this, 1, 1, fine)) return Reached::failed;
    if (!fine.solved) return Reached::exhausted;  // there are no rates on any rule
    rates_level_ = fine.level[0];
    rates_moved_ = fine.moved[0];
    return Reached::ready;
  }

  const double* move(Index d) const {
    const auto width = (2 * equations_.groups() + 1);
    return directions_.slope + (spike_ * directions_.count + d) * width;
  }

  // Returns the largest change of a wanted derivative since the last time.
  double differentiate(const Objective& objective) {
    std::swap(now_, before_);
    value_ = objective.value;
    const int K = equations_.groups();
    const double alpha = points_.alpha[point_];
    const double beta = points_.beta[point_];
    const ConvexSlopes s = equations_.differentiate(objective, gamma_, slopes_, of_labels_);
    now_[kAlpha] = s.delta / beta;
    now_[kBeta] = s.beta - s.delta * alpha / (beta * beta);
    now_[kLam] = s.lam;
    now_[kNoise] = s.labels.noise;
    now_[kFlip] = s.labels.flip;
    now_[kParameter] = by_parameter(objective, s.labels);
    const bool signs = problem_.labels == LabelKind::sign;
    if (signs && noise_ == 0.0 && !variation_.differentiable_without_noise()) {
      now_[kNoise] = kNotANumber;
    }
    const auto bulk_width =
        problem_.spikes.bulk_nodes * (K + 4);
    for (Index d = 0; d < directions_.count; ++d) {
      const double* dr = move(d);
      const double* dc = dr + K;
      double along = dr[2 * K] == 0.0 ? 0.0 : dr[2 * K] * s.labels.gamma;
      for (int k = 0; k < K; ++k) {
        along += dr[k] * s.r[k] + dc[k] * s.c[k];
      }
      if (problem_.spikes.bulk_nodes == 0) {
        along += equations_.along_values(dc);
      } else if (directions_.bulk != nullptr) {
        const double* bulk = directions_.bulk + (rule_ * directions_.count + d) * bulk_width;
        along += equations_.along_bulk(bulk, problem_.spikes.bulk_nodes);
      }
      const bool exists = std::isfinite(along) && !equations_.jumps(*slopes_, dr, dc);
      now_[kScalars + d] = exists ? along : kNotANumber;
    }
    undefined = false;
    for (Index i = 0; i < now_.size(); ++i) {
      undefined = undefined || ((i >= kScalars || wanted_[i]) && std::isnan(now_[i]));
    }
    const double moved = known_ ? change() : kInfinity;
    known_ = true;
    return moved;
  }

  // In another unit of the labels, and of the noise with them, everything is the same but for a
  // power of it: that is how the problem depends on delta.
  double by_parameter(const Objective& objective, const LabelSlopes& s) const {
    const bool signs = problem_.labels == LabelKind::sign;
    if (problem_.loss.kind == loss_of<losses::Quantile>()) return s.level;
    const double degree = of_rates() ? 0.0 : 2.0;
    const double with_unit = s.unit + (signs ? 0.0 : noise_ * s.noise);
    return (degree * objective.value - with_unit) / problem_.loss.parameter;
  }

  // Relative to the derivative or to 1e-4 of the objective over the scale on which the parameter
  // matters, whichever is larger.
  double change() const {
    constexpr double kFloor = 1e-4;
    const int K = equations_.groups();
    double ridge = 0.0;
    for (int k = 0; k < K; ++k) ridge = std::max(ridge, equations_.y(k));
    const bool signs = problem_.labels == LabelKind::sign;
    const bool level = problem_.loss.kind == loss_of<losses::Quantile>();
    const double parameter = problem_.loss.parameter;
    const double scale[kScalars] = {
        points_.alpha[point_],
        points_.beta[point_],
        std::max(ridge, points_.lam[point_] * equations_.response()),
        signs ? std::sqrt(tables_->label_power()) : std::sqrt(std::fabs(value_)),
        1.0,
        level ? std::min(parameter, 1.0 - parameter) : parameter};
    double largest = 0.0;
    const auto compare = [&](Index i, double by) {
      if (now_[i] == before_[i] || std::isnan(now_[i])) return;
      const double size = std::max(std::fabs(now_[i]), kFloor * std::fabs(value_) / by);
      const double moved = std::fabs(now_[i] - before_[i]) / size;
      largest = std::isnan(moved) ? kInfinity : std::max(largest, moved);
    };
    for (Index i = 0; i < kScalars; ++i) {
      if (wanted_[i]) compare(i, scale[i]);
    }
    for (Index d = 0; d < directions_.count; ++d) {
      compare(kScalars + d, directions_.scale[spike_ * directions_.count + d]);
    }
    return largest;
  }

  const Problem& problem_;
  const Points& points_;
  const Directions& directions_;
  ObjectiveKind kind_;
  bool wanted_[kScalars];
  const LabelVariation& variation_;
  ConvexEquations& equations_;

  Index point_ = 0, spike_ = 0, rule_ = 0;
  double gamma_ = 0.0, noise_ = 0.0, flip_ = 0.0;
  LabelledLadder* ladder_ = nullptr;
  const Tables* tables_ = nullptr;
  const TableSlopes* slopes_ = nullptr;
  bool of_labels_ = false;
  bool known_ = false;  // whether `now_` is of this point
  double value_ = 0.0;
  Array<double> now_, before_;

  Deque<Deque<LabelTable>> rate_room_;
  std::unique_ptr<SignRateRules> rates_;
  const FieldState* rates_field_ = nullptr;
  Index rates_level_ = 0;
  double rates_moved_ = kInfinity;
};

}  // namespace

bool convex_gradient(const Problem& problem, const Points& points, const Gradients& results) {
  LabelVariation variation;
  if (!variation.find(problem.labels, *problem.target)) return false;
  const Spikes& spikes = problem.spikes;
  const Index directions = results.directions.count;
  ConvexEquations equations(spikes.groups, std::max(spikes.bulk_nodes, 1), problem.latents,
                            problem.loss, problem.labels, problem.accuracy.rtol, false);
  ConvexWatch watch(problem, points, results, variation, equations);
  Index point = 0;
  while (point < points.count) {
    const Index spike = points.spike_of(point);
    const double noise = points.noise[point];
    LabelledLadder ladder(problem, spike, noise, variation, directions > 0);
    for (; point < points.count && points.spike_of(point) == spike &&
           (points.noise[point] == noise || problem.labels == LabelKind::real);
         ++point) {
      watch.begin(point, ladder);
      ConvexClimber climber(problem, points, point, ladder, equations, watch);
      if (!climber.climb(variation)) return false;
      const auto put = [&](double* array, Index entry, double value) {
        array[entry] = climber.at.solved ? value : kNotANumber;
      };
      put(results.test_error, point, climber.outcome.test_error);
      put(results.test_loss, point, climber.outcome.test_loss);
      double* const scalars[] = {results.alpha, results.beta, results.lam,
                                 results.noise, results.flip, results.parameter};
      for (Index i = 0; i < 6; ++i) put(scalars[i], point, watch.value(i));
      for (Index d = 0; d < directions; ++d) {
        put(results.along, point * directions + d, watch.along(d));
      }
      results.quadrature_error[point] = std::max(climber.moved, climber.watched);
      Status status = climber.at.status;
      if (status == Status::converged && watch.undefined) status = Status::undefined;
      results.status[point] = static_cast<std::int32_t>(status);
    }
  }
  return true;
}

}  // namespace spikedrf
