// Quadrature rules, Gaussian moments and the tables made from them.
#include <cmath>
#include <string>

#include "check.hpp"
#include "numerics/quadrature.hpp"
#include "numerics/vector_math.hpp"
#include "tables/moments.hpp"

using namespace spikedrf;

namespace {

void rules_integrate_polynomials() {
  for (int n : {1, 2, 5, 16, 32}) {
    const LegendreRule rule = gauss_legendre(n);
    for (int power = 0; power < 2 * n; ++power) {
      double sum = 0.0;
      for (Index i = 0; i < rule.node.size(); ++i) {
        sum += rule.weight[i] * std::pow(rule.node[i], power);
      }
      check::near(sum, power % 2 == 0 ? 2.0 / (power + 1) : 0.0, 1e-13, 1e-14, "Legendre");
    }
    check::that(legendre_rule(n).node == rule.node, "the cached rule is the rule");
  }
  for (int n : {8, 64, 128}) {
    const Rule rule = gauss_hermite(n);
    double moment[3] = {};
    for (Index i = 0; i < rule.node.size(); ++i) {
      const double x2 = rule.node[i] * rule.node[i];
      moment[0] += rule.weight[i];
      moment[1] += rule.weight[i] * x2;
      moment[2] += rule.weight[i] * x2 * x2 * x2;
    }
    check::near(moment[0], 1.0, 1e-13, 0.0, "Hermite");
    check::near(moment[1], 1.0, 1e-12, 0.0, "Hermite, E x^2");
    check::near(moment[2], 15.0, 1e-12, 0.0, "Hermite, E x^6");
  }
}

void ladders_end() {
  for (double scale : {0.0, 1e-6, 0.03, 1.0}) {
    Variation variation;
    variation.features = {{-1.0, scale}, {0.0, scale}, {0.3, 0.5}, {1e9, 1.0}};
    const RuleLadder ladder(variation, 4096);
    Rule rule;
    int level = 0;
    while (level < 40 && ladder.make(level, rule)) {
      double sum = 0.0, square = 0.0;
      for (Index i = 0; i < rule.node.size(); ++i) {
        sum += rule.weight[i];
        square += rule.weight[i] * rule.node[i] * rule.node[i];
      }
      check::near(sum, 1.0, 1e-10, 0.0, "a rule of the ladder, E 1");
      check::near(square, 1.0, 1e-9, 0.0, "a rule of the ladder, E x^2");
      check::that(level == 0 || rule.node.size() <= 4096, "no more nodes than allowed");
      ++level;
    }
    check::that(level > 0 && level < 40, "the ladder begins and ends");
  }
}

double far_value(Activation activation, double x) {
  double value = 0.0;
  activate(activation, &x, &value, 1);
  return value;
}

// Moments of every activation against a fine trapezoidal rule, and their slopes against
// differences.
void moments_of_every_activation() {
  const Array<double> mean = {0.0, -0.0, 0.37, -1.2, 2.9, -7.5, 25.0, 400.0};
  const Index n = mean.size();
  for (int code = 0; code < activation_count; ++code) {
    const auto activation = static_cast<Activation>(code);
    const std::string name = traits(activation).name;
    NamedMoments moments(activation);
    for (double sd : {0.0, 1e-3, 0.9, 1.3, 6.0}) {
      Array<double> e(3 * n), slope(4 * n);
      const MomentSlopes slopes{&slope[0], &slope[n], &slope[2 * n], &slope[3 * n]};
      check::that(moments.evaluate(mean.data(), n, sd, 0, &e[0], &e[n], &e[2 * n], &slopes), name);
      for (Index i = 0; i < n; ++i) {
        double e0 = 0.0, e1 = 0.0, second = 0.0, largest = 0.0;
        const double h = 1e-3;
        for (int j = -9000; j <= 9000; ++j) {
          const double z = h * (j + 0.5);
          const double weight = h * std::exp(-0.5 * z * z) / std::sqrt(2.0 * std::acos(-1.0));
          const double f = far_value(activation, mean[i] + sd * z);
          e0 += weight * f;
          e1 += weight * f * z;
          second += weight * f * f;
        }
        largest = std::sqrt(second);
        const double kink = traits(activation).kink ? 1e-3 : 1e-9;
        const std::string where = name + ", sd " + std::to_string(sd);
        check::near(e[i], e0, 1e-9, kink * largest, where + ", e0");
        check::near(e[n + i], e1, 1e-9, kink * largest, where + ", e1");
        const double rest = second - e0 * e0 - e1 * e1;
        check::near(e[2 * n + i], rest, 1e-9, kink * second + 1e-12, where + ", e2");
        for (int s = 0; s < 4; ++s) {
          check::that(std::isfinite(slope[s * n + i]), where + ", slopes");
        }
        if (sd < 0.5 || traits(activation).kink) continue;
        // d e0/d mean = e1/sd by a central difference.
        const double step = 1e-4, at[2] = {mean[i] + step, mean[i] - step};
        double d0[2], d1[2], d2[2];
        moments.evaluate(at, 2, sd, 0, d0, d1, d2, nullptr);
        check::near((d0[0] - d0[1]) / (2 * step), e[n + i] / sd, 1e-5, 1e-7 * (1.0 + largest),
                    where);
        check::near((d1[0] - d1[1]) / (2 * step), slope[i] / sd, 1e-5, 1e-7 * (1.0 + largest),
                    where);
      }
    }
  }
}

struct Cube {
  int calls_left;
  static int evaluate(void* context, const double* mean, Index n, double sd, int, double* e0,
                      double* e1, double* e2, const MomentSlopes* slopes) {
    if (--static_cast<Cube*>(context)->calls_left < 0) return 1;
    for (Index i = 0; i < n; ++i) {
      // (m + s z)^3 in Hermite polynomials of z.
      const double m = mean[i], s2 = sd * sd;
      e0[i] = m * m * m + 3.0 * m * s2;
      e1[i] = sd * (3.0 * m * m + 3.0 * s2);
      e2[i] = s2 * s2 * (18.0 * m * m + 6.0 * s2);
    }
    if (slopes != nullptr) slopes->clear(n);
    return 0;
  }
};

void tables_of_several_groups() {
  Variation variation;
  variation.features = {{0.0, 0.5}};
  const RuleLadder ladder(variation, 1 << 15);
  for (int groups = 1; groups <= 6; ++groups) {
    Array<double> r, c;
    for (int k = 0; k < groups; ++k) {
      r.push_back(1.0 - 0.7 * k);
      c.push_back(1.0 + 0.1 * k);
    }
    Cube cube{1000};
    CallbackMoments activation(Cube::evaluate, &cube, {}, 1.0);
    NamedMoments target(activation_of<activations::Sin>());
    Tables tables;
    TableSlopes slopes;
    Rule rule;
    for (int level = 0; ladder.make(level, rule) && level < 3; ++level) {
      check::that(tables.fill(rule, level, groups, r.data(), c.data(), 0.8, activation, target,
                              &slopes),
                  "tables can be made");
      check::that(tables.nodes == rule.node.size() && tables.stride % Tables::lanes == 0,
                  "padding");
      double power = 0.0, label = 0.0;
      for (Index i = 0; i < tables.stride; ++i) {
        for (int k = 0; k < groups; ++k) {
          power += tables.weight()[i] * tables.mu0(k)[i] * tables.mu0(k)[i];
          check::that(std::isfinite(slopes.mu2_c(k)[i]), "slopes of the tables");
        }
        label += tables.weight()[i] * tables.h()[i];
      }
      check::near(label, 0.0, 0.0, 1e-12, "E sin");
      // E (r^3 x^3 + 3 r c x)^2 = 15 r^6 + 18 r^4 c + 9 r^2 c^2
      double expected = 0.0;
      for (int k = 0; k < groups; ++k) {
        const double r2 = r[k] * r[k];
        expected += 15 * r2 * r2 * r2 + 18 * r2 * r2 * c[k] + 9 * r2 * c[k] * c[k];
      }
      check::near(power, expected, 1e-10, 0.0, "E mu0^2");
    }
    // A function that cannot be evaluated any more stops the work.
    cube.calls_left = groups - 1;
    ladder.make(0, rule);
    check::that(!tables.fill(rule, 0, groups, r.data(), c.data(), 0.8, activation, target),
                "stops");
  }
}

void tails_of_the_normal() {
  for (double x = -9.0; x <= 37.0; x += 0.013) {
    const double exact = 0.5 * std::erfc(x / std::sqrt(2.0));
    check::near(vmath::normal_tail_beyond(x), exact, 1e-15 * (4.0 + x * x), 0.0, "normal tail");
  }
  check::that(vmath::normal_tail_beyond(1e300) < 1e-300, "normal tail, far out");
  check::near(vmath::normal_tail_beyond(-1e300), 1.0, 0.0, 0.0, "normal tail, far in");
  check::that(std::isnan(vmath::normal_tail_beyond(std::nan(""))), "normal tail of NaN");
}

const check::Register t1("Gauss rules", rules_integrate_polynomials);
const check::Register t2("ladders of rules", ladders_end);
const check::Register t3("moments of every activation", moments_of_every_activation);
const check::Register t5("tails of the normal distribution", tails_of_the_normal);
const check::Register t4("tables of one to six groups", tables_of_several_groups);

}  // namespace
