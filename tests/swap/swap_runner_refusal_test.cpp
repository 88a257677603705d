// SPDX-License-Identifier: MIT
// What a client is told that is not let through: a code, whose fault, the numbers, and when to come again.
#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "penstock/core/retry_after.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"
#include "swap/swap_runner_support.hpp"

namespace {

using namespace penstock;
using namespace penstock::testing;
using namespace std::chrono_literals;

/// A runner with these bounds, whose models "a" and "b" are brought up as the test says.
SwapRunnerOptions bounded(SwapSchedulerOptions scheduler) {
  SwapRunnerOptions options;
  options.scheduler = std::move(scheduler);
  options.scheduler.limit_at = LimitAt::kGrant;
  options.scheduler.models = {{.name = "a"}, {.name = "b"}};
  return options;
}

/// What `acquire` says of the model.
absl::Status refusal_of(Machine& machine, const std::string& model, SwapRequestOptions options = {}) {
  return machine.runner->acquire(model, options).status();
}

}  // namespace

TEST_CASE("SwapRunner: a planner that throws is an internal error for whom it was asked for", "[swap][swap_runner]") {
  SwapRunnerOptions options = bounded({});
  options.scheduler.planner = function_planner({.plan = [](const PlanInput& input, std::vector<ModelId>&) {
    if (input.target == ModelId{1}) throw std::runtime_error("broken");
  }});
  Machine machine(std::move(options));
  const absl::Status status = refusal_of(machine, "b");
  CHECK(absl::IsInternal(status));
  CHECK(text_of(status) == "swap runner 'gpu': model 'b': the planner threw");
  machine.warm_up("a");
  CHECK(machine.runner->acquire("a").ok());
  CHECK(machine.runner->stats().scheduler.planner_failures == 1);
}

TEST_CASE("SwapRunner: who finds a queue full is told which one, and when to come again", "[swap][swap_runner]") {
  const auto check = [](SwapSchedulerOptions bound, const std::string& text) {
    CAPTURE(text);
    Machine machine(bounded(std::move(bound)));
    const SwapTicket loading = *machine.runner->submit("a", {.tenant = TenantId{1}});
    const SwapTicket queued = *machine.runner->submit("b", {.tenant = TenantId{0}});
    const absl::Status status = refusal_of(machine, "b", {.tenant = TenantId{0}});
    CHECK(absl::IsResourceExhausted(status));
    CHECK(text_of(status) == "swap runner 'gpu': model 'b': " + text);
    CHECK(retry_after(status).value_or(0s) > 0s);
    CHECK(stage_of(status) == "swap");
    CHECK(machine.runner->stats().scheduler.queued == 1);
  };
  check({.max_queued = 2}, "queue full (at most 2 wait)");
  check({.max_queued_per_model = 1}, "queue of the model full (at most 1 wait)");
  check({.tenants = {{.name = "t"}, {.name = "u"}}, .max_queued_per_tenant = 1},
        "queue of the tenant full (at most 1 wait)");
}

TEST_CASE("SwapRunner: who asks for what could not be brought up lately is told when to come again",
          "[swap][swap_runner]") {
  Machine machine(bounded({.back_off = {.first = 30s}}));
  SwapTicket failed = *machine.runner->submit("a");
  machine.backend->fail(absl::UnavailableError("no memory"));
  CHECK(absl::IsUnavailable(failed.wait().status()));
  machine.clock.advance(10s);
  const absl::Status status = refusal_of(machine, "a");
  CHECK(absl::IsUnavailable(status));
  CHECK(text_of(status) == "swap runner 'gpu': model 'a': could not be brought up lately, and is not tried again yet");
  CHECK(retry_after(status) == std::optional<Duration>(20s));
}

TEST_CASE("SwapRunner: who cannot be served in time is told so at once", "[swap][swap_runner]") {
  SwapRunnerOptions options = bounded({.reject_late = true});
  options.scheduler.models[0].start_time = 60s;
  Machine machine(std::move(options));
  const absl::Status status = refusal_of(machine, "a", {.deadline = machine.clock.now() + 5s});
  CHECK(absl::IsDeadlineExceeded(status));
  CHECK(text_of(status) == "swap runner 'gpu': model 'a': cannot be served before its deadline (waited 0 s)");
  CHECK(machine.runner->stats().scheduler.swaps_started == 0);
}

TEST_CASE("SwapRunner: no name but a model's own is one", "[swap][swap_runner]") {
  Machine machine;
  using namespace std::string_literals;
  for (const std::string& name : {""s, "A"s, "a "s, "a\0"s, std::string(100'000, 'x'), "\xff\xfe"s}) {
    CAPTURE(name.size());
    const absl::Status status = refusal_of(machine, name);
    CHECK(absl::IsNotFound(status));
    CHECK(text_of(status).size() < 1000);
  }
  CHECK(machine.runner->stats().scheduler.arrived == 0);
}

TEST_CASE("SwapRunner: who asks after the shutdown is told so", "[swap][swap_runner]") {
  Machine machine;
  machine.runner->shutdown();
  const absl::Status status = refusal_of(machine, "a");
  CHECK(absl::IsUnavailable(status));
  CHECK_THAT(text_of(status), ContainsSubstring("shut down"));
  CHECK(machine.runner->stats().scheduler.swaps_started == 0);
}
