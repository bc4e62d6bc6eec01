// How the equations depend on the bulk: one scalar function and its first derivatives.
//
// Everything that steps A to C take from the bulk is in
//
//   W(x; bulk) = g.v(x) - sum_k Lambda_k s_k(x) - P(x),     x = (B, y),
//
// at fixed g, Lambda, theta, psi, with v and s of step A and the penalty P of step B:
//
//   v_kl = sum_j w_j M_j / beta,   v_k = pi_k / y_k,   s_k = sum_j w_j sigma_kj (C_j)_kk,
//   P    = u^T F^{-1} u - theta^T B theta - psi^T B psi,   u = (theta; psi),   F of section 10
//   (one node: P = sum_k e_k (theta_k^2 + psi_k^2)),
//   M_j = (e_j + B)^{-1},   e_kj = y_k / (beta pi_k sigma_kj),   C_j = e_j M_j B.
//
// The derivatives are written once, in dual numbers: they come out together with how they move
// along one direction, which is what the gradient of the test error is made of (sensitivity.hpp).
// Another description of the bulk needs another file like this one and nothing else.
#pragma once

#include <vector>

#include "equations/resolvent.hpp"
#include "numerics/dual.hpp"

namespace spikedrf {

using Moving = Dual<1>;  // a value and its derivative along the direction

inline Moving moving(double value, double slope) {
  Moving result(value);
  result.slope[0] = slope;
  return result;
}

template <int KS>
class BulkPotential {
  static constexpr int kPairs = pair_count(KS);
  using Matrix = Buffer<KS * KS, Moving>;
  using Vector = Buffer<KS, Moving>;

 public:
  BulkPotential(int groups, int bulk_nodes)
      : B(groups * groups),
        y(groups),
        Gamma(groups * groups),
        g(groups),
        Lambda(groups),
        theta(groups),
        psi(groups),
        psihat(groups),
        by_x(pair_count(groups) + groups),
        by_value(static_cast<std::size_t>(bulk_nodes * groups)),
        by_trace(static_cast<std::size_t>(bulk_nodes)),
        by_vv(static_cast<std::size_t>(bulk_nodes)),
        by_vx(static_cast<std::size_t>(bulk_nodes)),
        by_xx(static_cast<std::size_t>(bulk_nodes)),
        groups_(groups),
        m_(static_cast<std::size_t>(bulk_nodes * groups * groups)),
        e_(static_cast<std::size_t>(bulk_nodes * groups)),
        tilde_(groups),
        pull_(groups),
        pv_(groups),
        px_(groups),
        stiffness_(groups * groups),
        mb_(groups * groups),
        mg_(groups * groups),
        by_b_(groups * groups),
        inverse_(groups * groups),
        scratch_(groups * groups) {}

  // Arguments. Gamma and g are the coefficients of v on the pairs and on the mu2: g_a = Gamma_kl
  // (v_a has both V1_kl and V1_lk).
  Matrix B;
  Vector y;
  Matrix Gamma;
  Vector g, Lambda, theta, psi, psihat;

  // The derivatives of W by x (packed like x), by beta and by the nodes (by_value: nodes x groups).
  Buffer<kPairs + KS, Moving> by_x;
  Moving by_beta;
  std::vector<Moving> by_value, by_trace, by_vv, by_vx, by_xx;

  // 1. With B, y and psihat set: e, M, and the stiffness S and pull of step B.
  void resolve(const Regime& regime, const Resolvent<KS>& step_a);
  // The derivative of (pull - S theta)_k at fixed theta: what the refit of (m, theta) wants.
  double unbalance(int k) const {
    double result = pull_[k].slope[0];
    for (int l = 0; l < groups(); ++l) {
      result -= stiffness_[k * groups() + l].slope[0] * theta[l].value;
    }
    return result;
  }
  // 2. With theta set: psi, and with it
  void lift(const Regime& regime);
  // (S theta - pull)_k, the force that step B balances.
  Moving tension(int k) const {
    Moving result = tilde_[k];
    for (int l = 0; l < groups(); ++l) result -= B[k * groups() + l] * theta[l];
    return result;
  }
  // 3. With Gamma, g and Lambda set: by_x, and with `all` the other derivatives.
  void differentiate(const Regime& regime, bool all);

 private:
  int groups() const { return KS > 0 ? KS : groups_; }
  const Moving* m(int j) const { return m_.data() + j * groups() * groups(); }
  const Moving* e(int j) const { return e_.data() + j * groups(); }

  int groups_;
  std::vector<Moving> m_, e_;
  Vector tilde_, pull_, pv_, px_;
  Matrix stiffness_, mb_, mg_, by_b_;
  Buffer<KS * KS> inverse_, scratch_;
};

template <int KS>
void BulkPotential<KS>::resolve(const Regime& regime, const Resolvent<KS>& step_a) {
  const int K = groups();
  const Bulk& bulk = regime.bulk;
  for (int j = 0; j < bulk.nodes; ++j) {
    Moving* M = m_.data() + j * K * K;
    Moving* stiff = e_.data() + j * K;
    for (int k = 0; k < K; ++k) {
      stiff[k] = y[k] / (regime.beta * regime.pi[k] * bulk.value[j * K + k]);
    }
    // M is known from step A and moves by -M (dB + de) M.
    const double* known = step_a.m(j);
    for (int k = 0; k < K; ++k) {
      for (int l = 0; l < K; ++l) {
        double product = 0.0;
        for (int i = 0; i < K; ++i) {
          const double moved = B[i * K + l].slope[0] + (i == l ? stiff[l].slope[0] : 0.0);
          product += known[k * K + i] * moved;
        }
        scratch_[k * K + l] = product;
      }
    }
    for (int k = 0; k < K; ++k) {
      for (int l = 0; l < K; ++l) {
        double product = 0.0;
        for (int i = 0; i < K; ++i) product += scratch_[k * K + i] * known[i * K + l];
        M[k * K + l] = moving(known[k * K + l], -product);
      }
    }
  }
  for (int a = 0; a < K * K; ++a) stiffness_[a] = Moving();
  for (int k = 0; k < K; ++k) pull_[k] = Moving();
  if (bulk.nodes == 1) {
    for (int k = 0; k < K; ++k) stiffness_[k * K + k] = e(0)[k];
    return;
  }
  // S = M_vv^{-1} sum_j a_j M_j e_j (symmetric) and pull = M_vv^{-1} M_vx psihat.
  Matrix& vv = mb_;
  Matrix& vx = mg_;
  Matrix& ve = by_b_;
  for (int a = 0; a < K * K; ++a) vv[a] = vx[a] = ve[a] = Moving();
  for (int j = 0; j < bulk.nodes; ++j) {
    for (int k = 0; k < K; ++k) {
      for (int l = 0; l < K; ++l) {
        const Moving& entry = m(j)[k * K + l];
        vv[k * K + l] += bulk.vv[j] * entry;
        vx[k * K + l] += bulk.vx[j] * entry;
        ve[k * K + l] += bulk.vv[j] * entry * e(j)[l];
      }
    }
  }
  Buffer<KS * KS> value(K * K), factor(K * K);
  for (int a = 0; a < K * K; ++a) value[a] = vv[a].value;
  spd_inverse(value.data(), inverse_.data(), factor.data(), K);
  const auto inverse_times = [&](int k, const auto& right) {
    // (M_vv^{-1} right)_k, where M_vv^{-1} moves by -M_vv^{-1} dM_vv M_vv^{-1}.
    Moving result;
    for (int i = 0; i < K; ++i) {
      result += inverse_[k * K + i] * right(i);
      for (int l = 0; l < K; ++l) {
        double known = 0.0;
        for (int n = 0; n < K; ++n) known += inverse_[l * K + n] * right(n).value;
        result.slope[0] -= inverse_[k * K + i] * vv[i * K + l].slope[0] * known;
      }
    }
    return result;
  };
  for (int k = 0; k < K; ++k) {
    pull_[k] = inverse_times(k, [&](int i) {
      Moving sum;
      for (int l = 0; l < K; ++l) sum += vx[i * K + l] * psihat[l];
      return sum;
    });
    for (int l = 0; l < K; ++l) {
      const Moving entry = inverse_times(k, [&](int i) { return ve[i * K + l]; });
      stiffness_[k * K + l] += 0.5 * entry;
      stiffness_[l * K + k] += 0.5 * entry;
    }
  }
}

// psi = M_vx tilde_v + M_xx psihat with tilde_v = (S + B) theta - pull.
template <int KS>
void BulkPotential<KS>::lift(const Regime& regime) {
  const int K = groups();
  const Bulk& bulk = regime.bulk;
  for (int k = 0; k < K; ++k) {
    psi[k] = Moving();
    tilde_[k] = -pull_[k];
    for (int l = 0; l < K; ++l) {
      tilde_[k] += (stiffness_[k * K + l] + B[k * K + l]) * theta[l];
    }
  }
  for (int j = 0; j < bulk.nodes; ++j) {
    for (int k = 0; k < K; ++k) {
      for (int l = 0; l < K; ++l) {
        psi[k] += m(j)[k * K + l] * (bulk.xx[j] * psihat[l] + bulk.vx[j] * tilde_[l]);
      }
    }
  }
}

// With H = M Gamma M, D = diag(w Lambda sigma e^2) and, for several nodes, Z_j of
// OrderParameters::signal_source,
//   dW/dB   = -sum_j [ w_j H_j / beta + M_j D_j M_j + Z_j ] + theta theta^T + psi psi^T,
//   dW/de_i = -w H_ii / beta - sum_k w Lambda_k sigma_k (M B)_ik^2 - Z_ii
// (dC = P dB P^T + (M B)^T de (M B), P = e M). One node: Z = theta theta^T + psi psi^T, dP/dB = 0.
template <int KS>
void BulkPotential<KS>::differentiate(const Regime& regime, bool all) {
  const int K = groups();
  const int P = pair_count(K);
  const Bulk& bulk = regime.bulk;
  const bool one_node = bulk.nodes == 1;
  for (int k = 0; k < K; ++k) {
    for (int l = 0; l < K; ++l) {
      by_b_[k * K + l] = one_node ? Moving() : theta[k] * theta[l] + psi[k] * psi[l];
    }
    by_x[P + k] = -g[k] * regime.pi[k] / (y[k] * y[k]);
  }
  by_beta = Moving();
  for (int j = 0; j < bulk.nodes; ++j) {
    const double* sigma = bulk.value + j * K;
    const double w = bulk.trace[j];
    const double share = w / regime.beta;
    const Moving* M = m(j);
    const Moving* stiff = e(j);
    for (int k = 0; k < K; ++k) {
      pv_[k] = px_[k] = Moving();
      for (int l = 0; l < K; ++l) {
        Moving with_b, with_gamma;
        for (int i = 0; i < K; ++i) {
          with_b += M[k * K + i] * B[i * K + l];
          with_gamma += M[k * K + i] * Gamma[i * K + l];
        }
        mb_[k * K + l] = with_b;
        mg_[k * K + l] = with_gamma;
        if (!one_node) {
          pv_[k] += M[k * K + l] * tilde_[l];
          px_[k] += M[k * K + l] * psihat[l];
        }
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
        if (!one_node) {
          entry += bulk.vv[j] * pv_[k] * pv_[l] + bulk.xx[j] * px_[k] * px_[l] +
                   bulk.vx[j] * (pv_[k] * px_[l] + px_[k] * pv_[l]);
        }
        by_b_[k * K + l] -= entry;
      }
      Moving by_e = one_node ? -theta[k] * theta[k] - psi[k] * psi[k]
                             : -bulk.vv[j] * pv_[k] * pv_[k] - bulk.xx[j] * px_[k] * px_[k] -
                                   2.0 * bulk.vx[j] * pv_[k] * px_[k];
      for (int i = 0; i < K; ++i) {
        by_e -= share * mg_[k * K + i] * M[i * K + k];
        by_e -= w * sigma[i] * Lambda[i] * mb_[k * K + i] * mb_[k * K + i];
      }
      by_x[P + k] += by_e / (regime.beta * regime.pi[k] * sigma[k]);
      if (!all) continue;
      const Moving with_e = by_e * stiff[k];
      by_beta -= (with_e + share * mg_[k * K + k]) / regime.beta;
      by_value[static_cast<std::size_t>(j * K + k)] =
          -with_e / sigma[k] - w * Lambda[k] * stiff[k] * mb_[k * K + k];
    }
    if (!all) continue;
    const auto at = static_cast<std::size_t>(j);
    by_trace[at] = trace;
    by_vv[at] = by_vx[at] = by_xx[at] = Moving();
    for (int k = 0; k < K; ++k) {
      by_vv[at] += tilde_[k] * pv_[k];
      by_vx[at] += 2.0 * tilde_[k] * px_[k];
      by_xx[at] += psihat[k] * px_[k];
    }
  }
  for (int k = 0; k < K; ++k) {
    for (int l = k; l < K; ++l) {
      by_x[pair_index(k, l, K)] = (k == l ? 1.0 : 2.0) * by_b_[k * K + l];
    }
  }
}

}  // namespace spikedrf
