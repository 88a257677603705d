// SPDX-License-Identifier: MIT

// Swap runners and their back ends: good ones, and those that throw, drop, hang, answer twice, late, or at once.

#include <atomic>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "penstock/swap/function_backend.hpp"
#include "penstock/swap/swap_runner.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "swap/swap_runner_support.hpp"

namespace penstock {
namespace {

using testing::eventually;
using testing::Gate;
using testing::Machine;
using testing::ScriptedBackend;
using testing::text_of;
using Texts = std::vector<std::string>;
using namespace std::chrono_literals;

TEST_CASE("SwapRunner: what the back end answers within the call is an answer", "[swap][swap_runner]") {
  Machine machine;
  machine.backend->answers_at_once = true;
  for (const char* const model : {"a", "b", "a", "c"}) CHECK(machine.runner->acquire(model).ok());
  CHECK(machine.runner->stats().tasks_succeeded == 4);
}

/// What a test has `begin` do.
struct Odd : ScriptedBackend {
  void begin(SwapTask task) override { on_begin(std::move(task)); }
  std::function<void(SwapTask)> on_begin;
};

struct OddMachine {
  OddMachine() {
    SwapRunnerOptions options{.backend = backend};
    options.scheduler.name = "gpu";
    options.scheduler.models = {{.name = "a"}, {.name = "b"}};
    options.shutdown_timeout = 0s;
    runner.emplace(std::move(options));
  }
  std::shared_ptr<Odd> backend = std::make_shared<Odd>();
  std::optional<SwapRunner> runner;
};

TEST_CASE("SwapRunner: a back end that throws has failed", "[swap][swap_runner]") {
  OddMachine machine;
  machine.backend->on_begin = [](SwapTask) { throw std::runtime_error("boom"); };
  const absl::Status status = machine.runner->acquire("a").status();
  CHECK(absl::IsInternal(status));
  CHECK(text_of(status).find("the back end threw: boom") != std::string::npos);
  const SwapRunnerStats stats = machine.runner->stats();
  CHECK(stats.exceptions == 1);
  CHECK(stats.tasks_failed == 1);
  CHECK(stats.late_answers == 0);
}

TEST_CASE("SwapRunner: a task that is dropped has failed", "[swap][swap_runner]") {
  OddMachine machine;
  std::optional<SwapTask> kept;
  SECTION("within the call") {
    machine.backend->on_begin = [](SwapTask) {};
  }
  SECTION("or later") {
    machine.backend->on_begin = [&](SwapTask task) { kept.emplace(std::move(task)); };
  }
  SwapTicket ticket = *machine.runner->submit("a");
  static_cast<void>(machine.runner->unload(std::span<const ModelId>{}));
  kept.reset();
  const absl::Status status = ticket.wait().status();
  CHECK(absl::IsInternal(status));
  CHECK(text_of(status).find("the back end dropped the task without a word") != std::string::npos);
  CHECK(machine.runner->stats().tasks_dropped == 1);
}

TEST_CASE("SwapRunner: a second answer is counted and changes nothing", "[swap][swap_runner]") {
  Machine machine;
  SwapTicket ticket = *machine.runner->submit("a");
  SwapTask task = machine.backend->next();
  machine.backend->report("a", ModelState::kReady);
  std::move(task).done(absl::OkStatus());
  std::move(task).done(absl::InternalError("after all"));  // NOLINT: on purpose
  CHECK(ticket.wait().ok());
  CHECK(machine.runner->stats().late_answers == 1);
  CHECK(machine.runner->stats().tasks_succeeded == 1);
}

TEST_CASE("SwapRunner: a back end that does not answer holds up nobody else", "[swap][swap_runner]") {
  SwapRunnerOptions options;
  options.scheduler.planner = function_planner({.plan = [](const PlanInput&, std::vector<ModelId>&) {}});
  options.task_timeout = 30s;
  Machine machine(std::move(options));
  SwapTicket stuck = *machine.runner->submit("a");
  SwapTask never = machine.backend->next();
  SwapTicket other = *machine.runner->submit("b");
  machine.backend->succeed();
  CHECK(other.wait().ok());
  CHECK(machine.runner->stats().tasks_overdue == 0);
  machine.clock.advance(30s);
  CHECK(never.context().is_done());
  CHECK(machine.runner->stats().tasks_overdue == 1);
  CHECK_FALSE(stuck.is_decided());
}

TEST_CASE("SwapRunner: X10 the back end may call the runner from within", "[swap][swap_runner]") {
  std::vector<SwapTicket> inner;
  std::vector<absl::StatusCode> refused;
  OddMachine machine;  // its end calls on_begin once more
  machine.backend->on_begin = [&](SwapTask task) {
    if (inner.empty()) {
      for (const char* const model : {"b", "a"}) inner.push_back(*machine.runner->submit(model));
      refused.push_back(machine.runner->acquire("a").status().code());
      refused.push_back(inner[0].wait().status().code());
      refused.push_back(machine.runner->unload_all().code());
      static_cast<void>(inner[0].position());
      static_cast<void>(machine.runner->stats());
    }
    machine.backend->succeed(std::move(task));
  };
  SwapLease outer = machine.runner->acquire("a").value();
  CHECK(refused == std::vector(3, absl::StatusCode::kFailedPrecondition));
  CHECK(inner[1].wait().ok());
  outer.reset();
  CHECK(inner[0].wait().ok());
}

TEST_CASE("SwapRunner: a planner may ask the runner, which says nothing then", "[swap][swap_runner]") {
  SwapRunner* runner = nullptr;
  std::optional<SwapRunnerStats> seen;
  SwapRunnerOptions options;
  options.scheduler.planner = function_planner({.plan = [&](const PlanInput&, std::vector<ModelId>&) {
    if (runner != nullptr) seen = runner->stats();
  }});
  Machine machine(std::move(options));
  machine.backend->answers_at_once = true;
  runner = machine.runner.get();
  CHECK(machine.runner->acquire("a").ok());
  runner = nullptr;
  REQUIRE(seen.has_value());
  CHECK(seen->scheduler.arrived == 0);
}

TEST_CASE("SwapRunner: an observer hears of all that is decided, in order", "[swap][swap_runner]") {
  struct Log : SwapObserver {
    void on_decision(const SwapEvent& event, TimePoint, std::uint64_t, const SwapActions& actions,
                     std::size_t first) noexcept override {
      const std::lock_guard lock(mutex);
      lines.push_back(std::string(name_of(event)) + " " + std::to_string(actions.size() - first));
    }
    std::mutex mutex;
    Texts lines;
  } log;
  {
    Machine machine({.observer = &log});
    machine.backend->answers_at_once = true;
    CHECK(machine.runner->acquire("a").ok());
    machine.settle();
  }
  const std::lock_guard lock(log.mutex);
  REQUIRE(log.lines.size() >= 5);
  CHECK(Texts(log.lines.begin(), log.lines.begin() + 5) ==
        Texts{"request 1", "model_state 0", "swap_done 1", "serve_done 0", "unload 0"});
}

// --- FunctionBackend ---

struct Machinery {
  Machinery() {
    backend = std::make_shared<FunctionBackend>(FunctionBackendOptions{
        .start = [this](const SwapModel& model, const Context& ctx) { return start(model.name, ctx); },
        .stop = [this](const SwapModel& model, Duration) { return stop(model.name); }});
    SwapRunnerOptions options{.backend = backend};
    options.scheduler.models = {{.name = "a"}, {.name = "b"}, {.name = "big"}};
    options.scheduler.planner = function_planner({.plan = [](const PlanInput& in, std::vector<ModelId>& evict) {
      for (const ModelId id : in.running) {
        if (in.target == ModelId{2} || id == ModelId{2}) evict.push_back(id);
      }
    }});
    runner.emplace(std::move(options));
  }

  std::function<absl::Status(const std::string&, const Context&)> start = [](const auto&, const auto&) {
    return absl::OkStatus();
  };
  std::function<absl::Status(const std::string&)> stop = [](const auto&) { return absl::OkStatus(); };
  std::shared_ptr<FunctionBackend> backend;
  std::optional<SwapRunner> runner;
};

TEST_CASE("FunctionBackend: a swap stops all that it evicts at the same time, then starts", "[swap][swap_runner]") {
  Gate both;
  Machinery machinery;  // its end stops once more
  CHECK(machinery.runner->acquire("a").ok());
  CHECK(machinery.runner->acquire("b").ok());
  machinery.stop = [&](const std::string&) {
    both.pass();
    return absl::OkStatus();
  };
  SwapTicket big = *machinery.runner->submit("big");
  CHECK(both.await(2));
  CHECK_FALSE(big.is_decided());
  both.open();
  CHECK(big.wait().ok());
  CHECK(machinery.runner->model_state("a") == ModelState::kStopped);
  CHECK(machinery.runner->model_state("big") == ModelState::kReady);
}

TEST_CASE("FunctionBackend: what a function returns or throws is what those get who waited", "[swap][swap_runner]") {
  Machinery machinery;
  machinery.start = [](const std::string& model, const Context&) -> absl::Status {
    if (model == "a") return absl::NotFoundError("no such file");
    throw std::runtime_error("boom");
  };
  CHECK(absl::IsNotFound(machinery.runner->acquire("a").status()));
  CHECK(text_of(machinery.runner->acquire("b").status()).find("start of model 'b' threw: boom") != std::string::npos);
  CHECK(machinery.runner->model_state("b") == ModelState::kStopped);
}

TEST_CASE("FunctionBackend: a model that cannot be stopped lets no other one in", "[swap][swap_runner]") {
  Machinery machinery;
  CHECK(machinery.runner->acquire("a").ok());
  machinery.stop = [](const std::string&) { return absl::InternalError("it clings"); };
  const absl::Status status = machinery.runner->acquire("big").status();
  CHECK(text_of(status).find("it clings") != std::string::npos);
  CHECK(machinery.runner->model_state("a") == ModelState::kReady);
  machinery.stop = [](const std::string&) { return absl::OkStatus(); };
}

TEST_CASE("FunctionBackend: an unload calls a start off, and waits for it", "[swap][swap_runner]") {
  Machinery machinery;
  Gate started;
  std::atomic<bool> was_asked_to_end{false};
  machinery.start = [&](const std::string&, const Context& ctx) {
    started.pass();
    was_asked_to_end = eventually([&] { return ctx.is_done(); });
    return absl::CancelledError("called off");
  };
  started.open();
  SwapTicket ticket = *machinery.runner->submit("a");
  REQUIRE(started.await(1));
  CHECK(machinery.runner->unload("a").ok());
  CHECK(was_asked_to_end);
  CHECK(absl::IsUnavailable(ticket.wait().status()));
  CHECK(machinery.runner->model_state("a") == ModelState::kStopped);
}

TEST_CASE("FunctionBackend: options that make no sense are all named", "[swap][swap_runner]") {
  const std::string text = text_of(FunctionBackendOptions{.threads = {.name = ""}}.validate());
  CHECK(text.find("options.start must be a function, got none") != std::string::npos);
  CHECK(text.find("options.stop must be a function, got none") != std::string::npos);
  CHECK(text.find("threads: ") != std::string::npos);
  CHECK_THROWS_AS(FunctionBackend(FunctionBackendOptions{}), std::invalid_argument);
}

}  // namespace
}  // namespace penstock
