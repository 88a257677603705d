// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Where work runs: the interface between whoever makes a coroutine ready and whoever resumes it.

#include <exception>

#include "absl/functional/any_invocable.h"

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// A piece of work that an executor links into its queue; a node that lives with its owner until it has run.
/// Because posting one allocates nothing, making a coroutine ready cannot fail.
struct Work {
  using Run = void (*)(Work&) noexcept;

  explicit Work(Run run_function) noexcept : run(run_function) {}
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  const Run run;         ///< May destroy the node.
  Work* next = nullptr;  ///< The executor's, while the node is posted.
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

  /// Called with what escaped from posted functions and from spawned tasks whose result nobody waited for.
  /// Unless an executor has a better place to report it, the process ends, as it does for a `std::thread`.
  virtual void on_exception(std::exception_ptr exception) noexcept;

  /// Runs work at once on the posting thread, after the work that thread is running already: a chain of any length does
  /// not grow the stack. The library posts without holding a lock; who resumes coroutines through it should do so too.
  static Executor& inline_executor() noexcept;
};

/// An intrusive first-in, first-out queue of work. Threads: none of its own, its owner guards it.
class WorkQueue {
 public:
  [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }

  void push(Work& work) noexcept {
    work.next = nullptr;
    (tail_ == nullptr ? head_ : tail_->next) = &work;
    tail_ = &work;
  }

  /// The oldest piece of work, or null.
  Work* pop() noexcept {
    Work* const work = head_;
    if (work != nullptr) {
      head_ = work->next;
      if (head_ == nullptr) tail_ = nullptr;
    }
    return work;
  }

 private:
  Work* head_ = nullptr;
  Work* tail_ = nullptr;
};

}  // namespace penstock::inline PENSTOCK_ABI
