// One point in parameter space, as the equations see it, and the work space that they use.
#pragma once

#include <array>

#include "averages/averages.hpp"
#include "equations/bulk.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

// Work space of N numbers known at compile time, or of a size given once (N = 0).
template <int N, class T = double>
struct Buffer : std::array<T, N> {
  explicit Buffer(int) : std::array<T, N>{} {}
};
template <class T>
struct Buffer<0, T> : Array<T> {
  explicit Buffer(int size) : Array<T>(size) {}
};

// With a complex ridge `lam` is not looked at.
struct Regime {
  double delta = 1.0;
  double beta = 1.0;
  double lam = 1.0;
  Weighting weighting;
  const double* pi = nullptr;
  Bulk bulk{};
};

}  // namespace spikedrf
