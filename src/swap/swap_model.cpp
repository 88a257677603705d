// SPDX-License-Identifier: MIT
#include "penstock/swap/swap_model.hpp"

#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/option_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;

/// The names that occur more than once, in ascending order, each once.
std::vector<std::string_view> repeated_names(std::span<const SwapModel> models) {
  std::vector<std::string_view> names;
  names.reserve(models.size());
  for (const SwapModel& model : models) names.push_back(model.name);
  std::sort(names.begin(), names.end());
  std::vector<std::string_view> repeated;
  for (std::size_t i = 1; i < names.size(); ++i) {
    if (names[i] == names[i - 1] && (repeated.empty() || repeated.back() != names[i])) repeated.push_back(names[i]);
  }
  return repeated;
}

}  // namespace

std::string_view to_string(ModelState state) noexcept {
  switch (state) {
    case ModelState::kStarting:
      return "starting";
    case ModelState::kReady:
      return "ready";
    case ModelState::kStopping:
      return "stopping";
    case ModelState::kStopped:
      return "stopped";
    case ModelState::kShutdown:
      return "shutdown";
    case ModelState::kUnknown:
      break;
  }
  return "unknown";
}

ModelTable::ModelTable(std::vector<SwapModel> models) : models_(std::move(models)) {
  if (const absl::Status bad = validate(models_); !bad.ok()) {
    throw std::invalid_argument(std::string(detail::text_of(bad)));
  }
  std::sort(models_.begin(), models_.end(), [](const SwapModel& a, const SwapModel& b) { return a.name < b.name; });
}

absl::Status ModelTable::validate(std::span<const SwapModel> models) {
  detail::OptionViolations violations;
  for (std::size_t i = 0; i < models.size(); ++i) {
    const SwapModel& model = models[i];
    const auto require = [&](bool holds, std::string_view field, std::string_view rule, const auto& got) {
      if (holds) return;
      violations.require(false, fmt::format("models[{}].{}", i, field), rule,
                         fmt::format("{} ('{}')", got, detail::shortened(model.name, kMaxNameBytes)));
    };
    require(!model.name.empty() && model.name.size() <= kMaxNameBytes, "name", "1 to 256 bytes long",
            model.name.size());
    require(model.concurrency_limit >= 0, "concurrency_limit", "at least 0", model.concurrency_limit);
    require(model.idle_unload > Duration::zero(), "idle_unload", "positive", detail::duration_text(model.idle_unload));
    require(model.start_time >= Duration::zero(), "start_time", "at least 0", detail::duration_text(model.start_time));
  }
  for (const std::string_view name : repeated_names(models)) {
    violations.require(false, "models", "of different names",
                       fmt::format("'{}' more than once", detail::shortened(name, kMaxNameBytes)));
  }
  return violations.status("model table");
}

std::optional<ModelId> ModelTable::find(std::string_view name) const noexcept {
  const auto found =
      std::lower_bound(models_.begin(), models_.end(), name,
                       [](const SwapModel& model, std::string_view value) { return model.name < value; });
  if (found == models_.end() || found->name != name) return std::nullopt;
  return static_cast<ModelId>(found - models_.begin());
}

}  // namespace penstock::inline PENSTOCK_ABI
