// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The machinery behind `Task`: promises, and the root coroutine of a spawned task.

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "penstock/core/context.hpp"
#include "penstock/core/detail/block_cache.hpp"
#include "penstock/core/detail/check.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/executor.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/core/op_status.hpp"

namespace penstock::inline PENSTOCK_ABI {
template <class T>
class Task;
}

namespace penstock::inline PENSTOCK_ABI::detail {

/// What a coroutine came to: nothing yet, a value, or an exception. Made in one thread and taken in one.
template <class T>
class TaskResult {
 public:
  template <class U = T>
  requires std::is_convertible_v<U, T>
  void return_value(U&& value) { value_.emplace(std::forward<U>(value)); }
  void unhandled_exception() noexcept { exception_ = std::current_exception(); }

  T take() {
    PENSTOCK_CHECK(!std::exchange(taken_, true), "the result of a task was taken twice");
    if (exception_) std::rethrow_exception(std::exchange(exception_, nullptr));
    return std::move(*value_);
  }
  std::exception_ptr take_exception() noexcept { return std::exchange(exception_, nullptr); }

 private:
  static_assert(std::is_object_v<T> && std::is_move_constructible_v<T>, "a task returns void or a movable value");

  std::optional<T> value_;
  std::exception_ptr exception_;
  bool taken_ = false;
};

template <>
class TaskResult<void> {
 public:
  void return_void() noexcept {}
  void unhandled_exception() noexcept { exception_ = std::current_exception(); }

  void take() {
    PENSTOCK_CHECK(!std::exchange(taken_, true), "the result of a task was taken twice");
    if (exception_) std::rethrow_exception(std::exchange(exception_, nullptr));
  }
  std::exception_ptr take_exception() noexcept { return std::exchange(exception_, nullptr); }

 private:
  std::exception_ptr exception_;
  bool taken_ = false;
};

/// Where the frames of tasks come from: like jobs they are made by one thread and end in another.
struct TaskFrame {
  static void* operator new(std::size_t bytes) { return allocate_block(bytes); }
  static void operator delete(void* frame, std::size_t bytes) noexcept { free_block(frame, bytes); }
};

/// The promise of `Task<T>`.
///
/// The awaiting coroutine resumes the task as a plain call, and afterwards both say that they are done with their half:
/// the one that awaits, that it is suspended; the task, that it has ended. Whoever comes second lets the awaiting one
/// run. So a task that ends at once returns into its caller and a loop over such tasks uses no stack. Symmetric
/// transfer would do the same, but g++ 12 makes it a real tail call only when it optimises.
template <class T>
class TaskPromise : public TaskResult<T>, public TaskFrame {
 public:
  Task<T> get_return_object() noexcept;
  std::suspend_always initial_suspend() const noexcept { return {}; }
  auto final_suspend() const noexcept { return Final{}; }
  [[nodiscard]] Executor* executor() const noexcept { return executor_; }

  class Awaiter {
   public:
    explicit Awaiter(std::coroutine_handle<TaskPromise> task) noexcept : task_(task) {}
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> caller) noexcept {
      PENSTOCK_CHECK(task_ && task_.promise().executor_ == nullptr,
                     "a task was awaited twice, or after it was moved from");
      TaskPromise& promise = task_.promise();
      promise.executor_ = &executor_of(caller);
      promise.caller_ = caller;
      task_.resume();
      return !promise.other_half_done_.exchange(true, std::memory_order_acq_rel);  // H1
    }
    T await_resume() { return task_.promise().take(); }

   private:
    std::coroutine_handle<TaskPromise> task_;
  };

 private:
  struct Final {
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<TaskPromise> task) const noexcept {
      TaskPromise& promise = task.promise();
      const std::coroutine_handle<> caller = promise.caller_;
      if (promise.other_half_done_.exchange(true, std::memory_order_acq_rel)) caller.resume();  // H1
    }
    void await_resume() const noexcept {}
  };

  Executor* executor_ = nullptr;
  std::coroutine_handle<> caller_;
  // H1  release by the first half -> acquire by the second: the task's result, and the caller's suspended frame, are
  //     complete before the caller runs on.
  world::Atomic<bool> other_half_done_{false};
};

template <class T>
class SpawnedTask;

/// What `run_spawned` returns: the promise, which the caller owns together with the coroutine.
template <class T>
struct SpawnedRoot {
  using promise_type = SpawnedTask<T>;
  SpawnedTask<T>* promise;
};

/// The promise of the coroutine that runs a spawned task, shared by that coroutine and its `JoinHandle`: the frame goes
/// with the later of the two.
template <class T>
class SpawnedTask : public TaskResult<T>, public TaskFrame {
 public:
  SpawnedTask(Executor* executor, const Task<T>& /*task*/) noexcept : executor_(executor) {}

  SpawnedRoot<T> get_return_object() noexcept { return {this}; }
  std::suspend_always initial_suspend() const noexcept { return {}; }
  auto final_suspend() const noexcept { return Final{}; }
  [[nodiscard]] Executor* executor() const noexcept { return executor_; }

  void start() noexcept { executor_->post(start_); }

  OpStatus wait(const Context& ctx) {
    Waiter waiter(ctx);
    WaitNode node(waiter, nullptr);
    if (!list(node)) return OpStatus::kOk;
    const Waiter::Outcome outcome = waiter.wait();
    if (outcome < Waiter::kServed) unlist(node);
    return to_op_status(outcome);
  }

  void release() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;  // R1
    // Both are gone: an exception that was not taken has no other witness.
    if (std::exception_ptr exception = this->take_exception()) executor_->on_exception(std::move(exception));
    std::coroutine_handle<SpawnedTask>::from_promise(*this).destroy();
  }

  class Awaiter {
   public:
    explicit Awaiter(SpawnedTask& root) noexcept : root_(root) {}
    Awaiter(const Awaiter&) = delete;
    Awaiter& operator=(const Awaiter&) = delete;
    ~Awaiter() {
      if (!suspended_) return;
      // A coroutine of another make is being destroyed where it is suspended.
      if (wait_->call_off() < Waiter::kServed) root_.unlist(wait_->node());
    }

    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> caller) {
      wait_.emplace(caller, nullptr);
      suspended_ = true;  // before it is listed: from then on the frame may be gone
      return wait_->suspend([this] {
        if (root_.list(wait_->node())) return true;
        suspended_ = false;
        return false;
      });
    }
    T await_resume() {
      suspended_ = false;
      return root_.take();
    }

   private:
    SpawnedTask& root_;
    std::optional<EndlessCoroutineWait> wait_;
    bool suspended_ = false;
  };

 private:
  struct Final {
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<SpawnedTask> root) const noexcept { root.promise().end(); }
    void await_resume() const noexcept {}
  };
  struct Start : Work {
    explicit Start(SpawnedTask& root) noexcept
        : Work([](Work& work) noexcept {
            std::coroutine_handle<SpawnedTask>::from_promise(static_cast<Start&>(work).self).resume();
          }),
          self(root) {}
    SpawnedTask& self;
  };

  /// False if the task has ended: there is nothing to wait for.
  bool list(WaitNode& node) noexcept ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    if (!ended_) joining_.push(node);
    return !ended_;
  }
  void unlist(WaitNode& node) noexcept ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    joining_.remove(node);
  }

  void end() noexcept {
    WakeList wake;
    {
      MutexLock lock(mutex_);
      ended_ = true;
      joining_.claim_all(Waiter::kServed, wake);
    }
    wake.wake_all();
    release();
  }

  Executor* const executor_;
  Start start_{*this};
  // R1  release by the first owner to go -> acquire by the last, who destroys the frame.
  world::Atomic<std::uint32_t> references_{2};
  Mutex mutex_;  // leaf
  WaitList joining_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
