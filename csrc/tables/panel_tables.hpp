// The tables of one spike on Gauss-Legendre panels, for averages of 1/(1 + V) with complex V.
#pragma once

#include <memory>

#include "numerics/array.hpp"
#include "numerics/quadrature.hpp"
#include "tables/moments.hpp"

namespace spikedrf {

// Halves of panels, halves of these and so on, as far as somebody has asked for them.
struct PanelHalves {
  Array<Index> left;   // of each panel, then of each half: its left half, before the right one, or
                       // 0 if it has not been divided
  Array<double> rows;  // of every half
};

// Panel p has the nodes [p degree, (p + 1) degree) of the tables; no node is padding. In a plane
// there are strips of `degree` lines each, at the nodes of a panel across, line after line,
// and the lines of a strip have the same panels.
struct PanelTables {
  Tables tables;
  int degree = 0;
  Index panels = 0;
  Array<Index> strip;      // where the strips begin, and the last one ends; empty for a line
  Array<double> of_class;  // the weights of each class, which sum to the tables'; empty for one
  Array<double> length;    // E (z^2 - 1) sigma/2 of each group, columns of lengths; empty for none
  mutable PanelHalves halves;  // of the tables' weights and features; they belong to one thread
  // With both sides, where the tables above have one for two: what is not of the features alone.
  std::shared_ptr<const PanelTables> whole;

  const double* weight(int i) const {
    return of_class.empty() ? tables.weight() : of_class.data() + i * tables.stride;
  }
};

// Ever finer panel tables. Where V(kappa) passes close to -1, a panel has to be divided further
// than the tables themselves need, differently for every point of the spectrum
// (panel_averages.hpp). That is done by interpolation, whose error is small beside the largest
// value on the panel, while features that die out along the axis (a saturating activation) still
// matter when they are e^-20: they decide on the small eigenvalues. So no panel is so wide that the
// power of a group's features changes on it by more than a constant factor.
class PanelLadder {
 public:
  virtual ~PanelLadder() = default;
  enum class Step { ready, exhausted, failed };

  Step reach(Index level) {
    while (levels_.size() <= level) {
      levels_.emplace_back();
      const Step step = make(levels_.size() - 1, levels_.back());
      if (step == Step::ready) continue;
      levels_.pop_back();
      return step;
    }
    return Step::ready;
  }
  const PanelTables& operator[](Index level) const { return levels_[level]; }

 private:
  virtual Step make(Index level, PanelTables& out) = 0;

  Deque<PanelTables> levels_;
};

// That of a line.
class LineLadder final : public PanelLadder {
 public:
  LineLadder(int groups, const double* r, const double* c, const Classes& seen,
             GaussianMoments& activation, Index max_nodes);

 private:
  Step make(Index level, PanelTables& out) override;
  bool fill(int degree, int split, int effort, PanelTables& out);
  bool divide(const PanelTables& coarse);
  void fold(PanelTables& panels);

  int groups_;
  const double* r_;
  const double* c_;
  Classes seen_;
  GaussianMoments& activation_;
  NamedMoments no_target_;  // the features know no labels
  Index max_nodes_;
  Array<double> edge_;
};

}  // namespace spikedrf
