#include "functions/loss.hpp"

#include <cmath>
#include <vector>

namespace spikedrf {

namespace {

constexpr int kMaxPasses = 200;

// All elements take their Newton steps together, so that the loop is vector code; those that have
// arrived stay where they are. Leaves t in `u`.
template <class Smooth>
SPIKEDRF_INLINE void solve(const Smooth& loss, double V, const double* x, double* r, double* u,
                           std::size_t n) {
  SPIKEDRF_SIMD
  for (std::size_t i = 0; i < n; ++i) {
    r[i] = loss.reduce(V, x[i]);
    u[i] = loss.start(V, r[i]);
  }
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    double largest = 0.0;
#pragma omp simd reduction(max : largest)
    for (std::size_t i = 0; i < n; ++i) {
      const double step = loss.step(V, r[i], u[i]);
      u[i] -= step;
      // Far out t itself is large and known to its own rounding only.
      const double size = vmath::magnitude(step) - 1e-14 * vmath::magnitude(u[i]);
      largest = size > largest ? size : largest;
    }
    if (largest <= loss.enough) break;
  }
  SPIKEDRF_SIMD
  for (std::size_t i = 0; i < n; ++i) u[i] = loss.restore(V, x[i], u[i]);
}

template <class Smooth>
SPIKEDRF_INLINE void fill_rows(const Smooth& loss, double V, const double* x, std::size_t n,
                               const PhiRows& rows) {
  solve(loss, V, x, rows.scratch, rows.t, n);
  SPIKEDRF_SIMD
  for (std::size_t i = 0; i < n; ++i) {
    const Derivatives d = loss.at(rows.t[i]);
    const double along = 1.0 / (1.0 + V * d.d2);
    const double along2 = along * along;
    rows.phi[i] = d.d1;
    rows.slope[i] = d.d2 * along;
    rows.bend[i] = d.d3 * along2 * along;
    rows.third[i] = along2 * along2 * (d.d4 - 3.0 * V * d.d3 * d.d3 * along);
  }
}

SPIKEDRF_MULTIVERSION
void logistic_rows(double V, const double* x, std::size_t n, const PhiRows& rows) {
  fill_rows(LogisticLoss{}, V, x, n, rows);
}

SPIKEDRF_MULTIVERSION
void pseudo_huber_rows(double delta, double V, const double* x, std::size_t n,
                       const PhiRows& rows) {
  fill_rows(PseudoHuberLoss(delta), V, x, n, rows);
}

}  // namespace

void smooth_phi(Loss loss, double V, const double* x, std::size_t n, const PhiRows& rows) {
  if (loss.kind == LossKind::logistic) {
    logistic_rows(V, x, n, rows);
  } else {
    pseudo_huber_rows(loss.parameter, V, x, n, rows);
  }
}

void prox(Loss loss, double V, const double* x, double* t, std::size_t n) {
  if (is_ramp(loss.kind)) {
    const Ramp ramp = ramp_of(loss);
    for (std::size_t i = 0; i < n; ++i) t[i] = ramp.prox(V, x[i]);
    return;
  }
  // Five rows beside t.
  std::vector<double> scratch(5 * n);
  double* row = scratch.data();
  smooth_phi(loss, V, x, n, {t, row, row + n, row + 2 * n, row + 3 * n, row + 4 * n});
}

void loss_values(Loss loss, const double* t, double* out, std::size_t n) {
  if (is_ramp(loss.kind)) {
    const Ramp ramp = ramp_of(loss);
    for (std::size_t i = 0; i < n; ++i) out[i] = ramp.value(t[i]);
  } else if (loss.kind == LossKind::logistic) {
    for (std::size_t i = 0; i < n; ++i) out[i] = LogisticLoss{}.value(t[i]);
  } else {
    const PseudoHuberLoss pseudo(loss.parameter);
    for (std::size_t i = 0; i < n; ++i) out[i] = pseudo.value(t[i]);
  }
}

double loss_slope(Loss loss, double t) {
  if (is_ramp(loss.kind)) return ramp_of(loss).slope(t);
  return loss.kind == LossKind::logistic ? LogisticLoss{}.at(t).d1
                                         : PseudoHuberLoss(loss.parameter).at(t).d1;
}

}  // namespace spikedrf
