#include "averages/sensitivity_averages.hpp"

#include <algorithm>
#include <cmath>

#include "numerics/dispatch.hpp"
#include "numerics/lanes.hpp"
#include "numerics/small_matrix.hpp"

namespace spikedrf {

SPIKEDRF_MULTIVERSION
void source_weights(const Tables& tables, const double* v, const double* v_dot,
                    Weighting weighting, double delta, const double* w_omega,
                    SourceNodes& nodes) noexcept {
  const Index n = tables.stride;
  const int features = pair_count(tables.groups) + tables.groups;
  double* const shift = nodes.shift.data();
  double* const response = nodes.weight.data();  // V first
  for (Index i = 0; i < n; ++i) shift[i] = response[i] = 0.0;
  for (int a = 0; a < features; ++a) {
    const double* const f = tables.feature(a);
    const double here = v[a];
    const double there = v_dot[a];
    SPIKEDRF_SIMD
    for (Index i = 0; i < n; ++i) {
      response[i] += here * f[i];
      shift[i] += there * f[i];
    }
  }
  const double* const w = tables.weight();
  const double* const inverse_weight = tables.inverse_weight();
  if (inverse_weight == nullptr) {
    SPIKEDRF_SIMD
    for (Index i = 0; i < n; ++i) {
      shift[i] *= weighting.chi / (weighting.epsilon + weighting.chi * response[i]);
    }
  } else {
    SPIKEDRF_SIMD
    for (Index i = 0; i < n; ++i) {
      shift[i] *= weighting.chi /
                  (weighting.epsilon * inverse_weight[i] + weighting.chi * response[i]);
    }
  }
  SPIKEDRF_SIMD
  for (Index i = 0; i < n; ++i) response[i] = w[i] - delta * w_omega[i] * shift[i];
}

namespace {

// res -= sum_k m_k mu0_k + sum_a theta_a column_a, and resz_l -= P_l.mu1 for the directions that
// kappa does not fix.
SPIKEDRF_INLINE void take_readout(const Tables& tables, const double* m, const double* theta,
                                  const double* psi, double* res, double* resz) {
  const Index n = tables.stride;
  const int groups = tables.groups;
  const Latents& latents = tables.latents;
  const int columns = tables.columns();
  const int pairs = std::min(groups, columns);  // mu0 and kappa mu1 nearly cancel after a weak step
  for (int k = 0; k < pairs; ++k) {
    const double* const mu0 = tables.mu0(k);
    const double* const column = tables.column(k);
    SPIKEDRF_SIMD
    for (Index i = 0; i < n; ++i) res[i] -= m[k] * mu0[i] + theta[k] * column[i];
  }
  for (int k = pairs; k < groups; ++k) {
    const double* const mu0 = tables.mu0(k);
    SPIKEDRF_SIMD
    for (Index i = 0; i < n; ++i) res[i] -= m[k] * mu0[i];
  }
  for (int a = pairs; a < columns; ++a) {
    const double* const column = tables.column(a);
    SPIKEDRF_SIMD
    for (Index i = 0; i < n; ++i) res[i] -= theta[a] * column[i];
  }
  for (int l = latents.spans; l < latents.directions(); ++l) {
    const double* const overlap =
        l < latents.coupled ? theta + l * groups : psi + (l - latents.coupled) * groups;
    double* const row = resz + (l - latents.spans) * n;
    for (int k = 0; k < groups; ++k) {
      const double* const mu1 = tables.mu1(k);
      SPIKEDRF_SIMD
      for (Index i = 0; i < n; ++i) row[i] -= overlap[k] * mu1[i];
    }
  }
}

}  // namespace

SPIKEDRF_MULTIVERSION
void residuals(const Tables& tables, const double* m, const double* theta, const double* psi,
               double delta, const double* w_omega, SourceNodes& nodes, double* column) noexcept {
  const Index n = tables.stride;
  const double* const h = tables.h();
  double* const res = nodes.res.data();
  double* const resz = nodes.resz.data();
  for (Index i = 0; i < n; ++i) res[i] = h[i];
  for (int l = 0; l < tables.latents.rest(); ++l) {
    const double* const hz = tables.hz(l);
    double* const row = resz + l * n;
    for (Index i = 0; i < n; ++i) row[i] = hz[i];
  }
  take_readout(tables, m, theta, psi, res, resz);
  const double* const weight = nodes.weight.data();
  SPIKEDRF_SIMD
  for (Index i = 0; i < n; ++i) {
    const double root = delta * std::sqrt(w_omega[i]);
    column[i] = root > 0.0 ? weight[i] * res[i] / root : 0.0;
  }
}

SPIKEDRF_MULTIVERSION
void residual_power(const Tables& tables, const double* m_dot, const double* theta_dot,
                    const double* psi_dot, const double* q, double noise2, const double* w_omega2,
                    SourceNodes& nodes, double* weighted_power, double* moved_power) noexcept {
  const Index n = tables.stride;
  const int features = pair_count(tables.groups) + tables.groups;
  const double* const res = nodes.res.data();
  const double* const resz = nodes.resz.data();
  double* const res_dot = nodes.res_dot.data();
  double* const resz_dot = nodes.resz_dot.data();
  double* const power = nodes.power.data();
  double* const power_dot = nodes.power_dot.data();
  const double* const g2 = tables.g2();
  const int rest = tables.latents.rest();
  std::fill_n(res_dot, n, 0.0);
  std::fill_n(resz_dot, n * rest, 0.0);
  take_readout(tables, m_dot, theta_dot, psi_dot, res_dot, resz_dot);
  SPIKEDRF_SIMD
  for (Index i = 0; i < n; ++i) {
    power[i] = res[i] * res[i] + g2[i] + noise2;
    power_dot[i] = 2.0 * res[i] * res_dot[i];
  }
  for (int l = 0; l < rest; ++l) {
    const double* const still = resz + l * n;
    const double* const moved = resz_dot + l * n;
    SPIKEDRF_SIMD
    for (Index i = 0; i < n; ++i) {
      power[i] += still[i] * still[i];
      power_dot[i] += 2.0 * still[i] * moved[i];
    }
  }
  for (int a = 0; a < features; ++a) {
    const double* const f = tables.feature(a);
    const double share = q[a];
    SPIKEDRF_SIMD
    for (Index i = 0; i < n; ++i) power[i] += share * f[i];
  }
  const double* const shift = nodes.shift.data();
  for (int a = 0; a < features; ++a) {
    const double* const f = tables.feature(a);
    double still[kLanes] = {};
    double moved[kLanes] = {};
    for (Index i = 0; i < n; i += kLanes) {
      for (int j = 0; j < kLanes; ++j) {
        const double wf = w_omega2[i + j] * f[i + j];
        still[j] += wf * power[i + j];
        moved[j] += wf * (power_dot[i + j] - 2.0 * shift[i + j] * power[i + j]);
      }
    }
    weighted_power[a] = collect(still);
    moved_power[a] = collect(moved);
  }
}

SPIKEDRF_MULTIVERSION
SourceSums source_sums(const Tables& tables, const double* q_dot, const double* w_omega,
                       const double* w_omega2, SourceNodes& nodes) noexcept {
  const Index n = tables.stride;
  const int features = pair_count(tables.groups) + tables.groups;
  double* const power_dot = nodes.power_dot.data();
  for (int a = 0; a < features; ++a) {
    const double* const f = tables.feature(a);
    const double share = q_dot[a];
    SPIKEDRF_SIMD
    for (Index i = 0; i < n; ++i) power_dot[i] += share * f[i];
  }
  const double* const power = nodes.power.data();
  const double* const shift = nodes.shift.data();
  const double* const weight = nodes.weight.data();
  const double* const inverse_weight = tables.inverse_weight();
  double total[kLanes] = {}, once[kLanes] = {}, twice[kLanes] = {}, size[kLanes] = {};
  for (Index i = 0; i < n; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) {
      total[j] += weight[i + j];
      const double lost = shift[i + j] * power[i + j];
      once[j] += w_omega[i + j] * (power_dot[i + j] - lost);
      const double square =
          inverse_weight == nullptr ? w_omega2[i + j] : w_omega2[i + j] * inverse_weight[i + j];
      twice[j] += square * (power_dot[i + j] - 2.0 * lost);
      size[j] += square * (std::fabs(power_dot[i + j]) + 2.0 * std::fabs(lost));
    }
  }
  return {collect(total), collect(once), collect(twice), collect(size)};
}

SPIKEDRF_MULTIVERSION
void weigh_tables(const Tables& tables, double delta, double chi, const double* w_omega,
                  const double* w_omega2, SourceNodes& nodes) noexcept {
  const Index n = tables.stride;
  const double* const weight = nodes.weight.data();
  const double* const shift = nodes.shift.data();
  const double* const res = nodes.res.data();
  const double* const resz = nodes.resz.data();
  const double* const res_dot = nodes.res_dot.data();
  const double* const resz_dot = nodes.resz_dot.data();
  const double* const power = nodes.power.data();
  const double* const power_dot = nodes.power_dot.data();
  double* const pull = nodes.pull.data();
  double* const pullz = nodes.pullz.data();
  double* const loss = nodes.loss.data();
  double* const loss_dot = nodes.loss_dot.data();
  const double feedback = delta * chi;
  SPIKEDRF_SIMD
  for (Index i = 0; i < n; ++i) {
    const double still = delta * w_omega[i];
    pull[i] = weight[i] * res[i] + still * res_dot[i];
    pullz[i] = weight[i] * resz[i] + still * resz_dot[i];
    loss[i] = feedback * w_omega2[i] * power[i];
    loss_dot[i] = feedback * w_omega2[i] * (power_dot[i] - 2.0 * shift[i] * power[i]);
  }
}

SPIKEDRF_MULTIVERSION
double gamma_slope(const Tables& tables, const TableSlopes& slopes,
                   const SourceNodes& nodes) noexcept {
  const Index n = tables.stride;
  return 2.0 * (dot(nodes.pull.data(), slopes.h_gamma(), n) +
                dot(nodes.pullz.data(), slopes.hz_gamma(), n)) +
         dot(nodes.weight.data(), slopes.g2_gamma(), n);
}

SPIKEDRF_MULTIVERSION
GroupSlopes group_slopes(const Tables& tables, const TableSlopes& slopes, int k,
                         const GroupState& state, const FeatureState* features, double delta,
                         const double* w_omega, SourceNodes& nodes) noexcept {
  const Index n = tables.stride;
  const int groups = tables.groups;
  const double* const weight = nodes.weight.data();
  const double* const loss = nodes.loss.data();
  const double* const loss_dot = nodes.loss_dot.data();
  // L_mu1_k through the pairs: f = mu1_k mu1_l.
  double* const pairs = nodes.pairs.data();
  for (Index i = 0; i < n; ++i) pairs[i] = 0.0;
  for (int l = 0; l < groups; ++l) {
    const FeatureState f = features[pair_index(k, l, groups)];
    const double* const mu1 = tables.mu1(l);
    const double multiple = k == l ? 2.0 : 1.0;
    SPIKEDRF_SIMD
    for (Index i = 0; i < n; ++i) {
      const double of_f = f.q * weight[i] + f.q_dot * delta * w_omega[i] - f.v * loss_dot[i] -
                          f.v_dot * loss[i];
      pairs[i] += multiple * mu1[i] * of_f;
    }
  }
  const FeatureState f = features[pair_count(groups) + k];
  const double* const kappa = slopes.kappa();
  const double* const res = nodes.res.data();
  const double* const resz = nodes.resz.data();
  const double* const pull = nodes.pull.data();
  const double* const pullz = nodes.pullz.data();
  const double* const mu0_r = tables.kappa_mu1(k);
  const double* const mu0_c = slopes.mu0_c(k);
  const double* const mu1_r = slopes.mu1_r(k);
  const double* const mu1_c = slopes.mu1_c(k);
  const double* const mu2_r = slopes.mu2_r(k);
  const double* const mu2_c = slopes.mu2_c(k);
  double r[kLanes] = {}, c[kLanes] = {};
  for (Index i = 0; i < n; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) {
      const Index at = i + j;
      const double still = delta * w_omega[at];
      const double of_mu0 = -2.0 * (state.m * pull[at] + state.m_dot * still * res[at]);
      const double of_mu1 =
          pairs[at] -
          2.0 * (kappa[at] * (state.theta * pull[at] + state.theta_dot * still * res[at]) +
                 state.psi * pullz[at] + state.psi_dot * still * resz[at]);
      const double of_mu2 = f.q * weight[at] + f.q_dot * still - f.v * loss_dot[at] -
                            f.v_dot * loss[at];
      r[j] += of_mu0 * mu0_r[at] + of_mu1 * mu1_r[at] + of_mu2 * mu2_r[at];
      c[j] += of_mu0 * mu0_c[at] + of_mu1 * mu1_c[at] + of_mu2 * mu2_c[at];
    }
  }
  return {collect(r), collect(c)};
}

}  // namespace spikedrf
