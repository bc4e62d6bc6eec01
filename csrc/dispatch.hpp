#pragma once
#define SPIKEDRF_INLINE inline __attribute__((always_inline))
#define SPIKEDRF_MULTIVERSION __attribute__((target_clones("arch=x86-64-v4","arch=x86-64-v3","default")))
