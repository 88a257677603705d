// SPDX-License-Identifier: MIT

// Broadcasters compile as a whole, for values of every kind; so do tickers, for durations of every kind.

#include "penstock/channel/broadcaster.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "channel/elements.hpp"
#include "penstock/channel/ticker.hpp"
#include "penstock/core/task.hpp"

template class penstock::Broadcaster<int>;
template class penstock::Subscription<int>;
template struct penstock::Delivery<int>;
template class penstock::Broadcaster<std::string>;
template class penstock::Subscription<std::string>;
template class penstock::Broadcaster<std::unique_ptr<int>>;
template class penstock::Subscription<std::unique_ptr<int>>;
template class penstock::Broadcaster<penstock::testing::MoveOnly>;
template class penstock::Subscription<penstock::testing::MoveOnly>;
template class penstock::Broadcaster<penstock::testing::OverAligned>;
template class penstock::Subscription<penstock::testing::OverAligned>;
template class penstock::Broadcaster<penstock::testing::Empty>;
template class penstock::Subscription<penstock::testing::Empty>;

namespace penstock {

/// Every operation, in all forms.
Task<> use_every_form(Broadcaster<std::string>& broadcaster, Broadcaster<testing::MoveOnly>& rough,
                      const Context& ctx) {
  std::string value = "value";
  OpStatus status = broadcaster.publish(std::as_const(value));
  status = broadcaster.publish(std::move(value));
  status = broadcaster.publish("literal");
  status = broadcaster.publish(std::make_shared<std::string>("shared"));
  status = broadcaster.publish(std::make_unique<const std::string>("owned"));
  status = rough.publish(testing::MoveOnly(1));
  static_cast<void>(status);
  Subscription<std::string> subscription = broadcaster.subscribe();
  Delivery<std::string> delivery = subscription.receive();
  delivery = subscription.receive(ctx);
  delivery = subscription.try_receive();
  delivery = co_await subscription.async_receive();
  delivery = co_await subscription.async_receive(ctx);
  subscription = broadcaster.subscribe();
  broadcaster.close();
}

void tick_at_any_period(Clock& clock) {
  using namespace std::chrono_literals;
  Ticker whole(std::chrono::hours(1));
  Ticker fraction(0.5ms, clock);
  Ticker single(std::chrono::duration<float>(1.5F));
  Ticker narrow(std::chrono::duration<std::int8_t, std::micro>(5));
  whole.reset(std::chrono::duration<std::uint64_t, std::ratio<1, 3>>(1));
  static_cast<void>(after(std::chrono::duration<long double, std::ratio<86'400>>(1.5L)));
  const After later(1us, clock);
}

}  // namespace penstock
