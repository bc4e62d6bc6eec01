// Averages over kappa for the derivatives of the test error (sensitivity.hpp): the only loops over
// nodes there. Arrays are node-sized, zero-weight padding included.
#pragma once

#include "averages/averages.hpp"
#include "numerics/array.hpp"
#include "tables/moments.hpp"

namespace spikedrf {

// Everything that lives on the nodes. A dot is the derivative along the test source s.
struct SourceNodes {
  Array<double> shift;      // chi omega V.: omega. = -shift omega
  Array<double> weight;     // w (delta omega + s). = w (1 - delta omega shift)
  Array<double> res, resz;  // h - mean; hz_l - P_l.mu1, direction by direction
  Array<double> res_dot, resz_dot;
  Array<double> power, power_dot;  // tau = T + q + noise^2: the residual power given kappa
  // What the derivatives with respect to the tables have in common, see `weigh_tables`.
  Array<double> pull, pullz, loss, loss_dot, pairs;

  void reserve(const Tables& tables) {
    const Index n = tables.stride;
    if (shift.size() >= n) return;
    for (auto* row : {&shift, &weight, &res, &res_dot, &power, &power_dot, &pull, &pullz, &loss,
                      &loss_dot, &pairs}) {
      row->resize(n);
    }
    for (auto* rows : {&resz, &resz_dot}) {
      rows->resize(n * tables.latents.rest());
    }
  }
};

// shift and weight, from v and its derivative.
void source_weights(const Tables& tables, const double* v, const double* v_dot,
                    Weighting weighting, double delta, const double* w_omega,
                    SourceNodes& nodes) noexcept;

// res and resz, and the right-hand side of the refit, sqrt(w omega) f, with the f for which
// E omega phi f = E (delta omega + s). phi res / delta for every phi.
void residuals(const Tables& tables, const double* m, const double* theta, const double* psi,
               double delta, const double* w_omega, SourceNodes& nodes, double* column) noexcept;

// res_dot, resz_dot, power and that part of power_dot that comes from (m, theta, psi), and
// weighted_power[a] = E f_a omega^2 tau, moved_power[a] = E f_a (omega^2 tau). with that part.
void residual_power(const Tables& tables, const double* m_dot, const double* theta_dot,
                    const double* psi_dot, const double* q, double noise2, const double* w_omega2,
                    SourceNodes& nodes, double* weighted_power, double* moved_power) noexcept;

struct SourceSums {
  double weight;        // E (delta omega + s).
  double omega_power;   // E (omega tau).
  double omega2_power;  // E (omega^2 tau). over the weights in the loss
  double omega2_size;   // the same without cancellation
};
// Completes power_dot by q_dot.
SourceSums source_sums(const Tables& tables, const double* q_dot, const double* w_omega,
                       const double* w_omega2, SourceNodes& nodes) noexcept;

// The test error's derivatives through the tables are those of
//   L = E[(delta omega + s) (T+ + noise^2 + sum_a q_a f_a)],    omega = 1/(epsilon + chi v.f),
// with respect to the tables, moved along s, times the tables' slopes. `weigh_tables` comes first:
//   pull = (w (delta omega + s) res).,   pullz the same with resz,   (L_h = 2 pull, L_hz = 2 pullz)
//   loss = delta chi w omega^2 tau,      loss_dot its derivative.    (L_v.f = -loss)
void weigh_tables(const Tables& tables, double delta, double chi, const double* w_omega,
                  const double* w_omega2, SourceNodes& nodes) noexcept;

double gamma_slope(const Tables& tables, const TableSlopes& slopes,
                   const SourceNodes& nodes) noexcept;

struct GroupSlopes {
  double r, c;
};
struct GroupState {
  double m, m_dot, theta, theta_dot, psi, psi_dot;
};
struct FeatureState {
  double q, q_dot, v, v_dot;
};
GroupSlopes group_slopes(const Tables& tables, const TableSlopes& slopes, int k,
                         const GroupState& state, const FeatureState* features, double delta,
                         const double* w_omega, SourceNodes& nodes) noexcept;

}  // namespace spikedrf
