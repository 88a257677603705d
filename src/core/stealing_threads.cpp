// SPDX-License-Identifier: MIT
#include "penstock/core/detail/stealing_pool.hpp"
#include "penstock/core/detail/thread_name.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

using namespace std::chrono_literals;

// Without a bound who waits in the queue would starve. With eight coroutines on a channel, 4 cost a tenth more than 32,
// and 256 no less.
constexpr std::uint32_t kFrontInARow = 32;
constexpr std::uint32_t kMailPeriod = 61;
// The watch: a look costs some microseconds, so even the shortest interval takes a few per cent of a processor, and the
// longest a few per mille; and work is held up for two of them at most.
constexpr std::chrono::nanoseconds kFirstLook = 100us;
constexpr std::chrono::nanoseconds kLongestLook = 1ms;
constexpr std::uint32_t kQuietLooks = 8;

}  // namespace

// --- a worker ---

void StealingPool::run(Worker& me) noexcept {
  current() = &me;
  name_thread(name_, '/', me.index);
  me.measured_at = world::now();
  while (Work* const work = next(me)) {
    me.begun.store(me.begun.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    work->run(*work);
  }
}

Work* StealingPool::next(Worker& me) noexcept {
  if (--me.until_mail == 0) {
    me.until_mail = kMailPeriod;
    me.measure();
    if (has_mail_.load(std::memory_order_relaxed)) {
      if (Work* const work = take_mail(me, false)) return work;
    }
  }
  if (me.in_a_row < kFrontInARow || me.length.load(std::memory_order_relaxed) == 0) {
    if (Work* const work = me.take_front()) {
      ++me.in_a_row;
      return work;
    }
  }
  me.in_a_row = 0;
  if (Work* const work = me.take_oldest()) return work;
  if (Work* const work = me.take_front()) return work;
  return find(me);
}

/// Of a worker that has nothing.
Work* StealingPool::find(Worker& me) noexcept {
  me.measure();
  for (;;) {
    if (Work* const work = take_mail(me, true)) return work;
    if (me.searcher) {
      if (Work* const work = search(me)) return work;
    }
    WorkQueue taken;
    if (!rest(me, taken)) return nullptr;
    me.measured_at = world::now();
    if (!taken.empty()) return keep(me, taken);
  }
}

Work* StealingPool::take_mail(Worker& me, bool or_search) noexcept {
  WorkQueue taken;
  Claimed claimed;
  {
    MutexLock lock(mutex_);
    taken.take(mail_, kMostAtOnce);
    has_mail_.store(!mail_.empty(), std::memory_order_relaxed);
    if (!taken.empty()) {
      give_up_roles(me, claimed);
    } else if (or_search && !searching_.load(std::memory_order_relaxed)) {
      set_searching(me, true);
    }
  }
  claimed.wake();
  return keep(me, taken);
}

Work* StealingPool::keep(Worker& me, WorkQueue& taken) noexcept {
  Work* const first = taken.pop();
  if (taken.empty()) return first;
  {
    MutexLock lock(me.mutex);
    const auto count = static_cast<std::uint32_t>(me.queue.take(taken));
    me.length.store(me.length.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
  }
  prompt(me);
  return first;
}

/// Looks for a little while whether mail comes, or somebody has more than he should. Null: look at the mail again.
Work* StealingPool::search(Worker& me) noexcept {
  WorkQueue taken;
  const std::uint32_t start = world::random_below(static_cast<std::uint32_t>(threads_));
  for (std::uint32_t spin = 0;; ++spin) {
    if (has_mail_.load(std::memory_order_relaxed)) return nullptr;
    for (std::size_t i = 0; spin % 16 == 0 && i < threads_ && taken.empty(); ++i) {
      Worker& victim = workers_[(start + i) % threads_];
      if (&victim != &me && victim.is_worth_help()) victim.give_half(taken, kMostAtOnce);
    }
    if (!taken.empty()) break;
    if (spin >= me.spins) {  // it does not seem to pay
      me.spins -= me.spins / 4;
      return nullptr;
    }
    world::pause();
  }
  me.spins = world::spin_limit();
  Claimed claimed;
  {
    MutexLock lock(mutex_);
    give_up_roles(me, claimed);
  }
  claimed.wake();
  return keep(me, taken);
}

// --- rest ---

bool StealingPool::rest(Worker& me, WorkQueue& taken) noexcept {
  bool watches = false;
  bool goes = false;
  Claimed claimed;
  {
    MutexLock lock(mutex_);
    if (!mail_.empty()) return true;
    if (me.searcher) set_searching(me, false);
    if (stopping_ && idle_count_ + 1 == started_) claim_everybody(claimed);
    goes = over_;
    if (!goes) {
      list_idle(me);
      watches = watch_ == &me || (watch_ == nullptr && idle_count_ < started_);
      if (watches) set_watch(&me);
    }
  }
  claimed.wake();
  if (goes) return false;
  if (watches) {
    keep_watch(me, taken);
  } else {
    me.parker.park();
  }
  return true;
}

/// Returns when `me` has been claimed, or has taken something and ceased to rest.
void StealingPool::keep_watch(Worker& me, WorkQueue& taken) noexcept {
  std::chrono::nanoseconds interval = kFirstLook;
  std::uint32_t quiet = 0;
  world::TimePoint looked = world::now();
  for (std::size_t i = 0; i < threads_; ++i) {
    me.seen[i].begun = workers_[i].begun.load(std::memory_order_relaxed);
    me.seen[i].length = workers_[i].length.load(std::memory_order_relaxed);
  }
  while (quiet < kQuietLooks) {
    if (me.parker.park_until(looked + interval)) return;
    const world::TimePoint now = world::now();
    look_after_others(me, static_cast<std::uint64_t>((now - looked).count()), taken);
    looked = now;
    interval = std::min(interval * 2, kLongestLook);
    Claimed claimed;
    bool was_claimed = false;
    {
      MutexLock lock(mutex_);
      was_claimed = !me.idle;
      if (!taken.empty()) {
        if (!was_claimed) unlist_idle(me);
      } else if (idle_count_ < started_) {
        quiet = 0;
      } else if (++quiet == kQuietLooks && watch_ == &me) {
        set_watch(nullptr);
      }
    }
    if (was_claimed) me.parker.park();  // the one who claimed is about to leave the token
    if (!taken.empty()) {
      MutexLock lock(mutex_);
      give_up_roles(me, claimed);
    }
    claimed.wake();
    if (was_claimed || !taken.empty()) return;
  }
  me.parker.park();
}

void StealingPool::look_after_others(Worker& me, std::uint64_t elapsed_ns, WorkQueue& taken) noexcept {
  for (std::size_t i = 0; i < threads_ && taken.empty(); ++i) {
    Worker& other = workers_[i];
    if (&other == &me) continue;
    const std::uint32_t begun = other.begun.load(std::memory_order_relaxed);
    const std::uint32_t pieces = begun - std::exchange(me.seen[i].begun, begun);
    const std::uint32_t length = other.length.load(std::memory_order_relaxed);
    const bool had_queue = std::exchange(me.seen[i].length, length) != 0;
    if (pieces == 0) {
      if (Work* const front = other.take_front()) taken.push(*front);
    }
    // With a queue at both ends of the time it was at work in between, most likely.
    if (taken.empty() && length != 0 &&
        (pieces == 0 || other.is_worth_help() || (had_queue && length * elapsed_ns / pieces > kWorthwhileNs))) {
      other.give_half(taken, kMostAtOnce);
    }
  }
}

void StealingPool::list_idle(Worker& me) noexcept {
  me.idle = true;
  me.previous_idle = nullptr;
  me.next_idle = first_idle_;
  if (first_idle_ != nullptr) first_idle_->previous_idle = &me;
  first_idle_ = &me;
  idle_.store(static_cast<std::uint32_t>(++idle_count_), std::memory_order_relaxed);
}

void StealingPool::unlist_idle(Worker& me) noexcept {
  me.idle = false;
  (me.previous_idle == nullptr ? first_idle_ : me.previous_idle->next_idle) = me.next_idle;
  if (me.next_idle != nullptr) me.next_idle->previous_idle = me.previous_idle;
  idle_.store(static_cast<std::uint32_t>(--idle_count_), std::memory_order_relaxed);
}

void StealingPool::set_watch(Worker* watch) noexcept {
  watch_ = watch;
  watched_.store(watch != nullptr, std::memory_order_relaxed);
}

void StealingPool::set_searching(Worker& me, bool searching) noexcept {
  me.searcher = searching;
  searching_.store(searching, std::memory_order_relaxed);
}

void StealingPool::claim(Worker& worker, Claimed& claimed) noexcept {
  unlist_idle(worker);
  claimed.add(worker);
}

/// Not the watch, if there is another one: so a watch that is claimed leaves nobody behind.
void StealingPool::claim_searcher(Claimed& claimed) noexcept {
  Worker* worker = first_idle_;
  if (worker == nullptr || searching_.load(std::memory_order_relaxed)) return;
  if (worker == watch_ && worker->next_idle != nullptr) worker = worker->next_idle;
  if (worker == watch_) set_watch(nullptr);
  claim(*worker, claimed);
  set_searching(*worker, true);
}

void StealingPool::claim_watch(Claimed& claimed) noexcept {
  set_watch(first_idle_);
  if (watch_ != nullptr) claim(*watch_, claimed);
}

void StealingPool::claim_everybody(Claimed& claimed) noexcept {
  over_ = true;
  set_watch(nullptr);
  while (first_idle_ != nullptr) claim(*first_idle_, claimed);
}

void StealingPool::give_up_roles(Worker& me, Claimed& claimed) noexcept {
  if (me.searcher) set_searching(me, false);
  if (watch_ == &me) claim_watch(claimed);
  if (!mail_.empty()) claim_searcher(claimed);
}
}  // namespace penstock::inline PENSTOCK_ABI::detail
