// SPDX-License-Identifier: MIT

// Hunts by repetition: publishers, threads and coroutines that listen, come and go, with everything that can end a
// wait. What must hold at the end is always the same: each subscriber got or missed, as it was told, every value.

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "penstock/channel/broadcaster.hpp"
#include "penstock/core/task.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kPublishers = 2;

/// A value that says who made it and which of theirs it is, and counts those that are alive.
struct Numbered {
  Numbered(std::size_t from, std::uint64_t which) noexcept : publisher(from), number(which) { ++alive; }
  Numbered(Numbered&& other) noexcept : publisher(other.publisher), number(other.number) { ++alive; }
  Numbered(const Numbered&) = delete;
  Numbered& operator=(const Numbered&) = delete;
  ~Numbered() { --alive; }

  std::size_t publisher;
  std::uint64_t number;
  static inline std::atomic<int> alive{0};
};

/// What one subscriber has seen. Used by one thread at a time.
class Witness {
 public:
  void saw(const Delivery<Numbered>& delivery) {
    ++received_;
    missed_ += delivery.missed;
    std::uint64_t& last = last_[delivery.value->publisher];
    if (delivery.value->number <= last) in_order_ = false;
    if (missed_ == 0 && delivery.value->number != last + 1) in_order_ = false;  // a gap that nobody told of
    last = delivery.value->number;
  }
  [[nodiscard]] std::uint64_t received() const { return received_; }
  [[nodiscard]] std::uint64_t missed() const { return missed_; }
  [[nodiscard]] bool in_order() const { return in_order_; }

 private:
  std::array<std::uint64_t, kPublishers> last_{};
  std::uint64_t received_ = 0;
  std::uint64_t missed_ = 0;
  bool in_order_ = true;
};

void publish(Broadcaster<Numbered>& broadcaster, std::size_t publisher, std::uint64_t count,
             std::atomic<int>& refused) {
  for (std::uint64_t i = 1; i <= count; ++i) {
    if (broadcaster.publish(Numbered(publisher, i)) != OpStatus::kOk) ++refused;
  }
}

Task<> listen(Subscription<Numbered>& subscription, Witness& witness) {
  while (const Delivery<Numbered> got = co_await subscription.async_receive()) witness.saw(got);
}

Task<> listen_in_bits(Subscription<Numbered>& subscription, Witness& witness) {
  for (;;) {
    const Delivery<Numbered> got =
        co_await subscription.async_receive(Context::background().with_timeout(std::chrono::microseconds(20)));
    if (got.status == OpStatus::kClosed) break;
    if (got) witness.saw(got);
  }
}

TEST_CASE("Broadcaster: every subscriber gets or misses, as told, every value", "[broadcaster][stress]") {
  const std::size_t capacity = GENERATE(as<std::size_t>(), 1, 3, 64, 100'000);
  constexpr std::uint64_t kEach = 5'000;
  constexpr std::size_t kListeners = 4;
  {
    Broadcaster<Numbered> broadcaster(capacity);
    std::vector<Subscription<Numbered>> subscriptions;
    std::array<Witness, kListeners> witnesses;
    for (std::size_t i = 0; i != kListeners; ++i) subscriptions.push_back(broadcaster.subscribe());
    std::atomic<int> refused{0};
    std::vector<std::thread> listeners;
    listeners.emplace_back([&] {
      while (const Delivery<Numbered> got = subscriptions[0].receive()) witnesses[0].saw(got);
    });
    listeners.emplace_back([&] {
      for (;;) {
        const Delivery<Numbered> got = subscriptions[1].receive(Context::background().with_timeout(10us));
        if (got.status == OpStatus::kClosed) break;
        if (got) witnesses[1].saw(got);
      }
    });
    listeners.emplace_back([&] { sync_wait(listen(subscriptions[2], witnesses[2])); });
    listeners.emplace_back([&] { sync_wait(listen_in_bits(subscriptions[3], witnesses[3])); });
    std::vector<std::thread> publishers;
    for (std::size_t i = 0; i != kPublishers; ++i) {
      publishers.emplace_back([&, i] { publish(broadcaster, i, kEach, refused); });
    }
    for (std::thread& each : publishers) each.join();
    broadcaster.close();
    for (std::thread& each : listeners) each.join();
    CHECK(refused == 0);
    std::uint64_t missed = 0;
    for (std::size_t i = 0; i != kListeners; ++i) {
      CHECK(witnesses[i].in_order());
      CHECK(witnesses[i].received() + witnesses[i].missed() == kPublishers * kEach);
      CHECK(witnesses[i].missed() == subscriptions[i].missed());
      missed += witnesses[i].missed();
      if (capacity == 100'000) CHECK(witnesses[i].missed() == 0);
    }
    CHECK(broadcaster.stats().lost == missed);
    CHECK(broadcaster.stats().published == kPublishers * kEach);
    CHECK(Numbered::alive == 0);  // everybody has got everything
  }
}

TEST_CASE("Broadcaster: subscribers come and go while values do", "[broadcaster][stress]") {
  const std::size_t capacity = GENERATE(as<std::size_t>(), 1, 40);
  std::optional<Broadcaster<Numbered>> broadcaster(std::in_place, capacity);
  Subscription<Numbered> keeper = broadcaster->subscribe();
  std::atomic<bool> all_in_order{true};
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i != 2; ++i) {
    threads.emplace_back([&, i] {
      for (std::size_t round = 0; round != 1'500; ++round) {
        Subscription<Numbered> mine = broadcaster->subscribe();
        std::array<std::uint64_t, kPublishers> last{};
        for (std::size_t values = (round + i) % 5; values != 0; --values) {
          const Delivery<Numbered> got = mine.receive(Context::background().with_timeout(5us));
          if (!got) continue;
          std::uint64_t& before = last[got.value->publisher];
          if (before != 0 && mine.missed() == 0 && got.value->number != before + 1) all_in_order = false;
          if (got.value->number <= before) all_in_order = false;
          before = got.value->number;
        }
        if (round % 3 == 0) mine = broadcaster->subscribe();
      }
    });
  }
  for (std::size_t i = 0; i != kPublishers; ++i) {
    threads.emplace_back([&, i] { publish(*broadcaster, i, 5'000, refused); });
  }
  for (std::thread& each : threads) each.join();
  CHECK(all_in_order);
  CHECK(refused == 0);
  CHECK(broadcaster->stats().subscribers == 1);
  broadcaster.reset();
  std::uint64_t count = 0;
  while (const Delivery<Numbered> got = keeper.receive()) count += 1 + got.missed;
  CHECK(count == kPublishers * 5'000);
  CHECK(Numbered::alive == 0);
}

TEST_CASE("Broadcaster: a close that meets publishers and receivers loses nothing that was taken",
          "[broadcaster][stress]") {
  for (int round = 0; round != 300; ++round) {
    Broadcaster<Numbered> broadcaster(1'000);
    Subscription<Numbered> subscription = broadcaster.subscribe();
    std::atomic<int> refused{0};
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i != kPublishers; ++i) {
      threads.emplace_back([&, i] { publish(broadcaster, i, 20, refused); });
    }
    threads.emplace_back([&] { broadcaster.close(); });
    int received = 0;
    while (const Delivery<Numbered> got = subscription.receive()) ++received;
    for (std::thread& each : threads) each.join();
    REQUIRE(received + refused == 2 * 20);
  }
  CHECK(Numbered::alive == 0);
}

}  // namespace
}  // namespace penstock
