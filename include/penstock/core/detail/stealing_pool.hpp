// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a WorkStealingExecutor is made of.
///
/// Places. Work of other threads comes into the mail, under mutex_. What a worker itself posts goes to its front slot;
/// what was there goes to the end of its queue. The worker runs the front first, kFrontInARow times at most while its
/// queue is not empty, then the oldest of its queue; every kMailPeriod pieces it looks at the mail. A worker with
/// nothing left takes the mail, then searches, then rests.
///
/// Who may take. Only its worker fills a front slot and a queue; anybody may empty them: the slot by one exchange, the
/// queue under the worker's mutex. So every piece has exactly one taker, and a `revoke` is one of them. A piece's
/// `place` names where it is. While a thief carries work it names the thief's hands: a revoker waits a moment then.
///
/// When to help. Waking a thread costs what a hundred hand-overs cost, and afterwards two threads share what one had to
/// itself. So posting to one's own queue wakes nobody unless the queue would take its worker kWorthwhileNs to run, by
/// the mean of the pieces before. The rest is the business of the watch.
///
/// The watch. While some workers rest and some do not, one of the resting ones sleeps with a deadline and looks at the
/// others: a worker that has begun nothing since the last look is held up, and then even its front is taken; one that
/// is too slow for its queue loses half of that. So no work waits behind a thread that computes or blocks.
///   - A worker that goes to rest becomes the watch if there is none, unless all others rest already.
///   - A watch that goes to work makes a resting worker the watch.
///   - A watch that has seen everybody rest kQuietLooks times sleeps without a deadline. The first worker that posts
///     work to itself after that calls for a new one.
/// All of this changes under mutex_, so a worker that is not resting knows: there is a watch, or nobody rests, or it is
/// the one that has to call.
///
/// Wake-ups. Whoever takes a resting worker off the list of the idle (under mutex_) wakes it exactly once, without the
/// mutex; and the worker waits for that token, so nobody wakes a worker that is gone. A woken worker is the searcher,
/// of whom there is one at a time: while there is one, mail wakes nobody, since a searcher looks at the mail under
/// mutex_ in the section in which it stops searching. If it leaves mail behind it wakes the next one.
///
/// The end. Workers go when the pool is stopping and everybody rests: the last one to rest sends all of them home. What
/// is posted after that is run by the destroying thread.
///
/// Locks: mutex_ and the workers' mutexes are leaves; nothing is locked while one is held.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "penstock/core/detail/cache_padded.hpp"
#include "penstock/core/detail/parker.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/executor.hpp"
#include "penstock/core/mutex.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

class StealingPool {
 public:
  StealingPool(std::size_t threads, std::string_view name);
  StealingPool(const StealingPool&) = delete;
  StealingPool& operator=(const StealingPool&) = delete;
  ~StealingPool();

  /// Starts the threads. Throws: std::system_error; those that run go with the pool.
  void start() ABSL_LOCKS_EXCLUDED(mutex_);

  void post(Work& work) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  bool revoke(Work& work) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::size_t threads() const noexcept { return threads_; }
  [[nodiscard]] bool on_own_thread() const noexcept;

 private:
  struct Worker;

  // About ten times what a thread needs from being woken to its first piece: two threads that share a channel make it
  // several times dearer. With 10 us, four producers of a channel of 1000 were at times spread over two threads, and an
  // item took 76 ns instead of 17; with 300 us never, but then a few pieces of 50 us would wait for each other.
  static constexpr std::uint64_t kWorthwhileNs = 50'000;
  static constexpr std::uint64_t kLongestMeanNs = 1'000'000'000;
  static constexpr std::size_t kMostAtOnce = 64;  // pieces that are moved under a lock

  static Worker*& current() noexcept;

  // What a thread does.
  void run(Worker& me) noexcept;
  Work* next(Worker& me) noexcept;
  Work* find(Worker& me) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  Work* search(Worker& me) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// Returns once there may be something to do, with `taken` if it has taken that already; false if the worker is to
  /// go.
  bool rest(Worker& me, WorkQueue& taken) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void keep_watch(Worker& me, WorkQueue& taken) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void look_after_others(Worker& me, std::uint64_t elapsed_ns, WorkQueue& taken) noexcept;

  // Moving work.
  void post_own(Worker& me, Work& work) noexcept;
  void post_mail(Work& work) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// What came by mail, or null; `or_search`: then the worker is the searcher, if there is none.
  Work* take_mail(Worker& me, bool or_search) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// Puts what was taken into the worker's queue, but for the first piece, which it returns.
  Work* keep(Worker& me, WorkQueue& taken) noexcept;
  void prompt(const Worker& me) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  // Who rests. Workers that are claimed are off the list; `Claimed` wakes them when the mutex is free.
  class Claimed;
  void claim(Worker& worker, Claimed& claimed) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void claim_searcher(Claimed& claimed) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void claim_watch(Claimed& claimed) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void claim_everybody(Claimed& claimed) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// `me` goes to work: what it was to do for the others another one has to do.
  void give_up_roles(Worker& me, Claimed& claimed) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void list_idle(Worker& me) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void unlist_idle(Worker& me) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void set_watch(Worker* watch) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void set_searching(Worker& me, bool searching) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void stop() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  const std::string name_;
  const std::size_t threads_;
  const std::unique_ptr<Worker[]> workers_;

  // Hints, written under mutex_ and read without. Relaxed:
  //   has_mail_: who rests has looked under the mutex.
  //   searching_: a stale one calls for help in vain, or at the next piece.
  //   idle_, watched_: a worker that runs sees at least what was when it last ceased to rest (it was taken off the list
  //   under the mutex). Since then only those went to rest who saw to the watch themselves.
  alignas(kCachePadding) world::Atomic<std::uint32_t> idle_{0};
  world::Atomic<bool> watched_{false};
  world::Atomic<bool> has_mail_{false};
  world::Atomic<bool> searching_{false};

  alignas(kCachePadding) Mutex mutex_;
  WorkQueue mail_ ABSL_GUARDED_BY(mutex_);
  Worker* first_idle_ ABSL_GUARDED_BY(mutex_) = nullptr;  // the last one to rest is the first one to work
  std::size_t idle_count_ ABSL_GUARDED_BY(mutex_) = 0;
  std::size_t started_ ABSL_GUARDED_BY(mutex_) = 0;  // threads, all of them unless one could not be started
  Worker* watch_ ABSL_GUARDED_BY(mutex_) = nullptr;  // resting, or woken in order to be it
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;  // the workers go
};

/// One thread.
struct alignas(kCachePadding) StealingPool::Worker {
  StealingPool* pool = nullptr;
  std::size_t index = 0;
  world::Thread thread;

  // --- shared with who takes ---
  // F1  release by the worker that fills the slot -> acquire by who empties it: the work is complete.
  alignas(kCachePadding) world::Atomic<Work*> front{nullptr};
  Mutex mutex;
  WorkQueue queue ABSL_GUARDED_BY(mutex);
  // Written under `mutex`, read without. A stale one costs a needless lock or a help that comes later; the worker
  // itself never reads 0 while something is in there, since only it adds.
  world::Atomic<std::uint32_t> length{0};
  // Written by the worker.
  world::Atomic<std::uint32_t> begun{0};  // pieces, modulo 2^32
  world::Atomic<std::uint32_t> mean_ns{1'000};

  // --- the worker's own ---
  alignas(kCachePadding) std::uint32_t in_a_row = 0;  // fronts
  std::uint32_t until_mail = 1;
  std::uint32_t measured_begun = 0;
  world::TimePoint measured_at{};
  std::uint32_t spins = 0;
  Parker parker;
  // --- guarded by the pool's mutex ---
  bool idle = false;
  bool searcher = false;  // this worker is the one that searching_ speaks of
  Worker* next_idle = nullptr;
  Worker* previous_idle = nullptr;
  // --- for when this worker is the watch: what it saw of the others ---
  struct Seen {
    std::uint32_t begun = 0;
    std::uint32_t length = 0;
  };
  std::vector<Seen> seen;

  /// Whether its queue would take longer than a wake-up.
  [[nodiscard]] bool is_worth_help() const noexcept {
    return std::uint64_t{length.load(std::memory_order_relaxed)} * mean_ns.load(std::memory_order_relaxed) >
           kWorthwhileNs;
  }
  void measure() noexcept;
  Work* take_front() noexcept;
  Work* take_oldest() noexcept ABSL_LOCKS_EXCLUDED(mutex);
  void give_half(WorkQueue& thief, std::size_t most) noexcept ABSL_LOCKS_EXCLUDED(mutex);
};

/// Workers to be woken when the mutex is free again.
class StealingPool::Claimed {
 public:
  Claimed() = default;
  Claimed(const Claimed&) = delete;
  Claimed& operator=(const Claimed&) = delete;

  void add(Worker& worker) noexcept {
    worker.next_idle = first_;
    first_ = &worker;
  }
  void wake() noexcept {
    for (Worker* worker = std::exchange(first_, nullptr); worker != nullptr;) {
      Worker* const next = worker->next_idle;  // read first: once it has its token the worker may go
      worker->parker.unpark();
      worker = next;
    }
  }

 private:
  Worker* first_ = nullptr;
};
}  // namespace penstock::inline PENSTOCK_ABI::detail
