// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a full queue does with one more job.

#include <cstdint>
#include <optional>
#include <string_view>

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// What becomes of a submitted job when the queue is full.
enum class OverflowPolicy : std::uint8_t {
  kBlock,       ///< The submitter waits for a place, first come, first served, for a limited time.
  kReject,      ///< The job is refused at once, as an error.
  kDropNewest,  ///< The job is refused at once, and counted as shed load.
  kDropOldest,  ///< The job that waits longest is answered with Aborted and makes room.
  kCallerRuns,  ///< The submitter runs the job itself, which slows it down.
};

/// The name in configuration files: "block", "reject", "drop_newest", "drop_oldest" or "caller_runs".
std::string_view to_string(OverflowPolicy policy) noexcept;

/// The policy of that name; nothing for any other text.
std::optional<OverflowPolicy> parse_overflow_policy(std::string_view name) noexcept;

}  // namespace penstock::inline PENSTOCK_ABI
