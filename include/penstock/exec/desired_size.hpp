// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How many workers an elastic pool should have for its load: a decision from figures, without a clock, a lock or a
/// thread. These are the two controllers of the "elastic-worker-pool" package for Go, with its arithmetic.
///
/// The load is the tasks that wait or run by the places of the queue, so it may exceed 1. The highest level that it
/// reaches says which part of the way from `min` to `max` the pool should be; below all levels that is `min`.

#include <array>
#include <cstddef>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// From this load on, this part of the growth that there is room for; both in [0, 1].
struct LoadLevel {
  double load_ratio = 0;
  double growth_ratio = 0;

  friend bool operator==(const LoadLevel&, const LoadLevel&) = default;
};

inline constexpr std::array<LoadLevel, 4> kDefaultLoadLevels{{{0.1, 0.25}, {0.25, 0.5}, {0.5, 0.75}, {0.75, 1}}};

/// Goes at once to what the level says.
struct AgileSize {
  /// In any order; of two with the same load the later one counts. None: `kDefaultLoadLevels`.
  std::vector<LoadLevel> levels;
};

/// Goes there by at most so many workers each time.
struct RigidSize {
  std::vector<LoadLevel> levels;  ///< As for `AgileSize`.
  int max_changes = 1;            ///< [0, 1000000]; with 0 nothing ever changes.
};

/// None of them: the pool grows and shrinks by itself.
using SizePolicy = std::variant<std::monostate, AgileSize, RigidSize>;

/// "none", "agile" or "rigid".
std::string_view to_string(const SizePolicy& policy) noexcept;

/// OK, or InvalidArgument with every violation.
[[nodiscard]] absl::Status validate(const SizePolicy& policy);

/// How a pool is doing, all of it at one moment.
struct SizeSample {
  std::size_t live = 0;           ///< Workers, idle or not.
  std::size_t idle = 0;           ///< Workers that wait for a task.
  std::size_t busy = 0;           ///< Tasks that run.
  std::size_t queued = 0;         ///< Tasks that wait.
  std::size_t min = 0;            ///< Fewest workers.
  std::size_t max = 0;            ///< Most workers.
  std::size_t buffer_length = 0;  ///< Tasks, waiting or running, that are a load of 1.

  /// (queued + busy) / buffer_length, published as (enqueued - finished) / buffer length; 0 without a buffer.
  [[nodiscard]] double load() const noexcept;
};

/// How many workers there should be: `live` if nothing is to change. That is so without a policy, if the buffer has
/// less than two places, and if `min` is not below `max`.
///
/// Cost: some ns, more with many levels.
[[nodiscard]] std::size_t desired_size(const SizePolicy& policy, const SizeSample& sample) noexcept;

}  // namespace penstock::inline PENSTOCK_ABI
