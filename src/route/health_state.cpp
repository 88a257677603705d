// SPDX-License-Identifier: MIT
#include "penstock/route/detail/health_state.hpp"

#include <algorithm>
#include <exception>

#include <fmt/format.h>

#include "penstock/core/detail/fork.hpp"
#include "penstock/core/detail/option_text.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

HealthRules rules_of(const HealthCheckOptions& options) noexcept {
  return {
      .interval = options.interval, .unhealthy_after = options.unhealthy_after, .healthy_after = options.healthy_after};
}

PeriodicTaskOptions task_options(const std::string& watch, const HealthCheckOptions& options) {
  return {.name = watch + "/check", .interval = options.interval, .jitter = options.jitter, .timeout = options.timeout};
}

Health assumed(HealthStart start) noexcept {
  return start == HealthStart::kUnknown ? Health::kUnknown : Health::kUnhealthy;
}

}  // namespace

// --- the watches of a monitor ---

HealthRegistry::HealthRegistry(std::string name) : name_(std::move(name)), process_(fork_generation()) {}

bool HealthRegistry::is_forked() const noexcept { return process_ != fork_generation(); }

void HealthRegistry::add(const StatePtr& state) {
  const MutexLock lock(mutex_);
  watches_.push_back(state);
}

void HealthRegistry::remove(const HealthState& state) noexcept {
  StatePtr removed;
  const MutexLock lock(mutex_);
  const auto at = std::find_if(watches_.begin(), watches_.end(), [&](const StatePtr& s) { return s.get() == &state; });
  if (at == watches_.end()) return;
  removed = std::move(*at);
  watches_.erase(at);
}

std::vector<HealthRegistry::StatePtr> HealthRegistry::watches() const {
  const MutexLock lock(mutex_);
  return watches_;
}

// --- life ---

HealthState::HealthState(std::shared_ptr<HealthRegistry> registry, std::string name, HealthCheckOptions options,
                         HealthListener listener, Clock& clock)
    : health(assumed(options.start)),
      registry_(std::move(registry)),
      name_(std::move(name)),
      listener_(std::move(listener)),
      clock_(clock),
      timer_(*this),
      options_(std::make_shared<const HealthCheckOptions>(std::move(options))),
      machine_(rules_of(*options_), assumed(options_->start), options_->start != HealthStart::kUnknown, clock.now()) {}

absl::Status HealthState::begin(const std::shared_ptr<HealthState>& self, PeriodicRunner& runner) {
  const HealthCheckOptions options = self->options();
  if (self->listener_.on_change || self->listener_.on_result) {
    auto tells =
        runner.every({.name = self->name_ + "/tell", .interval = Duration::max(), .initial_delay = Duration::max()},
                     [self] { self->tell(); });
    if (!tells.ok()) return tells.status();
    self->tells_ = *std::move(tells);
  }
  absl::Status refusal;
  try {
    auto checks = runner.every(task_options(self->name_, options), [self](const Context& ctx) { self->check(ctx); });
    refusal = checks.status();
    if (refusal.ok()) {
      self->checks_ = *std::move(checks);
      self->registry_->add(self);
    }
  } catch (...) {
    self->end();
    throw;
  }
  if (!refusal.ok()) self->end();
  return refusal;
}

void HealthState::end() noexcept {
  WakeList wake;
  {
    const MutexLock lock(mutex_);
    stopped_ = true;
    waiters_.claim_all(Waiter::kClosed, wake);
  }
  wake.wake_all();
  checks_.end();
  tells_.end();
  registry_->remove(*this);
}

OpStatus HealthState::await_end(const Context& ctx) {
  if (is_inside()) return OpStatus::kOk;
  const OpStatus status = checks_.stop(ctx);
  return status == OpStatus::kOk ? tells_.stop(ctx) : status;
}

bool HealthState::is_inside() const noexcept {
  const world::ThreadId self = world::this_thread_id();
  const MutexLock lock(mutex_);
  return checker_ == self || teller_ == self;
}

// --- a check ---

void HealthState::check(const Context& ctx) {
  const TimePoint began = clock_.now();
  std::shared_ptr<const HealthCheckOptions> options;
  std::uint64_t number = 0;
  bool has_untold = false;
  {
    const MutexLock lock(mutex_);
    if (stopped_) return;
    checker_ = world::this_thread_id();
    options = options_;
    number = machine_.begin(began, ctx.deadline());
    has_untold = told_ != seen_;
  }
  if (has_untold) tells_.run_now();  // perhaps there was no thread for it
  if (!clock_.arm(timer_, ctx.deadline())) look();
  absl::Status status = ask(*options, ctx);
  clock_.disarm(timer_);
  const TimePoint now = clock_.now();
  const bool passed = status.ok();
  absl::Status late = now < ctx.deadline() ? absl::OkStatus() : timed_out();
  Entry entry;
  WakeList wake;
  bool wants_telling = false;
  {
    const MutexLock lock(mutex_);
    checker_ = {};
    if (!stopped_) {
      const HealthVerdict verdict = machine_.end(number, now, passed);
      // Nobody has looked since it was too late: that is what counts, not the answer.
      note(verdict, verdict.kind == HealthVerdict::Kind::kTimedOut ? late : status, entry, wake);
    }
    wants_telling = told_ != seen_;
  }
  wake.wake_all();
  if (wants_telling) tells_.run_now();
}

absl::Status HealthState::ask(const HealthCheckOptions& options, const Context& ctx) noexcept {
  try {
    try {
      return options.check(ctx);
    } catch (const std::exception& caught) {
      count_exception();
      constexpr std::size_t kMostBytes = 480;
      return absl::InternalError(
          fmt::format("health check '{}' threw: {}", name_, shortened(caught.what(), kMostBytes)));
    } catch (...) {
      count_exception();
      return absl::InternalError(fmt::format("health check '{}' threw what is no std::exception", name_));
    }
  } catch (...) {  // no memory for the text
    return absl::Status(absl::StatusCode::kInternal, "");
  }
}

void HealthState::count_exception() noexcept {
  const MutexLock lock(mutex_);
  ++exceptions_;
}

absl::Status HealthState::timed_out() const noexcept {
  try {
    return absl::DeadlineExceededError(fmt::format("health check '{}': no answer in time", name_));
  } catch (...) {  // no memory for the text
    return absl::Status(absl::StatusCode::kDeadlineExceeded, "");
  }
}

void HealthState::look() noexcept {
  // What a look finds is counted from the times, so those of a hung check need not be many.
  constexpr Duration kLeastGap = std::chrono::milliseconds(1);
  for (TimePoint due;;) {
    const TimePoint now = clock_.now();
    absl::Status status = timed_out();
    Entry entry;
    WakeList wake;
    bool wants_telling = false;
    {
      const MutexLock lock(mutex_);
      if (stopped_) return;
      note(machine_.advance(now), status, entry, wake);
      wants_telling = told_ != seen_;
      due = std::max(machine_.due(), saturated_add(now, kLeastGap));
    }
    wake.wake_all();
    if (wants_telling) tells_.run_now();
    if (clock_.arm(timer_, due)) return;
  }
}

void HealthState::note(const HealthVerdict& verdict, absl::Status& status, Entry& entry, WakeList& wake) noexcept {
  if (verdict.kind == HealthVerdict::Kind::kNone) return;
  last_at_ = verdict.at;
  last_took_ = std::max(verdict.at - machine_.began(), Duration::zero());
  // Of a check that timed out its time-out is recorded, once.
  if (verdict.kind != HealthVerdict::Kind::kTimedOut || verdict.is_first) durations_.record(last_took_);
  const bool has_changed = verdict.from != verdict.to;
  if (has_changed) {
    ++changes_[static_cast<std::size_t>(verdict.from)][static_cast<std::size_t>(verdict.to)];
    health.store(verdict.to, std::memory_order_relaxed);
  }
  if (listener_.on_result || (has_changed && listener_.on_change)) {
    if (seen_ - told_ == kMaxQueued) {
      ++told_;  // the oldest: who lags behind wants to know where things are now
      ++missed_reports_;
    }
    entry = {.verdict = verdict,
             .status = status,
             .took = last_took_,
             .in_a_row = std::max(machine_.failures_in_a_row(), machine_.successes_in_a_row())};
    std::swap(entry, queue_[seen_++ % kMaxQueued]);
  }
  std::swap(last_status_, status);
  waiters_.claim_all(Waiter::kServed, wake);
}

// --- listeners ---

void HealthState::tell() {
  HealthReport report;
  report.watch = name_;
  {
    const MutexLock lock(mutex_);
    teller_ = world::this_thread_id();
  }
  for (std::uint64_t thrown = 0;;) {
    Entry entry;
    {
      const MutexLock lock(mutex_);
      listener_exceptions_ += std::exchange(thrown, 0);
      if (stopped_ || told_ == seen_) {
        teller_ = {};
        return;
      }
      std::swap(entry, queue_[told_++ % kMaxQueued]);
    }
    report.from = entry.verdict.from;
    report.to = entry.verdict.to;
    report.status = std::move(entry.status);
    report.at = entry.verdict.at;
    report.took = entry.took;
    report.in_a_row = entry.in_a_row;
    const auto call = [&](const std::function<void(const HealthReport&)>& listener) {
      try {
        if (listener) listener(report);
      } catch (...) {
        ++thrown;
      }
    };
    call(listener_.on_result);
    if (report.from != report.to) call(listener_.on_change);
  }
}

// --- what is asked ---

void HealthState::set_options(HealthCheckOptions options) {
  const PeriodicTaskOptions task = task_options(name_, options);
  auto changed = std::make_shared<const HealthCheckOptions>(std::move(options));
  {
    const MutexLock lock(mutex_);
    machine_.set_rules(rules_of(*changed));
    options_.swap(changed);
  }
  static_cast<void>(checks_.set_options(task));
}

HealthCheckOptions HealthState::options() const {
  std::shared_ptr<const HealthCheckOptions> options;
  {
    const MutexLock lock(mutex_);
    options = options_;
  }
  return *options;
}

std::uint64_t HealthState::begun() const noexcept {
  const MutexLock lock(mutex_);
  return machine_.begun();
}

OpStatus HealthState::await(std::uint64_t number, const Context& ctx, absl::Status& result) {
  for (absl::Status forgotten;;) {
    Waiter waiter(ctx);
    WaitNode node(waiter, nullptr);
    {
      const MutexLock lock(mutex_);
      if (machine_.known() > number) {
        forgotten = last_status_;
        std::swap(result, forgotten);
        return OpStatus::kOk;
      }
      if (stopped_) return OpStatus::kClosed;
      waiters_.push(node);
    }
    const Waiter::Outcome outcome = waiter.wait();
    if (outcome >= Waiter::kClosed) continue;
    const MutexLock lock(mutex_);
    waiters_.remove(node);
    return to_op_status(outcome);
  }
}

HealthStats HealthState::stats() const {
  const TimePoint now = clock_.now();
  HealthStats stats;
  stats.name = name_;
  {
    const MutexLock lock(mutex_);
    stats.health = machine_.health();
    stats.in_state = std::max(now - machine_.since(), Duration::zero());
    stats.last_status = last_status_;
    stats.last_at = last_at_;
    stats.last_took = last_took_;
    stats.failures_in_a_row = machine_.failures_in_a_row();
    stats.successes_in_a_row = machine_.successes_in_a_row();
    if (checker_ != world::ThreadId{}) stats.checking_for = std::max(now - machine_.began(), Duration::zero());
    const HealthMachine::Counts& counts = machine_.counts();
    stats.checks = counts.checks;
    stats.passed = counts.passed;
    stats.failed = counts.failed;
    stats.timed_out = counts.timed_out;
    stats.overdue = counts.overdue;
    stats.late_results = counts.late_results;
    stats.exceptions = exceptions_;
    stats.listener_exceptions = listener_exceptions_;
    stats.missed_reports = missed_reports_;
    stats.changes = changes_;
    stats.durations = durations_;
  }
  const PeriodicTaskStats task = checks_.stats();
  stats.is_checking = task.is_running;
  stats.skipped = task.overruns + task.missed + task.start_failures;
  return stats;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
