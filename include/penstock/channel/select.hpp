// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Waits for whichever of several sends, receives and contexts can go ahead first, as Go's select statement does.

#include <chrono>
#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "penstock/channel/channel.hpp"
#include "penstock/channel/detail/select_case.hpp"
#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// Which case is taken when several are ready at once. A select that has to wait takes the one that becomes ready
/// first; when a channel closes, those are its receives, before its sends.
enum class SelectOrder : unsigned char {
  kRandom,   ///< Any of them, each with the same chance.
  kInOrder,  ///< The one that is named first: to prefer delivery over cancellation, say.
};

/// A case that receives from `channel`. It is ready when there is a value, and when the channel is closed and empty.
///
/// `handler` takes a `T` and is then called with values only: the closed channel is seen in the index that `select`
/// returns. Or it takes a `Received<T>`, and sees kClosed too. Where `channel` is a null pointer, the case is never
/// ready.
template <class T, detail::ValueHandler<T> F>
auto on_receive(Channel<T>* channel, F&& handler) {
  return detail::ReceiveCase<T, F>(channel, std::forward<F>(handler));
}
template <class T, detail::ValueHandler<T> F>
auto on_receive(Channel<T>& channel, F&& handler) {
  return detail::ReceiveCase<T, F>(&channel, std::forward<F>(handler));
}

template <class T, detail::ValueHandler<T> F>
auto on_receive(const Receiver<T>& from, F&& handler) {
  return detail::ReceiveCase<T, F>(&detail::ChannelAccess::channel(from), std::forward<F>(handler));
}

/// A case that sends `value` to `channel`. It is ready when there is room or a receiver, and when the channel is
/// closed.
///
/// `value` is moved from only if this case is taken and its status is kOk, and lives until `select` has returned, as a
/// temporary in the same expression does; an lvalue is copied, here and now.
/// `handler` takes the status, kOk or kClosed, or nothing. Where `channel` is a null pointer, the case is never ready.
template <class T, detail::StatusHandler F>
auto on_send(Channel<T>* channel, std::type_identity_t<T>&& value, F&& handler) {
  return detail::SendCase<T, T&, F>(channel, value, std::forward<F>(handler));
}
template <class T, detail::StatusHandler F>
auto on_send(Channel<T>& channel, std::type_identity_t<T>&& value, F&& handler) {
  return detail::SendCase<T, T&, F>(&channel, value, std::forward<F>(handler));
}
template <class T, detail::StatusHandler F>
requires detail::Copyable<T>
auto on_send(Channel<T>* channel, const std::type_identity_t<T>& value, F&& handler) {
  return detail::SendCase<T, T, F>(channel, value, std::forward<F>(handler));
}
template <class T, detail::StatusHandler F>
requires detail::Copyable<T>
auto on_send(Channel<T>& channel, const std::type_identity_t<T>& value, F&& handler) {
  return detail::SendCase<T, T, F>(&channel, value, std::forward<F>(handler));
}

template <class T, detail::StatusHandler F>
auto on_send(const Sender<T>& to, std::type_identity_t<T>&& value, F&& handler) {
  return detail::SendCase<T, T&, F>(&detail::ChannelAccess::channel(to), value, std::forward<F>(handler));
}
template <class T, detail::StatusHandler F>
requires detail::Copyable<T>
auto on_send(const Sender<T>& to, const std::type_identity_t<T>& value, F&& handler) {
  return detail::SendCase<T, T, F>(&detail::ChannelAccess::channel(to), value, std::forward<F>(handler));
}

/// A case that is ready once `ctx` has ended. `handler` takes the status, kTimedOut or kCancelled, or nothing.
template <detail::StatusHandler F>
auto on_done(Context ctx, F&& handler) {
  return detail::DoneCase<F>(std::move(ctx), std::forward<F>(handler));
}

/// A case that is ready once `timeout` has passed from now on, on `clock`. Unlike `after` of ticker.hpp it needs no
/// channel and no timer where a thread waits in machine time.
template <class Rep, class Period, std::invocable F>
auto on_timeout(std::chrono::duration<Rep, Period> timeout, F&& handler, Clock& clock = Clock::steady()) {
  return detail::TimeoutCase<F>(Context(clock).with_timeout(timeout), std::forward<F>(handler));
}
/// The same, from `deadline` on.
template <std::invocable F>
auto on_timeout(TimePoint deadline, F&& handler, Clock& clock = Clock::steady()) {
  return detail::TimeoutCase<F>(Context(clock).with_deadline(deadline), std::forward<F>(handler));
}

/// The case that is taken when no other is ready, so that the select never waits. At most one; its place among the
/// others does not matter.
template <std::invocable F>
auto otherwise(F&& handler) {
  return detail::OtherwiseCase<F>(std::forward<F>(handler));
}

/// Takes one case that is ready, waits until there is one, and calls its handler.
///
///     select(on_receive(jobs, [&](Job job) { run(std::move(job)); }),
///            on_done(ctx, [&] { stopping = true; }));
///
/// Exactly one case is taken, and the others have no effect. A channel may be named in several cases; a send and a
/// receive on the same channel do not meet within one select. While it waits, it is in the line of each of its channels
/// like any other operation. The handler runs after that, with no lock held; what it throws comes out of here, and a
/// value that was received has been handed to it.
///
/// Blocks:  until a case is ready, unless there is an `otherwise`.
/// Returns: the place of the case among the arguments, from 0.
/// Throws:  std::invalid_argument if no case can ever become ready: all channels are null, no context can end, and
///          there is no `otherwise`. Go would wait for ever.
/// Cost:    one look at one channel if that is ready, a look at each otherwise, and then one lock. To wait takes all
///          locks in the order of their addresses, O(cases log cases), and each channel's again afterwards. Allocates
///          only for a second context.
template <std::derived_from<detail::SelectCase>... Cases>
requires(sizeof...(Cases) != 0) std::size_t select(SelectOrder order, Cases&&... cases) {
  detail::CaseList<sizeof...(Cases)> all(cases...);
  detail::SelectCase& taken = detail::pick(all.list, order, all.otherwise);
  taken.run();
  return taken.index;
}

/// The same, in random order.
template <std::derived_from<detail::SelectCase>... Cases>
requires(sizeof...(Cases) != 0) std::size_t select(Cases&&... cases) {
  return select(SelectOrder::kRandom, std::forward<Cases>(cases)...);
}

/// `co_await async_select(...)`: what `select` does and returns, for a coroutine. The cases live until it has ended, as
/// temporaries in the `co_await` expression do. The coroutine may be destroyed while it waits, as in
/// `Channel::async_send`.
template <std::derived_from<detail::SelectCase>... Cases>
requires(sizeof...(Cases) != 0) auto async_select(SelectOrder order, Cases&&... cases) {
  return detail::CaseListAwaiter<sizeof...(Cases)>(order, cases...);
}
template <std::derived_from<detail::SelectCase>... Cases>
requires(sizeof...(Cases) != 0) auto async_select(Cases&&... cases) {
  return async_select(SelectOrder::kRandom, std::forward<Cases>(cases)...);
}

/// A select whose cases are known only at run time, or that is made once and used in a loop: what `select` does,
/// without building the cases each time.
///
///     Selector selector;
///     for (Channel<Event>& source : sources) selector.on_receive(source, handle);
///     selector.on_done(ctx, [&] { stopping = true; });
///     while (!stopping) selector.select();
///
/// Threads: one at a time. The channels outlive it.
class Selector {
 public:
  Selector() = default;
  Selector(const Selector&) = delete;
  Selector& operator=(const Selector&) = delete;

  // As the functions of these names. Each returns the place of its case. Throws: std::bad_alloc.
  template <class T, detail::ValueHandler<T> F>
  std::size_t on_receive(Channel<T>& channel, F handler) {
    return add(std::make_unique<detail::ReceiveCase<T, F>>(&channel, std::move(handler)));
  }
  /// Sends what `value` is when the case is taken, and moves from it; it outlives the selector.
  template <class T, detail::StatusHandler F>
  std::size_t on_send(Channel<T>& channel, T& value, F handler) {
    return add(std::make_unique<detail::SendCase<T, T&, F>>(&channel, value, std::move(handler)));
  }
  template <detail::StatusHandler F>
  std::size_t on_done(Context ctx, F handler) {
    return add(std::make_unique<detail::DoneCase<F>>(std::move(ctx), std::move(handler)));
  }

  [[nodiscard]] std::size_t size() const noexcept { return owned_.size(); }

  /// As `select`. Throws: std::invalid_argument without a case that can become ready.
  std::size_t select(SelectOrder order = SelectOrder::kRandom);
  /// Takes a case if one is ready now.
  std::optional<std::size_t> try_select(SelectOrder order = SelectOrder::kRandom);
  /// `co_await selector.async_select()`. Not while another select on it goes on.
  auto async_select(SelectOrder order = SelectOrder::kRandom) noexcept { return detail::SelectAwaiter(cases_, order); }

 private:
  std::size_t add(std::unique_ptr<detail::SelectCase> one);

  std::vector<std::unique_ptr<detail::SelectCase>> owned_;
  std::vector<detail::SelectCase*> cases_;  // in an order that selecting has left
};

}  // namespace penstock::inline PENSTOCK_ABI
