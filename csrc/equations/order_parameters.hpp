// Steps B and C of theory.md, sections 4, 10 and 12, and the errors of section 5.
#pragma once

#include <cmath>
#include <limits>

#include "equations/resolvent.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

struct Errors {
  double excess = 0.0;  // test error without the label noise
  double train = 0.0;
  double norm = 0.0;
  double rounding = 0.0;  // relative, an estimate of what rounding may have done to them
  // The same of their derivatives: the equations of these contain the solution, whose rounding
  // error is amplified once more.
  double slope_rounding = 0.0;
};

template <int KS>
class OrderParameters {
  static constexpr int kPairs = pair_count(KS);
  static constexpr int kSize = kPairs + KS;

 public:
  OrderParameters(int groups, const Latents& latents)
      : m(groups),
        q(pair_count(groups) + groups),
        dependency(groups * groups),
        groups_(groups),
        columns_count_(latents.columns(groups)),
        forms_(groups, latents),
        system_(groups * groups),
        factor_(groups * groups),
        right_(groups),
        length_(groups),
        pressure_(groups),
        source_(pair_count(groups) + groups),
        feature_bias_(pair_count(groups) + groups),
        feature_omega2_(pair_count(groups) + groups),
        response_(pair_count(groups) + groups),
        pivot_(groups) {
    const Index C = columns_count_;
    const auto count = C + groups + 1;
    theta.assign(C, 0.0);
    psi.assign(latents.free * groups, 0.0);
    psihat.assign(latents.rest() * groups, 0.0);
    triangle_.assign(count * count, 0.0);
    for (auto* matrix : {&penalty_, &scaled_, &inverse_, &cholesky_}) matrix->assign(C * C, 0.0);
    penalty_target_.assign(C, 0.0);
  }

  // Everything that follows from a converged step A. `noise2` is the variance of the label noise.
  // With several classes their own errors are left in `by_class`.
  Errors solve(const Tables& tables, const Regime& regime, Resolvent<KS>& step_a, double noise2);

  // The readout's overlaps m_k, and P of section 12: theta in the columns (direction by direction,
  // then the lengths), psi in the free directions; psihat in all that kappa does not fix.
  Buffer<KS> m;
  Array<double> theta, psi, psihat;
  // q1 on the pairs (off-diagonal entries doubled), without the latents' part, then q2: the
  // coefficients of f_a.
  Buffer<kSize> q;
  // Orthonormal vectors a with sum_k a_k mu0_k = 0 on all nodes, one a row: m is free along them.
  int dependencies = 0;
  Buffer<KS * KS> dependency;

  Array<ClassErrors> by_class;

  // Step B once more, with the same functions and weights and another right-hand side:
  //   (E omega phi phi^T + diag(0, S / delta)) (m; theta) = E omega phi f + (0; pull).
  // The caller puts sqrt(w omega) f into the node-sized column first.
  double* refit_column(const Tables& tables) {
    return columns_.data() + fit_count() * fit_length(tables);
  }
  // The orthonormal functions of the fit, times sqrt(w omega): first those that span the mu0_k.
  const double* fit_function(const Tables& tables, int j) const {
    return columns_.data() + j * fit_length(tables);
  }
  void refit(const Tables& tables, const double* pull, double* for_m, double* for_theta);

 private:
  // How far rounding errors are amplified where groups are nearly alike: in step B by the ratio of
  // singular values; in steps A and C the responses M cancel in mu1^T M mu1 and its derivatives,
  // by the factor M_kk B_kk in each of the two M, and the Jacobian passes that on. (The factors 4
  // make it an upper estimate: compared with the scatter of the answer over rules for thousands
  // of groups that are nearly alike.)
  double amplification_ = 1.0;

  int groups() const { return KS > 0 ? KS : groups_; }
  int fit_count() const { return groups() + columns_count_; }
  void step_b(const Tables& tables, const Regime& regime, const Resolvent<KS>& step_a);
  void pose_penalty(double delta, bool diagonal);
  double back_substitute(double* for_m, double* for_theta);
  void signal_source(const Regime& regime, const Resolvent<KS>& step_a);

  int groups_;
  int columns_count_;
  BulkForms<KS, double> forms_;
  Array<double> triangle_, penalty_, scaled_, inverse_, cholesky_, penalty_target_;
  Buffer<KS * KS> system_, factor_;
  Buffer<KS> right_, length_, pressure_;
  Buffer<kSize> source_, feature_bias_, feature_omega2_, response_;
  Array<int> pivot_;
  Array<double> columns_;  // node-sized, grown outside the solves
};

// S / delta = L L^T: penalty_ = L^T, and L t = pull / delta.
template <int KS>
void OrderParameters<KS>::pose_penalty(double delta, bool diagonal) {
  const int C = columns_count_;
  const Array<double>& S = forms_.stiffness;
  if (diagonal) {
    for (int a = 0; a < C; ++a) penalty_[a * C + a] = std::sqrt(S[a * C + a] / delta);
    return;
  }
  for (int a = 0; a < C * C; ++a) scaled_[a] = S[a] / delta;
  spd_inverse(scaled_.data(), inverse_.data(), cholesky_.data(), C);
  for (int a = 0; a < C; ++a) {
    double target = forms_.pull[a] / delta;
    for (int b = 0; b < a; ++b) target -= cholesky_[a * C + b] * penalty_target_[b];
    penalty_target_[a] = target / cholesky_[a * C + a];
    for (int b = 0; b < C; ++b) penalty_[b * C + a] = b <= a ? cholesky_[a * C + b] : 0.0;
  }
}

// Step B: (m, theta) are the ridge regression of h on the mu0_k and the columns with weights delta
// omega, with what bulk_algebra.hpp has for the bulk and m unpenalised,
//
//   minimise  delta E omega (h - mean)^2 + theta^T S theta - 2 theta^T pull.
template <int KS>
void OrderParameters<KS>::step_b(const Tables& tables, const Regime& regime,
                                 const Resolvent<KS>& step_a) {
  const int K = groups();
  const Latents& latents = forms_.latents();
  const double delta = regime.delta;
  label_averages(tables, step_a.w_omega.data(), psihat.data());
  for (double& value : psihat) value *= delta;
  forms_.stiffen(regime, step_a.bulk(), step_a.b(), step_a.x.data() + step_a.pairs(),
                 psihat.data());
  pose_penalty(delta, regime.bulk.nodes == 1 && latents.coupled == latents.spans);
  const Index scratch = (fit_count() + 1) * fit_length(tables);
  if (columns_.size() < scratch) columns_.resize(scratch);
  fit_signal(tables, step_a.w_omega.data(), penalty_.data(), penalty_target_.data(),
             columns_.data(), triangle_.data());

  amplification_ = std::max(1.0, back_substitute(m.data(), theta.data()));
  // A node's M counts with the largest of its weights.
  double cancelled = 1.0;
  for (int k = 0; k < K; ++k) {
    double size = 0.0;
    for (int j = 0; j < regime.bulk.nodes; ++j) {
      double weight = std::fabs(regime.bulk.weight(j));
      for (int l = 0; l < latents.directions(); ++l) {
        weight = std::max(weight, std::fabs(regime.bulk.form(l, l, j)));
      }
      size += weight * step_a.bulk().m(j)[k * K + k];
    }
    cancelled = std::max(cancelled, size * step_a.b()[k * K + k]);
  }
  if (cancelled > 10.0) {
    amplification_ =
        std::max(amplification_, 4.0 * cancelled * cancelled * step_a.condition(response_.data()));
  }
  forms_.lift(regime, step_a.bulk(), step_a.b(), theta.data(), psihat.data(), psi.data());
}

// (m, theta) from the triangle of the fit; how far that amplifies rounding errors: one over the
// smallest singular value that was inverted, of the mu0_k scaled to length 1, and four times that
// where they are nearly alike.
template <int KS>
double OrderParameters<KS>::back_substitute(double* for_m, double* for_theta) {
  const int K = groups();
  const int C = columns_count_;
  // theta from its own block; a zero pivot is a group without linear part and without stiffness.
  const int last = fit_count();
  const auto entry = [&](int i, int j) { return triangle_[i * (last + 1) + j]; };
  for (int a = C - 1; a >= 0; --a) {
    double right = entry(K + a, last);
    for (int b = a + 1; b < C; ++b) right -= entry(K + a, K + b) * for_theta[b];
    for_theta[a] = entry(K + a, K + a) > 0.0 ? right / entry(K + a, K + a) : 0.0;
  }
  // The block of m is singular when the mu0_k are linearly dependent (an odd activation with
  // u = +-1, or mu0 = 0 without a spike). The minimum-norm m leaves `mean` alone.
  for (int k = 0; k < K; ++k) {
    right_[k] = entry(k, last);
    for (int a = 0; a < C; ++a) right_[k] -= entry(k, K + a) * for_theta[a];
    for (int l = 0; l < K; ++l) system_[k * K + l] = entry(k, l);
  }
  const double spread = triangular_solve(system_.data(), right_.data(), for_m, factor_.data(), K);
  constexpr double kIndependent = 1e10;
  if (spread < kIndependent) {
    dependencies = 0;
    return (spread > 10.0 ? 4.0 : 1.0) * spread;
  }
  constexpr double kDependent = 1e-13;
  const double smallest =
      scaled_pseudo_solve(system_.data(), right_.data(), for_m, dependency.data(), &dependencies,
                          factor_.data(), length_.data(), K, kDependent);
  return (smallest < 0.1 ? 4.0 : 1.0) / smallest;
}

template <int KS>
void OrderParameters<KS>::refit(const Tables& tables, const double* pull, double* for_m,
                                double* for_theta) {
  const int C = columns_count_;
  const int count = fit_count();
  const Index length = fit_length(tables);
  double* right = refit_column(tables);
  // The penalty rows L^T of S / delta = L L^T: their target t solves L t = pull.
  double* target = right + tables.stride;
  for (Index i = 0; tables.stride + i < length; ++i) target[i] = 0.0;
  for (int a = 0; a < C; ++a) {
    target[a] = pull[a];
    for (int b = 0; b < a; ++b) target[a] -= penalty_[b * C + a] * target[b];
    target[a] /= penalty_[a * C + a];
  }
  project_fit(length, count, columns_.data(), triangle_.data() + count, count + 1);
  back_substitute(for_m, for_theta);
}

// The signal part of (q1, q2): minus the total derivative of Psi = Phat^T N Phat with respect to
// (B, D), Phat fixed, y following B and D through y = D + s(B, y). With tilde = F^{-1} P,
//   dPsi = sum_l P_l^T dB P_l - sum_j tr[(dB + de_j) Z_j],   Z_j = M_j tilde^T A_j tilde M_j
// (dN = N F^{-1} dF F^{-1} N + N (I (x) dB) N and dM_j = -M_j (dB + de_j) M_j). For one node
// sum_j Z_j = sum_l P_l P_l^T.
template <int KS>
void OrderParameters<KS>::signal_source(const Regime& regime, const Resolvent<KS>& step_a) {
  const int K = groups();
  const int P = pair_count(K);
  const Latents& latents = forms_.latents();
  const bool one_node = regime.bulk.nodes == 1;
  for (int k = 0; k < K; ++k) {
    pressure_[k] = 0.0;
    if (latents.lengths) {
      const double length = forms_.stretch[k] / step_a.y(k);
      pressure_[k] = regime.beta * regime.pi[k] * regime.bulk.independent(k) * length * length;
    }
    for (int l = k; l < K; ++l) {
      double& entry = source_[pair_index(k, l, K)];
      entry = 0.0;
      for (int n = 0; n < latents.directions() && !one_node; ++n) {
        const double* overlap = n < latents.coupled ? theta.data() + n * K
                                                    : psi.data() + (n - latents.coupled) * K;
        entry -= overlap[k] * overlap[l];
      }
    }
  }
  for (int j = 0; j < regime.bulk.nodes; ++j) {
    const double* sigma = regime.bulk.value + j * K;
    forms_.see(regime.bulk, step_a.bulk(), j);
    for (int k = 0; k < K; ++k) {
      for (int l = k; l < K; ++l) {
        if (one_node && l > k) break;
        const double z = forms_.pressure(regime.bulk, j, k, l);
        if (!one_node) source_[pair_index(k, l, K)] += z;
        if (k == l) pressure_[k] += z / (regime.beta * regime.pi[k] * sigma[k]);
      }
    }
  }
  // -dPsi/dD = (I - ds/dy)^{-T} (-dPsi/dy).
  for (int k = 0; k < K; ++k) {
    for (int l = 0; l < K; ++l) {
      system_[k * K + l] = (k == l ? 1.0 : 0.0) - step_a.s_slope(l, P + k);
    }
  }
  lu_factor(system_.data(), pivot_.data(), K);
  lu_solve(system_.data(), pivot_.data(), pressure_.data(), K);
  for (int k = 0; k < K; ++k) {
    source_[P + k] = pressure_[k];
    for (int l = k; l < K; ++l) {
      const int a = pair_index(k, l, K);
      if (k != l) source_[a] *= 2.0;
      for (int i = 0; i < K; ++i) source_[a] += step_a.s_slope(i, a) * pressure_[i];
    }
  }
}

// Step C. q is minus the derivative of v under sources Q added to (B, D), plus the signal part.
// The sources contain q itself, Q = delta E[f (T + q) omega^2], exactly the feedback that the
// Jacobian J of step A describes, so that with T = T+ + noise^2
//
//   J dx = delta E[f T omega^2] + delta curvature q_signal,    q = q_signal - (dv/dx) dx.
//
// T+ (averages.hpp) contains the latents' part of q1, so that it is a sum of squares and nothing
// cancels.
template <int KS>
Errors OrderParameters<KS>::solve(const Tables& tables, const Regime& regime,
                                  Resolvent<KS>& step_a, double noise2) {
  const int K = groups();
  const int n = pair_count(K) + K;
  step_b(tables, regime, step_a);
  signal_source(regime, step_a);
  double mean_omega2 = 0.0;
  const ErrorAverages average = error_averages(
      tables, step_a.w_omega2.data(), m.data(), theta.data(), psi.data(),
      step_a.node_scratch.data(), feature_bias_.data(), feature_omega2_.data(), &mean_omega2);
  const double feedback = regime.delta * regime.weighting.chi;
  for (int a = 0; a < n; ++a) {
    double feature = feature_bias_[a] + noise2 * feature_omega2_[a];
    for (int b = 0; b < n; ++b) feature += step_a.curvature[a * n + b] * source_[b];
    response_[a] = feedback * feature;
  }
  step_a.solve_linear(response_.data());
  Errors errors;
  errors.excess = average.bias;
  errors.train = average.weighted_bias + noise2 * mean_omega2;
  for (int a = 0; a < n; ++a) {
    q[a] = source_[a];
    for (int b = 0; b < n; ++b) q[a] -= step_a.v_slope[a * n + b] * response_[b];
    errors.excess += q[a] * tables.mean_feature()[a];
    errors.train += q[a] * feature_omega2_[a];
    if (a >= pair_count(K)) errors.norm += q[a];
  }
  errors.rounding = 4.0 * std::numeric_limits<double>::epsilon() * amplification_;
  errors.slope_rounding = errors.rounding * amplification_;
  // omega here is (1/(1 + V)) / epsilon.
  errors.train *= regime.weighting.epsilon * regime.weighting.epsilon;
  if (by_class.empty()) return errors;
  class_errors(tables, q.data(), noise2, step_a.w_omega2.data(), regime.weighting.epsilon,
               step_a.node_scratch.data(), by_class.data());
  errors.train = 0.0;  // weights in the loss differ between classes
  for (const ClassErrors& errors_there : by_class) errors.train += errors_there.train;
  return errors;
}

}  // namespace spikedrf
