// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Lets the owner of a callback take it back while another thread may be running it.
///
/// An object that calls registered callbacks (a timer queue, a cancellation state) takes one out of its list under its
/// mutex, enters the gate, unlocks, calls, locks and leaves the gate. Whoever removes a callback locks the mutex,
/// unlinks it if it is still listed, and otherwise passes through `await`, which returns when no other thread runs it
/// any more: after that the callback's memory may go. The rule is that of `std::stop_callback`: a callback that removes
/// itself does not wait for itself, and nothing of it is touched after it has returned.

#include <mutex>

#include "penstock/core/detail/parker.hpp"
#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Threads: every member is called with the owner's mutex held; that mutex guards the gate.
class CallbackGate {
 public:
  /// A callback that runs now; lives in the frame of the thread that runs it.
  class Running;

  /// Waits until no other thread runs the callback `subject`. The mutex of `lock` is released while waiting, so a
  /// callback that is listed again meanwhile has to be looked for again: returns true if it waited.
  bool await(std::unique_lock<world::Mutex>& lock, const void* subject) noexcept;

 private:
  struct Awaiting {
    Parker parker;
    Awaiting* next = nullptr;
  };

  Running* running_ = nullptr;
};

class CallbackGate::Running {
 public:
  /// Enters the gate.
  Running(CallbackGate& gate, const void* subject) noexcept
      : gate_(gate), subject_(subject), thread_(world::this_thread_id()), next_(gate.running_) {
    gate.running_ = this;
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  /// Leaves the gate and wakes, with the mutex released for that long, whoever waits for this callback to end.
  void leave(std::unique_lock<world::Mutex>& lock) noexcept;

 private:
  friend class CallbackGate;

  CallbackGate& gate_;
  const void* const subject_;
  const world::ThreadId thread_;
  Running* next_;
  Awaiting* awaiting_ = nullptr;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
