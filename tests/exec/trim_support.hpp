// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// An elastic pool without threads: what a trim policy decides for it, at the times that the policy asks for.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "penstock/exec/trim_policy.hpp"

namespace penstock::testing {

/// Idle workers in a stack, busy ones as a number.
class Crew {
 public:
  [[nodiscard]] std::size_t live() const noexcept { return idle_since_.size() + busy_; }
  [[nodiscard]] std::size_t idle() const noexcept { return idle_since_.size(); }
  [[nodiscard]] std::size_t busy() const noexcept { return busy_; }

  void create() {
    ++busy_;
    ++created_;
  }
  /// False if none is idle.
  bool take() {
    if (idle_since_.empty()) return false;
    idle_since_.pop_back();
    ++busy_;
    low_ = std::min(low_, idle());
    return true;
  }
  void park(TimePoint now) {
    --busy_;
    idle_since_.push_back(now);
  }
  void retire(std::size_t count) {
    idle_since_.erase(idle_since_.begin(), idle_since_.begin() + static_cast<std::ptrdiff_t>(count));
    low_ = std::min(low_, idle());
  }
  [[nodiscard]] Duration longest_idle(TimePoint now) const {
    return idle_since_.empty() ? Duration::zero() : now - idle_since_.front();
  }

  /// Begins a new measurement of the low water.
  TrimSample sample(TimePoint now) {
    return {now, live(), idle(), std::exchange(low_, idle()), created_, longest_idle(now)};
  }

 private:
  std::vector<TimePoint> idle_since_;  // the bottom first
  std::size_t busy_ = 0;
  std::size_t low_ = 0;
  std::uint64_t created_ = 0;
};

/// A crew and its policy.
class TrimmedCrew {
 public:
  struct Retirement {
    Duration at;
    std::size_t live;  ///< After it.

    friend bool operator==(const Retirement&, const Retirement&) = default;
  };

  explicit TrimmedCrew(const TrimPolicy& policy) : machine_(policy, TimePoint{}) { step(); }

  /// Lets time pass, with all the steps that are due. A step at `time` is before what happens at `time`.
  void run_until(Duration time) {
    const TimePoint end = TimePoint{} + time;
    while (next_ <= end) {
      now_ = std::max(now_, next_);
      step();
    }
    now_ = end;
  }

  /// One task begins, on the top worker or on a new one.
  void begin() {
    if (crew_.take()) return;
    crew_.create();
    machine_.created(now_);
    step();
  }
  void begin(std::size_t count) {
    while (count-- != 0) begin();
  }
  void end(std::size_t count = 1) {
    while (count-- != 0) crew_.park(now_);
  }
  /// Asks although it is not time.
  void step() {
    ++steps_;
    const TrimDecision decision = machine_.step(crew_.sample(now_));
    next_ = decision.next;
    if (decision.retire == 0) return;
    crew_.retire(decision.retire);
    retirements_.push_back({now_.time_since_epoch(), crew_.live()});
  }

  [[nodiscard]] const Crew& crew() const noexcept { return crew_; }
  [[nodiscard]] Duration now() const noexcept { return now_.time_since_epoch(); }
  [[nodiscard]] TimePoint next() const noexcept { return next_; }
  [[nodiscard]] const std::vector<Retirement>& retirements() const noexcept { return retirements_; }
  [[nodiscard]] std::size_t steps() const noexcept { return steps_; }
  void forget() {
    retirements_.clear();
    steps_ = 0;
  }

 private:
  Crew crew_;
  TrimMachine machine_;
  TimePoint now_{};
  TimePoint next_{};
  std::vector<Retirement> retirements_;
  std::size_t steps_ = 0;
};

}  // namespace penstock::testing
