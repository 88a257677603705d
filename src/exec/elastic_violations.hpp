// SPDX-License-Identifier: MIT
#pragma once

#include <string_view>

#include "penstock/core/detail/option_text.hpp"
#include "penstock/exec/desired_size.hpp"
#include "penstock/exec/trim_policy.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Adds to `violations` each field that is not as it should be; `prefix` comes before its name.
void add_violations(const TrimPolicy& policy, std::string_view prefix, OptionViolations& violations);
void add_violations(const SizePolicy& policy, std::string_view prefix, OptionViolations& violations);

}  // namespace penstock::inline PENSTOCK_ABI::detail
