// How the equations depend on the bulk: one scalar function and its first derivatives.
//
// Everything that steps A to C take from the bulk is in
//
//   W(x; bulk) = g.v(x) - sum_k Lambda_k s_k(x) - P(x),     x = (B, y),
//
// at fixed g, Lambda, theta, psi, with v and s of step A and the penalty P of step B:
//
//   v_kl = sum_j w_j M_j / beta,   v_k = pi_k / y_k,   s_k = sum_j w_j sigma_kj (C_j)_kk,
//   P    = u^T F^{-1} u - theta^T B theta - psi^T B psi, u = (theta; psi), F of bulk_algebra.hpp
//   (one node: P = sum_k e_k (theta_k^2 + psi_k^2)),
//   M_j = (e_j + B)^{-1},   e_kj = y_k / (beta pi_k sigma_kj),   C_j = e_j M_j B.
//
// The derivatives are written once, in dual numbers: they come out together with how they move
// along one direction, which is what the gradient of the test error is made of (sensitivity.hpp).
// Another description of the bulk needs another file like this one and nothing else.
#pragma once

#include "equations/bulk_algebra.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

template <int KS>
class BulkPotential {
  static constexpr int kPairs = pair_count(KS);
  using Matrix = Buffer<KS * KS, Moving>;
  using Vector = Buffer<KS, Moving>;

 public:
  BulkPotential(int groups, int bulk_nodes, const Latents& latents)
      : B(groups * groups),
        y(groups),
        Gamma(groups * groups),
        g(groups),
        Lambda(groups),
        theta(latents.columns(groups)),
        psi(latents.free * groups),
        psihat(latents.rest() * groups),
        by_x(pair_count(groups) + groups),
        by_value(bulk_nodes * groups),
        by_trace(bulk_nodes),
        by_form(pair_count(latents.directions()) * bulk_nodes),
        groups_(groups),
        nodes_(groups, bulk_nodes),
        forms_(groups, latents),
        mb_(groups * groups),
        mg_(groups * groups),
        by_b_(groups * groups) {}

  // Arguments. Gamma and g are the coefficients of v on the pairs and on the mu2: g_a = Gamma_kl
  // (v_a has both V1_kl and V1_lk).
  Matrix B;
  Vector y;
  Matrix Gamma;
  Vector g, Lambda;
  Array<Moving> theta, psi, psihat;  // as in order_parameters.hpp

  // The derivatives of W by x (packed like x), by beta and by the nodes (by_value: nodes x groups;
  // by_form: pairs of directions x nodes).
  Buffer<kPairs + KS, Moving> by_x;
  Moving by_beta;
  Array<Moving> by_value, by_trace, by_form;

  // 1. With B, y and psihat set: e, M, and the stiffness S and pull of step B. False if something
  // is not definite.
  bool resolve(const Regime& regime) {
    return nodes_.resolve(regime, B.data(), y.data()) &&
           forms_.stiffen(regime, nodes_, B.data(), y.data(), psihat.data());
  }
  // The derivative of (pull - S theta)_a at fixed theta: what the refit of (m, theta) wants.
  double unbalance(int a) const {
    const int C = static_cast<int>(theta.size());
    double result = forms_.pull[a].slope[0];
    for (int b = 0; b < C; ++b) result -= forms_.stiffness[a * C + b].slope[0] * theta[b].value;
    return result;
  }
  // 2. With theta set: psi.
  void lift(const Regime& regime) {
    forms_.lift(regime, nodes_, B.data(), theta.data(), psihat.data(), psi.data());
  }
  // (S theta - pull)_a, the force that step B balances.
  Moving tension(int a) const {
    const int C = static_cast<int>(theta.size());
    Moving result = -forms_.pull[a];
    for (int b = 0; b < C; ++b) result += forms_.stiffness[a * C + b] * theta[b];
    return result;
  }
  // 3. With Gamma, g and Lambda set: by_x, and with `all` the other derivatives.
  void differentiate(const Regime& regime, bool all);

 private:
  int groups() const { return KS > 0 ? KS : groups_; }

  int groups_;
  BulkNodes<KS, Moving> nodes_;
  BulkForms<KS, Moving> forms_;
  Matrix mb_, mg_, by_b_;
};

// With H = M Gamma M, D = diag(w Lambda sigma e^2) and Z_j of OrderParameters::signal_source,
//   dW/dB   = -sum_j [ w_j H_j / beta + M_j D_j M_j + Z_j ] + sum_l P_l P_l^T,
//   dW/de_i = -w H_ii / beta - sum_k w Lambda_k sigma_k (M B)_ik^2 - Z_ii
// (dC = P dB P^T + (M B)^T de (M B), P = e M). One node: Z = sum_l P_l P_l^T, dP/dB = 0.
template <int KS>
void BulkPotential<KS>::differentiate(const Regime& regime, bool all) {
  const int K = groups();
  const int P = pair_count(K);
  const Bulk& bulk = regime.bulk;
  const Latents& latents = forms_.latents();
  const bool one_node = bulk.nodes == 1;
  for (int k = 0; k < K; ++k) {
    for (int l = 0; l < K; ++l) {
      Moving& entry = by_b_[k * K + l];
      entry = Moving();
      for (int n = 0; n < latents.directions() && !one_node; ++n) {
        const Moving* overlap = n < latents.coupled ? theta.data() + n * K
                                                    : psi.data() + (n - latents.coupled) * K;
        entry += overlap[k] * overlap[l];
      }
    }
    by_x[P + k] = -g[k] * regime.pi[k] / (y[k] * y[k]);
  }
  by_beta = Moving();
  for (int j = 0; j < bulk.nodes; ++j) {
    const double* sigma = bulk.value + j * K;
    const double w = bulk.weight(j);
    const double share = w / regime.beta;
    const Moving* M = nodes_.m(j);
    const Moving* stiff = nodes_.e(j);
    forms_.see(bulk, nodes_, j);
    for (int k = 0; k < K; ++k) {
      for (int l = 0; l < K; ++l) {
        Moving with_b, with_gamma;
        for (int i = 0; i < K; ++i) {
          with_b += M[k * K + i] * B[i * K + l];
          with_gamma += M[k * K + i] * Gamma[i * K + l];
        }
        mb_[k * K + l] = with_b;
        mg_[k * K + l] = with_gamma;
      }
    }
    Moving trace;  // tr(Gamma M) / beta - sum_k Lambda_k sigma_k C_kk
    for (int k = 0; k < K; ++k) {
      trace += mg_[k * K + k] / regime.beta;
      trace -= Lambda[k] * sigma[k] * stiff[k] * mb_[k * K + k];
    }
    for (int k = 0; k < K; ++k) {
      for (int l = k; l < K; ++l) {
        Moving entry;
        for (int i = 0; i < K; ++i) {
          entry += share * mg_[k * K + i] * M[i * K + l];
          entry += w * sigma[i] * Lambda[i] * (stiff[i] * M[k * K + i]) * (stiff[i] * M[i * K + l]);
        }
        if (!one_node) entry += forms_.pressure(bulk, j, k, l);
        by_b_[k * K + l] -= entry;
      }
      Moving by_e = -forms_.pressure(bulk, j, k, k);
      for (int i = 0; i < K; ++i) {
        by_e -= share * mg_[k * K + i] * M[i * K + k];
        by_e -= w * sigma[i] * Lambda[i] * mb_[k * K + i] * mb_[k * K + i];
      }
      by_x[P + k] += by_e / (regime.beta * regime.pi[k] * sigma[k]);
      if (!all) continue;
      const Moving with_e = by_e * stiff[k];
      by_beta -= (with_e + share * mg_[k * K + k]) / regime.beta;
      by_value[j * K + k] = -with_e / sigma[k] - w * Lambda[k] * stiff[k] * mb_[k * K + k];
    }
    if (!all) continue;
    by_trace[j] = trace;
    for (int l = 0; l < latents.directions(); ++l) {
      for (int n = l; n < latents.directions(); ++n) {
        const int row = pair_index(l, n, latents.directions());
        by_form[row * bulk.nodes + j] = forms_.by_form(l, n);
      }
    }
  }
  if (latents.lengths) {
    for (int k = 0; k < K; ++k) {
      const Moving& length = forms_.stretch[k];
      const Moving by_y =
          -(regime.beta * regime.pi[k] * bulk.independent(k)) * length * length / (y[k] * y[k]);
      by_x[P + k] += by_y;
      if (all) by_beta -= by_y * y[k] / regime.beta;
    }
  }
  for (int k = 0; k < K; ++k) {
    for (int l = k; l < K; ++l) {
      by_x[pair_index(k, l, K)] = (k == l ? 1.0 : 2.0) * by_b_[k * K + l];
    }
  }
}

}  // namespace spikedrf
