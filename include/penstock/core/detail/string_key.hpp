// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Maps with string keys that are looked up by `std::string_view`, without making a string.

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view key) const noexcept { return std::hash<std::string_view>{}(key); }
};

/// Nodes stay where they are for as long as their key is in the map.
template <class Value>
using StringMap = std::unordered_map<std::string, Value, StringHash, std::equal_to<>>;

}  // namespace penstock::inline PENSTOCK_ABI::detail
