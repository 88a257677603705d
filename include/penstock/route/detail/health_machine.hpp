// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The decisions of a health watch: checks that begin and end, and times, go in; health comes out. It knows no clock,
/// no lock, no listener and no status.
///
///     begin ---> on its way ---- end, in time: passed or failed ----> none
///                    | its time is up: failed
///                    v
///                 overdue: one more failure an interval ---- end: late ----> none
///
/// What time alone brings about happens when it is due, whether or not anybody looks: an end first lets time do what it
/// had to do before. So when the machine is asked has no influence on what it decides.

#include <cstdint>

#include "penstock/core/clock.hpp"
#include "penstock/route/health_monitor.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

struct HealthRules {
  Duration interval = std::chrono::seconds(30);
  std::uint32_t unhealthy_after = 3;
  std::uint32_t healthy_after = 1;
};

/// What an event brought about.
struct HealthVerdict {
  enum class Kind : std::uint8_t { kNone, kPassed, kFailed, kTimedOut };

  Kind kind = Kind::kNone;
  std::uint64_t times = 0;  ///< kTimedOut: how many failures that made
  bool is_first = false;    ///< kTimedOut: the first one of these is that of the time-out
  Health from = Health::kUnknown;
  Health to = Health::kUnknown;
  TimePoint at{};  ///< of the end; of the last time-out
};

/// Threads: one at a time.
class HealthMachine {
 public:
  struct Counts {
    std::uint64_t checks = 0;
    std::uint64_t passed = 0;
    std::uint64_t failed = 0;
    std::uint64_t timed_out = 0;
    std::uint64_t overdue = 0;
    std::uint64_t late_results = 0;

    friend bool operator==(const Counts&, const Counts&) = default;
  };

  /// `first_decides`: the first check alone makes it healthy or unhealthy.
  HealthMachine(HealthRules rules, Health start, bool first_decides, TimePoint now) noexcept
      : rules_(rules), health_(start), first_decides_(first_decides), since_(now) {}

  void set_rules(const HealthRules& rules) noexcept { rules_ = rules; }

  /// A check begins, and has time until `deadline`. Returns its number, from 1 up. Requires: none is on its way.
  std::uint64_t begin(TimePoint now, TimePoint deadline) noexcept;
  /// The check `number` has ended. An end at its deadline is too late.
  HealthVerdict end(std::uint64_t number, TimePoint now, bool passed) noexcept;
  /// Nothing happened, but time has passed.
  HealthVerdict advance(TimePoint now) noexcept;

  /// When `advance` would find the next time-out; TimePoint::max() if no check is on its way.
  [[nodiscard]] TimePoint due() const noexcept { return is_checking_ ? due_ : TimePoint::max(); }

  [[nodiscard]] Health health() const noexcept { return health_; }
  [[nodiscard]] TimePoint since() const noexcept { return since_; }
  [[nodiscard]] std::uint64_t failures_in_a_row() const noexcept { return failures_; }
  [[nodiscard]] std::uint64_t successes_in_a_row() const noexcept { return successes_; }
  /// The number of the last check that began, and of the last one whose result, or time-out, is known.
  [[nodiscard]] std::uint64_t begun() const noexcept { return counts_.checks; }
  [[nodiscard]] std::uint64_t known() const noexcept { return known_; }
  [[nodiscard]] bool is_checking() const noexcept { return is_checking_; }
  [[nodiscard]] TimePoint began() const noexcept { return began_; }
  [[nodiscard]] const Counts& counts() const noexcept { return counts_; }

 private:
  void pass(HealthVerdict& verdict) noexcept;
  /// `times` failures, an interval apart, the first one at `first`.
  void fail(HealthVerdict& verdict, std::uint64_t times, TimePoint first) noexcept;
  void enter(Health health, TimePoint at, HealthVerdict& verdict) noexcept;

  HealthRules rules_;
  Health health_;
  bool first_decides_;
  TimePoint since_;
  std::uint64_t failures_ = 0;
  std::uint64_t successes_ = 0;
  bool is_checking_ = false;
  std::uint64_t known_ = 0;
  TimePoint began_{};
  TimePoint due_{};
  Counts counts_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
