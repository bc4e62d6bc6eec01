// The resolvent of a trained bulk where its spectrum is known.
#include <cmath>
#include <string>

#include "check.hpp"
#include "equations/trained_resolvent.hpp"

using namespace spikedrf;

namespace {

// All residuals are rho: M = rho S and S' = rho^2 S with a white Wishart matrix S, whose law is
// Marchenko and Pastur's. Its averages are sums over angles that converge geometrically.
void one_residual() {
  const double rho = 0.7, inverse = 0.4;
  const double law[] = {rho, 1.0, 0.0, 1.0};
  const double bulks[][3] = {{0.0, 0.8, inverse}, {0.5, 0.3, inverse}, {-0.6, 0.2, inverse}};
  const double x[] = {1e-3, 0.2, 1.0, 30.0};
  const Index count = 4;
  for (const auto& bulk : bulks) {
    Array<double> out((3 + kTrainedSums) * count);
    solve_trained(TrainedLaw(law, 1), bulk, x, count, count, out.data());
    for (Index j = 0; j < count; ++j) {
      const double xi11 = out[j], xi12 = out[count + j], xi22 = out[2 * count + j];
      const double trace = 1.0 / (1.0 + x[j] * (1.0 + xi11 + xi12 * xi12 / (1.0 - xi22)));
      double expected = 0.0;
      const int angles = 400;
      for (int i = 0; i < angles; ++i) {
        const double theta = std::acos(-1.0) * (i + 0.5) / angles;
        const double s = 1.0 + inverse + 2.0 * std::sqrt(inverse) * std::cos(theta);
        const double stretch = 1.0 + bulk[0] * rho * s;
        const double sigma = stretch * stretch + bulk[1] * rho * rho * s;
        expected += 2.0 * std::pow(std::sin(theta), 2) / (s * angles) / (1.0 + x[j] * sigma);
      }
      check::near(trace, expected, 1e-12, 0.0, "a trace at x = " + std::to_string(x[j]));
    }
  }
}

const check::Register t1("the bulk of one residual", one_residual);

}  // namespace
