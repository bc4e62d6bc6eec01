// A bulk as arrays: what is left of the first layer once the spike directions are taken out.
#pragma once

#include "numerics/array.hpp"
#include "numerics/small_matrix.hpp"

namespace spikedrf {

// The covariance Sigma_k of a neuron of group k, described by `nodes` joint eigenvalues, their
// weights for the trace and, for the latent directions, a symmetric matrix A_j of weights at every
// node (theory.md, sections 10 and 12). The isotropic bulk is one node of value c_k: of one node w
// = 1 and A = I are not looked up.
struct Bulk {
  int nodes = 1;
  const double* value = nullptr;  // nodes x K, sigma_kj
  const double* trace = nullptr;  // w_j, sums to 1
  int directions = 0;
  const double* forms = nullptr;  // (l, m), l <= m, packed, a row each: (A_j)_lm, sums to delta_lm
  Index stride = 1;               // between these rows
  // Where the lengths of neurons move with their directions (theory.md, section 14): weights of the
  // columns of lengths beside those of the directions, nodes x (directions + K) x K, the first rows
  // with (l, k), the others with (k, l); null where lengths are independent of all else.
  const double* lengths = nullptr;
  const double* left = nullptr;  // K: variances of the lengths that no direction explains

  double weight(int j) const { return nodes == 1 ? 1.0 : trace[j]; }
  double form(int l, int m, int j) const {
    if (nodes == 1) return l == m ? 1.0 : 0.0;
    return forms[pair_index(l, m, directions) * stride + j];
  }

  bool correlated() const { return lengths != nullptr; }
  // Between a direction and the length of group k, and between the lengths of two groups.
  double cross(int l, int k, int j, int groups) const {
    return lengths[(j * (directions + groups) + l) * groups + k];
  }
  double own(int k, int i, int j, int groups) const { return cross(directions + k, i, j, groups); }
  // d times the variance of a length that has nothing to do with the bulk.
  double independent(int k) const { return correlated() ? left[k] : 1.0; }

  static Bulk isotropic(const double* c) {
    Bulk bulk;
    bulk.value = c;
    return bulk;
  }
};

}  // namespace spikedrf
