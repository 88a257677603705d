// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// When an elastic pool makes more workers: a decision from figures and the time, without a clock, a lock or a thread.
///
/// A task that finds no idle worker may wait for one of two reasons. The workers are about to come back: then one more
/// would only take the processor from them. Or they all wait for something, perhaps for this very task: then it starts
/// only on a new one. What tells the two apart is whether workers take tasks out of the queue.
///
///   - Up to as many workers as there are processors are made at once, by who brings the task.
///   - Beyond that somebody looks at the queue from time to time. If there are tasks in it, and no worker that has done
///     one has taken another since the last look, it makes 1 worker, at the next such look 2, then 4, and so on; it
///     stops as soon as one is taken. While it looks in vain, it looks less often.
///   - As long as some workers that were made have not begun, or some that were woken have not run, no more are made.
///   So
///     where the processors are taken, by whomever, a pool does not mistake that for blocked workers more than once.
///
/// What a new worker takes is no such progress: else ten thousand tasks that all block would get their workers one by
/// one.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"

namespace penstock::inline PENSTOCK_ABI {

struct GrowthPolicy {
  /// So many workers are made as soon as there are tasks for them, [0, 4096]; 0: as many as there are processors.
  std::size_t at_once = 0;
  /// From a look at the queue to the next one, in time of the machine; positive.
  Duration look_every = std::chrono::microseconds(50);
  /// The same, after many looks in a row that have found progress. At least `look_every`.
  Duration look_at_most = std::chrono::microseconds(400);
  /// The most workers made after one look, [1, 65536].
  std::size_t most_at_a_look = 1024;
};

/// How a pool is doing, all of it at one moment.
struct GrowthSample {
  TimePoint now{};           ///< In time of the machine.
  std::size_t live = 0;      ///< Workers, with those that have been made but have not begun.
  std::size_t starting = 0;  ///< Of them, those that have not begun.
  std::size_t queued = 0;    ///< Tasks that wait.
  std::size_t most = 0;      ///< Workers that there may be.
  /// Tasks that workers have taken out of the queue after another one; it may wrap.
  std::uint64_t progress = 0;
  std::size_t waking = 0;  ///< Workers that have been handed a task and have not run since.
};

struct GrowthDecision {
  std::size_t create = 0;
  /// When to look again; max(): not before a task is put into the queue.
  TimePoint next = TimePoint::max();

  friend bool operator==(const GrowthDecision&, const GrowthDecision&) = default;
};

/// One policy at work in one pool.
///
/// Threads: none of its own; the caller's lock covers all its members.
class GrowthMachine {
 public:
  /// `policy` is valid; `processors` is at least 1.
  GrowthMachine(const GrowthPolicy& policy, std::size_t processors) noexcept;

  /// A task has just been put into the queue, and counted: whether a worker is to be made for it at once.
  [[nodiscard]] bool queued(const GrowthSample& sample) const noexcept;

  /// What is to be done now. May be asked too early, and says so.
  [[nodiscard]] GrowthDecision look(const GrowthSample& sample) noexcept;

  /// A worker could not be made.
  void failed(TimePoint now) noexcept;

 private:
  GrowthDecision look_again(TimePoint now) noexcept;

  const GrowthPolicy policy_;
  const std::size_t at_once_;
  bool looking_ = false;
  TimePoint due_{};
  Duration every_;
  std::uint64_t seen_ = 0;
  std::size_t step_ = 1;
  std::uint32_t empty_looks_ = 0;
  Duration rest_{};  // after failures
};

}  // namespace penstock::inline PENSTOCK_ABI
