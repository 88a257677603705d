// SPDX-License-Identifier: MIT
#pragma once

#include <string_view>

#include "penstock/core/detail/option_text.hpp"
#include "penstock/route/limit_algorithm.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

// Each adds to `violations` what is not as it should be; `prefix` comes before the name of an option.
void add_violations(const LimitOptions& options, std::string_view prefix, OptionViolations& violations);
void add_violations(const LimitWindow& options, std::string_view prefix, OptionViolations& violations);
void add_violations(const LimitProbe& options, std::string_view prefix, OptionViolations& violations);

}  // namespace penstock::inline PENSTOCK_ABI::detail
