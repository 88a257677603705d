// SPDX-License-Identifier: MIT

// Swap runners under every schedule: each request gets one answer, each grant is taken or given back, and nobody waits
// for ever, whoever cancels, closes or goes meanwhile.

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/swap/swap_runner.hpp"

#include "model/planted.hpp"
#include "support/detached.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
namespace world = penstock::detail::world;

namespace {

/// A runner is many steps: its schedules with two preemptions are for the long runs.
void must_pass(checker::Options options, const checker::Scenario& scenario) {
  options.preemptions = 1;
  options.executions = 2'000;
  checker::must_pass(options, scenario);
}

/// Answers within the call, or leaves the task to the test.
struct Backend : SwapBackend {
  void attach(const ModelTable&, ModelStateReport given) override { report = std::move(given); }
  void begin(SwapTask task) override {
    if (keeps && task.target() != kNoModel) {
      kept.emplace(std::move(task));
    } else {
      answer(std::move(task));
    }
  }
  void answer(SwapTask task) const {
    for (const ModelId model : task.to_stop()) report(model, ModelState::kStopped);
    if (task.target() != kNoModel) report(task.target(), ModelState::kReady);
    std::move(task).done(absl::OkStatus());
  }
  ModelStateReport report;
  bool keeps = false;
  std::optional<SwapTask> kept;
};

struct Setup {
  explicit Setup(bool keeps = false, Duration shutdown_timeout = SwapRunnerOptions{}.shutdown_timeout) {
    const checker::Calm calm;  // the start has nobody to race with
    backend->keeps = keeps;
    SwapRunnerOptions options{.backend = backend, .shutdown_timeout = shutdown_timeout, .clock = &clock};
    options.scheduler.models = {{.name = "a"}, {.name = "b"}};
    runner.emplace(std::move(options));
  }

  void warm_up() {
    const checker::Calm calm;
    MODEL_ASSERT(runner->acquire("a").ok());
    settle();
  }
  void settle() { MODEL_ASSERT(runner->unload(std::span<const ModelId>{}).ok()); }

  void check_books() {
    const checker::Calm calm;
    settle();
    const SwapRunnerStats stats = runner->stats();
    const SwapStats& s = stats.scheduler;
    MODEL_ASSERT(s.queued + s.joined + s.in_flight == 0);
    MODEL_ASSERT(s.ignored == 0);
    std::uint64_t ended = s.served + s.grants_refused + s.cancelled;
    for (const std::uint64_t refused : s.refused) ended += refused;
    MODEL_ASSERT(s.arrived == ended);
  }

  ManualClock clock;
  std::shared_ptr<Backend> backend = std::make_shared<Backend>();
  std::optional<SwapRunner> runner;
};

penstock::testing::Detached acquire_in(RunLoop&, SwapRunner& runner) {
  static_cast<void>(co_await runner.async_acquire("a"));
}

}  // namespace

TEST_CASE("SwapRunner: a waiter, a grant and a canceller", "[model][swap_runner]") {
  must_pass({.name = "swap runner, waiter and canceller"}, [] {
    Setup setup;
    setup.warm_up();
    SwapTicket ticket = *setup.runner->submit("a");
    bool was_cancelled = false;
    world::Thread canceller([&] { was_cancelled = ticket.cancel(); });
    const bool was_granted = ticket.wait().ok();
    canceller.join();
    MODEL_ASSERT(was_granted != was_cancelled);
    setup.check_books();
  });
}

TEST_CASE("SwapRunner: a context ends while its acquire is granted", "[model][swap_runner]") {
  must_pass({.name = "swap runner, context and grant"}, [] {
    Setup setup;
    setup.warm_up();
    const Context::Cancellable life = Context::background().with_cancel();
    world::Thread canceller([&] { life.source.cancel(); });
    const absl::Status status = setup.runner->acquire("a", life.context).status();
    MODEL_ASSERT(status.ok() || absl::IsCancelled(status));
    canceller.join();
    setup.check_books();
  });
}

TEST_CASE("SwapRunner: a waiter and a closer", "[model][swap_runner]") {
  must_pass({.name = "swap runner, waiter and closer"}, [] {
    Setup setup;
    world::Thread closer([&] { MODEL_ASSERT(setup.runner->shutdown().in_time); });
    const absl::Status status = setup.runner->acquire("a").status();
    MODEL_ASSERT(status.ok() || absl::IsUnavailable(status));
    closer.join();
    MODEL_ASSERT(setup.runner->model_state("a") == ModelState::kStopped);
    setup.check_books();
  });
}

TEST_CASE("SwapRunner: the end of a lease against the end of the runner", "[model][swap_runner]") {
  must_pass({.name = "swap runner, lease against end"}, [] {
    Setup setup;
    setup.warm_up();
    std::optional<SwapLease> lease;
    {
      const checker::Calm calm;
      lease.emplace(*setup.runner->acquire("a"));
    }
    world::Thread holder([&] { lease.reset(); });
    setup.runner.reset();
    holder.join();
  });
}

TEST_CASE("SwapRunner: a coroutine is destroyed while it is granted", "[model][swap_runner]") {
  must_pass({.name = "swap runner, coroutine destroyed"}, [] {
    Setup setup;
    setup.warm_up();
    RunLoop loop;
    const penstock::testing::Detached waiting = acquire_in(loop, *setup.runner);
    waiting.handle.destroy();
    setup.check_books();
  });
}

TEST_CASE("SwapRunner: a task is settled while the runner goes", "[model][swap_runner]") {
  must_pass({.name = "swap runner, task against end"}, [] {
    Setup setup(true);
    SwapTicket ticket;
    {
      const checker::Calm calm;
      ticket = *setup.runner->submit("a");
      setup.settle();
    }
    MODEL_ASSERT(setup.backend->kept.has_value());
    const std::shared_ptr<Backend> backend = setup.backend;
    world::Thread settler([&] { backend->answer(std::move(*backend->kept)); });
    setup.runner.reset();
    settler.join();
    const absl::Status status = ticket.wait().status();
    MODEL_ASSERT(status.ok() || absl::IsUnavailable(status));
  });
}

TEST_CASE("SwapRunner: two clients decide for each other", "[model][swap_runner]") {
  must_pass({.name = "swap runner, two clients"}, [] {
    Setup setup;
    setup.warm_up();
    world::Thread other([&] { MODEL_ASSERT(setup.runner->acquire("a").ok()); });
    MODEL_ASSERT(setup.runner->acquire("a").ok());
    other.join();
    setup.check_books();
  });
}

TEST_CASE("SwapRunner: a client hands the turn to the thread", "[model][swap_runner]") {
  must_pass({.name = "swap runner, hand-over"}, [] {
    Setup setup;
    setup.warm_up();
    // Each begins a swap as soon as nobody uses the other's model: what only the thread may end.
    world::Thread other([&] { MODEL_ASSERT(setup.runner->acquire("b").ok()); });
    MODEL_ASSERT(setup.runner->acquire("a").ok());
    other.join();
    setup.check_books();
  });
}

TEST_CASE("SwapRunner: a client that decides, a closer and a canceller", "[model][swap_runner]") {
  must_pass({.name = "swap runner, turn against closer and canceller"}, [] {
    Setup setup;
    setup.warm_up();
    SwapTicket ticket;
    {
      const checker::Calm calm;
      ticket = *setup.runner->submit("a");
    }
    world::Thread closer([&] { MODEL_ASSERT(setup.runner->shutdown().in_time); });
    world::Thread canceller([&] { ticket.cancel(); });
    const absl::Status status = setup.runner->acquire("a").status();
    MODEL_ASSERT(status.ok() || absl::IsUnavailable(status));
    canceller.join();
    closer.join();
    setup.check_books();
  });
}

TEST_CASE("SwapRunner: a client that decides against the end of the runner", "[model][swap_runner]") {
  must_pass({.name = "swap runner, turn against end"}, [] {
    Setup setup;
    setup.warm_up();
    std::optional<SwapLease> first;
    SwapTicket second;
    {
      const checker::Calm calm;
      first.emplace(*setup.runner->acquire("a"));
      second = *setup.runner->submit("b");
    }
    world::Thread holder([&] { first.reset(); });  // lets the other one in, which begins a swap
    world::Thread canceller([&] { second.cancel(); });
    setup.runner.reset();
    holder.join();
    canceller.join();
  });
}

TEST_CASE("SwapRunner: a timer of the thread against a client that decides", "[model][swap_runner]") {
  must_pass({.name = "swap runner, timer against turn"}, [] {
    Setup setup;
    setup.warm_up();
    SwapLease lease;
    SwapTicket late;
    {
      const checker::Calm calm;
      lease = *setup.runner->acquire("a");
      late = *setup.runner->submit("b", {.deadline = setup.clock.now() + std::chrono::seconds(1)});
    }
    world::Thread other([&] { MODEL_ASSERT(setup.runner->acquire("a").ok()); });
    setup.clock.advance(std::chrono::seconds(2));
    MODEL_ASSERT(absl::IsDeadlineExceeded(late.wait().status()));
    other.join();
    lease.reset();
    setup.check_books();
  });
}

TEST_CASE("SwapRunner: a coroutine that a client grants goes on with the thread", "[model][swap_runner]") {
  must_pass({.name = "swap runner, coroutine granted by a client"}, [] {
    Setup setup;
    setup.warm_up();
    RunLoop loop;
    world::Thread other([&] { MODEL_ASSERT(setup.runner->acquire("a").ok()); });
    const penstock::testing::Detached waiting = acquire_in(loop, *setup.runner);
    other.join();
    waiting.handle.destroy();
    setup.check_books();
  });
}

TEST_CASE("SwapRunner: an end that has no time answers who waits", "[model][swap_runner]") {
  must_pass({.name = "swap runner, end without time"}, [] {
    Setup setup(/*keeps=*/true, Duration::zero());
    SwapTicket waiting = *setup.runner->submit("a");
    setup.runner.reset();
    MODEL_ASSERT(absl::IsUnavailable(waiting.wait().status()));
    setup.backend->kept.reset();
  });
}

TEST_CASE("SwapRunner: a request and its cancellation when something is due", "[model][swap_runner]") {
  must_pass({.name = "swap runner, withdrawn when due"}, [] {
    Setup setup;
    setup.warm_up();
    SwapLease lease;
    SwapTicket late;
    {
      const checker::Calm calm;
      lease = *setup.runner->acquire("a");
      late = *setup.runner->submit("b", {.deadline = setup.clock.now() + std::chrono::seconds(1)});
    }
    setup.clock.advance(std::chrono::seconds(2));
    SwapTicket gone = *setup.runner->submit("b");
    MODEL_ASSERT(gone.cancel());
    MODEL_ASSERT(absl::IsDeadlineExceeded(late.wait().status()));
    lease.reset();
    setup.check_books();
    MODEL_ASSERT(setup.runner->model_state("b") != ModelState::kReady);
  });
}
