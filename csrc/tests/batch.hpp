// One problem as the tests of batches pose it, and arrays for everything that comes back.
#pragma once

#include <cstdint>

#include "batches/run.hpp"
#include "functions/activation.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

struct Case {
  Activation activation, target;
  Array<double> r, c, pi;
  double gamma, alpha, beta, lam, noise;
};

// Everything that a batch returns; vectors of exactly the size that is needed.
struct Found {
  Array<double> test, excess, train, norm, m, theta, psi, q1, q2, V1, V2, residual, moved;
  Array<double> losses;
  Array<std::int32_t> status, nit;
  Array<std::int64_t> nodes;

  Found(Index n, Index k)
      : test(n),
        excess(n),
        train(n),
        norm(n),
        m(n * k),
        theta(n * k),
        psi(n * k),
        q1(n * k * k),
        q2(n * k),
        V1(n * k * k),
        V2(n * k),
        residual(n),
        moved(n),
        losses(4 * n),
        status(n),
        nit(n),
        nodes(n) {}
  Solutions view() {
    const Index n = test.size();
    return {test.data(),       excess.data(),         train.data(),
            norm.data(),       residual.data(),       moved.data(),
            losses.data(),     losses.data() + n,     losses.data() + 2 * n,
            losses.data() + 3 * n, m.data(),          theta.data(),
            psi.data(),        q2.data(),             V2.data(),
            q1.data(),         V1.data(),             status.data(),
            nit.data(),        nodes.data()};
  }
};

inline Spikes spikes_of(const Case& p) {
  Spikes spikes{};
  spikes.count = 1;
  spikes.groups = static_cast<int>(p.r.size());
  spikes.r = p.r.data();
  spikes.c = p.c.data();
  spikes.gamma = &p.gamma;
  spikes.pi = p.pi.data();
  return spikes;
}

}  // namespace spikedrf
