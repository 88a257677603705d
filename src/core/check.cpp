// SPDX-License-Identifier: MIT
#include "penstock/core/detail/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace penstock::inline PENSTOCK_ABI::detail {

void check_failed(const char* condition, const char* text, const char* file, int line) noexcept {
  // stdio and no formatter: nothing here may allocate or throw on the way out.
  std::fprintf(stderr, "penstock: %s (check '%s' failed at %s:%d)\n", text, condition, file, line);
  std::abort();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
