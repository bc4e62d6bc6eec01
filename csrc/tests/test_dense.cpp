// Dense algebra: kernels for wide matrices beside the plain ones.
#include <cmath>
#include <random>
#include <string>

#include "check.hpp"
#include "numerics/array.hpp"
#include "numerics/dense.hpp"
#include "numerics/small_matrix.hpp"

using namespace spikedrf;

namespace {

Array<double> random_matrix(int n, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  Array<double> a(n * n);
  for (double& entry : a) entry = normal(generator);
  return a;
}

void wide_systems() {
  for (const int n : {8, 9, 14, 27, 48, 49, 70}) {
    const std::string name = "n = " + std::to_string(n);
    const Array<double> a = random_matrix(n, 1);
    Array<double> factor = a, b(n), expected(n);
    for (int i = 0; i < n; ++i) expected[i] = std::cos(i);
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j < n; ++j) b[i] += a[i * n + j] * expected[j];
    }
    Array<int> pivot(n);
    check::that(lu_factor_wide(factor.data(), pivot.data(), n), name + ": regular");
    lu_solve(factor.data(), pivot.data(), b.data(), n);
    for (int i = 0; i < n; ++i) check::near(b[i], expected[i], 0.0, 1e-11, name + ", solution");

    factor = a;
    for (int i = 0; i < n; ++i) factor[i * n + 3] = 2.0 * factor[i * n];
    for (int i = 0; i < n; ++i) factor[i * n] = 0.0;
    check::that(!lu_factor_wide(factor.data(), pivot.data(), n), name + ": singular");
  }
}

void wide_products() {
  for (const int n : {8, 9, 14, 27}) {
    const Array<double> a = random_matrix(n, 2), b = random_matrix(n, 3);
    Array<double> found(n * n);
    const int inner = n - 4;
    multiply_wide(a.data(), b.data(), n, inner, n, n, found.data());
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j < n; ++j) {
        double sum = 0.0;
        for (int k = 0; k < inner; ++k) sum += a[i * n + k] * b[k * n + j];
        check::near(found[i * n + j], sum, 0.0, 1e-13, "product, n = " + std::to_string(n));
      }
    }
  }
}

void triangular_systems() {
  constexpr int n = 5;
  Array<double> a = random_matrix(n, 4), expected = random_matrix(n, 5), x(n), work(n * n);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < i; ++j) a[i * n + j] = 0.0;
    a[i * n + i] = std::ldexp(1.0, -2 * i);
  }
  Array<double> b(n);
  for (int i = 0; i < n; ++i) {
    for (int j = i; j < n; ++j) b[i] += a[i * n + j] * expected[j];
  }
  const double spread = triangular_solve(a.data(), b.data(), x.data(), work.data(), n);
  for (int i = 0; i < n; ++i) check::near(x[i], expected[i], 0.0, 1e-16 * spread, "solution");
  // The smallest singular value of the scaled matrix, by the decomposition.
  Array<double> scale(n), null(n * n);
  int nullity = 0;
  Array<double> copy = a;
  const double smallest = scaled_pseudo_solve(copy.data(), b.data(), x.data(), null.data(),
                                              &nullity, work.data(), scale.data(), n, 1e-13);
  check::that(spread * smallest >= 1.0 - 1e-12 && spread * smallest <= std::sqrt(n) + 1e-12,
              "norm of the inverse");
  a[2 * n + 2] = 0.0;
  check::that(std::isinf(triangular_solve(a.data(), b.data(), x.data(), work.data(), n)),
              "singular triangle");
}

const check::Register t1("wide systems", wide_systems);
const check::Register t2("wide products", wide_products);
const check::Register t3("triangular systems", triangular_systems);

}  // namespace
