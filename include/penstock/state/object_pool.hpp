// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Objects that are costly to make, kept for the next one who needs such an object.
///
///            acquire                        let go                        idle for two purges
///   idle ---------------> out ----------------------------------> idle -----------------------> destroyed
///            none idle: the factory   reset; heavy, full, closed,
///            makes one                not reusable: destroyed
///
/// Each thread keeps up to 64 objects for itself, so that most acquires and returns touch nothing that another thread
/// touches, and take no lock. What is more goes to a depot that all threads share, by the magazine of 32 (Bonwick and
/// Adams, "Magazines and Vmem", 2001). Others can still get at a thread's objects: to purge them, to serve one who
/// waits, and to count.

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/detail/check.hpp"
#include "penstock/state/detail/object_acquire.hpp"
#include "penstock/state/detail/object_core.hpp"
#include "penstock/state/object_pool_options.hpp"
#include "penstock/state/object_pool_stats.hpp"

namespace penstock::inline PENSTOCK_ABI {

class MetricSink;
template <class T>
class Pooled;

/// What is known of an object.
struct ObjectInfo {
  std::uint64_t id = 0;  ///< Unlike that of any other object of the pool, ever.
  // With time stamps.
  TimePoint created{};
  TimePoint acquired{};
  TimePoint returned{};    ///< The last time before; zero if it is out for the first time.
  std::uint64_t uses = 0;  ///< This one included.
};

/// Lends objects of type T, and makes as few as it can.
///
///     ObjectPool<Message> messages({.name = "messages", .reset = [](Message& m) { m.clear(); return true; }});
///
///     absl::StatusOr<Pooled<Message>> message = messages.acquire(ctx);
///     if (!message.ok()) return message.status();
///     (*message)->append(...);
///                                                        // given back at the end of the scope
///
/// An idle object goes to who comes next, newest first; nobody is promised a certain one. At most `max_idle` are idle,
/// at every moment, wherever they lie; a single thread may have all of them. With `max_live` there are never more
/// objects than that: who finds all of them out waits in line, threads and coroutines alike, first come first served,
/// and an object that comes back, or the right to make one, goes to the first of them.
///
/// Memory pressure and idleness. There are two generations. A purge destroys what was idle at the last purge and has
/// not been used since, and remembers what is idle now; so an unused object lives for one to two purges, and one that
/// is used stays. It comes every `purge_every` by the clock, or when `purge` is called; `release_idle` is for when
/// memory is short.
///
/// Functions and destructors of the user's run without a lock and may use the pool. What `reset`, `weight` or a hook
/// throws is counted. A destructor that throws ends the process.
///
/// The pool may be destroyed while objects are out and while somebody waits: who waits gets Unavailable, and an object
/// that is out is destroyed when it is let go. Handles keep what is needed for that. Otherwise the pool must not be
/// destroyed while a call is on its way in. Idle objects are destroyed before its destructor returns, but for those
/// that a purge is just destroying on an executor.
///
/// A thread that ends leaves its objects to the others; one that gives back even later, from a thread-local object of
/// its own, does so through the depot. Memory: some 800 bytes for a thread and pool.
///
/// A forked child has the pool, but not the threads that may hold its locks: there an acquire
/// returns FailedPrecondition, nothing else does anything, and statistics are empty. Pools of its own are as any.
///
/// Threads: any member, from any thread; not from a signal handler. Order: what a holder did before it let go is
/// visible to the next one.
template <class T>
class ObjectPool {
 public:
  using Options = ObjectPoolOptions<T>;

  /// Makes `options.prewarm` objects; a factory that fails only fails those.
  ///
  /// Throws: std::invalid_argument with the text of `options.validate()`; std::bad_alloc; std::system_error if the
  ///         clock has to start a thread for its timers and cannot; what the factory throws.
  explicit ObjectPool(ObjectPoolOptions<T> options) : core_(make(std::move(options))) {}
  ObjectPool(const ObjectPool&) = delete;
  ObjectPool& operator=(const ObjectPool&) = delete;
  /// Closes.
  ~ObjectPool() { core_->destroy(); }

  /// Takes an idle object, or has one made; waits only while `max_live` are out. A context that has ended already makes
  /// it look once.
  ///
  /// Blocks:  until an object is there, the pool closes, or `ctx` ends; and as long as the factory takes.
  /// Returns: the object; or, with nothing held, what the factory returned, Internal if that was null, or with a text
  ///          that gives the numbers DeadlineExceeded, Cancelled or Unavailable (closed), with the stage "acquire" as a
  ///          payload `type.penstock/stage`.
  /// Throws:  what the factory throws; std::bad_alloc; std::system_error if the clock of `ctx` needs a timer thread and
  ///          cannot start it. Then nothing is held, and nobody is left in line.
  /// Cost:    a few nanoseconds from the thread's own; a short lock for each 32 from the depot.
  absl::StatusOr<Pooled<T>> acquire(const Context& ctx) {
    if (detail::ObjectSlot* const slot = core_->take_quickly()) [[likely]]
      return Pooled<T>(*slot);
    return take(&ctx);
  }
  /// The same, for as long as it takes.
  absl::StatusOr<Pooled<T>> acquire() {
    if (detail::ObjectSlot* const slot = core_->take_quickly()) [[likely]]
      return Pooled<T>(*slot);
    return take(&Context::background());
  }

  /// The same without waiting. Returns: as above, but ResourceExhausted where `acquire` would wait.
  absl::StatusOr<Pooled<T>> try_acquire() {
    if (detail::ObjectSlot* const slot = core_->take_quickly()) [[likely]]
      return Pooled<T>(*slot);
    return take(nullptr);
  }

  /// `co_await pool.async_acquire(ctx)`: what `acquire` does, returns and throws, for a coroutine. The factory runs on
  /// its executor. The coroutine may be destroyed while it waits here, until its executor resumes it. A wait on a
  /// context with a deadline needs timers.
  auto async_acquire(Context ctx = Context::background()) { return detail::ObjectAwaiter<T>(*core_, std::move(ctx)); }

  /// Takes back what `Pooled::lend` gave out.
  ///
  /// Returns: OK, and the object is as one whose handle was let go; or InvalidArgument, with nothing done: it was not
  ///          lent by this pool, or is back already. With detection the text tells which; it is counted either way.
  absl::Status give_back(T* object);

  // Administration.

  /// Makes up to `count` idle objects, as long as there are places for them.
  ///
  /// Returns: how many it made; what the factory returned if that failed, Unavailable if the pool is closed.
  /// Throws:  what the factory throws; std::bad_alloc. What was made is kept.
  absl::StatusOr<std::size_t> prewarm(std::size_t count) { return core_->prewarm(count); }

  /// One step of the generations, as on the clock. Cost: some microseconds, and 10 ns for each idle object.
  void purge() noexcept { core_->purge(); }

  /// Destroys this part of the idle objects, rounded up, those first that have been idle for longest; `min_idle` does
  /// not hold here. Returns how many.
  std::size_t release_idle(double ratio = 1.0) noexcept { return core_->release_idle(ratio); }

  /// Looks at the hit ratio now, if there is an alert. Returns what that changed; `on_alert` has heard of it.
  AlertChange check_alert() noexcept { return core_->check_alert(); }

  /// Gives no more objects, for good: who waits or comes gets Unavailable, idle objects are destroyed, and those that
  /// are out when they come back. May be called again. Returns whether this was the call that closed it.
  bool close() noexcept { return core_->close(); }

  [[nodiscard]] bool is_closed() const noexcept { return core_->is_closed(); }
  [[nodiscard]] const std::string& name() const noexcept { return core_->options().name; }
  /// How things are at one moment, for which no thread gets at its objects.
  /// Cost: some microseconds, and a visit of each thread's cache.
  [[nodiscard]] ObjectPoolStats stats() const { return core_->stats(); }
  /// Writes the metrics `penstock_object_pool_...`, with the label pool = name().
  void collect(MetricSink& sink) const { core_->collect(sink); }
  /// With `ObjectDetection::kLeaks`: all that is out now. Else empty.
  [[nodiscard]] std::vector<ObjectLeak> leaks() const { return core_->leaks(); }

 private:
  static_assert(std::is_object_v<T> && !std::is_array_v<T> && std::is_same_v<T, std::remove_cv_t<T>> &&
                    std::is_nothrow_destructible_v<T>,
                "ObjectPool<T>: T must be an object type, no array, not const, that dies without throwing");

  static detail::ObjectCore* make(ObjectPoolOptions<T>&& options);
  absl::StatusOr<Pooled<T>> take(const Context* ctx);

  detail::ObjectCore* const core_;  // one share of it is the pool's
};

/// An object of an `ObjectPool<T>`, until it is destroyed. May outlive the pool; then it destroys the object.
///
/// Threads: one at a time, not necessarily the one that acquired it. One that was moved from holds nothing, and `*`,
/// `->`, `id` and `info` of it end the process.
template <class T>
class [[nodiscard]] Pooled {
 public:
  Pooled() = default;
  Pooled(Pooled&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}
  Pooled& operator=(Pooled&& other) noexcept {
    Pooled taken(std::move(other));
    std::swap(slot_, taken.slot_);
    return *this;
  }
  /// Gives the object back.
  ~Pooled() {
    if (slot_ != nullptr) give_back(*slot_);
  }

  /// Whether it holds an object.
  explicit operator bool() const noexcept { return slot_ != nullptr; }
  T& operator*() const noexcept { return *get(); }
  T* operator->() const noexcept { return get(); }
  [[nodiscard]] T* get() const noexcept { return static_cast<T*>(held().object); }

  [[nodiscard]] std::uint64_t id() const noexcept { return held().id; }
  [[nodiscard]] ObjectInfo info() const noexcept {
    const detail::ObjectSlot& slot = held();
    return {slot.id, slot.created, slot.acquired, slot.returned, slot.uses};
  }

  /// Whether the object may be used again after this; it may, unless this said otherwise.
  void set_reusable(bool reusable) noexcept {
    detail::ObjectSlot& slot = held();
    constexpr auto kDiscard = static_cast<unsigned>(detail::ObjectSlot::kDiscard);
    slot.care = static_cast<std::uint8_t>(reusable ? slot.care & ~kDiscard : slot.care | kDiscard);
  }
  /// Destroys the object now: it is broken, or used up.
  void discard() noexcept {
    if (slot_ == nullptr) return;
    set_reusable(false);
    reset();
  }
  /// Gives the object back now.
  void reset() noexcept {
    if (detail::ObjectSlot* const slot = std::exchange(slot_, nullptr)) give_back(*slot);
  }
  /// Takes the object out of the pool for good. Null if it holds none.
  [[nodiscard]] std::unique_ptr<T> release() noexcept {
    detail::ObjectSlot* const slot = std::exchange(slot_, nullptr);
    return std::unique_ptr<T>(slot == nullptr ? nullptr : static_cast<T*>(slot->core->release(*slot)));
  }
  /// Gives the object out as a bare pointer, for an interface that takes no more, such as one of C. It comes back by
  /// `ObjectPool::give_back`, while the pool lives. Throws: std::bad_alloc, and still holds it.
  [[nodiscard]] T* lend() {
    T* const object = get();
    slot_->core->lend(*slot_);
    slot_ = nullptr;
    return object;
  }

 private:
  friend class ObjectPool<T>;
  friend class detail::ObjectAwaiter<T>;

  explicit Pooled(detail::ObjectSlot& slot) noexcept : slot_(&slot) { detail::unpoison(slot.object, sizeof(T)); }

  [[nodiscard]] detail::ObjectSlot& held() const noexcept {
    PENSTOCK_CHECK(slot_ != nullptr, "a handle was used that holds no object");
    return *slot_;
  }
  static void give_back(detail::ObjectSlot& slot) noexcept {
    if (slot.care == detail::ObjectSlot::kNone) detail::poison(slot.object, sizeof(T));
    slot.core->give_back(slot);
  }

  detail::ObjectSlot* slot_ = nullptr;
};

// --- implementation ---

template <class T>
detail::ObjectCore* ObjectPool<T>::make(ObjectPoolOptions<T>&& options) {
  detail::ObjectCoreOptions core = detail::core_options(options);
  return detail::ObjectCore::make(std::move(core), std::make_unique<detail::TypedKind<T>>(std::move(options)));
}

template <class T>
[[gnu::noinline]] absl::StatusOr<Pooled<T>> ObjectPool<T>::take(const Context* ctx) {
  absl::StatusOr<detail::ObjectSlot*> slot = core_->take(ctx);
  if (!slot.ok()) return slot.status();
  return Pooled<T>(**slot);
}

template <class T>
absl::Status ObjectPool<T>::give_back(T* object) {
  absl::Status why;
  if (detail::ObjectSlot* const slot = core_->find_lent(object, why)) static_cast<void>(Pooled<T>(*slot));
  return why;
}

}  // namespace penstock::inline PENSTOCK_ABI
