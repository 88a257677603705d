// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a `ResourcePool` is, but for the type of its resources: who has which, and who waits.
///
/// The line. An acquire that finds nothing free is listed, with the serials of the resources that its filter has
/// accepted. What comes free goes to the first in line that accepts it, so, but for the exception below, nobody in line
/// accepts anything that is free. An acquire in line is parked or awake:
///
///     listed, parked --claimed: lent------------------------> ends with a lease
///        ^   |       --claimed by its context, or closed----> takes itself out, ends
///        |   '--claimed: nudged--> listed, awake --lent-----> finds the lease when it looks
///        '-------------------------------'  it has looked again, and has to wait on
///
/// Filters are user code, and belong to who waits: they are called by the waiting thread or on the coroutine's
/// executor, without the mutex. So when a resource is added, those with a filter are nudged: they keep their place, and
/// can be lent what they have accepted before, while they ask about the new one. (The exception: until then others may
/// take it.) The same nudge makes those look again for whom nothing enabled is left, to end if waiting is hopeless.
///
/// A lease is two pointers' worth of work under the mutex. The core lives until its last share is gone: one is the
/// pool's, one belongs to each lease, to each acquire in line, and to who keeps the timer.
///
/// The timer ends rests while somebody waits; at other times an acquire does so when it comes. It is armed for the
/// first rest to end or sooner, by one keeper at a time, without the mutex, since disarming waits for the callback. If
/// the clock cannot start its timers, nobody waits for a rest, until the next one begins.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/detail/random_unit.hpp"
#include "penstock/core/detail/spin_lock.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/exec/detail/resource_choice.hpp"
#include "penstock/exec/resource_options.hpp"

namespace penstock::inline PENSTOCK_ABI {
class MetricSink;
}

namespace penstock::inline PENSTOCK_ABI::detail {

class ResourceCore;
class ResourceWait;

/// Holds the lock of a core for a scope.
class ABSL_SCOPED_LOCKABLE ResourceLock {
 public:
  explicit ResourceLock(SpinLock& lock) noexcept ABSL_EXCLUSIVE_LOCK_FUNCTION(lock) : lock_(lock) { lock_.lock(); }
  ~ResourceLock() ABSL_UNLOCK_FUNCTION() { lock_.unlock(); }
  ResourceLock(const ResourceLock&) = delete;
  ResourceLock& operator=(const ResourceLock&) = delete;

 private:
  SpinLock& lock_;
};

/// One resource, with its books. `core`, `id` and the resource are constant once it was added; all else is guarded by
/// the core's mutex.
class ResourceSlot : public ResourceRow {
 public:
  ResourceSlot(ResourceCore& owner, std::string_view name) : core(owner), id(name) {}
  ResourceSlot(const ResourceSlot&) = delete;
  ResourceSlot& operator=(const ResourceSlot&) = delete;
  virtual ~ResourceSlot() = default;

  ResourceCore& core;
  const std::string id;

 private:
  friend class ResourceCore;

  /// What a removed resource with leases lives by.
  std::shared_ptr<ResourceSlot> self_;
  bool is_removed_ = false;
  TimePoint disabled_until_ = TimePoint::max();  // while it is not enabled; max(): until somebody enables it
  std::uint64_t leases_ = 0;
  std::uint64_t errors_ = 0;
  std::uint64_t consecutive_failures_ = 0;
};

using SlotPtr = std::shared_ptr<ResourceSlot>;

template <class R>
class TypedSlot final : public ResourceSlot {
 public:
  TypedSlot(ResourceCore& owner, std::string_view name) : ResourceSlot(owner, name) {}
  ~TypedSlot() override {
    if (is_made_) resource_.~R();
  }

  template <class U>
  void make(U&& resource) {
    ::new (static_cast<void*>(std::addressof(resource_))) R(std::forward<U>(resource));
    is_made_ = true;
  }
  [[nodiscard]] R& resource() noexcept { return resource_; }
  [[nodiscard]] const R& resource() const noexcept { return resource_; }

 private:
  union {
    R resource_;
  };
  bool is_made_ = false;
};

class ResourceFilter {
 public:
  [[nodiscard]] virtual bool accepts(const ResourceSlot& slot) const = 0;

 protected:
  ~ResourceFilter() = default;
};

/// One acquire, from its first look to its lease or refusal.
///
/// Threads: one owner; what the core guards says so.
class ResourceWait {
 public:
  /// Throws: std::bad_alloc with a key.
  explicit ResourceWait(ResourceCore& core, const ResourceFilter* filter = nullptr, std::string_view sticky_key = {});
  ResourceWait(const ResourceWait&) = delete;
  ResourceWait& operator=(const ResourceWait&) = delete;
  /// Gives back what was lent and not taken; leaves the line.
  ~ResourceWait();

  /// The slot it was lent, which is the caller's from here on: the core may be gone with it.
  [[nodiscard]] ResourceSlot* take() noexcept {
    was_in_line_ = false;
    return std::exchange(lent_, nullptr);
  }

  [[nodiscard]] bool is_lent() const noexcept { return lent_ != nullptr; }

  /// Why it was lent nothing; counts it.
  [[nodiscard]] absl::Status refusal();

  /// It was woken by someone who claimed it for something else than its end.
  static constexpr Waiter::Outcome kNudged = Waiter::kServed + 1;

 private:
  friend class ResourceCore;

  enum class Why : std::uint8_t {
    kNothing,
    kBusy,
    kDisabled,
    kNoResource,
    kNothingPasses,
    kClosed,
    kTimedOut,
    kCancelled
  };

  /// What there was when it looked last, for the text.
  struct View {
    std::size_t resources = 0;
    std::size_t passing = 0;
    std::size_t disabled = 0;  // of those that pass
    std::size_t in_use = 0;    // leases that are out
    Duration back_in{};        // the first of the disabled; max(): none of them
    Duration waited{};
  };

  [[nodiscard]] Acceptance acceptance() const noexcept {
    return filter_ == nullptr ? Acceptance() : Acceptance(accepted_);
  }

  ResourceCore& core_;
  const ResourceFilter* const filter_;  // null: accepts all
  const bool has_key_;
  Why why_ = Why::kNothing;   // the owner's
  bool was_in_line_ = false;  // the owner's: there may be something to undo
  const std::uint64_t key_;
  View view_;                            // the owner's
  std::vector<std::uint64_t> accepted_;  // changed by the owner under the mutex; sorted
  std::uint64_t asked_ = 0;              // the filter knows all up to this serial; likewise

  // Guarded by the core's mutex.
  ResourceSlot* lent_ = nullptr;  // the owner's, once it was woken or has looked
  WaitNode* node_ = nullptr;      // null: its owner is awake
  bool is_listed_ = false;
  bool has_share_ = false;
  ResourceWait* next_ = nullptr;
  ResourceWait* previous_ = nullptr;
  TimePoint since_{};  // when it joined the line
};

class ResourceCore {
 public:
  /// With the share of the pool. Throws: std::invalid_argument, std::bad_alloc.
  static ResourceCore* make(ResourcePoolOptions options);
  ResourceCore(const ResourceCore&) = delete;
  ResourceCore& operator=(const ResourceCore&) = delete;

  /// Closes, and gives up the pool's share. Blocks: while another thread is about to set the timer, or runs it.
  void destroy() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  [[nodiscard]] const ResourcePoolOptions& options() const noexcept { return options_; }

  /// Lists `slot`, whose resource is not made yet: its id is taken, and nobody is lent it. `publish` or `withdraw` ends
  /// that.
  absl::Status reserve(const SlotPtr& slot, const ResourceOptions& options) ABSL_LOCKS_EXCLUDED(mutex_);
  void publish(ResourceSlot& slot) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void withdraw(ResourceSlot& slot) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  absl::StatusOr<std::size_t> remove(std::string_view id) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status disable(std::string_view id, Duration how_long) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status enable(std::string_view id) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status update(std::string_view id, const ResourceOptions& options) ABSL_LOCKS_EXCLUDED(mutex_);

  /// Whether `wait` has been lent something, at once. Throws: what its filter throws; std::bad_alloc with a filter.
  bool try_acquire(ResourceWait& wait) ABSL_LOCKS_EXCLUDED(mutex_);
  /// The same after a `try_acquire` that came to nothing, waiting as long as `ctx` and hope last.
  bool acquire(ResourceWait& wait, const Context& ctx) ABSL_LOCKS_EXCLUDED(mutex_);

  // The parts of `acquire`.

  /// Whether it may help to wait under `ctx` after a look that came to nothing. If it would, but `ctx` has ended, that
  /// is why.
  [[nodiscard]] static bool is_hopeful(ResourceWait& wait, const Context& ctx) noexcept;
  /// How long a wait under `ctx` would last.
  [[nodiscard]] static Duration patience(const Context& ctx) noexcept;
  /// Looks once more, and parks `wait` in its place in line unless it is hopeless to go on for `patience`. Once it is
  /// parked somebody may claim `node`, and then it may be gone when this returns. Throws: as `try_acquire`.
  enum class Look : std::uint8_t { kLent, kRefused, kParked };
  Look look_or_park(ResourceWait& wait, WaitNode& node, Duration patience) ABSL_LOCKS_EXCLUDED(mutex_);
  /// For a wait that was claimed: whether it is over, and not nudged. Before its waiter goes.
  bool settle(ResourceWait& wait, Waiter::Outcome outcome) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  /// Ends a lease of `slot`, and perhaps the core.
  void give_back(ResourceSlot& slot, bool discard) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// `retry_after` may be null.
  void report(ResourceSlot& slot, const absl::Status& status, const Duration* retry_after) noexcept
      ABSL_LOCKS_EXCLUDED(mutex_);

  bool close() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] bool is_closed() const noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] ResourcePoolStats stats() const ABSL_LOCKS_EXCLUDED(mutex_);
  void collect(MetricSink& sink) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  friend class ResourceWait;

  /// What is left to do once the mutex is unlocked.
  struct Effects {
    WakeList wake;
    SlotPtr gone;              // to be destroyed
    bool keeps_timer = false;  // with a share of its own
    bool ends_core = false;
  };

  struct RestTimer : Timer {
    RestTimer(Fire fire, ResourceCore& core) noexcept : Timer(fire), self(core) {}
    ResourceCore& self;
  };

  explicit ResourceCore(ResourcePoolOptions options);
  ~ResourceCore();

  /// The core may be gone when this returns, but for those who have a share.
  void apply(Effects& effects) noexcept ABSL_LOCKS_EXCLUDED(mutex_) {
    if (!effects.wake.empty() || effects.gone != nullptr || effects.keeps_timer || effects.ends_core)
      carry_out(effects);
  }
  void carry_out(Effects& effects) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void drop_share(Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // The line.
  void ask(ResourceWait& wait) ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] bool must_ask(const ResourceWait& wait) const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool look(ResourceWait& wait, Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void describe(ResourceWait& wait) const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] ResourceSlot* pick(const ResourceWait& wait) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void lend(ResourceSlot& slot, ResourceWait& wait) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void bind(const ResourceWait& wait, const ResourceSlot& slot) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void serve(ResourceSlot& slot, Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void nudge(ResourceWait& wait, Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void nudge_hopeless(Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void list(ResourceWait& wait) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void unlist(ResourceWait& wait) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void leave(ResourceWait& wait) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  template <class Kind, class... Ctx>
  bool wait_in_line(ResourceWait& wait, const Context& ctx, const Ctx&... waiter_ctx) ABSL_LOCKS_EXCLUDED(mutex_);
  void make_sticky_table() ABSL_LOCKS_EXCLUDED(mutex_);

  // Resources.
  [[nodiscard]] ResourceSlot* find(std::string_view id) const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] ResourceSlot* find(std::uint64_t serial) const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] SlotPtr detach(ResourceSlot& slot) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void remove(ResourceSlot& slot, Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void disable(ResourceSlot& slot, TimePoint until, Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void enable(ResourceSlot& slot, Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] const std::string& name() const noexcept { return options_.name; }
  [[nodiscard]] absl::Status not_found(std::string_view id) const;
  [[nodiscard]] absl::Status bad_options(std::string_view id, const absl::Status& why) const;
  [[nodiscard]] ResourceVerdict verdict_on(const absl::Status& status) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  // Time.
  [[nodiscard]] TimePoint now() const noexcept { return options_.clock->now(); }
  void end_rests(Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] TimePoint timer_due() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void want_timer(Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool start_timers() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void keep_timer(Effects& effects) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void on_timer() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  const ResourcePoolOptions options_;

  // A leaf. The short lock, since a lease is little more than its two lockings: it costs half of a mutex. What takes
  // longer than a look at the resources is rare: a removal, a rest or an addition looks at the line, too.
  mutable SpinLock mutex_;
  std::size_t shares_ ABSL_GUARDED_BY(mutex_) = 1;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<SlotPtr> slots_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t last_serial_ ABSL_GUARDED_BY(mutex_) = 0;
  std::size_t turn_ ABSL_GUARDED_BY(mutex_) = 0;
  RandomUnit random_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<StickyTable> sticky_ ABSL_GUARDED_BY(mutex_);  // from the first key on
  ResourceWait* first_ ABSL_GUARDED_BY(mutex_) = nullptr;        // the line
  ResourceWait* last_ ABSL_GUARDED_BY(mutex_) = nullptr;

  std::size_t resting_ ABSL_GUARDED_BY(mutex_) = 0;                 // disabled for a time
  TimePoint rest_ends_ ABSL_GUARDED_BY(mutex_) = TimePoint::max();  // the first of them, or sooner
  bool has_keeper_ ABSL_GUARDED_BY(mutex_) = false;
  TimePoint armed_for_ ABSL_GUARDED_BY(mutex_) = TimePoint::max();  // armed for this time or sooner, by the keeper
  bool has_timers_ ABSL_GUARDED_BY(mutex_) = false;                 // the clock's have been started
  bool lacks_timers_ ABSL_GUARDED_BY(mutex_) = false;               // and could not be when it was tried last
  WaitList destroyer_ ABSL_GUARDED_BY(mutex_);                      // waits for the keeper
  RestTimer timer_;

  ResourcePoolStats counts_ ABSL_GUARDED_BY(mutex_);  // what `stats` does not take from elsewhere
};

/// Takes a reserved slot back unless it was published.
class ReservedSlot {
 public:
  ReservedSlot(ResourceCore& core, ResourceSlot& slot) noexcept : core_(core), slot_(&slot) {}
  ReservedSlot(const ReservedSlot&) = delete;
  ReservedSlot& operator=(const ReservedSlot&) = delete;
  ~ReservedSlot() {
    if (slot_ != nullptr) core_.withdraw(*slot_);
  }

  void publish() noexcept { core_.publish(*std::exchange(slot_, nullptr)); }

 private:
  ResourceCore& core_;
  ResourceSlot* slot_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
