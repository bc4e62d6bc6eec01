// Step A of theory.md, sections 4 and 10, at a real ridge: the responses V1, V2 of the readout.
//
// Newton's method in the unknowns x = (B, y) of responses.hpp, x = f(x).
//
// Why these unknowns. C = (B^{-1} + G^{-1}^{-1})^{-1} is the parallel sum of B and e, the harmonic
// mean of matrices makes V1^{-1} out of e_j + B, and mu mu^T/(1 + v + mu^T W^{-1} mu) is the
// parallel sum of mu mu^T/(1 + v) and W = V1^{-1}: the right-hand sides are increasing and
// concave in x (in the order of positive semidefinite matrices). So x - f(x) is convex with an
// inverse-positive derivative wherever x >= f(x), and Newton's method started there decreases
// monotonically to the solution, never leaves the positive cone, and ends quadratically. No line
// search is needed; what safeguards there are handle rounding and poor warm starts. In V1, V2
// themselves, or in their logarithms, Newton overshoots wildly at small lam. With V = 0 the
// right-hand sides are largest, which gives the start x0 >= f(x0).
//
// Scaling. Step A is homogeneous: with omega = 1/(epsilon + V), the pair (lam, epsilon) and
// (t lam, epsilon / t) give x and t x. The ridgeless limit of an interpolating network is
// epsilon = 0 with lam = 1; a lam too small to be squared in double precision works the same way.
#pragma once

#include <algorithm>
#include <cmath>

#include "averages/averages.hpp"
#include "equations/responses.hpp"
#include "numerics/array.hpp"
#include "numerics/small_matrix.hpp"

namespace spikedrf {

struct NewtonReport {
  bool converged = false;
  int iterations = 0;
  double residual = 0.0;  // largest relative violation of the equations
};

// KS > 0 fixes the number of groups at compile time; KS = 0 takes it from the constructor.
template <int KS>
class Resolvent : public Responses<KS> {
  using Base = Responses<KS>;
  using Base::jacobian_;
  using Base::pivot_;
  using Base::scale_;
  using Base::step_;

 public:
  Resolvent(int group_count, int bulk_nodes) : Base(group_count, bulk_nodes) {}

  using Base::curvature;
  using Base::bulk;
  using Base::groups;
  using Base::pairs;
  using Base::size;
  using Base::sum;
  using Base::v;
  using Base::x;
  using Base::y;

  // Newton from x (warm) or from the upper bound. On return x, v and every derivative
  // belong to the same point, and `solve_linear` uses the Jacobian there.
  NewtonReport solve(const Tables& tables, const Regime& regime, bool warm);

  // Largest entry of the inverse Jacobian, in units of the scales.
  double condition(double* column) const {
    const int n = size();
    double largest = 0.0;
    for (int a = 0; a < n; ++a) {
      for (int b = 0; b < n; ++b) column[b] = a == b ? 1.0 : 0.0;
      lu_solve(jacobian_.data(), pivot_.data(), column, n);
      for (int b = 0; b < n; ++b) largest = std::max(largest, std::fabs(column[b]));
    }
    return largest;
  }

  // Node-sized arrays w omega, w omega^2 at the solution, and scratch.
  Array<double> w_omega, w_omega2, node_scratch;

 private:
  static constexpr double kConverged = 1e-12;  // Newton step, relative: the error that is left
  static constexpr double kNear = 1e-4;        // a step that an old Jacobian is good enough for

  bool average(const Tables& tables, const Regime& regime) {
    if (!Base::evaluate(regime)) return false;
    response_averages(tables, v.data(), regime.weighting, w_omega.data(), w_omega2.data(),
                      sum.data(), curvature.data());
    return true;
  }
  void start(const Tables& tables, const Regime& regime);
  bool chord(const Regime& regime);
  NewtonReport newton(const Tables& tables, const Regime& regime, bool warm);
};

// The upper bound: omega = 1/epsilon (V = 0) in the averages, C <= B in s.
template <int KS>
void Resolvent<KS>::start(const Tables& tables, const Regime& regime) {
  const int K = groups();
  const int P = pairs();
  const double most = regime.delta / regime.weighting.epsilon;
  for (int a = 0; a < size(); ++a) x[a] = most * tables.pulled_feature()[a];
  for (int k = 0; k < K; ++k) {
    double c = 0.0;
    for (int j = 0; j < regime.bulk.nodes; ++j) {
      c += regime.bulk.weight(j) * regime.bulk.value[j * K + k];
    }
    x[P + k] += regime.lam + c * x[pair_index(k, k, K)];
  }
}

// One step with the Jacobian of the last solve: on the next finer rule it is nearly the same. False
// if there is none to take, or none so small that this is certain; the averages at x stay right.
template <int KS>
bool Resolvent<KS>::chord(const Regime& regime) {
  Base::compare(regime, regime.lam);
  lu_solve(jacobian_.data(), pivot_.data(), step_.data(), size());
  double size_of_step = 0.0;
  for (int a = 0; a < size(); ++a) size_of_step = std::max(size_of_step, std::fabs(step_[a]));
  if (!(size_of_step > kConverged && size_of_step < kNear)) return false;
  for (int a = 0; a < size(); ++a) x[a] -= step_[a] * scale_[a];
  return true;
}

template <int KS>
NewtonReport Resolvent<KS>::newton(const Tables& tables, const Regime& regime, bool warm) {
  constexpr int kMaxIterations = 200;
  constexpr double kRounding = 1e-9;    // below this a step that stops shrinking is rounding
  const int n = size();
  const int P = pairs();
  NewtonReport report;
  double previous = 1e300;
  double damping = 1.0;
  if (!warm) start(tables, regime);
  for (report.iterations = 0; report.iterations < kMaxIterations; ++report.iterations) {
    bool valid = average(tables, regime);
    if (valid && warm && report.iterations == 0 && chord(regime)) continue;
    valid = valid && Base::linearise(regime, regime.lam);
    if (!valid) {
      if (report.iterations == 0) return report;
      // The last step left the cone: take half of it back. (From above this is rounding only.)
      damping *= 0.5;
      if (damping < 1e-6) return report;
      for (int a = 0; a < n; ++a) x[a] += damping * node_scratch[a];
      continue;
    }
    report.residual = 0.0;
    for (int a = 0; a < n; ++a) report.residual = std::max(report.residual, std::fabs(step_[a]));
    lu_solve(jacobian_.data(), pivot_.data(), step_.data(), n);
    double size_of_step = 0.0;
    for (int a = 0; a < n; ++a) size_of_step = std::max(size_of_step, std::fabs(step_[a]));
    if (!(size_of_step < 1e300)) return report;
    const bool rounding = size_of_step <= kRounding && size_of_step > 0.5 * previous;
    if (size_of_step <= kConverged || rounding) {
      report.converged = true;
      return report;
    }
    previous = size_of_step;
    damping = 1.0;
    for (int k = P; k < n; ++k) {
      if (step_[k] > 0.999) damping = std::min(damping, 0.9 / step_[k]);  // y stays positive
    }
    if (warm && damping < 1.0) return report;  // too far off for a warm start
    for (int a = 0; a < n; ++a) {
      const double change = damping * step_[a] * scale_[a];
      node_scratch[a] = change;
      x[a] -= change;
    }
  }
  return report;
}

template <int KS>
NewtonReport Resolvent<KS>::solve(const Tables& tables, const Regime& regime, bool warm) {
  const Index nodes = std::max<Index>(tables.stride, size());
  if (w_omega.size() < nodes) {
    w_omega.resize(nodes);
    w_omega2.resize(nodes);
    node_scratch.resize(nodes);
  }
  if (warm) {
    const NewtonReport report = newton(tables, regime, true);
    if (report.converged) return report;
  }
  if (regime.weighting.epsilon < 1.0) {
    // V = 0 bounds nothing when epsilon is small or zero. By homogeneity a problem with
    // epsilon = 1 and a ridge that is small beside y lies next to this one.
    Regime nearby = regime;
    nearby.weighting.epsilon = 1.0;
    nearby.lam = 1.0;
    start(tables, nearby);
    double smallest = 1e300;
    for (int k = 0; k < groups(); ++k) smallest = std::min(smallest, y(k) - 1.0);
    nearby.lam = 1e-4 * smallest;
    newton(tables, nearby, false);
    for (int a = 0; a < size(); ++a) x[a] *= regime.lam / nearby.lam;
    const NewtonReport report = newton(tables, regime, true);
    if (report.converged) return report;
  }
  return newton(tables, regime, false);
}

}  // namespace spikedrf
