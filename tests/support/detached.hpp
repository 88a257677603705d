// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A coroutine that can be destroyed wherever it is suspended.

#include <coroutine>

#include "penstock/core/executor.hpp"
#include "penstock/core/run_loop.hpp"

namespace penstock::testing {

/// A coroutine that nobody owns but the test. It begins at once; its first parameter is the loop on which it resumes.
struct Detached {
  struct promise_type {
    template <class... Arguments>
    explicit promise_type(RunLoop& loop, Arguments&...) noexcept : on(&loop) {}
    Detached get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() {}
    [[nodiscard]] Executor* executor() const noexcept { return on; }
    RunLoop* on;
  };
  std::coroutine_handle<promise_type> handle;
};

}  // namespace penstock::testing
