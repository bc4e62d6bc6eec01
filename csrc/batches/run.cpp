#include "batches/run.hpp"

#include <stdexcept>

#include "batches/convex.hpp"
#include "batches/ridge.hpp"
#include "batches/table_ladder.hpp"

namespace spikedrf {

bool run(const Problem& problem, const Points& points, const Wanted& wanted) {
  if (wanted.transforms != nullptr) return spectrum(problem, points, *wanted.transforms);
  if (problem.loss.kind == kNoLoss) throw std::invalid_argument("the problem has no loss");
  // Everything but the responses has a closed form then.
  const bool square = problem.loss.kind == loss_of<losses::Square>();
  const bool ridge = square && problem.labels == LabelKind::real;
  if (wanted.gradients != nullptr) {
    return ridge ? gradient(problem, points, *wanted.gradients)
                 : convex_gradient(problem, points, *wanted.gradients);
  }
  return ridge ? solve_ridge(problem, points, *wanted.solutions)
               : solve_convex(problem, points, *wanted.solutions);
}

bool tabulate(const Problem& problem, Index level, Array<double>& rows) {
  rows.clear();
  TableLadder ladder(problem, 0);
  const Reached reached = ladder.reach(level);
  if (reached != Reached::ready) return reached == Reached::exhausted;
  const Tables& tables = ladder[level];
  const auto add = [&](const double* row) { rows.insert(rows.end(), row, row + tables.nodes); };
  for (const double* row : {tables.weight(), tables.h(), tables.hz(), tables.g2()}) add(row);
  for (int k = 0; k < tables.groups; ++k) add(tables.mu0(k));
  for (int k = 0; k < tables.groups; ++k) add(tables.mu1(k));
  for (int k = 0; k < tables.groups; ++k) add(tables.kappa_mu1(k));
  return true;
}

}  // namespace spikedrf
