// The coefficients that make up the readout's field: of mu0_k, kappa mu1_k, mu1_k and f_a.
#pragma once

#include "numerics/array.hpp"

namespace spikedrf {

struct FieldState {
  Array<double> m, theta, psi, q, v;
};

}  // namespace spikedrf
