// A named activation by its number: values, derivatives, and what the theory wants to know of it.
// The functions themselves are in activations.hpp.
//
// `activate` and `activate_derivative` are for whole arrays. A kernel that computes its argument on
// the fly, sigma(z + e * s * u) say, instantiates its own loop with the small types Op:
//
//   struct Shifted {
//     const double* z; const double* u; double step; double* out; Index n;
//     template <class Op> SPIKEDRF_INLINE void operator()(Op) const noexcept {
//       SPIKEDRF_SIMD
//       for (Index i = 0; i < n; ++i) out[i] = Op::value(z[i] + step * u[i]);
//     }
//   };
//   SPIKEDRF_MULTIVERSION
//   void kernel(Activation a, ...) { visit_activation<double>(a, Shifted{...}); }
//
// Such a loop must expect NaN from sin and cos where the argument exceeds Op::max_argument.
#pragma once

#include "functions/activations.hpp"
#include "functions/types.hpp"
#include "numerics/array.hpp"
#include "numerics/dispatch.hpp"

namespace spikedrf {

// The place in the list of Activations.
enum class Activation : int {};

constexpr int activation_count = Activations::count;

template <class A>
constexpr Activation activation_of() noexcept {
  constexpr int at = position<A>(Activations{});
  static_assert(at >= 0, "not in the list");
  return static_cast<Activation>(at);
}

struct ActivationTraits {
  const char* name;
  const char* formula;
  Reflection reflection;
  bool kink, differentiable, linear;
  bool saturates_left, saturates_right, oscillates;
  int growth;
  bool closed_form;
  double strip;  // of those without a closed form
};

template <class A>
constexpr double strip_of() noexcept {
  if constexpr (A::closed_form) {
    return 0.0;
  } else {
    return A::strip;
  }
}

template <class List>
struct TraitsOfActivations;
template <class... A>
struct TraitsOfActivations<Types<A...>> {
  static constexpr ActivationTraits all[] = {
      {A::name, A::formula, A::reflection, A::kink, A::differentiable, A::linear,
       A::saturates_left, A::saturates_right, A::oscillates, A::growth, A::closed_form,
       strip_of<A>()}...};
};
constexpr const ActivationTraits& traits(Activation activation) noexcept {
  return TraitsOfActivations<Activations>::all[static_cast<int>(activation)];
}

// Out-of-place or in place (out == x); any other overlap is not allowed. Sin and cos are right for
// every argument, far ones slowly.
void activate(Activation activation, const double* x, double* out, Index n) noexcept;
void activate(Activation activation, const float* x, float* out, Index n) noexcept;
void activate_derivative(Activation activation, const double* x, double* out, Index n) noexcept;
void activate_derivative(Activation activation, const float* x, float* out, Index n) noexcept;

template <class T, class Visitor>
struct VisitOp {
  const Visitor& visitor;
  template <class A>
  SPIKEDRF_INLINE void operator()(Type<A>) const noexcept {
    visitor(typename A::template Op<T>{});
  }
};

// Calls visitor(Op{}) with the Op of `activation`.
template <class T, class Visitor>
SPIKEDRF_INLINE void visit_activation(Activation activation, const Visitor& visitor) noexcept {
  visit_type(Activations{}, static_cast<int>(activation), VisitOp<T, Visitor>{visitor});
}

}  // namespace spikedrf
