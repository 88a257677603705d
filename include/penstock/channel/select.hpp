// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Waits for whichever of several sends, receives and contexts can go ahead first, as Go's select statement does.

#include <array>
#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "penstock/channel/channel.hpp"
#include "penstock/channel/detail/select_case.hpp"
#include "penstock/core/context.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// Which case is taken when several are ready.
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

/// A case that is ready once `ctx` has ended. `handler` takes the status, kTimedOut or kCancelled, or nothing.
template <detail::StatusHandler F>
auto on_done(Context ctx, F&& handler) {
  return detail::DoneCase<F>(std::move(ctx), std::forward<F>(handler));
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
/// there
///          is no `otherwise`. Go would wait for ever.
/// Cost:    O(cases), and O(cases log cases) for the order of the locks; every channel is locked once, twice to wait
/// and
///          once more afterwards. Allocates only for a second context.
template <std::derived_from<detail::SelectCase>... Cases>
requires(sizeof...(Cases) != 0) std::size_t select(SelectOrder order, Cases&&... cases) {
  static_assert((detail::kIsOtherwise<Cases> + ...) <= 1, "select: at most one otherwise");
  std::array<detail::SelectCase*, sizeof...(Cases)> poll_order{&cases...};
  for (std::size_t index = 0; index != poll_order.size(); ++index) poll_order[index]->index = index;
  std::array<detail::SelectCase*, sizeof...(Cases)> lock_order = poll_order;
  detail::SelectCase& taken = detail::pick(poll_order, lock_order, order);
  taken.run();
  return taken.index;
}

/// The same, in random order.
template <std::derived_from<detail::SelectCase>... Cases>
requires(sizeof...(Cases) != 0) std::size_t select(Cases&&... cases) {
  return select(SelectOrder::kRandom, std::forward<Cases>(cases)...);
}

}  // namespace penstock::inline PENSTOCK_ABI
