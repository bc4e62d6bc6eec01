#include "batches/sign_rates.hpp"

#include <algorithm>
#include <cmath>

#include "numerics/dispatch.hpp"
#include "numerics/small_matrix.hpp"
#include "numerics/vector_math.hpp"

namespace spikedrf {

namespace {

// Sums over zeta of the chance of a wrong sign, for fresh (V = 0) and for training samples.
SPIKEDRF_MULTIVERSION
void sum_rates(const double* zeta, const double* weight, const double* value, Index n, double mean,
               double s, double inverse, double flip, double shift_up, double shift_down,
               double* test, double* train) noexcept {
  double fresh = 0.0;
  double trained = 0.0;
#pragma omp simd reduction(+ : fresh, trained)
  for (Index j = 0; j < n; ++j) {
    const double up = flip + (1.0 - 2.0 * flip) * value[j];
    const double field = mean + s * zeta[j];
    const double below = vmath::normal_cdf(-field * inverse);
    const double above = vmath::normal_cdf(field * inverse);
    fresh += weight[j] * (up * below + (1.0 - up) * above);
    const double up_below = vmath::normal_cdf(-(field + shift_up) * inverse);
    const double down_above = vmath::normal_cdf((field - shift_down) * inverse);
    trained += weight[j] * (up * up_below + (1.0 - up) * down_above);
  }
  *test = fresh;
  *train = trained;
}

constexpr double kNone = 1e-60;  // a variance that changes nothing

}  // namespace

SignRateRules::SignRateRules(const Problem& problem, Index index, double noise,
                             const FieldState& field, const Tables& tables,
                             const LabelVariation& variation, bool with_slopes)
    : gamma_(problem.spikes.gamma[index]),
      noise_(noise),
      // Of a loss of the margin phi = loss'(1) at h = 0, of another f = loss'(y).
      pull_up_(loss_slope(problem.loss, 1.0)),
      pull_down_(traits(problem.loss).margin ? pull_up_ : -loss_slope(problem.loss, -1.0)),
      variation_(variation),
      target_(*problem.target),
      field_(field),
      tables_(problem, index, with_slopes, scales(field, tables), RuleLadder::Start::uniform) {}

SignRateRules::Node SignRateRules::node(const Tables& tables, const FieldState& field, Index i) {
  Node result{0.0, 0.0, 0.0, 0.0};
  const int K = tables.groups;
  for (int k = 0; k < K; ++k) {
    result.mean += field.m[k] * tables.mu0(k)[i] + field.theta[k] * tables.kappa_mu1(k)[i];
    result.s += field.psi[k] * tables.mu1(k)[i];
  }
  for (int a = 0; a < pair_count(K) + K; ++a) {
    result.V += field.v[a] * tables.feature(a)[i];
    result.t += field.q[a] * tables.feature(a)[i];
  }
  result.t = std::max(result.t, kNone);
  return result;
}

// Steps over kappa: where the mean of the field goes through one of the three thresholds, as wide
// as the field is there.
Variation SignRateRules::scales(const FieldState& field, const Tables& tables) const {
  Variation result;
  const double sd = std::sqrt(std::max(0.0, (1.0 - gamma_) * (1.0 + gamma_)));
  variation_.add(gamma_, sd, noise_, result);
  Node left = node(tables, field, 0);
  for (Index i = 1; i < tables.nodes; ++i) {
    const Node right = node(tables, field, i);
    const double step = tables.kappa()[i] - tables.kappa()[i - 1];
    for (double pull : {0.0, -pull_up_, pull_down_}) {
      const double from = left.mean - pull * left.V;
      const double to = right.mean - pull * right.V;
      if ((from < 0.0) == (to < 0.0) || from == to) continue;
      const double share = from / (from - to);
      const double spread =
          std::sqrt(std::max(left.t + left.s * left.s, right.t + right.s * right.s));
      result.features.push_back(
          {tables.kappa()[i - 1] + share * step, spread * step / std::fabs(to - from)});
    }
    left = right;
  }
  return result;
}

Reached SignRateRules::reach(Index level) {
  const Reached reached = tables_.reach(level);
  if (reached != Reached::ready) return reached;
  while (labels_.size() <= level) {
    const auto next = labels_.size();
    const Tables& tables = tables_[next];
    const auto steps = [&](Index i, Variation& around) {
      const Node here = node(tables, field_, i);
      if (here.s == 0.0) return;
      for (double pull : {0.0, -pull_up_, pull_down_}) {
        around.features.push_back({(pull * here.V - here.mean) / here.s,
                                   std::sqrt(here.t) / std::fabs(here.s)});
      }
    };
    LabelTable table;
    if (!table.fill(LabelKind::sign, tables.kappa(), static_cast<int>(next), gamma_, noise_,
                    variation_, target_, steps)) {
      return table.exhausted() ? Reached::exhausted : Reached::failed;
    }
    labels_.push_back(std::move(table));
  }
  return Reached::ready;
}

SignRates SignRateRules::evaluate(Index level, const FieldState& field, double flip) const {
  const Tables& tables = tables_[level];
  const LabelTable& labels = labels_[level];
  SignRates rates;
  for (Index i = 0; i < tables.nodes; ++i) {
    const Node here = node(tables, field, i);
    const Index first = labels.begin(i);
    double test = 0.0;
    double train = 0.0;
    sum_rates(labels.zeta() + first, labels.weight() + first, labels.value() + first,
              labels.begin(i + 1) - first, here.mean, here.s, 1.0 / std::sqrt(here.t), flip,
              here.V * pull_up_, here.V * pull_down_, &test, &train);
    rates.test += tables.weight()[i] * test;
    rates.train += tables.weight()[i] * train;
  }
  return rates;
}

Objective SignRateRules::objective(Index level, const FieldState& field,
                                   double flip) const {
  constexpr double kInvSqrtTwoPi = 0.39894228040143267794;
  const Tables& tables = tables_[level];
  const LabelTable& labels = labels_[level];
  Array<NodeObjective> at(tables.nodes);
  for (Index i = 0; i < tables.nodes; ++i) {
    const Node here = node(tables, field, i);
    const AlongGamma along_gamma(tables.kappa()[i], gamma_);
    const double inverse = 1.0 / std::sqrt(here.t);
    NodeObjective& sum = at[i];
    for (Index j = labels.begin(i); j < labels.begin(i + 1); ++j) {
      const double zeta = labels.zeta()[j];
      const double w = labels.weight()[j];
      const double value = labels.value()[j];
      const double up = flip + (1.0 - 2.0 * flip) * value;
      const double z = std::clamp((here.mean + here.s * zeta) * inverse, -37.0, 37.0);
      const double below = vmath::normal_cdf(-z);
      const double above = vmath::normal_cdf(z);
      const double rate = up * below + (1.0 - up) * above;
      const double by_field = (1.0 - 2.0 * up) * kInvSqrtTwoPi * vmath::gaussian(z) * inverse;
      sum.value += w * rate;
      sum.mean += w * by_field;
      sum.s += w * zeta * by_field;
      sum.t -= w * by_field * 0.5 * z * inverse;
      sum.labels.gamma += w * along_gamma(zeta, rate, here.s * by_field);
      sum.labels.noise += w * (1.0 - 2.0 * flip) * labels.by_noise()[j] * (below - above);
      sum.labels.flip += w * (1.0 - 2.0 * value) * (below - above);
    }
  }
  return gather(tables, tables_.slopes(level), at, field);
}

}  // namespace spikedrf
