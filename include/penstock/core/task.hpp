// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Coroutines: `Task<T>` computes a `T`, `spawn` starts one on an executor, `sync_wait` waits for one.
///
///     Task<int> answer(Channel<int>& questions) {
///       int question = 0;
///       co_await questions.async_receive(question);
///       co_return question + 1;
///     }
///
///     JoinHandle<int> handle = spawn(pool, answer(questions));   // runs on the pool
///     int value = sync_wait(std::move(handle));                  // a thread waits; a coroutine would co_await it

#include <coroutine>
#include <utility>

#include "penstock/core/context.hpp"
#include "penstock/core/detail/check.hpp"
#include "penstock/core/detail/task_promise.hpp"
#include "penstock/core/executor.hpp"
#include "penstock/core/op_status.hpp"
#include "penstock/core/run_loop.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// A coroutine that computes a `T` (a movable value, or void). It starts when it is awaited, on the executor of whoever
/// awaits it, and hands its result or its exception to that one. Every wait of the library inside it resumes it on that
/// executor. Dropping a task that was not started destroys it.
///
/// A loop that awaits does not grow the stack, whether the awaited tasks finish at once or later; tasks that await
/// tasks use stack in proportion to their depth, as function calls do.
///
/// Cost: one allocation, of the coroutine's frame; small frames are kept for later tasks.
template <class T = void>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::TaskPromise<T>;

  Task(Task&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  Task& operator=(Task other) noexcept {
    std::swap(coroutine_, other.coroutine_);
    return *this;
  }
  ~Task() {
    if (coroutine_) coroutine_.destroy();
  }

  /// `co_await std::move(task)`: runs it, and returns its value or throws its exception. Once.
  auto operator co_await() && noexcept { return typename promise_type::Awaiter{coroutine_}; }

 private:
  friend promise_type;
  explicit Task(std::coroutine_handle<promise_type> coroutine) noexcept : coroutine_(coroutine) {}

  std::coroutine_handle<promise_type> coroutine_;
};

/// The end of a spawned task, to wait for. Dropping it lets the task run on by itself; an exception that nobody can see
/// any more then goes to the executor's `on_exception`. So the executor outlives the handle, too.
///
/// Threads: one owner; waiting and the task's end may race.
template <class T = void>
class [[nodiscard]] JoinHandle {
 public:
  JoinHandle(JoinHandle&& other) noexcept : root_(std::exchange(other.root_, nullptr)) {}
  JoinHandle& operator=(JoinHandle other) noexcept {
    std::swap(root_, other.root_);
    return *this;
  }
  ~JoinHandle() {
    if (root_ != nullptr) root_->release();
  }

  /// Waits until the task has ended.
  ///
  /// Blocks:  until then, or until `ctx` ends; the task runs on in that case.
  /// Returns: kOk, kTimedOut or kCancelled.
  OpStatus wait(const Context& ctx = Context::background()) { return root().wait(ctx); }

  /// Waits without a limit, and returns the task's value or throws its exception. Once.
  T get() {
    PENSTOCK_CHECK(root().wait(Context::background()) == OpStatus::kOk, "a wait without a limit was served");
    return root().take();
  }

  /// `co_await handle`: what `get` does, for a coroutine. Once.
  auto operator co_await() noexcept { return typename detail::SpawnedTask<T>::Awaiter(root()); }

 private:
  template <class U>
  friend JoinHandle<U> spawn(Executor& executor, Task<U> task);
  explicit JoinHandle(detail::SpawnedTask<T>* root) noexcept : root_(root) {}

  [[nodiscard]] detail::SpawnedTask<T>& root() const noexcept {
    PENSTOCK_CHECK(root_ != nullptr, "a join handle was used after it was moved from");
    return *root_;
  }

  detail::SpawnedTask<T>* root_;
};

/// Starts `task` on `executor`, inside this call only if that runs work at once, and returns its end. Dropping that is
/// allowed. When the end has come, the task and what it was given are gone. Throws: std::bad_alloc, and `task` is gone.
/// Cost: one allocation beside the task's own.
template <class T>
JoinHandle<T> spawn(Executor& executor, Task<T> task);

/// Runs `task` on the calling thread until it has ended, and returns its value or throws its exception.
/// Blocks: while the task waits. A coroutine may do so, too, as long as the task waits for nothing that only the
/// blocked thread can run. Throws: std::bad_alloc. Cost: two allocations beside the task's own.
template <class T>
T sync_wait(Task<T> task);

/// Waits for a spawned task, and returns its value or throws its exception.
template <class T>
T sync_wait(JoinHandle<T> handle) {
  return handle.get();
}

// --- implementation ---

template <class T>
Task<T> detail::TaskPromise<T>::get_return_object() noexcept {
  return Task<T>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}

namespace detail {

template <class T>
SpawnedRoot<T> run_spawned(Executor* /*executor*/, Task<T> task) {
  // A parameter would stay until the handle goes; a local one goes before anybody is told that the task has ended.
  Task<T> own = std::move(task);
  co_return co_await std::move(own);
}

template <class T>
Task<T> stop_at_end(RunLoop& loop, Task<T> task) {
  struct Stop {
    RunLoop& loop;
    ~Stop() { loop.stop(); }
  } stop{loop};
  co_return co_await std::move(task);
}

}  // namespace detail

template <class T>
JoinHandle<T> spawn(Executor& executor, Task<T> task) {
  detail::SpawnedTask<T>* const root = detail::run_spawned(&executor, std::move(task)).promise;
  JoinHandle<T> handle(root);
  root->start();
  return handle;
}

template <class T>
T sync_wait(Task<T> task) {
  RunLoop loop;
  JoinHandle<T> handle = spawn(loop, detail::stop_at_end(loop, std::move(task)));
  loop.run();
  return handle.get();
}

}  // namespace penstock::inline PENSTOCK_ABI
