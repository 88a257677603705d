// SPDX-License-Identifier: MIT

// Swap runners without memory.

#include <cstdint>
#include <memory>
#include <utility>

#include "penstock/swap/function_backend.hpp"
#include "penstock/swap/swap_runner.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using testing::FailAllocation;

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

}  // namespace
}  // namespace penstock
