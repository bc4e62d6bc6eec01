// Panels in a row along an axis, each halved until 1/(1 + V) is integrated on it.
//
// What is summed up over the panels is the caller's: a leaf with `add<n>(rows, one_plus_v)`. All
// of it is inlined into the kernel that asks.
#pragma once

#include <algorithm>
#include <exception>

#include "averages/panel_averages.hpp"
#include "numerics/dispatch.hpp"
#include "numerics/lanes.hpp"
#include "numerics/quadrature.hpp"

namespace spikedrf {

constexpr int kMaxDegree = 32;

// A panel is integrated as it is if V stays within this fraction of |1 + V(centre)|. In units of
// half the panel the nearest pole of 1/(1 + V) is then about its inverse t away, and n nodes leave
// an error of about (t + sqrt(t^2 - 1))^{-2n}, here 1e-13 or less.
constexpr double settled_fraction(int degree) {
  return degree <= 16 ? 0.68 : degree <= 24 ? 0.8 : 0.88;
}

// A pole on a panel of this weight belongs to a density that is rounding. Halving a panel of weight
// one comes to that after some 54 times, when as many halves are waiting for their turn.
// In a plane that is so for strips. Panels of a line in it weigh less, and what they get wrong next
// to a pole jumps from line to line.
constexpr double kNegligibleWeight = 1e-16;
constexpr double kNegligibleInPlane = 1e-21;
constexpr Index kMostWaiting = 64;

// Numbers in the rows of halves that are kept from one average to the next.
constexpr Index kMostKept = 1 << 18;

// A pole asks for a hundred at most; a search gone astray meets more.
constexpr int kMostDivisions = 600;

// 1 + V on a panel.
struct Denominator {
  double re[kMaxDegree];
  double im[kMaxDegree];
  double radius2;  // squared radius of the box that V covers, and squared distance of its centre
  double centre2;  // from -1
};

template <int n>
SPIKEDRF_INLINE void evaluate(const double* const* row, int features, const Complex* v,
                              Denominator& one_plus_v) {
  double* re = one_plus_v.re;
  double* im = one_plus_v.im;
  for (int i = 0; i < n; ++i) {
    re[i] = 1.0;
    im[i] = 0.0;
  }
  for (int a = 0; a < features; ++a) {
    const double* f = row[1 + a];
    const double v_re = v[a].real();
    const double v_im = v[a].imag();
    SPIKEDRF_SIMD
    for (int i = 0; i < n; ++i) {
      re[i] += v_re * f[i];
      im[i] += v_im * f[i];
    }
  }
  // Lane by lane: a minimum over an array is not vectorised otherwise.
  double left[kLanes], right[kLanes], low[kLanes], high[kLanes];
  for (int j = 0; j < kLanes; ++j) {
    left[j] = right[j] = re[j];
    low[j] = high[j] = im[j];
  }
  for (int i = kLanes; i < n; i += kLanes) {
    SPIKEDRF_SIMD
    for (int j = 0; j < kLanes; ++j) {
      left[j] = re[i + j] < left[j] ? re[i + j] : left[j];
      right[j] = re[i + j] > right[j] ? re[i + j] : right[j];
      low[j] = im[i + j] < low[j] ? im[i + j] : low[j];
      high[j] = im[i + j] > high[j] ? im[i + j] : high[j];
    }
  }
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int j = 0; j < width; ++j) {
      left[j] = std::min(left[j], left[j + width]);
      right[j] = std::max(right[j], right[j + width]);
      low[j] = std::min(low[j], low[j + width]);
      high[j] = std::max(high[j], high[j + width]);
    }
  }
  const auto square = [](double x) { return x * x; };
  one_plus_v.radius2 = 0.25 * (square(right[0] - left[0]) + square(high[0] - low[0]));
  one_plus_v.centre2 = 0.25 * (square(right[0] + left[0]) + square(high[0] + low[0]));
}

// out = the rows of a panel at the nodes of one of its halves; the first row holds weights.
SPIKEDRF_INLINE void interpolate(const double* const* row, int rows, int n, const double* matrix,
                                 const LegendreRule& base, double* out) {
  for (int r = 0; r < rows; ++r, out += n) {
    double in[kMaxDegree];
    for (int j = 0; j < n; ++j) {
      in[j] = r > 0 ? row[r][j] : 0.5 * row[0][j] / base.weight[j];
    }
    for (int i = 0; i < n; ++i) out[i] = 0.0;
    for (int j = 0; j < n; ++j) {
      const double* column = matrix + j * n;
      SPIKEDRF_SIMD
      for (int i = 0; i < n; ++i) out[i] += column[i] * in[j];
    }
    if (r == 0) {
      for (int i = 0; i < n; ++i) out[i] *= base.weight[i];
    }
  }
}
// Panels in a row along an axis.
struct PanelLine {
  const double* const* row;  // the weights, the features and more: one number for each node
  int rows;
  int features;
  int degree;
  Index panels;
  double negligible;    // weight of a panel
  PanelHalves* halves;  // of these rows
};

// Calls leaf.add<n>(rows, one_plus_v) for every panel, divided until it is settled. False if that
// did not end somewhere.
template <int n, class Leaf>
SPIKEDRF_INLINE bool visit_degree(const PanelLine& line, const Complex* v, PanelScratch& scratch,
                                  Leaf& leaf) {
  const int features = line.features;
  const int rows = line.rows;
  PanelHalves& halves = *line.halves;
  const LegendreRule& base = legendre_rule(n);
  const LegendreHalves& matrices = legendre_halves(n);
  const Index block = rows * n;
  if (halves.left.empty() || halves.rows.size() > kMostKept) {
    halves.left.assign(line.panels, 0);
    halves.rows.clear();
  }
  scratch.row.resize(rows);
  scratch.waiting.resize(kMostWaiting);
  const double** row = scratch.row.data();
  constexpr double fraction2 = settled_fraction(n) * settled_fraction(n);
  Denominator one_plus_v;
  int divisions = 0;
  for (Index p = 0; p < line.panels; ++p) {
    Index at = p;
    for (Index waiting = 0;;) {
      for (int r = 0; r < rows; ++r) {
        row[r] = at == p ? line.row[r] + p * n
                         : halves.rows.data() + (at - line.panels) * block + r * n;
      }
      evaluate<n>(row, features, v, one_plus_v);
      bool settled = one_plus_v.radius2 <= fraction2 * one_plus_v.centre2;
      if (!settled) {
        double whole = 0.0;
        for (int i = 0; i < n; ++i) whole += row[0][i];
        settled = whole < line.negligible || waiting + 2 > kMostWaiting ||
                  divisions >= kMostDivisions;
      }
      if (!settled) {
        ++divisions;
        if (halves.left[at] == 0) {
          halves.left[at] = halves.left.size();
          halves.left.resize(halves.left.size() + 2);
          const Index end = halves.rows.size();
          scratch.divided.resize(2 * block);
          interpolate(row, rows, n, matrices.left.data(), base, scratch.divided.data());
          interpolate(row, rows, n, matrices.right.data(), base, scratch.divided.data() + block);
          halves.rows.resize(end + 2 * block);  // the rows at hand may move
          std::copy_n(scratch.divided.data(), 2 * block, halves.rows.data() + end);
        }
        scratch.waiting[waiting++] = halves.left[at] + 1;
        scratch.waiting[waiting++] = halves.left[at];
      } else {
        leaf.template add<n>(row, one_plus_v);
      }
      if (waiting == 0) break;
      at = scratch.waiting[--waiting];
    }
  }
  return divisions < kMostDivisions;
}

template <class Leaf>
SPIKEDRF_INLINE bool visit(const PanelLine& line, const Complex* v, PanelScratch& scratch,
                           Leaf& leaf) {
  switch (line.degree) {
    case 16:
      return visit_degree<16>(line, v, scratch, leaf);
    case 24:
      return visit_degree<24>(line, v, scratch, leaf);
    case 32:
      return visit_degree<32>(line, v, scratch, leaf);
  }
  std::terminate();
}

}  // namespace spikedrf
