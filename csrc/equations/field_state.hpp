// What the readout's field is made of: coefficients of mu0_k, kappa mu1_k, mu1_k and f_a.
#pragma once

#include <vector>

namespace spikedrf {

struct FieldState {
  std::vector<double> m, theta, psi, q, v;
};

}  // namespace spikedrf
