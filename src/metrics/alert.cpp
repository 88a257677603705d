// SPDX-License-Identifier: MIT
#include "penstock/metrics/alert.hpp"

#include <cmath>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/elapsed.hpp"
#include "penstock/core/detail/option_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;

}  // namespace

std::string_view to_string(AlertDirection direction) noexcept {
  switch (direction) {
    case AlertDirection::kBelow:
      return "below";
    case AlertDirection::kAbove:
      return "above";
  }
  return "unknown";
}

std::string_view to_string(AlertState state) noexcept {
  switch (state) {
    case AlertState::kCalm:
      return "calm";
    case AlertState::kPending:
      return "pending";
    case AlertState::kRaised:
      return "raised";
  }
  return "unknown";
}

std::string_view to_string(AlertChange change) noexcept {
  switch (change) {
    case AlertChange::kNone:
      return "none";
    case AlertChange::kRaised:
      return "raised";
    case AlertChange::kCleared:
      return "cleared";
  }
  return "unknown";
}

bool AlertRule::is_bad(double value) const noexcept {
  return direction == AlertDirection::kBelow ? value < threshold : value > threshold;
}

bool AlertRule::is_well(double value) const noexcept {
  const double bound = clear_at.value_or(threshold);
  return direction == AlertDirection::kBelow ? value >= bound : value <= bound;
}

absl::Status AlertRule::validate() const {
  detail::OptionViolations violations;
  violations.require(name.size() <= kMaxNameBytes, "name", "at most 256 bytes long", name.size());
  const bool known = direction == AlertDirection::kBelow || direction == AlertDirection::kAbove;
  violations.require(known, "direction", "kBelow or kAbove", static_cast<int>(direction));
  violations.require(std::isfinite(threshold), "threshold", "a finite number", threshold);
  if (clear_at.has_value()) {
    const bool is_finite = std::isfinite(*clear_at);
    violations.require(is_finite, "clear_at", "a finite number", *clear_at);
    if (is_finite && known && std::isfinite(threshold)) {
      const char* const bound = direction == AlertDirection::kBelow ? "least" : "most";
      violations.require(!is_bad(*clear_at), "clear_at", fmt::format("at {} threshold ({})", bound, threshold),
                         *clear_at);
    }
  }
  violations.require(hold >= Duration::zero(), "hold", "at least 0 s", detail::duration_text(hold));
  return violations.status(fmt::format("alert '{}'", detail::shortened(name, kMaxNameBytes)));
}

Alert::Alert(AlertRule rule) : rule_(std::move(rule)) {
  const absl::Status status = rule_.validate();
  if (!status.ok()) throw std::invalid_argument(std::string(detail::text_of(status)));
}

AlertChange Alert::step(double value, std::uint64_t count, TimePoint now) noexcept {
  if (stats_.steps++ == 0) {
    stats_.since = now;
  } else if (now < last_step_) {
    // What has passed since the state began stays passed, as the clock goes on from its new time.
    stats_.since = saturated_add(now, -detail::elapsed(stats_.since, last_step_));
  }
  last_step_ = now;

  if (std::isnan(value)) {
    ++stats_.unknown;
    return AlertChange::kNone;
  }
  if (count < rule_.min_count) {
    ++stats_.too_few;
    return AlertChange::kNone;
  }
  stats_.value = value;
  stats_.count = count;

  if (stats_.state == AlertState::kRaised) {
    return rule_.is_well(value) ? enter(AlertState::kCalm, now) : AlertChange::kNone;
  }
  if (!rule_.is_bad(value)) {
    return stats_.state == AlertState::kPending ? enter(AlertState::kCalm, now) : AlertChange::kNone;
  }
  if (stats_.state == AlertState::kCalm) enter(AlertState::kPending, now);
  return detail::elapsed(stats_.since, now) >= rule_.hold ? enter(AlertState::kRaised, now) : AlertChange::kNone;
}

AlertChange Alert::enter(AlertState state, TimePoint now) noexcept {
  const AlertState from = std::exchange(stats_.state, state);
  stats_.since = now;
  if (state == AlertState::kRaised) {
    ++stats_.raised;
    return AlertChange::kRaised;
  }
  if (from != AlertState::kRaised) return AlertChange::kNone;
  ++stats_.cleared;
  return AlertChange::kCleared;
}

std::string Alert::text(TimePoint now) const {
  const bool is_known = !std::isnan(stats_.value);
  const Duration lasted = stats_.steps == 0 ? Duration::zero() : detail::elapsed(stats_.since, now);
  std::string text =
      fmt::format("alert '{}': {} for {}", rule_.name, to_string(stats_.state), detail::duration_text(lasted));
  text += is_known
              ? fmt::format(", {:.6g} from {} {}", stats_.value, stats_.count, stats_.count == 1 ? "sample" : "samples")
              : ", no value yet";
  text += fmt::format(" (bad {} {:.6g}", to_string(rule_.direction), rule_.threshold);
  if (rule_.hold > Duration::zero()) text += fmt::format(" for {}", detail::duration_text(rule_.hold));
  return text + fmt::format(", well at {:.6g})", rule_.clear_at.value_or(rule_.threshold));
}

void Alert::collect(MetricSink& sink) const {
  const Label alert{"alert", rule_.name};
  sink.gauge("penstock_alert_active", "whether the alert is raised: 1, or 0", {alert}, is_raised() ? 1 : 0);
  sink.gauge("penstock_alert_pending", "whether the value is bad, but not yet for long enough: 1, or 0", {alert},
             stats_.state == AlertState::kPending ? 1 : 0);
  sink.gauge("penstock_alert_threshold", "the bound of the value", {alert}, rule_.threshold);
  if (!std::isnan(stats_.value)) {
    sink.gauge("penstock_alert_value", "the last value that rested on enough samples", {alert}, stats_.value);
  }
  sink.counter("penstock_alert_raised_total", "how often the alert was raised", {alert}, stats_.raised);
  sink.counter("penstock_alert_cleared_total", "how often the alert was cleared", {alert}, stats_.cleared);
  sink.counter("penstock_alert_steps_total", "how often the value was looked at", {alert}, stats_.steps);
  sink.counter("penstock_alert_unknown_total", "looks that found no number", {alert}, stats_.unknown);
  sink.counter("penstock_alert_too_few_total", "looks that found a value from too few samples", {alert},
               stats_.too_few);
}

}  // namespace penstock::inline PENSTOCK_ABI
