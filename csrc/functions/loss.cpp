#include "functions/loss.hpp"

#include <cmath>
#include <exception>
#include <type_traits>

namespace spikedrf {

namespace {

constexpr int kMaxPasses = 200;

// All elements take their Newton steps together, so that the loop is vector code; those that have
// arrived stay where they are. Leaves t in `u`.
template <class Smooth>
SPIKEDRF_INLINE void solve(const Smooth& loss, double V, const double* x, double* r, double* u,
                           Index n) {
  SPIKEDRF_SIMD
  for (Index i = 0; i < n; ++i) {
    r[i] = loss.reduce(V, x[i]);
    u[i] = loss.start(V, r[i]);
  }
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    double largest = 0.0;
#pragma omp simd reduction(max : largest)
    for (Index i = 0; i < n; ++i) {
      const double step = loss.step(V, r[i], u[i]);
      u[i] -= step;
      // Far out t itself is large and known to its own rounding only.
      const double size = vmath::magnitude(step) - 1e-14 * vmath::magnitude(u[i]);
      largest = size > largest ? size : largest;
    }
    if (largest <= loss.enough) break;
  }
  SPIKEDRF_SIMD
  for (Index i = 0; i < n; ++i) u[i] = loss.restore(V, x[i], u[i]);
}

template <class Smooth>
SPIKEDRF_INLINE void fill_rows(const Smooth& loss, double V, const double* x, Index n,
                               const PhiRows& rows) {
  solve(loss, V, x, rows.scratch, rows.t, n);
  SPIKEDRF_SIMD
  for (Index i = 0; i < n; ++i) {
    const Derivatives d = loss.at(rows.t[i]);
    const double along = 1.0 / (1.0 + V * d.d2);
    const double along2 = along * along;
    rows.phi[i] = d.d1;
    rows.slope[i] = d.d2 * along;
    rows.bend[i] = d.d3 * along2 * along;
    rows.third[i] = along2 * along2 * (d.d4 - 3.0 * V * d.d3 * d.d3 * along);
  }
}

struct FillRows {
  double V;
  const double* x;
  Index n;
  PhiRows rows;

  template <class L>
  SPIKEDRF_INLINE void operator()(const L& loss) const {
    if constexpr (L::broken_line) {
      std::terminate();
    } else {
      fill_rows(loss, V, x, n, rows);
    }
  }
};

struct Values {
  const double* t;
  double* out;
  Index n;

  template <class L>
  SPIKEDRF_INLINE void operator()(const L& loss) const {
    if constexpr (L::broken_line) {
      const Ramp ramp = loss.ramp();
      for (Index i = 0; i < n; ++i) out[i] = ramp.value(t[i]);
    } else {
      SPIKEDRF_SIMD
      for (Index i = 0; i < n; ++i) out[i] = loss.value(t[i]);
    }
  }
};

}  // namespace

SPIKEDRF_MULTIVERSION
void smooth_phi(Loss loss, double V, const double* x, Index n, const PhiRows& rows) {
  visit_loss(loss, FillRows{V, x, n, rows});
}

Ramp ramp_of(Loss loss) {
  return visit_loss(loss, [](const auto& policy) -> Ramp {
    if constexpr (std::decay_t<decltype(policy)>::broken_line) {
      return policy.ramp();
    } else {
      std::terminate();
    }
  });
}

Corners corners_of(Loss loss, double V) {
  return visit_loss(loss, [V](const auto& policy) -> Corners {
    if constexpr (std::decay_t<decltype(policy)>::broken_line) {
      std::terminate();
    } else {
      const std::complex<double> corner = policy.corner(V);
      return {corner.real(), policy.reflected(V, corner.real()), corner.imag()};
    }
  });
}

void prox(Loss loss, double V, const double* x, double* t, Index n) {
  if (traits(loss).broken_line) {
    const Ramp ramp = ramp_of(loss);
    for (Index i = 0; i < n; ++i) t[i] = ramp.prox(V, x[i]);
    return;
  }
  // Five rows beside t.
  Array<double> scratch(5 * n);
  double* row = scratch.data();
  smooth_phi(loss, V, x, n, {t, row, row + n, row + 2 * n, row + 3 * n, row + 4 * n});
}

SPIKEDRF_MULTIVERSION
void loss_values(Loss loss, const double* t, double* out, Index n) {
  visit_loss(loss, Values{t, out, n});
}

double loss_slope(Loss loss, double t) {
  return visit_loss(loss, [t](const auto& policy) -> double {
    if constexpr (std::decay_t<decltype(policy)>::broken_line) {
      return policy.ramp().slope(t);
    } else {
      return policy.at(t).d1;
    }
  });
}

bool symmetric(Loss loss) {
  if (traits(loss).margin) return true;
  for (double t : {0.3, 3.0, 300.0}) {
    if (loss_slope(loss, t) != -loss_slope(loss, -t)) return false;
  }
  return true;
}

}  // namespace spikedrf
