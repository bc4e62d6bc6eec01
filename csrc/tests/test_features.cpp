// Feature maps and gradient passes, for every activation and at every length.
#include <cmath>
#include <limits>
#include <string>

#include "check.hpp"
#include "functions/activation.hpp"
#include "network/few_inputs.hpp"
#include "network/features.hpp"

using namespace spikedrf;

namespace {

const double infinity = std::numeric_limits<double>::infinity();
const double not_a_number = std::numeric_limits<double>::quiet_NaN();

// Numbers a sample after the other, without a generator: the fractional parts of multiples.
double scattered(Index i, double width = 6.0) {
  const double x = static_cast<double>(i + 1) * 0.6180339887498949;
  return width * (x - std::floor(x) - 0.5);
}

template <class Real>
void every_activation_at_every_length() {
  const double edges[] = {0.0,  -0.0, 1.0,      -1e-310,   1e5,
                          -3e6, 1e30, infinity, -infinity, not_a_number};
  for (int code = 0; code < activation_count; ++code) {
    const auto activation = static_cast<Activation>(code);
    const std::string name = traits(activation).name;
    for (Index n : {1u, 2u, 3u, 7u, 8u, 15u, 31u, 64u, 255u, 256u, 257u, 600u}) {
      Array<Real> x(n), value(n), slope(n);
      for (Index i = 0; i < n; ++i) {
        x[i] = static_cast<Real>(i % 9 == 8 ? edges[(i / 9) % 10] : scattered(i));
      }
      activate(activation, x.data(), value.data(), n);
      activate_derivative(activation, x.data(), slope.data(), n);
      Array<Real> here = x;
      activate(activation, here.data(), here.data(), n);
      for (Index i = 0; i < n; ++i) {
        // An entry depends on itself alone, in place or not, wherever it stands.
        Real alone = 0;
        activate(activation, &x[i], &alone, 1);
        const double eps = 4.0 * static_cast<double>(std::numeric_limits<Real>::epsilon());
        check::near(value[i], alone, eps, 0.0, name);
        check::near(here[i], value[i], 0.0, 0.0, name + " in place");
        check::that(!std::isnan(x[i]) || std::isnan(value[i]), name + " of NaN");
        check::that(std::isfinite(slope[i]) || !std::isfinite(x[i]) || std::abs(x[i]) > 1e29,
                    name + " has a slope");
      }
    }
  }
}

void known_values() {
  struct Known {
    Activation activation;
    double x, value, slope;
  };
  const Known known[] = {
      {activation_of<activations::Tanh>(), 0.5, 0.46211715726000975, 0.7864477329659274},
      {activation_of<activations::Erf>(), 1.0, 0.6826894921370859, 0.48394144903828673},
      {activation_of<activations::Sin>(), 3e6, -0.8784900581447479, 0.4777606280773224},
      {activation_of<activations::Sigmoid>(), -2.0, 0.11920292202211756, 0.10499358540350652},
      {activation_of<activations::Softplus>(), 1.0, 1.3132616875182228, 0.73105857863000488},
      {activation_of<activations::Gelu>(), -1.0, -0.15865525393145705, -0.083315470587686298},
      {activation_of<activations::Silu>(), 2.0, 1.7615941559557649, 1.0907842487848955},
      {activation_of<activations::Hermite3>(), 2.0, 0.81649658092772603, 3.6742346141747671},
  };
  for (const Known& k : known) {
    double value = 0.0, slope = 0.0;
    activate(k.activation, &k.x, &value, 1);
    activate_derivative(k.activation, &k.x, &slope, 1);
    const std::string name = traits(k.activation).name;
    check::near(value, k.value, 1e-15, 0.0, name);
    check::near(slope, k.slope, 2e-15, 0.0, name + "'");
  }
}

template <class Real>
void spike_and_residual_rows() {
  const Index rows = 5;
  const double eps = static_cast<double>(std::numeric_limits<Real>::epsilon());
  for (Index cols : {1u, 9u, 257u, 700u}) {
    for (int code = 0; code < activation_count; ++code) {
      const auto activation = static_cast<Activation>(code);
      const std::string name = traits(activation).name;
      Array<Real> z(rows * cols), s(rows), u(cols), y(rows), residual(rows);
      for (Index i = 0; i < z.size(); ++i) z[i] = static_cast<Real>(scattered(i));
      z[cols - 1] = static_cast<Real>(2e6);  // far, for sin and cos
      for (Index i = 0; i < cols; ++i) u[i] = static_cast<Real>(i % 2 == 0 ? 1.0 : -0.5);
      for (Index m = 0; m < rows; ++m) {
        s[m] = static_cast<Real>(scattered(m, 2.0));
        y[m] = static_cast<Real>(m);
      }
      const Real eta = static_cast<Real>(0.7);
      Array<Real> out(z.size()), argument(z.size()), value(z.size()), slope(z.size());
      check::that(spike_features(activation, z.data(), s.data(), u.data(), eta, out.data(), rows,
                                 cols) == rows,
                  name + ": all rows");
      for (Index i = 0; i < z.size(); ++i) {
        argument[i] = z[i] + eta * s[i / cols] * u[i % cols];
      }
      activate(activation, argument.data(), value.data(), z.size());
      for (Index i = 0; i < z.size(); ++i) {
        if (std::abs(argument[i]) > 100) continue;  // the argument rounds differently with FMA
        check::near(out[i], value[i], 500 * eps, 200 * eps, name + " after a spike");
      }
      // A row that is not finite ends the work before anything of it is written.
      Array<Real> broken = z;
      broken[2 * cols] = static_cast<Real>(not_a_number);
      Array<Real> untouched(z.size(), static_cast<Real>(-7));
      check::that(spike_features(activation, broken.data(), s.data(), u.data(), eta,
                                 untouched.data(), rows, cols) == 2,
                  name + ": stops at NaN");
      check::near(untouched[2 * cols], -7.0, 0.0, 0.0, name + ": writes no further");

      activate(activation, z.data(), value.data(), z.size());
      activate_derivative(activation, z.data(), slope.data(), z.size());
      residual_and_slopes(activation, z.data(), y.data(), u.data(), residual.data(), rows, cols);
      for (Index m = 0; m < rows; ++m) {
        double sum = 0.0, size = 0.0;
        for (Index i = 0; i < cols; ++i) {
          const double term = static_cast<double>(u[i]) * static_cast<double>(value[m * cols + i]);
          sum += term;
          size += std::abs(term);
          check::near(z[m * cols + i], slope[m * cols + i], 16 * eps, 4 * eps, name + " slope");
        }
        const double scale = size / static_cast<double>(cols) + static_cast<double>(m);
        check::near(residual[m], static_cast<double>(m) - sum / static_cast<double>(cols),
                    0.0, 100 * eps * scale, name + " residual");
      }
    }
  }
}

// Of every remainder that the tiles may leave, against plain sums. The arrays end where they are
// allowed to be read and written, which the sanitisers watch.
template <class Real>
void few_inputs_of_every_size() {
  const double eps = static_cast<double>(std::numeric_limits<Real>::epsilon());
  const Activation activation = activation_of<activations::Tanh>();
  for (Index inputs : {1, 2, 5, 6, 7, 13, 16, 64}) {
    for (Index cols : {1, 7, 8, 17, 300, 513}) {
      for (Index rows : {1, 4, 11, 20, 43}) {
        Array<Real> x(rows * inputs), w(cols * inputs), y(rows), weight(rows), u(cols);
        for (Index i = 0; i < x.size(); ++i) x[i] = static_cast<Real>(scattered(i));
        for (Index i = 0; i < w.size(); ++i) w[i] = static_cast<Real>(scattered(3 * i, 0.5));
        for (Index i = 0; i < cols; ++i) u[i] = static_cast<Real>(scattered(i + 5, 2.0));
        for (Index m = 0; m < rows; ++m) {
          y[m] = static_cast<Real>(scattered(m + 7, 2.0));
          weight[m] = static_cast<Real>(1 + m % 3);
        }
        Array<Real> panels(panels_size(cols, inputs, sizeof(Real))), out(rows * cols);
        Array<Real> residual(rows), total(cols * inputs, static_cast<Real>(1));
        Array<Real> scratch(scratch_size(cols, inputs, sizeof(Real)));
        pack_panels(w.data(), cols, inputs, panels.data());
        few_input_features(activation, x.data(), panels.data(), out.data(), rows, inputs, cols);
        few_input_gradient(activation, x.data(), y.data(), weight.data(), panels.data(), u.data(),
                           residual.data(), total.data(), scratch.data(), rows, inputs, cols);
        Array<double> sums(total.size(), 1.0), sizes(total.size(), 1.0);
        const double near = 40.0 * eps * static_cast<double>(inputs);
        for (Index m = 0; m < rows; ++m) {
          Array<double> slope(cols);
          double output = 0.0;
          for (Index i = 0; i < cols; ++i) {
            double z = 0.0;
            for (Index k = 0; k < inputs; ++k) {
              z += static_cast<double>(x[m * inputs + k]) * static_cast<double>(w[i * inputs + k]);
            }
            check::near(out[m * cols + i], std::tanh(z), 0.0, near, "features");
            output += static_cast<double>(u[i]) * std::tanh(z);
            slope[i] = 1.0 / (std::cosh(z) * std::cosh(z));
          }
          const double expected = static_cast<double>(weight[m]) *
                                  (static_cast<double>(y[m]) - output / static_cast<double>(cols));
          check::near(residual[m], expected, 0.0, 3.0 * near, "residual");
          for (Index i = 0; i < cols; ++i) {
            for (Index k = 0; k < inputs; ++k) {
              const double term =
                  expected * slope[i] * static_cast<double>(x[m * inputs + k]);
              sums[i * inputs + k] += term;
              sizes[i * inputs + k] += 1.0 + std::abs(term);
            }
          }
        }
        for (Index i = 0; i < total.size(); ++i) {
          check::near(total[i], sums[i], 0.0, 10.0 * near * sizes[i], "gradient");
        }
      }
    }
  }
}

const check::Register t1("activations at every length, double",
                         every_activation_at_every_length<double>);
const check::Register t2("activations at every length, float",
                         every_activation_at_every_length<float>);
const check::Register t3("activations at known points", known_values);
const check::Register t4("spike update and residuals, double", spike_and_residual_rows<double>);
const check::Register t5("spike update and residuals, float", spike_and_residual_rows<float>);
const check::Register t6("few inputs of every size, double", few_inputs_of_every_size<double>);
const check::Register t7("few inputs of every size, float", few_inputs_of_every_size<float>);

}  // namespace
