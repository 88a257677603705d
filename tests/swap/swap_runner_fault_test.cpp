// SPDX-License-Identifier: MIT

// Swap runners without memory, and whose threads run whose code.

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/swap/function_backend.hpp"
#include "penstock/swap/process_supervisor.hpp"
#include "penstock/swap/swap_runner.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/thread_shortage.hpp"
#include "swap/swap_runner_support.hpp"

namespace penstock {
namespace {

using testing::eventually;
using testing::FailAllocation;
using testing::Machine;
using testing::ScriptedBackend;
using namespace std::chrono_literals;

/// Has an allocation of the runner's thread fail, counted from the first swap on.
struct Starving : ScriptedBackend {
  explicit Starving(std::uint64_t which) : nth(which) {}
  void begin(SwapTask task) override {
    kept.push_back(std::move(task));
    if (!failure.has_value()) failure.emplace(nth);
  }
  const std::uint64_t nth;
  std::optional<FailAllocation> failure;
  std::vector<SwapTask> kept;
};

struct StarvingMachine {
  explicit StarvingMachine(std::uint64_t nth) : backend(std::make_shared<Starving>(nth)) {
    SwapRunnerOptions options{.backend = backend, .shutdown_timeout = 0s, .clock = &clock};
    options.scheduler.models = {{.name = "a"}, {.name = "b", .concurrency_limit = 100}};
    runner.emplace(std::move(options));
  }
  void settle() { static_cast<void>(runner->unload(std::span<const ModelId>{})); }

  ManualClock clock;
  std::shared_ptr<Starving> backend;
  std::optional<SwapRunner> runner;
};

TEST_CASE("SwapRunner: without a thread it does not begin, and leaves nothing behind", "[swap][swap_runner]") {
  const auto backend = std::make_shared<ScriptedBackend>();
  SwapRunnerOptions options{.backend = backend};
  options.scheduler.models = {{.name = "a"}};
  {
    const testing::ThreadShortage shortage(0);
    CHECK_THROWS_AS(SwapRunner(options), std::system_error);
    CHECK_THROWS_AS(ProcessSupervisor(), std::system_error);
  }
  CHECK(backend.use_count() == 2);  // nothing of it holds the back end
  backend->answers_at_once = true;
  SwapRunner runner(options);
  CHECK(runner.acquire("a").ok());
}

TEST_CASE("FunctionBackend: without a thread for it a start has failed, and its waiters are told",
          "[swap][swap_runner]") {
  SwapRunnerOptions options;
  options.backend = std::make_shared<FunctionBackend>(
      FunctionBackendOptions{.start = [](const SwapModel&, const Context&) { return absl::OkStatus(); },
                             .stop = [](const SwapModel&, Duration) { return absl::OkStatus(); }});
  options.scheduler.models = {{.name = "a"}};
  SwapRunner runner(std::move(options));
  {
    const testing::ThreadShortage shortage(0);
    const absl::Status status = runner.acquire("a").status();
    CHECK(status.message().find("no thread for a call") != absl::string_view::npos);
  }
  CHECK(runner.acquire("a").ok());
}

TEST_CASE("SwapRunner: without memory on its thread everybody is answered nevertheless", "[swap][swap_runner]") {
  for (std::uint64_t nth = 0; nth != 24; ++nth) {
    StarvingMachine machine(nth);
    const SwapTicket first = *machine.runner->submit("a");
    machine.settle();
    std::vector<SwapTicket> late;
    for (int i = 0; i != 80; ++i) {
      late.push_back(*machine.runner->submit("b", {.deadline = machine.clock.now() + 1s}));
    }
    machine.clock.advance(2s);
    for (SwapTicket& each : late) {
      const absl::Status status = each.wait(Context::background().with_timeout(20s)).status();
      CHECK((absl::IsDeadlineExceeded(status) || absl::IsResourceExhausted(status)));
      CHECK(each.is_decided());
    }
    CHECK(machine.runner->stats().scheduler.queued == 0);
  }
}

TEST_CASE("SwapRunner: without memory on its thread an unload is done nevertheless", "[swap][swap_runner]") {
  for (std::uint64_t nth = 0; nth != 16; ++nth) {
    StarvingMachine machine(nth);
    SwapTicket first = *machine.runner->submit("a");
    machine.settle();
    CHECK(absl::IsDeadlineExceeded(machine.runner->unload("a", 0s, Context(machine.clock).with_timeout(0s))));
    CHECK(absl::IsUnavailable(first.wait().status()));
  }
}

TEST_CASE("SwapRunner: the end of a lease and a cancellation need no memory", "[swap][swap_runner]") {
  for (std::uint64_t nth = 0; nth != 12; ++nth) {
    Machine machine;
    machine.backend->answers_at_once = true;
    SwapLease lease = machine.runner->acquire("a").value();
    SwapTicket next = *machine.runner->submit("b");
    SwapTicket cancelled = *machine.runner->submit("c");
    {
      const FailAllocation failure(nth);
      cancelled.cancel();
      lease.reset();  // lets the other one in: that is decided here
    }
    CHECK(next.wait().ok());
    CHECK(absl::IsCancelled(cancelled.wait().status()));
  }
}

TEST_CASE("SwapRunner: a request that comes as another one's deadline does takes no answer from it",
          "[swap][swap_runner]") {
  Machine machine;
  machine.backend->answers_at_once = true;
  const SwapLease lease = machine.runner->acquire("a").value();
  for (int round = 0; round != 200; ++round) {
    SwapTicket late = *machine.runner->submit("b", {.deadline = machine.clock.now() + 1s});
    machine.settle();
    machine.clock.advance(2s);
    CHECK(machine.runner->acquire("a").ok());
    REQUIRE(absl::IsDeadlineExceeded(late.wait(Context::background().with_timeout(20s)).status()));
    REQUIRE(late.is_decided());
  }
}

/// A back end whose threads have no memory for the call that `fails` counts to.
struct StarvedFunctions : SwapBackend {
  void attach(const ModelTable& models, ModelStateReport report) override { inner.attach(models, std::move(report)); }
  void begin(SwapTask task) override {
    const FailAllocation failure(nth++);
    inner.begin(std::move(task));
  }
  FunctionBackend inner{FunctionBackendOptions{.start = [](const auto&, const auto&) { return absl::OkStatus(); },
                                               .stop = [](const auto&, Duration) { return absl::OkStatus(); }}};
  std::uint64_t nth = 0;
};

TEST_CASE("FunctionBackend: a call that finds no memory holds up none that come later", "[swap][swap_runner]") {
  const auto backend = std::make_shared<StarvedFunctions>();
  SwapRunnerOptions options{.backend = backend};
  options.scheduler.models = {{.name = "a"}, {.name = "b"}};
  SwapRunner runner(std::move(options));
  for (int i = 0; i != 12; ++i) {
    static_cast<void>(runner.acquire("a").status());
    static_cast<void>(runner.acquire("b").status());
  }
  CHECK(runner.acquire("a").ok());
  CHECK(runner.acquire("b").ok());
}

// --- whose thread ---

/// A coroutine that goes on wherever it is resumed.
struct Anywhere {
  struct promise_type {
    Anywhere get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() {}
  };
};

Anywhere acquire_anywhere(SwapRunner& runner, std::atomic<std::thread::id>& where) {
  const absl::StatusOr<SwapLease> lease = co_await runner.async_acquire("a");
  where = std::this_thread::get_id();
}

TEST_CASE("SwapRunner: a client runs nobody's code, but coroutines go on and tasks begin on its thread",
          "[swap][swap_runner]") {
  struct Telling : ScriptedBackend {
    void begin(SwapTask task) override {
      where = std::this_thread::get_id();
      ScriptedBackend::begin(std::move(task));
    }
    std::atomic<std::thread::id> where;
  };
  const auto backend = std::make_shared<Telling>();
  backend->answers_at_once = true;
  SwapRunnerOptions options{.backend = backend};
  options.scheduler.models = {{.name = "a", .concurrency_limit = 1}, {.name = "b"}};
  options.scheduler.limit_at = LimitAt::kService;
  SwapRunner runner(std::move(options));
  SwapLease lease = runner.acquire("a").value();
  CHECK(backend->where.load() != std::this_thread::get_id());
  std::atomic<std::thread::id> resumed;
  acquire_anywhere(runner, resumed);
  static_cast<void>(runner.unload(std::span<const ModelId>{}));
  lease.reset();
  REQUIRE(eventually([&] { return resumed.load() != std::thread::id(); }));
  CHECK(resumed.load() == backend->where.load());
  // What was left for the thread is done before anything that comes later.
  lease = runner.acquire("b").value();
  CHECK(backend->where.load() == resumed.load());
}

}  // namespace
}  // namespace penstock
