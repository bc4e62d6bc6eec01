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
    const double tail = vmath::normal_tail_beyond(vmath::magnitude(field) * inverse);
    const double below = field > 0.0 ? tail : 1.0 - tail;
    const double above = field > 0.0 ? 1.0 - tail : tail;
    fresh += weight[j] * (up * below + (1.0 - up) * above);
    const double up_below = vmath::normal_tail_beyond((field + shift_up) * inverse);
    const double down_above = vmath::normal_tail_beyond((shift_down - field) * inverse);
    trained += weight[j] * (up * up_below + (1.0 - up) * down_above);
  }
  *test = fresh;
  *train = trained;
}

constexpr double kNone = 1e-60;  // a variance that changes nothing
// Steps that are blurred by a Gaussian are smoother than whatever else has their width: at steps of
// one width uniform rules are right to 1e-8.
constexpr double kBlurred = 3.0;

// P(x < h, y < k) - P(x < h) P(y < k) of a normal pair of correlation rho is the integral over the
// angle up to asin rho of e^{-(h^2 + k^2 - 2 h k sin)/(2 cos^2)}/(2 pi): to 1e-15 with 20 nodes up
// to this correlation.
constexpr double kMostCorrelated = 0.9;
constexpr int kAngles = 20;

SPIKEDRF_MULTIVERSION
void lay_angles(double turn, const double* node, double* SPIKEDRF_RESTRICT sine,
                double* SPIKEDRF_RESTRICT inverse) noexcept {
  SPIKEDRF_SIMD
  for (int i = 0; i < kAngles; ++i) {
    sine[i] = vmath::sin(0.5 * turn * (1.0 + node[i]));
    inverse[i] = 0.5 / ((1.0 - sine[i]) * (1.0 + sine[i]));
  }
}

SPIKEDRF_MULTIVERSION
double sum_angles(double square, double product, const double* sine, const double* inverse,
                  const double* weight) noexcept {
  double total = 0.0;
#pragma omp simd reduction(+ : total)
  for (int i = 0; i < kAngles; ++i) {
    const double exponent = (product * sine[i] - square) * inverse[i];
    total += weight[i] * vmath::exp_in_range(exponent < -700.0 ? -700.0 : exponent);
  }
  return total;
}

class Angles {
 public:
  explicit Angles(double rho) : rule_(legendre_rule(kAngles)), turn_(std::asin(rho)) {
    lay_angles(turn_, rule_.node.data(), sine_, inverse_);
  }
  double excess(double h, double k) const {
    constexpr double kInvTwoPi = 0.15915494309189534;
    return 0.5 * kInvTwoPi * turn_ *
           sum_angles(h * h + k * k, 2.0 * h * k, sine_, inverse_, rule_.weight.data());
  }

 private:
  const LegendreRule& rule_;
  double turn_;
  double sine_[kAngles], inverse_[kAngles];
};

// Down to one of few widths, so that nodes share their rules.
double rounded(double width) {
  return width < 1e-300 ? 0.0 : std::exp2(0.25 * std::floor(4.0 * std::log2(width)));
}

bool symmetric(const Array<double>& kappa) {
  constexpr double kRounding = 1e-14;
  const Index n = kappa.size();
  for (Index i = 0; i < n / 2; ++i) {
    if (!(std::fabs(kappa[i] + kappa[n - 1 - i]) <= kRounding * std::fabs(kappa[i]))) return false;
  }
  return true;
}

}  // namespace

SignRateSums::SignRateSums(const Problem& problem, Index index, double noise,
                           const LabelVariation& variation)
    : gamma_(problem.spikes.gamma[index]),
      sd_(std::sqrt(std::max(0.0, (1.0 - gamma_) * (1.0 + gamma_)))),
      noise_(noise),
      // Of a loss of the margin phi = loss'(1) at h = 0, of another f = loss'(y).
      pull_up_(loss_slope(problem.loss, 1.0)),
      pull_down_(traits(problem.loss).margin ? pull_up_ : -loss_slope(problem.loss, -1.0)),
      variation_(variation) {}

SignRateRules::SignRateRules(const Problem& problem, Index index, double noise,
                             const FieldState& field, const Tables& tables,
                             const LabelVariation& variation, const Wanted& wanted,
                             Deque<Deque<LabelTable>>& room)
    : SignRateSums(problem, index, noise, variation),
      target_(*problem.target),
      field_(field),
      // A rate is no more than the weight of its nodes; a derivative may be.
      tables_(problem, index, wanted.slopes, scales(field, tables), RuleLadder::Start::fine,
              wanted.derivatives ? 1e-28 : 1e-2 * kLeastRate * problem.accuracy.rtol),
      wanted_(wanted),
      labels_(room) {}

SignRateSums::Node SignRateSums::node(const Tables& tables, const FieldState& field, Index i) {
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
  variation_.add(gamma_, sd_, noise_, result);
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
          {tables.kappa()[i - 1] + share * step,
           kBlurred * spread * step / std::fabs(to - from)});
    }
    left = right;
  }
  return result;
}

Reached SignRateRules::reach(Index level, Index fine) {
  const Reached reached = tables_.reach(level);
  if (reached != Reached::ready) return reached;
  while (labels_.size() <= level) labels_.emplace_back();
  while (labels_[level].size() <= fine) labels_[level].emplace_back();
  while (made_.size() <= level) {
    made_.emplace_back();
    half_.emplace_back();
  }
  while (made_[level].size() <= fine) made_[level].push_back(false);
  const Tables& tables = tables_[level];
  if (half_[level].count == 0) {
    half_[level] = half(tables, wanted_.mirrored, !wanted_.derivatives, field_);
  }
  const Half here = half_[level];
  if (here.closed || made_[level][fine]) return Reached::ready;
  const Array<double> kappa(tables.kappa().begin(), tables.kappa().begin() + here.count);
  Array<Node> nodes;
  bool sharp = false;  // rules over zeta resolve whatever is of scale one
  for (Index i = 0; i < here.count; ++i) {
    nodes.push_back(node(tables, field_, i));
    sharp = sharp || std::fabs(nodes[i].s) > std::sqrt(nodes[i].t);
  }
  const auto steps = [&](Index i, Variation& around) {
    const Node& at = nodes[i];
    if (at.s == 0.0) return;
    for (double pull : {0.0, -pull_up_, pull_down_}) {
      const double width = std::sqrt(at.t) / std::fabs(at.s);
      around.features.push_back({(pull * at.V - at.mean) / at.s, rounded(width)});
    }
  };
  LabelTable& table = labels_[level][fine];
  if (!table.fill(LabelKind::sign, kappa, static_cast<int>(fine), gamma_, noise_, variation_,
                  target_, sharp ? steps : LabelTable::MoreScales())) {
    return table.exhausted() ? Reached::exhausted : Reached::failed;
  }
  made_[level][fine] = true;
  return Reached::ready;
}

SignRateSums::Half SignRateSums::half(const Tables& tables, bool mirrored, bool may_close,
                                      const FieldState& field) const {
  const Array<double>& all = tables.kappa();
  Half result;
  result.count = mirrored && symmetric(all) ? (all.size() + 1) / 2 : all.size();
  result.closed = noise_ == 0.0 && sd_ > 0.0 && may_close;
  for (Index i = 0; result.closed && i < result.count; ++i) {
    result.closed = closed(node(tables, field, i));
  }
  return result;
}

SignRates SignRateSums::over(const Tables& tables, const LabelTable& labels, bool mirrored,
                             const FieldState& field, double flip) const {
  return sum(tables, labels, half(tables, mirrored, true, field), field, flip);
}

bool SignRateSums::resolve(const Tables& tables, const LabelTable& labels,
                           const FieldState& field) const {
  const bool closed = half(tables, false, true, field).closed;
  Node left = node(tables, field, 0);
  for (Index i = 0; i < tables.nodes; ++i) {
    const Node here = node(tables, field, i);
    const double spread2 = std::min(left.t + left.s * left.s, here.t + here.s * here.s);
    const double* const first = labels.zeta() + labels.begin(i);
    const double* const last = labels.zeta() + labels.begin(i + 1);
    for (double pull : {0.0, -pull_up_, pull_down_}) {
      const double from = left.mean - pull * left.V;
      const double to = here.mean - pull * here.V;
      if ((from < 0.0) != (to < 0.0) && (to - from) * (to - from) > spread2) return false;
      if (closed || here.s == 0.0) continue;
      const double* const next = std::upper_bound(first, last, -to / here.s);
      if (next == first || next == last) continue;
      const double step = here.s * (next[0] - next[-1]);
      if (step * step > here.t) return false;
    }
    left = here;
  }
  return true;
}

SignRates SignRateSums::sum(const Tables& tables, const LabelTable& labels, const Half& half,
                            const FieldState& field, double flip) const {
  SignRates rates;
  for (Index i = 0; i < half.count; ++i) {
    const Node here = node(tables, field, i);
    SignRates at;
    if (half.closed) {
      at = closed_rates(here, tables.kappa()[i], flip);
    } else {
      const Index first = labels.begin(i);
      sum_rates(labels.zeta() + first, labels.weight() + first, labels.value() + first,
                labels.begin(i + 1) - first, here.mean, here.s, 1.0 / std::sqrt(here.t), flip,
                here.V * pull_up_, here.V * pull_down_, &at.test, &at.train);
    }
    const bool twice = half.count < tables.nodes && i != tables.nodes - 1 - i;
    const double weight = (twice ? 2.0 : 1.0) * tables.weight()[i];
    rates.test += weight * std::max(at.test, 0.0);
    rates.train += weight * std::max(at.train, 0.0);
  }
  return rates;
}

bool SignRateSums::closed(const Node& here) {
  return std::fabs(here.s) <= kMostCorrelated * std::sqrt(here.t + here.s * here.s);
}

SignRates SignRateSums::closed_rates(const Node& here, double kappa, double flip) const {
  const double spread = std::sqrt(here.t + here.s * here.s);
  const Angles angles(here.s / spread);
  // The chances of omega < threshold, and of that with a label +1 before any flip.
  const auto below = [&](double threshold, double& all, double& up) {
    const double h = std::clamp((threshold - here.mean) / spread, -37.0, 37.0);
    all = vmath::normal_cdf(h);
    up = 0.0;
    double turn = variation_.starts_up() ? 1.0 : -1.0;
    for (const Crossing& crossing : variation_.crossings()) {
      const double cut = std::clamp((crossing.at - gamma_ * kappa) / sd_, -37.0, 37.0);
      up += turn * (all * vmath::normal_cdf(cut) + angles.excess(h, cut));
      turn = -turn;
    }
    if (turn > 0.0) up += all;
  };
  double all, up, everything, ups;
  below(1e300, everything, ups);
  const auto wrong = [&](double low, double high) {
    below(low, all, up);
    const double first = (1.0 - flip) * up + flip * (all - up);
    below(high, all, up);
    const double kept = (everything - ups) - (all - up);
    return first + (1.0 - flip) * kept + flip * (ups - up);
  };
  return {wrong(0.0, 0.0), wrong(-here.V * pull_up_, here.V * pull_down_)};
}

Objective SignRateRules::objective(Index level, Index fine, const FieldState& field,
                                   double flip) const {
  constexpr double kInvSqrtTwoPi = 0.39894228040143267794;
  const Tables& tables = tables_[level];
  const LabelTable& labels = labels_[level][fine];
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
