// Averages over kappa of 1/(1 + V) and of its logarithm for complex V, as spectra need them: the
// only loops over nodes there.
//
// V(kappa) = sum_a v_a f_a(kappa) comes close to -1 when z comes close to the eigenvalues that the
// samples with this kappa contribute. On the real axis the distance of the pole from the kappa axis
// is of the order of the density itself, so in the tails of the spectrum no rule that is fixed in
// advance integrates past it. The averages below do: a panel on which V varies too much beside its
// distance from -1 is halved, again and again, its rows interpolated from node to node: once, since
// neighbouring points of a spectrum have neighbouring poles. What they return is a smooth function
// of v to within the accuracy of the tables.
//
// In a plane V = -1 on a curve, close to which every line of panels is divided as needed. What is
// left is where the curve touches lines: there strips of lines are halved in the same way.
#pragma once

#include <complex>

#include "numerics/array.hpp"
#include "tables/panel_tables.hpp"

namespace spikedrf {

using Complex = std::complex<double>;

// Work space, kept between calls.
struct PanelScratch {
  Array<const double*> row;    // of the panel at hand
  Array<Index> waiting;        // halves still to come
  Array<double> divided;       // rows of both halves of a panel
  Array<const double*> whole;  // rows of all panels
  Array<double> lanes;         // sums
  Array<Complex> total;
  PanelHalves of_line;          // of a line in a plane
  Deque<Array<double>> strips;  // of a plane: rows of the strip at hand, then of halves to come
};

struct PanelReport {
  bool resolved;  // false: V = -1 was met on the axis itself, or as good as
  double lowest;  // smallest (Im V)^2 / |1 + V|^2 over all nodes, with the sign of Im V
};

// sum[a] = E f_a omega, curvature[a, b] = E f_a f_b omega^2 (full symmetric matrix) with
// omega = 1/(1 + V).
PanelReport panel_averages(const PanelTables& panels, const Complex* v, PanelScratch& scratch,
                           Complex* sum, Complex* curvature);

// E arg(1 + V), Im V >= 0.
double mean_argument(const PanelTables& panels, const Complex* v, PanelScratch& scratch);

// What a class of inputs adds to form = E omega f f^T with f = (mu0, kappa mu1, mu1, length), each
// of K, the second for every coordinate of kappa, the last if lengths vary; real V.
void signal_forms(const PanelTables& panels, int of_class, const Complex* v, PanelScratch& scratch,
                  Array<double>& form);

// The smallest value over the nodes of sum_a slope_a f_a, relative to the sum of the magnitudes.
double lowest_slope(const PanelTables& panels, const double* slope);

}  // namespace spikedrf
