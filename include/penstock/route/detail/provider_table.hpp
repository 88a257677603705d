// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Providers by name, for look-ups from many threads that change never or seldom.

#include <array>
#include <cstddef>
#include <memory>
#include <string_view>

#include "absl/base/thread_annotations.h"

#include "penstock/core/detail/cache_padded.hpp"
#include "penstock/core/detail/string_key.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/route/detail/provider.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// A map that is replaced as a whole, behind several locks of which each thread uses always the same one: a look-up
/// meets neither a line nor a lock that other threads use all the time, and what it returns is counted with the one
/// provider.
class ProviderTable {
 public:
  using Map = StringMap<std::shared_ptr<Provider>>;

  ProviderTable();
  ProviderTable(const ProviderTable&) = delete;
  ProviderTable& operator=(const ProviderTable&) = delete;

  /// The provider called `name`, or null.
  [[nodiscard]] std::shared_ptr<Provider> find(std::string_view name) const;

  /// Replaces the map and returns the old one, which the caller frees without a lock. Threads: one at a time.
  [[nodiscard]] std::shared_ptr<const Map> replace(std::shared_ptr<const Map> map);

 private:
  struct alignas(kCachePadding) Row {
    Mutex mutex;  // leaf; held for a look-up, never while anything is freed
    std::shared_ptr<const Map> map ABSL_GUARDED_BY(mutex);
  };

  mutable std::array<Row, 16> rows_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
