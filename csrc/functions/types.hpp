// Compile-time lists of types (activations, losses), and the way from a number to its type.
//
// A list has no default: what is asked of its members has to exist for each of them, and a number
// beyond the list ends the program. (Python checks numbers before they come here.)
#pragma once

#include <exception>
#include <type_traits>

#include "numerics/dispatch.hpp"

namespace spikedrf {

template <class... T>
struct Types {
  static constexpr int count = sizeof...(T);
};

template <class T>
struct Type {
  using type = T;
};

template <class T, class... All>
constexpr int position(Types<All...>) noexcept {
  int at = 0;
  int found = -1;
  ((found = std::is_same_v<T, All> ? at : found, ++at), ...);
  return found;
}

// visitor(Type<T>{}) with the type of that number; inlined wherever the visitor is.
template <class Visitor, class First, class... Rest>
SPIKEDRF_INLINE decltype(auto) visit_type(Types<First, Rest...>, int number,
                                          const Visitor& visitor) {
  if constexpr (sizeof...(Rest) == 0) {
    if (number != 0) std::terminate();
    return visitor(Type<First>{});
  } else {
    if (number == 0) return visitor(Type<First>{});
    return visit_type(Types<Rest...>{}, number - 1, visitor);
  }
}

}  // namespace spikedrf
