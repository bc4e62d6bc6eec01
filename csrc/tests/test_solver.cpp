// The square loss: solutions, bulks, gradients, and batches in several threads.
#include <cmath>
#include <limits>
#include <string>
#include <thread>

#include "batch.hpp"
#include "batches/run.hpp"
#include "check.hpp"
#include "named.hpp"
#include "tables/moments.hpp"

using namespace spikedrf;

namespace {

const double infinity = std::numeric_limits<double>::infinity();

Found solved(const Case& p, const Array<double>& alpha, Accuracy accuracy = {},
             const Bulk* bulk = nullptr) {
  const Index n = alpha.size();
  const Array<double> beta(n, p.beta), lam(n, p.lam), noise(n, p.noise);
  const Array<std::int64_t> which(n, 0);
  Spikes spikes = spikes_of(p);
  if (bulk != nullptr) {
    spikes.bulk_nodes = bulk->nodes;
    spikes.bulk = *bulk;
  }
  NamedMoments activation(p.activation), target(p.target);
  Found answer(n, p.r.size());
  const Points points{n, which.data(), alpha.data(), beta.data(), lam.data(), noise.data()};
  const Solutions view = answer.view();
  const Loss square{loss_of<losses::Square>()};
  const Problem problem{spikes, &activation, &target, square, LabelKind::real, accuracy};
  check::that(run(problem, points, {&view}), "named functions");
  return answer;
}

namespace A = named;
const Case problems[] = {
    {A::relu, A::relu, {1.2}, {1.1}, {1.0}, 0.8, 1.5, 0.5, 0.05, 0.3},
    {A::tanh, A::hermite2, {1.5, -1.0}, {1.05, 1.2}, {0.6, 0.4}, 0.9, 2.0, 1.0, 0.1, 0.0},
    {A::relu, A::hermite2, {1.5, -1.5}, {1.05, 1.05}, {0.5, 0.5}, 0.9, 1.0, 1.5, 0.1, 0.1},
    {A::erf, A::hermite2, {2.0, 0.5, -1.5}, {1.05, 1.3, 0.9}, {0.5, 0.2, 0.3}, 0.7, 3.0, 0.7, 0.02,
     0.1},
    {A::relu, A::tanh, {0.0}, {1.0}, {1.0}, 0.0, 1.0, 1.5, 0.1, 0.1},
};

// theory.md, section 8: test and train error and norm, all digits that are printed there.
void published_numbers() {
  const double expected[][3] = {{0.28631, 0.11314, 0.4192},
                                {1.16528, 0.79715, 0.9162},
                                {1.16482, 0.13910, 0.9235},
                                {1.19820, 0.85946, 1.6787},
                                {0.29580, 0.04796, 0.3940}};
  for (Index i = 0; i < 5; ++i) {
    const Found answer = solved(problems[i], {problems[i].alpha});
    const std::string name = "case " + std::to_string(i + 1);
    check::that(answer.status[0] == 0, name + " converges");
    check::near(answer.test[0], expected[i][0], 0.0, 5.1e-6, name + ", test error");
    check::near(answer.train[0], expected[i][1], 0.0, 5.1e-6, name + ", train error");
    check::near(answer.norm[0], expected[i][2], 0.0, 5.1e-5, name + ", norm");
  }
  const Case curve{A::tanh, A::sin, {1.13405551}, {1.0189732}, {1.0}, 0.97185444, 1.0, 1.0, 0.1,
                   0.0};
  const Found answer = solved(curve, {0.2, 0.9, 1.6, 2.3, 3.0, infinity});
  const double errors[] = {0.04848, 0.04250, 0.03731, 0.03430, 0.03252, 0.02659297};
  for (Index i = 0; i < 6; ++i) {
    check::near(answer.test[i], errors[i], 0.0, i < 5 ? 5.1e-6 : 5.1e-9, "the published curve");
  }
}

// Strong spikes, kinks, vanishing ridges, six groups, a rule that may not grow: an answer or a
// flag.
void hard_problems() {
  const Activation all[] = {A::tanh, A::relu, A::erf, A::sin, A::softplus, A::gelu, A::sign,
                            A::identity, A::hermite3, A::abs};
  for (Index groups : {1u, 2u, 5u, 6u}) {
    for (const Activation activation : all) {
      for (double lam : {1.0, 1e-6, 0.0}) {
        Case p{activation, A::sin, {}, {}, {}, 0.95, 3.0, 1.3, lam, 0.2};
        for (Index k = 0; k < groups; ++k) {
          p.r.push_back(k % 2 == 0 ? 30.0 / (1.0 + static_cast<double>(k)) : -2.0);
          p.c.push_back(1.0 + 0.2 * static_cast<double>(k));
          p.pi.push_back(1.0 / static_cast<double>(groups));
        }
        const Array<double> alpha = {1.9, 40.0, infinity};
        const Found answer = solved(p, alpha, {1e-7, 2048});
        for (Index i = 0; i < alpha.size(); ++i) {
          const std::string name = std::string(traits(activation).name) + ", " +
                                   std::to_string(groups) + " groups, lam " + std::to_string(lam);
          if (answer.status[i] != 0) continue;
          check::that(answer.test[i] >= 0.2 * 0.2 * (1 - 1e-9), name + ": no less than the noise");
          check::that(answer.train[i] <= answer.test[i] * (1 + 1e-9), name + ": train below test");
        }
      }
    }
  }
}

// An isotropic bulk cut into nodes is the isotropic bulk.
void split_bulk() {
  for (const Case& p : problems) {
    const Index k = p.r.size(), nodes = 3;
    Array<double> value(nodes * k);
    for (Index j = 0; j < nodes; ++j) {
      for (Index i = 0; i < k; ++i) value[j * k + i] = p.c[i];
    }
    const double trace[] = {0.2, 0.5, 0.3};
    const double forms[] = {0.6, 0.3, 0.1, 0.1, -0.3, 0.2, 0.3, 0.3, 0.4};  // vv, vx, xx
    const Bulk bulk{static_cast<int>(nodes), value.data(), trace, 2, forms, nodes};
    const Found whole = solved(p, {p.alpha, 0.4}), split = solved(p, {p.alpha, 0.4}, {}, &bulk);
    for (Index i = 0; i < 2; ++i) {
      check::near(split.test[i], whole.test[i], 1e-9, 0.0, "split bulk, test error");
      check::near(split.norm[i], whole.norm[i], 1e-9, 0.0, "split bulk, norm");
    }
  }
}

// Derivatives in alpha, lam, noise and along the spike against central differences.
void gradients() {
  for (const Case& p : problems) {
    const Index k = p.r.size(), width = 2 * k + 1;
    Array<double> slope(2 * width, 0.0), along(2), scale = {1.0, 0.5};
    slope[0] = 1.0;                  // r of the first group
    slope[width + 2 * k] = 1.0;      // gamma
    const std::int64_t which = 0;
    const Points points{1, &which, &p.alpha, &p.beta, &p.lam, &p.noise};
    NamedMoments activation(p.activation), target(p.target);
    double test, d_alpha, d_beta, d_lam, d_noise, moved;
    std::int32_t status;
    Gradients out{};
    out.directions = {2, slope.data(), scale.data(), nullptr};
    out.by_alpha = out.by_beta = out.by_lam = out.by_noise = true;
    out.objective = ObjectiveKind::error;
    out.test_error = &test;
    out.alpha = &d_alpha;
    out.beta = &d_beta;
    out.lam = &d_lam;
    out.noise = &d_noise;
    out.along = along.data();
    out.quadrature_error = &moved;
    out.status = &status;
    const Problem problem{spikes_of(p), &activation, &target, {loss_of<losses::Square>()}};
    const bool done = run(problem, points, {nullptr, &out});
    check::that(done && status == 0, "a gradient");
    const auto difference = [&](double h, auto move) {
      Case up = p, down = p;
      move(up, h);
      move(down, -h);
      const double high = solved(up, {up.alpha}, {1e-10}).test[0];
      return (high - solved(down, {down.alpha}, {1e-10}).test[0]) / (2 * h);
    };
    const auto agrees = [&](double slope, double h, auto move, bool even, const char* name) {
      check::near(slope, difference(h, move), 1e-4, even ? 1e-3 : 1e-5, name);
    };
    agrees(d_alpha, 1e-4, [](Case& q, double h) { q.alpha += h; }, false, "d/dalpha");
    agrees(d_beta, 1e-4, [](Case& q, double h) { q.beta += h; }, false, "d/dbeta");
    agrees(d_lam, 1e-5, [](Case& q, double h) { q.lam += h; }, false, "d/dlam");
    agrees(d_noise, 1e-4, [](Case& q, double h) { q.noise = std::abs(q.noise + h); },
           p.noise == 0.0, "d/dnoise");
    agrees(along[0], 1e-4, [](Case& q, double h) { q.r[0] += h; }, false, "d/dr");
    agrees(along[1], 1e-4, [](Case& q, double h) { q.gamma += h; }, p.gamma == 0.0, "d/dgamma");
  }
}

// The kernels share nothing but rules that are made once: threads do not change a bit.
void threads() {
  const Index count = 8;
  Array<Found> answers;
  for (Index i = 0; i < count; ++i) answers.emplace_back(3, 2);
  const auto work = [&](Index i) { answers[i] = solved(problems[1], {0.3, 2.0, infinity}); };
  Array<std::thread> pool;
  for (Index i = 0; i < count; ++i) pool.emplace_back(work, i);
  for (std::thread& thread : pool) thread.join();
  for (const Found& answer : answers) {
    check::that(answer.test == answers[0].test && answer.q1 == answers[0].q1, "the same bits");
  }
}

// First, while nothing has been cached yet.
const check::Register t0("threads", threads);
const check::Register t1("published numbers", published_numbers);
const check::Register t2("hard problems", hard_problems);
const check::Register t3("a bulk of equal nodes", split_bulk);
const check::Register t4("gradients", gradients);

}  // namespace
