// Feature maps and the gradient step, block by block: products with few inputs, and what is done to
// the preactivations once BLAS has made them.
//
// Every function walks contiguous rows (row-major, one sample a row, one neuron a column), makes
// one pass over memory, allocates nothing and is re-entrant. `Real` is float or double.

#ifndef SPIKEDRF_FEATURES_HPP
#define SPIKEDRF_FEATURES_HPP

#include "functions/activation.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

// Features sigma(X W^T) of few inputs: product and activation in one pass over tiles that never
// leave the nearest cache. X is rows x inputs; `panels` is W (cols x inputs) as pack_panels leaves
// it, in panel_count(cols) panels of inputs x panel_width<Real> numbers each.
template <class Real>
constexpr Index panel_width = 128 / sizeof(Real);
template <class Real>
constexpr Index panel_count(Index cols) noexcept {
  return (cols + panel_width<Real> - 1) / panel_width<Real>;
}
template <class Real>
void pack_panels(const Real* w, Index cols, Index inputs, Real* panels) noexcept;
template <class Real>
void few_input_features(Activation activation, const Real* x, const Real* panels, Real* out,
                        Index rows, Index inputs, Index cols) noexcept;

// Features after the rank-one step W + eta u v^T, from z = X W^T and s = X v:
//
//     out[m, i] = sigma(z[m, i] + eta s[m] u[i])
//
// In place (out == z) is allowed, any other overlap is not. A row of z that holds NaN or infinity
// ends the work before anything of that row is written. Returns the number of rows done.
template <class Real>
Index spike_features(Activation activation, const Real* z, const Real* s, const Real* u, Real eta,
                     Real* out, Index rows, Index cols) noexcept;

// What the gradient of the squared loss needs of a block, in one pass over the preactivations:
//
//     residual[m] = y[m] - (1/cols) sum_i u[i] sigma(z[m, i])
//     z[m, i]    <- sigma'(z[m, i])
//
// The residual belongs to the sample: it is cheaper to multiply its d inputs by it than its `cols`
// slopes, which would have to be read once more. The sum is accumulated in double.
template <class Real>
void residual_and_slopes(Activation activation, Real* z, const Real* y, const Real* u,
                         Real* residual, Index rows, Index cols) noexcept;

}  // namespace spikedrf

#endif  // SPIKEDRF_FEATURES_HPP
