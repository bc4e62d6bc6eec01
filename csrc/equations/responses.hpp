// Step A of theory.md, sections 4 and 10, without its averages over kappa, for a real or a complex
// ridge: from the unknowns to the responses and their derivatives, and from the averages to the
// residual and its Jacobian.
//
// Unknowns x = (B, y): the symmetric K x K matrix B and the vector y_k = 1/g_k. In terms of them
//
//   e_j = diag(y_k / (beta pi_k sigma_kj)) = G_j^{-1},   M_j = (e_j + B)^{-1},   C_j = e_j M_j B,
//   V1 = sum_j w_j M_j / beta,   V2_k = pi_k / y_k,
//   B    = delta E[ mu1 mu1^T omega ],
//   y_k  = lam + delta E[ mu2_k^2 omega ] + s_k,   s_k = sum_j w_j sigma_kj (C_j)_kk.
#pragma once

#include <cmath>
#include <type_traits>

#include "equations/bulk_algebra.hpp"
#include "numerics/array.hpp"
#include "numerics/dense.hpp"

namespace spikedrf {

// KS > 0 fixes the number of groups at compile time; KS = 0 takes it from the constructor. T is
// double, or std::complex<double> for the spectrum.
template <int KS, class T = double>
class Responses {
 protected:
  static constexpr int kPairs = pair_count(KS);
  static constexpr int kSize = kPairs + KS;

  Responses(int groups, int bulk_nodes)
      : groups_(groups),
        y_slope_(groups * size()),
        scale_(size()),
        softness_(groups),
        step_(size()),
        jacobian_(size() * size()),
        mb_(groups * groups),
        x(size()),
        v(size()),
        v_slope(size() * size()),
        s(groups),
        sum(size()),
        curvature(size() * size()),
        nodes_(groups, bulk_nodes),
        pivot_(size()),
        b_(groups * groups) {}

 public:
  int groups() const { return KS > 0 ? KS : groups_; }
  int pairs() const { return pair_count(groups()); }
  int size() const { return pairs() + groups(); }

  // Replaces rhs by (d(x - f)/dx)^{-1} rhs.
  void solve_linear(T* rhs) {
    for (int a = 0; a < size(); ++a) rhs[a] /= scale_[a];
    lu_solve(jacobian_.data(), pivot_.data(), rhs, size());
    for (int a = 0; a < size(); ++a) rhs[a] *= scale_[a];
  }

  // Replaces rhs by (d(x - f)/dx)^{-T} rhs.
  void solve_transposed(T* rhs) {
    for (int a = 0; a < size(); ++a) rhs[a] *= scale_[a];
    lu_solve_transposed(jacobian_.data(), pivot_.data(), rhs, size());
    for (int a = 0; a < size(); ++a) rhs[a] /= scale_[a];
  }

  const BulkNodes<KS, T>& bulk() const { return nodes_; }
  const T* b() const { return b_.data(); }
  T y(int k) const { return x[pairs() + k]; }
  // d s_k / d x_a.
  T s_slope(int k, int a) const { return y_slope_[k * size() + a]; }

 protected:
  // Whether there may be enough groups for the kernels of dense.hpp.
  static constexpr bool kWideSystem = std::is_same_v<T, double> && (KS == 0 || KS > 2);

  bool evaluate(const Regime& regime);
  void compare(const Regime& regime, T lam);
  bool linearise(const Regime& regime, T lam);
  void through_responses();

  int groups_;
  Buffer<KS * kSize, T> y_slope_;
  Buffer<kSize> scale_;
  Buffer<KS> softness_;  // e_k / y_k of a node
  Buffer<kSize, T> step_;
  Buffer<kSize * kSize, T> jacobian_;
  Buffer<KS * KS, T> mb_;

 public:
  Buffer<kSize, T> x, v;
  Buffer<kSize * kSize, T> v_slope;  // d v_a / d x_b
  Buffer<KS, T> s;
  Buffer<kSize, T> sum;  // E f_a omega
  Buffer<kSize * kSize, T> curvature;  // E f_a f_b omega^2

 protected:
  BulkNodes<KS, T> nodes_;
  Array<int> pivot_;
  Buffer<KS * KS, T> b_;
};

// v, s and their derivatives at x. False if e + B is not definite.
template <int KS, class T>
bool Responses<KS, T>::evaluate(const Regime& regime) {
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

  if (!nodes_.resolve(regime, b_.data(), x.data() + P)) return false;
  for (int j = 0; j < regime.bulk.nodes; ++j) {
    const double* sigma = regime.bulk.value + j * K;
    const double w = regime.bulk.weight(j);
    const T* e = nodes_.e(j);
    const T* M = nodes_.m(j);
    for (int k = 0; k < K; ++k) {
      for (int l = 0; l < K; ++l) {
        T product = 0.0;
        for (int i = 0; i < K; ++i) product += M[k * K + i] * b_[i * K + l];
        mb_[k * K + l] = product;
      }
    }
    const double share = w / regime.beta;
    for (int i = 0; i < K; ++i) softness_[i] = 1.0 / (regime.beta * regime.pi[i] * sigma[i]);
    int a = 0;  // of the pair (k, l)
    for (int k = 0; k < K; ++k) {
      const T* M_k = M + k * K;
      for (int l = k; l < K; ++l, ++a) {
        const T* M_l = M + l * K;
        // v_a multiplies f_a once, and V has both V1_kl and V1_lk.
        const double multiple = (k == l ? 1.0 : 2.0) * share;
        v[a] += multiple * M_k[l];
        T* slope = v_slope.data() + a * n;
        int b = 0;  // of the pair (i, q)
        for (int i = 0; i < K; ++i) {
          const T left = multiple * M_k[i];
          const T right = multiple * M_l[i];
          slope[P + i] -= left * M_l[i] * softness_[i];
          slope[b++] -= left * M_l[i];
          for (int q = i + 1; q < K; ++q) slope[b++] -= left * M_l[q] + right * M_k[q];
        }
      }
      // C_kk = e_k (M B)_kk;  dC = P dB P^T - C dG C with P = e M, and C_ki / e_i = (M B)_ik.
      const double weight = w * sigma[k];
      s[k] += weight * e[k] * mb_[k * K + k];
      T* slope = y_slope_.data() + k * n;
      int b = 0;
      for (int i = 0; i < K; ++i) {
        const T along = weight * e[k] * e[k] * M_k[i];
        slope[b++] += along * M_k[i];
        for (int q = i + 1; q < K; ++q) slope[b++] += 2.0 * along * M_k[q];
        slope[P + i] += weight * mb_[i * K + k] * mb_[i * K + k] * softness_[i];
      }
    }
  }
  for (int k = 0; k < K; ++k) {
    v[P + k] = regime.pi[k] / y(k);
    v_slope[(P + k) * n + P + k] = -v[P + k] / y(k);
  }
  return true;
}

// The unit of each unknown, and from the averages at v the residual, in step_, in these units.
template <int KS, class T>
void Responses<KS, T>::compare(const Regime& regime, T lam) {
  const int K = groups();
  const int P = pairs();
  constexpr double kNone = 1e-250;  // a group without linear part: B_kk = 0 and stays 0
  for (int k = 0; k < K; ++k) {
    for (int l = k; l < K; ++l) {
      scale_[pair_index(k, l, K)] =
          std::sqrt(std::abs(b_[k * K + k]) * std::abs(b_[l * K + l])) + kNone;
    }
    scale_[P + k] = std::abs(y(k));
  }
  for (int a = 0; a < size(); ++a) {
    const T right = regime.delta * sum[a] + (a < P ? T(0.0) : lam + s[a - P]);
    step_[a] = (x[a] - right) / scale_[a];
  }
}

// The residual, and the factorised Jacobian of x - f(x),
//   I + delta chi curvature v_slope - (0; ds/dx),
// in the same units.
template <int KS, class T>
bool Responses<KS, T>::linearise(const Regime& regime, T lam) {
  const int P = pairs();
  const int n = size();
  compare(regime, lam);
  const double feedback = regime.delta * regime.weighting.chi;
  if (feedback != 0.0) through_responses();
  for (int a = 0; a < n; ++a) {
    const double unit = 1.0 / scale_[a];
    T* row = jacobian_.data() + a * n;
    for (int b = 0; b < n; ++b) {
      T slope = feedback != 0.0 ? feedback * row[b] : T(0.0);
      if (a >= P) slope -= y_slope_[(a - P) * n + b];
      row[b] = slope * (scale_[b] * unit);
    }
    row[a] += 1.0;
  }
  if constexpr (kWideSystem) {
    if (n >= kWide) return lu_factor_wide(jacobian_.data(), pivot_.data(), n);
  }
  return lu_factor(jacobian_.data(), pivot_.data(), n);
}

// jacobian_ = curvature v_slope. V2 depends on y alone, V2_k on y_k.
template <int KS, class T>
void Responses<KS, T>::through_responses() {
  const int P = pairs();
  const int n = size();
  T* const product = jacobian_.data();
  const auto plain = [&] {
    for (int a = 0; a < n; ++a) {
      for (int b = 0; b < n; ++b) product[a * n + b] = 0.0;
      for (int c = 0; c < P; ++c) {
        const T there = curvature[a * n + c];
        for (int b = 0; b < n; ++b) product[a * n + b] += there * v_slope[c * n + b];
      }
    }
  };
  if constexpr (kWideSystem) {
    if (n >= kWide) {
      multiply_wide(curvature.data(), v_slope.data(), n, P, n, n, product);
    } else {
      plain();
    }
  } else {
    plain();
  }
  for (int a = 0; a < n; ++a) {
    for (int c = P; c < n; ++c) product[a * n + c] += curvature[a * n + c] * v_slope[c * n + c];
  }
}

}  // namespace spikedrf
