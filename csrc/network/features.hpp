// Feature maps and the gradient step, block by block: what is done to the preactivations once BLAS
// has made them. With few inputs there is no need for it: see few_inputs.hpp.
//
// Every function walks contiguous rows (row-major, one sample a row, one neuron a column), makes
// one pass over memory, allocates nothing and is re-entrant. `Real` is float or double.

#ifndef SPIKEDRF_FEATURES_HPP
#define SPIKEDRF_FEATURES_HPP

#include "functions/activation.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

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
