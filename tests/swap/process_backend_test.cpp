// SPDX-License-Identifier: MIT

// What a swap does to processes.

#include "penstock/swap/process_backend.hpp"

#include <atomic>
#include <csignal>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/failure_stage.hpp"
#include "penstock/core/task.hpp"
#include "penstock/metrics/prometheus_writer.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/forked.hpp"
#include "support/recorder.hpp"
#include "support/status_text.hpp"
#include "swap/process_support.hpp"

using namespace penstock;
using namespace penstock::testing;
using namespace std::chrono_literals;
using enum penstock::ModelState;

namespace {

ProcessOptions named(std::string name, ProcessOptions options) {
  options.name = std::move(name);
  return options;
}

ModelTable table_of(const std::vector<std::string>& names) {
  std::vector<SwapModel> models;
  for (const std::string& name : names) models.push_back({.name = name});
  return ModelTable(std::move(models));
}

constexpr ModelId kA{0};
constexpr ModelId kB{1};
constexpr ModelId kC{2};

/// Three models, and what was reported of them.
struct Served {
  using Report = std::pair<ModelId, ModelState>;

  explicit Served(ProcessOptions c = server())
      : backend({.processes = {named("c", std::move(c)), named("a", server()), named("b", server())}}) {
    backend.attach(models, [this](ModelId id, ModelState state) { reports.record({id, state}); });
  }

  absl::Status swap(std::vector<ModelId> to_stop, ModelId target, const Context& ctx = Context::background()) {
    return sync_wait(backend.carry_out(std::move(to_stop), target, Duration::zero(), ctx));
  }

  /// The states of one model, in the order of the reports, but for the first: that it is there.
  [[nodiscard]] std::vector<ModelState> states(ModelId id) const {
    std::vector<ModelState> states;
    for (const auto& [model, state] : reports.events()) {
      if (model == id) states.push_back(state);
    }
    if (!states.empty()) states.erase(states.begin());
    return states;
  }

  const ModelTable models = table_of({"a", "b", "c"});
  Recorder<Report> reports;
  ProcessBackend backend;
};

}  // namespace

TEST_CASE("ProcessBackend: a swap stops what has to go, and then starts its target", "[swap][process_backend]") {
  Served served;
  CHECK(served.swap({}, kA).ok());
  CHECK(served.swap({}, kB).ok());
  const int a = served.backend.find(kA)->pid();
  const int b = served.backend.find(kB)->pid();
  CHECK(served.swap({kA, kB}, kC).ok());
  CHECK_FALSE(runs(a));
  CHECK_FALSE(runs(b));
  CHECK(served.backend.find("c")->state() == kReady);
  // All of it was reported before the swap ended.
  const std::vector<Served::Report> all = served.reports.events();
  const auto place = [&](ModelId id, ModelState state) {
    return std::find(all.begin(), all.end(), Served::Report(id, state)) - all.begin();
  };
  CHECK(served.states(kA) == std::vector<ModelState>{kStarting, kReady, kStopping, kStopped});
  CHECK(served.states(kC) == std::vector<ModelState>{kStarting, kReady});
  CHECK(place(kB, kStopping) < place(kC, kStarting));
}

TEST_CASE("ProcessBackend: models are stopped at the same time", "[swap][process_backend]") {
  const Fifo go;
  const ProcessOptions slow = child({"finish", "15", go.path(), "print", "up", "wait"}, ReadyOnLine{"up"});
  ProcessBackend backend({.processes = {named("a", slow), named("b", slow)}});
  const ModelTable models = table_of({"a", "b"});
  backend.attach(models, [](ModelId, ModelState) {});
  REQUIRE(backend.find("a")->ensure_ready().ok());
  REQUIRE(backend.find("b")->ensure_ready().ok());
  JoinHandle<absl::Status> swap = spawn(Executor::inline_executor(),
                                        backend.carry_out({kA, kB}, kNoModel, Duration::zero(), Context::background()));
  CHECK(backend.find("a")->state() == kStopping);
  CHECK(backend.find("b")->state() == kStopping);
  CHECK(eventually([&] {
    static_cast<void>(go.try_release());  // each of them reads when it has come to that
    return backend.find("a")->state() == kStopped && backend.find("b")->state() == kStopped;
  }));
  CHECK(swap.get().ok());
}

TEST_CASE("ProcessBackend: a target that cannot start fails the swap with its reason", "[swap][process_backend]") {
  ProcessOptions missing = server();
  missing.arguments = {"/nowhere/server"};
  Served served(missing);
  const absl::Status status = served.swap({}, kC);
  CHECK(status.code() == absl::StatusCode::kNotFound);
  CHECK(text_of(status) == "process 'c': cannot start '/nowhere/server': No such file or directory");
  CHECK(failure_stage(status) == "start");
  CHECK(served.states(kC) == std::vector<ModelState>{kStarting, kStopped});
}

TEST_CASE("ProcessBackend: a swap that nobody wants any more aborts its start", "[swap][process_backend]") {
  Served served(sleeper());
  auto [ctx, source] = Context::background().with_cancel();
  JoinHandle<absl::Status> swap =
      spawn(Executor::inline_executor(), served.backend.carry_out({}, kC, Duration::zero(), ctx));
  const Process& target = *served.backend.find(kC);
  CHECK(eventually([&] { return target.pid() != 0; }));
  const int pid = target.pid();
  source.cancel();
  CHECK(swap.get().code() == absl::StatusCode::kCancelled);
  CHECK(target.state() == kStopped);
  CHECK_FALSE(runs(pid));
  CHECK(served.states(kC) == std::vector<ModelState>{kStarting, kStopping, kStopped});
}

TEST_CASE("ProcessBackend: a start that the host waits for, too, outlasts the swap", "[swap][process_backend]") {
  const Fifo go;
  Served served(child({"await", go.path(), "print", "up", "wait"}, ReadyOnLine{"up"}));
  Process& target = *served.backend.find(kC);
  JoinHandle<absl::Status> host = started(target);
  auto [ctx, source] = Context::background().with_cancel();
  JoinHandle<absl::Status> swap =
      spawn(Executor::inline_executor(), served.backend.carry_out({}, kC, Duration::zero(), ctx));
  source.cancel();
  CHECK(swap.get().code() == absl::StatusCode::kCancelled);
  CHECK(go.release());
  CHECK(host.get().ok());
  CHECK(target.stats().starts == 1);
}

TEST_CASE("ProcessBackend: a swap that nobody wants any more starts nothing", "[swap][process_backend]") {
  Served served;
  REQUIRE(served.swap({}, kA).ok());
  auto [ctx, source] = Context::background().with_cancel();
  source.cancel();
  CHECK(served.swap({kA}, kC, ctx).code() == absl::StatusCode::kCancelled);
  CHECK(served.backend.find(kA)->state() == kStopped);  // what was to go has gone
  CHECK(served.backend.find(kC)->stats().starts == 0);
}

TEST_CASE("ProcessBackend: to stop a model calls off the swap that starts it", "[swap][process_backend]") {
  Served served(sleeper());
  JoinHandle<absl::Status> swap =
      spawn(Executor::inline_executor(), served.backend.carry_out({}, kC, Duration::zero(), Context::background()));
  CHECK(eventually([&] { return served.backend.find(kC)->pid() != 0; }));
  CHECK(served.swap({kC}, kNoModel).ok());
  CHECK(swap.get().code() == absl::StatusCode::kAborted);
}

TEST_CASE("ProcessBackend: a child that ends by itself is reported as stopped", "[swap][process_backend]") {
  Served served;
  REQUIRE(served.swap({}, kA).ok());
  kill(served.backend.find(kA)->pid(), SIGKILL);
  CHECK(eventually([&] { return served.states(kA) == std::vector<ModelState>{kStarting, kReady, kStopped}; }));
  CHECK(served.swap({kA}, kB).ok());  // nothing left to stop
  CHECK(served.swap({kB}, kA).ok());
}

TEST_CASE("ProcessBackend: metrics say what each process has been through", "[swap][process_backend]") {
  Served served;
  CHECK(served.swap({}, kA).ok());
  CHECK(served.swap({kA}, kB).ok());
  PrometheusWriter writer;
  served.backend.collect(writer);
  const std::string text = writer.text();
  INFO(text);
  for (const char* const line :
       {"penstock_process_state{process=\"a\",state=\"stopped\"} 1",
        "penstock_process_state{process=\"b\",state=\"ready\"} 1",
        "penstock_process_state{process=\"b\",state=\"stopped\"} 0", "penstock_process_starts_total{process=\"a\"} 1",
        "penstock_process_ready_total{process=\"b\"} 1", "penstock_process_stops_total{process=\"a\"} 1",
        "penstock_process_starts_total{process=\"c\"} 0", "penstock_process_crashes_total{process=\"a\"} 0",
        "penstock_process_in_state_seconds{process=\"c\"}", "penstock_process_start_duration_seconds{process=\"a\"}"}) {
    CHECK(text.find(line) != std::string::npos);
  }
}

TEST_CASE("ProcessBackend: it may be destroyed in the middle of a swap", "[swap][process_backend]") {
  JoinHandle<absl::Status> swap = [] {
    Served served(sleeper());
    return spawn(Executor::inline_executor(),
                 served.backend.carry_out({kA}, kC, Duration::zero(), Context::background()));
  }();
  CHECK(swap.get().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(children() == 0);
}

TEST_CASE("ProcessBackend: it is destroyed without memory", "[swap][process_backend]") {
  bool has_failed = true;
  for (std::uint64_t nth = 0; has_failed; ++nth) {
    auto served = std::make_unique<Served>(sleeper());
    REQUIRE(served->swap({}, kA).ok());
    CHECK_FALSE(served->backend.find(kC)->try_ensure_ready().ok());
    const FailAllocation failure(nth);
    served.reset();
    has_failed = failure.has_failed();
  }
  CHECK(children() == 0);
}

TEST_CASE("ProcessBackend: each model needs a process, and each process a model", "[swap][process_backend]") {
  ProcessBackend backend({.processes = {named("a", server()), named("z", server())}});
  CHECK(backend.find(kA) == nullptr);
  std::string text;
  try {
    backend.attach(table_of({"a", "b"}), [](ModelId, ModelState) {});
  } catch (const std::invalid_argument& caught) {
    text = caught.what();
  }
  CHECK(text == "process backend: model 'b' has no process; process 'z' has no model");
}

TEST_CASE("ProcessBackend: wrong options are all named", "[swap][process_backend]") {
  const ProcessBackendOptions options{.processes = {named("a", server()), named("a", server()), named("", server())},
                                      .supervisor = {.clock = nullptr}};
  const std::string text = text_of(options.validate());
  CHECK_THAT(text, ContainsSubstring("options.name must be of 1 to 256 bytes, got 0"));
  CHECK_THAT(text, ContainsSubstring("options.clock must be a clock"));
  CHECK_THAT(text, ContainsSubstring("got 'a' twice"));
  CHECK_THROWS_AS(ProcessBackend(options), std::invalid_argument);
}

#if PENSTOCK_TEST_BUSY_FORKS
TEST_CASE("ProcessBackend: a forked child refuses, whoever held its locks", "[swap][process_backend]") {
  auto served = std::make_unique<Served>();
  REQUIRE(served->swap({}, kA).ok());
  const int pid = served->backend.find(kA)->pid();
  std::atomic<bool> ends{false};
  std::thread busy([&] {
    while (!ends) static_cast<void>(served->backend.find(kA));
  });
  for (int i = 0; i < 20; ++i) {
    CHECK(answer_of_child([&] {
            if (served->swap({kA}, kB).code() != absl::StatusCode::kFailedPrecondition) return 1;
            if (served->backend.find(kA) != nullptr || served->backend.find("a")->state() != kUnknown) return 2;
            try {
              served->backend.attach(served->models, [](ModelId, ModelState) {});
              return 3;
            } catch (const std::invalid_argument&) {
              // as it should be
            }
            served.reset();
            return 42;
          }) == 42);
  }
  ends = true;
  busy.join();
  CHECK(runs(pid));
  CHECK(served->swap({kA}, kB).ok());
}
#endif
