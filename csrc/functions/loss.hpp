// A loss by its number in the list and its parameter. The losses themselves are in losses.hpp.
#pragma once

#include <complex>
#include <exception>

#include "functions/losses.hpp"
#include "functions/types.hpp"
#include "numerics/array.hpp"
#include "numerics/dispatch.hpp"

namespace spikedrf {

// The place in the list of Losses.
enum class LossKind : int {};

constexpr int loss_count = Losses::count;

template <class L>
constexpr LossKind loss_of() noexcept {
  constexpr int at = position<L>(Losses{});
  static_assert(at >= 0, "not in the list");
  return static_cast<LossKind>(at);
}

constexpr LossKind kNoLoss{-1};

struct Loss {
  LossKind kind = kNoLoss;  // nobody's, until somebody says which
  double parameter = 0.0;   // delta or level
};

struct LossTraits {
  const char* name;
  bool margin, broken_line;
  double typical;
};

template <class List>
struct TraitsOfLosses;
template <class... L>
struct TraitsOfLosses<Types<L...>> {
  static constexpr LossTraits all[] = {{L::name, L::margin, L::broken_line, L::typical}...};
};
constexpr const LossTraits& traits(LossKind kind) noexcept {
  if (kind == kNoLoss) std::terminate();
  return TraitsOfLosses<Losses>::all[static_cast<int>(kind)];
}
constexpr const LossTraits& traits(Loss loss) noexcept { return traits(loss.kind); }

template <class Visitor>
struct VisitLoss {
  double parameter;
  const Visitor& visitor;
  template <class L>
  SPIKEDRF_INLINE decltype(auto) operator()(Type<L>) const {
    return visitor(L(parameter));
  }
};

// visitor(loss) with the loss as an object of its own type.
template <class Visitor>
SPIKEDRF_INLINE decltype(auto) visit_loss(Loss loss, const Visitor& visitor) {
  return visit_type(Losses{}, static_cast<int>(loss.kind),
                    VisitLoss<Visitor>{loss.parameter, visitor});
}

// Of broken lines only.
Ramp ramp_of(Loss loss);

// The two corners of phi, of smooth losses only: see losses.hpp.
struct Corners {
  double right, left;  // real parts
  double strip;        // imaginary part
};
Corners corners_of(Loss loss, double V);

// t at every x, out of place.
void prox(Loss loss, double V, const double* x, double* t, Index n);

// The derivatives of the Moreau envelope's derivative phi, and the products that go with them, at
// points of a grid; rows of one length.
struct PhiRows {
  double* t;        // proximal map
  double* phi;
  double* slope;    // phi'
  double* bend;     // phi''
  double* third;    // phi'''
  double* scratch;
};
void smooth_phi(Loss loss, double V, const double* x, Index n, const PhiRows& rows);

// loss(t), or its derivative, elementwise.
void loss_values(Loss loss, const double* t, double* out, Index n);
// Whether turning y and h around changes nothing.
bool symmetric(Loss loss);
double loss_slope(Loss loss, double t);  // at a kink the middle of the subdifferential or an end

}  // namespace spikedrf
