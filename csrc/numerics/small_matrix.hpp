// Dense algebra for the K x K and K(K+3)/2-sized systems of the theory. Row major, sizes known at
// compile time when possible; no allocation.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <utility>

namespace spikedrf {

// Index of the pair (k, l), k <= l, in the packed upper triangle of a K x K symmetric matrix.
inline int pair_index(int k, int l, int size) {
  if (k > l) std::swap(k, l);
  return k * size - k * (k - 1) / 2 + (l - k);
}
constexpr int pair_count(int size) { return size * (size + 1) / 2; }

// LU factorisation with partial pivoting, in place; one over a pivot stays on the diagonal. False
// if a pivot vanishes or is not finite.
template <class T>
bool lu_factor(T* a, int* pivot, int n) {
  for (int col = 0; col < n; ++col) {
    int best = col;
    for (int row = col + 1; row < n; ++row) {
      if (std::abs(a[row * n + col]) > std::abs(a[best * n + col])) best = row;
    }
    pivot[col] = best;
    const auto size = std::abs(a[best * n + col]);
    if (!(size > 0) || !std::isfinite(size)) return false;
    if (best != col) {
      for (int j = 0; j < n; ++j) std::swap(a[col * n + j], a[best * n + j]);
    }
    const T inverse = T(1) / a[col * n + col];
    a[col * n + col] = inverse;
    for (int row = col + 1; row < n; ++row) {
      const T factor = a[row * n + col] * inverse;
      a[row * n + col] = factor;
      for (int j = col + 1; j < n; ++j) a[row * n + j] -= factor * a[col * n + j];
    }
  }
  return true;
}

// Solves a x = b in place from the factors above.
template <class T>
void lu_solve(const T* a, const int* pivot, T* b, int n) {
  for (int i = 0; i < n; ++i) std::swap(b[i], b[pivot[i]]);
  for (int i = 0; i < n; ++i) {
    for (int row = i + 1; row < n; ++row) b[row] -= a[row * n + i] * b[i];
  }
  for (int i = n - 1; i >= 0; --i) {
    b[i] *= a[i * n + i];
    for (int row = 0; row < i; ++row) b[row] -= a[row * n + i] * b[i];
  }
}

// Solves a^T x = b in place from the same factors.
template <class T>
void lu_solve_transposed(const T* a, const int* pivot, T* b, int n) {
  for (int i = 0; i < n; ++i) {
    b[i] *= a[i * n + i];
    for (int row = i + 1; row < n; ++row) b[row] -= a[i * n + row] * b[i];
  }
  for (int i = n - 1; i >= 0; --i) {
    for (int row = 0; row < i; ++row) b[row] -= a[i * n + row] * b[i];
  }
  for (int i = n - 1; i >= 0; --i) std::swap(b[i], b[pivot[i]]);
}

// Inverse of a symmetric positive definite matrix through its Cholesky factor L (scratch, n x n),
// of doubles or dual numbers.
// The input is left alone. False if the matrix is not positive definite.
template <class T>
bool spd_inverse(const T* a, T* inverse, T* factor, int n) {
  using std::sqrt;
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j <= i; ++j) {
      T sum = a[i * n + j];
      for (int k = 0; k < j; ++k) sum -= factor[i * n + k] * factor[j * n + k];
      if (i == j) {
        if (!(sum > 0.0)) return false;
        factor[i * n + i] = sqrt(sum);
      } else {
        factor[i * n + j] = sum / factor[j * n + j];
      }
    }
  }
  for (int col = 0; col < n; ++col) {
    for (int i = 0; i < n; ++i) {  // L y = e_col
      T sum = i == col ? 1.0 : 0.0;
      for (int k = col; k < i; ++k) sum -= factor[i * n + k] * inverse[k * n + col];
      inverse[i * n + col] = i < col ? T(0.0) : sum / factor[i * n + i];
    }
    for (int i = n - 1; i >= 0; --i) {  // L^T x = y
      T sum = inverse[i * n + col];
      for (int k = i + 1; k < n; ++k) sum -= factor[k * n + i] * inverse[k * n + col];
      inverse[i * n + col] = sum / factor[i * n + i];
    }
  }
  return true;
}

// The same where the scalar decides what definite means: the imaginary part of a complex symmetric
// matrix is (semi)definite at every complex ridge. No pivot of L D L^T vanishes then, for Schur
// complements keep that property; pivots are left on the diagonal of `factor`.
template <class T>
bool definite_inverse(const T* a, T* inverse, T* factor, int n) {
  return spd_inverse(a, inverse, factor, n);
}
inline bool definite_inverse(const std::complex<double>* a, std::complex<double>* inverse,
                             std::complex<double>* factor, int n) {
  using T = std::complex<double>;
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j <= i; ++j) {
      T sum = a[i * n + j];
      for (int k = 0; k < j; ++k) sum -= factor[i * n + k] * factor[j * n + k] * factor[k * n + k];
      if (i == j && !(std::abs(sum) > 0.0)) return false;
      factor[i * n + j] = i == j ? sum : sum / factor[j * n + j];
    }
  }
  for (int col = 0; col < n; ++col) {
    for (int i = 0; i < n; ++i) {  // L y = e_col
      T sum = i == col ? 1.0 : 0.0;
      for (int k = col; k < i; ++k) sum -= factor[i * n + k] * inverse[k * n + col];
      inverse[i * n + col] = i < col ? T(0.0) : sum;
    }
    for (int i = n - 1; i >= 0; --i) {  // D L^T x = y
      T sum = inverse[i * n + col] / factor[i * n + i];
      for (int k = i + 1; k < n; ++k) sum -= factor[k * n + i] * inverse[k * n + col];
      inverse[i * n + col] = sum;
    }
  }
  return true;
}

// Solves a x = b for an upper triangular matrix. Returns the Frobenius norm of the inverse of a
// with its columns scaled to length 1, which is one over the smallest singular value and at most
// sqrt(n) more; infinity, and no solution, if a is singular. `inverse` (n x n) is work space.
inline double triangular_solve(const double* a, const double* b, double* x, double* inverse,
                               int n) {
  double norm2 = 0.0;
  for (int k = n - 1; k >= 0; --k) {
    if (!(std::fabs(a[k * n + k]) > 0.0)) return std::numeric_limits<double>::infinity();
    const double pivot = 1.0 / a[k * n + k];
    double sum = b[k];
    for (int l = k + 1; l < n; ++l) sum -= a[k * n + l] * x[l];
    x[k] = sum * pivot;
    // Row k of the inverse, from those below.
    double* row = inverse + k * n;
    row[k] = pivot;
    for (int l = k + 1; l < n; ++l) {
      double entry = 0.0;
      for (int i = k + 1; i <= l; ++i) entry -= a[k * n + i] * inverse[i * n + l];
      row[l] = entry * pivot;
    }
    double length2 = 0.0;  // of column k of a
    double square = 0.0;
    for (int i = 0; i <= k; ++i) length2 += a[i * n + k] * a[i * n + k];
    for (int l = k; l < n; ++l) square += row[l] * row[l];
    norm2 += square * length2;
  }
  return std::isfinite(norm2) ? std::sqrt(norm2) : std::numeric_limits<double>::infinity();
}

// Minimum-norm solution of a x = b for a square matrix that may be singular, by its singular value
// decomposition from one-sided Jacobi rotations (which keep the relative accuracy of small
// singular values). Singular values up to `cutoff` count as zero. `a` is overwritten; `v` (n x n)
// is work space. Returns the smallest singular value that was inverted (infinity: none).
inline double pseudo_solve(double* a, const double* b, double* x, double* v, int n, double cutoff) {
  for (int i = 0; i < n * n; ++i) v[i] = 0.0;
  for (int i = 0; i < n; ++i) {
    v[i * n + i] = 1.0;
    x[i] = 0.0;
  }
  for (int sweep = 0; sweep < 60; ++sweep) {
    bool rotated = false;
    for (int p = 0; p < n; ++p) {
      for (int q = p + 1; q < n; ++q) {
        double pp = 0.0;
        double qq = 0.0;
        double pq = 0.0;
        for (int i = 0; i < n; ++i) {
          pp += a[i * n + p] * a[i * n + p];
          qq += a[i * n + q] * a[i * n + q];
          pq += a[i * n + p] * a[i * n + q];
        }
        if (!(std::fabs(pq) > 1e-16 * std::sqrt(pp * qq))) continue;
        rotated = true;
        const double tau = (qq - pp) / (2.0 * pq);
        const double t = (tau >= 0 ? 1.0 : -1.0) / (std::fabs(tau) + std::hypot(1.0, tau));
        const double c = 1.0 / std::hypot(1.0, t);
        const double s = t * c;
        for (double* matrix : {a, v}) {
          for (int i = 0; i < n; ++i) {
            const double left = matrix[i * n + p];
            const double right = matrix[i * n + q];
            matrix[i * n + p] = c * left - s * right;
            matrix[i * n + q] = s * left + c * right;
          }
        }
      }
    }
    if (!rotated) break;
  }
  // a = U Sigma V^T with a's columns now U Sigma.
  double smallest = std::numeric_limits<double>::infinity();
  for (int j = 0; j < n; ++j) {
    double square = 0.0;
    double projection = 0.0;
    for (int i = 0; i < n; ++i) {
      square += a[i * n + j] * a[i * n + j];
      projection += a[i * n + j] * b[i];
    }
    if (!(std::sqrt(square) > cutoff)) continue;
    smallest = std::min(smallest, std::sqrt(square));
    for (int i = 0; i < n; ++i) x[i] += v[i * n + j] * projection / square;
  }
  return smallest;
}

// The same for columns of any size, which say nothing about whether they depend on each other:
// rank is decided for columns of length 1. The vectors that `a` takes to zero, orthonormal, are
// left in the first `nullity` rows of `null` (n x n). `a` is overwritten; `v` (n x n) and `scale`
// (n) are work space. Returns the smallest singular value of the scaled matrix that was inverted.
inline double scaled_pseudo_solve(double* a, const double* b, double* x, double* null, int* nullity,
                                  double* v, double* scale, int n, double cutoff) {
  for (int k = 0; k < n; ++k) {
    double largest = 0.0;  // squares may be too small to be numbers
    for (int i = 0; i < n; ++i) largest = std::max(largest, std::fabs(a[i * n + k]));
    scale[k] = largest > 0.0 ? largest : 1.0;
    double square = 0.0;
    for (int i = 0; i < n; ++i) {
      const double entry = a[i * n + k] / scale[k];
      square += entry * entry;
    }
    if (square > 0.0) scale[k] *= std::sqrt(square);
    for (int i = 0; i < n; ++i) a[i * n + k] /= scale[k];
  }
  const double smallest = pseudo_solve(a, b, x, v, n, cutoff);
  for (int k = 0; k < n; ++k) x[k] /= scale[k];
  *nullity = 0;
  for (int j = 0; j < n; ++j) {
    double square = 0.0;
    for (int i = 0; i < n; ++i) square += a[i * n + j] * a[i * n + j];
    if (std::sqrt(square) > cutoff) continue;
    double* fresh = null + *nullity * n;
    double largest = 0.0;
    for (int k = 0; k < n; ++k) {
      fresh[k] = v[k * n + j] / scale[k];
      largest = std::max(largest, std::fabs(fresh[k]));
    }
    for (int k = 0; k < n; ++k) fresh[k] /= largest;
    const auto take_out = [n](const double* unit, double* vector) {
      double share = 0.0;
      for (int k = 0; k < n; ++k) share += unit[k] * vector[k];
      for (int k = 0; k < n; ++k) vector[k] -= share * unit[k];
    };
    for (int i = 0; i < *nullity; ++i) take_out(null + i * n, fresh);
    double length = 0.0;
    for (int k = 0; k < n; ++k) length += fresh[k] * fresh[k];
    length = std::sqrt(length);
    if (length > 0.0) {
      for (int k = 0; k < n; ++k) fresh[k] /= length;
      take_out(fresh, x);
      ++*nullity;
    }
  }
  return smallest;
}

}  // namespace spikedrf
