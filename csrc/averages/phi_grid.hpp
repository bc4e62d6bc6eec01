// The points x on which phi (loss.hpp) of a smooth loss is evaluated to be averaged over Gaussians.
#pragma once

#include <algorithm>
#include <utility>

#include "functions/loss.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

// A response that changes nothing: phi is the derivative of the loss itself.
constexpr double kNoResponse = 1e-60;
// A Gaussian that is so much narrower than anything that varies is as good as its second moment.
constexpr double kPointlike = 1e-3;

class PhiGrid {
 public:
  enum class Kind { uniform, panels, three };
  // A run of points of a uniform grid: number of the first in steps from the origin, its place.
  struct Piece {
    double step;
    Index place;
  };

  // Fine enough for answers of this accuracy.
  PhiGrid(Loss loss, double rtol);

  // For averages over N(mu, tau^2). With `fresh` also of the loss itself.
  Kind lay(const double* mu, Index count, double tau, double V, bool fresh);
  // A uniform one, as far as `reach` from every mu, for phi that is analytic within `strip`.
  void lay_uniform(const double* mu, Index count, double tau, double strip, double reach);

  // A uniform one that is symmetric about 1, as far as `reach` from 1 - apart and 1 + apart: one
  // piece, or two of this many points each. Returns the number of points of a piece.
  Index lay_about_one(double apart, double tau, double strip, double reach);

  Index size() const { return x_.size(); }
  const double* x() const { return x_.data(); }
  const double* quadrature() const { return quadrature_.data(); }
  // The first point within reach of mu, and how many there are; not for three points each.
  std::pair<Index, Index> near(double mu) const {
    const auto from = std::lower_bound(x_.begin(), x_.end(), mu - cutoff_ * tau_);
    const auto to = std::upper_bound(from, x_.end(), mu + cutoff_ * tau_);
    return {from - x_.begin(), to - from};
  }
  // phi, t and their derivatives at the points.
  PhiRows phi(double V);

  double cutoff() const { return cutoff_; }  // in units of tau
  double step() const { return step_; }
  double origin() const { return origin_; }
  const Array<Piece>& pieces() const { return pieces_; }

 private:
  // Where means lie close together.
  struct Stretch {
    double from, to;
  };
  bool scattered(const double* mu, Index count, double tau);
  double uniform_step(double tau, double strip) const;
  void find_stretches(const double* mu, Index count, double reach);

  Loss loss_;
  double exponent_, cutoff_;
  double tau_ = 0.0, origin_ = 0.0, step_ = 0.0;
  Array<Piece> pieces_;
  Array<Stretch> stretches_;
  Array<double> x_, quadrature_, rows_;
};

}  // namespace spikedrf
