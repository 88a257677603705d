// SPDX-License-Identifier: MIT
#include "penstock/route/detail/provider_table.hpp"

#include <cstdint>
#include <utility>

#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

struct RowTag {};

/// A number of the calling thread's, from 1, in the order of their first look-up.
std::uint32_t thread_number() noexcept {
  // A number and nothing else: it orders nothing, and two threads may share one when it wraps around.
  static world::Atomic<std::uint32_t> last{0};
  auto& mine = world::thread_local_value<RowTag, std::uint32_t>();
  if (mine == 0) mine = last.fetch_add(1, std::memory_order_relaxed) + 1;
  return mine;
}

}  // namespace

ProviderTable::ProviderTable() {
  const auto empty = std::make_shared<const Map>();
  for (Row& row : rows_) {
    const MutexLock lock(row.mutex);
    row.map = empty;
  }
}

std::shared_ptr<Provider> ProviderTable::find(std::string_view name) const {
  Row& row = rows_[thread_number() % rows_.size()];
  const MutexLock lock(row.mutex);
  const auto found = row.map->find(name);
  return found == row.map->end() ? nullptr : found->second;
}

std::shared_ptr<const ProviderTable::Map> ProviderTable::replace(std::shared_ptr<const Map> map) {
  std::shared_ptr<const Map> old;
  for (Row& row : rows_) {
    std::shared_ptr<const Map> next = map;
    {
      const MutexLock lock(row.mutex);
      row.map.swap(next);
    }
    old = std::move(next);  // the same for all rows: nothing is freed here
  }
  return old;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
