// Spectra: transforms on and above the real axis.
#include <cmath>
#include <string>
#include <thread>

#include "batches/run.hpp"
#include "check.hpp"
#include "named.hpp"
#include "tables/moments.hpp"

using namespace spikedrf;

namespace {

constexpr double pi = 3.14159265358979323846;

struct Features {
  Activation activation;
  Array<double> r, c, share;
};

struct Found {
  Array<double> V2, slope, cumulative, mean, form, residual, moved;
  Array<std::int32_t> status, nit;
  Array<std::int64_t> nodes;

  Found(Index n, Index k)
      : V2(2 * n * k),
        slope(2 * n * k),
        cumulative(n),
        mean(n),
        form(4 * n * k * k),
        residual(n),
        moved(n),
        status(n),
        nit(n),
        nodes(n) {}
  Transforms view() {
    return {V2.data(),   slope.data(), cumulative.data(), residual.data(), moved.data(),
            mean.data(), form.data(),  status.data(),     nit.data(),      nodes.data()};
  }
  // Of the Stieltjes transform at point i: part 0 is real, 1 imaginary.
  double total(Index i, int part) const {
    const Index k = V2.size() / (2 * status.size());
    double sum = 0.0;
    for (Index j = 0; j < k; ++j) sum += V2[2 * (i * k + j) + part];
    return sum;
  }
};

Spikes spikes_of(const Features& f, const double* gamma) {
  Spikes spikes{};
  spikes.count = 1;
  spikes.groups = static_cast<int>(f.r.size());
  spikes.r = f.r.data();
  spikes.c = f.c.data();
  spikes.gamma = gamma;
  spikes.pi = f.share.data();
  return spikes;
}

// z = x + i height.
Found transformed(const Features& f, double alpha, double beta, const Array<double>& x,
                  double height = 0.0, Accuracy accuracy = {}) {
  const Index n = x.size();
  Array<double> z(2 * n, height);
  for (Index i = 0; i < n; ++i) z[2 * i] = x[i];
  const Array<double> alphas(n, alpha), betas(n, beta);
  const Array<std::int64_t> which(n, 0);
  NamedMoments activation(f.activation);
  Found answer(n, f.r.size());
  Points points{n, which.data(), alphas.data(), betas.data()};
  points.z = z.data();
  const Transforms view = answer.view();
  check::that(run({spikes_of(f, nullptr), &activation, nullptr, {}, LabelKind::real, accuracy},
                  points, {nullptr, nullptr, &view}),
              "a named function");
  return answer;
}

namespace A = named;
const Features cases[] = {{A::relu, {1.2}, {1.1}, {1.0}},
                          {A::tanh, {1.5, -1.0}, {1.05, 1.2}, {0.6, 0.4}},
                          {A::erf, {2.0, 0.5, -1.5}, {1.05, 1.3, 0.9}, {0.5, 0.2, 0.3}},
                          {A::sign, {0.0}, {1.0}, {1.0}}};

Array<double> decades(double low, double high, int count) {
  Array<double> x;
  for (int i = 0; i < count; ++i) x.push_back(low * std::pow(high / low, i / (count - 1.0)));
  return x;
}

// At z = -lam it is the response of the readout to its ridge.
void negative_axis() {
  for (const Features& f : cases) {
    const double alpha = 1.5, beta = 1.2, gamma = 0.7, noise = 0.1;
    for (const double lam : {1e-5, 0.1, 30.0}) {
      const std::int64_t which = 0;
      const Index k = f.r.size();
      NamedMoments activation(f.activation), target(A::sin);
      double one[10];
      Array<double> vectors(5 * k), matrices(2 * k * k);
      std::int32_t status, nit;
      std::int64_t nodes;
      double* const V2 = &vectors[4 * k];
      const Solutions out{one,     one + 1,     one + 2,         one + 3,         one + 4,
                          one + 5, one + 6,     one + 7,         one + 8,         one + 9,
                          &vectors[0], &vectors[k], &vectors[2 * k], &vectors[3 * k], V2,
                          &matrices[0], &matrices[k * k], &status, &nit, &nodes};
      const Loss square{loss_of<losses::Square>()};
      const Problem problem{spikes_of(f, &gamma), &activation, &target, square, LabelKind::real,
                            {1e-10}};
      check::that(run(problem, {1, &which, &alpha, &beta, &lam, &noise}, {&out}),
                  "a named function");
      double response = 0.0;
      for (Index i = 0; i < k; ++i) response += V2[i];
      const Found answer = transformed(f, alpha, beta, {-lam});
      check::near(answer.total(0, 0), response, 1e-9, 0.0, "the transform at -lam");
      check::near(answer.total(0, 1), 0.0, 0.0, 0.0, "it is real there");
      check::near(answer.cumulative[0], 0.0, 0.0, 1e-12, "nothing lies on the left");
    }
  }
}

// Independent features: Marchenko and Pastur's law, its distribution function by quadrature.
void independent_features() {
  const Features noise{A::hermite2, {0.0}, {1.0}, {1.0}};
  for (const double ratio : {0.4, 2.5}) {
    const double low = std::pow(1.0 - std::sqrt(ratio), 2);
    const double high = std::pow(1.0 + std::sqrt(ratio), 2);
    const auto density = [&](double x) {
      return std::sqrt(std::max(0.0, (high - x) * (x - low))) / (2.0 * pi * x);
    };
    Array<double> x;
    for (int i = 1; i < 10; ++i) x.push_back(low + 0.1 * i * (high - low));
    const Found answer = transformed(noise, ratio, 1.0, x);
    for (Index i = 0; i < x.size(); ++i) {
      check::near(answer.total(i, 1) / pi, density(x[i]), 1e-9, 0.0, "the density");
      double share = std::max(0.0, 1.0 - ratio);
      for (int j = 0; j < 4000; ++j) {  // midpoints in an angle: both edges become smooth
        const double angle = (j + 0.5) / 4000 * std::acos(1.0 - 2.0 * (x[i] - low) / (high - low));
        const double step = std::acos(1.0 - 2.0 * (x[i] - low) / (high - low)) / 4000;
        const double at = low + 0.5 * (high - low) * (1.0 - std::cos(angle));
        share += step * density(at) * 0.5 * (high - low) * std::sin(angle);
      }
      check::near(answer.cumulative[i], share, 0.0, 1e-6, "the distribution");
    }
    check::near(answer.mean[0], ratio, 1e-12, 0.0, "the mean");
  }
}

// Strong spikes, many groups, fourteen decades, no room for nodes: an answer or a flag, and shares
// of the eigenvalues that do not decrease.
void hard_problems() {
  const Array<double> x = decades(1e-10, 1e4, 40);
  for (const Activation activation :
       {A::tanh, A::relu, A::sin, A::softplus, A::sign, A::hermite3, A::abs}) {
    for (const Index groups : {1u, 2u, 5u}) {
      for (const double alpha : {0.5, 1.3, 20.0}) {
        for (const Index room : {Index{64}, Index{1} << 15}) {
          Features f{activation, {}, {}, {}};
          for (Index k = 0; k < groups; ++k) {
            f.r.push_back(k % 2 == 0 ? 30.0 / (1.0 + static_cast<double>(k)) : -2.0);
            f.c.push_back(1.0 + 0.2 * static_cast<double>(k));
            f.share.push_back(1.0 / static_cast<double>(groups));
          }
          const Found answer = transformed(f, alpha, 1.3, x, 0.0, {1e-7, room});
          double before = 0.0;
          for (Index i = 0; i < x.size(); ++i) {
            if (answer.status[i] != 0) continue;
            const std::string name = std::string(traits(activation).name) + ", " +
                                     std::to_string(groups) + " groups, x " + std::to_string(x[i]);
            check::that(answer.total(i, 1) >= 0.0, name + ": no negative density");
            check::that(answer.cumulative[i] >= before - 1e-7, name + ": no negative share");
            check::that(answer.cumulative[i] <= 1.0 + 1e-7, name + ": no more than all");
            before = answer.cumulative[i];
          }
          const Found above = transformed(f, alpha, 1.3, x, 0.1, {1e-7, room});
          for (Index i = 0; i < x.size(); ++i) {
            if (above.status[i] == 0) check::that(above.total(i, 1) > 0.0, "a Stieltjes transform");
          }
        }
      }
    }
  }
}

void threads() {
  const Array<double> x = decades(1e-6, 10.0, 50);
  Array<Found> answers(8, Found(x.size(), 2));
  Array<std::thread> pool;
  for (Found& answer : answers) {
    pool.emplace_back([&] { answer = transformed(cases[1], 0.5, 1.0, x); });
  }
  for (std::thread& thread : pool) thread.join();
  for (const Found& answer : answers) {
    check::that(answer.V2 == answers[0].V2 && answer.cumulative == answers[0].cumulative,
                "the same bits");
  }
}

// First, while nothing has been cached yet.
const check::Register t0("threads", threads);
const check::Register t1("the negative axis", negative_axis);
const check::Register t2("independent features", independent_features);
const check::Register t3("hard problems", hard_problems);

}  // namespace
