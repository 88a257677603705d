// SPDX-License-Identifier: MIT

// Swap runners as their clients see them: leases, tickets, refusals.

#include "penstock/swap/swap_runner.hpp"

#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/retry_after.hpp"
#include "support/catch.hpp"
#include "swap/swap_runner_support.hpp"

namespace penstock {
namespace {

using testing::eventually;
using testing::Machine;
using testing::ScriptedBackend;
using testing::stage_of;
using testing::text_of;
using Texts = std::vector<std::string>;
using namespace std::chrono_literals;

TEST_CASE("SwapRunner: a model is brought up for who asks, and stays up for the next", "[swap][swap_runner]") {
  Machine machine;
  SwapTicket ticket = *machine.runner->submit("a");
  CHECK_FALSE(ticket.is_decided());
  machine.backend->succeed();
  absl::StatusOr<SwapLease> lease = ticket.wait();
  REQUIRE(lease.ok());
  CHECK(lease->model_name() == "a");
  CHECK(lease->model() == *machine.runner->models().find("a"));
  const absl::StatusOr<SwapLease> second = machine.runner->acquire("a");
  CHECK(second.ok());
  CHECK(machine.backend->begun() == Texts{"a"});
}

TEST_CASE("SwapRunner: A B C A B C makes three swaps", "[swap][swap_runner]") {
  Machine machine;
  std::vector<SwapTicket> tickets;
  for (const char* const model : {"a", "b", "c", "a", "b", "c"}) tickets.push_back(*machine.runner->submit(model));
  const auto serve = [&](std::size_t first, std::size_t second) {
    machine.backend->succeed();
    const SwapLease one = tickets[first].wait().value();
    const SwapLease two = tickets[second].wait().value();
  };
  serve(0, 3);
  serve(1, 4);
  serve(2, 5);
  CHECK(machine.backend->begun() == Texts{"a", "b -a", "c -b"});
  CHECK(machine.runner->stats().scheduler.swaps_started == 3);
}

TEST_CASE("SwapRunner: a model is not evicted while a lease is out", "[swap][swap_runner]") {
  Machine machine;
  machine.backend->answers_at_once = true;
  SwapLease lease = machine.runner->acquire("a").value();
  machine.settle();
  machine.backend->answers_at_once = false;
  SwapTicket other = *machine.runner->submit("b");
  machine.settle();
  CHECK(machine.backend->begun().empty());
  CHECK(other.state() == TicketState::kQueued);
  CHECK(other.position() == std::optional<std::size_t>(1));
  lease.reset();
  CHECK_FALSE(lease);
  machine.backend->succeed();
  CHECK(other.wait().ok());
  CHECK(machine.backend->begun() == Texts{"b -a"});
}

TEST_CASE("SwapRunner: a model is chosen by name or by id", "[swap][swap_runner]") {
  Machine machine;
  machine.backend->answers_at_once = true;
  CHECK(machine.runner->acquire(std::string("b")).ok());
  CHECK(machine.runner->acquire(ModelId{1})->model_name() == "b");
  const absl::Status by_name = machine.runner->acquire("x").status();
  CHECK(absl::IsNotFound(by_name));
  CHECK(text_of(by_name) == "swap runner 'gpu': there is no model 'x'");
  CHECK(stage_of(by_name) == "swap");
  CHECK(text_of(machine.runner->submit(ModelId{3}).status()) == "swap runner 'gpu': there is no model 3");
  CHECK(machine.runner->stats().unknown_models == 2);
}

TEST_CASE("SwapTicket: the end of a wait ends the wait and not the request", "[swap][swap_runner]") {
  Machine machine;
  SwapTicket ticket = *machine.runner->submit("a");
  machine.settle();
  const absl::Status late = ticket.wait(Context(machine.clock).with_timeout(0s)).status();
  CHECK(absl::IsDeadlineExceeded(late));
  CHECK(stage_of(late) == "swap");
  CHECK(text_of(late).find("swap runner 'gpu': model 'a': not granted in time (waited 0 s; ") == 0);
  auto [ctx, source] = Context(machine.clock).with_cancel();
  source.cancel();
  CHECK(absl::IsCancelled(ticket.wait(ctx).status()));
  CHECK_FALSE(ticket.is_decided());
  machine.backend->succeed();
  CHECK(ticket.wait().ok());
  CHECK(absl::IsFailedPrecondition(ticket.wait().status()));
}

TEST_CASE("SwapTicket: cancelled, it is out of the queue", "[swap][swap_runner]") {
  Machine machine;
  SwapTicket first = *machine.runner->submit("a");
  SwapTicket second = *machine.runner->submit("b");
  SwapTicket third = *machine.runner->submit("c");
  machine.settle();
  CHECK(third.position() == std::optional<std::size_t>(2));
  CHECK(second.cancel());
  CHECK_FALSE(second.cancel());
  CHECK(absl::IsCancelled(second.wait().status()));
  machine.settle();
  CHECK(third.position() == std::optional<std::size_t>(1));
  { const SwapTicket dropped = std::move(third); }
  machine.settle();
  const SwapRunnerStats stats = machine.runner->stats();
  CHECK(stats.scheduler.cancelled == 2);
  CHECK(stats.scheduler.queued == 0);
  CHECK(stats.scheduler.ignored == 0);
}

TEST_CASE("SwapTicket: one that was moved from has no request", "[swap][swap_runner]") {
  SwapTicket none;
  CHECK_FALSE(none);
  CHECK(absl::IsFailedPrecondition(none.wait().status()));
  CHECK_FALSE(none.cancel());
  CHECK(none.state() == TicketState::kEnded);
  CHECK(none.model() == kNoModel);
  SwapLease lease;
  CHECK_FALSE(lease);
  CHECK(lease.model_name() == "(unknown)");
  lease.reset();
}

TEST_CASE("SwapTicket: a grant that nobody takes does not count", "[swap][swap_runner]") {
  Machine machine;
  machine.warm_up("a");
  {
    const SwapTicket ticket = *machine.runner->submit("a");
    REQUIRE(eventually([&] { return ticket.is_decided(); }));
    CHECK(machine.runner->stats().scheduler.in_flight == 1);
  }
  machine.settle();
  const SwapRunnerStats stats = machine.runner->stats();
  CHECK(stats.untaken_grants == 1);
  CHECK(stats.scheduler.grants_refused == 1);
  CHECK(stats.scheduler.in_flight == 0);
  CHECK(stats.scheduler.served == 1);
  CHECK(stats.scheduler.ignored == 0);
}

TEST_CASE("SwapRunner: X08 who does not take a grant does not delay another model's clients", "[swap][swap_runner]") {
  SwapRunnerOptions options;
  options.scheduler.planner = function_planner({.plan = [](const PlanInput&, std::vector<ModelId>&) {}});
  Machine machine(std::move(options));
  machine.backend->answers_at_once = true;
  const SwapTicket slow = *machine.runner->submit("a");
  REQUIRE(eventually([&] { return slow.is_decided(); }));
  for (int i = 0; i != 10; ++i) CHECK(machine.runner->acquire("b").ok());
}

TEST_CASE("SwapRunner: X07 who waits for a model that has ended again is not let through", "[swap][swap_runner]") {
  Machine machine;
  SwapTicket ticket = *machine.runner->submit("a");
  SwapTask task = machine.backend->next();
  machine.backend->report("a", ModelState::kReady);
  machine.settle();
  machine.backend->report("a", ModelState::kStopped);
  std::move(task).done(absl::OkStatus());
  const absl::Status refused = ticket.wait().status();
  CHECK(absl::IsUnavailable(refused));
  CHECK(text_of(refused) == "swap runner 'gpu': model 'a': was brought up, and had ended again (waited 0 s)");
}

TEST_CASE("SwapRunner: a swap that fails tells those who waited why", "[swap][swap_runner]") {
  Machine machine;
  SwapTicket first = *machine.runner->submit("a");
  SwapTicket second = *machine.runner->submit("a");
  machine.settle();
  SECTION("in the runner's stage") {
    machine.backend->fail(absl::InternalError("no such file"));
    for (SwapTicket* const ticket : {&first, &second}) {
      const absl::Status status = ticket->wait().status();
      CHECK(absl::IsInternal(status));
      CHECK(text_of(status) == "swap runner 'gpu': model 'a': could not be brought up (waited 0 s): no such file");
      CHECK(stage_of(status) == "swap");
      CHECK_FALSE(retry_after(status).has_value());
    }
  }
  SECTION("or in the one that the back end names") {
    machine.backend->fail(with_retry_after(with_failure_stage(absl::NotFoundError("no program"), "start"), 5s));
    const absl::Status status = first.wait().status();
    CHECK(stage_of(status) == "start");
    CHECK(retry_after(status) == std::optional<Duration>(5s));
  }
  CHECK(machine.runner->model_stats("a").swaps_failed == 1);
}

TEST_CASE("SwapRunner: one too many is told when to come again", "[swap][swap_runner]") {
  SwapRunnerOptions options;
  options.scheduler.models = {{.name = "a", .concurrency_limit = 1}};
  Machine machine(std::move(options));
  const SwapTicket first = *machine.runner->submit("a");
  const absl::Status status = machine.runner->acquire("a").status();
  CHECK(absl::IsResourceExhausted(status));
  CHECK(text_of(status) == "swap runner 'gpu': model 'a': concurrency limit reached (limit 1)");
  CHECK(retry_after(status).value_or(0s) > 0s);
  CHECK(stage_of(status) == "swap");
  CHECK(machine.runner->model_stats("a").refused == 1);
}

TEST_CASE("SwapRunner: a deadline that comes ends the request, by the runner's clock", "[swap][swap_runner]") {
  Machine machine;
  SwapTicket ticket = *machine.runner->submit("a", {.deadline = machine.clock.now() + 5s});
  machine.settle();
  machine.clock.advance(4s);
  machine.settle();
  CHECK_FALSE(ticket.is_decided());
  machine.clock.advance(1s);
  const absl::Status status = ticket.wait().status();
  CHECK(absl::IsDeadlineExceeded(status));
  CHECK(text_of(status) == "swap runner 'gpu': model 'a': its deadline has come (waited 5 s)");
}

TEST_CASE("SwapRunner: the end of its context takes an acquire back", "[swap][swap_runner]") {
  Machine machine;
  const absl::Status late = machine.runner->acquire("a", Context(machine.clock).with_timeout(0s)).status();
  CHECK(absl::IsDeadlineExceeded(late));
  CHECK(text_of(late).find("swap runner 'gpu': model 'a': not granted in time (waited 0 s; ") == 0);
  machine.settle();
  const SwapRunnerStats stats = machine.runner->stats();
  CHECK(stats.scheduler.cancelled + stats.withdrawn == 1);
  CHECK(stats.scheduler.queued + stats.scheduler.joined == 0);
}

TEST_CASE("SwapRunner: the context of an acquire tells the scheduler its deadline", "[swap][swap_runner]") {
  SwapRunnerOptions options;
  options.scheduler.order = QueueOrder::kDeadline;
  Machine machine(std::move(options));
  machine.backend->answers_at_once = true;
  SwapLease lease = machine.runner->acquire("a").value();
  machine.settle();
  machine.backend->answers_at_once = false;
  const SwapTicket patient = *machine.runner->submit("b");
  machine.settle();
  auto [ctx, source] = Context(machine.clock).with_timeout(10s).with_cancel();
  std::thread hasty([&, context = ctx] { static_cast<void>(machine.runner->acquire("c", context)); });
  CHECK(eventually([&] { return patient.position() == std::optional<std::size_t>(2); }));
  source.cancel();
  hasty.join();
}

TEST_CASE("SwapRunner: a priority lets a request go first", "[swap][swap_runner]") {
  Machine machine;
  machine.backend->answers_at_once = true;
  const SwapLease lease = machine.runner->acquire("a").value();
  machine.settle();
  machine.backend->answers_at_once = false;
  const SwapTicket low = *machine.runner->submit("b");
  const SwapTicket high = *machine.runner->submit("c", {.priority = 1});
  machine.settle();
  CHECK(high.position() == std::optional<std::size_t>(1));
  CHECK(low.position() == std::optional<std::size_t>(2));
}

TEST_CASE("SwapRunner: who lets many others through at once does not grant to them all", "[swap][swap_runner]") {
  SwapRunnerOptions options;
  options.scheduler.models = {{.name = "a", .concurrency_limit = 2000}, {.name = "b"}};
  options.scheduler.claim_priority = 5;
  Machine machine(std::move(options));
  machine.warm_up("a");
  const SwapLease lease = machine.runner->acquire("a").value();
  SwapTicket urgent = *machine.runner->submit("b", {.priority = 5});
  std::vector<SwapTicket> behind;
  for (int i = 0; i != 1000; ++i) behind.push_back(*machine.runner->submit("a"));
  machine.settle();
  REQUIRE(behind.front().state() == TicketState::kQueued);
  REQUIRE(urgent.cancel());
  for (SwapTicket& ticket : behind) CHECK(ticket.wait().ok());  // by the runner's thread, but for the first ones
}

TEST_CASE("SwapRunner: options that make no sense are all named", "[swap][swap_runner]") {
  SwapRunnerOptions options;
  options.scheduler.name = "";
  options.task_timeout = 0s;
  options.shutdown_timeout = -1s;
  options.clock = nullptr;
  const std::string text = text_of(options.validate());
  for (const char* const part : {"backend must be a back end, got null", "task_timeout must be positive",
                                 "shutdown_timeout must be at least 0 s", "clock must be a clock, got null",
                                 "scheduler: ", "options.name must be 1 to 256 bytes"}) {
    INFO(text << " lacks " << part);
    CHECK(text.find(part) != std::string::npos);
  }
  CHECK_THROWS_AS(SwapRunner(options), std::invalid_argument);
}

TEST_CASE("SwapRunner: what attach throws reaches who makes it", "[swap][swap_runner]") {
  struct Unwilling : ScriptedBackend {
    void attach(const ModelTable&, ModelStateReport) override { throw std::runtime_error("no"); }
  };
  SwapRunnerOptions options{.backend = std::make_shared<Unwilling>()};
  options.scheduler.models = {{.name = "a"}};
  CHECK_THROWS_AS(SwapRunner(options), std::runtime_error);
}

}  // namespace
}  // namespace penstock
