// Step A of theory.md, sections 4, 7 and 10, at the complex ridge -z, Im z >= 0: the spectrum.
//
// Which root. For Im z > 0 the map x -> f(x) of responses.hpp takes the cone
//
//   Im y_k < 0,   Im B <= 0      (then Im V1 >= 0, Im V2 > 0, Im V >= 0, Im omega <= 0)
//
// strictly into itself, and being holomorphic it has exactly one fixed point there (Earle and
// Hamilton): a root in the cone is the root, however it was found. On the real axis the wanted root
// is the limit from above. If the root at hand is in the open cone there (inside the support), or
// if it is real and its derivative dx/dz points into the cone (outside), then the implicit function
// theorem continues it to a root in the cone above the axis: it is that limit. So every answer is
// checked, not trusted, and Newton's method may start from wherever is near: a neighbour's root
// moved along its derivative, or, when that fails, roots at the same real part on the way down from
// large Im z, where V = 0 is a good start.
#pragma once

#include <algorithm>
#include <cmath>

#include "averages/panel_averages.hpp"
#include "equations/responses.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

template <int KS>
class ComplexResolvent : public Responses<KS, Complex> {
  using Base = Responses<KS, Complex>;
  using Base::scale_;
  using Base::step_;

 public:
  ComplexResolvent(int group_count, int bulk_nodes)
      : Base(group_count, bulk_nodes),
        slope(Base::size()),
        kept_(Base::size()),
        moving_(Base::size()),
        rise_(Base::size()) {}

  using Base::bulk;
  using Base::groups;
  using Base::pairs;
  using Base::size;
  using Base::v;
  using Base::x;
  using Base::y;

  // The root at z, from the root at hand or from far above. False if none could be certified.
  bool reach(const PanelTables& panels, const Regime& regime, Complex z);

  // Makes `reach` start from a root found elsewhere.
  void adopt(const ComplexResolvent& other) {
    x = other.x;
    slope = other.slope;
    z_ = other.z_;
    known_ = other.known_;
  }
  void forget() { known_ = false; }

  Complex at() const { return z_; }
  // Whether the root is real: z lies outside the support (or the density is below rounding).
  bool real() const { return real_; }
  // dV2_k/dz = -pi_k y_k' / y_k^2.
  Complex V2(const Regime& regime, int k) const { return regime.pi[k] / y(k); }
  Complex V2_slope(const Regime& regime, int k) const {
    return -regime.pi[k] / (y(k) * y(k)) * slope[pairs() + k];
  }

  Buffer<Base::kSize, Complex> slope;  // dx/dz
  int iterations = 0;                  // since it was last set to zero
  double residual = 0.0;               // largest relative violation of the equations

 private:
  bool newton(const PanelTables& panels, const Regime& regime, Complex z);
  bool certify(const PanelTables& panels, Complex z);
  bool follow(const PanelTables& panels, const Regime& regime, Complex z);
  double start(const PanelTables& panels, const Regime& regime, double re);

  Complex z_;           // where x belongs to
  bool known_ = false;  // whether x is a certified root at all
  bool real_ = false;
  double lowest_ = 0.0;  // of Im V, over the nodes
  PanelScratch scratch_;
  Buffer<Base::kSize, Complex> kept_, moving_;
  Buffer<Base::kSize> rise_;  // dV/dz in front of every feature
};

template <int KS>
bool ComplexResolvent<KS>::newton(const PanelTables& panels, const Regime& regime, Complex z) {
  constexpr int kMaxIterations = 12;
  constexpr double kConverged = 1e-13;  // Newton step, relative: the error that is left
  constexpr double kRounding = 1e-11;   // residual at which a step that stops shrinking is rounding
  const int n = size();
  double previous = 1e300;
  for (int iteration = 0; iteration < kMaxIterations; ++iteration) {
    ++iterations;
    if (!Base::evaluate(regime)) return false;
    const PanelReport report =
        panel_averages(panels, v.data(), scratch_, Base::sum.data(), Base::curvature.data());
    if (!report.resolved || !Base::linearise(regime, -z)) return false;
    lowest_ = report.lowest;
    residual = 0.0;
    for (int a = 0; a < n; ++a) residual = std::max(residual, std::abs(step_[a]));
    lu_solve(Base::jacobian_.data(), Base::pivot_.data(), step_.data(), n);
    double size_of_step = 0.0;
    for (int a = 0; a < n; ++a) size_of_step = std::max(size_of_step, std::abs(step_[a]));
    if (!(size_of_step < 1e100)) return false;
    if (size_of_step <= kConverged || (residual <= kRounding && size_of_step > 0.5 * previous)) {
      return true;
    }
    if (iteration > 3 && size_of_step > 4.0 * previous) return false;
    previous = size_of_step;
    for (int a = 0; a < n; ++a) x[a] -= step_[a] * scale_[a];
  }
  return false;
}

// Sets slope and real_. On entry x, v and the Jacobian belong together.
template <int KS>
bool ComplexResolvent<KS>::certify(const PanelTables& panels, Complex z) {
  constexpr double kReal = 1e-13;  // an imaginary part that is rounding
  constexpr double kSlack = 1e-9;  // slopes cancel where V has terms of both signs
  const int K = groups();
  const int P = pairs();
  const int n = size();
  for (int a = 0; a < n; ++a) slope[a] = a < P ? 0.0 : -1.0;
  Base::solve_linear(slope.data());
  double lowest = 1e300;
  double highest = -1e300;
  for (int k = 0; k < K; ++k) {
    const double tilt = -y(k).imag() / std::abs(y(k));
    lowest = std::min(lowest, tilt);
    highest = std::max(highest, tilt);
  }
  real_ = z.imag() == 0.0 && highest <= kReal && lowest >= -kReal;
  if (!real_) return lowest > 0.0 && lowest_ >= -kReal * kReal;
  // The slopes of y and, at every node, of V point into the cone.
  for (int k = 0; k < K; ++k) {
    if (!(slope[P + k].real() < 0.0)) return false;
  }
  for (int a = 0; a < n; ++a) {
    rise_[a] = 0.0;
    for (int b = 0; b < n; ++b) rise_[a] += (Base::v_slope[a * n + b] * slope[b]).real();
  }
  return lowest_slope(panels, rise_.data()) >= -kSlack;
}

template <int KS>
bool ComplexResolvent<KS>::follow(const PanelTables& panels, const Regime& regime, Complex z) {
  for (int a = 0; a < size(); ++a) {
    kept_[a] = x[a];
    moving_[a] = slope[a];
    x[a] += slope[a] * (z - z_);
  }
  if (newton(panels, regime, z) && certify(panels, z)) {
    z_ = z;
    known_ = true;
    return true;
  }
  for (int a = 0; a < size(); ++a) {
    x[a] = kept_[a];
    slope[a] = moving_[a];
  }
  return false;
}

// The first guess far above the axis, V = 0, and how far above.
template <int KS>
double ComplexResolvent<KS>::start(const PanelTables& panels, const Regime& regime, double re) {
  const int K = groups();
  const int P = pairs();
  const Array<double>& mean = panels.tables.mean_feature();
  double power = 0.0;
  for (int a = 0; a < size(); ++a) x[a] = regime.delta * mean[a];
  for (int k = 0; k < K; ++k) {
    double c = 0.0;
    for (int j = 0; j < regime.bulk.nodes; ++j) {
      c += regime.bulk.weight(j) * regime.bulk.value[j * K + k];
    }
    x[P + k] += c * x[pair_index(k, k, K)];
    power += x[P + k].real();
  }
  const double height = 4.0 * (1.0 + regime.beta) * power;
  for (int k = 0; k < K; ++k) x[P + k] -= Complex(re, height);
  for (int a = 0; a < size(); ++a) slope[a] = 0.0;
  z_ = Complex(re, height);
  known_ = false;
  return height;
}

template <int KS>
bool ComplexResolvent<KS>::reach(const PanelTables& panels, const Regime& regime, Complex z) {
  if (known_ && follow(panels, regime, z)) return true;
  double height = start(panels, regime, z.real());
  if (height <= z.imag()) {
    for (int k = 0; k < groups(); ++k) x[pairs() + k] += z_ - z;
    z_ = z;
    return follow(panels, regime, z);
  }
  if (!follow(panels, regime, z_)) return false;
  // Down in ever bolder steps, timid again after every failure.
  constexpr int kMostSteps = 100;
  double shrink = 0.3;
  for (int step = 0; step < kMostSteps && shrink < 0.99; ++step) {
    const bool last = shrink < 1e-3 || height * shrink <= z.imag();
    const double next = last ? z.imag() : height * shrink;
    if (follow(panels, regime, Complex(z.real(), next))) {
      if (last) return true;
      height = next;
      shrink *= shrink;
    } else {
      shrink = std::sqrt(shrink);
    }
  }
  known_ = false;
  return false;
}

}  // namespace spikedrf
