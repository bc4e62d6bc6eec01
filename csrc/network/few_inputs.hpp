// Layers of few inputs: features and the gradient step, by products of our own whose results are
// used while they are in cache. BLAS packs its operands and writes the preactivations to memory,
// which with a few dozen inputs costs as much as the multiplications.
//
// Arrays are row-major, a sample or a neuron a row. Nothing is allocated; every function is
// re-entrant. `Real` is float or double.
#pragma once

#include "functions/activation.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

// Weights in panels: of so many neurons each, input by input, the last one filled up with zeros.
// W (cols x inputs) has panels_size numbers, of `size` bytes each, in panels.
constexpr Index panel_bytes = 64;
template <class Real>
constexpr Index panel_width = panel_bytes / sizeof(Real);
constexpr Index panels_size(Index cols, Index inputs, Index size) noexcept {
  const Index width = panel_bytes / size;
  return (cols + width - 1) / width * width * inputs;
}
template <class Real>
void pack_panels(const Real* w, Index cols, Index inputs, Real* panels) noexcept;

// out <- sigma(X W^T); X is rows x inputs, `panels` holds W.
template <class Real>
void few_input_features(Activation activation, const Real* x, const Real* panels, Real* out,
                        Index rows, Index inputs, Index cols) noexcept;

// What a block of samples adds to the gradient of the squared loss, with z = X W^T:
//
//     residual[m] <- weight[m] (y[m] - (1/cols) sum_i u[i] sigma(z[m, i]))
//     total[i, k] <- total[i, k] + sum_m residual[m] sigma'(z[m, i]) x[m, k]
//
// `scratch` is for scratch_size numbers of `size` bytes.
Index scratch_size(Index cols, Index inputs, Index size) noexcept;
template <class Real>
void few_input_gradient(Activation activation, const Real* x, const Real* y, const Real* weight,
                        const Real* panels, const Real* u, Real* residual, Real* total,
                        Real* scratch, Index rows, Index inputs, Index cols) noexcept;

}  // namespace spikedrf
