// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How threads and coroutines wait for a process to be ready, or to have stopped.

#include <coroutine>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/detail/wait_list.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

class ProcessCore;

/// What somebody wants of a process.
struct ProcessWish {
  enum class Kind : std::uint8_t { kReady, kStopped, kShutdown, kNotStarting };

  Kind kind = Kind::kReady;
  Duration graceful_timeout = Duration::min();  ///< the smallest: as the process is set up
};

/// One wait, whose address is the slot of its node.
struct ProcessWait {
  // Written under the core's lock, before it is listed.
  std::uint64_t start = 0;  // the start whose end it waits for; 0: it waits for
  std::uint64_t stop = 0;   // the end of this stop
  absl::Status result;      // the claimer's; or written before it was ever listed
};

/// Looks, asks for what is wanted, and lists `node`, whose slot is `wait`; returns false if there is nothing to wait
/// for: then the result is there. Once it is listed it may be gone when this returns. With `node` null it never lists,
/// and says Unavailable instead. Throws: std::bad_alloc.
bool enter(ProcessCore& core, const ProcessWish& wish, const Context& ctx, ProcessWait& wait, WaitNode* node);

/// For a wait that was listed, and has been claimed: what came of it. Throws: std::bad_alloc.
absl::Status leave(ProcessCore& core, const Context& ctx, ProcessWait& wait, WaitNode& node, Waiter::Outcome outcome);

/// For a wait whose result nobody wants: takes `node` off, if it is still listed.
void abandon(ProcessCore& core, WaitNode& node) noexcept;

/// The wait of a thread. Throws: std::bad_alloc; std::system_error if the clock of `ctx` needs a timer thread and
/// cannot start it.
absl::Status await(ProcessCore& core, const ProcessWish& wish, const Context& ctx);

/// The wait of a coroutine, for `co_await`.
class [[nodiscard]] ProcessAwaiter {
 public:
  ProcessAwaiter(std::shared_ptr<ProcessCore> core, ProcessWish wish, Context ctx) noexcept
      : core_(std::move(core)), wish_(wish), ctx_(std::move(ctx)) {}
  ProcessAwaiter(const ProcessAwaiter&) = delete;
  ProcessAwaiter& operator=(const ProcessAwaiter&) = delete;
  ~ProcessAwaiter() {
    // The coroutine is being destroyed where it is suspended.
    if (suspended_.has_value()) {
      static_cast<void>(suspended_->call_off());
      abandon(*core_, suspended_->node());
    }
  }

  [[nodiscard]] bool await_ready() const noexcept { return false; }

  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    suspended_.emplace(ctx_, coroutine, &wait_);
    bool is_listed = true;
    const bool is_suspended = suspended_->suspend([this, &is_listed] {
      if (enter(*core_, wish_, ctx_, wait_, &suspended_->node())) return true;  // it may be gone
      is_listed = false;
      return false;
    });
    if (!is_listed) suspended_.reset();
    return is_suspended;
  }

  absl::Status await_resume() {
    if (!suspended_.has_value()) return std::move(wait_.result);
    const Waiter::Outcome outcome = suspended_->resume();
    absl::Status result = leave(*core_, ctx_, wait_, suspended_->node(), outcome);
    suspended_.reset();
    return result;
  }

 private:
  const std::shared_ptr<ProcessCore> core_;
  const ProcessWish wish_;
  const Context ctx_;
  ProcessWait wait_;
  std::optional<CoroutineWait> suspended_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
