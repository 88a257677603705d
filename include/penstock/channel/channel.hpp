// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A typed pipe between threads and coroutines, with the semantics of Go's channels.

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "penstock/channel/detail/channel_awaiter.hpp"
#include "penstock/channel/detail/channel_state.hpp"
#include "penstock/channel/send_permit.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/op_status.hpp"
#include "penstock/core/task.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// What a channel can carry: objects that move and die without throwing, so that a value in transit cannot be lost. It
/// needs no default constructor, no copy, and may be over-aligned.
template <class T>
concept ChannelElement = std::is_object_v<T> && std::is_same_v<T, std::remove_cv_t<T>> && !std::is_array_v<T> &&
                         std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>;

/// What a receive came to: a value exactly if `status` is kOk.
template <class T>
struct Received {
  OpStatus status;
  std::optional<T> value;

  explicit operator bool() const noexcept { return status == OpStatus::kOk; }
};

/// What a batch came to: `count` values have changed hands, and if `status` is not kOk, why they are not more.
struct BatchResult {
  OpStatus status;
  std::size_t count;
};

template <class T>
class Sender;
template <class T>
class Receiver;

/// The figures of one moment. At rest, `sends` = `receives` + `drained` + the values that are buffered.
struct ChannelStats {
  std::uint64_t sends = 0;            ///< Values that senders have given away, into the buffer or to a receiver.
  std::uint64_t receives = 0;         ///< Values that receivers have got.
  std::uint64_t drained = 0;          ///< Values that `close_and_drain` has returned.
  std::size_t reserved = 0;           ///< Places that permits hold now.
  std::uint64_t closes = 0;           ///< Calls that closed it; only the first changed anything.
  std::size_t blocked_senders = 0;    ///< Operations that wait now, or have just given up and are leaving.
  std::size_t blocked_receivers = 0;  ///< A select counts once for each of its cases.
  std::size_t high_water = 0;         ///< The most values that were ever buffered.
};

namespace detail {

struct ChannelAccess;

// Conditions on members of Channel<T>, as parameters of member templates: clang 14 ignores a requires clause when it
// instantiates a class explicitly.
template <class T>
concept Copyable = std::is_copy_constructible_v<T>;
template <class T>
concept Assignable = std::is_nothrow_move_assignable_v<T>;

template <class T>
OpStatus assign(T& out, Received<T>&& received) noexcept {
  if (received) out = std::move(*received.value);
  return received.status;
}

}  // namespace detail

/// A queue of at most `capacity` values; with capacity 0 a rendezvous, where a send completes when a receiver takes the
/// value. Threads and coroutines wait in one line, first come, first served, and a value goes straight to whoever has
/// waited longest: nobody overtakes one who stands in line. Before a thread sleeps it looks for some microseconds
/// whether it has to: with a buffer before it joins the line, without one while it stands there.
///
///     Channel<Job> jobs(100);
///     std::thread worker([&] { for (Job& job : jobs) run(job); });   // until closed and empty
///     jobs.send(std::move(job));                                    // waits while the channel is full
///     jobs.close();
///
/// Every operation has three forms: `send` waits, as long as its context lasts; `try_send` never waits; `async_send` is
/// for `co_await` and resumes on the executor of the coroutine. Alike for receiving. An operation that can complete at
/// once does so, even if its context has ended; otherwise an ended context gives its status without sleeping.
///
/// Failure leaves the argument alone: a value is moved from only if its send returns kOk, and a `T& out` is written
/// only if its receive does. A send or receive whose context ended has no effect.
///
/// After `close`, sends return kClosed, those that wait included, and receives go on until the buffer is empty.
///
/// Values move under the channel's lock: the move constructor of `T`, and the destructor of what was moved from, must
/// not use the channel. Copies, assignments and destructors of values run without it.
///
/// Threads: any number of senders, receivers and closers. The destructor closes, and waits until every operation that
/// was waiting has left; it drops what is still buffered. Waiting are those that `stats` counts as blocked: one that is
/// about to still needs the channel. No operation may begin after it has. A coroutine that waits in a batch, or whose
/// context had ended, leaves when its executor runs it: do not destroy the channel from that executor's only thread
/// before.
/// Order: what a sender did before `send` is visible to who receives the value; what the k-th receiver did before, to
/// who completes the (k + capacity)-th send; what was done before `close`, to who gets kClosed from it.
template <class T>
class Channel {
 public:
  class Iterator;

  /// Throws: std::invalid_argument if that many slots are more than 2^31, or than memory can address; std::bad_alloc.
  /// Cost: one allocation, none for capacity 0; a later operation allocates nothing.
  explicit Channel(std::size_t capacity) : state_(capacity) {}
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  /// Sends `value`, waiting while the channel is full.
  ///
  /// Blocks:  until there is room or a receiver, the channel closes, or `ctx` ends.
  /// Returns: kOk, kClosed, kTimedOut or kCancelled.
  /// Cost:    O(1); one lock, a second one to wait.
  OpStatus send(T&& value, const Context& ctx = Context::background());
  /// Sends a copy of `value`, which is made first.
  template <detail::Copyable U = T>
  OpStatus send(const std::type_identity_t<U>& value, const Context& ctx = Context::background()) {
    return send(U(value), ctx);
  }

  /// Sends `value` if that can be done now.
  ///
  /// Returns: kOk, kFull or kClosed. Cost: O(1); one lock.
  OpStatus try_send(T&& value) noexcept { return state_.try_put(value); }
  template <detail::Copyable U = T>
  OpStatus try_send(const std::type_identity_t<U>& value) {
    return try_send(U(value));
  }

  /// Receives a value into `out`, waiting while there is none.
  ///
  /// Blocks:  until there is a value, the channel closes, or `ctx` ends.
  /// Returns: kOk; kClosed once the channel is closed and empty; kTimedOut or kCancelled.
  /// Cost:    O(1); one lock, a second one to wait.
  template <detail::Assignable U = T>
  OpStatus receive(std::type_identity_t<U>& out, const Context& ctx = Context::background()) {
    return detail::assign(out, receive(ctx));
  }
  /// The same, for types that cannot be assigned, or have no value to begin with.
  Received<T> receive(const Context& ctx = Context::background());

  /// Receives a value if there is one now.
  ///
  /// Returns: kOk, kEmpty, or kClosed once the channel is closed and empty. Cost: O(1); one lock.
  template <detail::Assignable U = T>
  OpStatus try_receive(std::type_identity_t<U>& out) noexcept {
    return detail::assign(out, try_receive());
  }
  Received<T> try_receive() noexcept;

  /// `co_await channel.async_send(std::move(value))`: what `send` does and returns, for a coroutine. The value stays
  /// the caller's until the send has completed, so it lives until then; a temporary in the `co_await` expression does.
  ///
  /// A coroutine may be destroyed while it waits here, and so may one whose wait has just been decided, as long as
  /// nobody is resuming it at that moment (`Executor::revoke` says who can know): the operation is called off, or has
  /// taken effect, and a value that was handed over goes with the coroutine. Cost: 168 bytes in the awaiter, twice that
  /// with a context.
  auto async_send(T&& value) noexcept { return detail::SendAwaiter<T, T&, detail::NoContext>(state_, value, {}); }
  auto async_send(T&& value, Context ctx) noexcept {
    return detail::SendAwaiter<T, T&, Context>(state_, value, std::move(ctx));
  }
  template <detail::Copyable U = T>
  auto async_send(const std::type_identity_t<U>& value) {
    return detail::SendAwaiter<T, T, detail::NoContext>(state_, value, {});
  }
  template <detail::Copyable U = T>
  auto async_send(const std::type_identity_t<U>& value, Context ctx) {
    return detail::SendAwaiter<T, T, Context>(state_, value, std::move(ctx));
  }

  /// `co_await channel.async_receive(out)`: what `receive` does and returns, for a coroutine.
  template <detail::Assignable U = T>
  auto async_receive(std::type_identity_t<U>& out) noexcept {
    return detail::ReceiveIntoAwaiter<T, detail::NoContext>(state_, out, {});
  }
  template <detail::Assignable U = T>
  auto async_receive(std::type_identity_t<U>& out, Context ctx) noexcept {
    return detail::ReceiveIntoAwaiter<T, Context>(state_, out, std::move(ctx));
  }
  /// The same, for types that cannot be assigned:
  ///
  ///     while (Received<T> got = co_await channel.async_receive()) use(*got.value);
  ///
  /// Put what it returns into a variable, as here: g++ 12 miscompiles conditions on a temporary that has a destructor,
  /// such as `while (co_await ...)`.
  auto async_receive() noexcept { return detail::ReceiveAwaiter<T, detail::NoContext>(state_, {}); }
  auto async_receive(Context ctx) noexcept { return detail::ReceiveAwaiter<T, Context>(state_, std::move(ctx)); }

  /// Sends `values` in order; other senders' values may come in between. Those that were sent are moved from.
  ///
  /// Blocks:  until all are sent, the channel closes, or `ctx` ends.
  /// Returns: kOk and their number; else kClosed, kTimedOut or kCancelled and how many were sent before.
  /// Cost:    one lock for up to 64 of them. Nothing to send is kOk, even on a closed channel.
  BatchResult send_many(std::span<T> values, const Context& ctx = Context::background());
  /// Those for which there is room now; kFull if that is not all.
  BatchResult try_send_many(std::span<T> values) noexcept;
  /// Cost: as above, and one allocation. `values` and what they span outlive the operation.
  Task<BatchResult> async_send_many(std::span<T> values, Context ctx = Context::background());

  /// Receives at least one value and as many more as are there, up to `most`, and appends them to `out`. A single call
  /// takes no more than the capacity of the channel or 64, whichever is more.
  ///
  /// Blocks:  while there is none, as `receive`.
  /// Returns: kOk and their number; else the status of `receive` and 0.
  /// Throws:  std::bad_alloc or std::length_error while `out` grows, by what one call may append; nothing has been
  ///          received then.
  /// Cost:    one lock for up to 64 of them. `most` = 0 is kOk at once.
  BatchResult receive_many(std::vector<T>& out, std::size_t most, const Context& ctx = Context::background());
  /// What is there now; kEmpty if nothing is.
  BatchResult try_receive_many(std::vector<T>& out, std::size_t most);
  /// `out` outlives the operation, and is used by nobody else meanwhile.
  auto async_receive_many(std::vector<T>& out, std::size_t most) {
    return detail::ReceiveManyAwaiter<T, BatchResult, detail::NoContext>(state_, out, make_room(out, most), {});
  }
  auto async_receive_many(std::vector<T>& out, std::size_t most, Context ctx) {
    return detail::ReceiveManyAwaiter<T, BatchResult, Context>(state_, out, make_room(out, most), std::move(ctx));
  }

  /// Reserves a place for one value, waiting in line with the senders while the channel is full. What is sent through
  /// the permit finds room: only `close` can still refuse it. For who must know that the value can be delivered before
  /// it makes it.
  ///
  ///     if (auto place = channel.reserve(ctx)) place.permit.send(expensive());
  ///
  /// A reserved place is taken: other sends may wait for one even while a receiver waits for a value. While places are
  /// reserved, sends take both locks of the channel. Waits, returns and throws as `send`;
  /// std::invalid_argument if the channel has no buffer to hold a place in.
  Reserved<T> reserve(const Context& ctx = Context::background());
  /// kFull if there is no place now.
  Reserved<T> try_reserve();
  auto async_reserve() {
    return detail::ReserveAwaiter<T, Reserved<T>, detail::NoContext>(detail::buffered(state_), {});
  }
  auto async_reserve(Context ctx) {
    return detail::ReserveAwaiter<T, Reserved<T>, Context>(detail::buffered(state_), std::move(ctx));
  }

  /// Takes no more values, lets everybody go who waits, and leaves what is buffered to receivers. May be called again,
  /// by anybody. Sends through a permit are refused, too. Returns whether this was the call that closed it. Cost:
  /// O(operations that wait).
  bool close() noexcept { return state_.close(); }

  /// Closes, and takes out the values that no receiver has taken, oldest first. A send that was waiting keeps its
  /// value.
  ///
  /// Throws: std::bad_alloc; the channel is closed then, and its values stay for receivers.
  std::vector<T> close_and_drain();

  [[nodiscard]] bool is_closed() const noexcept;
  /// How many values are buffered at this moment.
  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] std::size_t capacity() const noexcept { return state_.tx.capacity; }
  [[nodiscard]] ChannelStats stats() const noexcept;

  /// Handles to one side, to hand out: they cannot do what the other side does, and do not keep the channel alive.
  Sender<T> sender() noexcept;
  Receiver<T> receiver() noexcept;

  /// `for (T& value : channel)`: receives until the channel is closed and empty. Blocks: at each step.
  Iterator begin() { return Iterator(*this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  static_assert(ChannelElement<T>,
                "Channel<T>: T must be an object type, not const, that moves and dies without throwing");
  friend struct detail::ChannelAccess;

  /// Makes `out` hold what one call may append; returns how many values that are.
  std::size_t make_room(std::vector<T>& out, std::size_t most) const;

  detail::ChannelState<T> state_;
};

/// The place of a range-for in a channel. Threads: belongs to the one that loops.
template <class T>
class Channel<T>::Iterator {
 public:
  explicit Iterator(Channel& channel) : channel_(channel) { ++*this; }
  Iterator(const Iterator&) = delete;
  Iterator& operator=(const Iterator&) = delete;

  T& operator*() noexcept { return *value_; }
  Iterator& operator++() {
    value_.reset();
    if (Received<T> received = channel_.receive()) value_.emplace(std::move(*received.value));
    return *this;
  }
  bool operator==(std::default_sentinel_t) const noexcept { return !value_.has_value(); }

 private:
  Channel& channel_;
  std::optional<T> value_;
};

}  // namespace penstock::inline PENSTOCK_ABI

#include "penstock/channel/channel_ends.hpp"         // IWYU pragma: export
#include "penstock/channel/detail/channel_impl.hpp"  // IWYU pragma: export
