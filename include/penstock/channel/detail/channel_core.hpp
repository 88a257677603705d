// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The part of a channel that does not depend on its elements: its two ends, who waits, how a wait goes and ends.
///
/// A channel has a sending and a receiving end, each with a lock of its own, and between them a ring of slots. A slot
/// says by itself whether it is full, so while nobody waits a send takes the sending end's lock and the next slot, a
/// receive the receiving end's, and the two touch no other memory in common. Both answers are exact: whoever holds an
/// end's lock and finds the next slot full (or empty) knows that the whole ring is, since slots are filled and emptied
/// in order.
///
/// Everything else is a detour for which both locks are taken, the sending end's first. Then the whole channel stands
/// still: operations are listed, claimed and handed over as in a channel with a single lock. What sends an operation on
/// the detour is the `notice` of its end: peers wait, places are reserved, it is closed, there is no buffer. A notice
/// is changed under both locks and read under one.
///
/// An operation (`ChannelOp`) that cannot be completed is listed under both locks, and from then on somebody else
/// completes it:
///
///   * a peer takes it off the list by winning its claim, moves the value from or to it, sets `moved`, unlocks, wakes;
///   * `close` takes it off in the same way and leaves `moved` false;
///   * its context ends, or its coroutine is destroyed: then it locks the channel once more to take itself off.
///
/// In the first two cases the operation does not touch the channel again, so whoever completed it may let the channel
/// go. Those of the third kind are counted by their end until they have left, and the destructor waits for them.
///
/// Two facts follow, and all code here relies on them: while a receiver waits nothing is buffered, and while a sender
/// waits no place is free. So who comes new and can go ahead overtakes nobody. A place that is reserved is taken: a
/// sender may wait for one while a receiver waits for a value.

// Why it is built like this
//
// Nanoseconds per value of 8 bytes on two cores, medians of three interleaved rounds. "ring" is a prototype: lock-free,
// stamped slots, waiters beside it. "mutex" is what this library had first: one mutex, the same hand-over, and sleep
// without a look; its row is from a run of its own, in which "this" took up to twice as long at capacity 0 and 1.
// crossbeam is crossbeam-channel 0.5.6.
//
//     capacity          0                    1                    100                 1000
//     senders   1     4    1    4    1     4    1    4    1    4    1    4    1    4    1    4
//     receivers 1     1    4    4    1     1    4    4    1    1    4    4    1    1    4    4
//     this      200  534  612  351   103  597  554  208   16   43   35   41   10   13   13   13
//     ring       82  115  481  179    84  366  435  482   15   32   73   49    7    9   18   12
//     crossbeam 194  634  307  546   205  650  562  689  111   57   46   57   36   29   20   11
//     mutex   25580 6798 6523 3367 16124 5756 5518 3354  443  647  918  228  125  176  335  159
//
// The ring needs a compare-and-swap for each operation where this takes an exchange and a store, and is no faster once
// there is a buffer. It can neither serve those who wait in the order in which they came, nor hand a value over, nor be
// looked at by a select that has to be sure: its newcomers overtake without a bound, and that is what makes it faster
// without a buffer. So that difference, the columns for capacity 0, is what strict order costs. Of the mutex most is
// lost by sleeping (patience.hpp), and the rest because both sides fetch one line for each value.
//
// Strict order: an operation that is listed is overtaken by nobody. A thread that still looks, for some microseconds
// and with a buffer, is not listed yet.

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>

#include "penstock/core/context.hpp"
#include "penstock/core/detail/cache_padded.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/detail/spin_lock.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/op_status.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Why an operation has to take both locks: flags, and above them a number that grows with every change, so that who
/// sees the same notice twice knows that it was so in between.
using Notice = std::uint32_t;
inline constexpr Notice kPeersWait = 1;  ///< Operations wait at the other end.
inline constexpr Notice kChannelClosed = 2;
inline constexpr Notice kReserved = 4;    ///< Places are reserved. At the sending end only.
inline constexpr Notice kRendezvous = 8;  ///< There is no buffer.
inline constexpr Notice kNoticeChange = 16;

/// One end of a channel: senders or receivers. Its members are guarded by its lock, the list and the notice by both.
struct ChannelEnd {
  explicit ChannelEnd(std::size_t slot_count) noexcept
      : notice(slot_count == 0 ? kRendezvous : 0), capacity(slot_count) {}

  void set_notice(Notice flag, bool on) noexcept {
    const Notice before = notice.load(std::memory_order_relaxed);
    if (((before & flag) != 0) == on) return;
    notice.store((before ^ flag) + kNoticeChange, std::memory_order_relaxed);
  }
  [[nodiscard]] bool has(Notice flag) const noexcept { return (notice.load(std::memory_order_relaxed) & flag) != 0; }

  /// One value has passed, and the next slot is the one after.
  void advance() noexcept {
    const std::uint32_t next = index.load(std::memory_order_relaxed) + 1;
    index.store(next == capacity ? 0 : next, std::memory_order_relaxed);
    passed.store(passed.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  SpinLock lock;
  // Written with a lock held, read without one only as a hint.
  world::Atomic<Notice> notice;
  world::Atomic<std::uint64_t> passed{0};  // values that have gone through the buffer at this end
  world::Atomic<std::uint32_t> index{0};   // of the next slot
  const std::size_t capacity;              // at both ends, so that each finds it on its own line
  void* slots = nullptr;                   // likewise

  world::Atomic<std::uint64_t> last_shortage{0};  // `passed` when a thread last had to wait here
  WaitList waiting;                               // first come, first served
  std::size_t count = 0;  // of the waiting; one whose wait ended otherwise counts until it has taken itself off
};

struct alignas(kCachePadding) SendingEnd : ChannelEnd {
  using ChannelEnd::ChannelEnd;

  std::uint64_t high_water = 0;
  std::uint64_t received_at_least = 0;  // `passed` of the other end when it was last looked at
  // Under both locks:
  world::Atomic<std::size_t> reserved{0};  // read without a lock as a hint
  std::uint64_t handed = 0;                // values that went from a sender to a receiver directly
  std::uint64_t closes = 0;
};

struct alignas(kCachePadding) ReceivingEnd : ChannelEnd {
  using ChannelEnd::ChannelEnd;

  // Under both locks:
  std::uint64_t drained = 0;
  std::size_t visits = 0;  // operations that have entered, whether they wait or not
  WaitList destroyer;      // the thread in let_go, while it waits
};

/// What every channel has, whatever its elements.
struct ChannelCore {
  /// Throws: std::invalid_argument unless `slot_count` slots of `slot_size` bytes are a size that can be; its
  /// text speaks of values of `value_size` bytes.
  ChannelCore(std::size_t slot_count, std::size_t slot_size, std::size_t value_size);
  ChannelCore(const ChannelCore&) = delete;
  ChannelCore& operator=(const ChannelCore&) = delete;
  ~ChannelCore() = default;

  /// Both locks; a rendezvous has only one.
  void lock_both() noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS {
    tx.lock.lock();
    if (tx.capacity != 0) rx.lock.lock();
  }
  void unlock_both() noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (tx.capacity != 0) rx.lock.unlock();
    tx.lock.unlock();
  }

  /// Before destruction: closes, and waits until every operation that was listed has left.
  void let_go() noexcept;

  /// Returns whether it was open until now.
  bool close() noexcept;

  // Called under both locks, as all that follows.
  void enlist(ChannelEnd& end, WaitNode& node) noexcept {
    end.waiting.push(node);
    ++end.count;
    peer_of(end).set_notice(kPeersWait, true);
  }
  /// Takes off the first that can be claimed; null if there is none. The caller completes it, unlocks, and wakes it.
  WaitNode* claim_first(ChannelEnd& end) noexcept;
  [[nodiscard]] std::size_t buffered() const noexcept {
    return static_cast<std::size_t>(tx.passed.load(std::memory_order_relaxed) -
                                    rx.passed.load(std::memory_order_relaxed));
  }
  /// Whether a value may be put into the buffer. Without the locks, a guess.
  [[nodiscard]] bool has_room() const noexcept {
    return buffered() + tx.reserved.load(std::memory_order_relaxed) < tx.capacity;
  }

  void add_reserved(std::ptrdiff_t change) noexcept {
    const std::size_t reserved = tx.reserved.load(std::memory_order_relaxed) + static_cast<std::size_t>(change);
    tx.reserved.store(reserved, std::memory_order_relaxed);
    tx.set_notice(kReserved, reserved != 0);
    tx.notice.store(tx.notice.load(std::memory_order_relaxed) + kNoticeChange, std::memory_order_relaxed);
  }

  /// For an operation that uses the channel again after it was served: the destructor waits until it has left. Locks.
  void enter() noexcept;
  void exit() noexcept;

  /// Takes off an operation that was enlisted and has not been claimed through its node. Locks.
  void leave(ChannelEnd& end, WaitNode& node) noexcept;

  SendingEnd tx;
  ReceivingEnd rx;

 private:
  /// Nobody waits or will come back. Under both locks.
  [[nodiscard]] bool is_quiet() const noexcept { return tx.count + rx.count + rx.visits == 0; }

  ChannelEnd& peer_of(ChannelEnd& end) noexcept {
    return &end == &tx ? static_cast<ChannelEnd&>(rx) : static_cast<ChannelEnd&>(tx);
  }
};

/// Holds both locks of a channel for a scope.
class BothLocks {
 public:
  explicit BothLocks(const ChannelCore& channel) noexcept : channel_(const_cast<ChannelCore&>(channel)) {
    channel_.lock_both();
  }
  ~BothLocks() { channel_.unlock_both(); }
  BothLocks(const BothLocks&) = delete;
  BothLocks& operator=(const BothLocks&) = delete;

 private:
  ChannelCore& channel_;
};

/// A send or a receive, as its waiter, its peers and select see it. It lives with its caller until it has ended.
class ChannelOp {
 public:
  ChannelOp(ChannelCore& on, ChannelEnd& from) noexcept : channel(on), end(from) {}
  ChannelOp(const ChannelOp&) = delete;
  ChannelOp& operator=(const ChannelOp&) = delete;

  /// Completes the operation if that can be done now, under both locks.
  ///
  /// Returns: kOk or kClosed; kFull or kEmpty if it has to wait. Whoever is in `wake` has to be woken once nothing is
  /// locked.
  virtual OpStatus attempt(WakeList& wake) noexcept = 0;

  /// The same as a whole: locks what it needs, tries, unlocks, wakes.
  virtual OpStatus try_now() noexcept = 0;

  /// Whether `try_now` might succeed; looks without a lock, and may be wrong by the time it returns.
  [[nodiscard]] virtual bool looks_ready() const noexcept = 0;

  /// How a wait ended that the channel ended.
  [[nodiscard]] OpStatus served_status() const noexcept { return moved ? OpStatus::kOk : OpStatus::kClosed; }

  ChannelCore& channel;
  ChannelEnd& end;     ///< Where it waits.
  bool moved = false;  ///< It has been completed. Written under both locks, read by the owner once woken.

 protected:
  ~ChannelOp() = default;
};

/// Whether `status`, of an attempt, says that the operation has to wait.
inline bool must_wait(OpStatus status) noexcept { return status == OpStatus::kFull || status == OpStatus::kEmpty; }

/// Completes `op`, which could not be completed at once, on the calling thread.
///
/// Blocks:  until a peer or `close` ends it, or `ctx` does.
/// Returns: kOk, kClosed, kTimedOut or kCancelled. Throws: std::system_error as `Waiter` does, before it waits.
OpStatus wait_for(ChannelOp& op, const Context& ctx);

/// Completes `op` if that can be done now after all, and lists it otherwise. `listed` is set before it can be resumed.
OpStatus attempt_or_list(ChannelOp& op, WaitNode& node, bool& listed) noexcept;

/// Throws: std::invalid_argument, always: the channel has no buffer.
[[noreturn]] void refuse_to_reserve();

/// Stands where a context might, for waits that have none.
struct NoContext {
  static constexpr OpStatus status() noexcept { return OpStatus::kOk; }
};

/// The wait of a coroutine for `op`, which is kept beside it and outlives it. `Ctx` is Context or NoContext.
template <class Ctx>
class CoroutineOp {
 public:
  explicit CoroutineOp(ChannelOp& op, Ctx ctx = {}) noexcept : op_(op), ctx_(std::move(ctx)) {}
  CoroutineOp(const CoroutineOp&) = delete;
  CoroutineOp& operator=(const CoroutineOp&) = delete;
  ~CoroutineOp() {
    if (listed_ && wait_->call_off() < Waiter::kServed) op_.channel.leave(op_.end, wait_->node());
  }

  /// Whether there is nothing to suspend for. `Op` is the type of the operation.
  template <class Op>
  bool ready(Op& op) noexcept {
    // Where a context is to be asked first, the attempt has to come before that, and otherwise with the listing.
    if constexpr (std::is_same_v<Ctx, NoContext>) {
      if (!op.looks_ready()) return false;
    }
    return ready(op.try_now());
  }
  /// Given what a first attempt came to.
  bool ready(OpStatus attempted) noexcept {
    if (must_wait(attempted)) {
      const OpStatus ended = ctx_.status();
      if (ended == OpStatus::kOk) return false;
      attempted = ended;
    }
    status_ = attempted;
    return true;
  }

  template <class Promise>
  bool suspend(std::coroutine_handle<Promise> coroutine) {
    if constexpr (std::is_same_v<Ctx, NoContext>) {
      wait_.emplace(coroutine, &op_);
    } else {
      wait_.emplace(ctx_, coroutine, &op_);
    }
    return wait_->suspend([this] {
      const OpStatus status = attempt_or_list(op_, wait_->node(), listed_);
      if (must_wait(status)) return true;
      status_ = status;
      return false;
    });
  }

  /// In `await_resume`: how the operation ended.
  OpStatus finish() noexcept {
    if (!listed_) return status_;
    listed_ = false;
    const Waiter::Outcome outcome = wait_->resume();
    if (outcome >= Waiter::kServed) return op_.served_status();
    op_.channel.leave(op_.end, wait_->node());
    return to_op_status(outcome);
  }

 private:
  using Wait = std::conditional_t<std::is_same_v<Ctx, NoContext>, EndlessCoroutineWait, CoroutineWait>;

  ChannelOp& op_;
  [[no_unique_address]] const Ctx ctx_;
  std::optional<Wait> wait_;
  OpStatus status_ = OpStatus::kOk;
  bool listed_ = false;  // suspended, or about to be
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
