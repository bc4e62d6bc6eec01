#include "averages/averages.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "numerics/dispatch.hpp"
#include "numerics/lanes.hpp"
#include "numerics/small_matrix.hpp"
#include "numerics/vector_math.hpp"

namespace spikedrf {

SPIKEDRF_MULTIVERSION
void response_averages(const Tables& tables, const double* v, Weighting weighting, double* w_omega,
                       double* w_omega2, double* sum, double* curvature) noexcept {
  const Index n = tables.stride;
  const int features = pair_count(tables.groups) + tables.groups;
  const double* weight = tables.weight();
  const double* inverse_weight = tables.inverse_weight();
  // The reciprocal is the only division per node and iteration.
  if (features == 2 && inverse_weight == nullptr) {
    const double* f0 = tables.feature(0);
    const double* f1 = tables.feature(1);
    const double v0 = v[0];
    const double v1 = v[1];
    double s0[kLanes] = {}, s1[kLanes] = {}, c00[kLanes] = {}, c01[kLanes] = {}, c11[kLanes] = {};
    for (Index i = 0; i < n; i += kLanes) {
      for (int j = 0; j < kLanes; ++j) {
        const double a = f0[i + j];
        const double b = f1[i + j];
        const double omega = 1.0 / (weighting.epsilon + weighting.chi * (v0 * a + v1 * b));
        const double w = weight[i + j] * omega;
        const double w2 = w * omega;
        w_omega[i + j] = w;
        w_omega2[i + j] = w2;
        s0[j] += w * a;
        s1[j] += w * b;
        c00[j] += w2 * a * a;
        c01[j] += w2 * a * b;
        c11[j] += w2 * b * b;
      }
    }
    sum[0] = collect(s0);
    sum[1] = collect(s1);
    curvature[0] = collect(c00);
    curvature[1] = curvature[2] = collect(c01);
    curvature[3] = collect(c11);
    return;
  }
  for (Index i = 0; i < n; ++i) w_omega[i] = 0.0;
  for (int a = 0; a < features; ++a) {
    const double* f = tables.feature(a);
    const double va = v[a];
    for (Index i = 0; i < n; ++i) w_omega[i] += va * f[i];
  }
  if (inverse_weight == nullptr) {
    for (Index i = 0; i < n; ++i) {
      const double omega = 1.0 / (weighting.epsilon + weighting.chi * w_omega[i]);
      w_omega[i] = weight[i] * omega;
      w_omega2[i] = w_omega[i] * omega;
    }
  } else {
    for (Index i = 0; i < n; ++i) {
      const double omega =
          1.0 / (weighting.epsilon * inverse_weight[i] + weighting.chi * w_omega[i]);
      w_omega[i] = weight[i] * omega;
      w_omega2[i] = w_omega[i] * omega;
    }
  }
  for (int a = 0; a < features; ++a) sum[a] = dot(w_omega, tables.feature(a), n);
  // mu1_k mu1_l mu1_i mu1_q is averaged once, k <= l <= i <= q: row (k, l) begins at (l, l).
  const int K = tables.groups;
  const int pairs = pair_count(K);
  for (int a = 0, k = 0, l = 0; a < features; ++a) {
    const int first = a < pairs ? pair_index(l, l, K) : a;
    double* const out = curvature + a * features;
    dot_rows(w_omega2, tables.feature(a), tables.feature(first), n, features - first, out + first);
    for (int b = std::max(first, a + 1); b < features; ++b) curvature[b * features + a] = out[b];
    if (++l == K) l = ++k;
  }
  for (int k = 0; k < K; ++k) {
    for (int l = k + 1; l < K; ++l) {
      const int a = pair_index(k, l, K);
      for (int i = k; i < l; ++i) {
        const double* const known = curvature + pair_index(k, i, K) * features;
        for (int q = i; q < K; ++q) {
          const int b = pair_index(i, q, K);
          if (b < a) continue;
          curvature[a * features + b] = curvature[b * features + a] =
              known[pair_index(std::min(l, q), std::max(l, q), K)];
        }
      }
    }
  }
}

SPIKEDRF_MULTIVERSION
void label_averages(const Tables& tables, const double* w_omega, double* psihat) noexcept {
  for (int l = 0; l < tables.latents.rest(); ++l) {
    for (int k = 0; k < tables.groups; ++k) {
      psihat[l * tables.groups + k] =
          dot(w_omega, tables.mu1(k), tables.hz(l), tables.stride);
    }
  }
}

Index fit_length(const Tables& tables) noexcept {
  const Index columns = tables.columns();
  return tables.stride + (columns + kLanes - 1) / kLanes * kLanes;
}

SPIKEDRF_MULTIVERSION
void fit_signal(const Tables& tables, const double* w_omega, const double* penalty,
                const double* penalty_target, double* columns, double* triangle) noexcept {
  constexpr double kDependent = 1e-14;
  const Index n = tables.stride;
  const Index length = fit_length(tables);
  const int groups = tables.groups;
  const int paid = tables.columns();
  const int count = groups + paid + 1;
  const auto column_at = [&](int j) { return columns + j * length; };
  double* right = column_at(count - 1);  // sqrt(w omega) first, the right-hand side then
  for (Index i = 0; i < n; ++i) right[i] = std::sqrt(w_omega[i]);
  for (int j = 0; j < count - 1; ++j) {
    double* column = column_at(j);
    const double* basis = j < groups ? tables.mu0(j) : tables.column(j - groups);
    for (Index i = 0; i < n; ++i) column[i] = right[i] * basis[i];
    for (Index i = n; i < length; ++i) column[i] = 0.0;
    if (j >= groups) {
      for (int k = 0; k < paid; ++k) column[n + k] = penalty[k * paid + j - groups];
    }
    triangle[j * count + j] = dot(column, column, n);
  }
  const double* h = tables.h();
  for (Index i = 0; i < n; ++i) right[i] *= h[i];
  for (Index i = n; i < length; ++i) right[i] = 0.0;
  for (int k = 0; k < paid; ++k) right[n + k] = penalty_target[k];

  // Right-looking: as soon as a column is normalised it is taken out of all that follow.
  for (int j = 0; j < count - 1; ++j) {
    double* column = column_at(j);
    double* row = triangle + j * count;
    const double whole = row[j];
    for (int l = 0; l < count; ++l) row[l] = 0.0;
    if (!(dot(column, column, n) > kDependent * kDependent * whole)) {
      for (Index i = 0; i < n; ++i) column[i] = 0.0;
    }
    const double size = std::sqrt(dot(column, column, length));
    if (size == 0.0) continue;
    row[j] = size;
    const double inverse = 1.0 / size;
    for (Index i = 0; i < length; ++i) column[i] *= inverse;
    for (int l = j + 1; l < count; ++l) {
      double* other = column_at(l);
      const double projection = dot(column, other, length);
      row[l] = projection;
      for (Index i = 0; i < length; ++i) other[i] -= projection * column[i];
    }
  }
}

SPIKEDRF_MULTIVERSION
void project_fit(Index length, int count, double* columns, double* projection,
                 int stride) noexcept {
  double* right = columns + count * length;
  for (int j = 0; j < count; ++j) {
    const double* column = columns + j * length;
    const double share = dot(column, right, length);
    projection[j * stride] = share;
    for (Index i = 0; i < length; ++i) right[i] -= share * column[i];
  }
}

SPIKEDRF_MULTIVERSION
ErrorAverages error_averages(const Tables& tables, const double* w_omega2, const double* m,
                             const double* theta, const double* psi, double* bias,
                             double* feature_bias, double* feature_omega2,
                             double* mean_omega2) noexcept {
  const Index n = tables.stride;
  const int groups = tables.groups;
  const int features = pair_count(groups) + groups;
  const double* h = tables.h();
  const double* g2 = tables.g2();
  const Latents& latents = tables.latents;
  // Four rows at a time would save loads for many groups; with K <= 4 everything is in L1.
  for (Index i = 0; i < n; ++i) bias[i] = h[i];
  // In pairs: the table of a spike has as many columns as groups.
  const int columns = tables.columns();
  const int pairs = std::min(groups, columns);
  for (int k = 0; k < pairs; ++k) {
    const double* mu0 = tables.mu0(k);
    const double* column = tables.column(k);
    for (Index i = 0; i < n; ++i) bias[i] -= m[k] * mu0[i] + theta[k] * column[i];
  }
  for (int k = pairs; k < groups; ++k) {
    const double* mu0 = tables.mu0(k);
    for (Index i = 0; i < n; ++i) bias[i] -= m[k] * mu0[i];
  }
  for (int a = pairs; a < columns; ++a) {
    const double* column = tables.column(a);
    for (Index i = 0; i < n; ++i) bias[i] -= theta[a] * column[i];
  }
  for (Index i = 0; i < n; ++i) bias[i] *= bias[i];
  // (hz - P.mu1)^2 expanded over the pair features would cancel; a second short pass does not.
  for (Index i = 0; i < n; ++i) bias[i] += g2[i];
  for (int l = latents.spans; l < latents.directions(); ++l) {
    const double* const overlap =
        l < latents.coupled ? theta + l * groups : psi + (l - latents.coupled) * groups;
    const double* const hz = tables.hz(l - latents.spans);
    if (groups == 1) {
      const double* mu1 = tables.mu1(0);
      for (Index i = 0; i < n; ++i) {
        const double rest = hz[i] - overlap[0] * mu1[i];
        bias[i] += rest * rest;
      }
      continue;
    }
    for (Index i = 0; i < n; ++i) {
      double rest = hz[i];
      for (int k = 0; k < groups; ++k) rest -= overlap[k] * tables.mu1(k)[i];
      bias[i] += rest * rest;
    }
  }
  for (int a = 0; a < features; ++a) {
    feature_bias[a] = dot(w_omega2, tables.feature(a), bias, n);
    feature_omega2[a] = dot(w_omega2, tables.feature(a), n);
  }
  double total[kLanes] = {};
  for (Index i = 0; i < n; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) total[j] += w_omega2[i + j];
  }
  *mean_omega2 = collect(total);
  return {dot(tables.weight(), bias, n), dot(w_omega2, bias, n)};
}

namespace {

// Nodes that are handled together where sums over classes are taken.
constexpr Index kBlock = 64;

SPIKEDRF_INLINE void add_multiple(double factor, const double* row, Index n, double* out) {
  SPIKEDRF_SIMD
  for (Index j = 0; j < n; ++j) out[j] += factor * row[j];
}

}  // namespace

SPIKEDRF_MULTIVERSION
void class_errors(const Tables& tables, const double* q, double noise2, const double* w_omega2,
                  double epsilon, const double* bias, ClassErrors* out) noexcept {
  const int features = pair_count(tables.groups) + tables.groups;
  const double* inverse_weight = tables.inverse_weight();
  double power[kBlock];
  for (int c = 0; c < tables.classes(); ++c) {
    ClassErrors sum;
    for (Index i = tables.begin(c); i < tables.begin(c + 1); i += kBlock) {
      const Index n = std::min(kBlock, tables.begin(c + 1) - i);
      const double* weight = tables.weight() + i;
      for (Index j = 0; j < n; ++j) power[j] = bias[i + j] + noise2;
      for (int a = 0; a < features; ++a) add_multiple(q[a], tables.feature(a) + i, n, power);
      double share = 0.0, test = 0.0, train = 0.0;
      // The training residual is that of a fresh sample over 1 + w V, w its weight in the loss.
#pragma omp simd reduction(+ : share, test, train)
      for (Index j = 0; j < n; ++j) {
        share += weight[j];
        test += weight[j] * power[j];
        train += w_omega2[i + j] * power[j];
      }
      // That is one number for each class.
      const double shrunk = epsilon * (inverse_weight == nullptr ? 1.0 : inverse_weight[i]);
      sum.share += share;
      sum.test += test;
      sum.train += shrunk * shrunk * train;
    }
    out[c] = sum;
  }
}

// The readout of a fresh sample is N(mean, width) given its node. Blocks begin and end at whole
// lanes: nodes of other classes in them, and those that no rate can notice, weigh nothing.
SPIKEDRF_MULTIVERSION
void wrong_rates(const Tables& tables, const double* m, const double* theta, const double* psi,
                 const double* q, ClassErrors* out) noexcept {
  constexpr double kUnnoticed = 1e-20;  // share of the class's samples
  const int groups = tables.groups;
  const int features = pair_count(groups) + groups;
  const Latents& latents = tables.latents;
  double weight[kBlock], mean[kBlock], width[kBlock], slope[kBlock];
  for (int c = 0; c < tables.classes(); ++c) {
    out[c].wrong = 0.0;
    const double least = kUnnoticed * out[c].share;
    Index first = tables.begin(c), last = tables.begin(c + 1);
    if (!tables.signs(c)) {
      out[c].wrong = std::numeric_limits<double>::quiet_NaN();
      continue;
    }
    while (first < last && tables.weight()[first] < least) ++first;
    while (first < last && tables.weight()[last - 1] < least) --last;
    for (Index i = first / kLanes * kLanes; i < last; i += kBlock) {
      const Index n = std::min(kBlock, (last - i + kLanes - 1) / kLanes * kLanes);
      const double* label = tables.h() + i;
      for (Index j = 0; j < n; ++j) {
        weight[j] = first <= i + j && i + j < last ? tables.weight()[i + j] : 0.0;
      }
      for (Index j = 0; j < n; ++j) mean[j] = m[0] * tables.mu0(0)[i + j];
      for (int k = 1; k < groups; ++k) add_multiple(m[k], tables.mu0(k) + i, n, mean);
      for (int a = 0; a < tables.columns(); ++a) {
        add_multiple(theta[a], tables.column(a) + i, n, mean);
      }
      for (Index j = 0; j < n; ++j) width[j] = q[0] * tables.feature(0)[i + j];
      for (int a = 1; a < features; ++a) add_multiple(q[a], tables.feature(a) + i, n, width);
      for (int l = latents.spans; l < latents.directions(); ++l) {
        const double* const overlap =
            l < latents.coupled ? theta + l * groups : psi + (l - latents.coupled) * groups;
        for (Index j = 0; j < n; ++j) slope[j] = overlap[0] * tables.mu1(0)[i + j];
        for (int k = 1; k < groups; ++k) add_multiple(overlap[k], tables.mu1(k) + i, n, slope);
        for (Index j = 0; j < n; ++j) width[j] += slope[j] * slope[j];
      }
      double wrong = 0.0;
#pragma omp simd reduction(+ : wrong)
      for (Index j = 0; j < n; ++j) {
        const double away = label[j] * mean[j] / std::sqrt(width[j] > 1e-300 ? width[j] : 1e-300);
        wrong += weight[j] * vmath::normal_tail_beyond(away);
      }
      out[c].wrong += wrong;
    }
  }
}

}  // namespace spikedrf
