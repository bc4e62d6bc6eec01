// A small test framework: tests register themselves, and failures are counted.
#pragma once

#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

namespace check {

inline int failures = 0;

inline void that(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::printf("  FAILED: %s\n", what.c_str());
}

// |found - expected| <= rtol |expected| + atol; NaN is near NaN, infinity near itself.
inline void near(double found, double expected, double rtol, double atol, const std::string& what) {
  const bool same = found == expected || (std::isnan(found) && std::isnan(expected));
  const bool close = std::abs(found - expected) <= rtol * std::abs(expected) + atol;
  that(same || close, what + ": " + std::to_string(found) + " is not " + std::to_string(expected));
}

struct Test {
  const char* name;
  std::function<void()> run;
};

// Each file of tests puts its own in here.
inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

struct Register {
  Register(const char* name, std::function<void()> run) { tests().push_back({name, run}); }
};

}  // namespace check
