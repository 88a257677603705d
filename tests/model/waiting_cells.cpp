// SPDX-License-Identifier: MIT

// Mutexes, condition variables and futexes: where threads wait for each other.

#include "model/execution.hpp"
#include "model/trace.hpp"

namespace penstock::checker {
namespace {

enum What : std::uint32_t { kLock = 48, kTryLock, kUnlock, kWait, kNotify, kFutexWait, kFutexWake, kAwake };

void note(const char* what, const ObjectHandle& handle, const char* how = "") {
  if (trace.recording()) execution.step(what + execution.describe_object(Execution::index_of(handle)) + how);
}

void take(Object& mutex) {
  Fiber& me = execution.me();
  mutex.owner = me.id;
  ++me.mutexes_held;
  execution.acquire(mutex.released);
  execution.changed(mutex);
}

void release(Object& mutex) {
  Fiber& me = execution.me();
  execution.flush_mine();
  mutex.owner = Object::kNobody;
  --me.mutexes_held;
  mutex.released = me.clock;
  execution.advance_epoch();
  execution.note_write();
  execution.changed(mutex);
}

/// Sleeps at `address`; false if the wait timed out.
bool sleep(const void* address, const TimePoint* deadline, std::uint32_t wanted_mutex) {
  Fiber& me = execution.me();
  me.state = Fiber::State::kWaiting;
  me.wait_address = address;
  me.wanted_mutex = wanted_mutex;
  me.timed = deadline != nullptr && *deadline != TimePoint::max();
  me.deadline = me.timed ? deadline->time_since_epoch().count() : 0;
  execution.give_way();
  me.wanted_mutex = Fiber::kNothing;
  return !me.timed_out;
}

/// Wakes one of those that sleep at `address`; false if there is none. Which one is a decision.
bool wake_one(const void* address) {
  std::uint32_t sleepers[kMaxThreads];
  std::uint32_t count = 0;
  for (std::uint32_t id = 0; id != execution.fiber_count(); ++id) {
    const Fiber& fiber = execution.fiber(id);
    if (fiber.state == Fiber::State::kWaiting && fiber.wait_address == address) sleepers[count++] = id;
  }
  if (count == 0) return false;
  Fiber& sleeper = execution.fiber(sleepers[execution.choose(count)]);
  execution.saw(sleeper.history, kNotify);
  execution.wake(sleeper);
  sleeper.history = mix(sleeper.history, execution.me().history);
  if (trace.recording()) execution.step("  wakes " + thread_label(sleeper.id));
  return true;
}

}  // namespace

// --- mutex ---

void MutexCell::begin_life() noexcept {
  if (!execution.controls()) return;
  const Entry entry;
  execution.begin_life(handle_, this, 'M');
}

void MutexCell::end_life() noexcept {
  if (!execution.controls()) return;
  const Entry entry;
  execution.end_life(handle_, this, 'M');
}

void MutexCell::lock() noexcept {
  if (!execution.controls()) return;
  const Entry entry;
  Fiber& me = execution.me();
  const std::uint32_t owner = execution.object(handle_, this, 'M').owner;
  if (owner == me.id) {
    fail(Violation::Kind::kMisuse,
         thread_label(me.id) + " locks " + execution.describe_object(Execution::index_of(handle_)) + " a second time");
  }
  me.wanted_mutex = Execution::index_of(handle_);
  execution.schedule();
  me.wanted_mutex = Fiber::kNothing;
  Object& mutex = execution.object(handle_, this, 'M');
  execution.touch(this, false);
  execution.flush_mine();
  execution.saw(mutex, kLock);
  take(mutex);
  note("lock ", handle_);
}

bool MutexCell::try_lock() noexcept {
  if (!execution.controls()) return true;
  const Entry entry;
  execution.schedule();
  Object& mutex = execution.object(handle_, this, 'M');
  execution.touch(this, false);
  execution.flush_mine();
  execution.saw(mutex, kTryLock);
  const bool free = mutex.owner == Object::kNobody;
  if (free) take(mutex);
  note("try_lock ", handle_, free ? "" : " fails");
  return free;
}

void MutexCell::unlock() noexcept {
  if (!execution.controls()) return;
  const Entry entry;
  execution.schedule();
  Object& mutex = execution.object(handle_, this, 'M');
  execution.touch(this, false);
  const Fiber& me = execution.me();
  if (mutex.owner != me.id) {
    fail(Violation::Kind::kMisuse,
         thread_label(me.id) + " unlocks " + execution.describe_object(Execution::index_of(handle_)) + ", which " +
             (mutex.owner == Object::kNobody ? "nobody" : thread_label(mutex.owner)) + " has locked");
  }
  execution.saw(mutex, kUnlock);
  release(mutex);
  note("unlock ", handle_);
}

// --- condition variable ---

void ConditionCell::begin_life() noexcept {
  if (!execution.controls()) return;
  const Entry entry;
  execution.begin_life(handle_, this, 'C');
}

void ConditionCell::end_life() noexcept {
  if (!execution.controls()) return;
  const Entry entry;
  execution.end_life(handle_, this, 'C');
}

void ConditionCell::wait(MutexCell& mutex) noexcept { wait(mutex, nullptr); }
bool ConditionCell::wait_until(MutexCell& mutex, TimePoint deadline) noexcept { return wait(mutex, &deadline); }

bool ConditionCell::wait(MutexCell& mutex, const TimePoint* deadline) noexcept {
  if (!execution.controls()) return true;
  const Entry entry;
  execution.schedule();
  execution.object(handle_, this, 'C');
  execution.touch(this, false);
  Object& held = execution.object(mutex.handle_, &mutex, 'M');
  const Fiber& me = execution.me();
  if (held.owner != me.id) {
    fail(Violation::Kind::kMisuse, thread_label(me.id) + " waits with " +
                                       execution.describe_object(Execution::index_of(mutex.handle_)) +
                                       ", which it has not locked");
  }
  note("wait in ", handle_);
  execution.saw(held, kWait);
  release(held);
  const bool notified = sleep(this, deadline, Execution::index_of(mutex.handle_));
  Object& again = execution.object(mutex.handle_, &mutex, 'M');
  execution.saw(again, kAwake);
  take(again);
  note(notified ? "wakes with " : "has timed out and wakes with ", mutex.handle_);
  return notified;
}

void ConditionCell::notify_one() noexcept { notify(false); }
void ConditionCell::notify_all() noexcept { notify(true); }

void ConditionCell::notify(bool all) noexcept {
  if (!execution.controls()) return;
  const Entry entry;
  execution.schedule();
  execution.object(handle_, this, 'C');
  execution.touch(this, false);
  execution.flush_mine();
  note(all ? "notify_all " : "notify_one ", handle_);
  execution.saw(0, kNotify);
  while (wake_one(this) && all) {
  }
}

// --- futex ---

bool Futex::wait(const AtomicCell& cell, std::uint32_t expected, const TimePoint* deadline) noexcept {
  if (!execution.controls()) return true;
  const Entry entry;
  execution.schedule();
  Object& object = execution.object(cell.handle_, &cell, 'A');
  execution.touch(&cell, false);
  execution.flush_mine();  // the kernel reads memory
  execution.saw(object, kFutexWait);
  const bool sleeps = static_cast<std::uint32_t>(cell.bits_) == expected;
  note(sleeps ? "futex_wait on " : "futex_wait returns at once from ", cell.handle_);
  return !sleeps || sleep(&cell, deadline);
}

bool Futex::wait(const std::uint32_t* word, std::uint32_t expected, const TimePoint* deadline) noexcept {
  if (!execution.controls()) return true;
  const Entry entry;
  execution.schedule();
  execution.flush_mine();
  execution.saw(shadow.sync(reinterpret_cast<std::uintptr_t>(word)).version, kFutexWait);
  if (trace.recording()) execution.step("futex_wait in the standard library");
  return __atomic_load_n(word, __ATOMIC_RELAXED) != expected || sleep(word, deadline);
}

bool Futex::sleep(const void* word, const TimePoint* deadline) noexcept {
  if (deadline != nullptr && *deadline != TimePoint::max() && deadline->time_since_epoch().count() <= execution.now()) {
    execution.saw(execution.time_version(), kAwake);
    return false;
  }
  const bool woken = checker::sleep(word, deadline, Fiber::kNothing);
  if (trace.recording()) execution.step(woken ? "wakes" : "has timed out and wakes");
  return woken;
}

int Futex::wake(const void* word, int count) noexcept {
  if (!execution.controls()) return 0;
  const Entry entry;
  execution.schedule();
  execution.flush_mine();
  execution.saw(0, kFutexWake);
  if (trace.recording()) execution.step("futex_wake at " + describe_address(reinterpret_cast<std::uintptr_t>(word)));
  int woken = 0;
  while (woken != count && wake_one(word)) ++woken;
  return woken;
}

}  // namespace penstock::checker
