#include "batches/convex.hpp"

#include <algorithm>

#include "batches/convex_climber.hpp"

namespace spikedrf {

namespace {

struct NoWatch {
  Reached look(const Index*, Index, const FieldState&, double&) { return Reached::ready; }
  Reached settle(const FieldState&, double&) { return Reached::ready; }
};

}  // namespace

bool solve_convex(const Problem& problem, const Points& points, const Solutions& solutions) {
  LabelVariation variation;
  if (problem.source == nullptr && !variation.find(problem.labels, *problem.target)) return false;
  const int K = problem.spikes.groups;
  ConvexEquations equations(K, std::max(problem.spikes.bulk_nodes, 1), problem.latents,
                            problem.loss, problem.labels, problem.accuracy.rtol,
                            problem.source != nullptr);
  NoWatch nothing;
  Index point = 0;
  while (point < points.count) {
    const Index spike = points.spike_of(point);
    const double noise = points.noise[point];
    LabelledLadder ladder(problem, spike, noise, variation);
    // Real labels take their noise along later: their tables serve every noise.
    for (; point < points.count && points.spike_of(point) == spike &&
           (points.noise[point] == noise || problem.labels == LabelKind::real);
         ++point) {
      ConvexClimber climber(problem, points, point, ladder, equations, nothing);
      if (!climber.climb(variation)) return false;
      store(climber.answer(), climber.at.solved, K, point, solutions);
    }
  }
  return true;
}

}  // namespace spikedrf
