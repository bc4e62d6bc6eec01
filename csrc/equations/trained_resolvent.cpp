#include "equations/trained_resolvent.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "numerics/lanes.hpp"

namespace spikedrf {

namespace {

using Xi = std::array<double, 3>;

// Columns of the law: res, then with its powers the weights with s^2, with s, and alone.
enum Column { kRes, kAlong, kAlongSquare, kCrossed, kCrossedCube, kOnce, kSquare, kCube, kFourth,
              kColumns };

constexpr int kMostIterations = 60;

// With o = 1/det(1 + QH) = 1/(1 + linear res + square res^2), sums of o res^i, i = 1, 2, and of
// o^2 res^i, i = 2, 3, 4.
SPIKEDRF_MULTIVERSION
void newton_sums(const double* columns, Index n, double linear, double square, double* out) {
  double lane[5][kLanes] = {};
  for (Index i = 0; i < n; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) {
      const double* at = columns + i + j;
      const double r = at[0], over = 1.0 / (1.0 + r * (linear + square * r));
      const double twice = at[kSquare * n] * over, both = twice * over;
      lane[0][j] += at[kOnce * n] * over;
      lane[1][j] += twice;
      lane[2][j] += both;
      lane[3][j] += both * r;
      lane[4][j] += both * r * r;
    }
  }
  for (int k = 0; k < 5; ++k) out[k] = collect(lane[k]);
}

// Sums of o over all columns of weights.
SPIKEDRF_MULTIVERSION
void form_sums(const double* columns, Index n, double linear, double square, double* out) {
  double lane[kTrainedSums][kLanes] = {};
  for (Index i = 0; i < n; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) {
      const double* at = columns + i + j;
      const double over = 1.0 / (1.0 + at[0] * (linear + square * at[0]));
      lane[0][j] += at[kAlong * n] * over;
      lane[1][j] += at[kAlongSquare * n] * over;
      lane[2][j] += at[kCrossed * n] * over;
      lane[3][j] += at[kCrossedCube * n] * over;
      lane[4][j] += at[kOnce * n] * over;
      lane[5][j] += at[kSquare * n] * over;
      lane[6][j] += at[kCube * n] * over;
      lane[7][j] += at[kFourth * n] * over;
    }
  }
  for (int k = 0; k < kTrainedSums; ++k) out[k] = collect(lane[k]);
}

double largest(const Xi& xi) {
  return std::max({std::abs(xi[0]), std::abs(xi[1]), std::abs(xi[2])});
}

double determinant(const Xi& a, const Xi& b, const Xi& c) {
  return a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2]) +
         a[2] * (b[0] * c[1] - b[1] * c[0]);
}

}  // namespace

TrainedLaw::TrainedLaw(const double* law, Index nodes)
    : nodes_((nodes + kLanes - 1) / kLanes * kLanes), columns_(kColumns * nodes_, 0.0) {
  const double *res = law, *one = law + nodes, *s = law + 2 * nodes, *ss = law + 3 * nodes;
  for (Index i = 0; i < nodes; ++i) {
    const double r = res[i], rr = r * r;
    const double values[kColumns] = {r,          ss[i] * r,  ss[i] * rr,     s[i] * rr,
                                     s[i] * rr * r, one[i] * r, one[i] * rr, one[i] * rr * r,
                                     one[i] * rr * rr};
    for (int k = 0; k < kColumns; ++k) columns_[k * nodes_ + i] = values[k];
  }
}

// The equations of one bulk at one x.
class TrainedEquations {
 public:
  TrainedEquations(const TrainedLaw& law, double a, double b, double inverse)
      : law_(law), a_(a), b_(b), inverse_(inverse) {}

  // Q = 0, the value at large alpha0.
  Xi start() const {
    double sums[5];
    newton_sums(law_.columns_.data(), law_.nodes_, 0.0, 0.0, sums);
    return {2.0 * a_ * sums[0] + b_ * sums[1], a_ * sums[0], 0.0};
  }

  // Newton's method; where it would go far or to where no solution is, the equations as an
  // iteration, averaged with where they are, come near. False if it does not converge.
  bool solve(double x, Xi& xi) const {
    double before = std::numeric_limits<double>::infinity();
    for (int i = 0; i < kMostIterations; ++i) {
      Xi step, towards;
      newton(x, xi, step, towards);
      const double size = 1.0 + largest(xi);
      Xi next = {xi[0] + step[0], xi[1] + step[1], xi[2] + step[2]};
      const bool safe = largest(step) < 0.5 * size && regular(x, next);
      if (!safe) {
        step = {0.5 * towards[0], 0.5 * towards[1], 0.5 * towards[2]};
        next = {xi[0] + step[0], xi[1] + step[1], xi[2] + step[2]};
      }
      xi = next;
      const double length = largest(step) / size;
      if (!std::isfinite(length)) return false;
      // Convergence is quadratic: the step to come would be length^3/before^2. Once it ends, what
      // is left is rounding.
      const double ratio = length / before;
      if (safe && (length <= 1e-14 || (length <= 1e-9 && ratio > 0.1) ||
                   (length <= 1e-5 && ratio < 0.1 && length * ratio * ratio <= 1e-17))) {
        return true;
      }
      before = length;
    }
    return false;
  }

  void sums(double x, const Xi& xi, double* out) const {
    const Trace at(*this, x, xi);
    form_sums(law_.columns_.data(), law_.nodes_, at.linear, at.square, out);
  }

 private:
  // What the trace form is at Xi, and the denominator of the averages.
  struct Trace {
    double gap, e, whole, p, q11, linear, square;
    Trace(const TrainedEquations& of, double x, const Xi& xi)
        : gap(1.0 / (1.0 - xi[2])),
          e(xi[1] * gap),
          whole(1.0 + xi[0] + e * xi[1]),
          p(1.0 / (1.0 + x * whole)),
          q11(x * p * of.inverse_),
          linear(2.0 * of.a_ * q11 * (1.0 + e)),
          square(q11 * (of.b_ + of.a_ * of.a_ * of.inverse_ * gap)) {}
  };

  // Whether Xi may be met on the way: P > 0, and no residual has det(1 + QH) = 0.
  bool regular(double x, const Xi& xi) const {
    const Trace at(*this, x, xi);
    const double ends =
        a_ * a_ * (at.q11 * (1.0 + at.e) * (1.0 + at.e) - inverse_ * at.gap) - b_;
    return xi[2] <= 0.0 && at.whole > 0.0 && ends <= 0.0;
  }

  // The Newton step and the residual, with d Xi = -E q dQ q, and
  // q = (H + det(H) adj(Q))/det(1 + QH), det H = -(a res)^2.
  void newton(double x, const Xi& xi, Xi& step, Xi& residual) const {
    const Trace at(*this, x, xi);
    const double q11 = at.q11, q12 = q11 * at.e, q22 = q12 * at.e - inverse_ * at.gap;
    const double aa = a_ * a_;
    const Xi first = {2.0 * a_, a_, 0.0}, second = {b_ - aa * q22, aa * q12, -aa * q11};
    double sum[5];
    newton_sums(law_.columns_.data(), law_.nodes_, at.linear, at.square, sum);
    for (int i = 0; i < 3; ++i) residual[i] = first[i] * sum[0] + second[i] * sum[1] - xi[i];
    const auto pair = [&](int i, int j) {
      return first[i] * first[j] * sum[2] + (first[i] * second[j] + second[i] * first[j]) * sum[3] +
             second[i] * second[j] * sum[4];
    };
    const double p00 = pair(0, 0), p01 = pair(0, 1), p02 = pair(0, 2), p11 = pair(1, 1),
                 p12 = pair(1, 2), p22 = pair(2, 2);
    const double rows[3][3] = {{p00, 2.0 * p01, p11}, {p01, p02 + p11, p12}, {p11, 2.0 * p12, p22}};
    const Xi de = {0.0, at.gap, at.e * at.gap};
    const Xi moved = {1.0, 2.0 * at.e, at.e * at.e};
    std::array<Xi, 3> column;
    for (int i = 0; i < 3; ++i) {
      const double d11 = -x * at.p * q11 * moved[i], d12 = d11 * at.e + q11 * de[i];
      const double d22 = d11 * at.e * at.e + 2.0 * q12 * de[i] -
                         (i == 2 ? at.gap * at.gap * inverse_ : 0.0);
      for (int k = 0; k < 3; ++k) {
        column[i][k] = (i == k) + rows[k][0] * d11 + rows[k][1] * d12 + rows[k][2] * d22;
      }
    }
    // Cramer's rule: not finite where the Jacobian is singular.
    const double over = 1.0 / determinant(column[0], column[1], column[2]);
    step = {determinant(residual, column[1], column[2]) * over,
            determinant(column[0], residual, column[2]) * over,
            determinant(column[0], column[1], residual) * over};
  }

  const TrainedLaw& law_;
  double a_, b_, inverse_;
};

void solve_trained(const TrainedLaw& law, const double* bulk, const double* x, Index count,
                   Index stride, double* out) {
  const TrainedEquations equations(law, bulk[0], bulk[1], bulk[2]);
  const Xi start = equations.start();
  bool known = false, previous = false;
  Xi last = start, before = start;
  for (Index j = 0; j < count; ++j) {
    // From the line through the two solutions before; where that fails, from the last, from Q = 0.
    Xi found = start;
    bool done = false;
    if (known) {
      found = last;
      if (previous) {
        for (int k = 0; k < 3; ++k) found[k] += last[k] - before[k];
        done = equations.solve(x[j], found);
        if (!done) found = last;
      }
      done = done || equations.solve(x[j], found);
    }
    if (!done) {
      found = start;
      done = equations.solve(x[j], found);
    }
    double all[kTrainedSums];
    if (done) {
      equations.sums(x[j], found, all);
      before = last;
      last = found;
      previous = known;
      known = true;
    } else {
      found.fill(std::numeric_limits<double>::quiet_NaN());
      std::fill(all, all + kTrainedSums, found[0]);
    }
    for (int k = 0; k < 3; ++k) out[k * stride + j] = found[k];
    for (int k = 0; k < kTrainedSums; ++k) out[(3 + k) * stride + j] = all[k];
  }
}

}  // namespace spikedrf
