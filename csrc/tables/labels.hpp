// Tables of the target over zeta = <xi, x> at every node of kappa. Losses other than the square
// need the labels themselves (theory.md, section 11), not only their moments.
#pragma once

#include <functional>

#include "numerics/array.hpp"
#include "numerics/quadrature.hpp"
#include "tables/moments.hpp"

namespace spikedrf {

enum class LabelKind : int {
  real,  // y = g(<theta, x>) + noise N(0, 1)
  sign,  // y = +1 if that is >= 0, else -1
};

// So many latents beside kappa labels may depend on.
constexpr int kMostLabelDirections = 3;

// Where g changes its sign, and how steeply.
struct Crossing {
  double at;
  double slope;
};

// How the labels vary with <theta, x>: with sign labels the chance of a label changes over a width
// noise / |g'| wherever |g| rises above the noise, which quadrature has to know of.
class LabelVariation {
 public:
  // False if the target could not be evaluated.
  bool find(LabelKind kind, GaussianMoments& target);

  // Adds the scales on which an average over the rest of <theta, x> = slope * z + sd N(0, 1) varies
  // with z.
  void add(double slope, double sd, double noise, Variation& variation) const;

  // Whether averages of the labels have a derivative by the noise at noise 0: not where g is 0 on a
  // whole interval or meets 0 flatly.
  bool differentiable_without_noise() const;

  const Array<Crossing>& crossings() const { return crossing_; }
  bool starts_up() const { return !g_.empty() && g_.front() >= 0.0; }

 private:
  Array<double> x_, g_;  // a scan of the target
  Array<Crossing> crossing_;
};

// The nodes of kappa times the nodes of zeta, which may have several directions or none. At kappa =
// node i the entries begin(i) to begin(i + 1) average over zeta ~ N(0, I) with the weights of the
// rule; `value` is g, or the chance of y = +1 for sign labels (of the label before any flip).
class LabelTable {
 public:
  // Adds the scales of whatever else is averaged at one node of kappa.
  using MoreScales = std::function<void(Index, Variation&)>;

  // A rule of the given level for every node of kappa. False if the target could not be evaluated,
  // or (then `exhausted`) if there is no rule as fine or the table would be too large.
  bool fill(LabelKind kind, const Array<double>& kappa, int level, double gamma, double noise,
            const LabelVariation& labels, GaussianMoments& target, const MoreScales& more = {});
  // The same for <theta, x> = at[i] + sd zeta.
  bool fill_around(LabelKind kind, const Array<double>& at, int level, double sd, double noise,
                   const LabelVariation& labels, GaussianMoments& target,
                   const MoreScales& more = {});
  bool exhausted() const { return exhausted_; }

  // From rows that were made elsewhere: weight, value, and zeta of every direction.
  void take(const double* rows, const Array<Index>& begin, int directions);

  bool empty() const { return begin_.empty(); }
  Index nodes() const { return begin_.size() - 1; }
  Index begin(Index i) const { return begin_[i]; }
  Index largest() const { return largest_; }  // entries of one node
  int directions() const { return directions_; }
  const double* zeta(int axis = 0) const { return zeta_.data() + axis * weight_.size(); }
  const double* weight() const { return weight_.data(); }
  const double* value() const { return value_.data(); }
  // Of sign labels: the derivative of that chance by the noise.
  const double* by_noise() const { return by_noise_.data(); }
  // Of signs without noise: where in zeta they change at a node, ascending, and whether they begin
  // with +1. Not known where zeta does not matter.
  bool known_cuts() const { return known_cuts_; }
  bool up_first() const { return up_first_; }
  Index cut_count() const { return cut_count_; }
  const double* cuts(Index i) const { return cuts_.data() + i * cut_count_; }
  // Whether kappa and zeta turned around turn the labels around.
  bool mirrored() const { return mirrored_; }

 private:
  void look_for_mirror(LabelKind kind, const Array<double>& at);

  Array<Index> begin_;
  Array<double> zeta_, weight_, value_, by_noise_;
  Index largest_ = 0;
  int directions_ = 1;
  bool exhausted_ = false;
  bool mirrored_ = false;
  bool known_cuts_ = false, up_first_ = false;
  Index cut_count_ = 0;
  Array<double> cuts_;
};

}  // namespace spikedrf
