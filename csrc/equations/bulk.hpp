// The bulk of the first layer: what is left of it once the spike direction is taken out.
#pragma once

namespace spikedrf {

// The covariance Sigma_k of a neuron of group k, described by `nodes` joint eigenvalues and the
// spectral measures seen by the trace and by the directions v and xi (theory.md, section 10).
// The isotropic bulk is one node of value c_k: trace = vv = xx = 1, vx = 0.
struct Bulk {
  int nodes;
  const double* value;  // nodes x K, sigma_kj
  const double* trace;  // w_j, sums to 1
  const double* vv;     // a_j, sums to 1
  const double* vx;     // b_j, sums to 0
  const double* xx;     // e_j, sums to 1

  static Bulk isotropic(const double* c) {
    static constexpr double one = 1.0;
    static constexpr double zero = 0.0;
    return {1, c, &one, &one, &zero, &one};
  }
};

}  // namespace spikedrf
