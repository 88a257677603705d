// SPDX-License-Identifier: MIT

// What a slot queue says: of the options it is given, of a refusal, and of itself.

#include <algorithm>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/elapsed.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/core/failure_stage.hpp"
#include "penstock/exec/detail/slot_core.hpp"
#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;

}  // namespace

std::string_view to_string(SlotPhase phase) noexcept {
  switch (phase) {
    case SlotPhase::kRunner:
      return "runner";
    case SlotPhase::kStarter:
      return "starter";
    case SlotPhase::kWaiter:
      return "waiter";
  }
  return "unknown";
}

std::string_view to_string(SlotState state) noexcept {
  switch (state) {
    case SlotState::kIdle:
      return "idle";
    case SlotState::kLeased:
      return "leased";
    case SlotState::kGone:
      return "gone";
  }
  return "unknown";
}

std::string_view to_string(SlotEnd end) noexcept {
  switch (end) {
    case SlotEnd::kRetired:
      return "retired";
    case SlotEnd::kExpired:
      return "expired";
    case SlotEnd::kClosed:
      return "closed";
  }
  return "unknown";
}

namespace detail {

absl::Status SlotSettings::validate() const {
  OptionViolations violations;
  violations.require(!name.empty() && name.size() <= kMaxNameBytes, "name", "1 to 256 bytes long", name.size());
  violations.require(idle_timeout > Duration::zero(), "idle_timeout", "positive", duration_text(idle_timeout));
  violations.require(clock != nullptr, "clock", "a clock", "null");
  const absl::Status bad_policy = penstock::validate(policy);
  if (violations.empty() && bad_policy.ok()) return absl::OkStatus();
  const std::string queue = fmt::format("slot queue '{}'", shortened(name, kMaxNameBytes));
  if (bad_policy.ok()) return violations.status(queue);
  return absl::InvalidArgumentError(fmt::format("{}: {}{}launch_policy: {}", queue, violations.text(),
                                                violations.empty() ? "" : "; ", text_of(bad_policy)));
}

absl::Status SlotCore::closed_error() const {
  return absl::UnavailableError(fmt::format("slot queue '{}': closed", settings_.name));
}

absl::Status SlotCore::settled_error() {
  return absl::FailedPreconditionError("launch ticket: it has been settled before");
}

absl::Status SlotCore::dropped_error() const {
  return absl::UnavailableError(fmt::format("slot queue '{}': the start was dropped without a result", settings_.name));
}

absl::Status SlotCore::shortage_error() const {
  return absl::ResourceExhaustedError(fmt::format("slot queue '{}': no memory for a start", settings_.name));
}

absl::Status SlotWait::refusal() {
  const std::string queue = fmt::format("slot queue '{}'", core_.settings().name);
  const std::string busy = fmt::format("{} leased, {} starting, {} waiting", leased_, starting_, waiting_);
  const auto refusal = [&]() -> absl::Status {
    const std::string waited = duration_text(waited_);
    switch (why_) {
      case Why::kTimedOut:
        return absl::DeadlineExceededError(fmt::format("{}: no slot in time (waited {}; {})", queue, waited, busy));
      case Why::kCancelled:
        return absl::CancelledError(
            fmt::format("{}: cancelled while waiting for a slot (waited {}; {})", queue, waited, busy));
      case Why::kClosed:
        return absl::UnavailableError(fmt::format("{}: closed", queue));
      case Why::kExhausted:
      case Why::kNothing:
      case Why::kFailed:
        break;
    }
    return absl::ResourceExhaustedError(fmt::format("{}: no slot is idle ({})", queue, busy));
  };
  // The error of a start is the user's, and says what it says.
  return why_ == Why::kFailed ? std::move(error_) : with_failure_stage(refusal(), "slot");
}

absl::Status SlotCore::enter(SlotPhase which) {
  if (static_cast<std::size_t>(which) >= kSlotPhases) return no_such_phase(which);
  Effects effects;
  {
    const SpinLockGuard lock(lock_);
    Phase& of = phase(which);
    if (which == SlotPhase::kWaiter && of.entered_now == 0) of.since = now();
    ++of.entered_now;
    ++of.entered;
    if (which == SlotPhase::kWaiter) want_launch(effects);
  }
  apply(effects);
  return absl::OkStatus();
}

absl::Status SlotCore::leave(SlotPhase which, const Duration* latency) {
  if (static_cast<std::size_t>(which) >= kSlotPhases) return no_such_phase(which);
  if (latency != nullptr && *latency < Duration::zero()) {
    return absl::InvalidArgumentError(fmt::format("slot queue '{}': the latency of a {} must be at least 0, got {}",
                                                  settings_.name, to_string(which), duration_text(*latency)));
  }
  Effects effects;
  bool entered = false;
  {
    const SpinLockGuard lock(lock_);
    entered = phase(which).entered_now != 0;
    if (entered) {
      --phase(which).entered_now;
      if (latency != nullptr) add_latency(which, *latency);
      want_launch(effects);
    } else {
      ++counts_.phase_faults;
    }
  }
  apply(effects);
  if (entered) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("slot queue '{}': no {} was entered that could leave", settings_.name, to_string(which)));
}

absl::Status SlotCore::no_such_phase(SlotPhase which) const {
  return absl::InvalidArgumentError(
      fmt::format("slot queue '{}': the phase must be kRunner, kStarter or kWaiter, got {}", settings_.name,
                  static_cast<int>(which)));
}

std::size_t SlotCore::idle() const noexcept {
  const SpinLockGuard lock(lock_);
  return counts_.idle;
}

bool SlotCore::has_nothing() const noexcept {
  if (counts_.idle + counts_.leased + counts_.waiting + counts_.starting + reserved_ != 0) return false;
  return std::all_of(phases_.begin(), phases_.end(), [](const Phase& each) { return each.entered_now == 0; });
}

bool SlotCore::is_idle() const noexcept {
  const SpinLockGuard lock(lock_);
  return has_nothing();
}

bool SlotCore::is_unused() const noexcept {
  const SpinLockGuard lock(lock_);
  return has_nothing() && busy_ == 0;
}

std::uint64_t SlotCore::activity() const noexcept {
  const SpinLockGuard lock(lock_);
  std::uint64_t events = counts_.offered + counts_.acquired + counts_.waits + counts_.launches;
  for (const Phase& each : phases_) events += each.entered;
  return events;
}

TimePoint SlotCore::idle_since() const noexcept {
  const SpinLockGuard lock(lock_);
  return bottom_ == nullptr ? TimePoint::max() : bottom_->since_;
}

SlotQueueStats SlotCore::stats() const noexcept {
  SlotQueueStats stats;
  {
    const SpinLockGuard lock(lock_);
    stats = counts_;
    if (const SlotWait* const first = closed_ ? nullptr : first_in_line()) {
      stats.oldest_wait = elapsed(first->since_, now());
    }
    for (std::size_t at = 0; at != kSlotPhases; ++at) {
      const Phase& from = phases_[at];
      stats.phases[at] = {.now = from.entered_now,
                          .entered = from.entered,
                          .samples = from.mean_ns.count(),
                          .document_ms = from.document_ms.value(),
                          .mean = saturated(std::chrono::duration<double, std::nano>(from.mean_ns.value()))};
    }
  }
  const auto phase_of = [&](SlotPhase which) -> SlotPhaseStats& {
    return stats.phases[static_cast<std::size_t>(which)];
  };
  phase_of(SlotPhase::kStarter).now += stats.starting;
  phase_of(SlotPhase::kStarter).entered += stats.launches;
  phase_of(SlotPhase::kWaiter).now += stats.waiting;
  phase_of(SlotPhase::kWaiter).entered += stats.waits;
  stats.wait.record(Duration::zero(), stats.acquired - stats.wait.count());
  return stats;
}

void SlotCore::collect(MetricSink& sink) const { collect_slot_queue(sink, settings_.name, stats()); }

void collect_slot_queue(MetricSink& sink, const std::string& queue_name, const SlotQueueStats& stats) {
  const Label queue{"queue", queue_name};
  const auto gauge = [&](std::string_view name, std::string_view help, std::size_t value) {
    sink.gauge(name, help, {queue}, static_cast<double>(value));
  };
  const auto count = [&](std::string_view name, std::string_view help, std::uint64_t value) {
    sink.counter(name, help, {queue}, value);
  };
  const auto by = [&](std::string_view name, std::string_view help, Label label, std::uint64_t value) {
    sink.counter(name, help, {queue, label}, value);
  };
  gauge("penstock_slot_queue_idle", "slots that nobody has", stats.idle);
  gauge("penstock_slot_queue_leased", "slots that somebody has", stats.leased);
  gauge("penstock_slot_queue_waiting", "acquires that stand in line", stats.waiting);
  gauge("penstock_slot_queue_starting", "launch tickets that are out", stats.starting);
  sink.gauge("penstock_slot_queue_oldest_wait_seconds", "how long the first in line has waited", {queue},
             seconds(stats.oldest_wait));
  count("penstock_slot_queue_offered_total", "slots offered", stats.offered);
  count("penstock_slot_queue_acquired_total", "leases given", stats.acquired);
  count("penstock_slot_queue_handed_over_total", "leases given to somebody who stood in line", stats.handed_over);
  count("penstock_slot_queue_returned_total", "leases whose slot went back", stats.returned);
  const auto gone = [&](std::string_view how, std::uint64_t value) {
    by("penstock_slot_queue_gone_total", "slots that have left, by how", {"how", how}, value);
  };
  gone("ejected", stats.ejected);
  gone("taken", stats.taken);
  gone("retired", stats.retired);
  gone("expired", stats.expired);
  gone("closed", stats.closed);
  count("penstock_slot_queue_eject_misses_total", "ejects of a slot that was leased or gone", stats.eject_misses);
  count("penstock_slot_queue_foreign_tokens_total", "ejects with a token of another queue", stats.foreign_tokens);
  count("penstock_slot_queue_waits_total", "acquires that had to stand in line", stats.waits);
  const auto refused = [&](std::string_view reason, std::uint64_t value) {
    by("penstock_slot_queue_refused_total", "acquires that got no lease, by reason", {"reason", reason}, value);
  };
  refused("exhausted", stats.exhausted);
  refused("timed_out", stats.timed_out);
  refused("cancelled", stats.cancelled);
  refused("unavailable", stats.unavailable);
  refused("failed", stats.failed);
  count("penstock_slot_queue_phase_faults_total", "phases left that had not been entered", stats.phase_faults);
  count("penstock_slot_queue_launches_total", "launch tickets given out", stats.launches);
  count("penstock_slot_queue_started_total", "launch tickets that brought a slot", stats.started);
  count("penstock_slot_queue_start_failures_total", "launch tickets that failed or were dropped", stats.start_failures);
  count("penstock_slot_queue_errors_dropped_total", "errors of starts that nobody waited for", stats.errors_dropped);
  count("penstock_slot_queue_launch_shortages_total", "starts that were wanted and not made, as memory was out",
        stats.launch_shortages);
  count("penstock_slot_queue_caught_exceptions_total", "exceptions of launch, on_retired and the policy",
        stats.caught_exceptions);
  for (std::size_t at = 0; at != kSlotPhases; ++at) {
    const Label phase{"phase", to_string(static_cast<SlotPhase>(at))};
    sink.gauge("penstock_slot_queue_phase", "how many are in a phase", {queue, phase},
               static_cast<double>(stats.phases[at].now));
    sink.gauge("penstock_slot_queue_phase_mean_seconds", "moving average of the time in a phase", {queue, phase},
               seconds(stats.phases[at].mean));
  }
  sink.histogram("penstock_slot_queue_wait_seconds", "how long a lease was waited for", {queue}, stats.wait);
}

}  // namespace detail
}  // namespace penstock::inline PENSTOCK_ABI
