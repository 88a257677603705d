// SPDX-License-Identifier: MIT
// Its processes start and stop in no time.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"

#include "penstock/swap/swap_backend.hpp"
#include "penstock/swap/swap_runner.hpp"
#include "support/swap_machine.hpp"
#include "swap_service_workloads.hpp"

namespace {

class InstantBackend : public penstock::SwapBackend {
 public:
  void attach(const penstock::ModelTable&, penstock::ModelStateReport report) override { report_ = std::move(report); }
  void begin(penstock::SwapTask task) override {
    for (const penstock::ModelId each : task.to_stop()) report_(each, penstock::ModelState::kStopped);
    if (task.target() != penstock::kNoModel) report_(task.target(), penstock::ModelState::kReady);
    std::move(task).done(absl::OkStatus());
  }

 private:
  penstock::ModelStateReport report_;
};

class Service {
 public:
  explicit Service(std::size_t models)
      : runner_({.scheduler = bench::swap_options(models), .backend = std::make_shared<InstantBackend>()}) {}

  template <class Work>
  void serve(std::uint32_t model, Work work) {
    const absl::StatusOr<penstock::SwapLease> lease = runner_.acquire(penstock::ModelId{model});
    versus::check(lease.ok(), "serve: refused");
    work();
  }

 private:
  penstock::SwapRunner runner_;
};

}  // namespace

int main(int argc, char** argv) { return versus::run_program(argc, argv, versus::swap_service_workloads<Service>()); }
