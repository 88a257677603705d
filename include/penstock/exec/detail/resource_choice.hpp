// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Which of the resources that are free is lent. Decisions only: no locks, no clock, no randomness of their own.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "penstock/core/clock.hpp"
#include "penstock/exec/resource_options.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// What a choice has to know of one resource.
struct ResourceRow {
  std::uint64_t serial = 0;  ///< From 1; larger for what was added later. 0: not added yet.
  double weight = 1;
  std::size_t max_concurrent = 1;
  std::size_t in_use = 0;
  bool is_enabled = true;

  [[nodiscard]] bool is_free() const noexcept { return is_enabled && in_use < max_concurrent; }
};

/// Which resources will do: all, or some, by serial.
class Acceptance {
 public:
  Acceptance() = default;  ///< All.
  /// `serials` are sorted.
  explicit Acceptance(std::span<const std::uint64_t> serials) noexcept : serials_(serials), all_(false) {}

  [[nodiscard]] bool operator()(const ResourceRow& row) const noexcept {
    return all_ ? row.serial != 0 : std::binary_search(serials_.begin(), serials_.end(), row.serial);
  }

 private:
  std::span<const std::uint64_t> serials_;
  bool all_ = true;
};

inline constexpr std::size_t kNoChoice = static_cast<std::size_t>(-1);

/// The index in `rows`, a vector of pointers to rows, of the one to lend, or kNoChoice. `turn` is the index at which
/// turns begin, and `random` is uniform in [0, 1).
///
/// Cost: O(rows); in turn, O(rows up to the first that will do).
template <class Rows>
std::size_t choose(ResourceStrategy strategy, const Rows& rows, const Acceptance& accepts, std::size_t turn,
                   double random) noexcept;

/// Remembers the resource of each of the last keys. At least eight keys share a place, which their hash decides; the
/// one of them that was not used for longest makes room.
class StickyTable {
 public:
  /// Throws: std::bad_alloc.
  explicit StickyTable(std::size_t keys);

  /// The serial of the key's resource; 0 if there is none, or it was not used for the time it was to be kept.
  [[nodiscard]] std::uint64_t find(std::uint64_t key, TimePoint now) const noexcept;

  /// Binds `key` to the resource `serial` until `expires`, whatever it was bound to.
  void bind(std::uint64_t key, std::uint64_t serial, TimePoint expires) noexcept;

 private:
  struct Entry {
    std::uint64_t key = 0;
    std::uint64_t serial = 0;  // 0: empty
    TimePoint expires{};
  };

  static constexpr std::size_t kWays = 8;

  [[nodiscard]] std::span<Entry> place_of(std::uint64_t key) const noexcept;

  const std::size_t places_;  // a power of two
  const std::size_t ways_;
  const std::unique_ptr<Entry[]> entries_;
};

// --- implementation ---

/// The first one from `turn` on that will do.
template <class Rows>
std::size_t choose_in_turn(const Rows& rows, const Acceptance& accepts, std::size_t turn) noexcept {
  const std::size_t count = rows.size();
  std::size_t spare = kNoChoice;
  std::size_t at = turn < count ? turn : 0;
  for (std::size_t step = 0; step != count; ++step) {
    const ResourceRow& row = *rows[at];
    if (row.is_free() && accepts(row)) {
      if (row.weight > 0) return at;
      if (spare == kNoChoice) spare = at;
    }
    if (++at == count) at = 0;
  }
  return spare;
}

template <class Rows>
std::size_t choose_least_loaded(const Rows& rows, const Acceptance& accepts, std::size_t turn) noexcept {
  const std::size_t count = rows.size();
  std::size_t best = kNoChoice;
  double best_load = 0;
  std::size_t spare = kNoChoice;
  std::size_t at = turn < count ? turn : 0;
  for (std::size_t step = 0; step != count; ++step, at = at + 1 == count ? 0 : at + 1) {
    const ResourceRow& row = *rows[at];
    if (!row.is_free() || !accepts(row)) continue;
    if (row.weight > 0) {
      // An idle one is idle whatever its weight. Otherwise the load may be infinite, for the smallest of weights.
      const double load = row.in_use == 0 ? 0 : static_cast<double>(row.in_use) / row.weight;
      if (best == kNoChoice || load < best_load) {
        best = at;
        best_load = load;
      }
    } else if (spare == kNoChoice || row.in_use < rows[spare]->in_use) {
      spare = at;
    }
  }
  return best != kNoChoice ? best : spare;
}

template <class Rows>
std::size_t choose_by_weight(const Rows& rows, const Acceptance& accepts, std::size_t turn, double random) noexcept {
  double total = 0;
  for (std::size_t at = 0; at != rows.size(); ++at) {
    const ResourceRow& row = *rows[at];
    if (row.is_free() && accepts(row)) total += row.weight;
  }
  if (!(total > 0)) return choose_in_turn(rows, accepts, turn);  // spares only, or nothing
  double rest = random * total;
  std::size_t last = kNoChoice;
  for (std::size_t at = 0; at != rows.size(); ++at) {
    const ResourceRow& row = *rows[at];
    if (!row.is_free() || !(row.weight > 0) || !accepts(row)) continue;
    last = at;
    if (rest < row.weight) return at;
    rest -= row.weight;
  }
  return last;  // where rounding has left a rest
}

template <class Rows>
std::size_t choose(ResourceStrategy strategy, const Rows& rows, const Acceptance& accepts, std::size_t turn,
                   double random) noexcept {
  switch (strategy) {
    case ResourceStrategy::kRoundRobin:
      return choose_in_turn(rows, accepts, turn);
    case ResourceStrategy::kLeastLoaded:
      return choose_least_loaded(rows, accepts, turn);
    case ResourceStrategy::kWeightedRandom:
      break;
  }
  return choose_by_weight(rows, accepts, turn, random);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
