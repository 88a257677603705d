// SPDX-License-Identifier: MIT
// Three models, and a machine with room for one. Six requests come, for A B C A B C. Served in their order they would
// make six swaps; but who waits for a model is let through together with all others who do, so there are three.
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/swap/swap_runner.hpp"

using namespace std::chrono_literals;
using penstock::ModelId;
using penstock::ModelState;
using penstock::SwapLease;
using penstock::SwapRunner;
using penstock::SwapTask;
using penstock::SwapTicket;

/// Where processes would be stopped and started. Here it takes 20 seconds of a clock that moves when it is told to, and
/// `FunctionBackend` would do with two functions that block.
class Machine : public penstock::SwapBackend {
 public:
  explicit Machine(penstock::ManualClock& clock) : clock_(clock) {}

  void attach(const penstock::ModelTable& models, penstock::ModelStateReport report) override {
    models_ = models;
    report_ = std::move(report);
  }

  void begin(SwapTask task) override {
    for (const ModelId model : task.to_stop()) report_(model, ModelState::kStopped);
    if (task.target() != penstock::kNoModel) {
      clock_.advance(20s);
      report_(task.target(), ModelState::kReady);
      swaps.emplace_back(models_.name(task.target()));
    }
    std::move(task).done(absl::OkStatus());
  }

  std::vector<std::string> swaps;

 private:
  penstock::ManualClock& clock_;
  penstock::ModelTable models_;
  penstock::ModelStateReport report_;
};

int main() {
  penstock::ManualClock clock;
  const auto machine = std::make_shared<Machine>(clock);
  SwapRunner runner({.scheduler = {.name = "gpu", .models = {{.name = "A"}, {.name = "B"}, {.name = "C"}}},
                     .backend = machine,
                     .clock = &clock});

  // While the first request is served the others come, and wait.
  absl::StatusOr<SwapLease> first = runner.acquire("A");
  if (!first.ok()) return 1;
  std::vector<SwapTicket> tickets;
  for (const char* const model : {"B", "C", "A", "B", "C"}) tickets.push_back(*runner.submit(model));
  if (!runner.unload(std::vector<ModelId>{}).ok()) return 1;  // which comes after them, so they have been looked at

  std::printf("%-8s %-6s %6s\n", "request", "model", "waited");
  const auto print = [](int number, const SwapLease& lease) {
    std::printf("%-8d %-6s %4lld s\n", number, lease.model_name().c_str(),
                static_cast<long long>(std::chrono::duration_cast<std::chrono::seconds>(lease.waited()).count()));
  };
  print(1, *first);
  first->reset();
  // B and C are brought up in turn, each for two; A is up, so its second request has not waited at all.
  for (const int at : {2, 0, 3, 1, 4}) {
    absl::StatusOr<SwapLease> lease = tickets[static_cast<std::size_t>(at)].wait();
    if (!lease.ok()) return 1;
    print(at + 2, *lease);
  }

  std::string swaps;
  for (const std::string& model : machine->swaps) swaps += " " + model;
  std::printf("%zu swaps:%s\n", machine->swaps.size(), swaps.c_str());
  return swaps == " A B C" ? 0 : 1;
}
