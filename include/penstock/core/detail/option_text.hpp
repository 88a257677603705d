// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What is wrong with options, all of it at once, and what statuses and names look like in a text.

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// "options.workers must be in [1, 4096], got 0; options.clock must be a clock, got null"
class OptionViolations {
 public:
  void require(bool holds, std::string_view option, std::string_view rule, std::string_view got) {
    if (!holds) add(option, rule, got);
  }
  void require(bool holds, std::string_view option, std::string_view rule, double got);
  template <std::integral Number>
  void require(bool holds, std::string_view option, std::string_view rule, Number got) {
    if (!holds) add(option, rule, std::to_string(got));
  }

  [[nodiscard]] bool empty() const noexcept { return text_.empty(); }
  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  /// OK, or InvalidArgument: "<subject>: <all violations>".
  [[nodiscard]] absl::Status status(std::string_view subject) const;

 private:
  void add(std::string_view option, std::string_view rule, std::string_view got);

  std::string text_;
};

/// `text`, but of a longer one only so much that it has `limit` bytes with the "..." behind it.
std::string shortened(std::string_view text, std::size_t limit);

/// What `status` says; valid as long as that is.
inline std::string_view text_of(const absl::Status& status) noexcept {
  const auto message = status.message();  // Debian's Abseil has a string_view of its own
  return {message.data(), message.size()};
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
