// SPDX-License-Identifier: MIT
// One source, several listeners: prices go to a trader that sees every one, and to a display that is slow, always gets
// the latest ones, and knows how many it has skipped. The source waits for neither.
#include <cstdint>
#include <cstdio>
#include <thread>

#include "penstock/channel/broadcaster.hpp"
#include "penstock/channel/channel.hpp"

using penstock::Broadcaster;
using penstock::Channel;
using penstock::Delivery;
using penstock::Subscription;

struct Price {
  int number;
  double euros;
};

int main() {
  constexpr int kPrices = 1000;
  Broadcaster<Price> prices(16);  // whoever is more than 16 behind loses the oldest
  Subscription<Price> for_trader = prices.subscribe();
  Subscription<Price> for_display = prices.subscribe();
  Channel<int> seen(0);  // the source waits for the trader, so that this one never falls behind

  std::thread trader([&] {
    while (const Delivery<Price> got = for_trader.receive()) {
      if (got.missed != 0 || seen.send(got.value->number) != penstock::OpStatus::kOk) return;
    }
  });
  for (int i = 1; i <= kPrices; ++i) {
    if (prices.publish(Price{i, 100 + 0.01 * i}) != penstock::OpStatus::kOk) return 1;
    if (seen.receive().value != i) return 1;
  }
  prices.close();  // what is there can still be received
  trader.join();

  std::uint64_t shown = 0;
  while (const Delivery<Price> got = for_display.receive()) {
    if (got.missed != 0) std::printf("display: %llu prices skipped\n", static_cast<unsigned long long>(got.missed));
    if (++shown == 1) std::printf("display: price %d is %.2f\n", got.value->number, got.value->euros);
  }
  std::printf("display: %llu prices shown; trader: %llu missed\n", static_cast<unsigned long long>(shown),
              static_cast<unsigned long long>(for_trader.missed()));
  return shown == 16 && for_display.missed() == kPrices - 16 && for_trader.missed() == 0 ? 0 : 1;
}
