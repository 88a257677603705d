// SPDX-License-Identifier: MIT

// What may be wrong with a budget planner's options.

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "penstock/core/detail/option_text.hpp"
#include "penstock/swap/budget_planner.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;
constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 44;  // the sum of a million of them fits
constexpr std::size_t kNotGiven = static_cast<std::size_t>(-1);

std::string quoted(std::string_view name) { return fmt::format("'{}'", detail::shortened(name, kMaxNameBytes)); }

class BudgetCheck {
 public:
  BudgetCheck(const BudgetPlannerOptions& options, const ModelTable& table)
      : options_(options), table_(table), given_(table.size(), kNotGiven) {}

  absl::Status run() {
    require(!options_.budgets.empty(), "budgets", "at least one", "none");
    require(options_.victims <= BudgetVictims::kCheapest, "victims", "one of its values",
            std::to_string(static_cast<unsigned>(options_.victims)));
    check_budgets();
    for (std::size_t i = 0; i < options_.models.size(); ++i) check_model(i);
    for (std::size_t i = 0; i < given_.size(); ++i) {
      require(given_[i] != kNotGiven, "models", "all models",
              "none for " + quoted(table_.name(static_cast<ModelId>(i))));
    }
    if (violations_.empty()) check_room();
    return violations_.status("budget planner");
  }

 private:
  void require(bool holds, std::string_view option, std::string_view rule, std::string_view got) {
    violations_.require(holds, option, rule, got);
  }

  void check_budgets() {
    for (std::size_t i = 0; i < options_.budgets.size(); ++i) {
      const MemoryBudget& budget = options_.budgets[i];
      const std::string option = fmt::format("budgets[{}].", i);
      require(!budget.name.empty() && budget.name.size() <= kMaxNameBytes, option + "name", "1 to 256 bytes long",
              std::to_string(budget.name.size()));
      require(budget.bytes >= 1 && budget.bytes <= kMaxBytes, option + "bytes", "in [1, 2^44]",
              fmt::format("{} of {}", budget.bytes, quoted(budget.name)));
      require(budget_of_.emplace(budget.name, i).second, option + "name", "different from those of other budgets",
              quoted(budget.name) + " again");
    }
  }

  void check_model(std::size_t place) {
    const ModelMemory& memory = options_.models[place];
    const std::string option = fmt::format("models[{}].", place);
    const std::optional<ModelId> model = table_.find(memory.model);
    require(model.has_value(), option + "model", "a model", "unknown " + quoted(memory.model));
    if (model) {
      std::size_t& given = given_[static_cast<std::size_t>(*model)];
      require(given == kNotGiven, option + "model", "there once", quoted(memory.model) + " again");
      given = place;
    }
    std::map<std::string_view, std::size_t> known;
    for (std::size_t i = 0; i < memory.uses.size(); ++i) {
      const MemoryUse& use = memory.uses[i];
      const std::string part = fmt::format("{}uses[{}].", option, i);
      require(budget_of_.find(use.budget) != budget_of_.end(), part + "budget", "a budget",
              fmt::format("unknown {} for {}", quoted(use.budget), quoted(memory.model)));
      require(known.emplace(use.budget, i).second, part + "budget", "there once",
              fmt::format("{} again for {}", quoted(use.budget), quoted(memory.model)));
      require(use.bytes <= kMaxBytes, part + "bytes", "at most 2^44",
              fmt::format("{} for {}", use.bytes, quoted(memory.model)));
    }
  }

  /// Whether each model fits by itself, and beside all that are pinned.
  void check_room() {
    std::vector<std::uint64_t> pinned(options_.budgets.size(), 0);
    for (const ModelMemory& memory : options_.models) {
      if (!memory.is_pinned) continue;
      for (const MemoryUse& use : memory.uses) pinned[budget_of_.find(use.budget)->second] += use.bytes;
    }
    for (std::size_t i = 0; i < pinned.size(); ++i) {
      const MemoryBudget& budget = options_.budgets[i];
      require(pinned[i] <= budget.bytes, "models", "pinned as far as there is room",
              fmt::format("{} bytes, {} has {}", pinned[i], quoted(budget.name), budget.bytes));
    }
    for (std::size_t i = 0; i < options_.models.size(); ++i) {
      const ModelMemory& memory = options_.models[i];
      for (const MemoryUse& use : memory.uses) {
        const std::size_t place = budget_of_.find(use.budget)->second;
        const MemoryBudget& budget = options_.budgets[place];
        const std::string option = fmt::format("models[{}].uses", i);
        const std::string got = fmt::format("{} bytes for {}, {} has {}", use.bytes, quoted(memory.model),
                                            quoted(budget.name), budget.bytes);
        require(use.bytes <= budget.bytes, option, "within the budgets", got);
        if (memory.is_pinned || use.bytes > budget.bytes || pinned[place] > budget.bytes) continue;
        require(use.bytes <= budget.bytes - pinned[place], option, "within what pinned models leave",
                fmt::format("{}, of which pinned {}", got, pinned[place]));
      }
    }
  }

  const BudgetPlannerOptions& options_;
  const ModelTable& table_;
  detail::OptionViolations violations_{};
  std::map<std::string_view, std::size_t> budget_of_{};
  std::vector<std::size_t> given_;  // by model: where in the options
};

}  // namespace

absl::Status BudgetPlannerOptions::validate(const ModelTable& table) const { return BudgetCheck(*this, table).run(); }

}  // namespace penstock::inline PENSTOCK_ABI
