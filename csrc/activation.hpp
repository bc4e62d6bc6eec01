#pragma once
#include <cstddef>
#include <cmath>
namespace spikedrf {
enum class Activation : int { tanh, relu, erf, sin, cos, sigmoid, softplus, gelu, silu, leaky_relu, abs, sign, identity, hermite1, hermite2, hermite3, hermite4, hermite5 };
constexpr int activation_count=18;
const char* activation_name(Activation);
bool is_linear(Activation); bool saturates_left(Activation); bool saturates_right(Activation); bool has_kink(Activation); bool oscillates(Activation); int growth(Activation); bool has_derivative(Activation);
void activate(Activation, const double*, double*, std::size_t) noexcept;
void activate_derivative(Activation, const double*, double*, std::size_t) noexcept;
}
