// The one place with compiler #ifdefs: what the kernels ask of a compiler beyond standard C++.
//
// A wheel has to run on any x86-64 CPU, yet the loops over neurons are several times faster with
// AVX2+FMA or AVX-512. GCC on glibc can compile one function several times and let the dynamic
// loader pick the best version for the CPU it finds (function multiversioning, an ELF "ifunc").
// Everywhere else the macro is empty and the function is compiled once, for the baseline.
//
// How to use it, and the two traps:
//
//   * SPIKEDRF_MULTIVERSION goes on the *definition* of a free, non-template function that contains
//     the whole loop, never on something called per element: every call goes through a pointer.
//   * A callee is compiled for the clone's instruction set only if it is inlined into the clone.
//     Everything called from the loop must therefore be SPIKEDRF_INLINE. A plain `inline` callee
//     (or a lambda) is silently compiled for SSE2 and the loop around it is not vectorised.
//
// The clones may round differently in the last bit, because two of the three contract a * b + c to
// a fused multiply-add. Nothing in the kernels may rely on contraction happening, or not happening.

#ifndef SPIKEDRF_DISPATCH_HPP
#define SPIKEDRF_DISPATCH_HPP

#include <cstdlib>  // on glibc this defines __GLIBC__, which musl does not have

// GCC 12 is the first release that can test for the x86-64-v3 and v4 levels at load time. The
// resolvers run before the thread and address sanitisers are set up, so a sanitised build gets the
// baseline.
#if !defined(SPIKEDRF_NO_MULTIVERSION) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__INTEL_COMPILER) && defined(__x86_64__) && defined(__LP64__) &&         \
    defined(__linux__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) &&     \
    !defined(__SANITIZE_THREAD__)
#if __GNUC__ >= 12
#define SPIKEDRF_MULTIVERSION \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
#endif
#ifndef SPIKEDRF_MULTIVERSION
#define SPIKEDRF_MULTIVERSION
#endif

// SPIKEDRF_INLINE: inline without asking the compiler's opinion.
// SPIKEDRF_RESTRICT: the pointer is the only way to its elements inside this function.
// SPIKEDRF_SIMD: the iterations of the next loop are independent of each other. Without it a loop
//   that may run in place (out == x) gets a run-time overlap test, which sends exactly the in-place
//   case down the scalar path. Reductions need SPIKEDRF_SIMD_REDUCTION(operator, variable).
#define SPIKEDRF_PRAGMA(text) _Pragma(#text)
#if defined(_MSC_VER) && !defined(__clang__)
#define SPIKEDRF_INLINE __forceinline
#define SPIKEDRF_RESTRICT __restrict
#define SPIKEDRF_SIMD __pragma(loop(ivdep))
#define SPIKEDRF_SIMD_REDUCTION(operation, variable)
#elif defined(__GNUC__)
#define SPIKEDRF_INLINE inline __attribute__((always_inline))
#define SPIKEDRF_RESTRICT __restrict__
#define SPIKEDRF_SIMD SPIKEDRF_PRAGMA(omp simd)
#define SPIKEDRF_SIMD_REDUCTION(operation, variable) \
  SPIKEDRF_PRAGMA(omp simd reduction(operation : variable))
#else
#define SPIKEDRF_INLINE inline
#define SPIKEDRF_RESTRICT
#define SPIKEDRF_SIMD
#define SPIKEDRF_SIMD_REDUCTION(operation, variable)
#endif

#endif  // SPIKEDRF_DISPATCH_HPP
