// SPDX-License-Identifier: MIT

// The end: who is waited for, who is left, and that no thread outlives its manager, not in a forked child either.

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "exec/thread_manager_support.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/core/task.hpp"
#include "support/aborts.hpp"
#include "support/catch.hpp"
#include "support/forked.hpp"
#include "support/recorder.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using testing::eventually;
using testing::Gate;
using testing::TestManager;
using testing::text_of;

namespace {

Task<> shut_down_at_an_end(Subscription<ThreadEvent>& events, ThreadManager& manager, std::atomic<int>& gave_up) {
  for (;;) {
    const Delivery<ThreadEvent> got = co_await events.async_receive();
    if (!got) co_return;
    if (got.value->kind != ThreadEvent::Kind::kFinished) continue;
    gave_up += manager.shutdown(Context::background()).in_time ? 0 : 1;
    co_return;
  }
}

}  // namespace

TEST_CASE("ThreadManager: a shutdown ends the contexts and waits for the functions", "[exec][thread_manager]") {
  testing::Recorder<OpStatus> outcomes;
  testing::Recorder<std::string> causes;
  TestManager manager({.name = "m", .max_threads = 3});
  Channel<int> never(0);
  for (int i = 0; i < 3; ++i) {
    REQUIRE(manager
                ->spawn("x",
                        [&](const Context& ctx) {
                          outcomes.record(never.receive(ctx).status);
                          causes.record(text_of(ctx.cause()));
                        })
                .ok());
  }
  REQUIRE(eventually([&] { return never.stats().blocked_receivers == 3; }));
  const ThreadShutdownReport report = manager->shutdown(Context::background());
  CHECK(report.is_complete());
  CHECK(report.in_time);
  CHECK(report.finished == 3);
  CHECK(report.left.empty());
  CHECK(outcomes.count(OpStatus::kCancelled) == 3);
  CHECK(causes.count("thread manager 'm': shutting down") == 3);
  CHECK(manager->stats().cancelled == 3);
  CHECK(manager->history().back().outcome == ThreadOutcome::kCancelled);
}

TEST_CASE("ThreadManager: after a shutdown nothing is spawned", "[exec][thread_manager]") {
  TestManager manager({.name = "m"});
  REQUIRE(manager->spawn("x", [] {}).ok());
  REQUIRE(manager.is_at_rest());
  CHECK(manager->shutdown(Context::background()).is_complete());
  const auto refused = manager->spawn("x", [] {});
  CHECK(absl::IsUnavailable(refused.status()));
  CHECK(text_of(refused.status()) == "thread manager 'm': cannot spawn 'x': shut down");
  CHECK(manager->stats().refused_closed == 1);
  CHECK(manager->shutdown(Context::background()).is_complete());
  REQUIRE(eventually([&] { return manager->stats().live == 0; }));  // idle threads go, too
}

TEST_CASE("ThreadManager: a shutdown that gives up says who is left", "[exec][thread_manager]") {
  ManualClock clock;
  Gate gate;
  TestManager manager({.max_threads = 3, .idle_timeout = Duration::max(), .clock = &clock}, &gate);
  REQUIRE(manager->spawn("polite", [](const Context& ctx) { Channel<int>(0).receive(ctx); }).ok());
  REQUIRE(manager->spawn("deaf", [&] { gate.pass(); }).ok());
  REQUIRE(manager
              ->spawn("blind",
                      [&] {
                        ThreadManager::Blocking blocking;
                        gate.pass();
                      })
              .ok());
  REQUIRE(gate.await(2));
  clock.advance(1s);
  std::thread advancer([&] {
    if (eventually([&] { return clock.armed() == 1 && manager->stats().finished == 1; })) clock.advance(5s);
  });
  const ThreadShutdownReport report = manager->shutdown(Context(clock).with_timeout(5s));
  advancer.join();
  CHECK_FALSE(report.in_time);
  CHECK_FALSE(report.is_complete());
  CHECK(report.finished == 1);
  REQUIRE(report.left.size() == 2);
  CHECK(report.left[0].id == 2);
  CHECK(report.left[0].name == "deaf");
  CHECK(report.left[0].state == ThreadState::kRunning);
  CHECK(report.left[0].age == 6s);
  CHECK(report.left[1].name == "blind");
  CHECK(report.left[1].state == ThreadState::kBlocking);
  gate.open();
  const ThreadShutdownReport second = manager->shutdown(Context::background());
  CHECK(second.is_complete());
}

TEST_CASE("ThreadManager: threads may shut down together, and beside spawns", "[exec][thread_manager]") {
  for (int round = 0; round < 50; ++round) {
    TestManager manager({.max_threads = 4});
    std::atomic<int> ran{0};
    std::atomic<int> accepted{0};
    std::atomic<int> closed{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] {
        for (int k = 0; k < 20; ++k) {
          const auto id = manager->spawn("x", [&] { ++ran; });
          accepted += id.ok() ? 1 : 0;
          closed += absl::IsUnavailable(id.status()) ? 1 : 0;
        }
      });
      threads.emplace_back([&] {
        if (!manager->shutdown(Context::background()).is_complete()) ran = -1000;
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(manager->shutdown(Context::background()).is_complete());
    CHECK(ran == accepted);
    CHECK(manager->stats().refused_closed == static_cast<std::uint64_t>(closed));
    CHECK(testing::discrepancies(manager->stats()).empty());
  }
}

TEST_CASE("ThreadManager: a managed thread that shuts down does not wait for itself", "[exec][thread_manager]") {
  testing::Recorder<bool> complete;
  TestManager manager({.max_threads = 3});
  std::atomic<std::size_t> left{0};
  const auto shut_down = [&] {
    const ThreadShutdownReport report = manager->shutdown(Context::background());
    complete.record(report.in_time);
    left = left + report.left.size();
  };
  SECTION("alone") {
    REQUIRE(manager->spawn("a", shut_down).ok());
    REQUIRE(manager.is_at_rest());
    CHECK(complete.count(true) == 1);
    CHECK(left == 0);
  }
  SECTION("with another, and with a stranger") {
    Gate gate;
    const auto late = [&] {
      gate.pass();
      shut_down();
    };
    REQUIRE(manager->spawn("a", late).ok());
    REQUIRE(manager->spawn("b", late).ok());
    REQUIRE(gate.await(2));
    gate.open();
    CHECK(manager->shutdown(Context::background()).is_complete());
    CHECK(complete.count(true) == 2);
  }
  SECTION("from what its own cancellation calls") {
    Gate gate;
    REQUIRE(manager
                ->spawn("a",
                        [&](const Context& ctx) {
                          gate.pass();
                          const DoneCallback nested = ctx.on_done([&]() noexcept { shut_down(); });
                          shut_down();
                        })
                .ok());
    REQUIRE(manager->spawn("b", [](const Context& ctx) { Channel<int>(0).receive(ctx); }).ok());
    gate.open();
    REQUIRE(manager.is_at_rest());
    CHECK(manager->stats().finished == 2);
  }
}

TEST_CASE("ThreadManager: a shutdown does not wait where that could not end", "[exec][thread_manager]") {
  std::atomic<int> gave_up{0};
  SECTION("in a coroutine that an end resumes on its thread") {
    TestManager manager({.max_threads = 1});
    Subscription<ThreadEvent> events = manager->subscribe();
    JoinHandle<> listener = spawn(Executor::inline_executor(), shut_down_at_an_end(events, *manager, gave_up));
    REQUIRE(manager->spawn("x", [] {}).ok());
    listener.get();
    CHECK(gave_up == 1);
  }
  SECTION("in a thread that is about to run its first function") {
    ThreadManager* self = nullptr;
    std::atomic<bool> ended{false};
    ThreadManagerOptions options{.max_threads = 1};
    options.on_thread_start = [&](std::size_t) { gave_up += self->shutdown(Context::background()).in_time ? 0 : 1; };
    TestManager manager(std::move(options));
    self = &*manager;
    REQUIRE(manager->spawn("x", [&](const Context& ctx) { ended = ctx.is_done(); }).ok());
    CHECK(manager->shutdown(Context::background()).is_complete());
    CHECK(gave_up == 1);
    CHECK(ended);
  }
}

TEST_CASE("ThreadManager: no thread outlives its manager", "[exec][thread_manager]") {
  const std::size_t before = testing::system_threads();
  for (int round = 0; round < 20; ++round) {
    ThreadManagerOptions options{.max_threads = 8, .idle_timeout = round % 2 == 0 ? Duration(0) : Duration(1h)};
    options.on_stuck = [](const ThreadInfo&) {};
    TestManager manager(std::move(options));
    for (int i = 0; i < 8; ++i) {
      REQUIRE(manager
                  ->spawn("x",
                          [i](const Context& ctx) {
                            if (i % 2 == 0) Channel<int>(0).receive(ctx);
                          })
                  .ok());
    }
    manager.destroy();
    REQUIRE(eventually([&] { return testing::system_threads() == before; }));  // joined ones are seen a moment longer
  }
}

TEST_CASE("ThreadManager: its destructor waits on after its time", "[exec][thread_manager]") {
  ManualClock clock;
  Gate gate;
  auto manager = ThreadManager::create(
      {.name = "m", .max_threads = 1, .idle_timeout = Duration::max(), .shutdown_timeout = 5s, .clock = &clock});
  REQUIRE(manager.ok());
  std::atomic<bool> ended{false};
  std::atomic<bool> destroyed{false};
  REQUIRE((*manager)
              ->spawn("deaf",
                      [&] {
                        gate.pass();
                        ended = true;
                      })
              .ok());
  REQUIRE(gate.await(1));
  std::thread destroyer([&] {
    manager->reset();
    destroyed = true;
  });
  CHECK(eventually([&] { return clock.armed() == 1; }));
  clock.advance(5s);
  CHECK(eventually([&] { return clock.armed() == 0; }));
  for (int i = 0; i < 100; ++i) std::this_thread::yield();
  CHECK_FALSE(destroyed);
  gate.open();
  destroyer.join();
  CHECK(ended);
}

TEST_CASE("ThreadManager: one of its own threads cannot destroy it", "[exec][thread_manager]") {
  CHECK_THAT(testing::message_of_abort([] {
               auto manager = *ThreadManager::create({.name = "m"});
               static_cast<void>(manager->spawn("x", [&] { manager.reset(); }));
               pause();
             }),
             testing::ContainsSubstring("a thread manager is not destroyed by one of its threads"));
}

TEST_CASE("ThreadManager: threads may spawn threads", "[exec][thread_manager]") {
  TestManager manager({.max_threads = 4});
  std::atomic<int> ran{0};
  REQUIRE(manager
              ->spawn("outer",
                      [&] {
                        if (manager->spawn("inner", [&] { ++ran; }).ok()) ++ran;
                      })
              .ok());
  REQUIRE(manager.is_at_rest());
  CHECK(ran == 2);
}

TEST_CASE("ThreadManager: hooks and thread-local destructors may use the manager", "[exec][thread_manager]") {
  struct AtThreadEnd {
    ~AtThreadEnd() {
      if (manager != nullptr) static_cast<void>(manager->spawn("too late", [] {}));
    }
    ThreadManager* manager = nullptr;
  };
  ThreadManager* self = nullptr;
  ThreadManagerOptions options{.max_threads = 1, .idle_timeout = 0s};
  options.on_thread_start = [&](std::size_t) {
    static_cast<void>(self->stats());
    static_cast<void>(self->spawn("refused", [] {}));
  };
  options.on_thread_stop = [&](std::size_t) { static_cast<void>(self->spawn("refused", [] {})); };
  TestManager manager(std::move(options));
  self = &*manager;
  REQUIRE(manager
              ->spawn("x",
                      [&] {
                        static thread_local AtThreadEnd at_end;
                        at_end.manager = self;
                      })
              .ok());
  REQUIRE(eventually([&] { return manager->stats().idle_expired >= 1; }));
  CHECK(manager->shutdown(Context::background()).is_complete());
}

#if PENSTOCK_TEST_FORKS
TEST_CASE("ThreadManager: a forked child is told so, and can destroy its copy", "[exec][thread_manager]") {
  Gate gate;
  TestManager manager({.name = "m", .max_threads = 4}, &gate);
  REQUIRE(manager->spawn("a", [&] { gate.pass(); }).ok());
  REQUIRE(manager->spawn("b", [] {}).ok());
  REQUIRE(gate.await(1));
  REQUIRE(eventually([&] { return manager->stats().idle == 1; }));
  CHECK(testing::answer_of_child([&] {
          int wrong = 0;
          const auto refused = manager->spawn("x", [] {});
          if (!absl::IsFailedPrecondition(refused.status())) wrong |= 1;
          if (text_of(refused.status()) != "thread manager 'm': cannot spawn 'x' in a forked child") wrong |= 2;
          if (!manager->snapshot().empty() || !manager->history().empty() || !manager->check().empty()) wrong |= 4;
          if (manager->stats() != ThreadManagerStats{}) wrong |= 8;
          if (!manager->shutdown(Context::background()).left.empty()) wrong |= 16;
          if (manager->subscribe().receive().status != OpStatus::kClosed) wrong |= 32;
          manager.destroy();
          return wrong;
        }) == 0);
  CHECK(manager->stats().by_state[1] == 1);  // the parent's goes on
}
#endif
