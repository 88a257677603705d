// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a swap runner's thread gets its events: a list of nodes that live with those whom they are about. So to post one
/// allocates nothing, and cannot fail.

#include <cstdint>

#include "absl/base/thread_annotations.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/spin_lock.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Something that has been said about one thing: a ticket, a task, a model.
struct SwapMail {
  enum class About : std::uint8_t { kTicket, kTask, kModel, kUnload, kShutdown };

  explicit SwapMail(About subject) noexcept : about(subject) {}
  SwapMail(const SwapMail&) = delete;
  SwapMail& operator=(const SwapMail&) = delete;

  const About about;
  // Guarded by the mailbox's lock.
  bool listed = false;
  std::uint8_t said = 0;   // the bits of all that was said since it was taken
  std::uint8_t value = 0;  // that came last
  SwapMail* next = nullptr;
};

/// First come, first served; what is said about a thing that is listed already keeps its place.
///
/// Threads: one takes and waits, anybody posts. A posted node stays until it was taken.
class SwapMailbox {
 public:
  SwapMailbox() = default;
  SwapMailbox(const SwapMailbox&) = delete;
  SwapMailbox& operator=(const SwapMailbox&) = delete;

  /// False, and nothing is posted, once it is closed.
  bool post(SwapMail& mail, std::uint8_t bit, std::uint8_t value = 0) noexcept ABSL_LOCKS_EXCLUDED(lock_);

  struct Taken {
    SwapMail* mail = nullptr;
    std::uint8_t said = 0;
    std::uint8_t value = 0;
  };
  /// The oldest, or null.
  Taken take() noexcept ABSL_LOCKS_EXCLUDED(lock_);

  /// Sleeps until there is mail, it is closed, or `until` has come on `clock`, whose timers have been started.
  void wait(Clock& clock, TimePoint until) noexcept ABSL_LOCKS_EXCLUDED(lock_);

  void close() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  [[nodiscard]] bool is_closed() const noexcept ABSL_LOCKS_EXCLUDED(lock_);
  [[nodiscard]] bool is_empty() const noexcept ABSL_LOCKS_EXCLUDED(lock_);

 private:
  mutable SpinLock lock_;
  SwapMail* first_ ABSL_GUARDED_BY(lock_) = nullptr;
  SwapMail* last_ ABSL_GUARDED_BY(lock_) = nullptr;
  bool closed_ ABSL_GUARDED_BY(lock_) = false;
  WaitList sleeper_ ABSL_GUARDED_BY(lock_);
  // Whether there is something to wake up for, to be asked without the lock by who is about to sleep, and looks there
  // before it does. So it orders nothing.
  world::Atomic<bool> has_news_{false};
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
