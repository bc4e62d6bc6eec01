// Forward-mode derivatives: a number and its slopes along N directions. Formulae written for any
// scalar type T give their exact derivatives when T is a Dual.
#pragma once

#include <cmath>

namespace spikedrf {

template <int N>
struct Dual {
  double value = 0.0;
  double slope[N] = {};

  Dual() = default;
  Dual(double constant) : value(constant) {}  // implicit: constants have no slope

  // f(x) and its derivative at x.
  static Dual chain(double f, double derivative, const Dual& x) {
    Dual result(f);
    for (int i = 0; i < N; ++i) result.slope[i] = derivative * x.slope[i];
    return result;
  }

  Dual& operator+=(const Dual& other) {
    value += other.value;
    for (int i = 0; i < N; ++i) slope[i] += other.slope[i];
    return *this;
  }
  Dual& operator-=(const Dual& other) {
    value -= other.value;
    for (int i = 0; i < N; ++i) slope[i] -= other.slope[i];
    return *this;
  }
  Dual& operator*=(const Dual& other) {
    for (int i = 0; i < N; ++i) slope[i] = slope[i] * other.value + value * other.slope[i];
    value *= other.value;
    return *this;
  }
  Dual& operator/=(const Dual& other) {
    const double inverse = 1.0 / other.value;
    value /= other.value;
    for (int i = 0; i < N; ++i) slope[i] = (slope[i] - value * other.slope[i]) * inverse;
    return *this;
  }

  friend Dual operator+(Dual a, const Dual& b) { return a += b; }
  friend Dual operator-(Dual a, const Dual& b) { return a -= b; }
  friend Dual operator*(Dual a, const Dual& b) { return a *= b; }
  friend Dual operator/(Dual a, const Dual& b) { return a /= b; }
  friend Dual operator-(Dual a) { return a *= -1.0; }
  friend bool operator<(const Dual& a, const Dual& b) { return a.value < b.value; }
  friend bool operator>(const Dual& a, const Dual& b) { return a.value > b.value; }
};

template <int N>
Dual<N> sqrt(const Dual<N>& x) {
  const double root = std::sqrt(x.value);
  return Dual<N>::chain(root, 0.5 / root, x);
}
template <int N>
Dual<N> exp(const Dual<N>& x) {
  const double e = std::exp(x.value);
  return Dual<N>::chain(e, e, x);
}
template <int N>
Dual<N> expm1(const Dual<N>& x) {
  return Dual<N>::chain(std::expm1(x.value), std::exp(x.value), x);
}
template <int N>
Dual<N> sin(const Dual<N>& x) {
  return Dual<N>::chain(std::sin(x.value), std::cos(x.value), x);
}
template <int N>
Dual<N> cos(const Dual<N>& x) {
  return Dual<N>::chain(std::cos(x.value), -std::sin(x.value), x);
}
template <int N>
Dual<N> atan(const Dual<N>& x) {
  return Dual<N>::chain(std::atan(x.value), 1.0 / (1.0 + x.value * x.value), x);
}
template <int N>
Dual<N> erf(const Dual<N>& x) {
  constexpr double kTwoOverRootPi = 1.12837916709551257390;
  return Dual<N>::chain(std::erf(x.value), kTwoOverRootPi * std::exp(-x.value * x.value), x);
}
template <int N>
Dual<N> erfc(const Dual<N>& x) {
  constexpr double kTwoOverRootPi = 1.12837916709551257390;
  return Dual<N>::chain(std::erfc(x.value), -kTwoOverRootPi * std::exp(-x.value * x.value), x);
}

inline Dual<1> moving(double value, double slope) {
  Dual<1> result(value);
  result.slope[0] = slope;
  return result;
}

inline double value_of(double x) { return x; }
template <int N>
double value_of(const Dual<N>& x) {
  return x.value;
}

}  // namespace spikedrf
