// Steps B and C of theory.md, sections 4 and 10, and the errors of section 5.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>

#include "equations/resolvent.hpp"

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
  explicit OrderParameters(int groups)
      : m(groups),
        theta(groups),
        psi(groups),
        psihat(groups),
        q(pair_count(groups) + groups),
        dependency(groups * groups),
        groups_(groups),
        triangle_((2 * groups + 1) * (2 * groups + 1)),
        stiffness_(groups * groups),
        penalty_(groups * groups),
        inverse_(groups * groups),
        factor_(groups * groups),
        vv_(groups * groups),
        vx_(groups * groups),
        system_(groups * groups),
        pull_(groups),
        penalty_target_(groups),
        tilde_(groups),
        pv_(groups),
        px_(groups),
        pressure_(groups),
        source_(pair_count(groups) + groups),
        feature_bias_(pair_count(groups) + groups),
        feature_omega2_(pair_count(groups) + groups),
        response_(pair_count(groups) + groups),
        pivot_(static_cast<std::size_t>(groups)) {}

  // Everything that follows from a converged step A. `noise2` is the variance of the label noise.
  Errors solve(const Tables& tables, const Regime& regime, Resolvent<KS>& step_a, double noise2);

  Buffer<KS> m, theta, psi, psihat;
  // q1 - psi psi^T on the pairs (off-diagonal entries doubled), then q2: the coefficients of f_a.
  Buffer<kSize> q;
  // Orthonormal vectors a with sum_k a_k mu0_k = 0 on all nodes, one a row: m is free along them.
  int dependencies = 0;
  Buffer<KS * KS> dependency;

  // Step B once more, with the same functions and weights and another right-hand side:
  //   (E omega phi phi^T + diag(0, S / delta)) (m; theta) = E omega phi f + (0; pull).
  // The caller puts sqrt(w omega) f into the node-sized column first.
  double* refit_column(const Tables& tables) {
    return columns_.data() + static_cast<std::size_t>(2 * groups()) * fit_length(tables);
  }
  // The orthonormal functions of the fit, times sqrt(w omega): first those that span the mu0_k.
  const double* fit_function(const Tables& tables, int j) const {
    return columns_.data() + static_cast<std::size_t>(j) * fit_length(tables);
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
  void step_b(const Tables& tables, const Regime& regime, const Resolvent<KS>& step_a);
  double back_substitute(double* for_m, double* for_theta);
  void signal_source(const Regime& regime, const Resolvent<KS>& step_a);

  int groups_;
  Buffer<(2 * KS + 1) * (2 * KS + 1) * (KS > 0)> triangle_;
  Buffer<KS * KS> stiffness_, penalty_, inverse_, factor_, vv_, vx_, system_;
  Buffer<KS> pull_, penalty_target_, tilde_, pv_, px_, pressure_;
  Buffer<kSize> source_, feature_bias_, feature_omega2_, response_;
  std::vector<int> pivot_;
  std::vector<double> columns_;  // node-sized, grown outside the solves
};

// Step B. With N = (F^{-1} - diag(B, 0))^{-1}, [theta; psi] = N [thetahat; psihat]: (theta, m) are
// the ridge regression of h on the functions kappa mu1_k, mu0_k with weights delta omega,
//
//   minimise  delta E omega (h - mean)^2 + theta^T S theta - 2 theta^T S N_vx psihat,   S = N_vv^{-1},
//
// m unpenalised. S = M_vv^{-1} A with A = I - M_vv B = sum_j a_j M_j e_j (no cancellation, since
// I - M_j B = M_j e_j), and S N_vx = M_vv^{-1} M_vx. For one node S is e itself: the stiffness
// 1/G_kk of theta_k.
template <int KS>
void OrderParameters<KS>::step_b(const Tables& tables, const Regime& regime,
                                 const Resolvent<KS>& step_a) {
  const int K = groups();
  const double delta = regime.delta;
  label_averages(tables, step_a.w_omega.data(), psihat.data());
  for (int k = 0; k < K; ++k) psihat[k] *= delta;

  const bool one_node = regime.bulk.nodes == 1;
  for (int a = 0; a < K * K; ++a) stiffness_[a] = penalty_[a] = 0.0;
  for (int k = 0; k < K; ++k) pull_[k] = penalty_target_[k] = 0.0;
  if (one_node) {
    for (int k = 0; k < K; ++k) {
      stiffness_[k * K + k] = step_a.e(0)[k];
      penalty_[k * K + k] = std::sqrt(step_a.e(0)[k] / delta);
    }
  } else {
    for (int a = 0; a < K * K; ++a) vv_[a] = vx_[a] = system_[a] = 0.0;
    for (int j = 0; j < regime.bulk.nodes; ++j) {
      const double* M = step_a.m(j);
      for (int k = 0; k < K; ++k) {
        for (int l = 0; l < K; ++l) {
          const double entry = M[k * K + l];
          vv_[k * K + l] += regime.bulk.vv[j] * entry;
          vx_[k * K + l] += regime.bulk.vx[j] * entry;
          system_[k * K + l] += regime.bulk.vv[j] * entry * step_a.e(j)[l];
        }
      }
    }
    spd_inverse(vv_.data(), inverse_.data(), penalty_.data(), K);
    for (int k = 0; k < K; ++k) {
      for (int l = 0; l < K; ++l) {
        for (int i = 0; i < K; ++i) {
          const double entry = inverse_[k * K + i] * system_[i * K + l];
          stiffness_[k * K + l] += 0.5 * entry;
          stiffness_[l * K + k] += 0.5 * entry;
          pull_[k] += inverse_[k * K + i] * vx_[i * K + l] * psihat[l];
        }
      }
    }
    // S / delta = L L^T, penalty_ = L^T, and L t = S N_vx psihat / delta.
    for (int a = 0; a < K * K; ++a) system_[a] = stiffness_[a] / delta;
    spd_inverse(system_.data(), inverse_.data(), factor_.data(), K);
    for (int k = 0; k < K; ++k) {
      double target = pull_[k] / delta;
      for (int l = 0; l < k; ++l) target -= factor_[k * K + l] * penalty_target_[l];
      penalty_target_[k] = target / factor_[k * K + k];
      for (int l = 0; l < K; ++l) penalty_[l * K + k] = l <= k ? factor_[k * K + l] : 0.0;
    }
  }
  const std::size_t scratch = static_cast<std::size_t>(2 * K + 1) * fit_length(tables);
  if (columns_.size() < scratch) columns_.resize(scratch);
  fit_signal(tables, step_a.w_omega.data(), penalty_.data(), penalty_target_.data(),
             columns_.data(), triangle_.data());

  amplification_ = std::max(1.0, back_substitute(m.data(), theta.data()));
  // A node's M counts with the largest of its weights.
  double cancelled = 1.0;
  for (int k = 0; k < K; ++k) {
    double size = 0.0;
    for (int j = 0; j < regime.bulk.nodes; ++j) {
      const Bulk& bulk = regime.bulk;
      const double weight =
          std::max({std::fabs(bulk.trace[j]), std::fabs(bulk.vv[j]), std::fabs(bulk.xx[j])});
      size += weight * step_a.m(j)[k * K + k];
    }
    cancelled = std::max(cancelled, size * step_a.b()[k * K + k]);
  }
  if (cancelled > 10.0) {
    amplification_ =
        std::max(amplification_, 4.0 * cancelled * cancelled * step_a.condition(response_.data()));
  }
  // thetahat = S theta - M_vv^{-1} M_vx psihat, then tilde_v = (F^{-1} N hat)_v =
  // thetahat + B theta, and psi = M_vx tilde_v + M_xx psihat.
  for (int k = 0; k < K; ++k) {
    tilde_[k] = -pull_[k];
    for (int l = 0; l < K; ++l) {
      tilde_[k] += (stiffness_[k * K + l] + step_a.b()[k * K + l]) * theta[l];
    }
  }
  for (int k = 0; k < K; ++k) psi[k] = 0.0;
  for (int j = 0; j < regime.bulk.nodes; ++j) {
    const double* M = step_a.m(j);
    for (int k = 0; k < K; ++k) {
      for (int l = 0; l < K; ++l) {
        psi[k] += M[k * K + l] * (regime.bulk.xx[j] * psihat[l] + regime.bulk.vx[j] * tilde_[l]);
      }
    }
  }
}

// (m, theta) from the triangle of the fit; the ratio of the largest to the smallest singular value
// that was inverted.
template <int KS>
double OrderParameters<KS>::back_substitute(double* for_m, double* for_theta) {
  const int K = groups();
  // theta from its own block; a zero pivot is a group without linear part and without stiffness.
  const int count = 2 * K + 1;
  const auto entry = [&](int i, int j) { return triangle_[i * count + j]; };
  for (int k = K - 1; k >= 0; --k) {
    double right = entry(K + k, 2 * K);
    for (int l = k + 1; l < K; ++l) right -= entry(K + k, K + l) * for_theta[l];
    for_theta[k] = entry(K + k, K + k) > 0.0 ? right / entry(K + k, K + k) : 0.0;
  }
  // The block of m is singular when the mu0_k are linearly dependent (an odd activation with
  // u = +-1, or mu0 = 0 without a spike). The minimum-norm m leaves `mean` alone.
  double largest = 0.0;
  for (int k = 0; k < K; ++k) {
    double square = 0.0;
    for (int l = 0; l < K; ++l) square += entry(l, k) * entry(l, k);
    largest = std::max(largest, square);
    pv_[k] = entry(k, 2 * K);
    for (int l = 0; l < K; ++l) {
      pv_[k] -= entry(k, K + l) * for_theta[l];
      system_[k * K + l] = entry(k, l);
    }
  }
  largest = std::sqrt(largest);
  const double cutoff = 1e-13 * largest;
  const double smallest =
      pseudo_solve(system_.data(), pv_.data(), for_m, factor_.data(), K, cutoff);
  // What pseudo_solve leaves: singular vectors in factor_, their values the lengths of the columns.
  dependencies = 0;
  for (int j = 0; j < K; ++j) {
    double square = 0.0;
    for (int i = 0; i < K; ++i) square += system_[i * K + j] * system_[i * K + j];
    if (std::sqrt(square) > cutoff) continue;
    for (int k = 0; k < K; ++k) dependency[dependencies * K + k] = factor_[k * K + j];
    ++dependencies;
  }
  return largest / smallest;
}

template <int KS>
void OrderParameters<KS>::refit(const Tables& tables, const double* pull, double* for_m,
                                double* for_theta) {
  const int K = groups();
  const int count = 2 * K + 1;
  const std::size_t length = fit_length(tables);
  double* right = refit_column(tables);
  // The penalty rows L^T of S / delta = L L^T: their target t solves L t = pull.
  double* target = right + tables.stride;
  for (std::size_t i = 0; tables.stride + i < length; ++i) target[i] = 0.0;
  for (int k = 0; k < K; ++k) {
    target[k] = pull[k];
    for (int l = 0; l < k; ++l) target[k] -= penalty_[l * K + k] * target[l];
    target[k] /= penalty_[k * K + k];
  }
  project_fit(length, 2 * K, columns_.data(), triangle_.data() + 2 * K, count);
  back_substitute(for_m, for_theta);
}

// The signal part of (q1 - psi psi^T, q2): minus the total derivative of
// Psi = hat^T N hat with respect to (B, D), hats fixed, y following B and D through
// y = D + s(B, y). With tilde = F^{-1} N hat,
//   dPsi = theta^T dB theta - sum_j tr[(dB + de_j) Z_j],
//   Z_j  = M_j (a_j tv tv^T + b_j (tv tx^T + tx tv^T) + e_j tx tx^T) M_j,
// (dN = N F^{-1} dF F^{-1} N + N diag(dB, 0) N and dM_j = -M_j (dB + de_j) M_j). For one node
// sum_j Z_j = theta theta^T + psi psi^T.
template <int KS>
void OrderParameters<KS>::signal_source(const Regime& regime, const Resolvent<KS>& step_a) {
  const int K = groups();
  const int P = pair_count(K);
  for (int k = 0; k < K; ++k) {
    pressure_[k] = 0.0;
    for (int l = k; l < K; ++l) {
      source_[pair_index(k, l, K)] = -theta[k] * theta[l] - psi[k] * psi[l];
    }
  }
  for (int j = 0; j < regime.bulk.nodes; ++j) {
    const double* M = step_a.m(j);
    const double* sigma = regime.bulk.value + j * K;
    for (int k = 0; k < K; ++k) {
      pv_[k] = px_[k] = 0.0;
      for (int l = 0; l < K; ++l) {
        pv_[k] += M[k * K + l] * tilde_[l];
        px_[k] += M[k * K + l] * psihat[l];
      }
    }
    const double a = regime.bulk.vv[j];
    const double b = regime.bulk.vx[j];
    const double e = regime.bulk.xx[j];
    for (int k = 0; k < K; ++k) {
      for (int l = k; l < K; ++l) {
        const double z = a * pv_[k] * pv_[l] + b * (pv_[k] * px_[l] + px_[k] * pv_[l]) +
                         e * px_[k] * px_[l];
        source_[pair_index(k, l, K)] += z;
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
// Jacobian J of step A describes, so that with T = T+ + noise^2 - (psi.mu1)^2
//
//   J dx = delta E[f T omega^2] + delta curvature q_signal,    q = q_signal - (dv/dx) dx.
//
// Kept as q - psi psi^T (on the pairs), because T+ is a sum of squares and nothing cancels.
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
  // curvature (q_signal - psi psi^T) combines the two terms that are not T+ or noise.
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
  return errors;
}

}  // namespace spikedrf
