// SPDX-License-Identifier: MIT
#include "penstock/exec/overflow.hpp"

namespace penstock::inline PENSTOCK_ABI {

std::string_view to_string(OverflowPolicy policy) noexcept {
  switch (policy) {
    case OverflowPolicy::kBlock:
      return "block";
    case OverflowPolicy::kReject:
      return "reject";
    case OverflowPolicy::kDropNewest:
      return "drop_newest";
    case OverflowPolicy::kDropOldest:
      return "drop_oldest";
    case OverflowPolicy::kCallerRuns:
      return "caller_runs";
  }
  return "unknown overflow policy";
}

std::optional<OverflowPolicy> parse_overflow_policy(std::string_view name) noexcept {
  for (const OverflowPolicy policy : {OverflowPolicy::kBlock, OverflowPolicy::kReject, OverflowPolicy::kDropNewest,
                                      OverflowPolicy::kDropOldest, OverflowPolicy::kCallerRuns}) {
    if (name == to_string(policy)) return policy;
  }
  return std::nullopt;
}

}  // namespace penstock::inline PENSTOCK_ABI
