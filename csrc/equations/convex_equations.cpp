#include "equations/convex_equations.hpp"

#include <algorithm>
#include <cmath>

namespace spikedrf {

ConvexEquations::ConvexEquations(int group_count, int bulk_nodes, Loss loss, LabelKind kind)
    : Resolvent<0>(group_count, bulk_nodes),
      m(group_count),
      psi(group_count),
      averages_(loss, kind),
      potential_(group_count, bulk_nodes, Latents()),
      loss_(loss) {
  const int K = groups();
  const int n = size();
  unknowns_ = 2 * n + 3 * K;
  const int offset[] = {0, n, 2 * n, 2 * n + K, 2 * n + 2 * K};
  std::copy(offset, offset + 5, offset_);
  const Index N = unknowns_;
  for (auto* array : {&z_, &scale_z_, &residual_, &step_z_, &row_scale_, &gradient_}) {
    array->assign(N, 0.0);
  }
  for (auto* array : {&jacobian_z_, &hessian_, &along_}) array->assign(N * N, 0.0);
  pivots_.resize(N);
  raw_.resize(N);
}

void ConvexEquations::pose(const Tables& tables, const LabelTable& labels, const Regime& regime,
                           double noise, double flip) {
  const int K = groups();
  const bool renew = tables_ != &tables;
  tables_ = &tables;
  labels_ = &labels;
  regime_ = regime;
  noise_ = noise;
  flip_ = flip;
  if (renew) basis_.build(tables);
  for (int a = 0; a < size(); ++a) {
    raw_[offset_[0] + a] = {kV, tables.feature(a)};
    raw_[offset_[1] + a] = {kT, tables.feature(a)};
  }
  for (int k = 0; k < K; ++k) {
    raw_[offset_[2] + k] = {kMean, basis_.spanning(k)};
    raw_[offset_[3] + k] = {kMean, basis_.left_over(k)};
    raw_[offset_[4] + k] = {kS, tables.mu1(k)};
  }
  for (auto* array : {&V_, &mean_, &s_, &t_}) array->assign(tables.stride, 0.0);
  sums_.assign(tables.stride, EnvelopeSums());
}

double ConvexEquations::power(const double* coefficients) const {
  double total = 0.0;
  for (int a = 0; a < size(); ++a) {
    total += coefficients[a] * tables_->mean_feature()[a];
  }
  return total;
}

// False where z is no state: responses or variances are negative.
bool ConvexEquations::place() {
  constexpr double kNone = 1e-60;  // a response or variance that changes nothing
  const int K = groups();
  const int P = pairs();
  for (int a = 0; a < size(); ++a) {
    x[a] = z(0)[a];
    if (a >= P && !(z(0)[a] > 0.0)) return false;
  }
  if (!evaluate(regime_)) return false;
  for (int k = 0; k < K; ++k) {
    for (int l = 0; l < K; ++l) potential_.B[k * K + l] = b()[k * K + l];
    potential_.y[k] = y(k);
    potential_.theta[k] = z(3)[k];
    potential_.psihat[k] = z(4)[k];
  }
  potential_.resolve(regime_);
  potential_.lift(regime_);
  for (int k = 0; k < K; ++k) {
    psi[k] = potential_.psi[k].value;
  }
  for (auto* array : {&V_, &mean_, &s_, &t_}) std::fill(array->begin(), array->end(), 0.0);
  for (int r = 0; r < unknowns_; ++r) {
    const Raw& raw = raw_[r];
    Array<double>& rows = raw.channel == kV   ? V_
                          : raw.channel == kT ? t_
                          : raw.channel == kS ? s_
                                              : mean_;
    double* field = rows.data();
    const double coefficient = r < offset_[1] ? v[r] : r < offset_[4] ? z_[r] : psi[r - offset_[4]];
    for (Index i = 0; i < tables_->nodes; ++i) field[i] += coefficient * raw.function[i];
  }
  for (Index i = 0; i < tables_->nodes; ++i) {
    double terms = 0.0;
    for (int a = 0; a < size(); ++a) terms += std::fabs(z(1)[a] * tables_->feature(a)[i]);
    // Where features have died out, or cancel to rounding.
    if (t_[i] < 0.0 && t_[i] > -1e-13 * terms) t_[i] = 0.0;
    if (!(V_[i] >= 0.0 && t_[i] >= 0.0 && std::isfinite(V_[i] + t_[i] + mean_[i] + s_[i]))) {
      return false;
    }
    V_[i] = std::max(V_[i], kNone);
    t_[i] = std::max(t_[i], kNone);
  }
  return true;
}

void ConvexEquations::average(bool with_hessian) {
  const Index nodes = tables_->nodes;
  const double* w = tables_->weight();
  for (Index i = 0; i < nodes; ++i) {
    sums_[i] = averages_.envelope(*labels_, i, noise_, flip_, {V_[i], mean_[i], s_[i], t_[i]},
                                  with_hessian);
  }
  const Index N = unknowns_;
  for (Index r = 0; r < N; ++r) {
    const Raw& raw = raw_[r];
    double total = 0.0;
    for (Index i = 0; i < nodes; ++i) {
      const EnvelopeSums& e = sums_[i];
      const double by = raw.channel == kV   ? -0.5 * e.f2
                        : raw.channel == kT ? 0.5 * e.slope
                        : raw.channel == kS ? -e.zeta_f
                                            : -e.f;
      total += w[i] * by * raw.function[i];
    }
    gradient_[r] = regime_.delta * total;
  }
  if (!with_hessian) return;
  // Entries of the Hessian of env by channel, in the order of the enumeration.
  static constexpr double EnvelopeSums::* kEntry[4][4] = {
      {&EnvelopeSums::VV, &EnvelopeSums::tV, &EnvelopeSums::mV, &EnvelopeSums::sV},
      {&EnvelopeSums::tV, &EnvelopeSums::tt, &EnvelopeSums::mt, &EnvelopeSums::st},
      {&EnvelopeSums::mV, &EnvelopeSums::mt, &EnvelopeSums::slope, &EnvelopeSums::ms},
      {&EnvelopeSums::sV, &EnvelopeSums::st, &EnvelopeSums::ms, &EnvelopeSums::ss}};
  Array<double> product(4 * nodes);
  for (Index r = 0; r < N; ++r) {
    for (int channel = 0; channel < 4; ++channel) {
      const auto entry = kEntry[raw_[r].channel][channel];
      double* out = product.data() + channel * nodes;
      for (Index i = 0; i < nodes; ++i) {
        out[i] = regime_.delta * w[i] * raw_[r].function[i] * (sums_[i].*entry);
      }
    }
    for (Index l = r; l < N; ++l) {
      const double* left = product.data() + (raw_[l].channel) * nodes;
      double total = 0.0;
      for (Index i = 0; i < nodes; ++i) total += left[i] * raw_[l].function[i];
      hessian_[r * N + l] = hessian_[l * N + r] = total;
    }
  }
}

// The violations of the equations at z, in the order of the unknowns.
void ConvexEquations::residual() {
  const int K = groups();
  const int P = pairs();
  const int n = size();
  const double* by_v = gradient_.data() + offset_[0];
  const double* by_q = gradient_.data() + offset_[1];
  for (int k = 0; k < K; ++k) {
    for (int l = 0; l < K; ++l) {
      potential_.Gamma[k * K + l] = -2.0 * by_v[pair_index(k, l, K)];
    }
    potential_.g[k] = -2.0 * by_v[P + k];
    potential_.Lambda[k] = z(1)[P + k];
  }
  potential_.differentiate(regime_, false);
  double* out = residual_.data();
  for (int a = 0; a < n; ++a) {
    out[offset_[0] + a] = z(0)[a] - 2.0 * by_q[a] - (a < P ? 0.0 : regime_.lam + s[a - P]);
    out[offset_[1] + a] = z(1)[a] + potential_.by_x[a].value;
  }
  for (int k = 0; k < K; ++k) {
    const Index beta = offset_[2] + k;
    out[beta] = k < basis_.rank() ? gradient_[beta] : 0.0;
    out[offset_[3] + k] = potential_.tension(k).value + gradient_[offset_[3] + k];
    double pulled = 0.0;
    for (int l = 0; l < K; ++l) pulled += b()[k * K + l] * psi[l];
    out[offset_[4] + k] = z(4)[k] - pulled + gradient_[offset_[4] + k];
  }
}

// The derivatives of the residual by the unknowns (row: equation), after `residual`.
void ConvexEquations::jacobian() {
  const int K = groups();
  const int P = pairs();
  const int n = size();
  const int N = unknowns_;
  const auto at = [N](int row, int column) { return row * N + column; };
  Array<double>& J = jacobian_z_;
  std::fill(J.begin(), J.end(), 0.0);
  // How the raw variables move with the unknowns (row: raw variable): v with x, psi with x, theta
  // and psihat, the others are unknowns themselves.
  Array<double> moves(N * N, 0.0);
  for (int a = 0; a < n; ++a) {
    for (int c = 0; c < n; ++c) {
      moves[at(offset_[0] + a, offset_[0] + c)] = v_slope[a * n + c];
    }
    moves[at(offset_[1] + a, offset_[1] + a)] = 1.0;
  }
  for (int k = 0; k < K; ++k) {
    moves[at(offset_[2] + k, offset_[2] + k)] = 1.0;
    moves[at(offset_[3] + k, offset_[3] + k)] = 1.0;
  }
  // The bulk, direction by direction.
  const auto move = [&](int column, const auto& set) {
    set(1.0);
    potential_.resolve(regime_);
    potential_.lift(regime_);
    potential_.differentiate(regime_, false);
    for (int a = 0; a < n; ++a) {
      J[at(offset_[1] + a, column)] += potential_.by_x[a].slope[0];
    }
    for (int k = 0; k < K; ++k) {
      J[at(offset_[3] + k, column)] += potential_.tension(k).slope[0];
      moves[at(offset_[4] + k, column)] = potential_.psi[k].slope[0];
      Moving pulled;
      for (int l = 0; l < K; ++l) {
        pulled += potential_.B[k * K + l] * potential_.psi[l];
      }
      J[at(offset_[4] + k, column)] -= pulled.slope[0];
    }
    set(0.0);
  };
  for (int k = 0; k < K; ++k) {
    for (int l = k; l < K; ++l) {
      move(pair_index(k, l, K), [&](double slope) {
        potential_.B[k * K + l].slope[0] = slope;
        potential_.B[l * K + k].slope[0] = slope;
      });
    }
    move(offset_[0] + P + k, [&](double slope) { potential_.y[k].slope[0] = slope; });
    move(offset_[3] + k, [&](double slope) { potential_.theta[k].slope[0] = slope; });
    move(offset_[4] + k, [&](double slope) { potential_.psihat[k].slope[0] = slope; });
  }
  // The gradient of delta E env along the unknowns.
  for (int r = 0; r < N; ++r) {
    for (int c = 0; c < N; ++c) along_[at(r, c)] = 0.0;
    for (int l = 0; l < N; ++l) {
      const double entry = hessian_[at(r, l)];
      if (entry == 0.0) continue;
      for (int c = 0; c < N; ++c) along_[at(r, c)] += entry * moves[at(l, c)];
    }
  }
  for (int a = 0; a < n; ++a) {
    J[at(offset_[0] + a, offset_[0] + a)] += 1.0;
    J[at(offset_[1] + a, offset_[1] + a)] += 1.0;
    for (int c = 0; c < N; ++c) {
      J[at(offset_[0] + a, c)] -= 2.0 * along_[at(offset_[1] + a, c)];
      for (int e = 0; e < n; ++e) {
        J[at(offset_[1] + a, c)] -= 2.0 * v_slope[e * n + a] * along_[at(offset_[0] + e, c)];
      }
    }
    for (int c = 0; a >= P && c < n; ++c) {
      J[at(offset_[0] + a, offset_[0] + c)] -= s_slope(a - P, c);
    }
    for (int k = 0; k < K; ++k) J[at(offset_[1] + a, offset_[1] + P + k)] -= s_slope(k, a);
  }
  for (int k = 0; k < K; ++k) {
    J[at(offset_[4] + k, offset_[4] + k)] += 1.0;
    for (int c = 0; c < N; ++c) {
      for (int block = 2; block < 5; ++block) {
        J[at(offset_[block] + k, c)] += along_[at(offset_[block] + k, c)];
      }
    }
  }
  for (int k = basis_.rank(); k < K; ++k) J[at(offset_[2] + k, offset_[2] + k)] = 1.0;
}

Array<CavityField> ConvexEquations::cavity() {
  Array<CavityField> field;
  if (!place()) return field;
  for (Index i = 0; i < tables_->nodes; ++i) field.push_back({V_[i], mean_[i], s_[i], t_[i]});
  return field;
}

double ConvexEquations::norm() const {
  double total = 0.0;
  for (int k = 0; k < groups(); ++k) total += q()[pairs() + k];
  return total;
}

FieldState ConvexEquations::field() const {
  return {m, {theta(), theta() + groups()}, psi, {q(), q() + size()}, {v.begin(), v.end()}};
}

Outcome ConvexEquations::outcome() {
  Outcome total;
  for (Index i = 0; i < tables_->nodes; ++i) {
    const double w = tables_->weight()[i];
    const Outcome here =
        averages_.outcome(*labels_, i, noise_, flip_, {V_[i], mean_[i], s_[i], t_[i]});
    total.test_error += w * here.test_error;
    total.train_error += w * here.train_error;
    total.test_loss += w * here.test_loss;
    total.train_loss += w * here.train_loss;
    total.test_margin += w * here.test_margin;
    total.train_margin += w * here.train_margin;
  }
  basis_.restore(z(2), z(3), m.data());
  return total;
}

}  // namespace spikedrf
