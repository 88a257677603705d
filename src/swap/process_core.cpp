// SPDX-License-Identifier: MIT

// What anybody may do to a process: ask, wait, look.

#include "process_core.hpp"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <system_error>

#include <fmt/format.h>

#include "penstock/core/detail/check.hpp"
#include "penstock/core/detail/elapsed.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/core/failure_stage.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

absl::Status staged(absl::Status status) { return with_failure_stage(std::move(status), "start"); }

PeriodicTask begun(absl::StatusOr<PeriodicTask> task) {
  if (!task.ok()) {
    throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again),
                            std::string(task.status().message()));
  }
  return *std::move(task);
}

PeriodicTaskOptions on_demand(const std::string& name) {
  return {.name = name, .interval = Duration::max(), .initial_delay = Duration::max()};
}

}  // namespace

ProcessCore::ProcessCore(std::shared_ptr<SupervisorCore> supervisor, ProcessOptions options)
    : supervisor_(std::move(supervisor)),
      options_(std::move(options)),
      clock_(supervisor_->clock()),
      aborted_(staged(absl::AbortedError(fmt::format("process '{}': start aborted", options_.name)))),
      gone_(staged(absl::FailedPreconditionError(fmt::format("process '{}': shut down", options_.name)))),
      state_since_(clock_.now()),
      ring_(options_.log_bytes) {
  ring_.prepare();
}

void ProcessCore::begin() {
  const std::shared_ptr<ProcessCore> self = shared_from_this();
  try {
    if (options_.on_line || options_.on_transition) {
      listeners_ = begun(supervisor_->callers().every(on_demand(options_.name), [self] { self->call_listeners(); }));
    }
    if (std::holds_alternative<ReadyWhen>(options_.ready)) {
      check_ = begun(supervisor_->callers().every(on_demand(options_.name),
                                                  [self](const Context& ctx) { self->call_check(ctx); }));
    }
    supervisor_->add(self);
    if (options_.lifetime.can_end()) {
      lifetime_.emplace(options_.lifetime.on_done([this]() noexcept { begin_shutdown(false); }));
    }
  } catch (...) {
    listeners_.stop();
    check_.stop();
    supervisor_->remove(*this);
    throw;
  }
}

void ProcessCore::destroy() noexcept {
  PENSTOCK_CHECK(!is_own_thread(), "a process is not destroyed on its supervisor's thread");
  lifetime_.reset();
  begin_shutdown(true);
  {
    const MutexLock lock(mutex_);
    while (state_ != ModelState::kShutdown || has_child_ || step_count_ != 0) {
      static_cast<void>(idle_.wait(mutex_));
    }
    // Who destroys it within one of its calls is not called any more.
    tells_ = !is_telling_ || teller_ != world::this_thread_id();
  }
  supervisor_->remove(*this);
  check_.stop();
  listeners_.stop();
  try {
    call_listeners();  // with what they have not been told of
  } catch (const std::bad_alloc&) {
    // There is no memory for a line to tell.
  }
}

void ProcessCore::begin_shutdown(bool gives_up) noexcept {
  if (is_forked()) return;
  {
    const MutexLock lock(mutex_);
    ProcessWait nobody;
    want_stop({.kind = ProcessWish::Kind::kShutdown}, nobody);
    gives_up_ |= gives_up;
  }
  supervisor_->wake();
}

// --- what is wanted ---

bool ProcessCore::enter(const ProcessWish& wish, const Context& ctx, ProcessWait& wait, WaitNode* node) {
  using Kind = ProcessWish::Kind;
  if (is_forked()) {
    wait.result = absl::FailedPreconditionError(fmt::format("process '{}': in a forked child", options_.name));
    return false;
  }
  const bool wants_ready = wish.kind == Kind::kReady;
  // Who has no time to wait starts nothing, but stops it.
  const OpStatus ended = wants_ready && node != nullptr ? ctx.status() : OpStatus::kOk;
  // Once it is listed, this may be gone before the thread was woken.
  const std::shared_ptr<ProcessCore> self = shared_from_this();
  bool has_to_wait = false;
  absl::Status overdue;
  {
    const MutexLock lock(mutex_);
    if (wants_ready && state_ == ModelState::kReady) return false;
    if (wants_ready && (shuts_down_ || state_ == ModelState::kShutdown)) {
      wait.result = gone_;
      return false;
    }
    if (wants_ready && state_ == ModelState::kStopping && !overdue_.ok()) {
      overdue = overdue_;
    } else if (ended == OpStatus::kOk) {
      wants_ready ? want_ready(wait) : want_stop(wish, wait);
      has_to_wait = wait.start != 0 || wait.stop != 0;
      if (has_to_wait && wait.stop != 0 && !overdue_.ok()) {
        wait.result = overdue_;
        has_to_wait = false;
      } else if (has_to_wait && node != nullptr) {
        waits_.push(*node);
      }
    }
  }
  if (!overdue.ok()) {
    wait.result = staged(std::move(overdue));
    return false;
  }
  if (ended == OpStatus::kOk) {
    supervisor_->wake();
    if (!has_to_wait) return false;
    if (node != nullptr) return true;
  }
  if (ended != OpStatus::kOk) {
    wait.start = 1;
    wait.result = late(ctx, wait, ended);
    return false;
  }
  wait.result = absl::UnavailableError(
      fmt::format("process '{}': {}", options_.name, wants_ready ? "not ready yet" : "not stopped yet"));
  if (wants_ready) wait.result = staged(std::move(wait.result));
  return false;
}

absl::Status ProcessCore::leave(const Context& ctx, ProcessWait& wait, WaitNode& node, Waiter::Outcome outcome) {
  {
    const MutexLock lock(mutex_);
    waits_.remove(node);
  }
  if (outcome >= Waiter::kServed) return std::move(wait.result);
  return late(ctx, wait, to_op_status(outcome));
}

void ProcessCore::abandon(WaitNode& node) noexcept {
  if (is_forked()) return;
  const MutexLock lock(mutex_);
  waits_.remove(node);
}

absl::Status ProcessCore::late(const Context& ctx, const ProcessWait& wait, OpStatus how) const {
  const ModelState now = state();
  if (how == OpStatus::kCancelled) {
    absl::Status cause = ctx.cause();
    if (!cause.ok() && !text_of(cause).empty()) return cause;  // what who has cancelled has to say
  }
  const std::string text =
      fmt::format("process '{}': {} {} ({})", options_.name, how == OpStatus::kTimedOut ? "not" : "cancelled before",
                  wait.start != 0 ? "ready in time" : "stopped in time", to_string(now));
  absl::Status status = how == OpStatus::kTimedOut ? absl::DeadlineExceededError(text) : absl::CancelledError(text);
  return wait.start != 0 ? staged(std::move(status)) : status;
}

void ProcessCore::want_ready(ProcessWait& wait) {
  wait.start = start_;
  switch (state_) {
    case ModelState::kStopping:
      starts_again_ = true;
      wait.start = start_ + 1;
      return;
    case ModelState::kStopped:
      wait.start = ++start_;
      ++counts_.starts;
      check_passed_ = false;
      return step(ModelState::kStarting);
    default:
      return;
  }
}

void ProcessCore::want_stop(const ProcessWish& wish, ProcessWait& wait) {
  using Kind = ProcessWish::Kind;
  if (wish.kind == Kind::kShutdown) shuts_down_ = true;
  const bool only_calls_off = wish.kind == Kind::kNotStarting;
  if (only_calls_off && (state_ == ModelState::kReady || is_start_awaited())) return;
  const Duration graceful =
      wish.graceful_timeout == Duration::min() ? options_.graceful_timeout : wish.graceful_timeout;
  const TimePoint kill_at = saturated_add(clock_.now(), graceful);
  switch (state_) {
    case ModelState::kStopped:
      if (shuts_down_) step(ModelState::kShutdown);
      return;
    case ModelState::kStarting:
    case ModelState::kReady:
      abort_starts();
      kill_at_ = kill_at;
      wait.stop = ++stop_;
      ++counts_.stops;
      return step(ModelState::kStopping);
    case ModelState::kStopping:
      abort_starts();
      if (!only_calls_off) kill_at_ = std::min(kill_at_, kill_at);
      wait.stop = stop_;
      return;
    default:
      return;
  }
}

void ProcessCore::abort_starts() noexcept {
  if (state_ == ModelState::kStarting) {
    ++counts_.aborted;
    aborted_through_ = start_;
    has_news_ = true;
  } else if (starts_again_) {
    starts_again_ = false;
    aborted_through_ = ++start_;  // that nobody has begun
    has_news_ = true;
  }
}

bool ProcessCore::is_start_awaited() const noexcept {
  const std::uint64_t start = state_ == ModelState::kStopping ? start_ + 1 : start_;
  for (const WaitNode* node = waits_.front(); node != nullptr; node = node->next) {
    if (static_cast<const ProcessWait*>(node->slot)->start == start) return true;
  }
  return false;
}

void ProcessCore::step(ModelState to, absl::Status cause) noexcept {
  PENSTOCK_CHECK(step_count_ < steps_.size() && to != state_, "a process makes no such step");
  const TimePoint now = clock_.now();
  steps_[step_count_++] = {state_, to, now, std::move(cause)};
  state_ = to;
  has_news_ = true;
  state_since_ = now;
}

// --- looks ---

void ProcessCore::report_to(Report report) {
  auto shared = std::make_shared<const Report>(std::move(report));
  {
    const MutexLock lock(mutex_);
    report_.swap(shared);
    reports_state_ = true;
    has_news_ = true;
  }
  supervisor_->wake();
}

ModelState ProcessCore::state() const {
  const MutexLock lock(mutex_);
  return state_;
}

int ProcessCore::pid() const {
  const MutexLock lock(mutex_);
  return counts_.pid;
}

std::vector<ProcessLine> ProcessCore::log(std::size_t most) const {
  const MutexLock lock(mutex_);
  return ring_.last(most);
}

ProcessStats ProcessCore::stats() const {
  const TimePoint now = clock_.now();
  const MutexLock lock(mutex_);
  ProcessStats stats = counts_;
  stats.state = state_;
  stats.in_state = elapsed(state_since_, now);
  stats.log_lines = ring_.lines();
  return stats;
}

// --- waits ---

bool enter(ProcessCore& core, const ProcessWish& wish, const Context& ctx, ProcessWait& wait, WaitNode* node) {
  return core.enter(wish, ctx, wait, node);
}

absl::Status leave(ProcessCore& core, const Context& ctx, ProcessWait& wait, WaitNode& node, Waiter::Outcome outcome) {
  return core.leave(ctx, wait, node, outcome);
}

void abandon(ProcessCore& core, WaitNode& node) noexcept { core.abandon(node); }

absl::Status await(ProcessCore& core, const ProcessWish& wish, const Context& ctx) {
  Waiter waiter(ctx);
  ProcessWait wait;
  WaitNode node(waiter, &wait);
  if (!core.enter(wish, ctx, wait, &node)) return std::move(wait.result);
  PENSTOCK_CHECK(!core.is_own_thread(), "nobody waits for a process on its supervisor's thread");
  const Waiter::Outcome outcome = waiter.wait();
  return core.leave(ctx, wait, node, outcome);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
