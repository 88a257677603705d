// SPDX-License-Identifier: MIT

// Slot queues with each of their allocations failing in turn, and what does not allocate.

#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "exec/slot_queue_support.hpp"
#include "penstock/core/run_loop.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::allocations_of;
using testing::discrepancies;
using testing::FailAllocation;
using testing::failures_of;
using testing::Number;
using testing::number;
using testing::NumberLease;
using testing::NumberQueue;

// The machine's clock is made by its first use, which cannot fail with an exception: before any test.
[[maybe_unused]] const Context& first_use = Context::background();

TEST_CASE("Allocation failure: making a slot queue", "[exec][slot_queue][allocation_failure]") {
  ManualClock clock;
  std::unique_ptr<NumberQueue> queue;
  CHECK(failures_of([&] {
          queue = std::make_unique<NumberQueue>(SlotQueueOptions<Number>{
              .name = std::string(100, 'n'), .idle_timeout = 1s, .launch = [](auto) {}, .clock = &clock});
        }) >= 3);
  CHECK(queue != nullptr);
}

TEST_CASE("Allocation failure: the first offers", "[exec][slot_queue][allocation_failure]") {
  NumberQueue queue({.name = "q"});
  Number slot = number(1);
  bool clean = true;
  bool offered = false;
  CHECK(failures_of([&] { offered = queue.offer(std::move(slot)).ok(); },
                    [&] { clean = clean && slot != nullptr && queue.is_idle(); }) == 1);
  CHECK(offered);
  CHECK(clean);
}

TEST_CASE("Allocation failure: offer, acquire, release, eject and expiry need no memory",
          "[exec][slot_queue][allocation_failure]") {
  ManualClock clock;
  SlotQueue<int> queue({.name = "q", .idle_timeout = 1s, .time_leases = true, .clock = &clock});
  const auto use = [&] {
    const absl::StatusOr<SlotToken> one = queue.offer(1);
    const absl::StatusOr<SlotToken> two = queue.offer(2);
    { const absl::StatusOr<SlotLease<int>> lease = queue.acquire(); }
    static_cast<void>(queue.eject(*two));
    { const absl::StatusOr<SlotLease<int>> lease = queue.acquire(Context::background().with_timeout(1h)); }
    SlotToken copy = *one;
    copy.retire();
    static_cast<void>(queue.offer(3));
    clock.advance(1s);
    static_cast<void>(queue.offer(4));
    static_cast<void>(queue.acquire()->retire());
  };
  use();
  CHECK(allocations_of(use) == 0);
  CHECK(queue.stats().expired == 2);
  CHECK(queue.is_idle());
}

TEST_CASE("Allocation failure: a coroutine that waits needs no memory of the queue",
          "[exec][slot_queue][allocation_failure]") {
  SlotQueue<int> queue({.name = "q"});
  RunLoop loop;
  const auto wait = [](SlotQueue<int>& from) -> Task<> {
    for (;;) {
      absl::StatusOr<SlotLease<int>> lease = co_await from.async_acquire();
      if (!lease.ok()) co_return;
      static_cast<void>(lease->retire());
    }
  };
  auto task = spawn(loop, wait(queue));
  loop.run_ready();
  const auto serve = [&] {
    static_cast<void>(queue.offer(1));
    loop.run_ready();
  };
  serve();
  CHECK(allocations_of([&] {
          for (int i = 0; i != 100; ++i) serve();
        }) == 0);
  CHECK(queue.stats().handed_over == 101);
  queue.close();
  loop.run_ready();
}

TEST_CASE("Allocation failure: a refusal that cannot be put into words", "[exec][slot_queue][allocation_failure]") {
  NumberQueue queue({.name = "q"});
  absl::Status refused;
  CHECK(failures_of([&] { refused = queue.try_acquire().status(); }) >= 2);
  CHECK(absl::IsResourceExhausted(refused));
  CHECK(queue.is_idle());
}

TEST_CASE("Allocation failure: who a start cannot be made for is told, and not left to wait",
          "[exec][slot_queue][allocation_failure]") {
  std::vector<LaunchTicket<Number>> tickets;
  tickets.reserve(4);
  RunLoop loop;
  NumberQueue queue(
      {.name = "q", .launch = [&](LaunchTicket<Number> ticket) { tickets.push_back(std::move(ticket)); }});
  auto waiting = spawn(loop, testing::acquire_in(queue));
  {
    const FailAllocation failure(0);
    loop.run_ready();
    CHECK(failure.has_failed());
  }
  CHECK(tickets.empty());
  CHECK(queue.stats().launch_shortages == 1);
  CHECK(queue.stats().failed == 1);
  const absl::Status told = waiting.get().status();
  CHECK(absl::IsResourceExhausted(told));
  CHECK(testing::text_of(told) == "slot queue 'q': no memory for a start");
  auto second = spawn(loop, testing::acquire_in(queue));
  loop.run_ready();
  REQUIRE(tickets.size() == 1);
  // A ticket that is dropped while memory is out has failed, too.
  {
    const FailAllocation failure(0);
    tickets.clear();
  }
  loop.run_ready();
  CHECK(absl::IsUnavailable(second.get().status()));
  CHECK(discrepancies(queue.stats()).empty());
  CHECK(queue.is_idle());
}

}  // namespace
}  // namespace penstock
