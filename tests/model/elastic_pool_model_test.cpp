// SPDX-License-Identifier: MIT

// Elastic pools under every schedule: an accepted task runs or is reported, a refused one never runs, whatever becomes
// of the workers meanwhile, and nobody waits for ever.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "penstock/core/detail/parker.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/elastic_pool.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
namespace world = penstock::detail::world;

namespace {

/// A pool is many steps: its schedules with two preemptions are for the long runs.
void must_pass_with_pool(checker::Options options, const checker::Scenario& scenario) {
  options.preemptions = 1;
  options.executions = 20'000;
  checker::must_pass(options, scenario);
}

struct Setup {
  explicit Setup(ElasticPoolOptions options) {
    options.name = "p";
    options.clock = &clock;
    options.growth.at_once = 1;
    options.shutdown_timeout = Duration::max();
    const checker::Calm calm;  // the start has nobody to race with
    pool.emplace(std::move(options));
  }

  /// Makes the first worker, and lets it become idle.
  void warm_up() {
    const checker::Calm calm;
    MODEL_ASSERT(pool->submit([] {})->get().ok());
    while (pool->stats().idle == 0) world::yield();
  }

  void check_books() const {
    const ElasticPoolStats s = pool->stats();
    MODEL_ASSERT(s.live == s.idle + s.busy + s.starting);
    MODEL_ASSERT(s.accepted ==
                 s.queued + s.running + s.succeeded + s.failed + s.threw + s.cancelled + s.dropped + s.unmade);
  }

  ManualClock clock;
  std::optional<ElasticPool> pool;
};

}  // namespace

TEST_CASE("ElasticPool: a submission against the end", "[model][elastic_pool]") {
  must_pass_with_pool({.name = "elastic pool, submit against end"}, [] {
    Setup setup({});
    int ran = 0;
    OpStatus submitted = OpStatus::kFull;
    world::Thread submitter([&] { submitted = setup.pool->execute([&] { ++ran; }); });
    const ElasticShutdownReport report = setup.pool->shutdown();
    const int ran_by_then = ran;
    submitter.join();
    MODEL_ASSERT(report.in_time);
    MODEL_ASSERT(submitted == OpStatus::kOk || submitted == OpStatus::kClosed);
    MODEL_ASSERT(ran_by_then == (submitted == OpStatus::kOk ? 1 : 0));
    MODEL_ASSERT(setup.pool->worker_count() == 0);
    setup.check_books();
  });
}

TEST_CASE("ElasticPool: a submission against a pill for the only worker", "[model][elastic_pool]") {
  must_pass_with_pool({.name = "elastic pool, submit against pill"}, [] {
    Setup setup({.trim = PoisonPill{1s, 0, 0}});
    setup.warm_up();
    world::Thread ticker([&] { setup.clock.advance(1s); });
    int ran = 0;
    MODEL_ASSERT(setup.pool->submit([&] { ++ran; })->get().ok());
    MODEL_ASSERT(ran == 1);
    ticker.join();
    const ElasticPoolStats stats = setup.pool->stats();
    MODEL_ASSERT(stats.pills == stats.trimmed);
    MODEL_ASSERT(stats.pills <= 1);
    MODEL_ASSERT(stats.live + stats.pills == stats.created);
    setup.check_books();
  });
}

TEST_CASE("ElasticPool: posted work against a pill for the only worker", "[model][elastic_pool]") {
  must_pass_with_pool({.name = "elastic pool, post against pill"}, [] {
    Setup setup({.trim = IdleTimeout{1s, 0}});
    setup.warm_up();
    world::Thread ticker([&] { setup.clock.advance(1s); });
    detail::Parker done;
    setup.pool->post([&] { done.unpark(); });
    done.park();
    ticker.join();
  });
}

TEST_CASE("ElasticPool: an end that cancels, a cancellation, and the job", "[model][elastic_pool]") {
  must_pass_with_pool({.name = "elastic pool, closer and canceller"}, [] {
    Setup setup({.max_workers = 1});
    setup.warm_up();
    int ran = 0;
    MODEL_ASSERT(setup.pool->execute([&] { ++ran; }) == OpStatus::kOk);
    Job<void> job = setup.pool->submit([&] { ++ran; }).value();
    world::Thread canceller([&] { job.cancel(); });
    const ElasticShutdownReport report = setup.pool->shutdown(Context::background(), ElasticEnd::kCancel);
    MODEL_ASSERT(report.in_time);
    canceller.join();
    const absl::Status answer = job.get();
    MODEL_ASSERT(answer.ok() || absl::IsCancelled(answer));
    const ElasticPoolStats stats = setup.pool->stats();
    MODEL_ASSERT(stats.succeeded == static_cast<std::uint64_t>(ran) + 1);
    MODEL_ASSERT(stats.accepted == 3 && stats.queued == 0 && stats.running == 0);
    setup.check_books();
  });
}

TEST_CASE("ElasticPool: two ends and a task", "[model][elastic_pool]") {
  must_pass_with_pool({.name = "elastic pool, two ends"}, [] {
    Setup setup({});
    int ran = 0;
    MODEL_ASSERT(setup.pool->execute([&] { ++ran; }) == OpStatus::kOk);
    world::Thread closer([&] { MODEL_ASSERT(setup.pool->shutdown().in_time); });
    MODEL_ASSERT(setup.pool->shutdown().in_time);
    MODEL_ASSERT(ran == 1);
    closer.join();
  });
}

TEST_CASE("ElasticPool: a tick against the destruction", "[model][elastic_pool]") {
  must_pass_with_pool({.name = "elastic pool, tick against destruction"}, [] {
    Setup setup({.trim = PoisonPill{1s, 0, 0}});
    setup.warm_up();
    world::Thread ticker([&] { setup.clock.advance(2s); });
    setup.pool.reset();
    ticker.join();
    MODEL_ASSERT(setup.clock.armed() == 0);
  });
}

TEST_CASE("ElasticPool: who has submitted may be late when the pool goes", "[model][elastic_pool]") {
  must_pass_with_pool({.name = "elastic pool, late submitter"}, [] {
    auto setup = std::make_unique<Setup>(ElasticPoolOptions{});
    detail::Parker done;
    world::Thread submitter([&] { MODEL_ASSERT(setup->pool->execute([&] { done.unpark(); }) == OpStatus::kOk); });
    done.park();
    setup.reset();  // the submitter may not have returned yet
    submitter.join();
  });
}

TEST_CASE("ElasticPool: who has handed a task to an idle worker may be late when the pool goes",
          "[model][elastic_pool]") {
  must_pass_with_pool({.name = "elastic pool, late submitter, warm"}, [] {
    auto setup = std::make_unique<Setup>(ElasticPoolOptions{});
    setup->warm_up();
    detail::Parker done;
    world::Thread submitter([&] { MODEL_ASSERT(setup->pool->execute([&] { done.unpark(); }) == OpStatus::kOk); });
    done.park();
    setup.reset();
    submitter.join();
  });
}

TEST_CASE("ElasticPool: a task gets a worker while another one waits for it", "[model][elastic_pool]") {
  must_pass_with_pool({.name = "elastic pool, blocked worker"}, [] {
    Setup setup({});
    detail::Parker second_ran;
    Job<void> first = setup.pool->submit([&] { second_ran.park(); }).value();
    MODEL_ASSERT(setup.pool->execute([&] { second_ran.unpark(); }) == OpStatus::kOk);
    MODEL_ASSERT(first.get().ok());
    MODEL_ASSERT(setup.pool->stats().created == 2);
  });
}

TEST_CASE("ElasticPool: another policy against a tick", "[model][elastic_pool]") {
  must_pass_with_pool({.name = "elastic pool, policy against tick"}, [] {
    Setup setup({.trim = PoisonPill{1s, 0, 0}});
    setup.warm_up();
    world::Thread ticker([&] { setup.clock.advance(1s); });
    MODEL_ASSERT(setup.pool->set_trim(IdleTimeout{1s, 0}).ok());
    ticker.join();
    setup.clock.advance(2s);
    MODEL_ASSERT(setup.pool->worker_count() == 0);
  });
}
