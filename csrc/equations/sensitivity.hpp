// The derivatives of the test error with respect to everything, by one linear solve.
//
// Weigh the training samples by delta omega, as steps A to C do, and every fresh sample by s: the
// readout then minimises train + s test, and by the envelope theorem the test error is the
// derivative of the minimum, test = dPhi/ds at s = 0. That minimum is the stationary value of
//
//   L(x, u, q; s, p) = E[(delta omega + s)(T+ + noise^2)] + P(x, u) - q.(x - f(x)),
//   u = (m, theta, psi),   f(x) = E[f_a (delta omega + s)] + (0; lam + s(x)),
//
// where x = (B, y) solves step A, u step B, and the multiplier of x = f(x) is the q of step C. So
//
//   dtest/dp = d/ds dPhi/dp = d/ds [ dL/dp at fixed (x, u, q) ]:
//
// differentiate the explicit dependence on p, then move the solution along s. The motion
// (x., u., q.) is the same for all p: one more step B with another right-hand side, one solve with
// the Jacobian of step A and one with its transpose. For example dL/dlam = sum_k q2_k, the norm of
// the readout: dtest/dlam = dnorm/ds.
//
//   x.:  J x. = E f,   v. = (dv/dx) x.,   omega. = -chi omega^2 V.
//   u.:  E delta omega phi phi^T u. + S u. = E (delta omega + s). phi res + (pull - S u).
//   q.:  q = -dW/dx (bulk_potential.hpp) with g = chi delta E[f_a omega^2 tau], Lambda = q2, where
//        tau = T+ + noise^2 + q.f; g moves with q by chi delta curvature q., so that
//        J^T q. = -(dW/dx). at q. = 0.
#pragma once

#include "averages/sensitivity_averages.hpp"
#include "equations/bulk_potential.hpp"
#include "equations/order_parameters.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

template <int KS>
class Sensitivity {
  static constexpr int kSize = pair_count(KS) + KS;

 public:
  Sensitivity(int groups, int bulk_nodes, const Latents& latents)
      : r(groups),
        c(groups),
        groups_(groups),
        potential_(groups, bulk_nodes, latents),
        x_dot_(pair_count(groups) + groups),
        v_dot_(pair_count(groups) + groups),
        q_dot_(pair_count(groups) + groups),
        weighted_power_(pair_count(groups) + groups),
        moved_power_(pair_count(groups) + groups),
        psihat_dot_(latents.rest() * groups),
        theta_dot_(latents.columns(groups)),
        psi_dot_(latents.free * groups),
        pull_(theta_dot_.size()),
        m_dot_(groups),
        features_(pair_count(groups) + groups) {}

  // The derivatives of the test error by delta, beta at fixed delta, lam (of the caller: without
  // the scaling of step A) and noise; with `slopes` also by gamma, r_k and c_k as they enter the
  // tables.
  double delta = 0.0, beta = 0.0, lam = 0.0, noise = 0.0, gamma = 0.0;
  Buffer<KS> r, c;
  double response = 0.0;  // E V
  // The derivative along a move of the bulk's values (nodes x K), or of all of it: values, then the
  // weights of the trace and of the forms.
  double along_values(const double* move) const { return along(potential_.by_value, move); }
  double along_bulk(const double* move, int nodes) const {
    double result = along_values(move);
    move += nodes * groups();
    result += along(potential_.by_trace, move);
    return result + along(potential_.by_form, move + nodes);
  }

  // After steps A, B and C for these tables.
  void solve(const Tables& tables, const TableSlopes* slopes, const Regime& regime,
             Resolvent<KS>& step_a, OrderParameters<KS>& order, double noise_sd);

 private:
  int groups() const { return KS > 0 ? KS : groups_; }
  // dL/dp = -dW/dp.
  static double along(const Array<Moving>& by, const double* move) {
    double result = 0.0;
    for (Index i = 0; i < by.size(); ++i) result -= by[i].slope[0] * move[i];
    return result;
  }

  int groups_;
  BulkPotential<KS> potential_;
  Buffer<kSize> x_dot_, v_dot_, q_dot_, weighted_power_, moved_power_;
  Array<double> psihat_dot_, theta_dot_, psi_dot_, pull_;
  Buffer<KS> m_dot_;
  Buffer<kSize, FeatureState> features_;
  SourceNodes nodes_;
};

template <int KS>
void Sensitivity<KS>::solve(const Tables& tables, const TableSlopes* slopes, const Regime& regime,
                            Resolvent<KS>& step_a, OrderParameters<KS>& order, double noise_sd) {
  const int K = groups();
  const int P = pair_count(K);
  const int n = P + K;
  const double* w_omega = step_a.w_omega.data();
  const double* w_omega2 = step_a.w_omega2.data();
  const double feedback = regime.delta * regime.weighting.chi;
  nodes_.reserve(tables);
  response = 0.0;
  for (int a = 0; a < n; ++a) {
    response += step_a.v[a] * tables.mean_feature()[a];
  }

  // x. and v.
  for (int a = 0; a < n; ++a) x_dot_[a] = tables.mean_feature()[a];
  step_a.solve_linear(x_dot_.data());
  for (int a = 0; a < n; ++a) {
    v_dot_[a] = 0.0;
    for (int b = 0; b < n; ++b) v_dot_[a] += step_a.v_slope[a * n + b] * x_dot_[b];
  }
  source_weights(tables, step_a.v.data(), v_dot_.data(), regime.weighting, regime.delta, w_omega,
                 nodes_);

  // u.
  label_averages(tables, nodes_.weight.data(), psihat_dot_.data());
  for (int k = 0; k < K; ++k) {
    for (int l = 0; l < K; ++l) {
      potential_.B[k * K + l] = moving(step_a.b()[k * K + l], x_dot_[pair_index(k, l, K)]);
    }
    potential_.y[k] = moving(step_a.y(k), x_dot_[P + k]);
  }
  for (Index a = 0; a < psihat_dot_.size(); ++a) {
    potential_.psihat[a] = moving(order.psihat[a], psihat_dot_[a]);
  }
  for (Index a = 0; a < pull_.size(); ++a) potential_.theta[a] = order.theta[a];
  potential_.resolve(regime);
  for (Index a = 0; a < pull_.size(); ++a) {
    pull_[a] = potential_.unbalance(static_cast<int>(a)) / regime.delta;
  }
  residuals(tables, order.m.data(), order.theta.data(), order.psi.data(), regime.delta, w_omega,
            nodes_, order.refit_column(tables));
  order.refit(tables, pull_.data(), m_dot_.data(), theta_dot_.data());
  for (Index a = 0; a < pull_.size(); ++a) {
    potential_.theta[a] = moving(order.theta[a], theta_dot_[a]);
  }
  potential_.lift(regime);
  for (Index a = 0; a < psi_dot_.size(); ++a) psi_dot_[a] = potential_.psi[a].slope[0];

  // q.
  residual_power(tables, m_dot_.data(), theta_dot_.data(), psi_dot_.data(), order.q.data(),
                 noise_sd * noise_sd, w_omega2, nodes_, weighted_power_.data(),
                 moved_power_.data());
  const auto differentiate = [&](bool complete) {
    for (int a = 0; complete && a < n; ++a) {
      for (int b = 0; b < n; ++b) moved_power_[a] += step_a.curvature[a * n + b] * q_dot_[b];
    }
    for (int k = 0; k < K; ++k) {
      for (int l = 0; l < K; ++l) {
        const int a = pair_index(k, l, K);
        potential_.Gamma[k * K + l] =
            moving(feedback * weighted_power_[a], feedback * moved_power_[a]);
      }
      potential_.g[k] = moving(feedback * weighted_power_[P + k], feedback * moved_power_[P + k]);
      potential_.Lambda[k] = moving(order.q[P + k], complete ? q_dot_[P + k] : 0.0);
    }
    potential_.differentiate(regime, complete);
  };
  differentiate(false);
  for (int a = 0; a < n; ++a) q_dot_[a] = -potential_.by_x[a].slope[0];
  step_a.solve_transposed(q_dot_.data());
  differentiate(true);

  // dL/dp, moved.
  const SourceSums sums = source_sums(tables, q_dot_.data(), w_omega, w_omega2, nodes_);
  delta = sums.omega_power;
  beta = -potential_.by_beta.slope[0];
  noise = 2.0 * noise_sd * sums.weight;
  // dL/dlam = sum_k q2_k. By homogeneity (resolvent.hpp) lam d/dlam = epsilon d/depsilon, and
  // dL/depsilon = -delta E omega^2 tau: the training error. In the interpolating phase the motion
  // of the norm is a difference of numbers V times as large; that of the training error is not.
  const double by_epsilon = -regime.delta * sums.omega2_power;
  if (regime.weighting.epsilon != 1.0) {  // epsilon = lam / regime.lam
    lam = by_epsilon / regime.lam;
  } else if (response > 10.0 * (1.0 + sums.omega2_size / std::fabs(sums.omega2_power))) {
    lam = by_epsilon / regime.lam;
  } else {
    lam = 0.0;
    for (int k = 0; k < K; ++k) lam += q_dot_[P + k];
  }
  if (slopes == nullptr) return;
  weigh_tables(tables, regime.delta, regime.weighting.chi, w_omega, w_omega2, nodes_);
  gamma = gamma_slope(tables, *slopes, nodes_);
  for (int a = 0; a < n; ++a) features_[a] = {order.q[a], q_dot_[a], step_a.v[a], v_dot_[a]};
  for (int k = 0; k < K; ++k) {
    const GroupState state{order.m[k], m_dot_[k],    order.theta[k],
                           theta_dot_[k], order.psi[k], psi_dot_[k]};
    const GroupSlopes of_group = group_slopes(tables, *slopes, k, state, features_.data(),
                                              regime.delta, w_omega, nodes_);
    r[k] = of_group.r;
    c[k] = of_group.c;
  }
}

}  // namespace spikedrf
