// SPDX-License-Identifier: MIT

// One line for threads and coroutines: first come, first served, whatever the filters say, and nobody is left in it.

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "exec/resource_pool_support.hpp"
#include "penstock/core/run_loop.hpp"
#include "support/catch.hpp"
#include "support/detached.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::acquire_in;
using testing::ContainsSubstring;
using testing::Detached;
using testing::discrepancies;
using testing::in_line;
using testing::IntLease;
using testing::IntPool;
using testing::number;
using testing::payload_of;
using testing::Recorder;
using testing::text_of;

using Number = std::unique_ptr<int>;

TEST_CASE("ResourcePool: what comes back goes to who has waited longest", "[exec][resource_pool]") {
  IntPool pool({.name = "keys"});
  REQUIRE(pool.add("a", number(1)).ok());
  Lease<Number> held = *pool.try_acquire();
  Recorder<int> order;
  std::vector<std::thread> threads;
  for (int i = 0; i != 4; ++i) {
    threads.emplace_back([&, i] {
      const IntLease lease = pool.acquire();
      order.record(lease.ok() ? i : -1);
    });
    CHECK(in_line(pool, static_cast<std::size_t>(i) + 1));
  }
  CHECK_FALSE(pool.try_acquire().ok());
  held.reset();
  for (std::thread& thread : threads) thread.join();
  CHECK(order.events() == std::vector<int>{0, 1, 2, 3});
  const ResourcePoolStats stats = pool.stats();
  CHECK(stats.waits == 4);
  CHECK(stats.waiting == 0);
  CHECK(discrepancies(stats).empty());
}

TEST_CASE("ResourcePool: threads and coroutines stand in one line", "[exec][resource_pool]") {
  IntPool pool({.name = "keys"});
  REQUIRE(pool.add("a", number(1)).ok());
  Lease<Number> held = *pool.try_acquire();
  Recorder<std::string> order;
  const auto coroutine = [](IntPool& from, Recorder<std::string>& to, std::string name) -> Task<> {
    const IntLease lease = co_await from.async_acquire();
    to.record(lease.ok() ? name : "refused");
  };
  auto first = spawn(Executor::inline_executor(), coroutine(pool, order, "coroutine 1"));
  CHECK(in_line(pool, 1));
  std::thread second([&] {
    const IntLease lease = pool.acquire();
    order.record("thread 2");
  });
  CHECK(in_line(pool, 2));
  auto third = spawn(Executor::inline_executor(), coroutine(pool, order, "coroutine 3"));
  CHECK(in_line(pool, 3));
  held.reset();
  second.join();
  sync_wait(std::move(first));
  sync_wait(std::move(third));
  CHECK(order.events() == std::vector<std::string>{"coroutine 1", "thread 2", "coroutine 3"});
}

TEST_CASE("ResourcePool: a resource goes past those whose filter it does not pass", "[exec][resource_pool]") {
  IntPool pool({.name = "keys", .strategy = ResourceStrategy::kRoundRobin});
  REQUIRE(pool.add("a", number(1)).ok());
  REQUIRE(pool.add("b", number(2)).ok());
  Lease<Number> a = *pool.try_acquire();
  Lease<Number> b = *pool.try_acquire();
  REQUIRE(a.id() == "a");
  RunLoop loop;
  const auto is = [](int value) { return [value](std::string_view, const Number& each) { return *each == value; }; };
  auto wants_b = spawn(loop, acquire_in(pool, {.filter = is(2)}, Context::background()));
  auto wants_any = spawn(loop, acquire_in(pool, {}, Context::background()));
  loop.run_ready();
  CHECK(pool.stats().waiting == 2);
  a.reset();
  loop.run_ready();
  CHECK(pool.stats().waiting == 1);
  CHECK(wants_any.get()->id() == "a");
  b.reset();
  loop.run_ready();
  CHECK(wants_b.get()->id() == "b");
}

TEST_CASE("ResourcePool: a filter is asked once, and again only about what is new", "[exec][resource_pool]") {
  IntPool pool({.name = "keys"});
  REQUIRE(pool.add("a", number(1)).ok());
  REQUIRE(pool.add("b", number(2)).ok());
  Lease<Number> one = *pool.try_acquire();
  Lease<Number> two = *pool.try_acquire();
  std::vector<std::string> asked;
  const auto filter = [&asked](std::string_view id, const Number& each) {
    asked.emplace_back(id);
    return *each > 1;
  };
  RunLoop loop;
  auto waiting = spawn(loop, acquire_in(pool, {.filter = filter}, Context::background()));
  loop.run_ready();
  CHECK(asked == std::vector<std::string>{"a", "b"});
  REQUIRE(pool.add("c", number(0)).ok());
  loop.run_ready();
  CHECK(asked == std::vector<std::string>{"a", "b", "c"});
  CHECK(pool.stats().waiting == 1);
  REQUIRE(pool.add("d", number(9)).ok());
  loop.run_ready();
  CHECK(asked == std::vector<std::string>{"a", "b", "c", "d"});
  CHECK(pool.stats().waiting == 0);
  CHECK(waiting.get()->id() == "d");
}

TEST_CASE("ResourcePool: who is asked about a new resource keeps its place", "[exec][resource_pool]") {
  IntPool pool({.name = "keys"});
  REQUIRE(pool.add("a", number(1)).ok());
  Lease<Number> held = *pool.try_acquire();
  RunLoop loop;
  const auto only_a = [](std::string_view id, const Number&) { return id == "a"; };
  auto first = spawn(loop, acquire_in(pool, {.filter = only_a}, Context::background()));
  auto second = spawn(loop, acquire_in(pool, {.filter = only_a}, Context::background()));
  loop.run_ready();
  REQUIRE(pool.add("b", number(2)).ok());  // both are woken to be asked, and have not run yet
  held.reset();                            // goes to the first one meanwhile
  CHECK(pool.stats().waiting == 1);
  loop.run_ready();
  CHECK(pool.stats().waiting == 1);
  CHECK(first.get()->id() == "a");  // and gives it back
  loop.run_ready();
  CHECK(second.get()->id() == "a");
  CHECK(discrepancies(pool.stats()).empty());
}

TEST_CASE("ResourcePool: a new resource serves those in line", "[exec][resource_pool]") {
  IntPool pool({.name = "keys"});
  REQUIRE(pool.add("a", number(1)).ok());
  const Lease<Number> held = *pool.try_acquire();
  Recorder<std::string> got;
  std::thread plain([&] { got.record(testing::id_of(pool.acquire())); });
  CHECK(in_line(pool, 1));
  std::thread choosy([&] {
    got.record(testing::id_of(pool.acquire({.filter = [](std::string_view id, const Number&) { return id != "z"; }})));
  });
  CHECK(in_line(pool, 2));
  REQUIRE(pool.add("b", number(2)).ok());
  plain.join();
  choosy.join();
  CHECK(got.count("b") == 2);
}

TEST_CASE("ResourcePool: a wait ends with its context, and says how it was", "[exec][resource_pool]") {
  ManualClock clock;
  IntPool pool({.name = "keys", .clock = &clock});
  REQUIRE(pool.add("a", number(1)).ok());
  Lease<Number> held = *pool.try_acquire();
  SECTION("its deadline") {
    absl::Status status;
    std::thread waiting([&] { status = pool.acquire(Context(clock).with_timeout(250ms)).status(); });
    CHECK(in_line(pool, 1));
    CHECK(testing::eventually([&] { return clock.armed() == 1; }));
    clock.advance(250ms);
    waiting.join();
    CHECK(absl::IsDeadlineExceeded(status));
    CHECK(text_of(status) ==
          "resource pool 'keys': no lease in time (waited 250 ms; 1 resource will do, 0 of them disabled; 1 lease is "
          "out)");
    CHECK(payload_of(status, "stage") == "lease");
    CHECK(pool.stats().timed_out == 1);
  }
  SECTION("its cancellation") {
    const auto [ctx, source] = Context(clock).with_cancel();
    RunLoop loop;
    auto waiting = spawn(loop, acquire_in(pool, {}, ctx));
    loop.run_ready();
    CHECK(pool.stats().waiting == 1);
    source.cancel();
    loop.run_ready();
    CHECK(absl::IsCancelled(waiting.get().status()));
    CHECK(pool.stats().cancelled == 1);
  }
  SECTION("it had ended before") {
    CHECK(absl::IsDeadlineExceeded(pool.acquire(Context(clock).with_timeout(0s)).status()));
    const auto [ctx, source] = Context(clock).with_cancel();
    source.cancel();
    CHECK(absl::IsCancelled(pool.acquire(ctx).status()));
    CHECK(pool.stats().waits == 0);
    held.reset();
    CHECK(pool.acquire(ctx).ok());  // looks once
  }
  CHECK(pool.stats().waiting == 0);
  held.reset();
  CHECK(pool.try_acquire().ok());
}

TEST_CASE("ResourcePool: nobody waits for what is not there", "[exec][resource_pool]") {
  IntPool pool({.name = "keys"});
  CHECK(absl::IsNotFound(pool.acquire().status()));
  REQUIRE(pool.add("a", number(1)).ok());
  CHECK(absl::IsNotFound(pool.acquire({.filter = [](std::string_view, const Number&) { return false; }}).status()));
  Lease<Number> held = *pool.try_acquire();
  Recorder<absl::StatusCode> ends;
  std::thread plain([&] { ends.record(pool.acquire().status().code()); });
  std::thread choosy([&] {
    ends.record(pool.acquire({.filter = [](std::string_view id, const Number&) { return id == "a"; }}).status().code());
  });
  CHECK(in_line(pool, 2));
  CHECK(pool.remove("a").value() == 1);  // the last one that they could get
  plain.join();
  choosy.join();
  CHECK(ends.count(absl::StatusCode::kNotFound) == 2);
  CHECK(pool.stats().waiting == 0);
}

TEST_CASE("ResourcePool: closing lets everybody go", "[exec][resource_pool]") {
  auto pool = std::make_unique<IntPool>(ResourcePoolOptions{.name = "keys"});
  REQUIRE(pool->add("a", number(1)).ok());
  std::optional<Lease<Number>> held = *pool->try_acquire();
  Recorder<std::string> ends;
  std::thread thread([&] { ends.record(text_of(pool->acquire().status())); });
  CHECK(in_line(*pool, 1));
  RunLoop loop;
  auto coroutine = spawn(loop, acquire_in(*pool, {}, Context::background()));
  loop.run_ready();
  CHECK(pool->stats().waiting == 2);
  SECTION("by close") { CHECK(pool->close()); }
  SECTION("by its destructor") { pool.reset(); }
  thread.join();
  loop.run_ready();
  CHECK(ends.contains("resource pool 'keys': closed"));
  CHECK(absl::IsUnavailable(coroutine.get().status()));
  CHECK(**held.value() == 1);
}

Detached wait_on(RunLoop& /*loop*/, IntPool& pool, AcquireOptions<Number> options) {
  const IntLease lease = co_await pool.async_acquire(options);
}

TEST_CASE("ResourcePool: a coroutine may be destroyed while it waits", "[exec][resource_pool]") {
  const auto any = [](std::string_view, const Number&) { return true; };
  IntPool pool({.name = "keys"});
  REQUIRE(pool.add("a", number(1)).ok());
  RunLoop loop;
  std::optional<Lease<Number>> held = *pool.try_acquire();
  const Detached waiting = wait_on(loop, pool, {.filter = any});
  CHECK(pool.stats().waiting == 1);
  SECTION("in line") { waiting.handle.destroy(); }
  SECTION("when it has been served, and not resumed") {
    held.reset();
    CHECK(pool.stats().in_use == 1);
    waiting.handle.destroy();
  }
  SECTION("when it was woken for its filter") {
    REQUIRE(pool.add("b", number(2)).ok());
    waiting.handle.destroy();
    CHECK(pool.try_acquire().ok());
  }
  SECTION("when it was woken for its filter, and served then") {
    REQUIRE(pool.add("b", number(2)).ok());
    held.reset();
    CHECK(pool.stats().in_use == 1);
    waiting.handle.destroy();
  }
  CHECK(loop.run_ready() == 0);
  held.reset();
  CHECK(pool.stats().in_use == 0);
  CHECK(pool.stats().waiting == 0);
  CHECK(discrepancies(pool.stats()).empty());
}

TEST_CASE("ResourcePool: a filter that throws leaves nothing behind", "[exec][resource_pool]") {
  IntPool pool({.name = "keys"});
  REQUIRE(pool.add("a", number(1)).ok());
  const auto throws_on = [](std::string name) {
    return [name](std::string_view id, const Number&) {
      if (id == name) throw std::runtime_error("no such model");
      return true;
    };
  };
  CHECK_THROWS_AS(pool.try_acquire({.filter = throws_on("a")}), std::runtime_error);
  CHECK_THROWS_AS(pool.acquire({.filter = throws_on("a")}), std::runtime_error);
  CHECK(pool.stats().in_use == 0);

  // One that throws when it is asked about what was added while it waits.
  std::optional<Lease<Number>> held = *pool.try_acquire();
  RunLoop loop;
  auto coroutine = spawn(loop, acquire_in(pool, {.filter = throws_on("b")}, Context::background()));
  loop.run_ready();
  std::atomic<bool> thrown{false};
  std::thread thread([&] {
    try {
      static_cast<void>(pool.acquire({.filter = throws_on("b")}));
    } catch (const std::runtime_error&) {
      thrown = true;
    }
  });
  CHECK(in_line(pool, 2));
  REQUIRE(pool.add("b", number(2)).ok());
  thread.join();
  CHECK(thrown);
  SECTION("and was served meanwhile") {
    held.reset();
    CHECK(pool.stats().in_use == 1);
    loop.run_ready();
    CHECK(coroutine.get().ok());
  }
  SECTION("and was not") {
    loop.run_ready();
    CHECK_THROWS_AS(coroutine.get(), std::runtime_error);
  }
  held.reset();
  CHECK(pool.stats().waiting == 0);
  CHECK(pool.stats().in_use == 0);
}

template <class Pool, class Options>
concept AwaitsOptions = requires(Pool& pool, Options&& options) {
  pool.async_acquire(std::forward<Options>(options));
};
// g++ 12 would destroy them twice.
static_assert(!AwaitsOptions<IntPool, AcquireOptions<Number>> && AwaitsOptions<IntPool, const AcquireOptions<Number>&>);

TEST_CASE("ResourcePool: an acquire that is awaited keeps its own options", "[exec][resource_pool]") {
  IntPool pool({.name = "keys"});
  REQUIRE(pool.add("a", number(1)).ok());
  const auto take = [](IntPool& from) -> Task<std::string> {
    std::optional<AcquireOptions<Number>> options;
    const std::string text(100, 'x');
    options = {.filter = [text](std::string_view, const Number&) { return text.size() == 100; },
               .sticky_key = std::string(100, 'y')};
    auto waiting = from.async_acquire(*options, Context::background().with_timeout(1h));
    options.reset();
    auto lease = co_await waiting;
    co_return lease.ok() ? lease->id() : text_of(lease.status());
  };
  CHECK(sync_wait(take(pool)) == "a");
  CHECK(pool.stats().in_use == 0);
}

}  // namespace
}  // namespace penstock
