// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A coroutine that may be destroyed while it waits.

#include <coroutine>
#include <exception>
#include <utility>

#include "penstock/core/run_loop.hpp"

namespace penstock::checker {

/// A coroutine that begins at once, resumes on a run loop, and is destroyed by its owner, wherever it is.
class Owned {
 public:
  struct promise_type {
    template <class... Arguments>
    explicit promise_type(RunLoop& loop, Arguments&...) noexcept : on(&loop) {}
    Owned get_return_object() noexcept { return Owned(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_always final_suspend() const noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
    [[nodiscard]] Executor* executor() const noexcept { return on; }

    Executor* on;
  };

  Owned(Owned&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() { destroy(); }

  void destroy() noexcept {
    if (coroutine_) std::exchange(coroutine_, nullptr).destroy();
  }
  [[nodiscard]] bool has_ended() const noexcept { return coroutine_.done(); }

 private:
  explicit Owned(std::coroutine_handle<promise_type> coroutine) noexcept : coroutine_(coroutine) {}

  std::coroutine_handle<promise_type> coroutine_;
};

}  // namespace penstock::checker
