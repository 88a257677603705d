// SPDX-License-Identifier: MIT

// What becomes of the values of a broadcaster: who owns them, what they may do, and what may be broadcast.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/channel/broadcaster.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace testing;

/// Throws when it is copied, if told to; counts itself.
struct Fragile {
  explicit Fragile(int content) : number(content) { ++alive; }
  Fragile(const Fragile& other) : number(other.number) {
    if (breaks) throw std::runtime_error("broken");
    ++alive;
    ++copies;
  }
  Fragile(Fragile&& other) noexcept : number(std::exchange(other.number, -1)) { ++alive; }
  Fragile& operator=(const Fragile&) = delete;
  ~Fragile() { --alive; }

  int number;
  static inline bool breaks = false;
  static inline int alive = 0;
  static inline int copies = 0;
};

TEST_CASE("Broadcaster: what nobody listens to is taken, and gone", "[channel][broadcaster]") {
  Broadcaster<std::shared_ptr<int>> broadcaster(4);
  const auto value = std::make_shared<int>(1);
  CHECK(broadcaster.publish(value) == OpStatus::kOk);
  CHECK(value.use_count() == 1);
  Subscription<std::shared_ptr<int>> subscription = broadcaster.subscribe();
  CHECK(subscription.try_receive().status == OpStatus::kEmpty);
  CHECK(broadcaster.stats().published == 1);
  CHECK(broadcaster.stats().lost == 0);
}

TEST_CASE("Broadcaster: a value lives until all have got it and let go", "[channel][broadcaster]") {
  Broadcaster<int> broadcaster(4);
  Subscription<int> first = broadcaster.subscribe();
  Subscription<int> second = broadcaster.subscribe();
  std::weak_ptr<const int> watch;
  {
    const auto value = std::make_shared<const int>(7);
    watch = value;
    CHECK(broadcaster.publish(value) == OpStatus::kOk);
  }
  Delivery<int> one = first.try_receive();
  CHECK(one.value.get() == watch.lock().get());  // the very object
  one = {};
  CHECK_FALSE(watch.expired());
  Delivery<int> two = second.try_receive();
  CHECK(two.value.use_count() == 1);  // the ring has let go of it
  two = {};
  CHECK(watch.expired());
}

TEST_CASE("Broadcaster: unsubscribing lets go of what only it had still to get", "[channel][broadcaster]") {
  const int capacity = GENERATE(1, 31, 32, 33, 100);
  Broadcaster<int> broadcaster(static_cast<std::size_t>(capacity));
  std::vector<std::weak_ptr<const int>> watched;
  Subscription<int> stays = broadcaster.subscribe();
  {
    Subscription<int> goes = broadcaster.subscribe();
    for (int i = 0; i != capacity + 5; ++i) {
      auto value = std::make_shared<const int>(i);
      watched.emplace_back(value);
      REQUIRE(broadcaster.publish(value) == OpStatus::kOk);
    }
    REQUIRE(stays.try_receive().missed == 5);
    for (std::size_t i = 0; i != watched.size(); ++i) REQUIRE(watched[i].expired() == (i < 5));
  }
  for (std::size_t i = 0; i != watched.size(); ++i) REQUIRE(watched[i].expired() == (i < 6));
  CHECK(broadcaster.stats().subscribers == 1);
  { const Subscription<int> taken = std::move(stays); }
  for (const auto& each : watched) REQUIRE(each.expired());
  CHECK(broadcaster.stats().subscribers == 0);
  CHECK(broadcaster.stats().lost == 10);
}

TEST_CASE("Broadcaster: a copy that throws publishes nothing", "[channel][broadcaster]") {
  {
    Broadcaster<Fragile> broadcaster(2);
    Subscription<Fragile> subscription = broadcaster.subscribe();
    const Fragile value(7);
    Fragile::breaks = true;
    CHECK_THROWS_AS(broadcaster.publish(value), std::runtime_error);
    Fragile::breaks = false;
    CHECK(broadcaster.stats().published == 0);
    CHECK(subscription.try_receive().status == OpStatus::kEmpty);

    Fragile::copies = 0;
    CHECK(broadcaster.publish(value) == OpStatus::kOk);
    Fragile moved(8);
    CHECK(broadcaster.publish(std::move(moved)) == OpStatus::kOk);
    CHECK(moved.number == -1);
    CHECK(Fragile::copies == 1);

    // The subscriber's own copy throws: it still has the value.
    const Delivery<Fragile> delivery = subscription.receive();
    Fragile::breaks = true;
    CHECK_THROWS_AS(Fragile(*delivery.value), std::runtime_error);
    Fragile::breaks = false;
    CHECK(delivery.value->number == 7);
    CHECK(subscription.receive().value->number == 8);
    CHECK(Fragile::copies == 1);
  }
  CHECK(Fragile::alive == 0);
}

TEST_CASE("Broadcaster: without memory nothing is published", "[channel][broadcaster]") {
  Broadcaster<std::unique_ptr<int>> broadcaster(2);
  Subscription<std::unique_ptr<int>> subscription = broadcaster.subscribe();
  auto value = std::make_unique<int>(5);
  {
    const FailAllocation failure(0);
    bool failed = false;
    try {
      static_cast<void>(broadcaster.publish(std::move(value)));
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    CHECK(failed);
  }
  REQUIRE(value != nullptr);
  CHECK(subscription.try_receive().status == OpStatus::kEmpty);
  CHECK(broadcaster.publish(std::move(value)) == OpStatus::kOk);
  CHECK(**subscription.try_receive().value == 5);
}

TEST_CASE("Broadcaster: a value costs one allocation, a shared one and a receive none", "[channel][broadcaster]") {
  Broadcaster<int> broadcaster(2);
  Subscription<int> first = broadcaster.subscribe();
  Subscription<int> second = broadcaster.subscribe();
  const auto shared = std::make_shared<const int>(3);
  const std::uint64_t before = Allocations::now().count;
  REQUIRE(broadcaster.publish(1) == OpStatus::kOk);
  const std::uint64_t moved = Allocations::now().count;
  REQUIRE(broadcaster.publish(shared) == OpStatus::kOk);
  Delivery<int> got = first.try_receive();
  got = second.try_receive();
  got = first.receive();
  const std::uint64_t after_all = Allocations::now().count;
  CHECK(moved - before == 1);
  CHECK(after_all == moved);
}

TEST_CASE("Broadcaster: a value's destructor may use the broadcaster", "[channel][broadcaster]") {
  Broadcaster<Watched> broadcaster(1);
  Subscription<Watched> first = broadcaster.subscribe();
  int died = 0;
  const auto watched = [&] {
    return Watched([&] {
      ++died;
      static_cast<void>(broadcaster.stats());
      static_cast<void>(broadcaster.subscribe());
    });
  };
  CHECK(broadcaster.publish(watched()) == OpStatus::kOk);
  CHECK(broadcaster.publish(watched()) == OpStatus::kOk);  // the first one dies, pushed out
  CHECK(died == 1);
  CHECK(first.receive());  // the second one, of its last receiver
  CHECK(died == 2);
  CHECK(broadcaster.publish(watched()) == OpStatus::kOk);
  { const Subscription<Watched> gone = std::move(first); }  // the third one, of an unsubscriber
  CHECK(died == 3);
  CHECK(broadcaster.publish(watched()) == OpStatus::kOk);  // nobody listens
  CHECK(died == 4);
}

TEST_CASE("Broadcaster: carries what can be neither copied nor assigned, and what is over-aligned",
          "[channel][broadcaster]") {
  Broadcaster<MoveOnly> rough(2);
  Subscription<MoveOnly> subscription = rough.subscribe();
  CHECK(rough.publish(MoveOnly(3)) == OpStatus::kOk);
  CHECK(subscription.receive().value->number() == 3);

  Broadcaster<OverAligned> aligned(3);
  Subscription<OverAligned> listener = aligned.subscribe();
  const OverAligned value{4};
  for (int i = 0; i != 3; ++i) CHECK(aligned.publish(value) == OpStatus::kOk);
  CHECK(aligned.publish(OverAligned{5}) == OpStatus::kOk);
  for (int i = 0; i != 3; ++i) CHECK(listener.receive().value->is_aligned());

  struct Immovable {
    explicit Immovable(int content) : number(content) {}
    Immovable(const Immovable&) = delete;
    Immovable& operator=(const Immovable&) = delete;
    int number;
  };
  Broadcaster<Immovable> immovable(2);
  Subscription<Immovable> third = immovable.subscribe();
  CHECK(immovable.publish(std::make_shared<Immovable>(6)) == OpStatus::kOk);
  CHECK(third.receive().value->number == 6);
}

}  // namespace
}  // namespace penstock
