#include "equations/objective.hpp"

#include "numerics/lanes.hpp"
#include "numerics/small_matrix.hpp"

namespace spikedrf {

void add_table_slopes(const Tables& tables, const TableSlopes& slopes, const FieldWeights& weights,
                      const FieldState& state, double* r, double* c) {
  const int K = tables.groups;
  const int P = pair_count(K);
  const Index n = tables.nodes;
  const double* const kappa = slopes.kappa();
  const auto weight = [](const double* row, Index i) { return row ? row[i] : 0.0; };
  for (int k = 0; k < K; ++k) {
    const auto tail = (P + k);
    for (Index i = 0; i < n; ++i) {
      const double of_V = weight(weights.V, i);
      const double of_t = weight(weights.t, i);
      const double of_mean = weight(weights.mean, i);
      double of_mu1 = of_mean * state.theta[k] * kappa[i] +
                      weight(weights.s, i) * state.psi[k];
      for (int l = 0; l < K; ++l) {
        const auto a = (pair_index(k, l, K));
        of_mu1 += (k == l ? 2.0 : 1.0) * tables.mu1(l)[i] * (of_V * state.v[a] + of_t * state.q[a]);
      }
      const double of_mu0 = of_mean * state.m[k];
      const double of_mu2 = of_V * state.v[tail] + of_t * state.q[tail];
      r[k] += of_mu0 * tables.kappa_mu1(k)[i] + of_mu1 * slopes.mu1_r(k)[i] +
              of_mu2 * slopes.mu2_r(k)[i];
      c[k] += of_mu0 * slopes.mu0_c(k)[i] + of_mu1 * slopes.mu1_c(k)[i] +
              of_mu2 * slopes.mu2_c(k)[i];
    }
  }
}

Objective gather(const Tables& tables, const TableSlopes* slopes,
                 const Array<NodeObjective>& nodes, const FieldState& state) {
  const int K = tables.groups;
  Objective result;
  Array<double> mean(tables.stride, 0.0), s(tables.stride, 0.0), t(tables.stride, 0.0);
  for (Index i = 0; i < tables.nodes; ++i) {
    const double w = tables.weight()[i];
    result.value += w * nodes[i].value;
    result.labels.add(w, nodes[i].labels);
    mean[i] = w * nodes[i].mean;
    s[i] = w * nodes[i].s;
    t[i] = w * nodes[i].t;
  }
  const auto along = [&](const Array<double>& weights, const double* function) {
    return dot(weights.data(), function, tables.stride);
  };
  for (int k = 0; k < K; ++k) {
    result.by.m.push_back(along(mean, tables.mu0(k)));
    result.by.theta.push_back(along(mean, tables.kappa_mu1(k)));
    result.by.psi.push_back(along(s, tables.mu1(k)));
  }
  for (int a = 0; a < pair_count(K) + K; ++a) result.by.q.push_back(along(t, tables.feature(a)));
  if (slopes != nullptr) {
    result.r.assign(K, 0.0);
    result.c.assign(K, 0.0);
    add_table_slopes(tables, *slopes, {nullptr, mean.data(), s.data(), t.data()}, state,
                     result.r.data(), result.c.data());
  }
  return result;
}

}  // namespace spikedrf
