// Short names for the named activations.
#pragma once

#include "functions/activation.hpp"

namespace named {

using namespace spikedrf::activations;

constexpr auto tanh = spikedrf::activation_of<Tanh>();
constexpr auto relu = spikedrf::activation_of<Relu>();
constexpr auto erf = spikedrf::activation_of<Erf>();
constexpr auto sin = spikedrf::activation_of<Sin>();
constexpr auto cos = spikedrf::activation_of<Cos>();
constexpr auto softplus = spikedrf::activation_of<Softplus>();
constexpr auto gelu = spikedrf::activation_of<Gelu>();
constexpr auto sign = spikedrf::activation_of<Sign>();
constexpr auto abs = spikedrf::activation_of<Abs>();
constexpr auto identity = spikedrf::activation_of<Identity>();
constexpr auto hermite2 = spikedrf::activation_of<Hermite2>();
constexpr auto hermite3 = spikedrf::activation_of<Hermite3>();

}  // namespace named
