// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a coroutine moves to a pool.

#include <coroutine>

#include "penstock/core/executor.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Resumes the coroutine that awaits it in a worker of a pool: what `co_await pool.schedule()` waits for.
template <class Pool>
class [[nodiscard]] ScheduleOn : private Work {
 public:
  explicit ScheduleOn(Pool& pool) noexcept
      : Work([](Work& work) noexcept { static_cast<ScheduleOn&>(work).coroutine_.resume(); }), pool_(pool) {}

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> coroutine) noexcept {
    coroutine_ = coroutine;
    pool_.post(*this);
  }
  void await_resume() const noexcept {}

 private:
  Pool& pool_;
  std::coroutine_handle<> coroutine_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
