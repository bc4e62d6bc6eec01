#include "averages/panel_averages.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>

#include "numerics/dispatch.hpp"
#include "numerics/lanes.hpp"
#include "numerics/small_matrix.hpp"

namespace spikedrf {

namespace {

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

// Values at the n nodes of the left half of a panel from those at its n Gauss-Legendre nodes
// (matrix[j * n + i]: node i from node j), and the same for the right half.
struct Halves {
  Array<double> left, right;
};

Halves interpolate_halves(int n) {
  const LegendreRule& rule = legendre_rule(n);
  Halves halves;
  halves.left.resize(n * n);
  halves.right.resize(n * n);
  Array<double> share(n);
  const auto at = [n](int j, int i) { return j * n + i; };
  for (int i = 0; i < n; ++i) {
    const double x = 0.5 * (rule.node[i] - 1.0);
    double total = 0.0;
    for (int j = 0; j < n; ++j) {
      // Barycentric weights of Gauss-Legendre nodes; no node of a half is one of the whole.
      const double t = rule.node[j];
      const double weight = std::sqrt((1.0 - t * t) * rule.weight[j]);
      share[j] = (j % 2 == 0 ? weight : -weight) / (x - t);
      total += share[j];
    }
    for (int j = 0; j < n; ++j) {
      halves.left[at(j, i)] = share[j] / total;
      halves.right[at(n - 1 - j, n - 1 - i)] = halves.left[at(j, i)];
    }
  }
  return halves;
}

const Halves& halves_of(int degree) {
  static const Halves all[] = {interpolate_halves(16), interpolate_halves(24),
                               interpolate_halves(32)};
  return all[(degree - 16) / 8];
}

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
struct Line {
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
SPIKEDRF_INLINE bool visit_degree(const Line& line, const Complex* v, PanelScratch& scratch,
                                  Leaf& leaf) {
  const int features = line.features;
  const int rows = line.rows;
  PanelHalves& halves = *line.halves;
  const LegendreRule& base = legendre_rule(n);
  const Halves& matrices = halves_of(n);
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
SPIKEDRF_INLINE bool visit(const Line& line, const Complex* v, PanelScratch& scratch, Leaf& leaf) {
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
bool response_sums(const Line& line, const Complex* v, PanelScratch& scratch, Complex* sum,
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
bool argument_sum(const Line& line, const Complex* v, PanelScratch& scratch, Complex* sum,
                  double*) {
  ArgumentSum leaf;
  const bool resolved = visit(line, v, scratch, leaf);
  *sum = leaf.total;
  return resolved;
}

// Asked for at some hundred points of a spectrum: not worth a version for every kind of processor.
bool form_sums(const Line& line, const Complex* v, PanelScratch& scratch, Complex* sum, double*) {
  const int first = 1 + line.features;
  const int count = line.rows - first;
  std::fill_n(sum, count * count, Complex(0.0));
  FormSums leaf{first, count, sum};
  return visit(line, v, scratch, leaf);
}

// Numbers that are summed up along lines.
struct LineSums {
  bool (*along)(const Line& line, const Complex* v, PanelScratch& scratch, Complex* sum,
                double* lowest);
  Index count;
  // In a plane the first of them says whether a strip resolves what it has to: its coefficients in
  // Legendre polynomials are held against its size and so much times the strip's weight.
  double floor;
};

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

// Adds up the lines of a plane, strip by strip. Where poles of 1/(1 + V) on a line come together
// between two lines their sum has a root singularity, and strips that have it inside are halved.
// False if that did not end somewhere.
bool sum_strips(const PanelTables& panels, Line line, const Complex* v, const LineSums& sums,
                PanelScratch& scratch, Complex* total, double* lowest) {
  constexpr int kMostStrips = 120;  // a search gone astray asks for more
  const int n = panels.degree;
  const LegendreRule& base = legendre_rule(n);
  const Halves& halves = halves_of(n);
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
  const Line line{row.data(),
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
