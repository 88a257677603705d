// SPDX-License-Identifier: MIT
#include "penstock/core/detail/option_text.hpp"

#include <fmt/format.h>

namespace penstock::inline PENSTOCK_ABI::detail {

void OptionViolations::require(bool holds, std::string_view option, std::string_view rule, double got) {
  if (!holds) add(option, rule, fmt::format("{}", got));
}

void OptionViolations::add(std::string_view option, std::string_view rule, std::string_view got) {
  text_ += fmt::format("{}options.{} must be {}, got {}", text_.empty() ? "" : "; ", option, rule, got);
}

absl::Status OptionViolations::status(std::string_view subject) const {
  return empty() ? absl::OkStatus() : absl::InvalidArgumentError(fmt::format("{}: {}", subject, text_));
}

std::string shortened(std::string_view text, std::size_t limit) {
  return text.size() <= limit ? std::string(text) : fmt::format("{}...", text.substr(0, limit - 3));
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
