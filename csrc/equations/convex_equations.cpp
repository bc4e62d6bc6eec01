#include "equations/convex_equations.hpp"

#include <algorithm>
#include <cmath>

namespace spikedrf {

ConvexEquations::ConvexEquations(int group_count, int bulk_nodes, const Latents& latents, Loss loss,
                                 LabelKind kind, double rtol, bool with_rates)
    : Resolvent<0>(group_count, bulk_nodes),
      m(group_count),
      psi(latents.free * group_count),
      latents_(latents),
      columns_(latents.columns(group_count)),
      free_(latents.free * group_count),
      averages_(loss, kind, rtol, with_rates),
      potential_(group_count, bulk_nodes, latents),
      loss_(loss),
      negligible_(1e-2 * rtol) {
  const int K = groups();
  const int n = size();
  unknowns_ = 2 * n + K + columns_ + free_;
  const int offset[] = {0, n, 2 * n, 2 * n + K, 2 * n + K + columns_};
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
  const int R = latents_.rest();
  tables_ = &tables;
  labels_ = &labels;
  regime_ = regime;
  noise_ = noise;
  flip_ = flip;
  basis_.build(tables);
  for (auto* array : {&V_, &mean_, &t_}) array->assign(tables.stride, 0.0);
  s_.assign(R * tables.stride, 0.0);
  spread_.assign(R * K * tables.stride, 0.0);
  sums_.assign(tables.stride, EnvelopeSums());
  for (int a = 0; a < size(); ++a) {
    raw_[offset_[0] + a] = {{{kV, tables.feature(a)}}, 1};
    raw_[offset_[1] + a] = {{{kT, tables.feature(a)}}, 1};
  }
  for (int k = 0; k < K; ++k) raw_[offset_[2] + k] = {{{kMean, basis_.spanning(k)}}, 1};
  for (int a = 0; a < columns_; ++a) {
    Raw& raw = raw_[offset_[3] + a];
    raw = {{{kMean, basis_.left_over(a)}}, 1};
    if (rest_of(a)) raw.term[raw.terms++] = across(a / K - latents_.spans, a % K);
  }
  for (int a = 0; a < free_; ++a) {
    raw_[offset_[4] + a] = {{across(coupled_rest() + a / K, a % K)}, 1};
  }
}

ConvexEquations::Term ConvexEquations::across(int l, int k) const {
  const int axis = latents_.label_axis(l);
  if (axis >= 0) return {static_cast<Channel>(kS + axis), tables_->mu1(k)};
  return {kT, spread_.data() + (l * groups() + k) * tables_->stride};
}

double ConvexEquations::power(const double* coefficients) const {
  double total = 0.0;
  for (int a = 0; a < size(); ++a) {
    total += coefficients[a] * tables_->mean_feature()[a];
  }
  return total;
}

CavityField ConvexEquations::field_at(Index node) const {
  CavityField field{V_[node], mean_[node], t_[node], {}};
  for (int l = 0; l < latents_.rest(); ++l) {
    const int axis = latents_.label_axis(l);
    if (axis >= 0) field.s[axis] = s_[l * tables_->stride + node];
  }
  return field;
}

// False where z is no state: responses or variances are negative.
bool ConvexEquations::place() {
  constexpr double kNone = 1e-60;  // a response or variance that changes nothing
  const int K = groups();
  const int P = pairs();
  const Index nodes = tables_->nodes;
  for (int a = 0; a < size(); ++a) {
    x[a] = z(0)[a];
    if (a >= P && !(z(0)[a] > 0.0)) return false;
  }
  if (!evaluate(regime_)) return false;
  for (int k = 0; k < K; ++k) {
    for (int l = 0; l < K; ++l) potential_.B[k * K + l] = b()[k * K + l];
    potential_.y[k] = y(k);
  }
  for (int a = 0; a < columns_; ++a) potential_.theta[a] = z(3)[a];
  // What is across a coupled direction is a force of its own here.
  for (int a = 0; a < coupled_rest() * K; ++a) potential_.psihat[a] = 0.0;
  for (int a = 0; a < free_; ++a) potential_.psihat[coupled_rest() * K + a] = z(4)[a];
  if (!potential_.resolve(regime_)) return false;
  potential_.lift(regime_);
  for (int a = 0; a < free_; ++a) psi[a] = potential_.psi[a].value;
  const auto add = [nodes](double coefficient, const double* function, double* field) {
    for (Index i = 0; i < nodes; ++i) field[i] += coefficient * function[i];
  };
  for (auto* array : {&V_, &mean_, &t_, &s_}) std::fill(array->begin(), array->end(), 0.0);
  for (int a = 0; a < size(); ++a) {
    add(v[a], tables_->feature(a), V_.data());
    add(z(1)[a], tables_->feature(a), t_.data());
  }
  for (int k = 0; k < K; ++k) add(z(2)[k], basis_.spanning(k), mean_.data());
  for (int a = 0; a < columns_; ++a) add(z(3)[a], basis_.left_over(a), mean_.data());
  for (int l = 0; l < latents_.rest(); ++l) {
    const double* overlap = l < coupled_rest() ? z(3) + (latents_.spans + l) * K
                                               : psi.data() + (l - coupled_rest()) * K;
    for (int k = 0; k < K; ++k) {
      add(overlap[k], tables_->mu1(k), s_.data() + l * tables_->stride);
    }
  }
  for (Index i = 0; i < nodes; ++i) {
    double terms = 0.0;
    for (int a = 0; a < size(); ++a) terms += std::fabs(z(1)[a] * tables_->feature(a)[i]);
    // Where features have died out, or cancel to rounding.
    if (t_[i] < 0.0 && t_[i] > -1e-13 * terms) t_[i] = 0.0;
    double all = V_[i] + t_[i] + mean_[i];
    if (!(V_[i] >= 0.0 && t_[i] >= 0.0)) return false;
    for (int l = 0; l < latents_.rest(); ++l) {
      const double across_l = s_[l * tables_->stride + i];
      all += across_l;
      if (latents_.label_axis(l) >= 0) continue;
      t_[i] += across_l * across_l;
      for (int k = 0; k < K; ++k) {
        spread_[(l * K + k) * tables_->stride + i] =
            2.0 * across_l * tables_->mu1(k)[i];
      }
    }
    if (!std::isfinite(all)) return false;
    V_[i] = std::max(V_[i], kNone);
    t_[i] = std::max(t_[i], kNone);
  }
  return true;
}

double ConvexEquations::gradient_of(const Term& term) const {
  const double* w = tables_->weight();
  double total = 0.0;
  for (Index i = 0; i < tables_->nodes; ++i) {
    total += w[i] * sums_[i].first(term.channel) * term.function[i];
  }
  return regime_.delta * total;
}

// Whether kappa and -kappa are one and the same problem, with everything but V, s and t turned
// around: odd functions of one direction, and a loss that does not tell +1 from -1.
bool ConvexEquations::mirrored() const {
  constexpr double kRounding = 1e-13;
  if (!labels_->mirrored() || !symmetric(loss_) || latents_.rest() != 1) return false;
  const auto alike = [](double a, double b) {
    return std::fabs(a - b) <= kRounding * std::fabs(a);
  };
  for (Index i = 0, j = tables_->nodes - 1; i < j; ++i, --j) {
    const double width = std::sqrt(t_[i]);
    if (!(std::fabs(mean_[i] + mean_[j]) <= kRounding * (width + std::fabs(mean_[i])) &&
          alike(V_[i], V_[j]) && alike(t_[i], t_[j]) &&
          std::fabs(s_[i] - s_[j]) <= kRounding * width)) {
      return false;
    }
  }
  return true;
}

void ConvexEquations::average(bool with_hessian) {
  const int K = groups();
  const Index nodes = tables_->nodes;
  const double* w = tables_->weight();
  const double* inverse_weight = tables_->inverse_weight();
  const bool half = inverse_weight == nullptr && mirrored();
  for (Index i = 0; i < (half ? (nodes + 1) / 2 : nodes); ++i) {
    if (!counts(i)) continue;
    CavityField field = field_at(i);
    const double weight = inverse_weight == nullptr ? 1.0 : 1.0 / inverse_weight[i];
    field.V *= weight;
    sums_[i] = averages_.envelope(*labels_, i, noise_, flip_, field, with_hessian);
    if (inverse_weight != nullptr) sums_[i].weigh(weight);
    const Index other = nodes - 1 - i;
    if (half && i != other) sums_[other] = sums_[i].turned();
  }
  const Index N = unknowns_;
  for (Index r = 0; r < N; ++r) {
    gradient_[r] = 0.0;
    for (int e = 0; e < raw_[r].terms; ++e) gradient_[r] += gradient_of(raw_[r].term[e]);
  }
  if (!with_hessian) return;
  const int channels = kS + latents_.label_directions();
  Array<double> product(channels * nodes);
  for (Index r = 0; r < N; ++r) {
    const Raw& raw = raw_[r];
    for (int channel = 0; channel < channels; ++channel) {
      double* out = product.data() + channel * nodes;
      for (Index i = 0; i < nodes; ++i) {
        out[i] = regime_.delta * w[i] * raw.term[0].function[i] *
                 sums_[i].second[raw.term[0].channel][channel];
      }
      for (Index i = 0; raw.terms > 1 && i < nodes; ++i) {
        out[i] += regime_.delta * w[i] * raw.term[1].function[i] *
                  sums_[i].second[raw.term[1].channel][channel];
      }
    }
    for (Index l = r; l < N; ++l) {
      double total = 0.0;
      for (int e = 0; e < raw_[l].terms; ++e) {
        const Term& term = raw_[l].term[e];
        const double* left = product.data() + term.channel * nodes;
        for (Index i = 0; i < nodes; ++i) total += left[i] * term.function[i];
      }
      hessian_[r * N + l] = hessian_[l * N + r] = total;
    }
  }
  // Where labels do not see a direction, its s enters t as a square: once more the slope by t.
  for (int l = 0; l < latents_.rest(); ++l) {
    if (latents_.label_axis(l) >= 0) continue;
    const Index first = l < coupled_rest() ? offset_[3] + (latents_.spans + l) * K
                                           : offset_[4] + (l - coupled_rest()) * K;
    for (int k = 0; k < K; ++k) {
      for (int e = 0; e < K; ++e) {
        double total = 0.0;
        for (Index i = 0; i < nodes; ++i) {
          total += w[i] * sums_[i].slope * tables_->mu1(k)[i] * tables_->mu1(e)[i];
        }
        hessian_[(first + k) * N + first + e] += regime_.delta * total;
      }
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
    out[offset_[0] + a] =
        z(0)[a] - 2.0 * by_q[a] - (a < P ? 0.0 : regime_.lam + s[a - P]);
    out[offset_[1] + a] = z(1)[a] + potential_.by_x[a].value;
  }
  const auto pulled = [&](const double* overlap, int k) {
    double total = 0.0;
    for (int l = 0; l < K; ++l) total += b()[k * K + l] * overlap[l];
    return total;
  };
  for (int k = 0; k < K; ++k) {
    const Index beta = offset_[2] + k;
    out[beta] = k < basis_.rank() ? gradient_[beta] : 0.0;
  }
  for (int a = 0; a < columns_; ++a) {
    double& force = out[offset_[3] + a];
    force = potential_.tension(a).value + gradient_[offset_[3] + a];
    if (rest_of(a)) force -= pulled(z(3) + a / K * K, a % K);
  }
  for (int a = 0; a < free_; ++a) {
    out[offset_[4] + a] =
        z(4)[a] - pulled(psi.data() + a / K * K, a % K) + gradient_[offset_[4] + a];
  }
}

// The derivatives of the residual by the unknowns (row: equation), after `residual`.
void ConvexEquations::jacobian() {
  const int K = groups();
  const int P = pairs();
  const int n = size();
  const int N = unknowns_;
  const auto at = [N](Index row, Index column) { return row * N + column; };
  Array<double>& J = jacobian_z_;
  std::fill(J.begin(), J.end(), 0.0);
  // How the raw variables move with the unknowns (row: raw variable): v with x, psi with x, theta
  // and psihat, the others are unknowns themselves.
  Array<double> moves(Index{N} * N, 0.0);
  for (int a = 0; a < n; ++a) {
    for (int c = 0; c < n; ++c) {
      moves[at(offset_[0] + a, offset_[0] + c)] = v_slope[a * n + c];
    }
  }
  for (int r = offset_[1]; r < offset_[4]; ++r) moves[at(r, r)] = 1.0;
  // The bulk, direction by direction.
  const auto move = [&](int column, const auto& set) {
    set(1.0);
    potential_.resolve(regime_);
    potential_.lift(regime_);
    potential_.differentiate(regime_, false);
    const auto pulled = [&](const Moving* overlap, int k) {
      Moving total;
      for (int l = 0; l < K; ++l) total += potential_.B[k * K + l] * overlap[l];
      return total.slope[0];
    };
    for (int a = 0; a < n; ++a) {
      J[at(offset_[1] + a, column)] += potential_.by_x[a].slope[0];
    }
    for (int a = 0; a < columns_; ++a) {
      double& entry = J[at(offset_[3] + a, column)];
      entry += potential_.tension(a).slope[0];
      if (rest_of(a)) entry -= pulled(potential_.theta.data() + a / K * K, a % K);
    }
    for (int a = 0; a < free_; ++a) {
      moves[at(offset_[4] + a, column)] = potential_.psi[a].slope[0];
      J[at(offset_[4] + a, column)] -= pulled(potential_.psi.data() + a / K * K, a % K);
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
  }
  for (int a = 0; a < columns_; ++a) {
    move(offset_[3] + a, [&](double slope) { potential_.theta[a].slope[0] = slope; });
  }
  for (int a = 0; a < free_; ++a) {
    move(offset_[4] + a, [&](double slope) {
      potential_.psihat[coupled_rest() * K + a].slope[0] = slope;
    });
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
  for (int r = offset_[2]; r < N; ++r) {
    if (r >= offset_[4]) J[at(r, r)] += 1.0;
    for (int c = 0; c < N; ++c) J[at(r, c)] += along_[at(r, c)];
  }
  for (int k = basis_.rank(); k < K; ++k) J[at(offset_[2] + k, offset_[2] + k)] = 1.0;
}

Array<CavityField> ConvexEquations::cavity() {
  Array<CavityField> field;
  if (!place()) return field;
  for (Index i = 0; i < tables_->nodes; ++i) field.push_back(field_at(i));
  return field;
}

double ConvexEquations::norm() const {
  double total = 0.0;
  for (int k = 0; k < groups(); ++k) total += q()[pairs() + k];
  return total;
}

FieldState ConvexEquations::field() const {
  return {m, {theta(), theta() + columns_}, psi, {q(), q() + size()}, {v.begin(), v.end()}};
}

Outcome ConvexEquations::outcome() {
  Outcome total;
  const double* inverse_weight = tables_->inverse_weight();
  by_class.assign(tables_->classes(), Outcome());
  const Index nodes = tables_->nodes;
  const bool half = inverse_weight == nullptr && tables_->classes() == 1 && mirrored();
  outcomes_.assign(nodes, Outcome());
  for (int c = 0; c < tables_->classes(); ++c) {
    const Index end = half ? (nodes + 1) / 2 : tables_->begin(c + 1);
    for (Index i = tables_->begin(c); i < end; ++i) {
      if (!counts(i)) continue;
      CavityField field = field_at(i);
      if (inverse_weight != nullptr) field.V /= inverse_weight[i];
      const double both = half && i != nodes - 1 - i ? 2.0 : 1.0;
      outcomes_[i] = averages_.outcome(*labels_, i, noise_, flip_, field);
      by_class[c].add(both * tables_->weight()[i], outcomes_[i]);
    }
    total.add(1.0, by_class[c]);
  }
  basis_.restore(z(2), z(3), m.data());
  return total;
}

// Where the parts that nodes further out have in all sums together, each beside the sum of its
// absolute values, come to nothing.
void ConvexEquations::limit_reach() {
  constexpr double kMargin = 0.5;
  reach_ = kEverywhere;
  const Array<double>& kappa = tables_->kappa();
  const Index nodes = tables_->nodes;
  if (kappa.size() != nodes || tables_->classes() != 1) return;
  Array<double> part(nodes), share(nodes);
  part.assign(nodes, 0.0);
  const auto take = [&](const auto& value) {
    double whole = 0.0;
    for (Index i = 0; i < nodes; ++i) {
      share[i] = std::fabs(tables_->weight()[i] * value(i));
      whole += share[i];
    }
    for (Index i = 0; i < nodes && whole > 0.0; ++i) part[i] += share[i] / whole;
  };
  for (const Raw& raw : raw_) {
    for (int e = 0; e < raw.terms; ++e) {
      const Term& term = raw.term[e];
      take([&](Index i) { return sums_[i].first(term.channel) * term.function[i]; });
    }
  }
  for (double Outcome::* each : {&Outcome::test_error, &Outcome::train_error, &Outcome::test_loss,
                                 &Outcome::train_loss}) {
    take([&](Index i) { return outcomes_[i].*each; });
  }
  double outside = 0.0;
  Index low = 0, high = nodes - 1;
  while (low < high) {
    const bool left = std::fabs(kappa[low]) > std::fabs(kappa[high]);
    outside += part[left ? low : high];
    if (!(outside <= 1e-2 * negligible_)) break;
    reach_ = std::fabs(kappa[left ? low : high]) + kMargin;
    left ? ++low : --high;
  }
}

}  // namespace spikedrf
