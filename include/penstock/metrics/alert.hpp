// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Says when a number has been on the wrong side of a bound for too long, and when it is well again.
///
///              bad                    bad for `hold`
///     kCalm ---------> kPending ----------------------> kRaised
///       ^                 |                                |
///       |   no longer bad |                                | at `clear_at`, or beyond it
///       '-----------------'--------------------------------'
///
/// Bad is below `threshold`, or above it: the threshold itself is not. With a `hold` of zero the first bad value raises
/// it. Between `threshold` and `clear_at` a raised alert stays raised and a calm one calm, so that a number that sways
/// about the threshold does not raise it again and again.
///
/// It is a decision, and nothing else: values and times go in, changes come out. Whoever owns a number calls `step` at
/// intervals of its own choice, under its own lock, and tells of a change outside it.

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// Which side of the threshold is bad.
enum class AlertDirection : std::uint8_t { kBelow, kAbove };

/// The name of `direction` in lower case, such as "below".
std::string_view to_string(AlertDirection direction) noexcept;

/// "The hit ratio is below 0.85 for 30 s": `{.name = "hit ratio", .threshold = 0.85, .hold = 30s}`.
struct AlertRule {
  std::string name = "unnamed";  ///< What is watched, for messages and metrics; at most 256 bytes.
  AlertDirection direction = AlertDirection::kBelow;
  double threshold = 0;  ///< A number, not infinite.

  /// A raised alert is cleared by a value at this, or better. Not on the bad side of `threshold`, which stands for it
  /// while it is empty.
  std::optional<double> clear_at;
  /// How long values must be bad before it is raised; at least 0.
  Duration hold{};
  /// A value that rests on fewer samples than this says nothing.
  std::uint64_t min_count = 0;

  /// Whether `value` is worse than the threshold. A NaN is not.
  [[nodiscard]] bool is_bad(double value) const noexcept;
  /// Whether `value` clears a raised alert. A NaN does not.
  [[nodiscard]] bool is_well(double value) const noexcept;

  /// OK, or InvalidArgument with every violation.
  [[nodiscard]] absl::Status validate() const;
};

enum class AlertState : std::uint8_t { kCalm, kPending, kRaised };

/// The name of `state` in lower case, such as "pending".
std::string_view to_string(AlertState state) noexcept;

enum class AlertChange : std::uint8_t { kNone, kRaised, kCleared };

/// The name of `change` in lower case, such as "raised".
std::string_view to_string(AlertChange change) noexcept;

struct AlertStats {
  AlertState state = AlertState::kCalm;
  TimePoint since{};  ///< The state is this since then, or since the first step; see `Alert::since`.
  double value = std::numeric_limits<double>::quiet_NaN();  ///< The last one that counted; a NaN before the first.
  std::uint64_t count = 0;                                  ///< The samples that it rested on.

  std::uint64_t steps = 0;    ///< All steps: those that counted, and the next two.
  std::uint64_t unknown = 0;  ///< Steps whose value was a NaN.
  std::uint64_t too_few = 0;  ///< Steps whose value was a number, from fewer than `min_count` samples.
  std::uint64_t raised = 0;   ///< How often it was raised.
  std::uint64_t cleared = 0;  ///< `raised`, or one less while it is raised.
};

/// Follows one number by one rule.
///
/// Threads: one at a time. It can be copied: collect, or make a text, from a copy where the original has a lock.
class Alert {
 public:
  /// Throws: std::invalid_argument if `rule` is not valid.
  explicit Alert(AlertRule rule);

  /// At `now` the number is `value`, from `count` samples. Returns what that changes.
  ///
  /// A NaN, or a value from fewer than `min_count` samples, changes nothing: neither does it raise or clear, nor does
  /// it end the time that counts for `hold`. If `now` is before the `now` of an earlier step, no time has passed in
  /// between, and what has passed before still counts.
  /// Cost: a few comparisons; never allocates.
  [[nodiscard]] AlertChange step(double value, std::uint64_t count, TimePoint now) noexcept;

  [[nodiscard]] const AlertRule& rule() const noexcept { return rule_; }
  [[nodiscard]] AlertState state() const noexcept { return stats_.state; }
  [[nodiscard]] bool is_raised() const noexcept { return stats_.state == AlertState::kRaised; }
  /// When the state became what it is, on the clock as it was at the last step: a clock that has stepped back by an
  /// hour since then makes this an hour earlier. The epoch before the first step.
  [[nodiscard]] TimePoint since() const noexcept { return stats_.since; }
  /// The last value that counted; a NaN before the first.
  [[nodiscard]] double value() const noexcept { return stats_.value; }
  [[nodiscard]] const AlertStats& stats() const noexcept { return stats_; }

  /// "alert 'hit ratio': raised for 1.5 s, 0.62 from 1200 samples (bad below 0.85 for 30 s, well at 0.9)", where
  /// `now` says how long the state has lasted.
  [[nodiscard]] std::string text(TimePoint now) const;

  /// Gives `sink` the figures as `penstock_alert_...`, with the label `alert`, the name of the rule.
  void collect(MetricSink& sink) const;

 private:
  AlertChange enter(AlertState state, TimePoint now) noexcept;

  AlertRule rule_;
  AlertStats stats_;
  TimePoint last_step_{};
};

}  // namespace penstock::inline PENSTOCK_ABI
