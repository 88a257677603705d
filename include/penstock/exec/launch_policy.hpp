// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// When a slot queue should have one more slot started: decisions from figures, without a clock, a lock or a thread.
///
/// `CombinedLaunch` is the one to use: it launches for everybody who waits and for whom neither a slot is idle nor a
/// start under way, at once or when the first in line has waited for so long, as fast as it is allowed to. It looks at
/// the wait of who waits now, so it cannot stall: while somebody lacks a slot it launches, says when to look again, or
/// is at one of its limits.
///
/// `DocumentLaunch` and `EffectiveLaunch` are the published rules of the fn project, the first and the last one, to the
/// letter. The first knows only the waits that are over. In a burst nobody's is, and it can wait for ever.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <variant>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// What a launch policy knows.
struct LaunchSample {
  std::size_t waiters = 0;
  std::size_t starters = 0;  ///< starts under way
  std::size_t runners = 0;   ///< things that run, idle or not: those that are tracked or all slots, whichever is more
  std::size_t idle = 0;      ///< slots that nobody has

  // Whole milliseconds, from `IntegerEwma`.
  std::uint64_t wait_ms = 0;
  std::uint64_t start_ms = 0;
  std::uint64_t run_ms = 0;

  /// How long the first in line has waited; of waiters that are entered by hand, since when there are any.
  Duration oldest_wait{};
  Duration since_last_launch = Duration::max();  ///< max(): there was none
};

struct LaunchDecision {
  std::size_t launches = 0;                  ///< how many to start now; of these, as many as somebody waits for are
  Duration look_again_in = Duration::max();  ///< decide again then, if nothing happens before; max(): only if it does

  friend bool operator==(const LaunchDecision&, const LaunchDecision&) = default;
};

/// The first rule of fn's agent, in its integers: compares what waits, starts and runs have taken.
struct DocumentLaunch {
  [[nodiscard]] LaunchDecision decide(const LaunchSample& sample) const noexcept;
};

/// The rule that replaced it: one more unless everybody who lacks an idle slot has a start under way.
struct EffectiveLaunch {
  [[nodiscard]] LaunchDecision decide(const LaunchSample& sample) const noexcept;
};

/// One start for each who waits and has neither an idle slot nor a start under way.
struct CombinedLaunch {
  /// The first in line has waited for so long first: slots that are about to come back are cheaper. At least 0.
  Duration patience = Duration::zero();
  /// With an interval, at most `at_once` are launched in one decision, and the next one is so much later. Without, all
  /// that are wanted are launched at once. At least 1, and at least 0.
  std::size_t at_once = 1;
  Duration interval = Duration::zero();
  std::size_t max_starters = std::numeric_limits<std::size_t>::max();  ///< Starts under way; at least 1.
  std::size_t max_runners = std::numeric_limits<std::size_t>::max();   ///< Runners and starters; at least 1.

  [[nodiscard]] LaunchDecision decide(const LaunchSample& sample) const noexcept;
};

/// A rule of the user's. What it throws is caught and counted, and it has decided for nothing.
struct CustomLaunch {
  std::function<LaunchDecision(const LaunchSample&)> decide;
};

using LaunchPolicy = std::variant<CombinedLaunch, DocumentLaunch, EffectiveLaunch, CustomLaunch>;

namespace detail {
/// What options start with. A function, as g++ 12 fails over a variant that is initialized in a class template, where
/// that is an initializer of a member.
inline LaunchPolicy default_launch_policy() { return CombinedLaunch{}; }
}  // namespace detail

/// OK, or InvalidArgument with all that is wrong.
absl::Status validate(const LaunchPolicy& policy);

/// Throws: what a `CustomLaunch` throws.
LaunchDecision decide(const LaunchPolicy& policy, const LaunchSample& sample);

}  // namespace penstock::inline PENSTOCK_ABI
