// SPDX-License-Identifier: MIT
#include <algorithm>
#include <exception>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/thread_name.hpp"
#include "penstock/exec/detail/pool_text.hpp"
#include "penstock/exec/detail/thread_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

void name_thread(const ThreadRecord& record) noexcept { detail::name_thread(record.name, '-', record.id); }

}  // namespace

// --- a life ---

void ThreadCore::work(CrewThread& me) noexcept {
  me.begin.park();
  begin(me);
  while (take(me)) run(me);
  retire(me);
}

void ThreadCore::begin(CrewThread& me) noexcept {
  ManagedThread& current = ManagedThread::current();
  current.core = this;
  current.thread = &me;
  current.clock = &clock_;
  current.phase = ManagedThread::Phase::kBetween;
  {
    MutexLock lock(mutex_);
    // No two threads have the same, and there are no more threads than slots.
    me.slot = static_cast<std::size_t>(std::find(slots_.begin(), slots_.end(), false) - slots_.begin());
    slots_[me.slot] = true;
  }
  name_thread(options_.name, "/new");
  run_slot_hook(options_.on_thread_start, "on_thread_start", me.slot);
}

void ThreadCore::retire(CrewThread& me) noexcept {
  ManagedThread& current = ManagedThread::current();
  current.phase = ManagedThread::Phase::kOutside;
  run_slot_hook(options_.on_thread_stop, "on_thread_stop", me.slot);
  current.is_leaving = true;  // destructors of thread-local values may still spawn
  CrewThread* before = nullptr;
  {
    MutexLock lock(mutex_);
    if (options_.on_thread_stop) ++leaving_;
    before = std::exchange(retired_, &me);
  }
  room_.notify_all();
  if (before != nullptr) bury(before, false);
}

void ThreadCore::bury(CrewThread* thread, bool place_is_taken) noexcept {
  thread->thread.join();
  {
    MutexLock lock(mutex_);
    slots_[thread->slot] = false;
    if (!place_is_taken) {
      --leaving_;
      --counts_.ending;
    }
  }
  delete thread;
  room_.notify_all();
}

// --- something to do ---

bool ThreadCore::take(CrewThread& me) noexcept {
  TimePoint ends_at = saturated_add(clock_.now(), options_.idle_timeout);
  bool time_is_up = false;
  for (;;) {
    // A thread whose time is up, and which is still needed, has all the time.
    const Context ctx = Context(clock_).with_deadline(time_is_up ? TimePoint::max() : ends_at);
    Waiter waiter(ctx);
    WaitNode node(waiter, nullptr);
    std::unique_ptr<ThreadRecord> done;
    std::shared_ptr<const ThreadEvent> forgotten;
    Step step = Step::kWait;
    {
      MutexLock lock(mutex_);
      if (me.record != nullptr && !me.has_task) {
        finish(*me.record, forgotten);
        done = std::move(me.record);
      }
      step = next_step(me, time_is_up);
      if (step == Step::kWait) me.node = &node;
    }
    if (done != nullptr) deliver(std::move(done->ended));
    if (step == Step::kRun) return true;
    if (step == Step::kLeave) return false;
    done.reset();
    forgotten.reset();
    const Waiter::Outcome outcome = waiter.wait();
    {
      MutexLock lock(mutex_);
      me.node = nullptr;
    }
    time_is_up = outcome == Waiter::kTimedOut;
    if (!time_is_up) ends_at = saturated_add(clock_.now(), options_.idle_timeout);
  }
}

ThreadCore::Step ThreadCore::next_step(CrewThread& me, bool time_is_up) noexcept {
  if (me.has_task) {
    me.has_task = false;
    return Step::kRun;
  }
  if (me.reserved) return Step::kWait;
  if (closed_ || (time_is_up && counts_.live > options_.min_threads)) {
    if (!closed_) ++counts_.idle_expired;
    if (me.idle) unlist_idle(me);
    --counts_.live;
    ++counts_.ending;
    if (!options_.on_thread_stop) ++leaving_;
    return Step::kLeave;
  }
  if (!me.idle) push_idle(me);
  return Step::kWait;
}

void ThreadCore::push_idle(CrewThread& thread) noexcept {
  thread.idle = true;
  thread.above = nullptr;
  thread.below = idle_top_;
  if (idle_top_ != nullptr) idle_top_->above = &thread;
  idle_top_ = &thread;
  ++counts_.idle;
}

void ThreadCore::unlist_idle(CrewThread& thread) noexcept {
  thread.idle = false;
  (thread.above == nullptr ? idle_top_ : thread.above->below) = thread.below;
  if (thread.below != nullptr) thread.below->above = thread.above;
  --counts_.idle;
}

void ThreadCore::claim(CrewThread& thread, WakeList& wake) noexcept {
  if (thread.node != nullptr && thread.node->waiter->claim(Waiter::kServed)) wake.push(*thread.node);
}

// --- a function ---

void ThreadCore::run(CrewThread& me) noexcept {
  ThreadRecord& record = *me.record;
  ManagedThread& current = ManagedThread::current();
  current.record = &record;
  current.phase = ManagedThread::Phase::kInFunction;
  name_thread(record);
  static_cast<void>(events_.publish(std::shared_ptr<const ThreadEvent>(std::move(record.begun))));

  record.times.enter(ThreadState::kRunning, clock_.now());
  sleep_observer() = &kManagedSleep;
  std::exception_ptr escaped;
  try {
    record.call(life_.context);
  } catch (...) {
    escaped = std::current_exception();
  }
  ThreadEvent& ended = *record.ended;
  ended.outcome = escaped != nullptr        ? ThreadOutcome::kThrew
                  : life_.context.is_done() ? ThreadOutcome::kCancelled
                                            : ThreadOutcome::kReturned;
  record.times.enter(ThreadState::kTerminated, clock_.now());
  record.call = nullptr;
  if (escaped != nullptr) {
    ended.error = exception_text(escaped);
    report(record.id, record.name, escaped);
    escaped = nullptr;
  }
  name_thread(options_.name, "/idle");
  sleep_observer() = nullptr;
  current.record = nullptr;
  current.phase = ManagedThread::Phase::kBetween;
}

void ThreadCore::finish(ThreadRecord& record, std::shared_ptr<const ThreadEvent>& forgotten) noexcept {
  record.ended->ended = clock_.now();
  ++counts_.finished;
  switch (record.ended->outcome) {
    case ThreadOutcome::kReturned:
      ++counts_.returned;
      break;
    case ThreadOutcome::kThrew:
      ++counts_.threw;
      break;
    case ThreadOutcome::kCancelled:
      ++counts_.cancelled;
      break;
  }
  (record.previous == nullptr ? oldest_ : record.previous->next) = record.next;
  (record.next == nullptr ? newest_ : record.next->previous) = record.previous;
  if (history_.empty()) return;
  forgotten = std::exchange(history_[history_next_], record.ended);
  history_next_ = (history_next_ + 1) % history_.size();
}

void ThreadCore::deliver(std::shared_ptr<const ThreadEvent> event) noexcept {
  static_cast<void>(events_.publish(event));
  event.reset();
  WakeList wake;
  {
    MutexLock lock(mutex_);
    --active_;
    claim_closers(wake);
  }
  wake.wake_all();
}

// --- hooks ---

void ThreadCore::run_slot_hook(const std::function<void(std::size_t)>& hook, std::string_view name,
                               std::size_t slot) noexcept {
  if (!hook) return;
  std::exception_ptr escaped;
  try {
    return hook(slot);
  } catch (...) {
    escaped = std::current_exception();
  }
  report(0, name, escaped);
}

void ThreadCore::report(std::uint64_t id, std::string_view name, const std::exception_ptr& exception) noexcept {
  {
    MutexLock lock(mutex_);
    ++counts_.exceptions;
  }
  if (!options_.on_exception) return;
  try {
    const std::string text = exception_text(exception);
    options_.on_exception(CaughtThreadException{options_.name, id, name, text, exception});
  } catch (...) {
    // The hook is the last one to tell: there is nobody left to hear about its own failure.
    MutexLock lock(mutex_);
    ++counts_.exceptions;
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
