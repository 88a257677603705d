// SPDX-License-Identifier: MIT

// How the supervisor's thread finds out that a child is ready.

#include <algorithm>
#include <new>
#include <type_traits>
#include <variant>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/elapsed.hpp"
#include "penstock/core/failure_stage.hpp"
#include "process_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr int kFirstGaps = 32;  // the first gap between two looks is that part of the interval

}  // namespace

void ProcessCore::be_started(const Orders& orders, TimePoint now, Sleep& sleep) {
  if (!child_->has_begun_check) {
    begin_check();
    child_->has_begun_check = true;  // unless there was no memory for it: then at the next look
  }
  const TimePoint late_at = saturated_add(child_->since, options_.start_timeout);
  if (is_ready(orders, now, sleep)) return become_ready(now);
  if (now >= late_at) return time_out_start(now);
  sleep.until(late_at);
}

bool ProcessCore::is_ready(const Orders& orders, TimePoint now, Sleep& sleep) {
  return std::visit(
      [&](const auto& probe) {
        using Probe = std::decay_t<decltype(probe)>;
        if constexpr (std::is_same_v<Probe, ReadyAtOnce>) {
          return true;
        } else if constexpr (std::is_same_v<Probe, ReadyOnLine>) {
          return child_->is_ready;
        } else if constexpr (std::is_same_v<Probe, ReadyWhen>) {
          return orders.check_passed;
        } else {
          return is_ready_on(probe, now, sleep);
        }
      },
      options_.ready);
}

template <class Probe>
bool ProcessCore::is_ready_on(const Probe& probe, TimePoint now, Sleep& sleep) {
  ProcessChild& child = *child_;
  if (child.is_ready) return true;
  if (child.probe.is_pending() && now >= child.probe_ends) child.probe.reset();
  if (!child.probe.is_pending() && now >= child.next_probe) {
    const Duration first = std::max(options_.probe_interval / kFirstGaps, Duration(1));
    child.probe_gap = child.probe_gap == Duration::zero()
                          ? first
                          : std::min(saturated(2.0L * child.probe_gap), options_.probe_interval);
    child.next_probe = saturated_add(now, child.probe_gap);
    child.probe_ends = saturated_add(now, options_.probe_timeout);
    static_cast<void>(child.probe.begin(probe));  // what fails at once is tried again in its turn
  }
  sleep.until(child.probe.is_pending() ? child.probe_ends : child.next_probe);
  return false;
}

void ProcessCore::become_ready(TimePoint now) {
  bool is_ours = false;
  {
    const MutexLock lock(mutex_);
    if (state_ == ModelState::kStarting) {  // nobody has stopped it meanwhile
      is_ours = true;
      ++counts_.ready;
      counts_.took_last = elapsed(child_->since, now);
      step(ModelState::kReady);
    }
  }
  end_check();
  publish(is_ours ? child_->start : 0);
}

void ProcessCore::time_out_start(TimePoint now) {
  const std::string words = last_words();
  const absl::Status status = with_failure_stage(
      absl::DeadlineExceededError(fmt::format("process '{}': not ready after {} ({}){}{}", options_.name,
                                              duration_text(options_.start_timeout), to_string(options_.ready),
                                              words.empty() ? "" : ": ", words)),
      "start");
  bool is_ours = false;
  {
    const MutexLock lock(mutex_);
    if (state_ == ModelState::kStarting) {
      is_ours = true;
      ++counts_.start_failures;
      ++counts_.stops;
      ++stop_;
      kill_at_ = saturated_add(now, options_.graceful_timeout);
      step(ModelState::kStopping, status);
    }
  }
  publish(is_ours ? child_->start : 0, status);
  supervisor_->wake();  // to stop it
}

// --- the user's check ---

void ProcessCore::begin_check() {
  if (!check_.is_active()) return;
  static_cast<void>(check_.set_interval(options_.probe_interval));
  check_.run_now();
}

void ProcessCore::end_check() noexcept {
  if (!check_.is_active()) return;
  try {
    static_cast<void>(check_.set_interval(Duration::max()));
  } catch (const std::bad_alloc&) {
    // Calls go on until the next start has ended, and find nothing to check.
  }
  std::optional<CancelSource> source;
  {
    const MutexLock lock(mutex_);
    source.swap(check_source_);
  }
  if (source.has_value()) source->cancel();
}

void ProcessCore::call_check(const Context& ctx) {
  Context::Cancellable own = ctx.with_cancel();
  std::uint64_t start = 0;
  {
    const MutexLock lock(mutex_);
    if (state_ != ModelState::kStarting || check_passed_ || !has_child_) return;
    start = start_;
    check_source_ = own.source;
  }
  bool is_ready = false;
  try {
    is_ready = std::get<ReadyWhen>(options_.ready).check(own.context);
  } catch (...) {
    count_exception();
  }
  {
    std::optional<CancelSource> done;
    const MutexLock lock(mutex_);
    done.swap(check_source_);
    if (!is_ready || state_ != ModelState::kStarting || start_ != start) return;
    check_passed_ = true;
  }
  supervisor_->wake();
}

void ProcessCore::count_exception() noexcept {
  const MutexLock lock(mutex_);
  ++counts_.caught_exceptions;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
