// Where the solutions of a batch go, whatever the loss.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "batches/problem.hpp"
#include "numerics/small_matrix.hpp"

namespace spikedrf {

// One entry (row of K, block of K x K) for every point.
struct Solutions {
  double* test_error;
  double* excess_error;
  double* train_error;
  double* norm;
  double* residual;
  double* quadrature_error;
  double* test_loss;
  double* train_loss;
  double* test_margin;  // E y omega, E y h; NaN for real labels
  double* train_margin;
  double* m;
  double* theta;
  double* psi;
  double* q2;
  double* V2;
  double* q1;
  double* V1;
  std::int32_t* status;
  std::int32_t* nit;
  std::int64_t* nodes;
};

// What was found at one point.
struct Answer {
  Status status = Status::newton;
  std::int32_t iterations = 0;
  std::size_t nodes = 0;
  double residual = 0.0;  // of the equations on the last rule
  double moved = std::numeric_limits<double>::infinity();
  // Of real labels mean squares, of sign labels rates of wrong signs and no excess.
  double test_error = 0.0, excess_error = 0.0, train_error = 0.0, norm = 0.0;
  double test_loss = 0.0, train_loss = 0.0;
  double test_margin = std::numeric_limits<double>::quiet_NaN();
  double train_margin = std::numeric_limits<double>::quiet_NaN();
  const double *m = nullptr, *theta = nullptr, *psi = nullptr;
  // On the pairs (off-diagonal entries doubled), then on the groups: q1 - psi psi^T and q2, V1 and V2.
  const double *q = nullptr, *v = nullptr;
  // V1 and V2 belong to a scaled problem: infinite in the ridgeless limit, zero at alpha = inf.
  double unit = 1.0;
  // Linear features with p >= d and no ridge: the responses are infinite, and at p = d the errors
  // are finite but reached with unbounded weights.
  bool free = false, unbounded = false;
};

// With `solved` false the equations have no solution that was found: NaN.
inline void store(const Answer& answer, bool solved, int K, std::size_t point,
                  const Solutions& to) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  const int P = pair_count(K);
  const auto put = [&](double* array, std::size_t entry, double value) {
    array[entry] = solved ? value : kNone;
  };
  put(to.test_error, point, answer.test_error);
  put(to.excess_error, point, answer.excess_error);
  put(to.train_error, point, answer.train_error);
  put(to.norm, point, answer.unbounded ? kInfinity : answer.norm);
  put(to.test_loss, point, answer.test_loss);
  put(to.train_loss, point, answer.train_loss);
  put(to.test_margin, point, answer.test_margin);
  put(to.train_margin, point, answer.train_margin);
  to.status[point] = static_cast<std::int32_t>(answer.status);
  to.nit[point] = answer.iterations;
  to.nodes[point] = static_cast<std::int64_t>(answer.nodes);
  to.residual[point] = answer.residual;
  to.quadrature_error[point] = solved ? answer.moved : kInfinity;
  const auto width = static_cast<std::size_t>(K);
  for (int k = 0; k < K; ++k) {
    const std::size_t row = point * width + static_cast<std::size_t>(k);
    put(to.m, row, answer.m[k]);
    put(to.theta, row, answer.theta[k]);
    put(to.psi, row, answer.psi[k]);
    put(to.q2, row, answer.unbounded ? kInfinity : answer.q[P + k]);
    put(to.V2, row, answer.free && answer.unit > 0.0 ? kInfinity : answer.v[P + k] * answer.unit);
    for (int l = 0; l < K; ++l) {
      const int a = pair_index(k, l, K);
      const double share = k == l ? 1.0 : 0.5;
      const std::size_t entry = row * width + static_cast<std::size_t>(l);
      put(to.q1, entry, share * answer.q[a] + answer.psi[k] * answer.psi[l]);
      put(to.V1, entry, answer.v[a] == 0.0 ? 0.0 : share * answer.v[a] * answer.unit);
    }
  }
}

}  // namespace spikedrf
