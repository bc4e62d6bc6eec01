#include "averages/phi_grid.hpp"

#include <algorithm>
#include <cmath>

#include "numerics/quadrature.hpp"

namespace spikedrf {

namespace {

constexpr double kPi = 3.14159265358979323846;

// Gaussian weights are e^-exponent at the cutoff: no more digits than double precision has.
constexpr double kMostExponent = 37.0;
constexpr double kLeastExponent = 24.0;

}  // namespace

PhiGrid::PhiGrid(Loss loss, double rtol)
    : loss_(loss),
      exponent_(std::clamp(-std::log(1e-5 * rtol), kLeastExponent, kMostExponent)),
      cutoff_(std::sqrt(2.0 * exponent_)) {}

// The points x on which phi is evaluated, every mu within reach of its Gaussian.
//
// phi is analytic but for corners at a distance `strip` from the real axis. If that is no less than
// half of tau: a uniform grid (trapezoid), whose error for the convolution is
// e^{a^2/2 - 2 pi a tau/step} for any a up to strip/tau; the step makes it e^-exponent. Only points
// that some mu needs are kept. Otherwise Gauss-Legendre panels that are graded towards the corners.
//
// Where tau is tiny and the means are not as close together, every mu has three points of its own
// instead (Gauss-Hermite).
// With `fresh` the loss itself, whose corners are those at V = 0, is averaged on them too.
PhiGrid::Kind PhiGrid::lay(const double* mu, Index count, double tau, double V, bool fresh) {
  const Corners corners = corners_of(loss_, V);
  const Corners plain = fresh ? corners_of(loss_, kNoResponse) : corners;
  tau_ = tau;
  const double strip = std::min(corners.strip, plain.strip);
  x_.clear();
  quadrature_.clear();
  const double reach = cutoff_ * tau;
  const bool pointlike = tau < kPointlike * strip;
  if (strip >= 0.5 * tau && !(pointlike && scattered(mu, count, tau))) {
    lay_uniform(mu, count, tau, strip, reach);
    return Kind::uniform;
  }
  if (pointlike) {
    // phi is a polynomial of degree 5 as far as N(mu, tau^2) can tell.
    for (Index j = 0; j < count; ++j) {
      for (int side = -1; side <= 1; ++side) {
        x_.push_back(mu[j] + side * std::sqrt(3.0) * tau);
        quadrature_.push_back(side == 0 ? 4.0 / 6.0 : 1.0 / 6.0);
      }
    }
    return Kind::three;
  }
  const auto [least, most] = std::minmax_element(mu, mu + count);
  const LegendreRule& base = legendre_rule(20);
  const Array<double> edge =
      graded_edges(*least - reach, *most + reach, 3.0 * tau,
                   {{corners.right, corners.strip},
                    {corners.left, corners.strip},
                    {plain.right, plain.strip},
                    {plain.left, plain.strip}});
  for (Index e = 0; e + 1 < edge.size(); ++e) {
    const double half = 0.5 * (edge[e + 1] - edge[e]);
    for (Index i = 0; i < base.node.size(); ++i) {
      x_.push_back(edge[e] + half * (1.0 + base.node[i]));
      quadrature_.push_back(half * base.weight[i]);
    }
  }
  return Kind::panels;
}

// From left to right: neighbours that are within reach of each other make a stretch. Entries mostly
// ascend or descend.
void PhiGrid::find_stretches(const double* mu, Index count, double reach) {
  stretches_.clear();
  for (Index j = 0; j < count;) {
    Stretch all{mu[j], mu[j]};
    for (++j; j < count && std::fabs(mu[j] - mu[j - 1]) <= reach; ++j) {
      all.from = std::min(all.from, mu[j]);
      all.to = std::max(all.to, mu[j]);
    }
    stretches_.push_back(all);
  }
  std::sort(stretches_.begin(), stretches_.end(),
            [](const Stretch& a, const Stretch& b) { return a.from < b.from; });
}

// Whether three points for every mean are fewer than those of a uniform grid, or all it can tell.
bool PhiGrid::scattered(const double* mu, Index count, double tau) {
  constexpr double kLeastWidth = 1e-9;
  find_stretches(mu, count, cutoff_ * tau);
  double length = 0.0, largest = 0.0;
  for (const Stretch& stretch : stretches_) {
    length += stretch.to - stretch.from + 2.0 * cutoff_ * tau;
    largest = std::max({largest, std::fabs(stretch.from), std::fabs(stretch.to)});
  }
  return tau < kLeastWidth * largest || length > 2.0 * static_cast<double>(count) * tau;
}

void PhiGrid::lay_uniform(const double* mu, Index count, double tau, double strip, double reach) {
  tau_ = tau;
  find_stretches(mu, count, reach);
  step_ = uniform_step(tau, strip);
  origin_ = stretches_.front().from;
  const double half = std::ceil(reach / step_);
  pieces_.clear();
  double next = -1e300;  // in steps
  Index size = 0;
  const auto number = [&](double centre) { return std::floor((centre - origin_) / step_ + 0.5); };
  for (const Stretch& stretch : stretches_) {
    // One point more on either side: where a mean lies is rounded once again.
    const double first = number(stretch.from) - half - 1.0;
    if (first > next) {
      pieces_.push_back({first, size});
      next = first;
    }
    const double fresh = std::max(number(stretch.to) + half + 2.0 - next, 0.0);
    size += static_cast<Index>(fresh);
    next += fresh;
  }
  x_.resize(size);
  quadrature_.assign(size, step_);
  for (Index p = 0; p < pieces_.size(); ++p) {
    const Index end = p + 1 < pieces_.size() ? pieces_[p + 1].place : size;
    for (Index i = pieces_[p].place; i < end; ++i) {
      x_[i] = origin_ + (pieces_[p].step + static_cast<double>(i - pieces_[p].place)) * step_;
    }
  }
}

double PhiGrid::uniform_step(double tau, double strip) const {
  const double d = std::min(strip / tau, cutoff_);
  return tau * 2.0 * kPi * d / (exponent_ + 0.5 * d * d);
}

Index PhiGrid::lay_about_one(double apart, double tau, double strip, double reach) {
  tau_ = tau;
  step_ = uniform_step(tau, strip);
  const bool together = apart <= reach;
  const Index half = static_cast<Index>(std::ceil((together ? apart + reach : reach) / step_));
  const Index points = 2 * half + 1;
  x_.resize(together ? points : 2 * points);
  quadrature_.assign(x_.size(), step_);
  for (Index i = 0; i < points; ++i) {
    const double away = static_cast<double>(i - half) * step_;
    x_[i] = (together ? 1.0 : 1.0 - apart) + away;
    if (!together) x_[points + i] = 1.0 + apart + away;
  }
  return points;
}

PhiRows PhiGrid::phi(double V) {
  const Index n = x_.size();
  rows_.resize(6 * n);
  double* at = rows_.data();
  const PhiRows phi{at, at + n, at + 2 * n, at + 3 * n, at + 4 * n, at + 5 * n};
  smooth_phi(loss_, V, x_.data(), n, phi);
  return phi;
}

}  // namespace spikedrf
