#include "averages/ramp_averages.hpp"

#include <cmath>

#include "numerics/dispatch.hpp"
#include "numerics/quadrature.hpp"
#include "numerics/vector_math.hpp"

namespace spikedrf {

namespace {

constexpr double kInvSqrtTwoPi = 0.39894228040143267794;

// Beyond 37 standard deviations a density is nothing, but below the normal range of numbers, where
// arithmetic is slow.
SPIKEDRF_INLINE double within_reach(double z) {
  const double above = z > 37.0 ? 37.0 : z;
  return z < -37.0 ? -37.0 : above;
}

// Averages of phi = clip(x / width, lo, hi), x ~ N(mu, tau^2), through the probabilities and
// densities at its two corners x1 = lo width, x2 = hi width.
SPIKEDRF_MULTIVERSION
void wide_ramp(Ramp ramp, const double* mu, Index n, double tau, const PhiAverages& out) noexcept {
  const double a = 1.0 / ramp.width;
  const double x1 = ramp.lo * ramp.width;
  const double x2 = ramp.hi * ramp.width;
  const double lo = ramp.lo;
  const double hi = ramp.hi;
  const double inverse = 1.0 / tau;
  SPIKEDRF_SIMD
  for (Index j = 0; j < n; ++j) {
    const double m = mu[j];
    const double z1 = within_reach((x1 - m) * inverse);
    const double z2 = within_reach((x2 - m) * inverse);
    const auto [tail1, gaussian1] = vmath::normal_tail_and_gaussian(z1);
    const auto [tail2, gaussian2] = vmath::normal_tail_and_gaussian(z2);
    const double below = z1 < 0.0 ? tail1 : 1.0 - tail1;
    const double above = z2 > 0.0 ? tail2 : 1.0 - tail2;
    // Differences of tails where both corners are on one side: nothing cancels there.
    const double middle =
        z1 > 0.0 ? tail1 - tail2 : (z2 < 0.0 ? tail2 - tail1 : 1.0 - tail1 - tail2);
    const double p1 = kInvSqrtTwoPi * gaussian1;
    const double p2 = kInvSqrtTwoPi * gaussian2;
    const double first = m * middle - tau * (p2 - p1);  // E x on the slope
    const double second =
        (m * m + tau * tau) * middle + tau * ((x1 + m) * p1 - (x2 + m) * p2);  // E x^2 there
    out.phi[j] = lo * below + hi * above + a * first;
    out.slope[j] = a * middle;
    out.phi2[j] = lo * lo * below + hi * hi * above + a * a * second;
    out.bend[j] = a * inverse * (p1 - p2);
    out.third[j] = a * inverse * inverse * (z1 * p1 - z2 * p2);
    out.phi_slope[j] = a * a * first;
    out.phi_slope_slope[j] = a * (a * middle + inverse * (lo * p1 - hi * p2));
    out.phi2_slope[j] = a * a * a * second;
  }
}

// The same where the slope is so narrow beside tau that those differences cancel, down to a jump.
// In u = x / width the slope is an integral over lo < u < hi of smooth functions,
//   E u^k = (hi - lo) (width / tau) mean of u^k p(z),   z = (width u - mu) / tau,
// and the width drops out of the derivatives of phi. Gauss-Legendre with the fewest nodes that give
// p(z) to 1e-11 of itself for |z| < 9.
constexpr double kNarrow = 0.06;  // (x2 - x1) / tau: what cancels costs 1/this^2

int slope_nodes(double z_width) {
  return z_width > 0.018 ? 4 : (z_width > 1e-3 ? 3 : (z_width > 1e-6 ? 2 : 1));
}

SPIKEDRF_MULTIVERSION
void narrow_ramp(Ramp ramp, const double* mu, Index n, double tau, int nodes, const double* node,
                 const double* weight, bool hessian, const PhiAverages& out) noexcept {
  const double lo = ramp.lo;
  const double hi = ramp.hi;
  const double inverse = 1.0 / tau;
  const double x1 = ramp.lo * ramp.width;
  const double x2 = ramp.hi * ramp.width;
  const double rise = hi - lo;
  const double width = ramp.width * inverse;
  const double one = rise * inverse;
  const double two = one * inverse;
  SPIKEDRF_SIMD
  for (Index j = 0; j < n; ++j) {
    const double below = vmath::normal_tail_beyond(within_reach((mu[j] - x1) * inverse));
    const double above = vmath::normal_tail_beyond(within_reach((x2 - mu[j]) * inverse));
    out.phi[j] = lo * below + hi * above;
    out.phi2[j] = lo * lo * below + hi * hi * above;
    out.slope[j] = 0.0;
  }
  if (hessian) {
    for (double* row : {out.bend, out.third, out.phi_slope, out.phi_slope_slope, out.phi2_slope}) {
      for (Index j = 0; j < n; ++j) row[j] = 0.0;
    }
  }
  for (int i = 0; i < nodes; ++i) {
    const double u = lo + 0.5 * rise * (1.0 + node[i]);
    const double share = 0.5 * weight[i] * kInvSqrtTwoPi;
    if (!hessian) {
      SPIKEDRF_SIMD
      for (Index j = 0; j < n; ++j) {
        const double p = share * vmath::gaussian(within_reach((ramp.width * u - mu[j]) * inverse));
        out.phi[j] += rise * width * u * p;
        out.phi2[j] += rise * width * u * u * p;
        out.slope[j] += one * p;
      }
      continue;
    }
    SPIKEDRF_SIMD
    for (Index j = 0; j < n; ++j) {
      const double z = within_reach((ramp.width * u - mu[j]) * inverse);
      const double p = share * vmath::gaussian(z);
      out.phi[j] += rise * width * u * p;
      out.phi2[j] += rise * width * u * u * p;
      out.slope[j] += one * p;
      out.bend[j] += two * z * p;
      out.third[j] += two * inverse * (z * z - 1.0) * p;
      out.phi_slope[j] += one * u * p;
      out.phi_slope_slope[j] += two * u * z * p;
      out.phi2_slope[j] += one * u * u * p;
    }
  }
}

}  // namespace

void ramp_averages(Ramp ramp, const double* mu, Index n, double tau, bool hessian,
                   const PhiAverages& out) {
  const double z_width = (ramp.hi - ramp.lo) * ramp.width / tau;
  if (z_width > kNarrow) {
    wide_ramp(ramp, mu, n, tau, out);
    return;
  }
  const int nodes = slope_nodes(z_width);
  const LegendreRule& rule = legendre_rule(nodes);
  narrow_ramp(ramp, mu, n, tau, nodes, rule.node.data(), rule.weight.data(), hessian, out);
}

// Sums of squares and of positive terms only: in the interpolating phase t is far smaller than x.
SPIKEDRF_MULTIVERSION
void ramp_fit(Ramp ramp, double V, const double* mu, Index n, double tau,
              double* SPIKEDRF_RESTRICT loss, double* SPIKEDRF_RESTRICT square) noexcept {
  const double width = ramp.width + V;
  const double x1 = ramp.lo * width;
  const double x2 = ramp.hi * width;
  const double least = -ramp.lo;
  const double start1 = least * ramp.width;
  const double start2 = ramp.hi * ramp.width;
  const double inverse = 1.0 / tau;
  const double share = ramp.width > 0.0 ? ramp.width / width : 0.0;
  const double half = ramp.width > 0.0 ? 0.5 * share / width : 0.0;
  SPIKEDRF_SIMD
  for (Index j = 0; j < n; ++j) {
    const double m = mu[j];
    const double z1 = (m - x1) * inverse;  // both positive on the slope
    const double z2 = (x2 - m) * inverse;
    const auto beyond1 = vmath::normal_tail_and_gaussian(within_reach(z1));
    const auto beyond2 = vmath::normal_tail_and_gaussian(within_reach(z2));
    const double below = z1 > 0.0 ? beyond1.tail : 1.0 - beyond1.tail;
    const double above = z2 > 0.0 ? beyond2.tail : 1.0 - beyond2.tail;
    const double p1 = kInvSqrtTwoPi * beyond1.gaussian;
    const double p2 = kInvSqrtTwoPi * beyond2.gaussian;
    // E |x - corner| beyond it, and its square: far inside they are nothing, not its rounding.
    const double excess1 = z1 < 37.0 ? tau * (p1 - z1 * below) : 0.0;
    const double excess2 = z2 < 37.0 ? tau * (p2 - z2 * above) : 0.0;
    const double square1 = z1 < 37.0 ? tau * tau * ((1.0 + z1 * z1) * below - z1 * p1) : 0.0;
    const double square2 = z2 < 37.0 ? tau * tau * ((1.0 + z2 * z2) * above - z2 * p2) : 0.0;
    const double middle = vmath::magnitude(1.0 - below - above);
    const double second =
        (m * m + tau * tau) * middle + tau * ((x1 + m) * p1 - (x2 + m) * p2);
    loss[j] = least * (excess1 + 0.5 * start1 * below) +
              ramp.hi * (excess2 + 0.5 * start2 * above) + half * second;
    square[j] = square1 + start1 * (2.0 * excess1 + start1 * below) + square2 +
                start2 * (2.0 * excess2 + start2 * above) + share * share * second;
  }
}

}  // namespace spikedrf
