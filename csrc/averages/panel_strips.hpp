// Strips of lines in a plane, each halved until the sums along its lines are integrated across it.
#pragma once

#include "averages/panel_line.hpp"

namespace spikedrf {

// Numbers that are summed up along lines.
struct LineSums {
  bool (*along)(const PanelLine& line, const Complex* v, PanelScratch& scratch, Complex* sum,
                double* lowest);
  Index count;
  // In a plane the first of them says whether a strip resolves what it has to: its coefficients in
  // Legendre polynomials are held against its size and so much times the strip's weight.
  double floor;
};

// Adds up the lines of a plane, strip by strip. Where poles of 1/(1 + V) on a line come together
// between two lines their sum has a root singularity, and strips that have it inside are halved.
// False if that did not end somewhere.
bool sum_strips(const PanelTables& panels, PanelLine line, const Complex* v, const LineSums& sums,
                PanelScratch& scratch, Complex* total, double* lowest);

}  // namespace spikedrf
