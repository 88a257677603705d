// SPDX-License-Identifier: MIT
#include "penstock/exec/detail/periodic_core.hpp"

#include <algorithm>
#include <exception>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/check.hpp"
#include "penstock/core/detail/fork.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/exec/detail/pool_text.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::size_t kMostThreads = 4096;

ThreadManagerOptions thread_options(const PeriodicRunnerOptions& options) {
  // The threads' own idle time is in machine time, so that no clock of a test has timers for it.
  return {.name = options.name,
          .max_threads = kMostThreads,
          .idle_timeout = options.thread_idle_timeout,
          .history_size = 0,
          .event_capacity = 1};
}

double random_step() noexcept {
  constexpr std::uint32_t kSteps = 1U << 31U;
  return 2.0 * world::random_below(kSteps) / (kSteps - 1.0) - 1.0;
}

Duration next_gap(const PeriodicTaskOptions& options) noexcept {
  return options.jitter > 0 ? jittered(options.interval, options.jitter, random_step()) : options.interval;
}

}  // namespace

// --- life ---

PeriodicState::PeriodicState(std::shared_ptr<PeriodicCore> owner, PeriodicTaskOptions given, PeriodicCall function,
                             TimePoint now)
    : core(std::move(owner)),
      life(Context(*core->options().clock).with_cancel()),
      call(std::move(function)),
      options(std::move(given)),
      due(saturated_add(now, options.initial_delay)) {}

PeriodicDue PeriodicState::due_by(TimePoint now) const noexcept {
  if (now < due) return {.times = 0, .last = last_due, .next = due};
  return periodic_due(due, now, options.interval, options.jitter, options.jitter > 0 ? random_step() : 0);
}

PeriodicCore::PeriodicCore(PeriodicRunnerOptions given)
    : options_(std::move(given)),
      clock_(*options_.clock),
      process_(fork_generation()),
      threads_(*ThreadManager::create(thread_options(options_))) {
  if (!clock_.is_machine_time()) clock_.start_timers();
}

bool PeriodicCore::is_forked() const noexcept { return process_ != fork_generation(); }

absl::StatusOr<PeriodicCore::StatePtr> PeriodicCore::begin(PeriodicTaskOptions options, PeriodicCall call) {
  auto state = std::make_shared<PeriodicState>(shared_from_this(), std::move(options), std::move(call), clock_.now());
  if (absl::Status status = start_scheduler(); !status.ok()) return status;
  WakeList wake;
  {
    const MutexLock lock(mutex_);
    state->index = tasks_.size();
    tasks_.push_back(state);
    enqueue(*state, wake);
  }
  wake.wake_all();
  return state;
}

absl::Status PeriodicCore::start_scheduler() {
  const MutexLock starting(start_mutex_);
  if (has_scheduler_) return absl::OkStatus();
  const absl::StatusOr<std::uint64_t> id = threads_->spawn("periodic", [this] { schedule(); });
  has_scheduler_ = id.ok();
  return id.status();
}

void PeriodicCore::end(PeriodicState& state) noexcept {
  bool buries = false;
  {
    const MutexLock lock(mutex_);
    if (std::exchange(state.stopped, true)) return;
    if (!state.running) {
      waiting_.remove(state);
      buries = state.dying = true;
      state.thread = world::this_thread_id();
    }
  }
  try {
    state.life.source.cancel(absl::CancelledError(fmt::format("periodic task '{}': stopped", state.options.name)));
  } catch (...) {  // no memory for the text: the bare cause will do
    state.life.source.cancel();
  }
  if (buries) bury(state);
}

OpStatus PeriodicCore::await_end(PeriodicState& state, const Context& ctx) {
  for (;;) {
    Waiter waiter(ctx);
    WaitNode node(waiter, nullptr);
    {
      const MutexLock lock(mutex_);
      if (state.gone || state.thread == world::this_thread_id()) return OpStatus::kOk;
      state.stoppers.push(node);
    }
    const Waiter::Outcome outcome = waiter.wait();
    if (outcome >= Waiter::kServed) continue;
    const MutexLock lock(mutex_);
    state.stoppers.remove(node);
    return to_op_status(outcome);
  }
}

void PeriodicCore::bury(PeriodicState& state) noexcept {
  state.call = nullptr;
  StatePtr last_share;
  WakeList wake;
  {
    const MutexLock lock(mutex_);
    state.gone = true;
    state.thread = {};
    last_share = std::exchange(tasks_[state.index], std::move(tasks_.back()));
    if (tasks_[state.index] != nullptr) tasks_[state.index]->index = state.index;
    tasks_.pop_back();
    state.stoppers.claim_all(Waiter::kServed, wake);
  }
  wake.wake_all();
}

void PeriodicCore::shutdown() noexcept {
  WakeList wake;
  {
    const MutexLock lock(mutex_);
    closed_ = true;
    scheduler_.claim_all(Waiter::kServed, wake);
  }
  wake.wake_all();
  // First all contexts end, then all calls are waited for.
  for (StatePtr state;;) {
    {
      const MutexLock lock(mutex_);
      const auto going = std::find_if(tasks_.begin(), tasks_.end(), [](const StatePtr& s) { return !s->stopped; });
      state = going == tasks_.end() ? nullptr : *going;
    }
    if (state == nullptr) break;
    end(*state);
  }
  for (StatePtr state;;) {
    {
      const MutexLock lock(mutex_);
      state = tasks_.empty() ? nullptr : tasks_.back();
      PENSTOCK_CHECK(state == nullptr || state->thread != world::this_thread_id(),
                     "a periodic runner is not destroyed by one of its calls");
    }
    if (state == nullptr) break;
    static_cast<void>(await_end(*state, Context::background()));
  }
  threads_.reset();
}

// --- the thread that starts calls ---

void PeriodicCore::schedule() noexcept {
  for (TimePoint look_again = TimePoint::max();;) {
    const Context ctx = Context(clock_).with_deadline(look_again);
    Waiter waiter(ctx);
    WaitNode node(waiter, nullptr);
    const TimePoint now = clock_.now();
    StatePtr state;
    bool waits = false;
    {
      const MutexLock lock(mutex_);
      if (closed_) return;
      looks_at_ = TimePoint::max();
      state = take_due(now, looks_at_);
      waits = state == nullptr && looks_at_ == look_again;
      if (waits) scheduler_.push(node);
      look_again = looks_at_;
    }
    if (state != nullptr) start_call(std::move(state));
    if (waits && waiter.wait() < Waiter::kServed) {
      const MutexLock lock(mutex_);
      scheduler_.remove(node);
    }
  }
}

PeriodicCore::StatePtr PeriodicCore::take_due(TimePoint now, TimePoint& look_again) noexcept {
  PeriodicState* const first = waiting_.first();
  if (first == nullptr) return nullptr;
  if (now < first->due) {
    look_again = first->due;
    return nullptr;
  }
  waiting_.remove(*first);
  const PeriodicDue due = first->due_by(now);
  first->counts.missed += due.times - 1;
  counts_.missed += due.times - 1;
  first->last_due = due.last;
  first->due = due.next;
  first->asked = false;
  first->running = true;
  ++counts_.running;
  return tasks_[first->index];
}

void PeriodicCore::start_call(StatePtr state) noexcept {
  try {
    if (threads_->spawn(state->options.name, [this, state] { run_call(state); }).ok()) return;
  } catch (...) {  // no memory: the same as no thread
  }
  const TimePoint now = clock_.now();
  bool rests = false;
  WakeList wake;
  {
    const MutexLock lock(mutex_);
    ++state->counts.start_failures;
    ++counts_.start_failures;
    rests = rest(*state, now, wake);
  }
  wake.wake_all();
  if (!rests) bury(*state);
}

// --- a call ---

void PeriodicCore::run_call(const StatePtr& state) noexcept {
  const TimePoint began = clock_.now();
  TimePoint ends = TimePoint::max();
  bool is_wanted = false;
  {
    const MutexLock lock(mutex_);
    state->thread = world::this_thread_id();
    is_wanted = !state->stopped;
    if (is_wanted) {
      ends = saturated_add(began, state->options.timeout);
      state->began = began;
      ++state->counts.calls;
      ++counts_.calls;
    }
  }
  std::string exception;
  if (is_wanted) {
    const Context ctx = state->life.context.with_deadline(ends);
    try {
      state->call(ctx);
    } catch (...) {
      exception = exception_text(std::current_exception());
      if (exception.empty()) exception = "unknown";  // short: no memory needed
    }
  }
  const TimePoint now = clock_.now();
  bool rests = false;
  WakeList wake;
  {
    const MutexLock lock(mutex_);
    if (is_wanted) {
      PeriodicTaskStats& counts = state->counts;
      counts.last_took = now - began;
      counts.longest = std::max(counts.longest, counts.last_took);
      if (now >= ends) {
        ++counts.timeouts;
        ++counts_.timeouts;
      }
      if (!exception.empty()) {
        ++counts.exceptions;
        ++counts_.exceptions;
        counts.last_exception.swap(exception);
      }
    }
    rests = rest(*state, now, wake);
  }
  wake.wake_all();
  if (!rests) bury(*state);
}

bool PeriodicCore::rest(PeriodicState& state, TimePoint now, WakeList& wake) noexcept {
  state.running = false;
  --counts_.running;
  if (state.stopped) {
    state.dying = true;
    state.thread = world::this_thread_id();
    return false;
  }
  state.thread = {};
  const PeriodicDue due = state.due_by(now);
  state.counts.overruns += due.times;
  counts_.overruns += due.times;
  state.due = state.asked ? now : due.next;
  enqueue(state, wake);
  return true;
}

void PeriodicCore::enqueue(PeriodicState& state, WakeList& wake) noexcept {
  state.sequence = ++sequence_;
  waiting_.push(state);
  if (state.due < looks_at_) scheduler_.claim_all(Waiter::kServed, wake);
}

// --- what handles ask ---

void PeriodicCore::run_now(PeriodicState& state) noexcept {
  const TimePoint now = clock_.now();
  WakeList wake;
  {
    const MutexLock lock(mutex_);
    if (state.stopped) return;
    state.asked = true;
    if (state.running || state.due <= now) return;
    waiting_.remove(state);
    state.due = now;
    enqueue(state, wake);
  }
  wake.wake_all();
}

void PeriodicCore::set_options(PeriodicState& state, const PeriodicTaskOptions& options) {
  const TimePoint now = clock_.now();
  WakeList wake;
  {
    const MutexLock lock(mutex_);
    PeriodicTaskOptions& mine = state.options;
    mine.timeout = options.timeout;
    if (mine.interval == options.interval && mine.jitter == options.jitter) return;
    const std::uint64_t overruns = state.running ? state.due_by(now).times : 0;
    state.counts.overruns += overruns;
    counts_.overruns += overruns;
    mine.interval = options.interval;
    mine.jitter = options.jitter;
    if (state.stopped || state.last_due == TimePoint::max()) return;
    const TimePoint due = saturated_add(state.last_due, next_gap(mine));
    if (state.running) {
      state.due = due;
      state.due = state.due_by(now).next;  // what it would have skipped by now it has not
      return;
    }
    if (state.asked) return;
    waiting_.remove(state);
    state.due = std::max(due, now);
    enqueue(state, wake);
  }
  wake.wake_all();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
