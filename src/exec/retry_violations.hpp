// SPDX-License-Identifier: MIT
#pragma once

#include <string_view>

#include "penstock/core/detail/option_text.hpp"
#include "penstock/exec/retry_budget.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Adds to `violations` each option that is not as it should be; `prefix` comes before its name.
void add_violations(const RetryBudgetOptions& options, std::string_view prefix, OptionViolations& violations);

}  // namespace penstock::inline PENSTOCK_ABI::detail
