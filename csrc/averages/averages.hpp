// The averages over kappa that steps A, B and C need: the only loops over nodes in a solve.
//
// Every sum is a weighted dot product of table rows, E[x y omega] etc., with
//   omega = 1 / (epsilon + chi V(kappa)),    V = sum_a v_a f_a.
// epsilon = chi = 1 is the ordinary theory; chi = 0 the population limit alpha = inf (V = 0);
// epsilon = 0 the ridgeless limit of an interpolating network (V ~ 1/lam, see resolvent.hpp).
// Samples of a class may have a weight in the loss: one over it stands in front of epsilon then.
// None of the sums carries the factor delta = n/p.
#pragma once

#include "numerics/array.hpp"
#include "tables/moments.hpp"

namespace spikedrf {

struct Weighting {
  double epsilon = 1.0;
  double chi = 1.0;
};

// sum[a] = E f_a omega, curvature[a, b] = E f_a f_b omega^2 (full symmetric matrix, features x
// features). Leaves w omega and w omega^2 in the two node-sized arrays for the sums below.
void response_averages(const Tables& tables, const double* v, Weighting weighting, double* w_omega,
                       double* w_omega2, double* sum, double* curvature) noexcept;

// psihat = E mu1 hz omega, K for every direction that kappa does not fix.
void label_averages(const Tables& tables, const double* w_omega, double* psihat) noexcept;

// Length of one column of `fit_signal`: the nodes, then C penalty rows, padded (C columns of the
// tables).
Index fit_length(const Tables& tables) noexcept;

// Triangular factor of the least-squares problem for (m, theta),
//   minimise E omega (h - sum_a theta_a column_a - sum_k m_k mu0_k)^2 + |L^T theta - t|^2,
// by modified Gram-Schmidt on the nodes. `triangle` (K + C + 1 squared, upper) gets R, its last
// column the projections of the right-hand side. `penalty` is L^T (C x C), `penalty_target` t.
// `columns` is scratch of (K + C + 1) fit_length. The unpenalised functions come first: a column
// that they already span to rounding keeps only its penalty (theta_k = 0 exactly for a linear
// activation), and a mu0_k that depends on those before it gets a zero row.
//
// Why not the normal equations: after a weak step the mu0_k are nearly proportional to
// each other and to kappa mu1_k, yet the unpenalised m_k uses what little they differ by. The
// Gram matrix squares that condition number and loses it.
void fit_signal(const Tables& tables, const double* w_omega, const double* penalty,
                const double* penalty_target, double* columns, double* triangle) noexcept;

// Projects the right-hand side (column `count` of `columns`, overwritten) on the functions of a fit
// and puts the projections into every `stride`-th entry of `projection`.
void project_fit(Index length, int count, double* columns, double* projection, int stride) noexcept;

struct ErrorAverages {
  double bias;           // E T+
  double weighted_bias;  // E T+ omega^2
};

// The residual power that is not noise of the readout,
//   T+ = (h - mean)^2 + sum_l (hz_l - P_l.mu1)^2 + g2,
//   mean = sum_k m_k mu0_k + sum_a theta_a column_a,
// l over the directions that kappa does not fix, where P is in theta (coupled) or in psi (free): T
// of theory.md, section 12, without the label noise, a sum of squares.
// Also feature_bias[a] = E f_a T+ omega^2 and feature_omega2[a] = E f_a omega^2, and
// mean_omega2 = E omega^2. `bias` is node-sized scratch.
ErrorAverages error_averages(const Tables& tables, const double* w_omega2, const double* m,
                             const double* theta, const double* psi, double* bias,
                             double* feature_bias, double* feature_omega2,
                             double* mean_omega2) noexcept;

// The errors of the samples of one class, times its proportion, which is `share`.
struct ClassErrors {
  double share = 0.0;
  double test = 0.0;
  double train = 0.0;
  // Fresh samples whose readout has another sign than the label; NaN if that is not +-1.
  double wrong = 0.0;
};

// One for every class, but for `wrong`. `bias` is what error_averages left, T+ on the nodes.
void class_errors(const Tables& tables, const double* q, double noise2, const double* w_omega2,
                  double epsilon, const double* bias, ClassErrors* out) noexcept;

// `wrong` of every class.
void wrong_rates(const Tables& tables, const double* m, const double* theta, const double* psi,
                 const double* q, ClassErrors* out) noexcept;

}  // namespace spikedrf
