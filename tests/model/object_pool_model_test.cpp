// SPDX-License-Identifier: MIT

// Object pools under every schedule: nobody holds what another one holds, no object is lost or destroyed twice, who
// waits gets one or the reason, and there are never more than there may be.

#include "penstock/state/object_pool.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"

#include "model/planted.hpp"
#include "model/single_user.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
namespace world = penstock::detail::world;

namespace {

const auto must_pass = checker::must_pass_with(5'000);

/// How many there are, and were at most. Changed by who makes and destroys, so atomically.
struct Census {
  world::Atomic<int> alive{0};
};

/// An object; how many there are is counted.
class Single : public checker::SingleUser {
 public:
  explicit Single(Census& census) : census_(&census) { census_->alive.fetch_add(1, std::memory_order_relaxed); }
  Single(const Single&) = delete;
  Single& operator=(const Single&) = delete;
  ~Single() { census_->alive.fetch_sub(1, std::memory_order_relaxed); }

 private:
  Census* const census_;
};

using Pool = ObjectPool<Single>;

ObjectPoolOptions<Single> options(Census& census) {
  ObjectPoolOptions<Single> options;
  options.name = "p";
  options.factory = [&census] { return std::make_unique<Single>(census); };
  options.purge_every = Duration::max();
  return options;
}

ObjectPoolOptions<Single> one_only(Census& census) {
  ObjectPoolOptions<Single> limited = options(census);
  limited.max_live = 1;
  return limited;
}

bool use(absl::StatusOr<Pooled<Single>> object, absl::StatusCode otherwise) {
  if (object.ok()) (*object)->use();
  MODEL_ASSERT(object.ok() || object.status().code() == otherwise);
  return object.ok();
}

void check_quiet(const Pool& pool, std::uint64_t requests) {
  const ObjectPoolStats stats = pool.stats();
  MODEL_ASSERT(stats.waiting == 0 && stats.out == 0 && stats.live == stats.idle);
  MODEL_ASSERT(stats.requests == requests && stats.returns == requests);
}

Task<bool> use_in_coroutine(Pool& pool, Context ctx, absl::StatusCode otherwise) {
  co_return use(co_await pool.async_acquire(ctx), otherwise);
}

}  // namespace

TEST_CASE("ObjectPool: two threads acquire and let go, and a third one counts", "[model][object_pool]") {
  must_pass({.name = "object pool, three", .preemptions = 2}, [] {
    Census census;
    {
      Pool pool(options(census));
      const auto take = [&] {
        use(pool.acquire(), absl::StatusCode::kOk);
        use(pool.acquire(), absl::StatusCode::kOk);
      };
      world::Thread one(take);
      const ObjectPoolStats stats = pool.stats();
      MODEL_ASSERT(stats.requests == stats.hits() + stats.misses);
      MODEL_ASSERT(stats.requests == stats.returns + stats.out || stats.live > stats.requests);
      take();
      one.join();
      check_quiet(pool, 4);
    }
    MODEL_ASSERT(census.alive.load(std::memory_order_relaxed) == 0);
  });
}

TEST_CASE("ObjectPool: what lies with a thread is purged while the thread takes it", "[model][object_pool]") {
  must_pass({.name = "object pool, purge", .preemptions = 3}, [] {
    Census census;
    {
      Pool pool(options(census));
      world::Thread owner([&] {
        use(pool.acquire(), absl::StatusCode::kOk);
        use(pool.acquire(), absl::StatusCode::kOk);
      });
      pool.purge();
      pool.purge();
      owner.join();
      check_quiet(pool, 2);
    }
    MODEL_ASSERT(census.alive.load(std::memory_order_relaxed) == 0);
  });
}

TEST_CASE("ObjectPool: three want the one object", "[model][object_pool]") {
  must_pass({.name = "object pool, one object", .preemptions = 2}, [] {
    Census census;
    {
      Pool pool(one_only(census));
      const auto take = [&] {
        const absl::StatusOr<Pooled<Single>> object = pool.acquire();
        MODEL_ASSERT(object.ok());
        MODEL_ASSERT(census.alive.load(std::memory_order_relaxed) == 1);
        (*object)->use();
      };
      world::Thread one(take);
      world::Thread two(take);
      take();
      one.join();
      two.join();
      check_quiet(pool, 3);
    }
    MODEL_ASSERT(census.alive.load(std::memory_order_relaxed) == 0);
  });
}

TEST_CASE("ObjectPool: who waits gets what lies idle with another thread, or comes back there",
          "[model][object_pool]") {
  must_pass({.name = "object pool, gathered", .preemptions = 3}, [] {
    Census census;
    {
      Pool pool(one_only(census));
      world::Thread owner([&] {
        use(pool.try_acquire(), absl::StatusCode::kResourceExhausted);
        use(pool.try_acquire(), absl::StatusCode::kResourceExhausted);
      });
      MODEL_ASSERT(use(pool.acquire(), absl::StatusCode::kOk));
      owner.join();
      const ObjectPoolStats stats = pool.stats();
      MODEL_ASSERT(stats.live == 1 && stats.idle == 1 && stats.requests + stats.exhausted == 3);
    }
    MODEL_ASSERT(census.alive.load(std::memory_order_relaxed) == 0);
  });
}

TEST_CASE("ObjectPool: an object is destroyed while somebody waits for one", "[model][object_pool]") {
  must_pass({.name = "object pool, discarded", .preemptions = 3}, [] {
    Census census;
    {
      Pool pool(one_only(census));
      Pooled<Single> held = *pool.try_acquire();
      world::Thread holder([&] { held.discard(); });
      MODEL_ASSERT(use(pool.acquire(), absl::StatusCode::kOk));
      holder.join();
      check_quiet(pool, 2);
    }
    MODEL_ASSERT(census.alive.load(std::memory_order_relaxed) == 0);
  });
}

TEST_CASE("ObjectPool: a waiter, a closer and a canceller", "[model][object_pool]") {
  must_pass({.name = "object pool, closer and canceller", .preemptions = 2}, [] {
    Census census;
    {
      Pool pool(one_only(census));
      Pooled<Single> held = *pool.try_acquire();
      const Context::Cancellable ending = Context::background().with_cancel();
      absl::StatusCode end = absl::StatusCode::kUnknown;
      world::Thread waiter([&] {
        const absl::StatusOr<Pooled<Single>> object = pool.acquire(ending.context);
        end = object.status().code();
      });
      world::Thread closer([&] { MODEL_ASSERT(pool.close()); });
      world::Thread canceller([&] { ending.source.cancel(); });
      held.reset();
      waiter.join();
      closer.join();
      canceller.join();
      MODEL_ASSERT(end == absl::StatusCode::kOk || end == absl::StatusCode::kCancelled ||
                   end == absl::StatusCode::kUnavailable);
      const ObjectPoolStats stats = pool.stats();
      MODEL_ASSERT(stats.live == 0 && stats.waiting == 0);
      MODEL_ASSERT(census.alive.load(std::memory_order_relaxed) == 0);  // though the pool is there
    }
  });
}

TEST_CASE("ObjectPool: a thread ends while the pool does", "[model][object_pool]") {
  must_pass({.name = "object pool, thread end", .preemptions = 3}, [] {
    Census census;
    auto pool = std::make_unique<Pool>(options(census));
    world::Atomic<bool> is_done{false};
    world::Thread owner([&] {
      use(pool->acquire(), absl::StatusCode::kOk);
      is_done.store(true, std::memory_order_release);
    });
    while (!is_done.load(std::memory_order_acquire)) world::yield();
    pool.reset();
    MODEL_ASSERT(census.alive.load(std::memory_order_relaxed) == 0);
    owner.join();
  });
}

TEST_CASE("ObjectPool: a thread that ends leaves its objects to who waits", "[model][object_pool]") {
  must_pass({.name = "object pool, left behind", .preemptions = 3}, [] {
    Census census;
    {
      Pool pool(one_only(census));
      world::Thread owner([&] { use(pool.try_acquire(), absl::StatusCode::kResourceExhausted); });
      MODEL_ASSERT(use(pool.acquire(), absl::StatusCode::kOk));
      owner.join();
      MODEL_ASSERT(use(pool.try_acquire(), absl::StatusCode::kOk));
      MODEL_ASSERT(census.alive.load(std::memory_order_relaxed) == 1);
    }
    MODEL_ASSERT(census.alive.load(std::memory_order_relaxed) == 0);
  });
}

TEST_CASE("ObjectPool: the pool goes while an object is out and somebody waits", "[model][object_pool]") {
  for (const bool in_coroutine : {false, true}) {
    must_pass({.name = "object pool, destroyed", .preemptions = 2, .standard_steps = true}, [in_coroutine] {
      Census census;
      auto pool = std::make_unique<Pool>(one_only(census));
      Pooled<Single> held = *pool->try_acquire();
      RunLoop loop;
      std::optional<JoinHandle<bool>> coroutine;
      if (in_coroutine) {
        coroutine = spawn(loop, use_in_coroutine(*pool, Context::background(), absl::StatusCode::kUnavailable));
        loop.run_ready();
      }
      world::Thread holder([&] {
        held->use();
        held.reset();
      });
      world::Thread destroyer([&] { pool.reset(); });
      holder.join();
      destroyer.join();
      loop.run_ready();
      MODEL_ASSERT(census.alive.load(std::memory_order_relaxed) == 0);
    });
  }
}

TEST_CASE("ObjectPool: the last place for an idle object", "[model][object_pool]") {
  must_pass({.name = "object pool, one place", .preemptions = 2}, [] {
    Census census;
    {
      ObjectPoolOptions<Single> narrow = options(census);
      narrow.max_idle = 1;
      Pool pool(std::move(narrow));
      const auto take = [&] { use(pool.acquire(), absl::StatusCode::kOk); };
      world::Thread one([&] {
        take();
        take();
      });
      take();
      MODEL_ASSERT(pool.stats().idle <= 1);
      one.join();
      const ObjectPoolStats stats = pool.stats();
      MODEL_ASSERT(stats.idle == 1 && stats.live == 1);
      check_quiet(pool, 3);
    }
    MODEL_ASSERT(census.alive.load(std::memory_order_relaxed) == 0);
  });
}

TEST_CASE("ObjectPool: stealing instead of making", "[model][object_pool]") {
  must_pass({.name = "object pool, steal", .preemptions = 3}, [] {
    Census census;
    {
      ObjectPoolOptions<Single> thief = options(census);
      thief.steals = true;
      Pool pool(std::move(thief));
      world::Thread owner([&] {
        use(pool.acquire(), absl::StatusCode::kOk);
        use(pool.acquire(), absl::StatusCode::kOk);
      });
      use(pool.acquire(), absl::StatusCode::kOk);
      owner.join();
      check_quiet(pool, 3);
    }
    MODEL_ASSERT(census.alive.load(std::memory_order_relaxed) == 0);
  });
}

TEST_CASE("ObjectPool: the pool goes while its clock purges", "[model][object_pool]") {
  must_pass({.name = "object pool, purge and end", .preemptions = 3}, [] {
    Census census;
    ManualClock clock;
    ObjectPoolOptions<Single> ticking = options(census);
    ticking.purge_every = 5ms;
    ticking.clock = &clock;
    auto pool = std::make_unique<Pool>(std::move(ticking));
    use(pool->acquire(), absl::StatusCode::kOk);
    world::Thread advancer([&] { clock.advance(10ms); });
    pool.reset();
    MODEL_ASSERT(clock.armed() == 0);
    advancer.join();
    MODEL_ASSERT(census.alive.load(std::memory_order_relaxed) == 0);
  });
}
