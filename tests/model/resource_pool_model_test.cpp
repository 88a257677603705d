// SPDX-License-Identifier: MIT

// Resource pools under every schedule: who waits gets a lease or the reason, no lease is lost or given twice, and each
// resource dies once, when nobody can see it any more.

#include "penstock/exec/resource_pool.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"

#include "model/planted.hpp"
#include "model/single_user.hpp"
#include "support/detached.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using penstock::testing::Detached;
namespace world = penstock::detail::world;

namespace {

const auto must_pass = checker::must_pass_with(20'000);

/// A resource; how many there are is counted.
class Single : public checker::SingleUser {
 public:
  explicit Single(int& alive) : alive_(&alive) { ++alive; }
  Single(const Single&) = delete;
  Single& operator=(const Single&) = delete;
  ~Single() { --*alive_; }

 private:
  int* const alive_;
};

using Pool = ResourcePool<Single>;
using Outcome = absl::StatusOr<Lease<Single>>;

ResourcePoolOptions options(Clock& clock = Clock::steady()) {
  return {.name = "p", .strategy = ResourceStrategy::kRoundRobin, .seed = 1, .clock = &clock};
}

bool use(Outcome outcome, absl::StatusCode otherwise) {
  if (outcome.ok()) (*outcome)->use();
  MODEL_ASSERT(outcome.ok() || outcome.status().code() == otherwise);
  return outcome.ok();
}

void check_quiet(const Pool& pool, std::uint64_t leases) {
  const ResourcePoolStats stats = pool.stats();
  MODEL_ASSERT(stats.waiting == 0 && stats.in_use == 0);
  MODEL_ASSERT(stats.leases == leases && stats.returns == leases);
}

const AcquireOptions<Single> kAny{.filter = [](std::string_view, const Single&) { return true; }};

Task<bool> use_in_coroutine(Pool& pool, Context ctx, absl::StatusCode otherwise) {
  Outcome outcome = co_await pool.async_acquire(kAny, ctx);
  co_return use(std::move(outcome), otherwise);
}

Detached wait_on(RunLoop& /*loop*/, Pool& pool, Context ctx) {
  Outcome outcome = co_await pool.async_acquire(kAny, ctx);
  if (outcome.ok()) (*outcome)->use();
}

}  // namespace

TEST_CASE("ResourcePool: three take one resource in turn", "[model][resource_pool]") {
  must_pass({.name = "resource pool, three users", .preemptions = 2}, [] {
    int alive = 0;
    {
      Pool pool(options());
      MODEL_ASSERT(pool.add("a", alive).ok());
      const auto take = [&] { use(pool.acquire(), absl::StatusCode::kOk); };
      world::Thread one(take);
      world::Thread two(take);
      take();
      one.join();
      two.join();
      check_quiet(pool, 3);
    }
    MODEL_ASSERT(alive == 0);
  });
}

TEST_CASE("ResourcePool: a waiter, a closer and a canceller", "[model][resource_pool]") {
  must_pass({.name = "resource pool, closer and canceller", .preemptions = 2}, [] {
    int alive = 0;
    {
      Pool pool(options());
      MODEL_ASSERT(pool.add("a", alive).ok());
      std::optional<Lease<Single>> held = *pool.try_acquire();
      const Context::Cancellable ending = Context::background().with_cancel();
      absl::StatusCode end = absl::StatusCode::kUnknown;
      world::Thread waiter([&] { end = pool.acquire(ending.context).status().code(); });
      world::Thread closer([&] { MODEL_ASSERT(pool.close()); });
      world::Thread canceller([&] { ending.source.cancel(); });
      held.reset();
      waiter.join();
      closer.join();
      canceller.join();
      MODEL_ASSERT(end == absl::StatusCode::kOk || end == absl::StatusCode::kCancelled ||
                   end == absl::StatusCode::kUnavailable);
      check_quiet(pool, end == absl::StatusCode::kOk ? 2 : 1);
    }
    MODEL_ASSERT(alive == 0);
  });
}

TEST_CASE("ResourcePool: a lease comes back while the wait for it ends", "[model][resource_pool]") {
  must_pass({.name = "resource pool, deadline", .preemptions = 3}, [] {
    int alive = 0;
    ManualClock clock;
    {
      Pool pool(options(clock));
      MODEL_ASSERT(pool.add("a", alive).ok());
      std::optional<Lease<Single>> held = *pool.try_acquire();
      const Context late = Context(clock).with_timeout(5ms);
      world::Thread advancer([&] { clock.advance(10ms); });
      world::Thread holder([&] { held.reset(); });
      const bool got = use(pool.acquire(late), absl::StatusCode::kDeadlineExceeded);
      advancer.join();
      holder.join();
      MODEL_ASSERT(pool.try_acquire().ok());  // it was not lost
      check_quiet(pool, got ? 3 : 2);
      MODEL_ASSERT(clock.armed() == 0);
    }
    MODEL_ASSERT(alive == 0);
  });
}

TEST_CASE("ResourcePool: the pool goes while somebody waits and a lease is out", "[model][resource_pool]") {
  for (const bool in_coroutine : {false, true}) {
    must_pass({.name = "resource pool, destroyed", .preemptions = 2, .standard_steps = true}, [in_coroutine] {
      int alive = 0;
      auto pool = std::make_unique<Pool>(options());
      MODEL_ASSERT(pool->add("a", alive).ok());
      std::optional<Lease<Single>> held = *pool->try_acquire();
      RunLoop loop;
      std::optional<JoinHandle<bool>> coroutine;
      if (in_coroutine) {
        coroutine = spawn(loop, use_in_coroutine(*pool, Context::background(), absl::StatusCode::kUnavailable));
        loop.run_ready();
      }
      world::Thread holder([&] {
        (*held)->use();
        held.reset();
      });
      world::Thread destroyer([&] { pool.reset(); });
      holder.join();
      destroyer.join();
      loop.run_ready();
      MODEL_ASSERT(alive == 0);
    });
  }
}

TEST_CASE("ResourcePool: a resource is removed while it is lent, asked about and given back",
          "[model][resource_pool]") {
  must_pass({.name = "resource pool, removed", .preemptions = 2, .standard_steps = true}, [] {
    int alive = 0;
    {
      Pool pool(options());
      MODEL_ASSERT(pool.add("a", alive).ok());
      std::optional<Lease<Single>> held = *pool.try_acquire();
      world::Thread remover([&] { MODEL_ASSERT(pool.remove("a").ok()); });
      world::Thread holder([&] { held.reset(); });
      use(pool.acquire(kAny), absl::StatusCode::kNotFound);
      remover.join();
      holder.join();
      MODEL_ASSERT(alive == 0);  // though the pool is there
    }
  });
}

TEST_CASE("ResourcePool: two discard the same resource", "[model][resource_pool]") {
  must_pass({.name = "resource pool, discarded", .preemptions = 3, .standard_steps = true}, [] {
    int alive = 0;
    Pool pool(options());
    MODEL_ASSERT(pool.add("a", alive, {.max_concurrent = 2}).ok());
    Lease<Single> one = *pool.try_acquire();
    Lease<Single> two = *pool.try_acquire();
    world::Thread other([&] { one.discard(); });
    two.discard();
    other.join();
    MODEL_ASSERT(alive == 0 && pool.stats().leaving == 0);
  });
}

TEST_CASE("ResourcePool: one in line is asked about a new resource while an old one comes back",
          "[model][resource_pool]") {
  must_pass({.name = "resource pool, added", .preemptions = 2}, [] {
    int alive = 0;
    {
      Pool pool(options());
      MODEL_ASSERT(pool.add("a", alive).ok());
      std::optional<Lease<Single>> held = *pool.try_acquire();
      world::Thread adder([&] { MODEL_ASSERT(pool.add("b", alive).ok()); });
      world::Thread holder([&] { held.reset(); });
      MODEL_ASSERT(use(pool.acquire(kAny), absl::StatusCode::kOk));
      adder.join();
      holder.join();
      check_quiet(pool, 2);
    }
    MODEL_ASSERT(alive == 0);
  });
}

TEST_CASE("ResourcePool: a rest ends while it is changed", "[model][resource_pool]") {
  must_pass({.name = "resource pool, rests", .preemptions = 2}, [] {
    int alive = 0;
    ManualClock clock;
    {
      Pool pool(options(clock));
      MODEL_ASSERT(pool.add("a", alive).ok());
      MODEL_ASSERT(pool.disable("a", 5ms).ok());
      world::Thread advancer([&] { clock.advance(10ms); });
      world::Thread changer([&] { MODEL_ASSERT(pool.disable("a", 2ms).ok()); });
      // Whichever comes first, the time after both is past every rest but one that began at 10 ms.
      world::Thread last([&] {
        advancer.join();
        changer.join();
        clock.advance(10ms);
      });
      MODEL_ASSERT(use(pool.acquire(), absl::StatusCode::kOk));
      last.join();
      check_quiet(pool, 1);
    }
    MODEL_ASSERT(clock.armed() == 0);
    MODEL_ASSERT(alive == 0);
  });
}

TEST_CASE("ResourcePool: the pool goes while its timer fires", "[model][resource_pool]") {
  must_pass({.name = "resource pool, timer and end", .preemptions = 3}, [] {
    int alive = 0;
    ManualClock clock;
    auto pool = std::make_unique<Pool>(options(clock));
    MODEL_ASSERT(pool->add("a", alive).ok());
    MODEL_ASSERT(pool->disable("a", 5ms).ok());
    RunLoop loop;
    auto waiting = spawn(loop, use_in_coroutine(*pool, Context::background(), absl::StatusCode::kUnavailable));
    loop.run_ready();
    world::Thread advancer([&] { clock.advance(10ms); });
    pool.reset();
    MODEL_ASSERT(clock.armed() == 0);
    advancer.join();
    loop.run_ready();
    static_cast<void>(waiting.get());
    MODEL_ASSERT(alive == 0);
  });
}

TEST_CASE("ResourcePool: the pool and its clock go while a report begins a rest", "[model][resource_pool]") {
  must_pass({.name = "resource pool, report and end", .preemptions = 2}, [] {
    int alive = 0;
    auto clock = std::make_unique<ManualClock>();
    auto pool = std::make_unique<Pool>(options(*clock));
    MODEL_ASSERT(pool->add("a", alive).ok());
    std::optional<Lease<Single>> held = *pool->try_acquire();
    RunLoop loop;
    auto waiting = spawn(loop, use_in_coroutine(*pool, Context::background(), absl::StatusCode::kUnavailable));
    loop.run_ready();
    world::Thread reporter([&] {
      held->report(absl::ResourceExhaustedError("429"), 5ms);
      held.reset();
    });
    pool.reset();
    clock.reset();
    reporter.join();
    loop.run_ready();
    MODEL_ASSERT(!waiting.get() && alive == 0);
  });
}

TEST_CASE("ResourcePool: two rests begin while somebody waits", "[model][resource_pool]") {
  must_pass({.name = "resource pool, two rests", .preemptions = 2}, [] {
    int alive = 0;
    ManualClock clock;
    {
      Pool pool(options(clock));
      MODEL_ASSERT(pool.add("a", alive).ok());
      MODEL_ASSERT(pool.add("b", alive).ok());
      MODEL_ASSERT(pool.add("c", alive).ok());
      Lease<Single> a = *pool.try_acquire();
      Lease<Single> b = *pool.try_acquire();
      const Lease<Single> c = *pool.try_acquire();  // one that is only busy: nobody is told to look again
      RunLoop loop;
      auto waiting = spawn(loop, use_in_coroutine(pool, Context::background(), absl::StatusCode::kOk));
      loop.run_ready();
      const auto rest = [](Lease<Single>& lease, Duration time) {
        lease.report(absl::ResourceExhaustedError("429"), time);
        lease.reset();
      };
      world::Thread other([&] { rest(a, 9ms); });
      rest(b, 5ms);
      other.join();
      loop.run_ready();
      clock.advance(5ms);  // the sooner one, whichever came first
      loop.run_ready();
      MODEL_ASSERT(waiting.get());
    }
    MODEL_ASSERT(alive == 0);
  });
}

TEST_CASE("ResourcePool: a coroutine is cancelled, served and closed at once", "[model][resource_pool]") {
  must_pass({.name = "resource pool, coroutine", .preemptions = 2}, [] {
    int alive = 0;
    {
      Pool pool(options());
      MODEL_ASSERT(pool.add("a", alive).ok());
      std::optional<Lease<Single>> held = *pool.try_acquire();
      const Context::Cancellable ending = Context::background().with_cancel();
      world::Thread canceller([&] { ending.source.cancel(); });
      world::Thread holder([&] { held.reset(); });
      const bool got = sync_wait(use_in_coroutine(pool, ending.context, absl::StatusCode::kCancelled));
      canceller.join();
      holder.join();
      check_quiet(pool, got ? 2 : 1);
    }
    MODEL_ASSERT(alive == 0);
  });
}

TEST_CASE("ResourcePool: a coroutine is nudged, served and freed by other threads", "[model][resource_pool]") {
  for (const bool can_end : {false, true}) {
    must_pass({.name = "resource pool, coroutine elsewhere", .preemptions = 2}, [can_end] {
      int alive = 0;
      {
        Pool pool(options());
        MODEL_ASSERT(pool.add("a", alive).ok());
        std::optional<Lease<Single>> held = *pool.try_acquire();
        const Context::Cancellable ending = Context::background().with_cancel();
        world::Thread adder([&] { MODEL_ASSERT(pool.add("b", alive).ok()); });
        world::Thread holder([&] { held.reset(); });
        static_cast<void>(
            spawn(Executor::inline_executor(),
                  use_in_coroutine(pool, can_end ? ending.context : Context::background(), absl::StatusCode::kOk)));
        adder.join();
        holder.join();
        check_quiet(pool, 2);
      }
      MODEL_ASSERT(alive == 0);
    });
  }
}

TEST_CASE("ResourcePool: a coroutine is destroyed while it is served and nudged", "[model][resource_pool]") {
  must_pass({.name = "resource pool, coroutine destroyed", .preemptions = 2}, [] {
    int alive = 0;
    {
      Pool pool(options());
      MODEL_ASSERT(pool.add("a", alive).ok());
      std::optional<Lease<Single>> held = *pool.try_acquire();
      RunLoop loop;
      const Detached waiting = wait_on(loop, pool, Context::background());
      world::Thread holder([&] { held.reset(); });
      world::Thread adder([&] { MODEL_ASSERT(pool.add("b", alive).ok()); });
      waiting.handle.destroy();
      holder.join();
      adder.join();
      MODEL_ASSERT(loop.run_ready() == 0);
      const ResourcePoolStats stats = pool.stats();
      MODEL_ASSERT(stats.waiting == 0 && stats.in_use == 0 && stats.leases == stats.returns);
    }
    MODEL_ASSERT(alive == 0);
  });
}
