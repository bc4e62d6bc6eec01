// Algebra for matrices of doubles with eight or more columns, which fill vector registers: the
// systems of three and more groups, and of convex losses. Row major, no allocation.
#pragma once

#include "numerics/array.hpp"

namespace spikedrf {

// The narrowest matrices that are worth it.
constexpr int kWide = 8;

// out = a b, of rows x inner and inner x cols, where a, b and out have rows of `stride` numbers.
// At least four rows and kWide columns.
void multiply_wide(const double* a, const double* b, int rows, int inner, int cols, int stride,
                   double* out) noexcept;

// As lu_factor of small_matrix.hpp, n from kWide on: one over a pivot stays on the diagonal.
bool lu_factor_wide(double* a, int* pivot, int n) noexcept;

}  // namespace spikedrf
