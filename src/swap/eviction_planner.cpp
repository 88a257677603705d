// SPDX-License-Identifier: MIT
#include "penstock/swap/eviction_planner.hpp"

#include <stdexcept>
#include <utility>

namespace penstock::inline PENSTOCK_ABI {
namespace {

class FunctionPlanner final : public EvictionPlanner {
 public:
  explicit FunctionPlanner(FunctionPlannerOptions options) : options_(std::move(options)) {
    if (options_.plan == nullptr) {
      throw std::invalid_argument("function planner: options.plan must be a function, got an empty one");
    }
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "function"; }
  void plan(const PlanInput& input, std::vector<ModelId>& evict) const override { options_.plan(input, evict); }
  [[nodiscard]] bool is_monotone() const noexcept override { return options_.is_monotone; }
  [[nodiscard]] bool uses_history() const noexcept override { return options_.uses_history; }

 private:
  FunctionPlannerOptions options_;
};

}  // namespace

PlannerFactory function_planner(FunctionPlannerOptions options) {
  return [options = std::move(options)](const ModelTable&) { return std::make_shared<const FunctionPlanner>(options); };
}

}  // namespace penstock::inline PENSTOCK_ABI
