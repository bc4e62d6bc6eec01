// The tables of one spike, and with `slopes` their slopes, on every rule that some point has asked
// for (others are left empty). The rules also resolve the variation `more` that the caller names.
#pragma once

#include <algorithm>
#include <cmath>

#include "batches/problem.hpp"
#include "batches/refinement.hpp"
#include "numerics/array.hpp"
#include "numerics/quadrature.hpp"

namespace spikedrf {

class TableLadder {
 public:
  TableLadder(const Problem& problem, Index index, bool with_slopes = false,
              const Variation& more = {}, RuleLadder::Start start = RuleLadder::Start::hermite,
              double negligible = 1e-28)
      : problem_(problem),
        groups_(problem.spikes.groups),
        r_(problem.spikes.r + index * groups_),
        c_(problem.spikes.c + index * groups_),
        gamma_(problem.source == nullptr ? problem.spikes.gamma[index] : 0.0),
        activation_(*problem.activation),
        target_(*problem.target),
        with_slopes_(with_slopes),
        rules_(variation(more), problem.accuracy.max_nodes, start, negligible) {}

  Reached reach(Index level) {
    while (problem_.source != nullptr && tables_.size() <= level) {
      tables_.emplace_back();
      const auto made = problem_.source->make(tables_.size() - 1, groups_, problem_.latents,
                                              tables_.back());
      if (made == TableSource::Made::ready) continue;
      tables_.pop_back();
      return made == TableSource::Made::failed ? Reached::failed : Reached::exhausted;
    }
    while (tables_.size() <= level) {
      tables_.emplace_back();
      if (with_slopes_) slopes_.emplace_back();
    }
    if (tables_[level].nodes > 0) return Reached::ready;
    Rule rule;
    const int effort = static_cast<int>(level);
    if (!rules_.make(effort, rule)) return Reached::exhausted;
    const bool filled = tables_[level].fill(rule, effort, groups_, r_, c_, gamma_, activation_,
                                            target_, with_slopes_ ? &slopes_[level] : nullptr);
    return filled ? Reached::ready : Reached::failed;
  }
  // Of a uniform rule, 0 of any other.
  double step(Index level) const {
    return problem_.source == nullptr ? rules_.step(static_cast<int>(level)) : 0.0;
  }
  const Tables& operator[](Index level) const { return tables_[level]; }
  const TableSlopes* slopes(Index level) const { return with_slopes_ ? &slopes_[level] : nullptr; }

 private:
  Variation variation(Variation result) const {
    if (problem_.source != nullptr) return result;
    for (int k = 0; k < groups_; ++k) {
      activation_.add_variation(r_[k], std::sqrt(c_[k]), result);
    }
    const double sd = std::sqrt(std::max(0.0, (1.0 - gamma_) * (1.0 + gamma_)));
    target_.add_variation(gamma_, sd, result);
    return result;
  }

  const Problem& problem_;
  int groups_;
  const double* r_;
  const double* c_;
  double gamma_;
  GaussianMoments& activation_;
  GaussianMoments& target_;
  bool with_slopes_;
  RuleLadder rules_;
  Deque<Tables> tables_;
  Deque<TableSlopes> slopes_;
};

}  // namespace spikedrf
