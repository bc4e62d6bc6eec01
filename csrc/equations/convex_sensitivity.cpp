// The derivatives of an objective under any convex loss, by one linear solve.
//
// Add s times the objective T(q, m, theta, psi; p) to the L of convex_equations.hpp. At the
// stationary point d/ds (L + s T) = T, so that
//
//   dT/dp = d/ds [ dL/dp at fixed (x, q, m, theta, psi) ] + dT/dp at a fixed state:
//
// the explicit dependence on p, moved along the motion of the state with s, which is the same for
// all p: J z. = -(the derivatives of T, where the violations of the equations are those of L). With
// V, mean, s, t moving, the Hessian of env moves its derivatives, and nothing is differenced.
//
//   dL/ddelta = 2 E env,   dL/dlam = sum_k q2_k,   dL/dbulk = -dW/dbulk
//
// and those by the labels are in label_slopes.cpp.
#include <cmath>

#include "equations/convex_equations.hpp"

namespace spikedrf {

// All of it for one spike and one direction of the target: one s, and no classes.
bool ConvexEquations::linearise() {
  if (!place()) return false;
  average(true);
  residual();
  if (!factorise()) return false;
  basis_.restore(z(2), z(3), m.data());
  response_ = 0.0;
  for (Index i = 0; i < tables_->nodes; ++i) response_ += tables_->weight()[i] * V_[i];
  return true;
}

Objective ConvexEquations::objective(ObjectiveKind kind, double gamma, const TableSlopes* slopes) {
  Array<NodeObjective> at;
  for (Index i = 0; i < tables_->nodes; ++i) {
    at.push_back(averages_.objective(kind, *labels_, i, tables_->kappa()[i], gamma, noise_, flip_,
                                     field_at(i)));
  }
  return gather(*tables_, slopes, at, field());
}

void ConvexEquations::move_state(const Objective& objective) {
  const int K = groups();
  const int n = size();
  const auto N = unknowns_;
  // By beta at fixed theta and the other way round, instead of by m and theta.
  Array<double> unit((2 * K), 0.0), m_of(K);
  const auto through_m = [&](int j) {
    unit[j] = 1.0;
    basis_.restore(unit.data(), unit.data() + K, m_of.data());
    unit[j] = 0.0;
    double total = 0.0;
    for (int k = 0; k < K; ++k) {
      total += objective.by.m[k] * m_of[k];
    }
    return total;
  };
  z_dot_.assign(N, 0.0);
  for (int a = 0; a < n; ++a) {
    z_dot_[(offset_[0] + a)] = objective.by.q[a];
  }
  for (int k = 0; k < K; ++k) {
    if (k < basis_.rank()) z_dot_[(offset_[2] + k)] = -0.5 * through_m(k);
    z_dot_[(offset_[3] + k)] =
        -0.5 * (objective.by.theta[k] + through_m(K + k));
    z_dot_[(offset_[4] + k)] = -0.5 * objective.by.psi[k];
  }
  for (Index r = 0; r < N; ++r) z_dot_[r] *= row_scale_[r];
  lu_solve(jacobian_z_.data(), pivots_.data(), z_dot_.data(), unknowns_);
  for (Index r = 0; r < N; ++r) z_dot_[r] *= scale_z_[r];
}

ConvexSlopes ConvexEquations::differentiate(const Objective& objective, double gamma,
                                            const TableSlopes* slopes, bool of_labels) {
  const int K = groups();
  const int P = pairs();
  const int n = size();
  const Index nodes = tables_->nodes;
  move_state(objective);
  const double* dot_of[5];
  for (int block = 0; block < 5; ++block) dot_of[block] = z_dot_.data() + offset_[block];

  // The field's coefficients, and how they move.
  for (int k = 0; k < K; ++k) {
    for (int l = 0; l < K; ++l) {
      potential_.B[(k * K + l)] =
          moving(b()[k * K + l], dot_of[0][pair_index(k, l, K)]);
    }
    potential_.y[k] = moving(y(k), dot_of[0][P + k]);
    potential_.theta[k] = moving(z(3)[k], dot_of[3][k]);
    potential_.psihat[k] = moving(z(4)[k], dot_of[4][k]);
  }
  potential_.resolve(regime_);
  potential_.lift(regime_);
  FieldState moved;
  moved.m.resize(K);
  basis_.restore(dot_of[2], dot_of[3], moved.m.data());
  moved.theta.assign(dot_of[3], dot_of[3] + K);
  for (const Moving& entry : potential_.psi) moved.psi.push_back(entry.slope[0]);
  moved.q.assign(dot_of[1], dot_of[1] + n);
  for (int a = 0; a < n; ++a) {
    double total = 0.0;
    for (int c = 0; c < n; ++c) total += v_slope[(a * n + c)] * dot_of[0][c];
    moved.v.push_back(total);
  }

  // The field on the nodes likewise, then the derivatives of env.
  Array<CavityField> motion(nodes, CavityField{0.0, 0.0, 0.0, {}});
  for (int r = 0; r < unknowns_; ++r) {
    const Raw& raw = raw_[r];
    const double rate = r < offset_[1]   ? moved.v[r]
                        : r < offset_[4] ? z_dot_[r]
                                         : moved.psi[(r - offset_[4])];
    const Term& term = raw.term[0];
    for (Index i = 0; i < nodes; ++i) {
      CavityField& here = motion[i];
      double& part = term.channel == kV      ? here.V
                     : term.channel == kT    ? here.t
                     : term.channel == kMean ? here.mean
                                             : here.s[0];
      part += rate * term.function[i];
    }
  }
  const auto rows = [&] { return Array<double>(tables_->stride, 0.0); };
  Array<double> by_V = rows(), by_mean = rows(), by_s = rows(), by_t = rows();
  Array<double> V_dot = rows(), mean_dot = rows(), s_dot = rows(), t_dot = rows();
  ConvexSlopes result;
  for (Index i = 0; i < nodes; ++i) {
    const EnvelopeSums& e = sums_[i];
    const CavityField& d = motion[i];
    const double w = 2.0 * regime_.delta * tables_->weight()[i];
    const double along[] = {d.V, d.t, d.mean, d.s[0]};
    const auto moved_first = [&](Channel channel) {
      double total = 0.0;
      for (int by = 0; by < 4; ++by) total += e.second[channel][by] * along[by];
      return w * total;
    };
    by_V[i] = w * e.first(kV);
    by_mean[i] = w * e.first(kMean);
    by_s[i] = w * e.first(kS);
    by_t[i] = w * e.first(kT);
    V_dot[i] = moved_first(kV);
    mean_dot[i] = moved_first(kMean);
    s_dot[i] = moved_first(kS);
    t_dot[i] = moved_first(kT);
    result.delta += (by_V[i] * d.V + by_mean[i] * d.mean + by_s[i] * d.s[0] + by_t[i] * d.t) /
                    regime_.delta;
    if (!of_labels) continue;
    result.labels.add(w, averages_.label_motion(*labels_, i, tables_->kappa()[i], gamma, noise_,
                                                flip_, field_at(i), d));
  }
  result.labels.add(1.0, objective.labels);
  for (int k = 0; k < K; ++k) result.lam += dot_of[1][P + k];

  // The bulk.
  const auto force = [&](int a) {
    const double* f = tables_->feature(a);
    return moving(-dot(by_V.data(), f, tables_->stride), -dot(V_dot.data(), f, tables_->stride));
  };
  for (int k = 0; k < K; ++k) {
    for (int l = 0; l < K; ++l) {
      potential_.Gamma[(k * K + l)] = force(pair_index(k, l, K));
    }
    potential_.g[k] = force(P + k);
    potential_.Lambda[k] = moving(z(1)[P + k], dot_of[1][P + k]);
  }
  potential_.differentiate(regime_, true);
  result.beta = -potential_.by_beta.slope[0];
  if (slopes == nullptr) return result;

  // The tables.
  result.r = objective.r;
  result.c = objective.c;
  add_table_slopes(*tables_, *slopes, {V_dot.data(), mean_dot.data(), s_dot.data(), t_dot.data()},
                   field(), result.r.data(), result.c.data());
  add_table_slopes(*tables_, *slopes, {by_V.data(), by_mean.data(), by_s.data(), by_t.data()},
                   moved, result.r.data(), result.c.data());
  return result;
}

double ConvexEquations::along_values(const double* move) const {
  double total = 0.0;
  for (Index i = 0; i < potential_.by_value.size(); ++i) {
    total -= potential_.by_value[i].slope[0] * move[i];
  }
  return total;
}

double ConvexEquations::along_bulk(const double* move, int nodes) const {
  double total = along_values(move);
  move += nodes * groups();
  for (const Moving& entry : potential_.by_trace) total -= entry.slope[0] * *move++;
  for (const Moving& entry : potential_.by_form) total -= entry.slope[0] * *move++;
  return total;
}

// Where the mu0_k depend linearly on each other, sum_k a_k mu0_k = 0, moving them apart adds a
// function to what the readout m can fit without a penalty. At a regular point that changes
// nothing only if the forces do not pull along it.
bool ConvexEquations::jumps(const TableSlopes& slopes, const double* dr, const double* dc) const {
  constexpr double kRounding = 1e-8;
  const int K = groups();
  double size = 0.0;
  for (int k = 0; k < K; ++k) size = std::max({size, std::fabs(dr[k]), std::fabs(dc[k])});
  size *= std::sqrt(tables_->feature_power());
  const Array<double> dependencies = basis_.dependencies();
  for (Index first = 0; first < dependencies.size(); first += K) {
    double overlap = 0.0, force = 0.0, function = 0.0;
    for (Index i = 0; i < tables_->nodes; ++i) {
      const double w = tables_->weight()[i];
      double value = 0.0;
      for (int k = 0; k < K; ++k) {
        value += dependencies[first + k] *
                 (dr[k] * tables_->kappa_mu1(k)[i] + dc[k] * slopes.mu0_c(k)[i]);
      }
      overlap += w * value * sums_[i].f;
      force += w * sums_[i].f2;
      function += w * value * value;
    }
    const double left = std::sqrt(function);
    if (left > kRounding * size && std::fabs(overlap) > kRounding * left * std::sqrt(force)) {
      return true;
    }
  }
  return false;
}

}  // namespace spikedrf
