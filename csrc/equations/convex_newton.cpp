// How the equations of convex_equations.hpp are solved: rounds of a damped fixed point until
// Newton's method takes over, and on finer rules Newton's method alone.
#include <algorithm>
#include <cmath>

#include "equations/convex_equations.hpp"
#include "numerics/lanes.hpp"

namespace spikedrf {

// What one unit of every unknown is worth: relative to itself, or to the standard deviation of the
// field that it contributes to. Rows are then scaled to a largest entry of one, so that residuals
// and steps are relative.
void ConvexEquations::scale() {
  const int K = groups();
  const int P = pairs();
  constexpr double kNone = 1e-250;
  double square = 0.0;
  for (Index i = 0; i < tables_->nodes; ++i) {
    square += tables_->weight()[i] * (mean_[i] * mean_[i] + spread_of_field(i));
  }
  const double field = std::sqrt(square);
  double* unit = scale_z_.data();
  const auto diagonal = [&](int block, int k) { return std::fabs(z(block)[pair_index(k, k, K)]); };
  // B matters beside e only.
  const auto stiff = [&](int k) { return bulk().e(0)[k] + diagonal(0, k); };
  for (int k = 0; k < K; ++k) {
    for (int l = k; l < K; ++l) {
      const int a = pair_index(k, l, K);
      unit[offset_[0] + a] = std::sqrt(stiff(k) * stiff(l));
      unit[offset_[1] + a] = std::sqrt(diagonal(1, k) * diagonal(1, l)) + kNone;
    }
    unit[offset_[0] + P + k] = z(0)[P + k];
    unit[offset_[1] + P + k] = std::fabs(z(1)[P + k]) + kNone;
    unit[offset_[2] + k] = field;
  }
  const Index length = tables_->stride;
  const auto square_of = [&](const double* function) {
    return dot(tables_->weight(), function, function, length);
  };
  for (int a = 0; a < columns_; ++a) {
    double power = square_of(tables_->column(a));
    if (rest_of(a)) power += square_of(tables_->mu1(a % K));
    unit[offset_[3] + a] = field / (std::sqrt(power) + kNone);
  }
  for (int a = 0; a < free_; ++a) {
    const double linear = std::sqrt(square_of(tables_->mu1(a % K))) + kNone;
    unit[offset_[4] + a] = stiff(a % K) * field / linear;
  }
  const Index N = unknowns_;
  for (Index r = 0; r < N; ++r) {
    double largest = 0.0;
    for (Index c = 0; c < N; ++c) {
      double& entry = jacobian_z_[r * N + c];
      entry *= scale_z_[c];
      largest = std::max(largest, std::fabs(entry));
    }
    row_scale_[r] = largest > 0.0 ? 1.0 / largest : 1.0;
    for (Index c = 0; c < N; ++c) jacobian_z_[r * N + c] *= row_scale_[r];
  }
}

// The variance of the field on a node.
double ConvexEquations::spread_of_field(Index node) const {
  double total = t_[node];
  for (int l = 0; l < latents_.rest(); ++l) {
    const double spread = s_[l * tables_->stride + node];
    if (latents_.label_axis(l) >= 0) total += spread * spread;
  }
  return total;
}

double ConvexEquations::violation() const {
  double largest = 0.0;
  for (Index r = 0; r < residual_.size(); ++r) {
    const double relative = std::fabs(residual_[r]) * row_scale_[r];
    if (!(relative <= largest)) largest = relative;  // NaN stays
  }
  return largest;
}

bool ConvexEquations::factorise() {
  jacobian();
  scale();
  return lu_factor(jacobian_z_.data(), pivots_.data(), unknowns_);
}

// With `chord` every step is taken with the Jacobian of the last solve, as long as the steps then
// fall tenfold each: next to a solution it is good enough, and the Hessian of env costs more than
// its gradient. The last step is the one after which next to nothing can be left: the square of a
// step of Newton's, of another as much as steps have fallen with this Jacobian.
bool ConvexEquations::newton(NewtonReport& report, bool chord) {
  constexpr int kMaxIterations = 50;
  constexpr int kMaxHalvings = 6;
  constexpr double kConverged = 1e-10;  // step, relative: the one that is left is far smaller
  constexpr double kRounding = 1e-8;    // below this a step that stops shrinking is rounding
  constexpr double kClose = 1e-5;       // above this nothing is known of the step after the next
  constexpr double kBend = 100.0;       // of a step of Newton's its square is left, times this
  double previous = 1e300;
  if (!place()) return false;
  average(!chord);
  residual();
  for (int iteration = 0; iteration < kMaxIterations; ++iteration) {
    ++report.iterations;
    if (!chord && !factorise()) return false;
    report.residual = violation();
    for (Index r = 0; r < step_z_.size(); ++r) step_z_[r] = residual_[r] * row_scale_[r];
    lu_solve(jacobian_z_.data(), pivots_.data(), step_z_.data(), unknowns_);
    last_step = 0.0;
    for (double step : step_z_) last_step = std::max(last_step, std::fabs(step));
    if (!(last_step < 1e300)) return false;
    if (chord && last_step > 0.1 * previous && last_step > kRounding) return false;
    if (!chord) {
      fall_ = 0.0;
    } else if (previous < 1e300 && previous > kRounding) {
      fall_ = std::max(fall_, last_step / previous);
    }
    double left = last_step;
    if (!chord) left *= std::min(1.0, kBend * last_step);
    if (chord && fall_ > 0.0) left *= std::min(1.0, fall_);
    const bool arrived =
        last_step <= kConverged || (last_step <= kClose && left <= negligible_);
    if (last_step <= kRounding && last_step > 0.5 * previous) {
      report.converged = true;
      return true;
    }
    previous = last_step;
    const Array<double> from = z_;
    double share = 1.0;
    for (int halving = 0;; ++halving) {
      for (Index r = 0; r < z_.size(); ++r) {
        z_[r] = from[r] - share * step_z_[r] * scale_z_[r];
      }
      if (place()) {
        if (arrived) {
          if (last_step > kConverged) {
            report.residual *= left / last_step;
            last_step = left;
          }
          report.converged = true;
          return true;
        }
        average(!chord);
        residual();
        if (chord || violation() <= 0.9 * report.residual || last_step <= kRounding) break;
      }
      if (chord || halving == kMaxHalvings) return false;
      share *= 0.5;
    }
  }
  return false;
}

// y from B and D: y = D + s(B, y), increasing and concave, so that Newton's method comes down from
// the upper bound s <= c B.
bool ConvexEquations::settle(const double* ridge) {
  const int K = groups();
  const int P = pairs();
  for (int k = 0; k < K; ++k) {
    double c = 0.0;
    for (int j = 0; j < regime_.bulk.nodes; ++j) {
      c += regime_.bulk.weight(j) * regime_.bulk.value[j * K + k];
    }
    const Index diagonal = pair_index(k, k, K);
    x[P + k] = ridge[k] + c * x[diagonal];
  }
  Array<double> matrix(K * K), step(K);
  Array<int> pivot(K);
  for (int iteration = 0; iteration < 100; ++iteration) {
    if (!evaluate(regime_)) return false;
    double largest = 0.0;
    for (int k = 0; k < K; ++k) {
      step[k] = y(k) - ridge[k] - s[k];
      for (int l = 0; l < K; ++l) {
        matrix[k * K + l] = (k == l ? 1.0 : 0.0) - s_slope(k, P + l);
      }
    }
    if (!lu_factor(matrix.data(), pivot.data(), K)) return false;
    lu_solve(matrix.data(), pivot.data(), step.data(), K);
    for (int k = 0; k < K; ++k) {
      const double change = step[k];
      largest = std::max(largest, std::fabs(change) / y(k));
      x[P + k] -= std::min(change, 0.9 * y(k));
    }
    if (largest < 1e-12) return evaluate(regime_);
  }
  return false;
}

// One round of the fixed point: every equation solved for its own unknown, with the averages at z;
// beta and theta linearise f in the mean. Moves z by the given share. False if that led nowhere.
bool ConvexEquations::advance(double share) {
  const int K = groups();
  const int P = pairs();
  const int n = size();
  if (!place()) return false;
  average(false);
  const double* gradient = gradient_.data();
  const Array<double> psi_before = psi;
  Array<double> fresh(z_), ridge(K), across_force(coupled_rest() * K);
  for (int a = 0; a < P; ++a) x[a] = 2.0 * gradient[offset_[1] + a];
  for (int k = 0; k < K; ++k) {
    ridge[k] = regime_.lam + 2.0 * gradient[offset_[1] + P + k];
  }
  if (!settle(ridge.data())) return false;
  std::copy(x.begin(), x.end(), fresh.begin());
  for (int k = 0; k < K; ++k) {
    for (int l = 0; l < K; ++l) potential_.B[k * K + l] = b()[k * K + l];
    potential_.y[k] = y(k);
  }
  const auto pulled = [&](const double* overlap, int k) {
    double total = 0.0;
    for (int l = 0; l < K; ++l) total += b()[k * K + l] * overlap[l];
    return total;
  };
  for (int a = 0; a < columns_; ++a) potential_.theta[a] = z(3)[a];
  // Across a coupled direction f is linearised too: its own share of the force is B theta.
  for (int a = 0; a < coupled_rest() * K; ++a) {
    across_force[a] = gradient_of(across(a / K, a % K));
    const double* overlap = z(3) + (latents_.spans + a / K) * K;
    potential_.psihat[a] = pulled(overlap, a % K) - across_force[a];
  }
  for (int a = 0; a < free_; ++a) {
    double& hat = fresh[offset_[4] + a];
    hat = pulled(psi_before.data() + a / K * K, a % K) - gradient[offset_[4] + a];
    potential_.psihat[coupled_rest() * K + a] = hat;
  }
  potential_.resolve(regime_);
  potential_.lift(regime_);
  // (delta E (-f') phi phi^T + diag(0, S)) (dbeta; dtheta) = -(0; S theta - pull) - gradient.
  const int M = K + columns_;
  Array<double> matrix(M * M), right(M);
  Array<int> pivot(M);
  for (int j = 0; j < M; ++j) {
    const Raw& raw = raw_[offset_[2] + j];
    for (int l = 0; l <= j; ++l) {
      const Raw& other = raw_[offset_[2] + l];
      double total = 0.0;
      for (Index i = 0; i < tables_->nodes; ++i) {
        total += tables_->weight()[i] * sums_[i].slope * raw.term[0].function[i] *
                 other.term[0].function[i];
      }
      matrix[j * M + l] = matrix[l * M + j] = regime_.delta * total;
    }
    right[j] = -gradient[offset_[2] + j];
  }
  for (int a = 0; a < columns_; ++a) {
    right[K + a] -= potential_.tension(a).value;
    if (rest_of(a)) right[K + a] += across_force[a - latents_.spans * K];
  }
  for (int k = basis_.rank(); k < K; ++k) {
    matrix[k * M + k] = 1.0;
    right[k] = 0.0;
  }
  for (int l = 0; l < columns_; ++l) {
    potential_.theta[l].slope[0] = 1.0;
    potential_.lift(regime_);
    for (int a = 0; a < columns_; ++a) {
      matrix[(K + a) * M + K + l] += potential_.tension(a).slope[0];
    }
    potential_.theta[l].slope[0] = 0.0;
  }
  if (!lu_factor(matrix.data(), pivot.data(), M)) return false;
  lu_solve(matrix.data(), pivot.data(), right.data(), M);
  // The linearisation of a bounded f is good for a change of the mean by about the width of the
  // field.
  double change = 0.0;
  double width = 0.0;
  for (Index i = 0; i < tables_->nodes; ++i) {
    double moved = 0.0;
    for (int j = 0; j < M; ++j) {
      moved += right[j] * raw_[offset_[2] + j].term[0].function[i];
    }
    change += tables_->weight()[i] * moved * moved;
    width += tables_->weight()[i] * spread_of_field(i);
  }
  const double allowed = std::min(1.0, std::sqrt(width / std::max(change, 1e-300)));
  for (int j = 0; j < M; ++j) {
    fresh[offset_[2] + j] += allowed * right[j];
  }
  // q = -dW/dx is linear in Lambda = q2: its own part of it is solved for.
  for (int a = 0; a < columns_; ++a) potential_.theta[a] = fresh[offset_[3] + a];
  for (int k = 0; k < K; ++k) {
    for (int l = 0; l < K; ++l) {
      potential_.Gamma[k * K + l] = -2.0 * gradient[pair_index(k, l, K)];
    }
    potential_.g[k] = -2.0 * gradient[P + k];
    potential_.Lambda[k] = 0.0;
  }
  potential_.lift(regime_);
  potential_.differentiate(regime_, false);
  Array<double> power(K);
  matrix.assign(K * K, 0.0);
  for (int k = 0; k < K; ++k) {
    power[k] = -potential_.by_x[P + k].value;
    for (int l = 0; l < K; ++l) {
      matrix[k * K + l] = (k == l ? 1.0 : 0.0) - s_slope(l, P + k);
    }
  }
  if (!lu_factor(matrix.data(), pivot.data(), K)) return false;
  lu_solve(matrix.data(), pivot.data(), power.data(), K);
  for (int a = 0; a < n; ++a) {
    double& q_a = fresh[offset_[1] + a];
    q_a = -potential_.by_x[a].value;
    for (int k = 0; k < K; ++k) q_a += s_slope(k, a) * power[k];
  }
  for (Index r = 0; r < z_.size(); ++r) z_[r] += share * (fresh[r] - z_[r]);
  return true;
}

// As if the loss were a square of typical curvature, with nothing learned yet.
bool ConvexEquations::start() {
  Regime square = regime_;
  square.weighting.epsilon = 1.0 / traits(loss_).typical;
  Resolvent<0>::solve(*tables_, square, false);
  std::fill(z_.begin(), z_.end(), 0.0);
  std::copy(x.begin(), x.end(), z_.begin());
  const double response = power(v.data());
  for (int a = 0; a < size(); ++a) {
    z(1)[a] = 0.1 * v[a] / response;
  }
  return advance(1.0);
}

NewtonReport ConvexEquations::solve_from(bool warm) {
  constexpr int kRoundsBetween = 3;
  constexpr int kMaxAttempts = 30;
  constexpr double kDamping = 0.7;
  NewtonReport report;
  if (warm) {
    const Array<double> before = z_;
    if (newton(report, true)) return report;
    z_ = before;
    if (newton(report, false)) return report;
  }
  if (!start()) return report;
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    for (int round = 0; round < kRoundsBetween; ++round) {
      ++report.iterations;
      if (!advance(kDamping)) return report;
    }
    const Array<double> reached = z_;
    if (newton(report, false)) return report;
    z_ = reached;
  }
  return report;
}

}  // namespace spikedrf
