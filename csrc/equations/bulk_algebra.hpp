// What the equations ask of a bulk, once for every kind of number: double, dual numbers
// (derivatives) and complex ones (spectra).
//
// Every answer is an average over its nodes j of functions of
//
//   e_j = diag(y_k / (beta pi_k sigma_kj)),   M_j = (e_j + B)^{-1},
//
// with the weights w_j of the trace (responses.hpp, bulk_potential.hpp) or the matrix weights A_j
// of the latent directions, which are here:
//
//   F = sum_j A_j (x) M_j,   N = (F^{-1} - I (x) B)^{-1}   (the directions are not the bulk's)
//
// and P = N Phat, step B. Divide the directions into coupled and free ones (latents.hpp). In a free
// one the feedback -B P of a column's own variance undoes I (x) B, so that tilde = F^{-1} P is the
// known psihat there, and for the coupled ones there remain
//
//   S P - pull = forces of the columns,   S = F_cc^{-1} - (B in the directions of the spikes),
//   pull = F_cc^{-1} F_cf psihat_f + (psihat in the other coupled directions).
//
// F^{-1} - I (x) B = F^{-1} sum_j A_j (x) M_j e_j has no cancellation, since I - M_j B = M_j e_j.
// For one node it is I (x) e: the stiffness 1/G_kk of theta_k.
//
// Columns of lengths, *, are independent of the bulk, F_** = beta pi g, or are correlated with it,
//
//   F_l* = sum_j M_jki cross_j(l, i),   F_** = sum_j M_jki own_j(k, i) + diag(beta pi g left):
//
// coupled columns whose feedback is nobody's.
#pragma once

#include <cmath>
#include <complex>

#include "equations/regime.hpp"
#include "numerics/array.hpp"
#include "numerics/dual.hpp"
#include "numerics/small_matrix.hpp"
#include "tables/latents.hpp"

namespace spikedrf {

using Moving = Dual<1>;  // a value and its derivative along a direction
using Complex = std::complex<double>;

// KS > 0 fixes the number of groups at compile time; KS = 0 takes it from the constructor.
template <int KS, class T>
class BulkNodes {
 public:
  BulkNodes(int groups, int nodes)
      : groups_(groups),
        m_(nodes * groups * groups),
        e_(nodes * groups),
        sum_(groups * groups),
        factor_(groups * groups) {}

  const T* m(int j) const { return m_.data() + j * groups() * groups(); }
  const T* e(int j) const { return e_.data() + j * groups(); }

  // At x = (B, y). False if e + B is not definite.
  bool resolve(const Regime& regime, const T* B, const T* y) {
    const int K = groups();
    for (int j = 0; j < regime.bulk.nodes; ++j) {
      T* e = e_.data() + j * K;
      for (int a = 0; a < K * K; ++a) sum_[a] = B[a];
      for (int k = 0; k < K; ++k) {
        e[k] = y[k] / (regime.beta * regime.pi[k] * regime.bulk.value[j * K + k]);
        sum_[k * K + k] += e[k];
      }
      if (!definite_inverse(sum_.data(), m_.data() + j * K * K, factor_.data(), K)) return false;
    }
    return true;
  }

 private:
  int groups() const { return KS > 0 ? KS : groups_; }

  int groups_;
  Array<T> m_, e_;
  Buffer<KS * KS, T> sum_, factor_;
};

template <int KS, class T>
class BulkForms {
 public:
  BulkForms(int groups, const Latents& latents)
      : groups_(groups), latents_(latents), columns_(latents.columns(groups)) {
    const Index K = groups;
    const Index L = latents.directions();
    const Index C = columns_;
    stiffness.assign(C * C, T());
    for (auto* matrix : {&forms_, &inverse_, &factor_, &with_e_}) matrix->assign(C * C, T());
    for (auto* vector : {&pull, &right_}) vector->assign(C, T());
    for (auto* vector : {&tilde, &seen_}) vector->assign(L * K, T());
    for (auto* matrix : {&weight_, &with_m_, &strain_}) matrix->assign(K * K, T());
    stretch.assign(latents.lengths ? K : 0, T());
  }

  Array<T> stiffness, pull;  // S (columns x columns, symmetric), pull (columns)
  Array<T> tilde;            // F^{-1} P, directions x groups
  Array<T> stretch;          // the same of the columns of lengths

  // S and pull; psihat holds rows for the directions that kappa does not fix.
  bool stiffen(const Regime& regime, const BulkNodes<KS, T>& nodes, const T* B, const T* y,
               const T* psihat) {
    const int K = groups();
    const int C = columns_;
    const Bulk& bulk = regime.bulk;
    const int first = latents_.coupled * K;  // of the columns of lengths
    const int size = bulk.correlated() ? C : first;
    for (int a = 0; a < C * C; ++a) stiffness[a] = T();
    for (int a = 0; a < C; ++a) pull[a] = T();
    if (bulk.nodes == 1) {
      for (int a = 0; a < size; ++a) stiffness[a * C + a] = nodes.e(0)[a % K];
    } else {
      for (int a = 0; a < size * size; ++a) forms_[a] = with_e_[a] = T();
      for (int a = 0; a < size; ++a) right_[a] = T();
      for (int j = 0; j < bulk.nodes; ++j) {
        const T* M = nodes.m(j);
        const T* e = nodes.e(j);
        for (int l = 0; l < latents_.coupled; ++l) {
          for (int n = 0; n < latents_.coupled; ++n) {
            const double form = bulk.form(l, n, j);
            for (int k = 0; k < K; ++k) {
              for (int i = 0; i < K; ++i) {
                const int entry = (l * K + k) * size + n * K + i;
                const T weighted = form * M[k * K + i];
                forms_[entry] += weighted;
                with_e_[entry] += weighted * e[i];
              }
            }
          }
          for (int f = 0; f < latents_.free; ++f) {
            const double form = bulk.form(l, latents_.coupled + f, j);
            const T* hat = free_psihat(psihat, f);
            for (int k = 0; k < K; ++k) {
              for (int i = 0; i < K; ++i) right_[l * K + k] += form * M[k * K + i] * hat[i];
            }
          }
        }
        if (!bulk.correlated()) continue;
        for (int k = 0; k < K; ++k) {
          for (int i = 0; i < K; ++i) {
            const T entry = M[k * K + i];
            forms_[(first + k) * size + first + i] += bulk.own(k, i, j, K) * entry;
            for (int l = 0; l < latents_.coupled; ++l) {
              const T weighted = bulk.cross(l, i, j, K) * entry;
              forms_[(l * K + k) * size + first + i] += weighted;
              forms_[(first + i) * size + l * K + k] += weighted;
              // - F_*l B, written by columns of B.
              for (int n = 0; n < K; ++n) {
                with_e_[(first + i) * size + l * K + n] -= weighted * B[k * K + n];
              }
            }
            for (int f = 0; f < latents_.free; ++f) {
              right_[first + i] += bulk.cross(latents_.coupled + f, i, j, K) * entry *
                                   free_psihat(psihat, f)[k];
            }
          }
        }
      }
      for (int a = first; a < size; ++a) {
        const int k = a - first;
        forms_[a * size + a] += regime.beta * regime.pi[k] * bulk.left[k] / y[k];
        with_e_[a * size + a] = 1.0;
      }
      if (!definite_inverse(forms_.data(), inverse_.data(), factor_.data(), size)) return false;
      for (int a = 0; a < size; ++a) {
        for (int b = 0; b < size; ++b) {
          T entry = T();
          for (int i = 0; i < size; ++i) entry += inverse_[a * size + i] * with_e_[i * size + b];
          stiffness[a * C + b] += 0.5 * entry;
          stiffness[b * C + a] += 0.5 * entry;
          pull[a] += inverse_[a * size + b] * right_[b];
        }
      }
    }
    for (int l = latents_.spans; l < latents_.coupled; ++l) {
      for (int k = 0; k < K; ++k) {
        pull[l * K + k] += psihat[(l - latents_.spans) * K + k];
        for (int i = 0; i < K; ++i) stiffness[(l * K + k) * C + l * K + i] += B[k * K + i];
      }
    }
    // Independent columns of lengths are scaled to a variance of 1/d of their weights.
    for (int a = size; a < C; ++a) {
      stiffness[a * C + a] = y[a - size] / (regime.beta * regime.pi[a - size]);
    }
    return true;
  }

  // tilde, and from it psi = P in the free directions; theta is P in the coupled ones.
  void lift(const Regime& regime, const BulkNodes<KS, T>& nodes, const T* B, const T* theta,
            const T* psihat, T* psi) {
    const int K = groups();
    const int C = columns_;
    const Bulk& bulk = regime.bulk;
    const int first = latents_.coupled * K;
    const int size = bulk.correlated() ? C : first;
    for (int a = first; a < C; ++a) {
      stretch[a - first] = -pull[a];
      for (int b = 0; b < C; ++b) stretch[a - first] += stiffness[a * C + b] * theta[b];
    }
    for (int l = 0; l < latents_.coupled; ++l) {
      const bool spike = l < latents_.spans;
      for (int k = 0; k < K; ++k) {
        T& entry = tilde[l * K + k];
        entry = -pull[l * K + k];
        if (!spike) entry += psihat[(l - latents_.spans) * K + k];
        for (int a = 0; a < size; ++a) entry += stiffness[(l * K + k) * C + a] * theta[a];
        for (int i = 0; i < K && spike; ++i) entry += B[k * K + i] * theta[l * K + i];
      }
    }
    for (int f = 0; f < latents_.free; ++f) {
      const T* hat = free_psihat(psihat, f);
      for (int k = 0; k < K; ++k) {
        tilde[(latents_.coupled + f) * K + k] = hat[k];
        psi[f * K + k] = T();
      }
    }
    for (int j = 0; j < bulk.nodes; ++j) {
      see(bulk, nodes, j);
      for (int f = 0; f < latents_.free; ++f) {
        for (int l = 0; l < latents_.directions(); ++l) {
          const double form = bulk.form(latents_.coupled + f, l, j);
          for (int k = 0; k < K; ++k) psi[f * K + k] += form * seen_[l * K + k];
        }
        for (int k = 0; k < K && bulk.correlated(); ++k) {
          for (int i = 0; i < K; ++i) {
            const double form = bulk.cross(latents_.coupled + f, i, j, K);
            psi[f * K + k] += form * nodes.m(j)[k * K + i] * stretch[i];
          }
        }
      }
    }
  }

  // M_j tilde for every direction, and what the lengths add to the pressure: comes before the next
  // three.
  void see(const Bulk& bulk, const BulkNodes<KS, T>& nodes, int j) {
    const int K = groups();
    const T* M = nodes.m(j);
    for (int l = 0; l < latents_.directions(); ++l) {
      for (int k = 0; k < K; ++k) {
        T sum = T();
        for (int i = 0; i < K; ++i) sum += M[k * K + i] * tilde[l * K + i];
        seen_[l * K + k] = sum;
      }
    }
    if (!bulk.correlated()) return;
    for (int k = 0; k < K; ++k) {
      for (int i = 0; i < K; ++i) {
        T sum = bulk.own(k, i, j, K) * stretch[k] * stretch[i];
        for (int l = 0; l < latents_.directions(); ++l) {
          sum += bulk.cross(l, i, j, K) * tilde[l * K + k] * stretch[i] +
                 bulk.cross(l, k, j, K) * tilde[l * K + i] * stretch[k];
        }
        weight_[k * K + i] = sum;
      }
    }
    multiply(M, weight_.data(), with_m_.data(), K);
    multiply(with_m_.data(), M, strain_.data(), K);
  }
  // Of Psi = Phat^T N Phat at fixed Phat the part of -dPsi/d(e_j + B)_kl that is this node's.
  T pressure(const Bulk& bulk, int j, int k, int l) const {
    const int K = groups();
    T sum = bulk.correlated() ? strain_[k * K + l] : T();
    for (int n = 0; n < latents_.directions(); ++n) {
      sum += bulk.form(n, n, j) * seen_[n * K + k] * seen_[n * K + l];
      for (int i = n + 1; i < latents_.directions() && bulk.nodes > 1; ++i) {
        sum += bulk.form(n, i, j) *
               (seen_[n * K + k] * seen_[i * K + l] + seen_[i * K + k] * seen_[n * K + l]);
      }
    }
    return sum;
  }
  // d/d(A_j)_ln of tilde^T F tilde.
  T by_form(int l, int n) const {
    T sum = T();
    for (int k = 0; k < groups(); ++k) sum += tilde[l * groups() + k] * seen_[n * groups() + k];
    return l == n ? sum : 2.0 * sum;
  }

  const Latents& latents() const { return latents_; }

 private:
  int groups() const { return KS > 0 ? KS : groups_; }
  static void multiply(const T* a, const T* b, T* out, int K) {
    for (int k = 0; k < K; ++k) {
      for (int i = 0; i < K; ++i) {
        T sum = T();
        for (int n = 0; n < K; ++n) sum += a[k * K + n] * b[n * K + i];
        out[k * K + i] = sum;
      }
    }
  }
  const T* free_psihat(const T* psihat, int f) const {
    return psihat + (latents_.coupled - latents_.spans + f) * groups();
  }

  int groups_;
  Latents latents_;
  int columns_;
  Array<T> forms_, inverse_, factor_, with_e_, right_, seen_, weight_, with_m_, strain_;
};

}  // namespace spikedrf
