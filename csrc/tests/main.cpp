// Runs the kernels' own tests, without Python, so that sanitisers can watch.
#include <cstdio>

#include "check.hpp"

int main() {
  for (const check::Test& test : check::tests()) {
    std::printf("%s\n", test.name);
    test.run();
  }
  std::printf("%zu tests, %d failures\n", check::tests().size(), check::failures);
  return check::failures == 0 ? 0 : 1;
}
