// SPDX-License-Identifier: MIT

// A managed thread that sleeps in a wait of the library is shown as waiting, without having said so.

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "exec/thread_manager_support.hpp"
#include "penstock/channel/broadcaster.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/job_group.hpp"
#include "penstock/exec/resource_pool.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using testing::eventually;
using testing::Gate;
using testing::Steps;
using testing::TestManager;

namespace {

std::size_t index(ThreadState state) { return static_cast<std::size_t>(state); }

bool await_state(const TestManager& manager, ThreadState state) {
  return eventually([&] { return manager.only().state == state; });
}

/// A wait, and what ends it.
struct Wait {
  std::string name;
  std::function<void()> wait;
  std::function<void()> end;
};

}  // namespace

TEST_CASE("ThreadManager: a thread that sleeps in a wait of the library is waiting", "[exec][thread_manager]") {
  Channel<int> empty(1);
  Channel<int> full(1);
  Broadcaster<int> news(1);
  Subscription<int> subscription = news.subscribe();
  Mutex mutex;
  CondVar changed;
  bool has_changed = false;
  RunLoop loop;
  Gate gate;
  const auto pool = testing::held_pool(gate, {.queue_capacity = 1});
  Job<void> job = pool->submit([] {}).value();
  REQUIRE(full.try_send(1) == OpStatus::kOk);

  const std::vector<Wait> waits = {
      {"receive", [&] { static_cast<void>(empty.receive()); }, [&] { static_cast<void>(empty.try_send(1)); }},
      {"receive with a deadline", [&] { static_cast<void>(empty.receive(Context::background().with_timeout(1h))); },
       [&] { static_cast<void>(empty.try_send(1)); }},
      {"send", [&] { static_cast<void>(full.send(2)); }, [&] { static_cast<void>(full.try_receive()); }},
      {"select", [&] { select(on_receive(empty, [](auto&&) {})); }, [&] { static_cast<void>(empty.try_send(1)); }},
      {"subscription", [&] { static_cast<void>(subscription.receive()); }, [&] { static_cast<void>(news.publish(1)); }},
      {"condition variable",
       [&] {
         MutexLock lock(mutex);
         while (!has_changed) static_cast<void>(changed.wait(mutex));
       },
       [&] {
         {
           MutexLock lock(mutex);
           has_changed = true;
         }
         changed.notify_all();
       }},
      {"run loop", [&] { loop.run(); }, [&] { loop.stop(); }},
      {"place in a pool", [&] { static_cast<void>(pool->submit([] {}, {.enqueue_timeout = 1h})); },
       [&] { job.cancel(); }},
      {"job", [&] { static_cast<void>(pool->submit([] {}, {.overflow = OverflowPolicy::kDropOldest}).value().get()); },
       [&] { gate.open(); }},
  };
  for (const Wait& wait : waits) {
    INFO(wait.name);
    ManualClock clock;
    Steps steps;
    TestManager manager({.max_threads = 1, .clock = &clock});
    REQUIRE(manager->spawn("x", [&] { steps.serve(); }).ok());
    steps.run([] {});
    clock.advance(1s);
    steps.begin(wait.wait);
    CHECK(await_state(manager, ThreadState::kWaiting));
    clock.advance(20s);
    wait.end();
    steps.run([] {});
    ThreadInfo info = manager.only();
    CHECK(info.state == ThreadState::kRunning);
    CHECK(info.time_in[index(ThreadState::kWaiting)] == 20s);
    CHECK(info.time_in[index(ThreadState::kRunning)] == 1s);
    steps.end();
    REQUIRE(manager.is_at_rest());
  }
}

TEST_CASE("ThreadManager: a poller is not stuck, however long it waits, and a thread that hangs is",
          "[exec][thread_manager]") {
  ManualClock clock;
  testing::Recorder<std::string> stuck;
  Channel<int> requests(1);
  std::atomic<int> handled{0};
  Gate gate;
  ThreadManagerOptions options{.max_threads = 2, .health_interval = 1s, .clock = &clock};
  options.on_stuck = [&](const ThreadInfo& info) { stuck.record(info.name); };
  TestManager manager(std::move(options), &gate);
  REQUIRE(manager
              ->spawn("poller",
                      [&](const Context& ctx) {
                        while (requests.receive(ctx)) ++handled;
                      })
              .ok());
  REQUIRE(await_state(manager, ThreadState::kWaiting));
  const auto pass = [&](int seconds) {
    for (int i = 0; i < seconds; ++i) {
      REQUIRE(eventually([&] { return clock.armed() == 1; }));
      clock.advance(1s);
    }
    REQUIRE(eventually([&] { return clock.armed() == 1; }));
  };
  pass(61);
  CHECK(stuck.size() == 0);
  CHECK(manager->check().empty());
  REQUIRE(requests.send(1) == OpStatus::kOk);
  REQUIRE(eventually([&] { return handled == 1 && manager.only().state == ThreadState::kWaiting; }));
  REQUIRE(manager->spawn("hangs", [&] { gate.pass(); }).ok());
  REQUIRE(gate.await(1));
  pass(61);
  CHECK(stuck.events() == std::vector<std::string>{"hangs"});
}

TEST_CASE("ThreadManager: what a thread says that it does stands, also while it sleeps", "[exec][thread_manager]") {
  ManualClock clock;
  Steps steps;
  Channel<int> channel(0);
  TestManager manager({.max_threads = 1, .clock = &clock});
  REQUIRE(manager->spawn("x", [&] { steps.serve(); }).ok());
  const auto sleep = [&](ThreadState expected) {
    steps.begin([&] { static_cast<void>(channel.receive(Context(clock).with_timeout(1h))); });
    REQUIRE(eventually([&] { return clock.armed() == 1; }));
    for (int i = 0; i < 1000; ++i) {
      clock.advance(1ms);
      if (manager.only().state != expected) FAIL_CHECK("after " << i << " ms: " << to_string(manager.only().state));
      std::this_thread::yield();
    }
    REQUIRE(channel.send(1) == OpStatus::kOk);
    steps.run([] {});
    CHECK(manager.only().state == expected);
  };
  std::optional<ThreadManager::Blocking> blocking;
  std::optional<ThreadManager::Waiting> waiting;
  std::optional<ThreadManager::Maintenance> maintenance;
  steps.run([&] { blocking.emplace(); });
  sleep(ThreadState::kBlocking);
  steps.run([&] { waiting.emplace(); });
  const TimePoint since = manager.only().since;
  sleep(ThreadState::kWaiting);
  CHECK(manager.only().since == since);  // one stay
  steps.run([&] { maintenance.emplace(); });
  sleep(ThreadState::kMaintenance);
  steps.run([&] { maintenance.reset(); });
  steps.run([&] { waiting.reset(); });
  CHECK(manager.only().state == ThreadState::kBlocking);
  steps.run([&] { blocking.reset(); });
  CHECK(manager.only().state == ThreadState::kRunning);
  const ThreadInfo info = manager.only();
  for (const ThreadState state : {ThreadState::kBlocking, ThreadState::kWaiting, ThreadState::kMaintenance}) {
    CHECK(info.time_in[index(state)] == 1s);
  }
  steps.end();
  REQUIRE(manager.is_at_rest());
}

TEST_CASE("ThreadManager: a clock that waits in the library is asked for the time of a wait",
          "[exec][thread_manager]") {
  class Slow final : public Clock {
   public:
    [[nodiscard]] TimePoint now() const noexcept override {
      static_cast<void>(never_.receive(Context::background().with_timeout(1us)));
      return clock_.now();
    }
    void start_timers() override { clock_.start_timers(); }
    bool arm(Timer& timer, TimePoint when) noexcept override { return clock_.arm(timer, when); }
    void disarm(Timer& timer) noexcept override { clock_.disarm(timer); }
    void advance(Duration duration) noexcept { clock_.advance(duration); }

   private:
    mutable Channel<bool> never_{0};
    ManualClock clock_;
  };
  Slow clock;
  Channel<int> channel(0);
  TestManager manager({.max_threads = 1, .clock = &clock});
  REQUIRE(manager->spawn("x", [&] { static_cast<void>(channel.receive()); }).ok());
  CHECK(await_state(manager, ThreadState::kWaiting));
  clock.advance(1s);
  CHECK(manager.only().in_state == 1s);
  CHECK(channel.send(1) == OpStatus::kOk);
  REQUIRE(manager.is_at_rest());
}

TEST_CASE("ThreadManager: an idle thread that is used again begins awake", "[exec][thread_manager]") {
  ManualClock clock;
  Gate gate;
  TestManager manager({.max_threads = 1, .clock = &clock}, &gate);
  Channel<int> channel(0);
  REQUIRE(manager->spawn("a", [&] { static_cast<void>(channel.receive()); }).ok());
  CHECK(await_state(manager, ThreadState::kWaiting));
  channel.close();
  REQUIRE(manager.is_at_rest());
  REQUIRE(manager->spawn("b", [&] { gate.pass(); }).ok());
  REQUIRE(gate.await(1));
  CHECK(manager.only().state == ThreadState::kRunning);
  CHECK(manager.only().time_in[index(ThreadState::kWaiting)] == 0s);
}
