// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How far a thread is with the job that it runs, for those who ask what the workers of a pool are doing.

#include <algorithm>
#include <cstdint>

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Runs its function; runs it, while that waits for its back end; has run it, and answers it.
enum class JobStage : std::uint8_t { kProcessing, kCalling, kResponding };

/// The stage of one thread's job, and since when: both in one word, so that nobody sees the one without the other.
///
/// Written by the thread that runs the job, read by anybody. It orders nothing: a stale word is a stage that was left a
/// moment ago. Who reads it under the serving lock of the pool finds that of the job that he finds there.
class JobActivity {
 public:
  struct Reading {
    JobStage stage = JobStage::kProcessing;
    TimePoint since = TimePoint::min();  ///< min: since the start of the job
  };

  /// A new job, from its start on.
  void reset() noexcept { word_.store(0, std::memory_order_relaxed); }

  /// Times beyond 73 years from the clock's zero are held there.
  void enter(JobStage stage, TimePoint now) noexcept {
    const Duration::rep since = std::clamp(now.time_since_epoch().count(), -kFarthest, kFarthest);
    word_.store(static_cast<std::uint64_t>(since) << 2 | (static_cast<std::uint64_t>(stage) + 1),
                std::memory_order_relaxed);
  }

  [[nodiscard]] Reading read() const noexcept {
    const std::uint64_t word = word_.load(std::memory_order_relaxed);
    if (word == 0) return {};
    return {static_cast<JobStage>((word & 3) - 1), TimePoint(Duration(static_cast<Duration::rep>(word) >> 2))};
  }

 private:
  static constexpr Duration::rep kFarthest = (Duration::rep{1} << 61) - 1;

  world::Atomic<std::uint64_t> word_{0};  // the time, and below it the stage plus one; 0 after reset()
};

/// Says that a job waits for its back end until the scope ends. An inner one changes nothing, nor does one without an
/// activity.
class [[nodiscard]] CallScope {
 public:
  CallScope(JobActivity* activity, const Clock& clock) noexcept
      : activity_(activity != nullptr && activity->read().stage == JobStage::kProcessing ? activity : nullptr),
        clock_(clock) {
    if (activity_ != nullptr) activity_->enter(JobStage::kCalling, clock_.recent());
  }
  CallScope(const CallScope&) = delete;
  CallScope& operator=(const CallScope&) = delete;
  ~CallScope() {
    if (activity_ != nullptr) activity_->enter(JobStage::kProcessing, clock_.recent());
  }

 private:
  JobActivity* const activity_;
  const Clock& clock_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
