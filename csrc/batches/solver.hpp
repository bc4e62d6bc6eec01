// Certified solutions for batches of points: every point climbs the ladder of quadrature rules of
// its spike until its errors stop moving. Points that share a spike share its tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "equations/bulk.hpp"
#include "tables/moments.hpp"

namespace spikedrf {

enum class Status : std::int32_t {
  converged = 0,
  quadrature = 1,  // the errors still moved by more than rtol on the finest rule
  newton = 2,      // step A did not converge
  rounding = 3,    // groups too nearly alike for double precision: errors beyond rtol are possible
  undefined = 4,   // gradient.hpp: a derivative does not exist
};

struct Spikes {
  std::size_t count;
  int groups;
  const double* r;      // count x groups
  const double* c;      // count x groups, > 0
  const double* gamma;  // count, in [-1, 1]
  const double* pi;     // count x groups, > 0
  // The bulk of each spike: `bulk_rules` descriptions of it by `bulk_nodes` nodes each (count x
  // rules x nodes x groups values, count x rules x nodes weights), with c their mean; 0 nodes is the
  // isotropic bulk of variance c. Rules that are not exact take turns on the ladder of quadrature
  // rules, so that what they differ by shows in the certificate.
  int bulk_nodes = 0;
  int bulk_rules = 1;
  Bulk bulk{};
};

// Sorted by spike, so that a run of points with one spike is consecutive.
struct Points {
  std::size_t count;
  const std::int64_t* spike;
  const double* alpha;  // > 0, may be infinite
  const double* beta;   // > 0
  const double* lam;    // >= 0
  const double* noise;  // >= 0
};

struct Accuracy {
  double rtol = 1e-8;
  std::size_t max_nodes = 1u << 15;
};

// One entry (row of K, block of K x K) for every point.
struct Results {
  double* test_error;
  double* excess_error;
  double* train_error;
  double* norm;
  double* m;
  double* theta;
  double* psi;
  double* q1;
  double* q2;
  double* V1;
  double* V2;
  std::int32_t* status;
  std::int32_t* nit;
  std::int64_t* nodes;
  double* residual;
  double* quadrature_error;
};

// False if an activation or target could not be evaluated (the results are then incomplete).
bool solve(const Spikes& spikes, const Points& points, GaussianMoments& activation,
           GaussianMoments& target, Accuracy accuracy, const Results& results);

// The tables of the first spike on one rule of its ladder, for averages that are taken elsewhere:
// rows of one number for each node, weight, h, hz, g2, then mu0, mu1 and kappa mu1 of every group.
// No rows once the ladder is at its end. False if a function could not be evaluated.
bool tabulate(const Spikes& spikes, GaussianMoments& activation, GaussianMoments& target,
              std::size_t level, std::size_t max_nodes, std::vector<double>& rows);

}  // namespace spikedrf
