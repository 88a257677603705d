// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Makes any bytes valid UTF-8. Private to the writers.

#include <cstddef>
#include <string>
#include <string_view>

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// What a text begins with: one character, or bytes that begin none.
struct Utf8Sequence {
  std::size_t size;  // of invalid bytes: as many as a decoder replaces by one U+FFFD, as Unicode recommends
  bool valid;
};

/// Requires: `text` is not empty.
Utf8Sequence first_utf8_sequence(std::string_view text) noexcept;

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

/// `text`, with U+FFFD in place of what is no UTF-8.
std::string valid_utf8(std::string_view text);

/// The longest beginning of the valid `text` that has at most `bytes` bytes and ends with a whole character.
std::string_view utf8_prefix(std::string_view text, std::size_t bytes) noexcept;

}  // namespace penstock::inline PENSTOCK_ABI::detail
