// SPDX-License-Identifier: MIT

// Channels and selects compile as a whole, for elements of every kind.

#include <memory>
#include <string>
#include <utility>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "penstock/core/task.hpp"

template class penstock::Channel<int>;
template class penstock::Channel<std::string>;
template class penstock::Channel<std::unique_ptr<int>>;
template class penstock::Channel<penstock::testing::MoveOnly>;
template class penstock::Channel<penstock::testing::OverAligned>;
template class penstock::Channel<penstock::testing::Empty>;
template struct penstock::Received<std::unique_ptr<int>>;

namespace penstock {

/// Every operation of a channel of copyable, assignable values, in all forms.
Task<> use_every_form(Channel<std::string>& channel, Channel<testing::MoveOnly>& rough, const Context& ctx) {
  const std::string kept = "kept";
  std::string value;
  testing::MoveOnly number(1);
  OpStatus status = channel.send(kept, ctx);
  status = channel.send(std::move(value), ctx);
  status = channel.try_send(kept);
  status = channel.try_send("literal");
  status = channel.receive(value, ctx);
  status = channel.try_receive(value);
  status = co_await channel.async_send(kept, ctx);
  status = co_await channel.async_send(std::move(value));
  status = co_await channel.async_receive(value, ctx);
  status = co_await rough.async_send(std::move(number), ctx);
  status = (co_await rough.async_receive()).status;
  static_cast<void>(status);
  for (const std::string& each : channel) value += each;
  const auto keep = [&](std::string text) { value = std::move(text); };
  select(SelectOrder::kInOrder, on_receive(&channel, keep), on_receive(rough, [](Received<testing::MoveOnly>) {}),
         on_send(channel, kept, [] {}), on_send(rough, std::move(number), [](OpStatus) {}), on_done(ctx, [] {}),
         otherwise([] {}));
}

}  // namespace penstock
