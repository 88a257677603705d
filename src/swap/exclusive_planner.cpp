// SPDX-License-Identifier: MIT
#include "penstock/swap/eviction_planner.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

/// All models are of one class, which evicts itself.
class ExclusivePlanner final : public EvictionPlanner, public PairwiseEviction {
 public:
  [[nodiscard]] std::string_view name() const noexcept override { return "exclusive"; }

  void plan(const PlanInput& input, std::vector<ModelId>& evict) const override {
    evict.reserve(evict.size() + input.running.size());
    for (const ModelId model : input.running) {
      if (model != input.target) evict.push_back(model);
    }
  }

  [[nodiscard]] const PairwiseEviction* pairwise() const noexcept override { return this; }
  [[nodiscard]] std::size_t classes() const noexcept override { return 1; }
  [[nodiscard]] std::size_t class_of(ModelId) const noexcept override { return 0; }
  [[nodiscard]] bool evicts(std::size_t, std::size_t) const noexcept override { return true; }
  [[nodiscard]] std::size_t kinds() const noexcept override { return 1; }
  [[nodiscard]] std::size_t kind_of(std::size_t) const noexcept override { return 0; }
};

}  // namespace

PlannerFactory exclusive_planner() {
  return [](const ModelTable&) { return std::make_shared<const ExclusivePlanner>(); };
}

}  // namespace penstock::inline PENSTOCK_ABI
