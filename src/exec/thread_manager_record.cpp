// SPDX-License-Identifier: MIT
#include <algorithm>
#include <numeric>
#include <utility>

#include "penstock/exec/detail/thread_record.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

// --- ThreadTimes ---

void ThreadTimes::enter(ThreadState state, TimePoint now) noexcept {
  // Nobody else writes, so what the owner reads needs no order.
  const std::uint64_t version = version_.load(std::memory_order_relaxed);
  const Duration::rep to = now.time_since_epoch().count();
  const Duration::rep from = since_.load(std::memory_order_relaxed);
  auto& spent = spent_[static_cast<std::size_t>(state_.load(std::memory_order_relaxed))];
  version_.store(version + 1, std::memory_order_relaxed);
  spent.store(spent.load(std::memory_order_relaxed) + (to - from), std::memory_order_release);  // Q1 release
  state_.store(state, std::memory_order_release);                                               // Q1 release
  since_.store(to, std::memory_order_release);                                                  // Q1 release
  version_.store(version + 2, std::memory_order_release);                                       // Q2 release
}

ThreadTimes::Reading ThreadTimes::read() const noexcept {
  for (std::uint32_t round = 0;; ++round) {
    Reading reading;
    reading.version = version_.load(std::memory_order_acquire);                   // Q2 acquire
    reading.state = state_.load(std::memory_order_acquire);                       // Q1 acquire
    reading.since = TimePoint(Duration(since_.load(std::memory_order_acquire)));  // Q1 acquire
    for (std::size_t i = 0; i < kThreadStates; ++i) {
      reading.spent[i] = Duration(spent_[i].load(std::memory_order_acquire));  // Q1 acquire
    }
    if (reading.version % 2 == 0 && version_.load(std::memory_order_relaxed) == reading.version) return reading;
    world::back_off(round);
  }
}

// --- ThreadRecord ---

ThreadRecord::ThreadRecord(std::string_view called, TimePoint now)
    : name(called),
      started(now),
      times(now),
      begun(std::make_shared<ThreadEvent>()),
      ended(std::make_shared<ThreadEvent>()) {
  for (ThreadEvent* const event : {begun.get(), ended.get()}) {
    event->name = name;
    event->started = now;
  }
  begun->kind = ThreadEvent::Kind::kSpawned;
  ended->kind = ThreadEvent::Kind::kFinished;
}

ThreadInfo ThreadRecord::info(const ThreadTimes::Reading& reading, TimePoint now) const {
  ThreadInfo info;
  info.id = id;
  info.name = name;
  info.state = reading.state;
  info.started = started;
  info.since = reading.since;
  // The owner may have read the clock after the reader.
  info.in_state = std::max(now - reading.since, Duration::zero());
  info.time_in = reading.spent;
  info.time_in[static_cast<std::size_t>(reading.state)] += info.in_state;
  info.age = std::accumulate(info.time_in.begin(), info.time_in.end(), Duration::zero());
  return info;
}

// --- the calling thread ---

ManagedThread& ManagedThread::current() noexcept {
  struct Tag {};
  return world::thread_local_value<Tag, ManagedThread>();
}

std::uint8_t enter_thread_state(std::uint8_t state, std::uint64_t& id) noexcept {
  const ManagedThread& me = ManagedThread::current();
  if (me.record == nullptr) return 0;
  id = me.record->id;
  const ThreadState before = me.record->times.state();
  me.record->times.enter(static_cast<ThreadState>(state), me.clock->now());
  return static_cast<std::uint8_t>(before);
}

void leave_thread_state(std::uint8_t state, std::uint64_t id) noexcept {
  const ManagedThread& me = ManagedThread::current();
  if (id == 0 || me.record == nullptr || me.record->id != id) return;
  me.record->times.enter(static_cast<ThreadState>(state), me.clock->now());
}

// --- asleep ---

namespace {

void fall_asleep() noexcept {
  ManagedThread& me = ManagedThread::current();
  if (me.record == nullptr || me.record->times.state() != ThreadState::kRunning) return;
  me.is_asleep = true;
  me.record->times.enter(ThreadState::kWaiting, me.clock->now());
}

void wake_up() noexcept {
  ManagedThread& me = ManagedThread::current();
  if (!std::exchange(me.is_asleep, false)) return;
  me.record->times.enter(ThreadState::kRunning, me.clock->now());
}

}  // namespace

const SleepObserver kManagedSleep{fall_asleep, wake_up};

}  // namespace penstock::inline PENSTOCK_ABI::detail
