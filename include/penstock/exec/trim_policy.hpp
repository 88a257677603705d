// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// When an elastic pool lets idle workers go: a decision from figures and the time, without a clock, a lock or a
/// thread.
///
/// | Policy        | Who goes                                             | When all but the floor have gone        |
/// |---------------|------------------------------------------------------|-----------------------------------------|
/// | `PoisonPill`  | one at each tick, some ticks after the last creation | delay + surplus ticks after a creation  |
/// | `IdleTimeout` | who has been idle for so long                        | `timeout` after the last task           |
/// | `LowWater`    | a part of those that a whole window did not need     | log2(surplus) windows later, for a half |
///
/// The first is the published rule of the Suneido database. One creation every now and then makes it keep the most
/// workers it ever had, and 500 of them need 17 minutes to go. The second needs idle workers in a stack, so that the
/// ones at its bottom are never used by a low load. The third looks at what was not needed, whoever was used: it lets
/// go of many at once after a burst, and of none while all are needed once per window.
///
/// A driver, such as `ElasticPool`, makes the samples, asks at the time that the last decision names, and tells of each
/// worker that is created.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <variant>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// At every `interval` a kill clock advances by 1; a creation sets it to 0. While it is beyond `delay` and there are
/// more than `floor` workers, each tick hands one of them a poison pill, an idle one: if none is idle then, nobody gets
/// the pill later.
///
/// So the first goes 11 ticks after the last creation, 22 s after one that came with a tick, and then one each 2 s.
struct PoisonPill {
  Duration interval = std::chrono::seconds(2);  ///< From tick to tick; at least 1 ms.
  int delay = 10;                               ///< Ticks without a pill after each creation; [0, 1000000]
  std::size_t floor = 3;                        ///< So many workers stay.
};

/// Who has been idle for `timeout` goes.
struct IdleTimeout {
  Duration timeout = std::chrono::seconds(30);  ///< At least 1 ms.
  std::size_t floor = 3;                        ///< So many workers stay.
};

/// The least number of workers that were idle at any time of a window was not needed in it. At its end this part of
/// them goes, rounded up; none after a window in which a worker was created.
struct LowWater {
  Duration window = std::chrono::seconds(10);  ///< At least 1 ms. A load that comes back within it keeps its workers.
  double fraction = 0.5;                       ///< [0.01, 1]
  std::size_t floor = 3;                       ///< So many workers stay.
};

using TrimPolicy = std::variant<PoisonPill, IdleTimeout, LowWater>;

/// "poison_pill", "idle_timeout" or "low_water".
std::string_view to_string(const TrimPolicy& policy) noexcept;

/// OK, or InvalidArgument with every violation.
[[nodiscard]] absl::Status validate(const TrimPolicy& policy);

/// How long it takes at most until a pool of `live` workers has come down to the floor if from now on no worker is
/// created and no task comes, and all are idle. Not counted is how late a driver asks.
[[nodiscard]] Duration time_to_floor(const TrimPolicy& policy, std::size_t live) noexcept;

/// How a pool is doing, all of it at one moment.
struct TrimSample {
  TimePoint now{};
  std::size_t live = 0;            ///< Workers, idle or not.
  std::size_t idle = 0;            ///< Workers that wait for a task.
  std::size_t idle_low_water = 0;  ///< The least that were idle at any time since the last step.
  std::uint64_t created = 0;       ///< Workers ever created; it may wrap.
  Duration longest_idle{};         ///< Of the worker at the bottom of the stack; zero if none is idle.
};

struct TrimDecision {
  /// So many idle workers go, from the bottom of the stack: at most as many as are idle, and as many as leave the
  /// floor.
  std::size_t retire = 0;
  /// When to ask again: at once if it is not after `now`. Before that no worker has to go, whatever becomes idle or
  /// busy in between. max(): nobody goes until a worker is created.
  TimePoint next = TimePoint::max();

  friend bool operator==(const TrimDecision&, const TrimDecision&) = default;
};

/// One policy at work in one pool.
///
/// Ticks and windows follow each other from `begin` on without a gap. A step that comes late makes up for what it
/// missed, as far as the workers that are idle then allow: one step after ten ticks is worth ten steps. A clock that
/// steps back stands still here.
///
/// Threads: none of its own; the caller's lock covers all its members. Copies are independent.
class TrimMachine {
 public:
  /// Throws: std::invalid_argument if the policy is not as it says.
  TrimMachine(const TrimPolicy& policy, TimePoint begin);

  /// What is to be done now. Cost: some ns.
  [[nodiscard]] TrimDecision step(const TrimSample& sample) noexcept;

  /// A worker was created: to be told of each, before the next step. After it `next` of the last decision may be too
  /// late: ask again. (What only a sample's `created` tells of counts as created when that sample was taken.)
  void created(TimePoint now) noexcept;

  [[nodiscard]] const TrimPolicy& policy() const noexcept { return policy_; }

 private:
  [[nodiscard]] TrimDecision by(const PoisonPill& pill, const TrimSample& sample) noexcept;
  [[nodiscard]] TrimDecision by(const IdleTimeout& timeout, const TrimSample& sample) const noexcept;
  [[nodiscard]] TrimDecision by(const LowWater& water, const TrimSample& sample) noexcept;

  [[nodiscard]] std::uint64_t periods() const noexcept;
  [[nodiscard]] TimePoint end_of(std::uint64_t period) const noexcept;
  void restart() noexcept;

  TrimPolicy policy_;
  TimePoint begin_;
  TimePoint now_;                 // the latest that was seen
  std::uint64_t known_ = 0;       // workers created, as far as told
  Duration period_{};             // of ticks or windows, if there are any
  std::uint64_t done_ = 0;        // periods from `begin_` that a step has looked at
  std::uint64_t created_at_ = 0;  // periods that had ended when the last worker was created
  std::size_t low_ = std::numeric_limits<std::size_t>::max();  // the least idle of this window
};

}  // namespace penstock::inline PENSTOCK_ABI
