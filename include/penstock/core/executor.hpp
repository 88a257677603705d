// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Where work runs: the interface between whoever makes a coroutine ready and whoever resumes it.
///
/// A piece of work is posted, waits in a queue of its executor, is taken by a thread and runs. Between posting and
/// taking it can be revoked:
///
///     not posted --post--> in a queue --taken--> runs
///                              |
///                              +------revoke---> never runs
///
/// That is what makes it legal to destroy a coroutine whose wait has been decided: somebody has posted the work that
/// resumes it, or is about to, and the destructor of its awaiter takes that work back.

#include <cstddef>
#include <exception>
#include <limits>
#include <utility>

#include "absl/functional/any_invocable.h"

#include "penstock/core/detail/world.hpp"
#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// A piece of work that an executor links into its queue; a node that lives with its owner until it has run, or was
/// revoked. Because posting one allocates nothing, making a coroutine ready cannot fail.
struct Work {
  using Run = void (*)(Work&) noexcept;

  explicit Work(Run run_function) noexcept : run(run_function) {}
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  /// Waits until another thread that is just about to post this work has done so, giving it the processor meanwhile.
  /// For `Executor::revoke`. Work that is posted once more after it has run counts as posted all the time.
  void wait_until_posted() const noexcept;

  const Run run;  ///< May destroy the node.

  // The executor's, while the work is posted.
  Work* next = nullptr;
  Work* previous = nullptr;
  // Null until the work is posted; then the queue it is in, of a group the first one; its own address once it was taken
  // to be run. Changed and read under what guards the queue, so its order is relaxed; wait_until_posted() looks
  // without, and whoever called it takes the guard before acting on what it saw.
  detail::world::Atomic<const void*> place{nullptr};
};

/// Runs what is posted to it, each piece once, in whatever threads it has.
///
/// Threads: `post` from any thread. The executor must outlive what is posted to it.
class Executor {
 public:
  virtual ~Executor() = default;

  /// Has `work` run later, never inside this call unless the executor says so. Never refuses.
  virtual void post(Work& work) noexcept = 0;

  /// Has `function` run later. An exception of `function` goes to `on_exception`.
  /// Throws: std::bad_alloc, and `function` is gone; std::invalid_argument if it is empty. Cost: one allocation.
  void post(absl::AnyInvocable<void() &&> function);

  /// Takes back `work`, which was posted to this executor or is about to be by another thread: it never runs, and may
  /// go. False if a thread has taken it to run, or is perhaps taking it right now. Whoever would then destroy the
  /// coroutine that it resumes destroys one that runs: a caller has to treat that as its own broken contract.
  ///
  /// The caller has to know that nobody runs the work meanwhile. It can be sure of success
  ///   - in work that the executor itself runs, if the executor has one thread (a run loop);
  ///   - while no thread runs work of the executor (a run loop that nobody runs);
  ///   - on the inline executor, for what the calling thread has posted from inside of other work.
  /// An executor with several threads may start the work at any time, so there only one who keeps it from being posted
  /// that early can be sure. It is safe to try: either the work never runs or the answer is false.
  ///
  /// Blocks:  while another thread that is about to post the work has not done so. So the caller holds no lock that
  ///          one could need, and is not that thread itself. Order: what it did before is visible when this returns.
  /// Cost:    O(1).
  [[nodiscard]] virtual bool revoke(Work& work) noexcept = 0;

  /// Called with what escaped from posted functions and from spawned tasks whose result nobody waited for.
  /// Unless an executor has a better place to report it, the process ends, as it does for a `std::thread`.
  virtual void on_exception(std::exception_ptr exception) noexcept;

  /// Runs work at once on the posting thread, after the work that thread is running already: a chain of any length does
  /// not grow the stack. The library posts without holding a lock; who resumes coroutines through it should do so too.
  static Executor& inline_executor() noexcept;
};

/// An intrusive first-in, first-out queue of work, from which any piece can be taken out. For who writes an executor:
///
///     void post(Work& work) noexcept override {     bool revoke(Work& work) noexcept override {
///       MutexLock lock(mutex_);                       work.wait_until_posted();
///       queue_.push(work);                            MutexLock lock(mutex_);
///     }                                               return queue_.remove(work);
///                                                   }
///
/// Queues may make up a group, as where work that comes and work that is next have a lock each: all that is in one of
/// them can be appended to another one at once. A group is guarded as one where work is removed.
///
/// Threads: none of its own, its owner guards it.
class WorkQueue {
 public:
  WorkQueue() noexcept : group_(this) {}
  /// One more of the group that `other`, which outlives it, is of.
  explicit WorkQueue(const WorkQueue* other) noexcept : group_(other->group_) {}
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }

  void push(Work& work) noexcept {
    work.next = nullptr;
    work.previous = tail_;
    work.place.store(group_, std::memory_order_relaxed);
    (tail_ == nullptr ? head_ : tail_->next) = &work;
    tail_ = &work;
  }

  /// The oldest piece of work, or null.
  Work* pop() noexcept {
    Work* const work = head_;
    if (work != nullptr) unlink(*work);
    return work;
  }

  /// Takes `work` out. False if it is not in this queue.
  bool remove(Work& work) noexcept {
    if (!contains(work)) return false;
    const bool is_elsewhere = (work.previous == nullptr && head_ != &work) || (work.next == nullptr && tail_ != &work);
    if (is_elsewhere) return false;  // at an end of another one of the group: between two, it does not matter which
    unlink(work);
    return true;
  }

  /// Whether `work` is in this queue, or another one of the group.
  [[nodiscard]] bool contains(const Work& work) const noexcept {
    return work.place.load(std::memory_order_relaxed) == group_;
  }

  /// Moves all of `other`, of the same group, to the end of this one. Cost: O(1).
  void append(WorkQueue& other) noexcept {
    if (other.head_ == nullptr) return;
    other.head_->previous = tail_;
    (tail_ == nullptr ? head_ : tail_->next) = other.head_;
    tail_ = std::exchange(other.tail_, nullptr);
    other.head_ = nullptr;
  }

  /// Moves the oldest `most` of `other`, or all, to the end of this one, and returns how many. Cost: O(their number).
  std::size_t take(WorkQueue& other, std::size_t most = std::numeric_limits<std::size_t>::max()) noexcept {
    std::size_t count = 0;
    Work* last = nullptr;
    for (Work* work = other.head_; work != nullptr && count < most; work = work->next, ++count) {
      work->place.store(group_, std::memory_order_relaxed);
      last = work;
    }
    if (last == nullptr) return 0;
    Work* const first = std::exchange(other.head_, last->next);
    (other.head_ == nullptr ? other.tail_ : other.head_->previous) = nullptr;
    last->next = nullptr;
    first->previous = tail_;
    (tail_ == nullptr ? head_ : tail_->next) = first;
    tail_ = last;
    return count;
  }

 private:
  void unlink(Work& work) noexcept {
    (work.previous == nullptr ? head_ : work.previous->next) = work.next;
    (work.next == nullptr ? tail_ : work.next->previous) = work.previous;
    work.place.store(&work, std::memory_order_relaxed);
  }

  const WorkQueue* const group_;  // the first one of it
  Work* head_ = nullptr;
  Work* tail_ = nullptr;
};

}  // namespace penstock::inline PENSTOCK_ABI
