// Orthonormal functions of kappa in place of the mu0_k and the columns.
//
// After a weak step these are nearly proportional to each other, and equations in (m, theta) lose
// the digits that they differ by. The mean of the field is the same function of kappa in other
// coordinates:
//
//   mean = sum_k m_k mu0_k + sum_a theta_a column_a = sum_j beta_j Q_j + sum_a theta_a chi_a,
//
// Q_j an orthonormal basis of the mu0_k, chi_a what it leaves of a column. theta keeps its penalty,
// beta has none, and m = R^+ (beta - S theta) with mu0 = Q R, column = Q S + chi.
#pragma once

#include <cmath>

#include "numerics/array.hpp"
#include "numerics/lanes.hpp"
#include "numerics/small_matrix.hpp"
#include "tables/moments.hpp"

namespace spikedrf {

class SignalBasis {
 public:
  void build(const Tables& tables) {
    // What rounding leaves of a function that the others span.
    constexpr double kDependent = 1e-13;
    groups_ = tables.groups;
    stride_ = tables.stride;
    const Index K = groups_;
    columns_ = tables.columns();
    rows_.assign((K + columns_) * stride_, 0.0);
    r_.assign(K * K, 0.0);
    s_.assign(K * columns_, 0.0);
    rank_ = 0;
    const double* w = tables.weight();
    for (int k = 0; k < groups_; ++k) {
      double* fresh = row(rank_);
      if (!remainder(tables.mu0(k), w, fresh, r_.data() + k, groups_, kDependent)) continue;
      const double size = std::sqrt(dot(w, fresh, fresh, stride_));
      for (Index i = 0; i < stride_; ++i) fresh[i] /= size;
      r_[rank_ * groups_ + k] = size;
      ++rank_;
    }
    for (int a = 0; a < columns_; ++a) {
      remainder(tables.column(a), w, row(groups_ + a), s_.data() + a, columns_, 0.1 * kDependent);
    }
  }

  int rank() const { return rank_; }
  const double* spanning(int j) const { return row(j); }         // Q_j, j < rank
  const double* left_over(int a) const { return row(groups_ + a); }  // chi_a

  // The minimum-norm m of a mean function.
  void restore(const double* beta, const double* theta, double* m) const {
    const int K = groups_;
    Array<double> right(K, 0.0);
    for (int j = 0; j < rank_; ++j) {
      right[j] = beta[j];
      for (int a = 0; a < columns_; ++a) right[j] -= s_[j * columns_ + a] * theta[a];
    }
    solve(right.data(), m);
  }

  // Orthonormal vectors a with sum_k a_k mu0_k = 0, one after the other.
  Array<double> dependencies() const {
    Array<double> m(groups_), right(groups_, 0.0);
    return solve(right.data(), m.data());
  }

 private:
  const double* row(int i) const { return rows_.data() + i * stride_; }
  double* row(int i) { return rows_.data() + i * stride_; }

  // The minimum-norm solution of R m = right; returns what R takes to zero.
  Array<double> solve(const double* right, double* m) const {
    const int K = groups_;
    Array<double> matrix(r_), null(K * K), work(K * K + K);
    int nullity = 0;
    scaled_pseudo_solve(matrix.data(), right, m, null.data(), &nullity, work.data(),
                        work.data() + K * K, K, 1e-13);
    null.resize(nullity * K);
    return null;
  }

  // f minus its projections on the Q_j (into every `step`-th entry of `projection`), which are
  // taken out twice; zero, and false, if they span f.
  bool remainder(const double* f, const double* w, double* out, double* projection, int step,
                 double dependent) {
    std::copy(f, f + stride_, out);
    const double whole = dot(w, f, f, stride_);
    for (int sweep = 0; sweep < 2; ++sweep) {
      for (int j = 0; j < rank_; ++j) {
        const double share = dot(w, out, row(j), stride_);
        projection[j * step] += share;
        for (Index i = 0; i < stride_; ++i) out[i] -= share * row(j)[i];
      }
    }
    if (dot(w, out, out, stride_) > dependent * dependent * whole) return true;
    std::fill_n(out, stride_, 0.0);
    return false;
  }

  int groups_ = 0;
  int columns_ = 0;
  int rank_ = 0;
  Index stride_ = 0;
  Array<double> rows_;
  Array<double> r_, s_;  // K x K and K x columns, rows j
};

}  // namespace spikedrf
