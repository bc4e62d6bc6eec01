// The arrays that take the solutions of a batch, and the one way into them for every loss.
#pragma once

#include <cstdint>
#include <limits>

#include "averages/averages.hpp"
#include "batches/problem.hpp"
#include "numerics/array.hpp"
#include "numerics/small_matrix.hpp"

namespace spikedrf {

// One entry (row of K, block of K x K) for every point; a row of theta has one for each column, a
// row of psi K for each free direction (latents.hpp).
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
  // Null, or a row for each class: test errors and rates of wrong signs.
  double* class_error = nullptr;
  double* class_wrong = nullptr;
};

// What was found at one point.
struct Answer {
  Status status = Status::newton;
  std::int32_t iterations = 0;
  Index nodes = 0;
  double residual = 0.0;  // of the equations on the last rule
  double moved = std::numeric_limits<double>::infinity();
  // Of real labels mean squares, of sign labels rates of wrong signs and no excess.
  double test_error = 0.0, excess_error = 0.0, train_error = 0.0, norm = 0.0;
  double test_loss = 0.0, train_loss = 0.0;
  double test_margin = std::numeric_limits<double>::quiet_NaN();
  double train_margin = std::numeric_limits<double>::quiet_NaN();
  const double *m = nullptr, *theta = nullptr, *psi = nullptr;
  int columns = 0, free_entries = 0;  // entries of theta and psi
  const Array<ClassErrors>* by_class = nullptr;
  // On the pairs (off-diagonal entries doubled), then on the groups: q1, V1 without the latents'
  // part, and q2, V2. What is stored of q1 has that of the free directions.
  const double *q = nullptr, *v = nullptr;
  // V1 and V2 belong to a scaled problem: infinite in the ridgeless limit, zero at alpha = inf.
  double unit = 1.0;
  // Linear features with p >= d and no ridge: the responses are infinite, and at p = d the errors
  // are finite but reached with unbounded weights.
  bool free = false, unbounded = false;
};

// With `solved` false the equations have no solution that was found: NaN.
inline void store(const Answer& answer, bool solved, int K, Index point, const Solutions& to) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  const int P = pair_count(K);
  const auto put = [&](double* array, Index entry, double value) {
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
  for (int a = 0; a < answer.columns; ++a) {
    put(to.theta, point * answer.columns + a, answer.theta[a]);
  }
  for (int a = 0; a < answer.free_entries; ++a) {
    put(to.psi, point * answer.free_entries + a, answer.psi[a]);
  }
  if (to.class_error != nullptr && answer.by_class != nullptr) {
    Index entry = point * answer.by_class->size();
    for (const ClassErrors& errors : *answer.by_class) {
      put(to.class_error, entry, errors.test / errors.share);
      put(to.class_wrong, entry++, errors.wrong / errors.share);
    }
  }
  const Index width = K;
  for (int k = 0; k < K; ++k) {
    const Index row = point * width + k;
    put(to.m, row, answer.m[k]);
    put(to.q2, row, answer.unbounded ? kInfinity : answer.q[P + k]);
    put(to.V2, row, answer.free && answer.unit > 0.0 ? kInfinity : answer.v[P + k] * answer.unit);
    for (int l = 0; l < K; ++l) {
      const int a = pair_index(k, l, K);
      const double share = k == l ? 1.0 : 0.5;
      const Index entry = row * width + l;
      double linear = share * answer.q[a];
      for (int f = 0; f < answer.free_entries; f += K) {
        linear += answer.psi[f + k] * answer.psi[f + l];
      }
      put(to.q1, entry, linear);
      put(to.V1, entry, answer.v[a] == 0.0 ? 0.0 : share * answer.v[a] * answer.unit);
    }
  }
}

}  // namespace spikedrf
