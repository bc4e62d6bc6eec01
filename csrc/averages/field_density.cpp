#include "averages/field_density.hpp"

#include <algorithm>
#include <cmath>

#include "numerics/dispatch.hpp"
#include "numerics/vector_math.hpp"

namespace spikedrf {

namespace {

constexpr double kInvSqrtTwoPi = 0.39894228040143267794;
// Points that are written at a time: rows have room for as many beyond their end.
constexpr Index kBlock = 8;

// What is spread on a uniform grid, whose point of number i is origin + i step. With mu = offset
// steps above the point nearest to it the Gaussian i points further is
// e^{-offset^2/2} e^{i offset} e^{-i^2/2} in units of tau/step: the last factor is a profile that
// all share, the second a geometric sequence of ratio[j], which begins, `half` points below the
// middle, with start[j], the weight and all else included. Entries begin at place[j], `first` the
// number of the point that is kept at 0.
SPIKEDRF_MULTIVERSION
void prepare_spread(const double* mu, const double* weight, Index n, double origin, double step,
                    double tau, double half, double first, double* SPIKEDRF_RESTRICT start,
                    double* SPIKEDRF_RESTRICT ratio, double* SPIKEDRF_RESTRICT place) noexcept {
  const double inverse = 1.0 / step;
  const double scale = (step / tau) * (step / tau);
  const double norm = kInvSqrtTwoPi * step / tau;
  SPIKEDRF_SIMD
  for (Index j = 0; j < n; ++j) {
    const double at = (mu[j] - origin) * inverse;
    const double middle = std::floor(at + 0.5);
    const double offset = at - middle;
    const double rate = scale * offset;
    start[j] = norm * weight[j] * vmath::exp_in_range(-rate * (0.5 * offset + half));
    ratio[j] = vmath::exp_in_range(rate);
    place[j] = middle - half - first;
  }
}

struct Spread {
  const double* start;
  const double* ratio;
  const double* place;
  const double* zeta;
  Index count, width;
};

// Adds weight (1, zeta, zeta^2) N(x; mu, tau^2) step to the rows, eight points at a time.
SPIKEDRF_MULTIVERSION
void spread_uniform(const Spread& s, const double* SPIKEDRF_RESTRICT profile, bool squares,
                    double* SPIKEDRF_RESTRICT first, double* SPIKEDRF_RESTRICT second,
                    double* SPIKEDRF_RESTRICT third) noexcept {
  for (Index j = 0; j < s.count; ++j) {
    const double zeta = s.zeta[j];
    const double square = zeta * zeta;
    const double q = s.ratio[j];
    const double q2 = q * q;
    const double q4 = q2 * q2;
    const double ratio = q4 * q4;
    const double start = s.start[j];
    const double third_of = start * q2;
    double power[kBlock] = {start, start * q, third_of, third_of * q};
    for (int k = 0; k < 4; ++k) power[4 + k] = q4 * power[k];
    const Index place = static_cast<Index>(s.place[j]);
    double* const row0 = first + place;
    double* const row1 = second + place;
    double* const row2 = third + place;
    for (Index b = 0; b < s.width; b += kBlock) {
      SPIKEDRF_SIMD
      for (int k = 0; k < kBlock; ++k) {
        const double here = power[k] * profile[b + k];
        row0[b + k] += here;
        row1[b + k] += zeta * here;
        if (squares) row2[b + k] += square * here;
        power[k] *= ratio;
      }
    }
  }
}

SPIKEDRF_MULTIVERSION
void spread_panels(const double* x, const double* quadrature, Index n, double mu, double inverse,
                   double weight, double zeta, double* first, double* second,
                   double* third) noexcept {
  const double norm = kInvSqrtTwoPi * inverse * weight;
  SPIKEDRF_SIMD
  for (Index i = 0; i < n; ++i) {
    const double z = (x[i] - mu) * inverse;
    const double here = norm * quadrature[i] * vmath::exp_in_range(-0.5 * z * z);
    first[i] += here;
    second[i] += zeta * here;
    third[i] += zeta * zeta * here;
  }
}

// The field of signs without noise: zeta given omega is N(slope (omega - mean), width^2), and jumps
// are at `cut`, the first label to the left of them all being +1 or not. omega - mean is `away` at
// the first point and a step less at the next.
struct CutField {
  double away, step, inverse, slope, width, flip, up_first;
};

// Rows of the two labels at the same omega; the weight times zeta^2 if wanted.
SPIKEDRF_MULTIVERSION
void spread_cuts(const CutField& c, const double* cut, Index cuts, Index n, Index stride,
                 bool squares, double* SPIKEDRF_RESTRICT up,
                 double* SPIKEDRF_RESTRICT down) noexcept {
  const double inverse_width = 1.0 / c.width;
  const double scale = kInvSqrtTwoPi * c.step * c.inverse;
  const double kept = 1.0 - 2.0 * c.flip;
  const double variance = c.width * c.width;
  SPIKEDRF_SIMD
  for (Index i = 0; i < n; ++i) {
    const double away = c.away - c.step * static_cast<double>(i);
    const double centre = c.slope * away;
    const double z = away * c.inverse;
    const double bounded = z > 37.0 ? 37.0 : (z < -37.0 ? -37.0 : z);
    const double density = scale * vmath::exp_in_range(-0.5 * bounded * bounded);
    const double square = centre * centre + variance;
    double up0 = c.up_first;
    double up1 = c.up_first * centre;
    double up2 = c.up_first * square;
    double jump = 1.0 - 2.0 * c.up_first;
    for (Index k = 0; k < cuts; ++k) {
      const double raw = (cut[k] - centre) * inverse_width;
      const double at = raw > 37.0 ? 37.0 : (raw < -37.0 ? -37.0 : raw);
      const auto beyond = vmath::normal_tail_and_gaussian(at);
      const double tail = at > 0.0 ? beyond.tail : 1.0 - beyond.tail;
      const double pdf = kInvSqrtTwoPi * c.width * beyond.gaussian;
      up0 += jump * tail;
      up1 += jump * (centre * tail + pdf);
      up2 += jump * (square * tail + (centre + cut[k]) * pdf);
      jump = -jump;
    }
    const double of_up0 = c.flip + kept * up0;
    const double of_up1 = c.flip * centre + kept * up1;
    up[i] = density * of_up0;
    down[i] = density * (1.0 - of_up0);
    up[stride + i] = density * of_up1;
    down[stride + i] = density * (centre - of_up1);
    if (squares) {
      const double of_up2 = c.flip * square + kept * up2;
      up[2 * stride + i] = density * of_up2;
      down[2 * stride + i] = density * (square - of_up2);
    }
  }
}

SPIKEDRF_MULTIVERSION
void fill_profile(double* profile, Index count, double half, double step) noexcept {
  SPIKEDRF_SIMD
  for (Index i = 0; i < count; ++i) {
    const double z = (static_cast<double>(i) - half) * step;
    profile[i] = vmath::exp_in_range(-0.5 * z * z);
  }
}

// Adds the sums over x of one label.
SPIKEDRF_MULTIVERSION
void sum_grid(Index n, double sigma, const PhiRows& phi, const double* w0, const double* w1,
              const double* w2, bool hessian, EnvelopeSums& sums) noexcept {
  double f = 0.0, zf = 0.0, f2 = 0.0, slope = 0.0;
#pragma omp simd reduction(+ : f, zf, f2, slope)
  for (Index i = 0; i < n; ++i) {
    f += w0[i] * phi.phi[i];
    zf += w1[i] * phi.phi[i];
    f2 += w0[i] * phi.phi[i] * phi.phi[i];
    slope += w0[i] * phi.slope[i];
  }
  sums.f += sigma * f;
  sums.zeta_f[0] += sigma * zf;
  sums.f2 += f2;
  sums.slope += slope;
  if (!hessian) return;
  double ms = 0.0, ss = 0.0, mt = 0.0, st = 0.0, tt = 0.0, mV = 0.0, sV = 0.0, tV = 0.0, VV = 0.0;
#pragma omp simd reduction(+ : ms, ss, mt, st, tt, mV, sV, tV, VV)
  for (Index i = 0; i < n; ++i) {
    const double along = phi.phi[i] * phi.slope[i];
    ms += w1[i] * phi.slope[i];
    ss += w2[i] * phi.slope[i];
    mt += w0[i] * phi.bend[i];
    st += w1[i] * phi.bend[i];
    tt += w0[i] * phi.third[i];
    mV += w0[i] * along;
    sV += w1[i] * along;
    tV += w0[i] * (phi.slope[i] * phi.slope[i] + phi.phi[i] * phi.bend[i]);
    VV += w0[i] * phi.phi[i] * along;
  }
  const auto add = [&sums](int a, int b, double value) {
    sums.second[a][b] += value;
    if (a != b) sums.second[b][a] += value;
  };
  add(kMean, kMean, slope);
  add(kMean, kS, ms);
  add(kS, kS, ss);
  add(kMean, kT, -0.5 * sigma * mt);
  add(kS, kT, -0.5 * sigma * st);
  add(kT, kT, 0.25 * tt);
  add(kMean, kV, sigma * mV);
  add(kS, kV, sigma * sV);
  add(kT, kV, -0.5 * tV);
  add(kV, kV, VV);
}

}  // namespace

// Signs without noise: given omega, zeta is N(centre, width^2) and the label a function of it with
// jumps, so that the density of x is known in closed form. False where no uniform grid will do.
bool FieldDensity::spread_signs(const LabelTable& labels, Index node, double flip,
                                const CavityField& field, bool fresh, bool hessian) {
  if (!labels.known_cuts()) return false;
  const double least = corners_of(loss_, fresh ? kNoResponse : field.V).strip;
  const double strip = std::min(corners_of(loss_, field.V).strip, least);
  const double s = field.s[0];
  const double tau = std::sqrt(field.t);
  const double power = field.t + s * s;
  const double root = std::sqrt(power);
  constexpr double kMostSteps = 64.0;  // in a standard deviation, roughly
  constexpr double kLeastWidth = 1e-9;  // that double precision tells from the mean
  if (strip < 0.5 * tau || root > kMostSteps * tau) return false;
  if (tau < kLeastWidth * (1.0 + std::fabs(field.mean))) return false;
  const double reach = grid_.cutoff() * root;
  const double width = std::sqrt(field.t / power);
  CutField cut{0.0, 0.0, 1.0 / root, s / power, width, flip, labels.up_first() ? 1.0 : 0.0};
  const auto rows = [&](Index n) {
    cut.step = grid_.step();
    density_.assign(6 * (grid_.size() + kBlock), 0.0);
    profile_.resize(3 * n);
  };
  // From the scratch rows of n points to those of a side, as they are or turned around.
  const auto put = [&](int side, Index n, Index place, bool turned) {
    const Index stride = grid_.size() + kBlock;
    for (Index row = 0; row < (hessian ? 3 : 2); ++row) {
      const double* const from = profile_.data() + row * n;
      double* const to = density_.data() + (3 * side + row) * stride + place;
      turned ? std::reverse_copy(from, from + n, to) : std::copy(from, from + n, to);
    }
  };
  if (traits(loss_).margin) {
    // x = 1 - y omega: what is at x of one label is at 2 - x of the other.
    const Index n = grid_.lay_about_one(std::fabs(field.mean), tau, strip, reach);
    const bool together = grid_.size() == n;
    const Index place = !together && field.mean < 0.0 ? n : 0;
    rows(n);
    up_.resize(3 * n);
    cut.away = static_cast<double>(n / 2) * cut.step - (together ? field.mean : 0.0);
    spread_cuts(cut, labels.cuts(node), labels.cut_count(), n, n, hessian, up_.data(),
                profile_.data());
    put(1, n, grid_.size() - n - place, true);
    up_.swap(profile_);
    put(0, n, place, false);
    return true;
  }
  const double centre[] = {1.0 - field.mean, -1.0 - field.mean};
  grid_.lay_uniform(centre, 2, tau, strip, reach);
  const Array<PhiGrid::Piece>& pieces = grid_.pieces();
  for (int side = 0; side < 2; ++side) {
    // The centre of the labels -1 is the origin.
    const PhiGrid::Piece& piece = side == 1 ? pieces.front() : pieces.back();
    const bool last = side == 0 || pieces.size() == 1;
    const Index n = (last ? grid_.size() : pieces.back().place) - piece.place;
    if (side == 0) rows(grid_.size());
    up_.resize(3 * n);
    profile_.resize(3 * n);
    cut.away = (side == 0 ? 2.0 : 0.0) - piece.step * cut.step;
    spread_cuts(cut, labels.cuts(node), labels.cut_count(), n, n, hessian, up_.data(),
                profile_.data());
    if (side == 0) up_.swap(profile_);
    put(side, n, piece.place, false);
  }
  return true;
}

// The density of x on the grid, label by label, in rows with some room.
void FieldDensity::spread(const FieldEntries& e, double V, bool fresh, bool hessian) {
  const PhiGrid::Kind kind = grid_.lay(e.mu, e.count, e.tau, V, fresh);
  const Index stride = grid_.size() + kBlock;
  density_.assign(6 * stride, 0.0);
  const auto rows_of = [&](Index j) {
    return density_.data() + (kind_ == LabelKind::sign && e.label[j] < 0.0 ? 3 * stride : 0);
  };
  if (kind == PhiGrid::Kind::three) {
    for (Index j = 0; j < e.count; ++j) {
      double* const row = rows_of(j);
      for (Index i = 3 * j; i < 3 * j + 3; ++i) {
        row[i] = e.weight[j] * grid_.quadrature()[i];
        row[stride + i] = e.zeta[j] * row[i];
        row[2 * stride + i] = e.zeta[j] * row[stride + i];
      }
    }
    return;
  }
  if (kind == PhiGrid::Kind::panels) {
    for (Index j = 0; j < e.count; ++j) {
      const auto [start, size] = grid_.near(e.mu[j]);
      double* const row = rows_of(j) + start;
      spread_panels(grid_.x() + start, grid_.quadrature() + start, size, e.mu[j], 1.0 / e.tau,
                    e.weight[j], e.zeta[j], row, row + stride, row + 2 * stride);
    }
    return;
  }
  const double step = grid_.step() / e.tau;
  const double half = std::ceil(grid_.cutoff() / step);
  const Index width = (2 * static_cast<Index>(half) + kBlock) / kBlock * kBlock;
  profile_.assign(width, 0.0);
  fill_profile(profile_.data(), 2 * static_cast<Index>(half) + 1, half, step);
  for (auto* array : {&start_, &ratio_, &place_}) array->resize(e.count);
  const Array<PhiGrid::Piece>& pieces = grid_.pieces();
  const double first = pieces.front().step;
  prepare_spread(e.mu, e.weight, e.count, grid_.origin(), grid_.step(), e.tau, half, first,
                 start_.data(), ratio_.data(), place_.data());
  for (Index j = 0; j < e.count && pieces.size() > 1; ++j) {
    const auto after = std::upper_bound(
        pieces.begin(), pieces.end(), place_[j] + first,
        [](double number, const PhiGrid::Piece& piece) { return number < piece.step; });
    const PhiGrid::Piece& piece = *(after - 1);
    place_[j] += first - piece.step + static_cast<double>(piece.place);
  }
  for (int side = 0; side < 2; ++side) {
    const Index from = side == 0 ? 0 : e.ups;
    const Index n = side == 0 ? e.ups : e.count - e.ups;
    double* const row = density_.data() + side * 3 * stride;
    const Spread what{start_.data() + from, ratio_.data() + from, place_.data() + from,
                      e.zeta + from, n, width};
    spread_uniform(what, profile_.data(), hessian, row, row + stride, row + 2 * stride);
  }
}

EnvelopeSums FieldDensity::envelope(double V, bool hessian) {
  const PhiRows phi = grid_.phi(V);
  const Index stride = grid_.size() + kBlock;
  const bool margin = traits(loss_).margin;
  EnvelopeSums sums;
  for (int side = 0; side < (kind_ == LabelKind::sign ? 2 : 1); ++side) {
    const double* const row = density_.data() + side * 3 * stride;
    const double sigma = margin && side == 1 ? -1.0 : 1.0;
    sum_grid(grid_.size(), sigma, phi, row, row + stride, row + 2 * stride, hessian, sums);
  }
  return sums;
}

// But for the test error of real labels, which the entries give.
void FieldDensity::outcome(double V, Outcome& result) {
  const PhiRows phi = grid_.phi(V);
  const Index n = grid_.size();
  const Index stride = n + kBlock;
  loss_values(loss_, phi.t, phi.bend, n);
  loss_values(loss_, grid_.x(), phi.third, n);
  const double* const up = density_.data();
  const double* const down = up + 3 * stride;
  const bool margin = traits(loss_).margin;
  const double* const x = grid_.x();
  double force = 0.0, omega = 0.0;  // times the label
  for (Index i = 0; i < n; ++i) {
    const double both = up[i] + down[i];
    result.train_loss += both * phi.bend[i];
    result.test_loss += both * phi.third[i];
    if (kind_ == LabelKind::real) result.train_error += both * phi.t[i] * phi.t[i];
    const double against = margin ? both : up[i] - down[i];
    force += against * phi.phi[i];
    omega += both - against * x[i];
  }
  if (kind_ == LabelKind::real) return;
  result.test_margin = omega;
  result.train_margin = omega + V * force;
}

}  // namespace spikedrf
