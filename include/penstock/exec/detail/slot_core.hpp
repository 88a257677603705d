// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a `SlotQueue` is, but for the type of its slots: a stack of slots that are idle, a line of those who wait, and
/// the starts that are under way. At most one of stack and line holds anything.
///
/// A slot lives in a node, and a node has one owner at a time:
///
///     free --offer: reserved--> idle <--> leased      under the lock; `id` is the slot's as long as it is one of these
///      ^                          |         |
///      '------- leaving <---------'---------'          its owner, without the lock: moves the slot out, or destroys it
///
/// A slot that comes, by an offer or at the end of a lease, goes to the first in line whose claim succeeds, so exactly
/// one is woken; else it goes on top of the stack. An acquire takes from the top, an eject out of the middle, and as a
/// slot is idle for longer than all above it, expiry looks at the bottom only. So each of these is O(1).
///
/// The core lives until its last share is gone: one is the queue's, one belongs to each lease, token, ticket and
/// acquire in line, and to who carries out what is left to do after the lock. Nodes live as long as the core, so a
/// token can look at its node, and see by the id whether its slot is still there.
///
/// Nothing of the user's runs under the lock. What an event asks for is noted in `Effects`, and done by `apply`: wake,
/// arm the timer, see whether to launch, and end the slots that leave, in this order. Each of these may run code of the
/// user's that destroys the queue, so what comes next has a share. The destroyer closes, after which nobody begins to
/// arm or launch, and waits for the others who are at that.

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/detail/spin_lock.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/exec/slot_queue_options.hpp"
#include "penstock/metrics/ewma.hpp"

namespace penstock::inline PENSTOCK_ABI {
class MetricSink;
}

namespace penstock::inline PENSTOCK_ABI::detail {

class SlotCore;
class SlotWait;

/// The place of a slot. All but `core` is guarded by the core's lock.
class SlotNode {
 public:
  explicit SlotNode(SlotCore& owner) noexcept : core(owner) {}
  SlotNode(const SlotNode&) = delete;
  SlotNode& operator=(const SlotNode&) = delete;
  virtual ~SlotNode() = default;

  SlotCore& core;

 private:
  friend class SlotCore;

  enum class Place : std::uint8_t { kFree, kMaking, kIdle, kLeased, kLeaving };

  Place place_ = Place::kFree;
  SlotEnd end_ = SlotEnd::kRetired;  // why it leaves
  bool retires_ = false;             // does not come back
  std::uint64_t id_ = 0;
  SlotNode* below_ = nullptr;  // on the stack; the next one of those that are free, or leave
  SlotNode* above_ = nullptr;
  SlotNode* made_before_ = nullptr;
  TimePoint since_{};  // when it came to be idle, or leased
};

/// A start under way.
struct SlotStart {
  explicit SlotStart(SlotCore& owner) noexcept : core(owner) {}

  SlotCore& core;
  // Guarded by the core's lock.
  SlotWait* asker = nullptr;  // null: it has gone
  TimePoint since{};
};

/// One acquire, from its first look to its slot or refusal.
///
/// Threads: one owner; what the core guards says so.
class SlotWait {
 public:
  explicit SlotWait(SlotCore& core) noexcept : core_(core) {}
  SlotWait(const SlotWait&) = delete;
  SlotWait& operator=(const SlotWait&) = delete;
  inline ~SlotWait();

  /// The slot it was lent, which is the caller's from here on.
  [[nodiscard]] SlotNode* take() noexcept { return std::exchange(lent_, nullptr); }
  [[nodiscard]] bool is_lent() const noexcept { return lent_ != nullptr; }

  /// Why it was lent nothing.
  [[nodiscard]] absl::Status refusal();

  /// It was claimed by the start that it had asked for, which has failed.
  static constexpr Waiter::Outcome kStartFailed = Waiter::kServed + 1;

 private:
  friend class SlotCore;

  enum class Why : std::uint8_t { kNothing, kExhausted, kTimedOut, kCancelled, kClosed, kFailed };

  SlotCore& core_;
  Why why_ = Why::kNothing;
  bool has_share_ = false;  // from joining the line; becomes the lease's
  Duration waited_{};
  std::size_t leased_ = 0;  // what there was at the end, for the text
  std::size_t starting_ = 0;
  std::size_t waiting_ = 0;
  absl::Status error_;  // written by who claimed it

  // Guarded by the core's lock.
  SlotNode* lent_ = nullptr;  // the owner's, once it was woken or has looked
  WaitNode* node_ = nullptr;  // while it stands in line
  TimePoint since_{};
  SlotStart* start_ = nullptr;  // the one it has asked for
  bool lacks_start_ = false;    // is on the list of those who have none
  SlotWait* next_ = nullptr;
  SlotWait* previous_ = nullptr;
};

/// Writes the metrics of a queue, with the label queue = `queue_name`.
void collect_slot_queue(MetricSink& sink, const std::string& queue_name, const SlotQueueStats& stats);

class SlotCore {
 public:
  SlotCore(const SlotCore&) = delete;
  SlotCore& operator=(const SlotCore&) = delete;

  /// Closes, and gives up the queue's share. Blocks: while others arm a timer or launch.
  void destroy() noexcept ABSL_LOCKS_EXCLUDED(lock_);

  [[nodiscard]] const SlotSettings& settings() const noexcept { return settings_; }

  // Offering. A reserved node is the caller's, to make a slot in it.

  /// Null: closed. Throws: std::bad_alloc.
  [[nodiscard]] SlotNode* reserve() ABSL_LOCKS_EXCLUDED(lock_);
  /// The slot was not made.
  void withdraw(SlotNode& node) noexcept ABSL_LOCKS_EXCLUDED(lock_) { recycle(node); }
  /// Ends `start`, if there is one, and queues the slot, with a share for its token. Returns its id.
  std::uint64_t publish(SlotNode& node, SlotStart* start) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  [[nodiscard]] absl::Status closed_error() const;

  // Tokens.

  void share() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  void unshare() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  [[nodiscard]] SlotState state(const SlotNode& node, std::uint64_t id) const noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// Whether the slot was idle: then the node is the caller's.
  [[nodiscard]] bool eject(SlotNode& node, std::uint64_t id, EjectRefusal& why) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  void count_foreign_token() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  SlotState retire(SlotNode& node, std::uint64_t id) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// Takes back a node whose slot is gone.
  void recycle(SlotNode& node) noexcept ABSL_LOCKS_EXCLUDED(lock_);

  // Leases.

  /// The newest slot that is idle, or null.
  [[nodiscard]] SlotNode* try_take() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// After that came to nothing.
  [[nodiscard]] bool take(SlotWait& wait, const Context& ctx) ABSL_LOCKS_EXCLUDED(lock_);
  /// Ends a lease; the slot goes back, unless it `retires`. The core may be gone.
  void give_back(SlotNode& node, bool retires) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// Ends a lease and has the caller move the slot out, who then calls `end_take_out`; only then the core may be gone.
  void end_take_out(SlotNode& node) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  void take_out(SlotNode& node) noexcept ABSL_LOCKS_EXCLUDED(lock_);

  // The parts of `take`.

  void refuse_exhausted(SlotWait& wait) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// Whether it may help to wait; else the reason is noted, or something lent.
  [[nodiscard]] bool may_wait(SlotWait& wait, const Context& ctx) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// Looks once more, and puts `node`, whose slot is `wait`, in line. Once that is done it may be gone when this
  /// returns.
  [[nodiscard]] bool join(SlotWait& wait, WaitNode& node) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// For a wait that was claimed, before its waiter goes.
  void leave(SlotWait& wait, WaitNode& node, Waiter::Outcome outcome) noexcept ABSL_LOCKS_EXCLUDED(lock_);

  // Starts.

  /// Ends a start, with its share. Whether somebody got the error.
  bool fail(SlotStart& start, absl::Status error) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// The same for one that nobody has said anything about.
  void drop(SlotStart& start) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  static absl::Status settled_error();
  [[nodiscard]] absl::Status dropped_error() const;
  [[nodiscard]] absl::Status shortage_error() const;
  [[nodiscard]] bool needs_slot() noexcept ABSL_LOCKS_EXCLUDED(lock_);

  // Phases.

  absl::Status enter(SlotPhase phase) ABSL_LOCKS_EXCLUDED(lock_);
  /// `latency` may be null.
  absl::Status leave(SlotPhase phase, const Duration* latency) ABSL_LOCKS_EXCLUDED(lock_);

  bool close() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  [[nodiscard]] bool is_closed() const noexcept ABSL_LOCKS_EXCLUDED(lock_);
  [[nodiscard]] std::size_t idle() const noexcept ABSL_LOCKS_EXCLUDED(lock_);
  [[nodiscard]] bool is_idle() const noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// Idle, and nobody is busy in it, whom its destroyer would have to wait for.
  [[nodiscard]] bool is_unused() const noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// How often something has come or gone, so that two looks tell whether it was in use between them.
  [[nodiscard]] std::uint64_t activity() const noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// max(): nothing to tell it by.
  [[nodiscard]] Duration expected_wait() const noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// When the slot that is idle for longest came to be so; max(): none is.
  [[nodiscard]] TimePoint idle_since() const noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// That slot, whose node is the caller's; null: none.
  [[nodiscard]] SlotNode* eject_oldest() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  [[nodiscard]] SlotQueueStats stats() const noexcept ABSL_LOCKS_EXCLUDED(lock_);
  void collect(MetricSink& sink) const ABSL_LOCKS_EXCLUDED(lock_);

 protected:
  /// Throws: std::invalid_argument; std::system_error if the clock has to start a thread for its timers and cannot.
  explicit SlotCore(SlotSettings settings);
  virtual ~SlotCore();

  /// Throws: std::bad_alloc.
  [[nodiscard]] virtual SlotNode* make_node() = 0;
  /// Gives the slot to the user, and destroys it. Throws: what the user's function throws, when that is done.
  virtual void end_slot(SlotNode& node, SlotEnd end) = 0;
  /// Gives `start`, with its share, to the user. Throws: what the user's function throws; `start` is taken care of.
  virtual void call_launch(SlotStart& start) = 0;

 private:
  using Place = SlotNode::Place;

  /// What is left to do after the lock.
  struct Effects {
    WakeList wake;
    SlotNode* leaving = nullptr;
    SlotNode* last_leaving = nullptr;
    bool arms = false;
    bool evaluates = false;
    bool has_share = false;  // for the above, all but `wake`
    bool ends_core = false;
  };

  struct CoreTimer : Timer {
    CoreTimer(Fire fire, SlotCore& core) noexcept : Timer(fire), self(core) {}
    SlotCore& self;
  };

  struct Phase {
    std::size_t entered_now = 0;  // by the user
    TimePoint since{};            // of waiters: when the first of these came, or one before it
    std::uint64_t entered = 0;
    IntegerEwma document_ms;
    Ewma mean_ns{0.2};
  };

  void apply(Effects& effects) noexcept ABSL_LOCKS_EXCLUDED(lock_) {
    if (effects.has_share || effects.ends_core || !effects.wake.empty()) [[unlikely]]
      carry_out(effects);
  }
  void carry_out(Effects& effects) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// Whether the queue is open; then its destroyer waits for `end_busy`.
  [[nodiscard]] bool begin_busy() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  void end_busy() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  void end_slots(SlotNode* first) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  void hold(Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (!std::exchange(effects.has_share, true)) ++shares_;
  }
  /// The last thing under the lock.
  void drop_share(Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (--shares_ == 0) effects.ends_core = true;
  }

  // Slots.
  void place(SlotNode& node, Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  [[nodiscard]] bool serve(SlotNode& node, Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void push(SlotNode& node) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void unlink(SlotNode& node) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void lend(SlotNode& node) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void end_lease(const SlotNode& node) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void begin_end(SlotNode& node, SlotEnd end, Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void set_free(SlotNode& node) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  [[nodiscard]] static bool is_here(const SlotNode& node, std::uint64_t id) noexcept {
    return node.id_ == id && (node.place_ == Place::kIdle || node.place_ == Place::kLeased);
  }

  // The line.
  template <class Kind, class... Ctx>
  bool wait_in_line(SlotWait& wait, const Ctx&... ctx) ABSL_LOCKS_EXCLUDED(lock_);
  void take_off(SlotWait& wait) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void describe(SlotWait& wait, SlotWait::Why why) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  [[nodiscard]] SlotWait* first_in_line() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  // Starts.
  void want_launch(Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void evaluate() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  [[nodiscard]] bool has_nothing() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  /// Those in line, and those who were entered.
  [[nodiscard]] std::size_t waiters() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  [[nodiscard]] LaunchSample sample() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  [[nodiscard]] LaunchDecision decide_now(const LaunchSample& sample) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  [[nodiscard]] bool launch_one() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  void run_short() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  void look_again(Duration in) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  void list_lacking(SlotWait& wait, bool in_front) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void unlist_lacking(SlotWait& wait) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  /// Ends the wait of `asker` with `error`, unless it has ended. Returns whether it did.
  [[nodiscard]] bool tell(SlotWait& asker, absl::Status error, Effects& effects) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void end_start(SlotStart& start) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  // Time.
  [[nodiscard]] TimePoint now() const noexcept { return settings_.clock->now(); }
  /// Now or a little later, for cheap: what was idle since then was so for at least as long as it seems.
  [[nodiscard]] TimePoint soon() const noexcept {
    return saturated_add(settings_.clock->recent(), settings_.clock->recent_lag());
  }
  [[nodiscard]] absl::Status no_such_phase(SlotPhase which) const;
  void add_latency(SlotPhase which, Duration latency) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void want_timer(Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void arm(Effects& effects) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  void expire(Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void on_idle_timer() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  void on_launch_timer() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  [[nodiscard]] Phase& phase(SlotPhase which) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return phases_[static_cast<std::size_t>(which)];
  }
  [[nodiscard]] const Phase& phase(SlotPhase which) const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return phases_[static_cast<std::size_t>(which)];
  }

  const SlotSettings settings_;
  const bool has_timeout_;
  const bool looks_again_;  // the policy may name a time
  const bool times_leases_;

  // A leaf. The short lock: what is done under it is a few links.
  mutable SpinLock lock_;
  std::size_t shares_ ABSL_GUARDED_BY(lock_) = 1;
  bool closed_ ABSL_GUARDED_BY(lock_) = false;

  SlotNode* top_ ABSL_GUARDED_BY(lock_) = nullptr;
  SlotNode* bottom_ ABSL_GUARDED_BY(lock_) = nullptr;
  SlotNode* free_ ABSL_GUARDED_BY(lock_) = nullptr;
  SlotNode* made_ ABSL_GUARDED_BY(lock_) = nullptr;  // all of them
  std::size_t reserved_ ABSL_GUARDED_BY(lock_) = 0;
  std::uint64_t next_id_ ABSL_GUARDED_BY(lock_) = 0;

  WaitList line_ ABSL_GUARDED_BY(lock_);
  SlotWait* first_lacking_ ABSL_GUARDED_BY(lock_) = nullptr;  // those in line who have asked for no start
  SlotWait* last_lacking_ ABSL_GUARDED_BY(lock_) = nullptr;

  bool is_launching_ ABSL_GUARDED_BY(lock_) = false;  // one thread at a time
  world::ThreadId launcher_ ABSL_GUARDED_BY(lock_){};
  std::uint64_t looks_due_ ABSL_GUARDED_BY(lock_) = 0;  // for it to take
  TimePoint last_launch_ ABSL_GUARDED_BY(lock_) = TimePoint::min();
  TimePoint launch_timer_at_ ABSL_GUARDED_BY(lock_) = TimePoint::max();  // armed for that by who launches
  bool is_armed_ ABSL_GUARDED_BY(lock_) = false;            // the timer of idle slots; for their bottom, or sooner
  std::size_t busy_ ABSL_GUARDED_BY(lock_) = 0;             // arming or launching
  WaitList destroyer_ ABSL_GUARDED_BY(lock_);               // waits for them
  std::size_t busy_destroyers_ ABSL_GUARDED_BY(lock_) = 0;  // but for itself
  CoreTimer idle_timer_;
  CoreTimer launch_timer_;

  std::array<Phase, kSlotPhases> phases_ ABSL_GUARDED_BY(lock_);
  SlotQueueStats counts_ ABSL_GUARDED_BY(lock_);  // but for what `stats` takes from elsewhere
};

// --- implementation ---

inline SlotWait::~SlotWait() {
  if (lent_ != nullptr) core_.give_back(*lent_, false);
  if (has_share_) core_.unshare();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
