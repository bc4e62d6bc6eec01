// The general form of the latents: tables made elsewhere give what the kernels' own give.
#include <algorithm>
#include <cmath>
#include <string>

#include "batch.hpp"
#include "check.hpp"
#include "named.hpp"
#include "numerics/quadrature.hpp"
#include "tables/moments.hpp"
#include "tables/plane_rule.hpp"

using namespace spikedrf;

namespace {

const Case cases[] = {
    {named::relu, named::sin, {1.2}, {1.1}, {1.0}, 0.8, 1.5, 0.5, 0.05, 0.3},
    {named::tanh, named::hermite2, {1.5, -1.0}, {1.05, 1.2}, {0.6, 0.4}, 0.9, 2.0, 1.0, 0.1, 0.1},
    {named::erf, named::sin, {2.0, 0.5, -1.5}, {1.05, 1.3, 0.9}, {0.5, 0.2, 0.3}, 0.7, 3.0, 0.7,
     0.02, 0.1},
};

// The tables of one spike as rows that were made elsewhere: in classes that are all the same, with
// one weight in the loss, and with further directions and columns that nothing depends on.
class Rows final : public TableSource {
 public:
  Rows(const Case& p, Latents latents, Array<double> shares, double weight)
      : case_(p), latents_(latents), shares_(std::move(shares)), weight_(weight) {}

  // Ridge regression needs moments of the labels only.
  Made label(Index, Index, const Latents&, LabelTable&) override { return Made::failed; }
  Made panels(Index, int, const Latents&, int, PanelTables&) override { return Made::failed; }
  Made make(Index level, int groups, const Latents& latents, Tables& tables) override {
    NamedMoments activation(case_.activation), target(case_.target);
    Variation variation;
    for (Index k = 0; k < case_.r.size(); ++k) {
      activation.add_variation(case_.r[k], std::sqrt(case_.c[k]), variation);
    }
    target.add_variation(case_.gamma, std::sqrt(1.0 - case_.gamma * case_.gamma), variation);
    Rule rule;
    if (!RuleLadder(variation, 1u << 15).make(static_cast<int>(level), rule)) {
      return Made::exhausted;
    }
    Tables plain;
    plain.fill(rule, static_cast<int>(level), groups, case_.r.data(), case_.c.data(), case_.gamma,
               activation, target);
    const Index n = plain.nodes;
    Array<double> rows;
    Array<Index> begin{0};
    const auto add = [&](const auto& value) {
      for (Index c = 0; c < shares_.size(); ++c) {
        for (Index i = 0; i < n; ++i) rows.push_back(value(c, i));
      }
    };
    const auto copy = [&](const double* row) { add([&](Index, Index i) { return row[i]; }); };
    const auto zero = [&] { add([](Index, Index) { return 0.0; }); };
    add([&](Index c, Index i) { return shares_[c] * plain.weight()[i]; });
    add([&](Index, Index) { return 1.0 / weight_; });
    copy(plain.h());
    copy(plain.g2());
    // Of the directions beside kappa the last is the label's.
    for (int l = 0; l + 1 < latents_.rest(); ++l) zero();
    copy(plain.hz());
    for (int k = 0; k < groups; ++k) copy(plain.mu0(k));
    for (int k = 0; k < groups; ++k) copy(plain.mu1(k));
    for (int k = 0; k < groups; ++k) copy(plain.kappa_mu1(k));
    for (int a = groups; a < latents_.columns(groups); ++a) zero();
    for (int k = 0; k < groups; ++k) copy(plain.feature(pair_count(groups) + k));
    for (Index c = 0; c < shares_.size(); ++c) begin.push_back(n * (c + 1));
    tables.take(rows.data(), n * shares_.size(), begin, groups, latents);
    return Made::ready;
  }

 private:
  const Case& case_;
  Latents latents_;
  Array<double> shares_;
  double weight_;
};

struct Classes {
  Array<double> error, wrong;
};

Found solved(const Case& p, double lam, Rows* rows, Latents latents = {}, int classes = 1,
             Classes* by_class = nullptr, const Bulk* bulk = nullptr) {
  const std::int64_t which = 0;
  NamedMoments activation(p.activation), target(p.target);
  Problem problem{spikes_of(p), &activation, &target, {loss_of<losses::Square>()}};
  problem.accuracy.rtol = 1e-9;
  problem.latents = latents;
  problem.source = rows;
  problem.classes = classes;
  if (bulk != nullptr) {
    problem.spikes.bulk_nodes = bulk->nodes;
    problem.spikes.bulk = *bulk;
  }
  Found found(1, p.r.size());
  found.theta.resize(latents.columns(problem.spikes.groups));
  found.psi.resize(latents.free * problem.spikes.groups);
  Solutions view = found.view();
  if (by_class != nullptr) {
    by_class->error.resize(classes);
    by_class->wrong.resize(classes);
    view.class_error = by_class->error.data();
    view.class_wrong = by_class->wrong.data();
  }
  check::that(run(problem, {1, &which, &p.alpha, &p.beta, &lam, &p.noise}, {&view}), "tables");
  check::that(found.status[0] == 0, "it converges");
  return found;
}

void same(const Found& found, const Found& expected, const std::string& what) {
  check::near(found.test[0], expected.test[0], 1e-9, 0.0, what + ", test error");
  check::near(found.train[0], expected.train[0], 1e-9, 0.0, what + ", train error");
  check::near(found.norm[0], expected.norm[0], 1e-9, 0.0, what + ", norm");
}

// One spike and one direction, as the smallest case of the general form, and with more that does
// not matter: classes with one mean, directions without labels, lengths that do not fluctuate.
void smallest_case() {
  for (const Case& p : cases) {
    const Found plain = solved(p, p.lam, nullptr);
    for (const Latents latents : {Latents{}, Latents{1, 1, 3, false}, Latents{1, 2, 2, true}}) {
      Rows one(p, latents, {1.0}, 1.0);
      same(solved(p, p.lam, &one, latents), plain, "one class");
      Rows three(p, latents, {0.3, 0.5, 0.2}, 1.0);
      Classes by_class;
      same(solved(p, p.lam, &three, latents, 3, &by_class), plain, "three classes that are one");
      for (const double error : by_class.error) {
        check::near(error, plain.test[0], 1e-9, 0.0, "the error of each");
      }
    }
  }
}

// A weight of all samples in the loss is one over a ridge.
void weights_in_the_loss() {
  for (const Case& p : cases) {
    Rows rows(p, {}, {0.4, 0.6}, 2.5);
    same(solved(p, 2.5 * p.lam, &rows, {}, 2), solved(p, p.lam, nullptr), "weights of 2.5");
  }
}

// Nodes of one value are one, whatever the directions see of each.
void split_bulk() {
  const Latents latents{1, 2, 2, false};
  for (const Case& p : cases) {
    const Index K = p.r.size();
    Array<double> value;
    for (int j = 0; j < 2; ++j) value.insert(value.end(), p.c.begin(), p.c.end());
    const double trace[] = {0.3, 0.7};
    const double share[] = {0.6, 0.2, 0.5, 0.4};  // of the first node in each direction
    Array<double> forms;
    for (Index l = 0; l < 4; ++l) {
      for (Index m = l; m < 4; ++m) {
        const double first = l == m ? share[l] : 0.05 * static_cast<double>(1 + l + m);
        forms.push_back(first);
        forms.push_back((l == m ? 1.0 : 0.0) - first);
      }
    }
    const Bulk bulk{2, value.data(), trace, 4, forms.data(), 2};
    Rows rows(p, latents, {1.0}, 1.0);
    same(solved(p, p.lam, &rows, latents, 1, nullptr, &bulk), solved(p, p.lam, nullptr),
         std::to_string(K) + " groups on two equal nodes");
  }
}

// Averages that have closed forms, on rules for mild lines, steep ones, and nearly parallel ones.
void rules_of_a_plane() {
  NamedMoments activation(named::tanh);
  const double lines[][4] = {{1.2, 0.4, 1.2, -0.4}, {20.0, 3.0, 2.0, 9.0}, {8.0, 0.5, 8.0, 0.49}};
  for (const auto& r : lines) {
    const Array<PlaneFunction> functions{{&activation, 0.3, r[0], r[1], 1.0},
                                         {&activation, -0.2, r[2], r[3], 0.8}};
    Index before = 0;
    for (int level = 0; level < 3; ++level) {
      PlaneRule rule;
      check::that(plane_rule(functions, 1 << 21, level, rule), "there is one");
      check::that(rule.weight.size() > before, "it gets finer");
      before = rule.weight.size();
      double whole = 0.0, wave = 0.0;
      for (Index i = 0; i < rule.weight.size(); ++i) {
        whole += rule.weight[i];
        wave += rule.weight[i] * std::cos(1.5 * rule.first[i] - 0.7 * rule.second[i]);
      }
      const double accuracy = level == 0 ? 1e-7 : 1e-12;
      check::near(whole, 1.0, accuracy, 0.0, "the whole");
      check::near(wave, std::exp(-0.5 * (1.5 * 1.5 + 0.7 * 0.7)), accuracy, 0.0, "a wave");
    }
    PlaneRule rule;
    check::that(!plane_rule(functions, 100, 1, rule), "none of so few nodes");
    check::that(plane_rule(functions, 100, 0, rule), "but always a first");
  }
}

const check::Register t0("the smallest case of the general form", smallest_case);
const check::Register t1("weights in the loss", weights_in_the_loss);
const check::Register t2("a bulk of equal nodes, four directions", split_bulk);
const check::Register t3("rules of a plane", rules_of_a_plane);

}  // namespace
