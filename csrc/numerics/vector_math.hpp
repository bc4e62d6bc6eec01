// Elementary functions that the compiler can vectorise.
//
// glibc has vector versions of exp and friends, but GCC only calls them under -ffast-math, and the
// scalar ones cost 5 to 20 ns an element. The functions here are branch-free scalar code on double
// or float (float is computed in float, so that a vector holds twice as many): a plain loop that
// calls one becomes vector code at -O3 -fno-math-errno -fno-trapping-math. Every choice between two
// formulas is a select between two computed values, so a lane costs the same whatever it holds.
//
// Largest error found, in units in the last place, over the whole range of finite arguments, with /
// without fused multiply-add. Checked against 113-bit arithmetic at some 600,000 arguments (double)
// and against double precision at every third float from 1e-4 or less to where the function becomes
// constant; smaller and larger floats, and log1p_unit, on a sparse sweep of all bit patterns.
//
//                                   double         float
//   exp                             1.0 / 1.0    1.0 / 1.0
//   tanh                            2.4 / 2.4    2.4 / 2.4
//   sigmoid                         2.1 / 2.1    2.3 / 2.3
//   softplus                        1.7 / 1.7    1.8 / 2.1
//   log1p_unit                      1.0 / 1.2    0.9 / 1.2     0 <= x <= 1
//   silu = x sigmoid(x)             3.0 / 2.9    3.2 / 3.2
//   gaussian = exp(-x^2/2)          1.1 / 1.1    1.2 / 1.1
//   normal_cdf                      3.1 / 3.4    3.2 / 4.1     relative, in the left tail too
//   gelu = x normal_cdf(x)          3.3 / 3.7    3.8 / 4.2
//   erf_normal = erf(x / sqrt 2)    2.4 / 2.4    2.3 / 2.3
//   erf                             3.6 / 3.6    3.1 / 3.1
//   sin, cos                        2.2 / 2.2    2.5 / 2.5     |x| <= trig_max
//
// Special values: NaN gives NaN; limits at +-infinity are exact; odd functions keep the sign of
// zero; results below the normal range are rounded gradually (if the caller has not turned on
// flush-to-zero). Symmetries are exact: tanh(-x) == -tanh(x), and so on, and |tanh|, |erf|, Phi <=
// 1.
//
// All of them rely on two things: round-to-nearest, and a compiler that does not reassociate
// floating-point arithmetic. Contraction to fused multiply-add may happen or not, anywhere.

#ifndef SPIKEDRF_VECTOR_MATH_HPP
#define SPIKEDRF_VECTOR_MATH_HPP

#include <cstdint>
#include <cstring>
#include <limits>

#include "numerics/array.hpp"
#include "numerics/dispatch.hpp"

// A namespace of its own, so that an unqualified exp(x) elsewhere in spikedrf stays std::exp.
namespace spikedrf::vmath {

// ---- The two formats and the coefficients fitted to each ----------------------------------------
//
// Minimax fits (Remez exchange in 60-digit arithmetic), the leading coefficients rounded first and
// the others fitted again around them. The power of two beside each is the largest relative error
// of the function built from it, in exact arithmetic.

template <class T>
struct Format;

template <>
struct Format<double> {
  using Bits = std::uint64_t;
  static constexpr int mantissa_bits = 52;
  static constexpr Bits bias = 1023;
  static constexpr Bits sign_mask = Bits{1} << 63;
  static constexpr Bits low_half_mask = (Bits{1} << 27) - 1;
  // 1.5 * 2^52: adding it rounds to an integer, which then stands in the low bits (see Rounded).
  static constexpr double magic = 6755399441055744.0;

  // ln 2 in two parts; the first has 42 bits, so that its product with |k| < 2^11 is exact.
  static constexpr double ln2_high = 0x1.62e42fefa38p-1;
  static constexpr double ln2_low = 0x1.ef35793c7673p-45;
  // Below exp_min both exp(x) and x exp(x) round to 0, above exp_max exp(x) is infinite.
  static constexpr double exp_min = -760.0;
  static constexpr double exp_max = 710.0;
  static constexpr double exp_tail[] = {
      0.5,                    0.16666666666666677,    0.041666666666666685,
      0.0083333333333218285,  0.0013888888888895876,  0.00019841269885183404,
      2.4801587268488774e-05, 2.7557245335241678e-06, 2.7557342966906161e-07,
      2.5108626791973983e-08, 2.0888723365150923e-09};  // 2^-61, expm1 on |r| <= ln2 / 2

  // tanh(x) rounds to 1 well before tanh_max.
  static constexpr double tanh_max = 20.0;
  // Here 1 / cosh(x)^2 is 4e-304 and the scale of tanh_parts still far from overflow.
  static constexpr double sech_max = 350.0;
  static constexpr double coth_tail[] = {
      0.3333333333333281,      -0.02222222222137239,   0.002116402070526116,
      -0.00021163907285210704, 2.1363488147001887e-05, -2.07557507612549e-06};  // 2^-56

  static constexpr double log1p_tail[] = {
      0.66666666666666308, 0.40000000000156188, 0.28571428547962463, 0.22222223963941273,
      0.18181744105625613, 0.15386556438190621, 0.13301015663813331, 0.12105776473982371,
      0.08341373020787067, 0.1701634488632752};  // 2^-59

  // Phi(-normal_max) and normal_max times it round to 0, erf(erf_max / sqrt 2) to 1.
  static constexpr double normal_max = 39.0;
  static constexpr double erf_max = 9.0;
  static constexpr double series_max = 0.833;
  static constexpr double mills_a[] = {
      1.2360875668397329,     0.78157674069888761,   0.32083211104638126,
      0.092851135138988114,   0.019499972899639163,  0.0029636123686540635,
      0.00031466591310012957, 2.1293553371422572e-05, 7.0790412473795454e-07};
  static constexpr double mills_p[] = {
      1.6915171433523675,     1.4153239045921588,   0.75829174352333029,
      0.28562248809614454,    0.078711752246056588, 0.016057473964923692,
      0.0023986001064287559,  0.00025219672622817959, 1.6989797470155408e-05,
      5.6482577170784158e-07};  // 2^-55
  static constexpr double erf_tail[] = {
      0.79788456080286529,     -0.13298076013379681,   0.019947114019536857,
      -0.0023746564231246969,  0.00023086931758508391, -1.8889073681116199e-05,
      1.3313553180821946e-06,  -8.1617563058879735e-08, 3.8918443573498937e-09};  // 2^-53

  // pi/2 in four parts; the first three have 33 bits, so that their products with |k| < 2^20 are
  // exact: |x| <= 2^20.
  static constexpr double trig_max = 1048576.0;
  static constexpr double half_pi[] = {0x1.921fb544p+0, 0x1.0b4611a6p-34, 0x1.3198a2ep-69,
                                       0x1.b839a252049c1p-104};
  static constexpr double sin_tail[] = {
      -0.16666666666666632,   0.0083333333333224548,   -0.00019841269829812215,
      2.755731368656858e-06,  -2.5050756456998212e-08, 1.5896661219724567e-10};  // 2^-58
  static constexpr double cos_tail[] = {
      0.041666666666666602,    -0.0013888888888874444, 2.4801587289638265e-05,
      -2.755731438810871e-07,  2.0875727149660031e-09, -1.1359807197318972e-11};  // 2^-64
};

template <>
struct Format<float> {
  using Bits = std::uint32_t;
  static constexpr int mantissa_bits = 23;
  static constexpr Bits bias = 127;
  static constexpr Bits sign_mask = Bits{1} << 31;
  static constexpr Bits low_half_mask = (Bits{1} << 12) - 1;
  static constexpr float magic = 12582912.0F;

  static constexpr float ln2_high = 0x1.62e4p-1F;  // 15 bits, |k| < 2^9
  static constexpr float ln2_low = 0x1.7f7d1cp-20F;
  static constexpr float exp_min = -115.0F;
  static constexpr float exp_max = 89.0F;
  static constexpr float exp_tail[] = {0.5F,          0.166666359F,   0.0416665114F,
                                       0.00834150985F, 0.0013930545F, 0.000150466047F};  // 2^-28

  static constexpr float tanh_max = 10.0F;
  static constexpr float sech_max = 42.0F;  // 1.3e-36
  static constexpr float coth_tail[] = {0.333333254F, -0.0222184453F, 0.00206523738F};  // 2^-31

  static constexpr float log1p_tail[] = {0.666664124F, 0.400217503F, 0.279981524F,
                                         0.280301064F};  // 2^-28

  static constexpr float normal_max = 15.0F;
  static constexpr float erf_max = 6.0F;
  static constexpr float series_max = 0.833F;
  static constexpr float mills_a[] = {0.627483547F, 0.206718862F, 0.0370020978F,
                                      0.00307952915F};
  static constexpr float mills_p[] = {1.08291316F, 0.563289165F, 0.169570237F, 0.0295363925F,
                                      0.00245684758F};  // 2^-28
  static constexpr float erf_tail[] = {0.797884583F, -0.132981479F, 0.0199500043F,
                                         -0.00237265346F, 0.000211625738F};  // 2^-25

  static constexpr float trig_max = 1024.0F;
  static constexpr float half_pi[] = {0x1.9218p+0F, 0x1.ed5p-14F, 0x1.10bp-30F, 0x1.184698p-44F};
  static constexpr float sin_tail[] = {-0.166666552F, 0.0083321901F, -0.000195183733F};  // 2^-28
  static constexpr float cos_tail[] = {0.0416666456F, -0.00138873013F, 2.44306611e-05F};  // 2^-33
};

// ---- Bits and polynomials -----------------------------------------------------------------------

template <class T>
SPIKEDRF_INLINE typename Format<T>::Bits to_bits(T x) noexcept {
  typename Format<T>::Bits bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

template <class T>
SPIKEDRF_INLINE T from_bits(typename Format<T>::Bits bits) noexcept {
  T x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

template <class T>
SPIKEDRF_INLINE T magnitude(T x) noexcept {
  return from_bits<T>(to_bits(x) & ~Format<T>::sign_mask);
}

// `x >= 0` with the sign of `signed_value`.
template <class T>
SPIKEDRF_INLINE T with_sign_of(T x, T signed_value) noexcept {
  return from_bits<T>(to_bits(x) | (to_bits(signed_value) & Format<T>::sign_mask));
}

// c[0] + c[1] x + c[2] x^2 + ..., the even and the odd terms by Horner's rule in x^2: two chains of
// dependent operations of half the length. Written out at compile time, because a loop in here
// would be the one the vectoriser looks at.
template <Index First, Index Step, Index N, class T>
SPIKEDRF_INLINE T horner(T x, const T (&c)[N]) noexcept {
  if constexpr (First + Step >= N) {
    return c[First];
  } else {
    return c[First] + x * horner<First + Step, Step>(x, c);
  }
}
template <Index N, class T>
SPIKEDRF_INLINE T polynomial(T x, const T (&c)[N]) noexcept {
  if constexpr (N < 5) {
    return horner<0, 1>(x, c);
  } else {
    const T x2 = x * x;
    return horner<0, 2>(x2, c) + x * horner<1, 2>(x2, c);
  }
}

// The integer nearest to x, |x| < 2^(mantissa_bits - 1), without a conversion instruction (AVX2 has
// none between double and 64-bit integers, SSE2 has no rounding): in x + magic one ulp is 1, so the
// addition rounds, and the mantissa's low bits are the integer in two's complement.
template <class T>
struct Rounded {
  T shifted;
  T value;
};
template <class T>
SPIKEDRF_INLINE Rounded<T> round_shifted(T shifted) noexcept {
  return {shifted, shifted - Format<T>::magic};
}

// 2^k for the integer in `shifted` = k + magic, if that is a normal number: the low bits go to the
// exponent field, and the shift drops all others.
template <class T>
SPIKEDRF_INLINE T power_of_two(T shifted) noexcept {
  return from_bits<T>((to_bits(shifted) + Format<T>::bias) << Format<T>::mantissa_bits);
}

// A function and its derivative at the same point.
template <class T>
struct ValueAndSlope {
  T value;
  T slope;
};

// ---- exp ----------------------------------------------------------------------------------------
//
// exp(x) = 2^k exp(r), k = round(x / ln 2), |r| <= ln2 / 2 (Cody and Waite: ln 2 in two parts, so
// that x - k ln2_high is exact). exp(r) = 1 + (r + r^2 tail(r)), the small terms first. k reaches
// -1077 (double), where 2^k is not a normal number: it is applied as a product of two powers, so
// the only rounding below the normal range is that of the last multiplication.

template <class T>
struct ExpParts {
  T expm1_r;  // exp(x) = (1 + expm1_r) 2^k
  Rounded<T> k;
};

// 2^k = first * second for |k| < 2 bias, where 2^k itself may be out of range.
template <class T>
struct Scales {
  T first;
  T second;
};
template <class T>
SPIKEDRF_INLINE Scales<T> split_power_of_two(Rounded<T> k) noexcept {
  const Rounded<T> half = round_shifted<T>(k.value * T(0.5) + Format<T>::magic);
  const T other_half = (k.value - half.value) + Format<T>::magic;
  return {power_of_two(half.shifted), power_of_two(other_half)};
}

// exp(x + correction) for |correction| << 1 and exp_min <= x <= exp_max, anything otherwise: the
// callers replace such results in the end. (Clamping x first would look simpler, but GCC then
// follows the constant through all that comes after and adds a blend at every step.)
template <class T>
SPIKEDRF_INLINE ExpParts<T> exp_parts(T x, T correction) noexcept {
  using F = Format<T>;
  const T log2_e = static_cast<T>(1.4426950408889634);
  const Rounded<T> k = round_shifted<T>(x * log2_e + F::magic);
  const T r = (x - k.value * F::ln2_high) - (k.value * F::ln2_low - correction);
  return {r + r * r * polynomial(r, F::exp_tail), k};
}

template <class T>
SPIKEDRF_INLINE T exp_in_range(T x, T correction = T(0)) noexcept {
  const ExpParts<T> e = exp_parts(x, correction);
  const Scales<T> scales = split_power_of_two(e.k);
  return ((T(1) + e.expm1_r) * scales.first) * scales.second;
}

template <class T>
SPIKEDRF_INLINE T exp(T x) noexcept {
  const T value = exp_in_range(x);
  const T above = x > Format<T>::exp_max ? std::numeric_limits<T>::infinity() : value;
  return x < Format<T>::exp_min ? T(0) : above;
}

// ---- tanh, sigmoid, softplus --------------------------------------------------------------------
//
// tanh(x) for x >= 0: with x = k ln2 / 2 + r, 0 <= r < ln2 / 2, and s = 2^k,
//
//   exp(2 r) = (W + r) / (W - r),   W = r coth(r) = 1 + r^2/3 - ...   (a short polynomial in r^2)
//   tanh(x) = (s exp(2 r) - 1) / (s exp(2 r) + 1)
//           = ((s - 1) W + (s + 1) r) / ((s + 1) W + (s - 1) r)
//
// One division. (1 - 2 / (exp(2x) + 1) would lose all relative accuracy near 0.) k is rounded down,
// not to nearest, so that no term is negative and nothing cancels; at k = 0 the quotient is r / W,
// with r = x exact. Near s = 2^53 (double) rounding may take more from the denominator than it is
// larger by, hence the bound on the numerator.
template <class T>
struct TanhParts {
  T numerator;
  T denominator;
  T difference;  // W - r, half of denominator - numerator
};
template <class T>
SPIKEDRF_INLINE TanhParts<T> tanh_parts(T x) noexcept {
  using F = Format<T>;
  const T twice_log2_e = static_cast<T>(2.8853900817779268);
  const Rounded<T> k = round_shifted<T>((x * twice_log2_e - T(0.5)) + F::magic);
  const T s = power_of_two(k.shifted);
  const T r = (x - k.value * (T(0.5) * F::ln2_high)) - k.value * (T(0.5) * F::ln2_low);
  const T r2 = r * r;
  const T w = T(1) + r2 * horner<0, 1>(r2, F::coth_tail);
  const T more = s + T(1), less = s - T(1);
  const T denominator = more * w + less * r;
  const T numerator = less * w + more * r;
  return {denominator < numerator ? denominator : numerator, denominator, w - r};
}

template <class T>
SPIKEDRF_INLINE T tanh(T x) noexcept {
  const T y = magnitude(x);
  const TanhParts<T> parts = tanh_parts(y);
  const T quotient = parts.numerator / parts.denominator;
  return with_sign_of(y > Format<T>::tanh_max ? T(1) : quotient, x);
}

// tanh and its derivative for one division and no second exponential: 1 - tanh = 2 (W - r) / D,
// with D the denominator above, does not cancel, and 1 - tanh^2 = (1 - tanh) (1 + tanh).
// Multiplying by a rounded 1/D costs an ulp.
template <class T>
SPIKEDRF_INLINE ValueAndSlope<T> tanh_and_slope(T x) noexcept {
  using F = Format<T>;
  const T y = magnitude(x);
  const TanhParts<T> parts = tanh_parts(y);
  const T inverse = T(1) / parts.denominator;
  const T value = parts.numerator * inverse;
  const T gap = (parts.difference + parts.difference) * inverse;
  return {with_sign_of(y > F::tanh_max ? T(1) : value, x),
          y > F::sech_max ? T(0) : gap * (T(2) - gap)};
}

// A value as ratio * scales.first * scales.second. A caller that multiplies the ratio by something
// large first loses nothing when the value itself is below the normal range.
template <class T>
struct Scaled {
  T ratio;
  Scales<T> scales;

  SPIKEDRF_INLINE T times(T x) const noexcept {
    return ((x * ratio) * scales.first) * scales.second;
  }
};

// sigmoid(x) = 1 / (1 + exp(-x)): with e = exp(-|x|) it is 1 / (1 + e) on the right, e / (1 + e) on
// the left.
template <class T>
SPIKEDRF_INLINE Scaled<T> sigmoid_scaled(T x) noexcept {
  const ExpParts<T> parts = exp_parts(-magnitude(x), T(0));
  const Scales<T> scales = split_power_of_two(parts.k);
  const T mantissa = T(1) + parts.expm1_r;
  const T e = (mantissa * scales.first) * scales.second;
  return {(x < T(0) ? mantissa : T(1)) / (T(1) + e),
          {x < T(0) ? scales.first : T(1), x < T(0) ? scales.second : T(1)}};
}

// `value` where |x| <= bound or x is NaN, `left` and `right` beyond, where the callers' formulas
// overflow or mean nothing.
template <class T>
SPIKEDRF_INLINE T with_limits(T x, T bound, T left, T right, T value) noexcept {
  const T below = x < -bound ? left : value;
  return x > bound ? right : below;
}

template <class T>
SPIKEDRF_INLINE T sigmoid(T x) noexcept {
  return with_limits(x, -Format<T>::exp_min, T(0), T(1), sigmoid_scaled(x).times(T(1)));
}

// x sigmoid(x).
template <class T>
SPIKEDRF_INLINE T silu(T x) noexcept {
  return with_limits(x, -Format<T>::exp_min, -T(0), x, sigmoid_scaled(x).times(x));
}

// log(1 + u) for 0 <= u <= 1. With s = u / (2 + u), log(1 + u) = 2 atanh(s) = 2 s + s z tail(z),
// z = s^2 <= 1/9. Since 2 s = u - s u, this is u - s (u - z tail(z)): the rounding errors of s then
// enter with a factor s <= 1/3. No exponent has to be taken apart because u never exceeds 1.
template <class T>
SPIKEDRF_INLINE T log1p_unit(T u) noexcept {
  const T s = u / (T(2) + u);
  const T z = s * s;
  return u - s * (u - z * polynomial(z, Format<T>::log1p_tail));
}

// log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)).
template <class T>
SPIKEDRF_INLINE T softplus(T x) noexcept {
  const T value = (x > T(0) ? x : T(0)) + log1p_unit(exp_in_range(-magnitude(x)));
  return with_limits(x, -Format<T>::exp_min, T(0), x, value);
}

// ---- The normal distribution: exp(-x^2/2), Phi, erf ---------------------------------------------

// exp(-t^2/2) for t >= 0. The relative error of exp is the absolute error of its argument, and
// t^2/2 reaches 745: rounding it would cost 400 ulp. So t = a + b with a of half the bits, a^2
// exact and t^2 - a^2 = (t - a)(t + a) small.
template <class T>
struct HalfSquare {
  T leading;
  T correction;  // leading + correction = -t^2 / 2
};
template <class T>
SPIKEDRF_INLINE HalfSquare<T> minus_half_square(T t) noexcept {
  const T a = from_bits<T>(to_bits(t) & ~Format<T>::low_half_mask);
  return {T(-0.5) * (a * a), T(-0.5) * ((t - a) * (t + a))};
}

template <class T>
SPIKEDRF_INLINE T gaussian(T x) noexcept {
  const T t = magnitude(x);
  const HalfSquare<T> square = minus_half_square(t);
  const T value = exp_in_range(square.leading, square.correction);
  return t > Format<T>::normal_max ? T(0) : value;
}

// Phi and erf share one rational approximation on the half line t >= 0,
//
//   Phi(-t) = exp(-t^2/2) M(t),      M = (1/2) P / (sqrt(pi/2) t P + A),
//
// P and A polynomials of degree 10 and 9 (double), 5 and 4 (float), fitted for the smallest
// relative error of M on [0, normal_max]. M is a Stieltjes function (a mixture of 1 / (t^2 + c))
// and all the coefficients come out positive: Horner's rule cannot cancel anywhere. A polynomial
// would need twice the degree and lose digits in its alternating terms. Taking the known leading
// behaviour M ~ 1 / (sqrt(2 pi) t) out of the fit lets the rounding errors of P cancel between
// numerator and denominator in the tail, where they are largest.

//
// For |t| <= series_max = 0.833, where 2 Phi(-t) = 0.4, erf would cancel and Phi would collect
// rounding errors for nothing: both use the odd polynomial for erf(t / sqrt 2).
template <class T>
SPIKEDRF_INLINE T erf_series(T x) noexcept {
  return x * polynomial(x * x, Format<T>::erf_tail);
}

// M(t) exp(-t^2/2) without the scales of the exponential.
template <class T>
SPIKEDRF_INLINE T normal_tail(T t, T expm1_r) noexcept {
  const T p = T(1) + t * polynomial(t, Format<T>::mills_p);
  const T a = T(1) + t * polynomial(t, Format<T>::mills_a);
  const T root_half_pi = static_cast<T>(1.2533141373155003);
  const T numerator = p + p * expm1_r;
  const T denominator = p * (root_half_pi * t) + a;
  return T(0.5) * (numerator / denominator);
}

// Phi(x), accurate relative to itself in the left tail: no difference from 1 is taken there.
template <class T>
SPIKEDRF_INLINE Scaled<T> normal_cdf_scaled(T x) noexcept {
  const T t = magnitude(x);
  const HalfSquare<T> square = minus_half_square(t);
  const ExpParts<T> e = exp_parts(square.leading, square.correction);
  const Scales<T> scales = split_power_of_two(e.k);
  const T tail = normal_tail(t, e.expm1_r);
  const T upper = T(1) - (tail * scales.first) * scales.second;
  const T central = T(0.5) + T(0.5) * erf_series(x);
  const T edge = Format<T>::series_max;
  return {x < -edge ? tail : (x > edge ? upper : central),
          {x < -edge ? scales.first : T(1), x < -edge ? scales.second : T(1)}};
}

// Phi(-|x|) and exp(-x^2/2) from one exponential, |x| <= normal_max.
template <class T>
struct NormalTail {
  T tail, gaussian;
};
template <class T>
SPIKEDRF_INLINE NormalTail<T> normal_tail_and_gaussian(T x) noexcept {
  const T t = magnitude(x);
  const HalfSquare<T> square = minus_half_square(t);
  const ExpParts<T> e = exp_parts(square.leading, square.correction);
  const Scales<T> scales = split_power_of_two(e.k);
  return {(normal_tail(t, e.expm1_r) * scales.first) * scales.second,
          ((T(1) + e.expm1_r) * scales.first) * scales.second};
}

// Phi(-x) to some 1e-15 of itself for |x| < 8, a little less beyond: half the work.
template <class T>
SPIKEDRF_INLINE T normal_tail_beyond(T x) noexcept {
  const T t = magnitude(x);
  const T within = t > Format<T>::normal_max ? Format<T>::normal_max : t;  // NaN stays
  const ExpParts<T> e = exp_parts(T(-0.5) * (within * within), T(0));
  const Scales<T> scales = split_power_of_two(e.k);
  const T tail = (normal_tail(within, e.expm1_r) * scales.first) * scales.second;
  return x > T(0) ? tail : T(1) - tail;
}

template <class T>
SPIKEDRF_INLINE T normal_cdf(T x) noexcept {
  return with_limits(x, Format<T>::normal_max, T(0), T(1), normal_cdf_scaled(x).times(T(1)));
}

// x Phi(x).
template <class T>
SPIKEDRF_INLINE T gelu(T x) noexcept {
  return with_limits(x, Format<T>::normal_max, -T(0), x, normal_cdf_scaled(x).times(x));
}

// erf(x / sqrt 2), the error function scaled like a normal variable, from exp(-t^2/2), t = |x|.
template <class T>
SPIKEDRF_INLINE T erf_from(T x, T t, const ExpParts<T>& e) noexcept {
  const T outer = T(1) - (T(2) * normal_tail(t, e.expm1_r)) * power_of_two(e.k.shifted);
  const T value = t > Format<T>::series_max ? outer : erf_series(t);
  return with_sign_of(t > Format<T>::erf_max ? T(1) : value, x);
}
template <class T>
SPIKEDRF_INLINE T erf_normal(T x) noexcept {
  const T t = magnitude(x);
  return erf_from(x, t, exp_parts(T(-0.5) * (t * t), T(0)));
}

// The same with its derivative sqrt(2/pi) exp(-x^2/2), which needs the square without rounding.
template <class T>
SPIKEDRF_INLINE ValueAndSlope<T> erf_normal_and_slope(T x) noexcept {
  const T t = magnitude(x);
  const HalfSquare<T> square = minus_half_square(t);
  const ExpParts<T> e = exp_parts(square.leading, square.correction);
  const Scales<T> scales = split_power_of_two(e.k);
  const T density = static_cast<T>(0.79788456080286536) * (T(1) + e.expm1_r);
  const T slope = (density * scales.first) * scales.second;
  return {erf_from(x, t, e), t > Format<T>::normal_max ? T(0) : slope};
}

// erf itself, erf(x) = erf_normal(sqrt(2) x). The product is rounded, which erf turns into at most
// half an ulp more.
template <class T>
SPIKEDRF_INLINE T erf(T x) noexcept {
  return erf_normal(x * static_cast<T>(1.4142135623730951));
}

// ---- sin, cos -----------------------------------------------------------------------------------
//
// x = k pi/2 + r, |r| <= pi/4, with pi/2 in four parts of which the first three multiply k without
// rounding. Near a zero of the result the first subtractions are exact, so r keeps its relative
// accuracy; that is what the fourth part is for. Beyond trig_max the products would round, and the
// result is NaN rather than noise: callers that may meet such arguments (see activation.cpp) send
// them to std::sin. For infinite x it is NaN as it should be.
//
// Both polynomials are evaluated and the parity of k selects one, bit 1 of k the sign.
template <class T>
SPIKEDRF_INLINE T sin_quadrant(T x, typename Format<T>::Bits quarter_turns) noexcept {
  using F = Format<T>;
  using Bits = typename F::Bits;
  const T two_over_pi = static_cast<T>(0.63661977236758134);
  const Rounded<T> k = round_shifted<T>(x * two_over_pi + F::magic);
  T r = ((x - k.value * F::half_pi[0]) - k.value * F::half_pi[1]) - k.value * F::half_pi[2];
  r = r - k.value * F::half_pi[3];
  r = magnitude(x) <= F::trig_max ? r : std::numeric_limits<T>::quiet_NaN();

  const T z = r * r;
  const T odd = r + (r * z) * polynomial(z, F::sin_tail);
  const T even = T(1) - (T(0.5) * z - (z * z) * polynomial(z, F::cos_tail));
  const Bits quadrant = to_bits(k.shifted) + quarter_turns;
  const Bits choose_even = Bits{0} - (quadrant & 1);
  const Bits sign = (quadrant & 2) << (F::mantissa_bits + (sizeof(T) == 8 ? 10 : 7));
  // r = -0 must give -0, but -0 + (+0) is +0: put the sign of r back.
  const Bits odd_bits = to_bits(odd) | (to_bits(r) & F::sign_mask);
  return from_bits<T>(((odd_bits & ~choose_even) | (to_bits(even) & choose_even)) ^ sign);
}

template <class T>
SPIKEDRF_INLINE T sin(T x) noexcept {
  return sin_quadrant<T>(x, 0);
}

template <class T>
SPIKEDRF_INLINE T cos(T x) noexcept {
  return sin_quadrant<T>(x, 1);
}

}  // namespace spikedrf::vmath

#endif  // SPIKEDRF_VECTOR_MATH_HPP
