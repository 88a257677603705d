// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a swap runner gets its events, and who decides what comes of them.
///
/// Events are a list of nodes that live with those whom they are about. So to post one allocates nothing, and cannot
/// fail.
///
/// One at a time has the *turn*, which is the right to take mail and to decide: a client, or the runner's thread.
///
///     nobody --a client posts what it may decide--> that client --nothing is left--> nobody
///        |                                              '--more than it is to decide--> the thread
///        '--anything else is posted, or it is time--> the thread --nothing is left--> nobody
///
/// Who posts while somebody has the turn leaves the mail there, and goes. Who has the turn lets go of it only when
/// nothing is left, and looks and lets go in one step under the lock. So while nobody has it there is no mail, none is
/// ever left behind, and all of it is taken in the order in which it came. The turn is handed on, not let go of, to
/// the thread: nobody else comes in between.

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

/// First come, first served; what is said about a thing that is listed already keeps its place. Clients take mail about
/// tickets only.
///
/// Threads: who has the turn takes, one thread waits, anybody posts. A posted node stays until it was taken. At first,
/// the thread has the turn.
class SwapMailbox {
 public:
  SwapMailbox() = default;
  SwapMailbox(const SwapMailbox&) = delete;
  SwapMailbox& operator=(const SwapMailbox&) = delete;

  struct Taken {
    SwapMail* mail = nullptr;
    std::uint8_t said = 0;
    std::uint8_t value = 0;
  };

  /// Leaves it to who has the turn; if nobody has, to the thread. False, and nothing is posted, once it is closed.
  bool post(SwapMail& mail, std::uint8_t bit, std::uint8_t value = 0) noexcept ABSL_LOCKS_EXCLUDED(lock_);

  struct Posted {
    bool is_posted = false;
    Taken first;  ///< not null: the caller has the turn, begins with that, and goes on with `next_of_client`
  };
  /// The same of a client, for a ticket: if nobody has the turn, the caller gets it.
  Posted post_or_take(SwapMail& mail, std::uint8_t bit) noexcept ABSL_LOCKS_EXCLUDED(lock_);

  /// What a client wants that has the turn.
  enum class Wish : std::uint8_t {
    kMore,
    kNoMore,  ///< it has done its share
    kThread,  ///< it has begun what only the thread can end
  };
  /// The oldest; null: the caller has lost the turn, to the thread or to nobody.
  Taken next_of_client(Wish wish) noexcept ABSL_LOCKS_EXCLUDED(lock_);

  // Of the thread.

  /// The oldest, or null. Only with the turn, which it keeps.
  Taken take() noexcept ABSL_LOCKS_EXCLUDED(lock_);

  /// Lets go of the turn, if nothing is left, and sleeps until there is mail, it is closed, or `until` has come on
  /// `clock`, whose timers have been started. Has the turn again when it returns.
  void wait(Clock& clock, TimePoint until) noexcept ABSL_LOCKS_EXCLUDED(lock_);

  void close() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// It is closed, and all of it has been taken. In one look: what was posted just before the close is still there.
  [[nodiscard]] bool is_over() const noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// There is no mail, and nobody has the turn.
  [[nodiscard]] bool is_at_rest() const noexcept ABSL_LOCKS_EXCLUDED(lock_);

 private:
  enum class Turn : std::uint8_t { kNobody, kClient, kThread };

  /// False if it is listed already.
  bool list(SwapMail& mail, std::uint8_t bit, std::uint8_t value) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  Taken take_first() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  /// Returns whom to wake, or null.
  [[nodiscard]] WaitNode* hand_to_thread() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  [[nodiscard]] bool has_turn() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  mutable SpinLock lock_;
  SwapMail* first_ ABSL_GUARDED_BY(lock_) = nullptr;
  SwapMail* last_ ABSL_GUARDED_BY(lock_) = nullptr;
  bool closed_ ABSL_GUARDED_BY(lock_) = false;
  bool thread_asks_ ABSL_GUARDED_BY(lock_) = false;  // for the turn, which a client has
  WaitList sleeper_ ABSL_GUARDED_BY(lock_);
  // Written under the lock. Read without it by the thread that is about to sleep, which looks there before it does.
  //   M1  release in hand_to_thread() -> acquire in wait(): what the client began is there. (Seen by ThreadSanitizer
  //       alone: under the model checker nobody looks before he sleeps.)
  world::Atomic<Turn> turn_{Turn::kThread};
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
