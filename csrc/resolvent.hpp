// Step A of theory.md, sections 4 and 10: the responses V1, V2 of the readout.
//
// Unknowns x = (B, y): the symmetric K x K matrix B and the vector y_k = 1/g_k. In terms of them
//
//   e_j = diag(y_k / (beta pi_k sigma_kj)) = G_j^{-1},   M_j = (e_j + B)^{-1},   C_j = e_j M_j B,
//   V1 = sum_j w_j M_j / beta,   V2_k = pi_k / y_k,
//   B    = delta E[ mu1 mu1^T omega ],
//   y_k  = lam + delta E[ mu2_k^2 omega ] + s_k,   s_k = sum_j w_j sigma_kj (C_j)_kk.
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
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "averages.hpp"
#include "bulk.hpp"
#include "small_matrix.hpp"

namespace spikedrf {

// Work space of N numbers known at compile time, or of a size given once (N = 0).
template <int N, class T = double>
struct Buffer : std::array<T, static_cast<std::size_t>(N)> {
  explicit Buffer(int) : std::array<T, static_cast<std::size_t>(N)>{} {}
};
template <class T>
struct Buffer<0, T> : std::vector<T> {
  explicit Buffer(int size) : std::vector<T>(static_cast<std::size_t>(size)) {}
};

// One point in parameter space, as step A sees it.
struct Regime {
  double delta = 1.0;
  double beta = 1.0;
  double lam = 1.0;
  Weighting weighting;
  const double* pi = nullptr;
  Bulk bulk{};
};

struct NewtonReport {
  bool converged = false;
  int iterations = 0;
  double residual = 0.0;  // largest relative violation of the equations
};

// KS > 0 fixes the number of groups at compile time; KS = 0 takes it from the constructor.
template <int KS>
class Resolvent {
  static constexpr int kPairs = pair_count(KS);
  static constexpr int kSize = kPairs + KS;

 public:
  Resolvent(int groups, int bulk_nodes)
      : groups_(groups),
        y_slope_(groups * size()),
        scale_(size()),
        step_(size()),
        jacobian_(size() * size()),
        mb_(groups * groups),
        factor_(groups * groups),
        x(size()),
        v(size()),
        v_slope(size() * size()),
        s(groups),
        sum(size()),
        curvature(size() * size()),
        m_(static_cast<std::size_t>(bulk_nodes * groups * groups)),
        e_(static_cast<std::size_t>(bulk_nodes * groups)),
        pivot_(static_cast<std::size_t>(size())),
        b_(groups * groups) {}

  int groups() const { return KS > 0 ? KS : groups_; }
  int pairs() const { return pair_count(groups()); }
  int size() const { return pairs() + groups(); }

  // Newton from x (warm) or from the upper bound. On return x, v and every derivative below
  // belong to the same point, and `solve_linear` uses the Jacobian there.
  NewtonReport solve(const Tables& tables, const Regime& regime, bool warm);

  // Replaces rhs by (d(x - f)/dx)^{-1} rhs.
  void solve_linear(double* rhs) {
    for (int a = 0; a < size(); ++a) rhs[a] /= scale_[a];
    lu_solve(jacobian_.data(), pivot_.data(), rhs, size());
    for (int a = 0; a < size(); ++a) rhs[a] *= scale_[a];
  }

  // Replaces rhs by (d(x - f)/dx)^{-T} rhs.
  void solve_transposed(double* rhs) {
    for (int a = 0; a < size(); ++a) rhs[a] *= scale_[a];
    lu_solve_transposed(jacobian_.data(), pivot_.data(), rhs, size());
    for (int a = 0; a < size(); ++a) rhs[a] /= scale_[a];
  }

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

  const double* m(int j) const { return m_.data() + j * groups() * groups(); }
  const double* e(int j) const { return e_.data() + j * groups(); }
  const double* b() const { return b_.data(); }
  double y(int k) const { return x[static_cast<std::size_t>(pairs() + k)]; }
  // d s_k / d x_a.
  double s_slope(int k, int a) const { return y_slope_[static_cast<std::size_t>(k * size() + a)]; }

  // Node-sized arrays w omega, w omega^2 at the solution, and scratch.
  std::vector<double> w_omega, w_omega2, node_scratch;

 private:
  bool evaluate(const Regime& regime);
  bool linearise(const Tables& tables, const Regime& regime);
  void start(const Tables& tables, const Regime& regime);
  NewtonReport newton(const Tables& tables, const Regime& regime, bool warm);

  int groups_;
  Buffer<KS * kSize> y_slope_;
  Buffer<kSize> scale_, step_;
  Buffer<kSize * kSize> jacobian_;
  Buffer<KS * KS> mb_, factor_;

 public:
  Buffer<kSize> x, v;
  Buffer<kSize * kSize> v_slope;  // d v_a / d x_b
  Buffer<KS> s;
  Buffer<kSize> sum;  // E f_a omega
  Buffer<kSize * kSize> curvature;  // E f_a f_b omega^2

 private:
  std::vector<double> m_, e_;
  std::vector<int> pivot_;
  Buffer<KS * KS> b_;
};

// v, s and their derivatives at x. False if e + B is not positive definite.
template <int KS>
bool Resolvent<KS>::evaluate(const Regime& regime) {
  const int K = groups();
  const int P = pairs();
  const int n = size();
  for (int k = 0; k < K; ++k) {
    for (int l = 0; l < K; ++l) b_[k * K + l] = x[pair_index(k, l, K)];
  }
  for (int a = 0; a < n; ++a) v[a] = 0.0;
  for (int a = 0; a < n * n; ++a) v_slope[a] = 0.0;
  for (int k = 0; k < K; ++k) s[k] = 0.0;
  for (int a = 0; a < K * n; ++a) y_slope_[a] = 0.0;

  for (int j = 0; j < regime.bulk.nodes; ++j) {
    const double* sigma = regime.bulk.value + j * K;
    const double w = regime.bulk.trace[j];
    double* e = e_.data() + j * K;
    double* M = m_.data() + j * K * K;
    for (int k = 0; k < K; ++k) e[k] = y(k) / (regime.beta * regime.pi[k] * sigma[k]);
    // mb_ holds e + B first, then M B.
    for (int a = 0; a < K * K; ++a) mb_[a] = b_[a];
    for (int k = 0; k < K; ++k) mb_[k * K + k] += e[k];
    if (!spd_inverse(mb_.data(), M, factor_.data(), K)) return false;
    for (int k = 0; k < K; ++k) {
      for (int l = 0; l < K; ++l) {
        double product = 0.0;
        for (int i = 0; i < K; ++i) product += M[k * K + i] * b_[i * K + l];
        mb_[k * K + l] = product;
      }
    }
    const double share = w / regime.beta;
    for (int k = 0; k < K; ++k) {
      for (int l = k; l < K; ++l) {
        // v_a multiplies f_a once, and V has both V1_kl and V1_lk.
        const double multiple = (k == l ? 1.0 : 2.0) * share;
        const int a = pair_index(k, l, K);
        v[a] += multiple * M[k * K + l];
        for (int i = 0; i < K; ++i) {
          const double through_i = M[k * K + i] * M[i * K + l];
          v_slope[a * n + P + i] -= multiple * through_i / (regime.beta * regime.pi[i] * sigma[i]);
          v_slope[a * n + pair_index(i, i, K)] -= multiple * through_i;
          for (int q = i + 1; q < K; ++q) {
            v_slope[a * n + pair_index(i, q, K)] -=
                multiple * (M[k * K + i] * M[q * K + l] + M[k * K + q] * M[i * K + l]);
          }
        }
      }
      // C_kk = e_k (M B)_kk;  dC = P dB P^T - C dG C with P = e M, and C_ki / e_i = (M B)_ik.
      const double weight = w * sigma[k];
      s[k] += weight * e[k] * mb_[k * K + k];
      for (int i = 0; i < K; ++i) {
        const double p_ki = e[k] * M[k * K + i];
        y_slope_[k * n + pair_index(i, i, K)] += weight * p_ki * p_ki;
        for (int q = i + 1; q < K; ++q) {
          y_slope_[k * n + pair_index(i, q, K)] += 2.0 * weight * p_ki * e[k] * M[k * K + q];
        }
        y_slope_[k * n + P + i] +=
            weight * mb_[i * K + k] * mb_[i * K + k] / (regime.beta * regime.pi[i] * sigma[i]);
      }
    }
  }
  for (int k = 0; k < K; ++k) {
    v[P + k] = regime.pi[k] / y(k);
    v_slope[(P + k) * n + P + k] = -v[P + k] / y(k);
  }
  return true;
}

// The averages at v, the residual (in step_, relative) and the factorised Jacobian of x - f(x),
//   I + delta chi curvature v_slope - (0; ds/dx),
// in units of the scale of each unknown.
template <int KS>
bool Resolvent<KS>::linearise(const Tables& tables, const Regime& regime) {
  const int K = groups();
  const int P = pairs();
  const int n = size();
  response_averages(tables, v.data(), regime.weighting, w_omega.data(), w_omega2.data(),
                    sum.data(), curvature.data());
  constexpr double kNone = 1e-250;  // a group without linear part: B_kk = 0 and stays 0
  for (int k = 0; k < K; ++k) {
    for (int l = k; l < K; ++l) {
      scale_[pair_index(k, l, K)] = std::sqrt(b_[k * K + k] * b_[l * K + l]) + kNone;
    }
    scale_[P + k] = y(k);
  }
  for (int a = 0; a < n; ++a) {
    const double right =
        regime.delta * sum[a] + (a < P ? 0.0 : regime.lam + s[a - P]);
    step_[a] = (x[a] - right) / scale_[a];
  }
  const double feedback = regime.delta * regime.weighting.chi;
  for (int a = 0; a < n; ++a) {
    for (int b = 0; b < n; ++b) {
      double slope = a == b ? 1.0 : 0.0;
      if (feedback != 0.0) {
        double through_v = 0.0;
        for (int c = 0; c < n; ++c) through_v += curvature[a * n + c] * v_slope[c * n + b];
        slope += feedback * through_v;
      }
      if (a >= P) slope -= y_slope_[(a - P) * n + b];
      jacobian_[a * n + b] = slope * (scale_[b] / scale_[a]);
    }
  }
  return lu_factor(jacobian_.data(), pivot_.data(), n);
}

// The upper bound: omega = 1/epsilon (V = 0) in the averages, C <= B in s.
template <int KS>
void Resolvent<KS>::start(const Tables& tables, const Regime& regime) {
  const int K = groups();
  const int P = pairs();
  const double most = regime.delta / regime.weighting.epsilon;
  for (int a = 0; a < size(); ++a) x[a] = most * tables.mean_feature()[a];
  for (int k = 0; k < K; ++k) {
    double c = 0.0;
    for (int j = 0; j < regime.bulk.nodes; ++j) {
      c += regime.bulk.trace[j] * regime.bulk.value[j * K + k];
    }
    x[P + k] += regime.lam + c * x[pair_index(k, k, K)];
  }
}

template <int KS>
NewtonReport Resolvent<KS>::newton(const Tables& tables, const Regime& regime, bool warm) {
  constexpr int kMaxIterations = 200;
  constexpr double kConverged = 1e-12;  // Newton step, relative: the error that is left
  constexpr double kRounding = 1e-9;    // below this a step that stops shrinking is rounding
  const int n = size();
  const int P = pairs();
  NewtonReport report;
  double previous = 1e300;
  double damping = 1.0;
  if (!warm) start(tables, regime);
  for (report.iterations = 0; report.iterations < kMaxIterations; ++report.iterations) {
    const bool valid = evaluate(regime) && linearise(tables, regime);
    if (!valid) {
      if (report.iterations == 0) return report;
      // The last step left the cone: take half of it back. (From above this is rounding only.)
      damping *= 0.5;
      if (damping < 1e-6) return report;
      for (int a = 0; a < n; ++a) x[a] += damping * node_scratch[static_cast<std::size_t>(a)];
      continue;
    }
    report.residual = 0.0;
    for (int a = 0; a < n; ++a) report.residual = std::max(report.residual, std::fabs(step_[a]));
    lu_solve(jacobian_.data(), pivot_.data(), step_.data(), n);
    double size_of_step = 0.0;
    for (int a = 0; a < n; ++a) size_of_step = std::max(size_of_step, std::fabs(step_[a]));
    if (!(size_of_step < 1e300)) return report;
    if (size_of_step <= kConverged || (size_of_step <= kRounding && size_of_step > 0.5 * previous)) {
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
      node_scratch[static_cast<std::size_t>(a)] = change;
      x[a] -= change;
    }
  }
  return report;
}

template <int KS>
NewtonReport Resolvent<KS>::solve(const Tables& tables, const Regime& regime, bool warm) {
  const std::size_t nodes = std::max(tables.stride, static_cast<std::size_t>(size()));
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
