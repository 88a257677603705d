// SPDX-License-Identifier: MIT

// Swap runners: unloads, the end, coroutines, memory, forks and metrics.

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/metrics/prometheus_writer.hpp"
#include "penstock/swap/swap_runner.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/detached.hpp"
#include "support/forked.hpp"
#include "support/threads.hpp"
#include "swap/swap_runner_support.hpp"

namespace penstock {
namespace {

using testing::Detached;
using testing::eventually;
using testing::Machine;
using testing::text_of;
using Texts = std::vector<std::string>;
using namespace std::chrono_literals;

TEST_CASE("SwapRunner: an unload refuses who waits, and waits for the stop", "[swap][swap_runner]") {
  Machine machine;
  machine.warm_up("a");
  RunLoop loop;
  const std::vector<ModelId> all = {ModelId{0}};
  auto unload = spawn(loop, [](SwapRunner& runner, const std::vector<ModelId>& models) -> Task<absl::Status> {
    co_return co_await runner.async_unload(models, 5s);
  }(*machine.runner, all));
  loop.run_ready();
  SwapTask task = machine.backend->next();
  CHECK(task.target() == kNoModel);
  CHECK(task.stop_timeout() == 5s);
  machine.backend->succeed(std::move(task));
  machine.settle();
  loop.run_ready();
  CHECK(unload.get().ok());
  CHECK(machine.runner->model_state("a") == ModelState::kStopped);
}

TEST_CASE("SwapRunner: an unload says what the back end said", "[swap][swap_runner]") {
  Machine machine;
  machine.warm_up("a");
  std::thread backend([&] { std::move(machine.backend->next()).done(absl::InternalError("it clings")); });
  CHECK(text_of(machine.runner->unload("a")) == "it clings");
  backend.join();
}

TEST_CASE("SwapRunner: an unload of what does not run is fine", "[swap][swap_runner]") {
  Machine machine;
  machine.backend->answers_at_once = true;
  CHECK(machine.runner->unload("a").ok());
  CHECK(machine.runner->unload_all().ok());
  CHECK(absl::IsNotFound(machine.runner->unload("x")));
  CHECK(absl::IsNotFound(machine.runner->unload(std::vector{ModelId{9}})));
}

TEST_CASE("SwapRunner: who stops waiting for an unload leaves it under way", "[swap][swap_runner]") {
  Machine machine;
  machine.warm_up("a");
  const absl::Status status = machine.runner->unload("a", 0s, Context(machine.clock).with_timeout(0s));
  CHECK(absl::IsDeadlineExceeded(status));
  machine.backend->succeed();
  machine.settle();
  CHECK(machine.runner->model_state("a") == ModelState::kStopped);
}

TEST_CASE("SwapRunner: X09 an unload does not hold up who wants another model", "[swap][swap_runner]") {
  SwapRunnerOptions options;
  options.scheduler.planner = function_planner({.plan = [](const PlanInput&, std::vector<ModelId>&) {}});
  Machine machine(std::move(options));
  machine.warm_up("a");
  machine.warm_up("b");
  CHECK_FALSE(machine.runner->unload("a", 0s, Context(machine.clock).with_timeout(0s)).ok());
  CHECK(machine.runner->acquire("b").ok());
  machine.backend->succeed();
}

TEST_CASE("SwapRunner: a shutdown refuses all, stops all, and says what is left", "[swap][swap_runner]") {
  Machine machine;
  machine.warm_up("a");
  SwapLease lease = machine.runner->acquire("a").value();
  SwapTicket waiting = *machine.runner->submit("b");
  machine.settle();
  const SwapShutdownReport early = machine.runner->shutdown(Context(machine.clock).with_timeout(0s));
  REQUIRE(eventually([&] { return machine.runner->is_closed(); }));
  const absl::Status refused = waiting.wait().status();
  CHECK(absl::IsUnavailable(refused));
  CHECK(text_of(refused) == "swap runner 'gpu': model 'b': the runner is shut down (waited 0 s)");
  CHECK_FALSE(early.in_time);
  CHECK(absl::IsUnavailable(machine.runner->acquire("a").status()));
  machine.backend->succeed();
  const SwapShutdownReport report = machine.runner->shutdown();
  CHECK(report.in_time);
  CHECK(report.refused == 1);
  CHECK(report.tasks == 0);
  CHECK(report.leases == 1);
  CHECK(report.running.empty());
  CHECK(machine.backend->begun().back() == "stop -a");
  lease.reset();
  machine.settle();
  CHECK(machine.runner->stats().scheduler.in_flight == 0);
}

TEST_CASE("SwapRunner: a shutdown calls a swap off, and stops what it brought up", "[swap][swap_runner]") {
  Machine machine;
  SwapTicket ticket = *machine.runner->submit("a");
  SwapTask swap = machine.backend->next();
  CHECK_FALSE(machine.runner->shutdown(Context(machine.clock).with_timeout(0s)).in_time);
  CHECK(absl::IsUnavailable(ticket.wait().status()));
  SwapTask stop = machine.backend->next();
  CHECK(swap.context().is_done());
  CHECK(stop.target() == kNoModel);
  machine.backend->succeed(std::move(stop));
  machine.backend->succeed(std::move(swap));  // too late to be called off: it has come up
  machine.backend->succeed();                 // so it is stopped once more
  CHECK(machine.runner->shutdown().in_time);
  CHECK(machine.runner->model_state("a") == ModelState::kStopped);
}

TEST_CASE("SwapRunner: tickets, leases and tasks may outlive it", "[swap][swap_runner]") {
  std::optional<Machine> machine(std::in_place);
  machine->warm_up("a");
  SwapLease lease = machine->runner->acquire("a").value();
  SwapTicket waiting = *machine->runner->submit("b");
  SwapTicket dropped = *machine->runner->submit("c");
  machine->settle();
  const std::shared_ptr<testing::ScriptedBackend> backend = machine->backend;
  machine->runner.reset();
  CHECK(absl::IsUnavailable(waiting.wait().status()));
  CHECK(waiting.state() == TicketState::kEnded);
  CHECK(lease.model_name() == "a");
  lease.reset();
  backend->report("a", ModelState::kStopped);
  backend->succeed();  // the stop that the shutdown asked for
}

TEST_CASE("SwapRunner: it lets go of its back end, whose tasks may be out", "[swap][swap_runner]") {
  std::optional<Machine> machine(std::in_place);
  SwapTicket ticket = *machine->runner->submit("a");
  machine->settle();  // the back end has the task
  const std::weak_ptr<testing::ScriptedBackend> backend = machine->backend;
  machine.reset();
  CHECK(backend.expired());
}

TEST_CASE("SwapRunner: no thread outlives it", "[swap][swap_runner]") {
  { const Machine machine; }
  CHECK(eventually([] { return testing::threads_of("gpu") == 0; }));
}

// --- coroutines ---

Task<absl::StatusCode> acquire_in(SwapRunner& runner, const char* model, Context ctx = Context::background()) {
  co_return (co_await runner.async_acquire(model, std::move(ctx))).status().code();
}

TEST_CASE("SwapRunner: a coroutine waits for a grant, a refusal, or its context", "[swap][swap_runner]") {
  Machine machine;
  RunLoop loop;
  auto granted = spawn(loop, acquire_in(*machine.runner, "a"));
  auto unknown = spawn(loop, acquire_in(*machine.runner, "x"));
  auto [ctx, source] = Context(machine.clock).with_cancel();
  auto cancelled = spawn(loop, acquire_in(*machine.runner, "b", ctx));
  loop.run_ready();
  source.cancel();
  loop.run_ready();
  CHECK(cancelled.get() == absl::StatusCode::kCancelled);
  CHECK(unknown.get() == absl::StatusCode::kNotFound);
  machine.backend->succeed();
  machine.settle();
  loop.run_ready();
  CHECK(granted.get() == absl::StatusCode::kOk);
}

Detached acquire_detached(RunLoop&, SwapRunner& runner, const char* model) {
  static_cast<void>(co_await runner.async_acquire(model));
}

Detached wait_detached(RunLoop&, SwapTicket& ticket) { static_cast<void>(co_await ticket.async_wait()); }

TEST_CASE("SwapRunner: a coroutine that is destroyed while it waits takes its request back", "[swap][swap_runner]") {
  Machine machine;
  RunLoop loop;
  SECTION("before the grant") {
    const Detached waiting = acquire_detached(loop, *machine.runner, "a");
    machine.settle();
    waiting.handle.destroy();
    machine.settle();
    CHECK(machine.runner->stats().scheduler.cancelled == 1);
  }
  SECTION("or after it") {
    const Detached waiting = acquire_detached(loop, *machine.runner, "a");
    machine.backend->succeed();
    machine.settle();
    waiting.handle.destroy();
    machine.settle();
    CHECK(machine.runner->stats().untaken_grants == 1);
  }
  const SwapStats stats = machine.runner->stats().scheduler;
  CHECK(stats.queued + stats.joined + stats.in_flight == 0);
  CHECK(stats.ignored == 0);
}

TEST_CASE("SwapTicket: a coroutine that is destroyed while it waits leaves the request", "[swap][swap_runner]") {
  Machine machine;
  RunLoop loop;
  SwapTicket ticket = *machine.runner->submit("a");
  const Detached waiting = wait_detached(loop, ticket);
  waiting.handle.destroy();
  machine.backend->succeed();
  CHECK(ticket.wait().ok());
}

// --- faults ---

TEST_CASE("SwapRunner: without memory an acquire fails for its caller alone", "[swap][swap_runner]") {
  Machine machine;
  machine.backend->answers_at_once = true;
  CHECK(machine.runner->acquire("a").ok());
  const int failures = testing::failures_of([&] { static_cast<void>(machine.runner->acquire("a").ok()); });
  CHECK(failures > 0);
  machine.settle();
  const SwapStats stats = machine.runner->stats().scheduler;
  CHECK(stats.in_flight == 0);
  CHECK(stats.queued + stats.joined == 0);
  CHECK(machine.runner->acquire("a").ok());
}

#if PENSTOCK_TEST_BUSY_FORKS
TEST_CASE("SwapRunner: a forked child is refused everything, and may destroy it", "[swap][swap_runner]") {
  Machine machine;
  machine.backend->answers_at_once = true;
  std::optional<SwapLease> lease = machine.runner->acquire("a").value();
  SwapTicket ticket = *machine.runner->submit("a");
  const int answer = testing::answer_of_child([&] {
    int refused = 0;
    refused += absl::IsFailedPrecondition(machine.runner->acquire("a").status());
    refused += absl::IsFailedPrecondition(machine.runner->submit("a").status());
    refused += absl::IsFailedPrecondition(ticket.wait().status());
    refused += absl::IsFailedPrecondition(machine.runner->unload("a"));
    refused += !ticket.cancel();
    refused += machine.runner->is_closed();
    static_cast<void>(machine.runner->stats());
    static_cast<void>(machine.runner->shutdown());
    lease.reset();
    machine.runner.reset();
    return refused;
  });
  CHECK(answer == 6);
  CHECK(machine.runner->acquire("a").ok());
}
#endif

TEST_CASE("SwapRunner: metrics say what has happened", "[swap][swap_runner]") {
  Machine machine;
  machine.backend->answers_at_once = true;
  CHECK(machine.runner->acquire("a").ok());
  CHECK(machine.runner->acquire("b").ok());
  CHECK_FALSE(machine.runner->acquire("x").ok());
  machine.settle();
  PrometheusWriter writer;
  machine.runner->collect(writer);
  const std::string text = writer.text();
  for (const char* const line :
       {"penstock_swap_queue_depth{model=\"a\",runner=\"gpu\"} 0",
        "penstock_swap_total{model=\"b\",result=\"ok\",runner=\"gpu\"} 1",
        "penstock_swap_wait_seconds_count{model=\"a\",runner=\"gpu\"} 1",
        "penstock_swap_requests_total{runner=\"gpu\"} 2", "penstock_swap_unknown_models_total{runner=\"gpu\"} 1",
        "penstock_swap_model_running{model=\"a\",runner=\"gpu\"} 0",
        "penstock_swap_model_running{model=\"b\",runner=\"gpu\"} 1"}) {
    INFO(text);
    CHECK(text.find(line) != std::string::npos);
  }
  const SwapRunnerStats stats = machine.runner->stats();
  CHECK(stats.wait.count() == stats.scheduler.granted);
  CHECK(stats.tasks_begun == stats.tasks + stats.tasks_succeeded + stats.tasks_failed);
  CHECK(eventually([&] { return machine.runner->is_idle(); }));  // its thread has still to lie down
}

}  // namespace
}  // namespace penstock
