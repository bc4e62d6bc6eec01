#include "batches/spectrum.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "batches/refinement.hpp"
#include "equations/complex_resolvent.hpp"
#include "tables/panel_tables.hpp"

namespace spikedrf {

namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// The argument of a number in the closed lower half plane, from -pi to 0.
double lower_argument(Complex value) {
  return std::atan2(-std::max(0.0, -value.imag()), value.real());
}

// The share of the eigenvalues <= x at the root at z = x + i0.
//
// Psi(z) = (1/p) log det(Phi^T Phi/p - z) is stationary in all order parameters,
//
//   Psi = delta E log(1 + V) - tr(B V1) - z sum_k V2_k + sum_k pi_k log y_k
//         + (1/beta) sum_j w_j log det(1 + B G_j) - 1,
//
// and an eigenvalue left of x adds -pi to its imaginary part. The logarithms are those that follow
// the root from large Im z: 1 + V stays in the upper half plane, y_k, e_j and the Schur complements
// of e_j + B in the lower one.
template <int KS>
double cumulative_share(const PanelTables& panels, const Regime& regime,
                        const ComplexResolvent<KS>& root, PanelScratch& scratch) {
  const int K = root.groups();
  Buffer<KS * KS, Complex> left(K * K);
  double phase = regime.delta * mean_argument(panels, root.v.data(), scratch);
  for (int a = 0; a < root.pairs(); ++a) phase -= (root.x[a] * root.v[a]).imag();
  for (int k = 0; k < K; ++k) {
    phase -= (root.V2(regime, k) * root.at()).imag();
    phase += regime.pi[k] * lower_argument(root.y(k));
  }
  for (int j = 0; j < regime.bulk.nodes; ++j) {
    const double share = regime.bulk.weight(j) / regime.beta;
    for (int a = 0; a < K * K; ++a) left[a] = root.b()[a];
    for (int k = 0; k < K; ++k) {
      left[k * K + k] += root.bulk().e(j)[k];
      phase -= share * lower_argument(root.bulk().e(j)[k]);
    }
    for (int k = 0; k < K; ++k) {
      phase += share * lower_argument(left[k * K + k]);
      for (int i = k + 1; i < K; ++i) {
        const Complex factor = left[i * K + k] / left[k * K + k];
        for (int l = k + 1; l < K; ++l) left[i * K + l] -= factor * left[k * K + l];
      }
    }
  }
  return -phase / kPi;
}

// Eigenvalues outside the support: the matrix that is singular there.
//
// The features are bulk + mu0_k(kappa) 1_k + the columns of theory.md, section 12, times their
// weights: kappa mu1_k along the spike, E s_l mu1_k in a direction in which classes differ, and
// those of lengths; all but the bulk is of finite rank. Step B without labels is the condition for
// an eigenvector that has an overlap m with the first and theta with the others,
//
//   E omega f (f.(m, theta)) + (1/delta) (0; S theta) = 0,   f = (mu0, columns),
//
// with the stiffness S of bulk_algebra.hpp.
//
// As a function of real z it decreases between eigenvalues: each one adds a negative eigenvalue.
template <int KS>
bool isolated_form(const PanelTables& panels, const Classes& seen, const Latents& latents,
                   const Regime& regime, const ComplexResolvent<KS>& root, PanelScratch& scratch,
                   double* form) {
  const int K = root.groups();
  const int C = latents.columns(K);
  const int size = K + C;
  std::fill_n(form, size * size, 0.0);
  Array<double> sums, factor(size, 1.0);
  Array<int> function(size);
  for (int i = 0; i < seen.size(); ++i) {
    signal_forms(panels, i, root.v.data(), scratch, sums);
    for (int a = 0; a < size; ++a) {
      const int l = a / K - 1, k = a % K;
      const bool length = l == latents.coupled;
      function[a] = (length ? latents.spans + 2 : std::min(l, latents.spans) + 1) * K + k;
      if (l >= latents.spans) factor[a] = length ? std::sqrt(seen.spread[k]) : seen.mean_of(i, l);
    }
    const int count = (latents.spans + (seen.spread != nullptr ? 3 : 2)) * K;
    for (int a = 0; a < size; ++a) {
      for (int b = 0; b < size; ++b) {
        form[a * size + b] += factor[a] * factor[b] * sums[function[a] * count + function[b]];
      }
    }
  }
  BulkForms<KS, Complex> forms(K, latents);
  const Array<Complex> no_labels(latents.rest() * K);
  if (!forms.stiffen(regime, root.bulk(), root.b(), root.x.data() + root.pairs(),
                     no_labels.data())) {
    return false;
  }
  for (int a = 0; a < C; ++a) {
    for (int b = 0; b < C; ++b) {
      form[(K + a) * size + K + b] += forms.stiffness[a * C + b].real() / regime.delta;
    }
  }
  return true;
}

// The tables of spikes that span a plane, which are made elsewhere.
class PlaneLadder final : public PanelLadder {
 public:
  explicit PlaneLadder(const Problem& problem) : problem_(problem) {}

 private:
  Step make(Index level, PanelTables& out) override {
    switch (problem_.source->panels(level, problem_.spikes.groups, problem_.latents,
                                    problem_.seen.count, out)) {
      case TableSource::Made::ready:
        return Step::ready;
      case TableSource::Made::exhausted:
        return Step::exhausted;
      case TableSource::Made::failed:
        break;
    }
    return Step::failed;
  }

  const Problem& problem_;
};

std::unique_ptr<PanelLadder> ladder_of(const Problem& problem, Index spike) {
  if (problem.source != nullptr) return std::make_unique<PlaneLadder>(problem);
  const Spikes& spikes = problem.spikes;
  const int K = spikes.groups;
  return std::make_unique<LineLadder>(K, spikes.r + spike * K, spikes.c + spike * K, problem.seen,
                                      *problem.activation, problem.accuracy.max_nodes);
}

// (1/p) E Tr Phi^T Phi / p.
double mean_eigenvalue(const Tables& tables, const Regime& regime, const double* c) {
  double mean = 0.0;
  for (int k = 0; k < tables.groups; ++k) {
    const Index linear = pair_index(k, k, tables.groups);
    const Index rest = pair_count(tables.groups) + k;
    mean += regime.pi[k] * (c[k] * tables.mean_feature()[linear] + tables.mean_feature()[rest]);
  }
  return regime.delta * mean;
}

// One point: the root on ever finer tables.
template <int KS>
class RootClimber {
 public:
  RootClimber(const Problem& problem, const Points& points, Index point, PanelLadder& ladder,
              ComplexResolvent<KS>& coarse, ComplexResolvent<KS>& fine)
      : z(points.z[2 * point], points.z[2 * point + 1]),
        problem_(problem),
        spike_(points.spike_of(point)),
        ladder_(ladder),
        coarse_(coarse),
        fine_(fine),
        before_(problem.spikes.groups) {
    regime.beta = points.beta[point];
    regime.delta = points.alpha[point] / regime.beta;
    regime.pi = problem.spikes.pi_of(spike_);
  }

  const ComplexResolvent<KS>& root(Index level) const { return level == 0 ? coarse_ : fine_; }

  Reached reach(const Index* level) {
    switch (ladder_.reach(level[0])) {
      case PanelLadder::Step::ready:
        return Reached::ready;
      case PanelLadder::Step::exhausted:
        return Reached::exhausted;
      case PanelLadder::Step::failed:
        break;
    }
    return Reached::failed;
  }

  Reached attempt(const Index* level, bool warm, Rung& now) {
    ComplexResolvent<KS>& found = level[0] == 0 ? coarse_ : fine_;
    if (level[0] == 1) fine_.adopt(coarse_);
    regime.bulk = problem_.spikes.bulk_of(spike_, level[0]);
    now.solved = found.reach(ladder_[level[0]], regime, z);
    if (!now.solved) return Reached::ready;
    if (warm) {
      // Next to an edge of the support V2 has a square root singularity, and the least
      // uncertainty in the edge moves it a lot: there the shift of z that would do the same is
      // what counts.
      now.moved = 0.0;
      for (int k = 0; k < found.groups(); ++k) {
        const double size =
            std::max(std::abs(found.V2(regime, k)), std::abs(z * found.V2_slope(regime, k)));
        now.moved = std::max(now.moved, std::abs(found.V2(regime, k) - before_[k]) / size);
      }
      now.stands = now.moved <= problem_.accuracy.rtol;
    }
    for (int k = 0; k < found.groups(); ++k) before_[k] = found.V2(regime, k);
    return Reached::ready;
  }

  Complex z;
  Regime regime;

 private:
  const Problem& problem_;
  Index spike_;
  PanelLadder& ladder_;
  ComplexResolvent<KS>& coarse_;
  ComplexResolvent<KS>& fine_;
  Buffer<KS, Complex> before_;
};

template <int KS>
bool spectrum_groups(const Problem& problem, const Points& points, const Transforms& results) {
  const Spikes& spikes = problem.spikes;
  const int K = spikes.groups;
  const Index width = K;
  const int bulk_nodes = std::max(spikes.bulk_nodes, 1);
  ComplexResolvent<KS> coarse(K, bulk_nodes);
  ComplexResolvent<KS> fine(K, bulk_nodes);
  PanelScratch scratch;
  // Labels have no part in this.
  const Latents along_one{1, problem.seen.directions, 0, problem.seen.spread != nullptr, 0};
  const Latents& latents = problem.source != nullptr ? problem.latents : along_one;
  const Index form_size = K + latents.columns(K);

  Index point = 0;
  while (point < points.count) {
    const Index spike = points.spike_of(point);
    const double* c = spikes.c + spike * width;
    const std::unique_ptr<PanelLadder> ladder = ladder_of(problem, spike);
    for (Index first = point; point < points.count && points.spike_of(point) == spike; ++point) {
      if (point == first || points.alpha[point] != points.alpha[point - 1] ||
          points.beta[point] != points.beta[point - 1]) {
        coarse.forget();
      }
      coarse.iterations = fine.iterations = 0;
      RootClimber<KS> climber(problem, points, point, *ladder, coarse, fine);
      Refinement at;
      // Every rule has a root, its weights being positive: a finer one would not help.
      if (!refine(climber, 1, 1, at)) return false;
      const bool known = at.solved;
      const Complex z = climber.z;
      const Regime& regime = climber.regime;
      const PanelTables& tables = (*ladder)[at.level[0]];
      const ComplexResolvent<KS>& root = climber.root(at.level[0]);
      for (int k = 0; k < K; ++k) {
        const Index entry = 2 * (point * width + k);
        const Complex value = known ? root.V2(regime, k) : Complex(kNaN, kNaN);
        const Complex slope = known ? root.V2_slope(regime, k) : Complex(kNaN, kNaN);
        results.V2[entry] = value.real();
        results.V2[entry + 1] = known && root.real() ? 0.0 : value.imag();
        results.slope[entry] = slope.real();
        results.slope[entry + 1] = known && root.real() ? 0.0 : slope.imag();
      }
      results.cumulative[point] =
          known && z.imag() == 0.0 ? cumulative_share(tables, regime, root, scratch) : kNaN;
      results.mean[point] = mean_eigenvalue(tables.tables, regime, c);
      if (results.form != nullptr) {
        double* form = results.form + form_size * form_size * point;
        if (!known || !root.real() ||
            !isolated_form(tables, problem.seen, latents, regime, root, scratch, form)) {
          std::fill_n(form, form_size * form_size, kNaN);
        }
      }
      results.status[point] = static_cast<std::int32_t>(at.status);
      results.nit[point] = coarse.iterations + fine.iterations;
      results.nodes[point] = static_cast<std::int64_t>(tables.tables.nodes);
      results.residual[point] = known ? root.residual : kNaN;
      results.quadrature_error[point] =
          known ? at.moved[0] : std::numeric_limits<double>::infinity();
    }
  }
  return true;
}

}  // namespace

bool spectrum(const Problem& problem, const Points& points, const Transforms& results) {
  return with_groups(problem.spikes.groups, [&](auto groups) {
    return spectrum_groups<decltype(groups)::value>(problem, points, results);
  });
}

}  // namespace spikedrf
