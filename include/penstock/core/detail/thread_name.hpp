// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the threads of the library are called.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Names the calling thread `owner` and `suffix`, of which the system keeps 15 bytes: it is the owner's name that is
/// cut, not what tells its threads apart.
inline void name_thread(std::string_view owner, std::string_view suffix) noexcept {
  std::array<char, 15> text{};
  if (suffix.size() > text.size()) suffix.remove_prefix(suffix.size() - text.size());
  const auto end = std::copy_n(owner.begin(), std::min(owner.size(), text.size() - suffix.size()), text.begin());
  const auto last = std::copy(suffix.begin(), suffix.end(), end);
  world::set_thread_name(std::string_view(text.data(), static_cast<std::size_t>(last - text.begin())));
}

/// The same, with `separator` and `number` for the suffix.
inline void name_thread(std::string_view owner, char separator, std::uint64_t number) noexcept {
  std::array<char, 24> suffix{};
  std::size_t begin = suffix.size();
  do {
    suffix[--begin] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  suffix[--begin] = separator;
  name_thread(owner, std::string_view(suffix.data() + begin, suffix.size() - begin));
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
