// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// One sender's value for everybody who listens: each subscriber gets every value, or learns how many it has missed.

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "penstock/channel/detail/broadcast_core.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/core/op_status.hpp"

namespace penstock::inline PENSTOCK_ABI {

template <class T>
class Subscription;

/// What a subscriber gets: a value exactly if `status` is kOk.
template <class T>
struct Delivery {
  OpStatus status = OpStatus::kClosed;
  std::uint64_t missed = 0;        ///< How many values were lost to this subscriber, right before this one.
  std::shared_ptr<const T> value;  ///< The one object that all subscribers get; alive as long as anybody holds it.

  explicit operator bool() const noexcept { return status == OpStatus::kOk; }
};

/// The figures of one moment.
struct BroadcasterStats {
  std::uint64_t published = 0;  ///< Values that were taken, also those that nobody was there for.
  std::uint64_t lost = 0;       ///< Values dropped before a subscriber had got them, once for each such subscriber.
  std::uint64_t closes = 0;     ///< Calls that closed it; only the first changed anything.
  std::size_t subscribers = 0;
};

namespace detail {

template <class T, class Ctx>
class BroadcastAwaiter;

// Conditions on members of Broadcaster<T>, as parameters of member templates: clang 14 ignores a requires clause when
// it instantiates a class explicitly.
template <class T>
concept BroadcastByCopy = std::is_copy_constructible_v<T>;
template <class T>
concept BroadcastByMove = std::is_nothrow_move_constructible_v<T>;

}  // namespace detail

/// Hands every value to every subscriber that was there when it was published.
///
///     Broadcaster<Prices> prices(64);
///     Subscription<Prices> mine = prices.subscribe();
///     ... elsewhere: prices.publish(Prices{...}); ...
///     while (Delivery<Prices> got = mine.receive()) {     // until closed, and everything received
///       if (got.missed != 0) log_gap(got.missed);
///       draw(*got.value);
///     }
///
/// A publisher never waits. The last `capacity` values are kept for those who come later; a subscriber that is further
/// behind than that loses the oldest, and is told so, exactly, with the next value that it gets. The others do not
/// notice.
///
/// A value is stored once, however many subscribers there are, and they share it as a `const T`: publishing costs one
/// allocation and no copies, receiving neither. It lives until every subscriber has got it or lost it, and has let go
/// of it; what is published while nobody subscribes goes at once. As with anything that is shared, what is const of `T`
/// must be safe to use from several threads. Who wants a value of its own copies it; that may throw, and nothing is
/// lost by it.
///
/// No constructor, destructor or assignment of `T` runs under a lock, except that `publish(T&&)` moves its argument
/// there, so that a refused value stays where it was. That move must not use the broadcaster.
///
/// `close` ends it: subscribers get what is there for them, and then kClosed. The destructor closes; subscriptions may
/// outlive the broadcaster.
///
/// Threads: any number of publishers, and one at a time for each subscription.
/// Order: all subscribers get values in the same order, that of each publisher kept. What a publisher did before is
/// visible to who receives the value; what was done before `close`, to who gets kClosed from it.
template <class T>
class Broadcaster {
 public:
  /// Keeps up to `capacity` values for each subscriber.
  ///
  /// Throws: std::invalid_argument unless `capacity` is in [1, 2^31]; std::bad_alloc. Cost: two allocations; 24 bytes
  /// for each of the `capacity`.
  explicit Broadcaster(std::size_t capacity) : core_(std::make_shared<detail::BroadcastCore>(capacity)) {}
  Broadcaster(const Broadcaster&) = delete;
  Broadcaster& operator=(const Broadcaster&) = delete;
  ~Broadcaster() { core_->close(); }

  /// Gives `value` to everybody who has subscribed.
  ///
  /// Returns: kOk, or kClosed, and then `value` is as it was. Throws: std::bad_alloc, and then nothing has happened.
  /// Cost: O(1) and a wake for each subscriber that waits; one lock, one allocation.
  template <detail::BroadcastByMove U = T>
  OpStatus publish(std::type_identity_t<U>&& value);
  /// Publishes a copy of `value`, which is made first.
  template <detail::BroadcastByCopy U = T>
  OpStatus publish(const std::type_identity_t<U>& value) {
    return core_->publish(std::make_shared<const U>(value));
  }
  /// Publishes the very object: without an allocation, so that nothing but `close` can make it fail.
  /// Throws: std::invalid_argument if `value` is null.
  OpStatus publish(const std::shared_ptr<const T>& value) { return core_->publish(value); }

  /// Begins to listen: gets every value that is published from now on. One that is closed gives a subscription, too,
  /// which gets kClosed.
  /// Cost: O(1); one lock.
  [[nodiscard]] Subscription<T> subscribe() noexcept;

  /// Takes no more values, and lets everybody go who waits. May be called again, by anybody. Returns whether this was
  /// the call that closed it. Cost: O(subscribers that wait).
  bool close() noexcept { return core_->close(); }

  [[nodiscard]] bool is_closed() const noexcept;
  [[nodiscard]] std::size_t capacity() const noexcept { return core_->capacity; }
  [[nodiscard]] BroadcasterStats stats() const noexcept;

 private:
  static_assert(std::is_object_v<T> && std::is_same_v<T, std::remove_cv_t<T>> && !std::is_array_v<T> &&
                    std::is_nothrow_destructible_v<T>,
                "Broadcaster<T>: T must be an object type, not const, that dies without throwing");

  const std::shared_ptr<detail::BroadcastCore> core_;
};

/// A listener of a `Broadcaster<T>`; what it has not received yet waits for it there. Destroying it ends the
/// subscription, and costs O(values that were waiting for it).
///
/// Threads: one at a time. It stays where it is, alive, while a coroutine waits on it. One that was moved from gets
/// kClosed.
template <class T>
class [[nodiscard]] Subscription {
 public:
  Subscription(Subscription&& other) noexcept : core_(std::move(other.core_)), cursor_(other.cursor_) {}
  Subscription& operator=(Subscription other) noexcept {
    std::swap(core_, other.core_);
    std::swap(cursor_, other.cursor_);
    return *this;
  }
  ~Subscription() {
    if (core_ != nullptr) core_->leave(cursor_);
  }

  /// Receives the next value, waiting while there is none.
  ///
  /// Blocks:  until one is published, the broadcaster closes, or `ctx` ends.
  /// Returns: kOk; kClosed once it is closed and everything has been received; kTimedOut or kCancelled.
  /// Cost:    O(1); one lock, a second and a third one to wait.
  Delivery<T> receive(const Context& ctx = Context::background());

  /// Receives the next value if there is one. Returns: kOk, kEmpty or kClosed. Cost: O(1); one lock.
  Delivery<T> try_receive() noexcept;

  /// `co_await subscription.async_receive()`: what `receive` does and returns, for a coroutine.
  ///
  ///     while (Delivery<T> got = co_await subscription.async_receive()) ...
  ///
  /// Put what it returns into a variable, as here: g++ 12 miscompiles conditions on a temporary that has a destructor,
  /// such as `while (co_await ...)`.
  ///
  /// A coroutine may be destroyed while it waits here, until its executor resumes it; its subscription has lost
  /// nothing.
  auto async_receive() noexcept {
    return detail::BroadcastAwaiter<T, detail::EndlessReceive>(core_.get(), cursor_, {});
  }
  auto async_receive(Context ctx) noexcept {
    return detail::BroadcastAwaiter<T, Context>(core_.get(), cursor_, std::move(ctx));
  }

  /// How many values it has missed so far: the sum of what its deliveries have said.
  [[nodiscard]] std::uint64_t missed() const noexcept { return cursor_.missed; }

 private:
  friend class Broadcaster<T>;
  explicit Subscription(std::shared_ptr<detail::BroadcastCore> core) noexcept
      : core_(std::move(core)), cursor_(core_->enter()) {}

  std::shared_ptr<detail::BroadcastCore> core_;
  detail::BroadcastCursor cursor_;
};

// --- implementation ---

namespace detail {

template <class T>
Delivery<T> delivery(OpStatus status, BroadcastParcel&& parcel) noexcept {
  return {status, parcel.missed, std::static_pointer_cast<const T>(std::move(parcel.value))};
}

template <class T, class Ctx>
class [[nodiscard]] BroadcastAwaiter {
 public:
  BroadcastAwaiter(BroadcastCore* core, BroadcastCursor& cursor, Ctx ctx) noexcept
      : wait_(core, cursor, std::move(ctx)) {}

  bool await_ready() noexcept { return wait_.ready(); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    return wait_.suspend(coroutine);
  }
  Delivery<T> await_resume() noexcept {
    BroadcastParcel parcel;
    const OpStatus status = wait_.finish(parcel);
    return delivery<T>(status, std::move(parcel));
  }

 private:
  BroadcastWait<Ctx> wait_;
};

}  // namespace detail

template <class T>
template <detail::BroadcastByMove U>
OpStatus Broadcaster<T>::publish(std::type_identity_t<U>&& value) {
  // The place is made first, and filled under the mutex, once it is known that the value is wanted.
  auto place = std::make_shared<std::optional<U>>();
  detail::BroadcastValue stored;
  detail::WakeList wake;
  detail::BroadcastCore& core = *core_;
  {
    MutexLock lock(core.mutex);
    if (core.closed) return OpStatus::kClosed;
    const U* const object = &place->emplace(std::move(value));
    stored = detail::BroadcastValue(std::move(place), object);
    core.push(stored, wake);
  }
  wake.wake_all();
  return OpStatus::kOk;
}

template <class T>
Subscription<T> Broadcaster<T>::subscribe() noexcept {
  return Subscription<T>(core_);
}

template <class T>
bool Broadcaster<T>::is_closed() const noexcept {
  MutexLock lock(core_->mutex);
  return core_->closed;
}

template <class T>
BroadcasterStats Broadcaster<T>::stats() const noexcept {
  MutexLock lock(core_->mutex);
  return {core_->published, core_->lost, core_->closes, core_->subscribers};
}

template <class T>
Delivery<T> Subscription<T>::receive(const Context& ctx) {
  detail::BroadcastParcel parcel;
  const OpStatus status = core_ == nullptr ? OpStatus::kClosed : core_->receive(cursor_, parcel, ctx);
  return detail::delivery<T>(status, std::move(parcel));
}

template <class T>
Delivery<T> Subscription<T>::try_receive() noexcept {
  detail::BroadcastParcel parcel;
  const OpStatus status = core_ == nullptr ? OpStatus::kClosed : core_->try_receive(cursor_, parcel);
  return detail::delivery<T>(status, std::move(parcel));
}

}  // namespace penstock::inline PENSTOCK_ABI
