#include "averages/panel_strips.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace spikedrf {

namespace {

// Rows of lines (rows x n x length) at the nodes of one half of their strip, as `interpolate`.
void interpolate_lines(const double* const* row, int rows, int n, Index length,
                       const double* matrix, const LegendreRule& base, double* out) {
  std::fill_n(out, rows * n * length, 0.0);
  for (int r = 0; r < rows; ++r) {
    for (int i = 0; i < n; ++i, out += length) {
      for (int j = 0; j < n; ++j) {
        const double own = r > 0 ? 1.0 : 0.5 * base.weight[i] / base.weight[j];
        const double share = matrix[j * n + i] * own;
        const double* in = row[r] + j * length;
        SPIKEDRF_SIMD
        for (Index t = 0; t < length; ++t) out[t] += share * in[t];
      }
    }
  }
}

// Whether what the lines of a strip sum up to, `first` of each, is resolved by their Legendre rule,
// beside its own size and `weight` or beside one. (Where V is large E V omega is one.)
bool even(const Complex* first, Index stride, int n, double weight) {
  constexpr double kEven = 3e-8;  // what is left of the average is about the square
  constexpr double kUnseen = 1e-12;
  const LegendreRule& base = legendre_rule(n);
  Complex last(0.0), before(0.0);
  double size = weight;
  for (int i = 0; i < n; ++i) {
    const double x = base.node[i];
    double p0 = 1.0, p1 = x;
    for (int k = 2; k < n; ++k) {
      const double p2 = ((2.0 * k - 1.0) * x * p1 - (k - 1.0) * p0) / k;
      p0 = p1;
      p1 = p2;
    }
    before += p0 * first[i * stride];
    last += p1 * first[i * stride];
    size += std::abs(first[i * stride]);
  }
  return std::abs(last) + std::abs(before) <= std::max(kEven * size, kUnseen);
}

}  // namespace

bool sum_strips(const PanelTables& panels, PanelLine line, const Complex* v, const LineSums& sums,
                PanelScratch& scratch, Complex* total, double* lowest) {
  constexpr int kMostStrips = 120;  // a search gone astray asks for more
  const int n = panels.degree;
  const LegendreRule& base = legendre_rule(n);
  const LegendreHalves& halves = legendre_halves(n);
  Array<const double*> whole(line.row, line.row + line.rows), row(whole), of_line(whole);
  Array<Complex> part(n * sums.count);
  line.row = of_line.data();
  line.halves = &scratch.of_line;
  int divisions = 0;
  for (Index s = 0; s + 1 < panels.strip.size(); ++s) {
    const Index length = (panels.strip[s + 1] - panels.strip[s]) / n;
    line.panels = length / n;
    for (int r = 0; r < line.rows; ++r) row[r] = whole[r] + panels.strip[s];
    for (Index waiting = 0;;) {
      for (int i = 0; i < n; ++i) {
        scratch.of_line.left.clear();
        for (int r = 0; r < line.rows; ++r) of_line[r] = row[r] + i * length;
        if (!sums.along(line, v, scratch, part.data() + i * sums.count, lowest)) return false;
      }
      double weight = 0.0;
      for (Index t = 0; t < n * length; ++t) weight += row[0][t];
      if (weight < kNegligibleWeight || waiting + 2 > kMostWaiting ||
          even(part.data(), sums.count, n, sums.floor * weight)) {
        for (int i = 0; i < n; ++i) {
          for (Index a = 0; a < sums.count; ++a) total[a] += part[i * sums.count + a];
        }
      } else {
        if (++divisions > kMostStrips) return false;
        while (scratch.strips.size() < waiting + 3) scratch.strips.emplace_back();
        for (const Array<double>* half : {&halves.right, &halves.left}) {
          Array<double>& next = scratch.strips[++waiting];
          next.resize(line.rows * n * length);
          interpolate_lines(row.data(), line.rows, n, length, half->data(), base, next.data());
        }
      }
      if (waiting == 0) break;
      std::swap(scratch.strips[0], scratch.strips[waiting--]);
      for (int r = 0; r < line.rows; ++r) row[r] = scratch.strips[0].data() + r * n * length;
    }
  }
  return true;
}

}  // namespace spikedrf
