// Gaussian averages for losses whose derivative is a broken line (loss.hpp): closed forms.
#pragma once

#include "functions/loss.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

// Averages of phi(x), x ~ N(mu, tau^2), and of its derivatives and products, one entry for each mu.
struct PhiAverages {
  double* phi;
  double* slope;  // phi'
  double* phi2;
  double* bend;             // phi''
  double* third;            // phi'''
  double* phi_slope;        // phi phi'
  double* phi_slope_slope;  // (phi phi')'
  double* phi2_slope;       // phi^2 phi'
};

// Of phi = clip(x / width, lo, hi). Without `hessian` only the first three are wanted.
void ramp_averages(Ramp ramp, const double* mu, Index n, double tau, bool hessian,
                   const PhiAverages& out);

// E loss(t) and E t^2, t the proximal map of x: width phi on the slope, and beyond a corner
// (x - corner) + width * bound.
void ramp_fit(Ramp ramp, double V, const double* mu, Index n, double tau, double* loss,
              double* square) noexcept;

}  // namespace spikedrf
