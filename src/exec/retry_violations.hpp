// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

#include "penstock/exec/retry_budget.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Adds a text to `violations` for each option that is not as it should be; `prefix` comes before its name.
void add_violations(const RetryBudgetOptions& options, const char* prefix, std::vector<std::string>& violations);

}  // namespace penstock::inline PENSTOCK_ABI::detail
