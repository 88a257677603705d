// SPDX-License-Identifier: MIT

// Thread managers under every schedule: a spawned function runs once, a refused one never, there are never more threads
// than allowed, nobody waits for ever, and no thread is left over, whatever races.

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <utility>

#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/thread_manager.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
namespace world = penstock::detail::world;

namespace {

void must_pass(checker::Options options, const checker::Scenario& scenario) {
  options.executions = 2'000;
  checker::must_pass(options, scenario);
}

/// A manager without deadlines, unless the scenario is about them.
std::unique_ptr<ThreadManager> make_manager(ThreadManagerOptions options = {}) {
  options.name = "m";
  options.history_size = 1;
  options.event_capacity = 2;
  if (options.clock == &Clock::steady()) options.idle_timeout = options.shutdown_timeout = Duration::max();
  auto manager = ThreadManager::create(std::move(options));
  MODEL_ASSERT(manager.ok());
  return *std::move(manager);
}

/// The books of one snapshot.
void check_books(const ThreadManager& manager) {
  const ThreadManagerStats s = manager.stats();
  std::size_t at_work = 0;
  for (const std::size_t threads : s.by_state) at_work += threads;
  MODEL_ASSERT(s.live == s.starting + s.idle + at_work);
  MODEL_ASSERT(s.spawned == s.finished + at_work);
  MODEL_ASSERT(s.finished == s.returned + s.threw + s.cancelled);
  MODEL_ASSERT(s.live + s.ending <= s.max);
  MODEL_ASSERT(s.high_water <= s.max);
}

}  // namespace

TEST_CASE("ThreadManager: a spawn against a shutdown", "[model][thread_manager]") {
  must_pass({.name = "threads, spawn against shutdown", .preemptions = 2}, [] {
    const auto manager = make_manager({.max_threads = 1});
    int ran = 0;
    bool spawned = false;
    world::Thread spawner([&] {
      const auto id = manager->spawn("x", [&] { ++ran; });
      spawned = id.ok();
      MODEL_ASSERT(id.ok() || absl::IsUnavailable(id.status()));
    });
    MODEL_ASSERT(manager->shutdown(Context::background()).is_complete());
    const int ran_by_then = ran;
    spawner.join();
    MODEL_ASSERT(ran_by_then == (spawned ? 1 : 0));
    check_books(*manager);
  });
}

TEST_CASE("ThreadManager: a spawn against the end of an idle thread's time", "[model][thread_manager]") {
  must_pass({.name = "threads, spawn against expiry", .preemptions = 2}, [] {
    ManualClock clock;
    const auto manager = make_manager({.max_threads = 1, .idle_timeout = 1s, .clock = &clock});
    int ran = 0;
    MODEL_ASSERT(manager->spawn("a", [&] { ++ran; }).ok());
    while (manager->stats().idle == 0) world::yield();
    world::Thread advancer([&] { clock.advance(1s); });
    // Idle, ending or gone: there is room for it.
    MODEL_ASSERT(manager->spawn("b", [&] { ++ran; }).ok());
    advancer.join();
    MODEL_ASSERT(manager->shutdown(Context::background()).is_complete());
    MODEL_ASSERT(ran == 2);
    check_books(*manager);
  });
}

TEST_CASE("ThreadManager: two spawns for the last place", "[model][thread_manager]") {
  must_pass({.name = "threads, two spawns, one place", .preemptions = 2}, [] {
    const auto manager = make_manager({.max_threads = 1});
    int ran = 0;
    int accepted[2] = {};
    const auto spawn = [&](int which) {
      const auto id = manager->spawn("x", [&] { ++ran; });
      accepted[which] = id.ok() ? 1 : 0;
      MODEL_ASSERT(id.ok() || absl::IsResourceExhausted(id.status()));
    };
    world::Thread other([&] { spawn(0); });
    spawn(1);
    check_books(*manager);
    other.join();
    MODEL_ASSERT(manager->shutdown(Context::background()).is_complete());
    MODEL_ASSERT(ran == accepted[0] + accepted[1]);
    MODEL_ASSERT(ran >= 1);
    check_books(*manager);
  });
}

TEST_CASE("ThreadManager: threads that end without being idle, one after another", "[model][thread_manager]") {
  must_pass({.name = "threads, ends in a row", .preemptions = 1}, [] {
    ManualClock clock;
    const auto manager = make_manager({.max_threads = 2, .idle_timeout = 0s, .clock = &clock});
    int ran[2] = {};
    MODEL_ASSERT(manager->spawn("a", [&] { ++ran[0]; }).ok());
    MODEL_ASSERT(manager->spawn("b", [&] { ++ran[1]; }).ok());
    check_books(*manager);
    while (manager->stats().live != 0) world::yield();
    MODEL_ASSERT(manager->spawn("c", [] {}).ok());
    MODEL_ASSERT(ran[0] == 1 && ran[1] == 1);
  });
}

TEST_CASE("ThreadManager: a thread that shuts down beside a stranger who does", "[model][thread_manager]") {
  must_pass({.name = "threads, shutdown from inside", .preemptions = 2}, [] {
    const auto manager = make_manager({.max_threads = 2});
    ThreadManager* const threads = manager.get();
    bool complete = false;
    MODEL_ASSERT(
        threads->spawn("x", [&complete, threads] { complete = threads->shutdown(Context::background()).in_time; })
            .ok());
    MODEL_ASSERT(threads->shutdown(Context::background()).is_complete());
    MODEL_ASSERT(complete);
  });
}

TEST_CASE("ThreadManager: an end is told after a begin, and once", "[model][thread_manager]") {
  must_pass({.name = "threads, events", .preemptions = 2}, [] {
    const auto manager = make_manager({.max_threads = 1});
    Subscription<ThreadEvent> events = manager->subscribe();
    MODEL_ASSERT(manager->spawn("x", [] { throw std::runtime_error("boom"); }).ok());
    const Delivery<ThreadEvent> begun = events.receive();
    MODEL_ASSERT(begun && begun.value->kind == ThreadEvent::Kind::kSpawned && begun.value->id == 1);
    const Delivery<ThreadEvent> ended = events.receive();
    MODEL_ASSERT(ended && ended.value->kind == ThreadEvent::Kind::kFinished);
    MODEL_ASSERT(ended.value->outcome == ThreadOutcome::kThrew);
    const ThreadManagerStats stats = manager->stats();
    MODEL_ASSERT(stats.threw == 1 && stats.idle == 1);
    MODEL_ASSERT(manager->shutdown(Context::background()).is_complete());
    MODEL_ASSERT(events.receive().status == OpStatus::kClosed);
  });
}

TEST_CASE("ThreadManager: a look at a state that changes sees one whole", "[model][thread_manager]") {
  must_pass({.name = "threads, state", .preemptions = 3, .store_delay = true}, [] {
    ManualClock clock;
    const TimePoint start = clock.now();
    const auto manager = make_manager({.max_threads = 1, .idle_timeout = Duration::max(), .clock = &clock});
    MODEL_ASSERT(manager
                     ->spawn("x",
                             [&] {
                               clock.advance(1s);
                               {
                                 ThreadManager::Waiting waiting;
                                 clock.advance(2s);
                               }
                               clock.advance(4s);
                             })
                     .ok());
    for (const ThreadInfo& info : manager->snapshot()) {
      Duration sum{};
      for (const Duration spent : info.time_in) sum += spent;
      MODEL_ASSERT(sum == info.age);
      MODEL_ASSERT(info.started == start);
      MODEL_ASSERT(info.since - info.started == info.age - info.in_state);
      if (info.state == ThreadState::kWaiting) MODEL_ASSERT(info.since == start + 1s);
    }
    manager->shutdown(Context::background());
  });
}

TEST_CASE("ThreadManager: a stuck thread is reported once while everything ends", "[model][thread_manager]") {
  must_pass({.name = "threads, watch", .preemptions = 1}, [] {
    ManualClock clock;
    int reports = 0;  // of the watching thread
    ThreadManagerOptions options{.max_threads = 1, .idle_timeout = Duration::max(), .clock = &clock};
    options.stuck_after.running = 2s;
    options.on_stuck = [&](const ThreadInfo&) { ++reports; };
    auto manager = make_manager(std::move(options));
    MODEL_ASSERT(manager->spawn("x", [&] { clock.advance(5s); }).ok());
    manager.reset();
    MODEL_ASSERT(reports <= 1);
  });
}

TEST_CASE("ThreadManager: where the system has no thread, nothing is left over", "[model][thread_manager]") {
  for (std::uint32_t nth = 1; nth <= 2; ++nth) {
    const checker::Result result =
        checker::explore({.name = "threads, no thread", .preemptions = 1, .fail_thread = nth}, [] {
          ThreadManagerOptions options{.max_threads = 1};
          options.name = "m";
          options.history_size = 1;
          options.event_capacity = 1;
          options.idle_timeout = options.shutdown_timeout = Duration::max();
          options.on_stuck = [](const ThreadInfo&) {};
          auto manager = ThreadManager::create(std::move(options));
          if (!manager.ok()) {
            MODEL_ASSERT(absl::IsResourceExhausted(manager.status()));
            return;
          }
          int ran = 0;
          const auto id = (*manager)->spawn("a", [&] { ++ran; });
          MODEL_ASSERT(id.ok() || absl::IsResourceExhausted(id.status()));
          if (!id.ok()) {
            check_books(**manager);
            MODEL_ASSERT((*manager)->stats().start_failures == 1);
            MODEL_ASSERT((*manager)->spawn("b", [&] { ++ran; }).ok());
          }
          MODEL_ASSERT((*manager)->shutdown(Context::background()).is_complete());
          MODEL_ASSERT(ran == 1);
        });
    INFO(result.describe());
    CHECK(result.passed());
    CHECK(result.fault_reached);
  }
}
