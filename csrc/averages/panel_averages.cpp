#include "averages/panel_averages.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "averages/panel_line.hpp"
#include "averages/panel_strips.hpp"
#include "numerics/dispatch.hpp"
#include "numerics/lanes.hpp"
#include "numerics/small_matrix.hpp"

namespace spikedrf {

namespace {

struct ResponseSums {
  int features;
  double* lanes;  // of every sum below, real and imaginary part: kLanes of each
  double lowest[kLanes];

  ResponseSums(int count, Array<double>& room) : features(count) {
    room.assign(2 * kLanes * (count + pair_count(count)), 0.0);
    lanes = room.data();
    std::fill_n(lowest, kLanes, std::numeric_limits<double>::infinity());
  }

  template <int n>
  SPIKEDRF_INLINE void add(const double* const* row, const Denominator& d) {
    double w_re[kMaxDegree], w_im[kMaxDegree], w2_re[kMaxDegree], w2_im[kMaxDegree];
    const double* weight = row[0];
    for (int i = 0; i < n; i += kLanes) {
      SPIKEDRF_SIMD
      for (int j = 0; j < kLanes; ++j) {
        const double re = d.re[i + j];
        const double im = d.im[i + j];
        const double inverse = 1.0 / (re * re + im * im);
        const double o_re = re * inverse;
        const double o_im = -im * inverse;
        const double w = weight[i + j];
        w_re[i + j] = w * o_re;
        w_im[i + j] = w * o_im;
        w2_re[i + j] = w * o_re * o_re - w * o_im * o_im;
        w2_im[i + j] = 2.0 * w * o_re * o_im;
        const double low = -o_im * std::fabs(im);
        lowest[j] = low < lowest[j] ? low : lowest[j];
      }
    }
    double* sum = lanes;
    for (int a = 0; a < features; ++a, sum += 2 * kLanes) {
      add_products<n>(w_re, w_im, row[1 + a], sum);
    }
    for (int a = 0; a < features; ++a) {
      const double* f = row[1 + a];
      double f2_re[kMaxDegree], f2_im[kMaxDegree];
      SPIKEDRF_SIMD
      for (int i = 0; i < n; ++i) {
        f2_re[i] = w2_re[i] * f[i];
        f2_im[i] = w2_im[i] * f[i];
      }
      for (int b = a; b < features; ++b, sum += 2 * kLanes) {
        add_products<n>(f2_re, f2_im, row[1 + b], sum);
      }
    }
  }

  template <int n>
  SPIKEDRF_INLINE static void add_products(const double* re, const double* im, const double* f,
                                           double* sum) {
    double sum_re[kLanes], sum_im[kLanes];
    for (int j = 0; j < kLanes; ++j) {
      sum_re[j] = sum[j];
      sum_im[j] = sum[kLanes + j];
    }
    for (int i = 0; i < n; i += kLanes) {
      SPIKEDRF_SIMD
      for (int j = 0; j < kLanes; ++j) {
        sum_re[j] += re[i + j] * f[i + j];
        sum_im[j] += im[i + j] * f[i + j];
      }
    }
    for (int j = 0; j < kLanes; ++j) {
      sum[j] = sum_re[j];
      sum[kLanes + j] = sum_im[j];
    }
  }

  // sum[a] = E f_a omega, curvature[a, b] = E f_a f_b omega^2.
  void collect_into(Complex* sum, Complex* curvature) const {
    const double* next = lanes;
    const auto take = [&] {
      const Complex value(collect(next), collect(next + kLanes));
      next += 2 * kLanes;
      return value;
    };
    for (int a = 0; a < features; ++a) sum[a] = take();
    for (int a = 0; a < features; ++a) {
      for (int b = a; b < features; ++b) {
        curvature[a * features + b] = curvature[b * features + a] = take();
      }
    }
  }
};

// The argument of re + i im, im >= 0, from 0 to pi, to within rounding; 0 at the origin. A
// Chebyshev fit of atan(t)/t on |t| <= tan(pi/8), to which every ratio is rotated.
SPIKEDRF_INLINE double argument(double re, double im) {
  constexpr double kTanPi8 = 0.41421356237309504880;
  constexpr double kPi4 = 0.78539816339744830962;
  const double x = std::fabs(re);
  const bool steep = im > x;
  const double larger = steep ? im : x;
  const double smaller = steep ? x : im;
  const bool rotate = smaller > kTanPi8 * larger;
  const double above = rotate ? smaller - larger : smaller;
  const double below = rotate ? smaller + larger : larger;
  const double t = above / (below > 0.0 ? below : 1.0);
  const double u = t * t;
  double series = -0.017805397205419446;
  series = series * u + 0.03796525745386593;
  series = series * u - 0.05035102456601552;
  series = series * u + 0.05846878297330872;
  series = series * u - 0.06662951813629191;
  series = series * u + 0.07692045330902225;
  series = series * u - 0.09090896809064027;
  series = series * u + 0.11111110744919658;
  series = series * u - 0.14285714279250245;
  series = series * u + 0.19999999999940893;
  series = series * u - 0.3333333333333312;
  double angle = t + t * (series * u);
  angle = rotate ? kPi4 + angle : angle;
  angle = steep ? 2.0 * kPi4 - angle : angle;
  return re < 0.0 ? 4.0 * kPi4 - angle : angle;
}

struct ArgumentSum {
  double total = 0.0;

  template <int n>
  SPIKEDRF_INLINE void add(const double* const* row, const Denominator& d) {
    const double* weight = row[0];
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < n; ++i) {
      sum += weight[i] * argument(d.re[i], std::max(d.im[i], 0.0));
    }
    total += sum;
  }
};

struct FormSums {
  int first;  // row of the first function
  int count;
  Complex* form;

  template <int n>
  SPIKEDRF_INLINE void add(const double* const* row, const Denominator& d) {
    for (int k = 0; k < count; ++k) {
      for (int l = k; l < count; ++l) {
        double total = 0.0;
        for (int i = 0; i < n; ++i) {
          total += row[0][i] / d.re[i] * (row[first + k][i] * row[first + l][i]);
        }
        form[k * count + l] += total;
      }
    }
  }
};

// Numbers that a line adds up to. In a plane the first of them says whether strips of lines resolve
// what they have to.
SPIKEDRF_MULTIVERSION
bool response_sums(const PanelLine& line, const Complex* v, PanelScratch& scratch, Complex* sum,
                   double* lowest) {
  ResponseSums leaf(line.features, scratch.lanes);
  const bool resolved = visit(line, v, scratch, leaf);
  leaf.collect_into(sum + 1, sum + 1 + line.features);
  sum[0] = 0.0;  // E V omega
  for (int a = 0; a < line.features; ++a) sum[0] += v[a] * sum[1 + a];
  *lowest = std::min(*lowest, *std::min_element(leaf.lowest, leaf.lowest + kLanes));
  return resolved;
}

SPIKEDRF_MULTIVERSION
bool argument_sum(const PanelLine& line, const Complex* v, PanelScratch& scratch, Complex* sum,
                  double*) {
  ArgumentSum leaf;
  const bool resolved = visit(line, v, scratch, leaf);
  *sum = leaf.total;
  return resolved;
}

// Asked for at some hundred points of a spectrum: not worth a version for every kind of processor.
bool form_sums(const PanelLine& line, const Complex* v, PanelScratch& scratch, Complex* sum,
               double*) {
  const int first = 1 + line.features;
  const int count = line.rows - first;
  std::fill_n(sum, count * count, Complex(0.0));
  FormSums leaf{first, count, sum};
  return visit(line, v, scratch, leaf);
}
// Adds up all panels: a line of them, or strips of lines. The rows are the weights, the features
// and `more`.
bool sum_panels(const PanelTables& panels, const double* weight, const Array<const double*>& more,
                const Complex* v, const LineSums& sums, PanelHalves& halves, PanelScratch& scratch,
                Complex* total, double* lowest) {
  const Tables& tables = panels.tables;
  const int features = pair_count(tables.groups) + tables.groups;
  Array<const double*>& row = scratch.whole;
  row.assign(1, weight);
  for (int a = 0; a < features; ++a) row.push_back(tables.feature(a));
  row.insert(row.end(), more.begin(), more.end());
  const bool plane = !panels.strip.empty();
  const PanelLine line{row.data(),
                  static_cast<int>(row.size()),
                  features,
                  panels.degree,
                  panels.panels,
                  plane ? kNegligibleInPlane : kNegligibleWeight,
                  &halves};
  if (!plane) return sums.along(line, v, scratch, total, lowest);
  return sum_strips(panels, line, v, sums, scratch, total, lowest);
}

}  // namespace

PanelReport panel_averages(const PanelTables& panels, const Complex* v, PanelScratch& scratch,
                           Complex* sum, Complex* curvature) {
  const int features = pair_count(panels.tables.groups) + panels.tables.groups;
  const Index count = 1 + features + features * features;
  scratch.total.assign(count, Complex(0.0));
  double lowest = std::numeric_limits<double>::infinity();
  const bool resolved =
      sum_panels(panels, panels.tables.weight(), {}, v, {response_sums, count, 0.0},
                 panels.halves, scratch, scratch.total.data(), &lowest);
  const Complex* const found = scratch.total.data() + 1;
  for (int a = 0; a < features; ++a) {
    sum[a] = found[a];
    for (int b = a; b < features; ++b) {
      curvature[a * features + b] = curvature[b * features + a] =
          found[features + a * features + b];
    }
  }
  return {resolved, lowest};
}

double mean_argument(const PanelTables& panels, const Complex* v, PanelScratch& scratch) {
  Complex total(0.0);
  double unused = 0.0;
  sum_panels(panels, panels.tables.weight(), {}, v, {argument_sum, 1, 1.0}, panels.halves,
             scratch, &total, &unused);
  return total.real();
}

void signal_forms(const PanelTables& folded, int of_class, const Complex* v, PanelScratch& scratch,
                  Array<double>& form) {
  const PanelTables& panels = folded.whole != nullptr ? *folded.whole : folded;
  const Tables& tables = panels.tables;
  const int groups = tables.groups;
  const int spans = tables.latents.spans;
  Array<const double*> functions;
  for (int k = 0; k < groups; ++k) functions.push_back(tables.mu0(k));
  for (int k = 0; k < spans * groups; ++k) functions.push_back(tables.column(k));
  for (int k = 0; k < groups; ++k) functions.push_back(tables.mu1(k));
  for (int k = 0; k < groups && !panels.length.empty(); ++k) {
    functions.push_back(panels.length.data() + k * tables.nodes);
  }
  const int count = static_cast<int>(functions.size());
  scratch.total.assign(count * count, Complex(0.0));
  double unused = 0.0;
  PanelHalves halves;
  sum_panels(panels, panels.weight(of_class), functions, v, {form_sums, count * count, 1e300},
             halves, scratch, scratch.total.data(), &unused);
  form.resize(count * count);
  for (int k = 0; k < count; ++k) {
    for (int l = k; l < count; ++l) {
      form[k * count + l] = form[l * count + k] = scratch.total[k * count + l].real();
    }
  }
}

SPIKEDRF_MULTIVERSION
double lowest_slope(const PanelTables& panels, const double* slope) {
  const Tables& tables = panels.tables;
  const int features = pair_count(tables.groups) + tables.groups;
  double lowest = std::numeric_limits<double>::infinity();
  for (Index i = 0; i < tables.nodes; ++i) {
    double value = 0.0;
    double size = 0.0;
    for (int a = 0; a < features; ++a) {
      const double term = slope[a] * tables.feature(a)[i];
      value += term;
      size += std::fabs(term);
    }
    if (size > 0.0) lowest = std::min(lowest, value / size);
  }
  return lowest;
}

}  // namespace spikedrf
