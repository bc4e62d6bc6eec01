// The equations of theory.md, section 11, on one quadrature rule, for any latents (section 12).
//
// They say that one function is stationary (the free energy of the problem; for the square loss it
// is the L of sensitivity.hpp at s = 0). With the responses v(x) of step A, x = (B, y),
//
//   L(x, q, m, theta, psi) = 2 delta E env(V, mean, s, t) + P - q.x + sum_k q2_k (lam + s_k(x)),
//   V = v.f,   mean = sum_k m_k mu0_k + sum_a theta_a column_a,   s_l = P_l.mu1,   t = q.f,
//
// env the average Moreau envelope (loss_averages.hpp) and P the penalty of the bulk
// (bulk_potential.hpp), q without the latents' part on the pairs as in order_parameters.hpp.
// P_l is in theta along a coupled direction of the latents and in psi along a free one
// (latents.hpp); s has an entry for each direction l that kappa does not fix. Where labels do not
// depend on such a direction, s_l^2 is a part of t. Setting the derivatives by q, m, theta, psi, x
// to zero is
//
//   x_a    = delta E[ f_a (-f') ] + (0; lam + s_k),            0 = delta E[ mu0_k f ],
//   (S theta - pull)_a = delta E[ column_a f ],
//   psihat_k - (B psi)_k = delta E[ mu1_k zeta_l f ],
//   q_a    = -dW/dx_a   with g_a = delta E[ f_a f^2 ] and Lambda = q2,
//
// and in a coupled direction beside kappa delta E[ mu1_k zeta_l f ] + (B theta_l)_k is added on the
// right of the second line.
//
// Unknowns z = (x, q, beta, theta, psihat): psi follows from psihat, m from beta
// (signal_basis.hpp). The Hessian of env and the second derivatives of the bulk (dual numbers) give
// the exact Jacobian.
#pragma once

#include <cmath>

#include "averages/loss_averages.hpp"
#include "equations/bulk_potential.hpp"
#include "equations/field_state.hpp"
#include "equations/objective.hpp"
#include "equations/resolvent.hpp"
#include "equations/signal_basis.hpp"
#include "numerics/array.hpp"

namespace spikedrf {

// The derivatives of an objective.
struct ConvexSlopes {
  double delta = 0.0, beta = 0.0, lam = 0.0;  // beta at fixed delta
  LabelSlopes labels;
  Array<double> r, c;  // as they enter the tables
};

class ConvexEquations : public Resolvent<0> {
 public:
  ConvexEquations(int groups, int bulk_nodes, const Latents& latents, Loss loss, LabelKind kind,
                  double rtol, bool with_rates);

  // What the equations are about; the arguments must outlive the solves.
  void pose(const Tables& tables, const LabelTable& labels, const Regime& regime, double noise,
            double flip);

  // The field on the nodes where the last solve, on whatever rule, ended; empty if that is no
  // state.
  Array<CavityField> cavity();
  void use(const LabelTable& labels) { labels_ = &labels; }

  // Newton's method from where the last solve ended (warm), or from rounds of the fixed point.
  NewtonReport solve_from(bool warm);
  double last_step = 0.0;  // of Newton's method, relative: what rounding leaves

  // Sums over nodes as far out as anything counts: from the next rule on as was the case on this
  // one, or everywhere. Rules reach as far as double precision does, whatever grows there.
  void limit_reach();
  void reach_everywhere() { reach_ = kEverywhere; }

  // The solution.
  const double* q() const { return z_.data() + size(); }
  const double* theta() const { return z_.data() + offset_[3]; }
  int columns() const { return columns_; }
  Array<double> m, psi;
  Outcome outcome();  // and m, and with several classes their errors
  Array<Outcome> by_class;
  double norm() const;
  FieldState field() const;
  bool mirrored() const;  // whether kappa and -kappa are one and the same problem
  double power(const double* coefficients) const;  // E sum_a coefficients_a f_a

  // Derivatives, convex_sensitivity.cpp: the Jacobian and m at the solution first (false if it is
  // none), then any number of objectives. `slopes` may be null; without `of_labels` the derivatives
  // by the labels are left out.
  bool linearise();
  Objective objective(ObjectiveKind kind, double gamma, const TableSlopes* slopes);
  ConvexSlopes differentiate(const Objective& objective, double gamma, const TableSlopes* slopes,
                             bool of_labels);
  // Of the last one, along a move of the bulk as in sensitivity.hpp.
  double along_values(const double* move) const;
  double along_bulk(const double* move, int nodes) const;
  // Whether objectives jump when the spike moves along (dr, dc).
  bool jumps(const TableSlopes& slopes, const double* dr, const double* dc) const;
  double response() const { return response_; }  // E V

 private:
  // How a raw variable of env moves one of its arguments: by a function of kappa.
  struct Term {
    Channel channel;
    const double* function;
  };
  // An overlap along a coupled direction beside kappa moves two.
  struct Raw {
    Term term[2];
    int terms;
  };

  bool start();
  bool advance(double share);
  bool settle(const double* ridge);
  bool newton(NewtonReport& report, bool chord);
  bool factorise();
  bool place();                // from z to the fields on the nodes
  void average(bool hessian);  // from the fields to gradient_ and hessian_
  void residual();
  void jacobian();
  void scale();
  void move_state(const Objective& objective);
  double violation() const;
  double* z(int block) { return z_.data() + offset_[block]; }
  CavityField field_at(Index node) const;
  bool counts(Index node) const {
    return reach_ == kEverywhere || std::fabs(tables_->kappa()[node]) <= reach_;
  }
  double spread_of_field(Index node) const;

  // Directions beside kappa, l < latents_.rest(): coupled ones first.
  int coupled_rest() const { return latents_.coupled - latents_.spans; }
  bool rest_of(int column) const {
    return column >= latents_.spans * groups() && column < latents_.coupled * groups();
  }
  // The channel through which s_l enters env, and the function that goes with it.
  Term across(int l, int k) const;
  double gradient_of(const Term& term) const;  // of delta E env

  Latents latents_;
  int columns_, free_;  // entries of theta and of psi
  LossAverages averages_;
  BulkPotential<0> potential_;
  SignalBasis basis_;
  const Tables* tables_ = nullptr;
  const LabelTable* labels_ = nullptr;
  Regime regime_;
  double noise_ = 0.0;
  double flip_ = 0.0;
  Loss loss_;

  int unknowns_;
  int offset_[5];  // of x, q, beta, theta, psihat in z; of v, q, beta, theta, psi among the raw
  Array<double> z_, scale_z_, residual_, jacobian_z_, step_z_, row_scale_;
  Array<int> pivots_;
  Array<Raw> raw_;
  Array<double> gradient_, hessian_, along_;  // of delta E env in the raw variables
  Array<double> V_, mean_, t_;
  Array<double> s_;       // rest x stride
  Array<double> spread_;  // 2 s_l mu1_k, rest x groups x stride, where labels do not see l
  Array<EnvelopeSums> sums_;
  static constexpr double kEverywhere = 1e300;
  double reach_ = kEverywhere;  // in kappa
  Array<Outcome> outcomes_;     // of the nodes
  double negligible_;  // relative steps that the answer does not see
  double fall_ = 0.0;  // steps with the Jacobian at hand become smaller by; 0: not known
  Array<double> z_dot_;  // along an objective
  double response_ = 0.0;
};

}  // namespace spikedrf
