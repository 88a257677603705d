// SPDX-License-Identifier: MIT
// Which models have to go for another one? That is a planner's answer: by groups, by the combinations that fit, by the
// memory they take, or by a function of one's own.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "penstock/swap/budget_planner.hpp"
#include "penstock/swap/group_planner.hpp"
#include "penstock/swap/matrix_planner.hpp"

using namespace std::chrono_literals;
using penstock::ModelId;
using penstock::ModelTable;

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

int main() {
  const ModelTable models(
      {{.name = "embed"}, {.name = "llama", .start_time = 30s}, {.name = "qwen"}, {.name = "tts", .start_time = 2s}});

  std::vector<std::pair<const char*, penstock::PlannerFactory>> planners;
  // The small ones are together and stay; the large ones run one at a time.
  planners.emplace_back("groups", penstock::group_planner({.groups = {{.name = "small",
                                                                       .swap = false,
                                                                       .exclusive = false,
                                                                       .persistent = true,
                                                                       .members = {"embed", "tts"}}}}));
  // What fits together: speech with one of the large ones, or the large ones together.
  planners.emplace_back("matrix",
                        penstock::matrix_planner({.evict_costs = {{.name = "llama", .cost = 30}},
                                                  .sets = {{.name = "speech", .expression = "(llama | qwen) & tts"},
                                                           {.name = "text", .expression = "llama & qwen & embed"}}}));
  // What fits into the memory; of those that may go, whoever is back soonest.
  planners.emplace_back("memory", penstock::budget_planner(
                                      {.budgets = {{.bytes = 24 * kGiB}},
                                       .models = {{.model = "embed", .uses = {{.bytes = 1 * kGiB}}, .is_pinned = true},
                                                  {.model = "llama", .uses = {{.bytes = 12 * kGiB}}},
                                                  {.model = "qwen", .uses = {{.bytes = 9 * kGiB}}},
                                                  {.model = "tts", .uses = {{.bytes = 8 * kGiB}}}},
                                       .victims = penstock::BudgetVictims::kCheapest}));
  planners.emplace_back("function", penstock::function_planner(
                                        {.plan = [](const penstock::PlanInput& input, std::vector<ModelId>& evict) {
                                          if (input.running.size() > 2) evict.push_back(input.running.front());
                                        }}));

  const std::vector<ModelId> running = {*models.find("embed"), *models.find("llama"), *models.find("tts")};
  std::printf("embed, llama and tts run; qwen is to come. What goes?\n");
  std::size_t evicted = 0;
  for (const auto& [name, factory] : planners) {
    std::vector<ModelId> evict;
    factory(models)->plan({.target = *models.find("qwen"), .running = running, .last_used = {}, .start_times = {}},
                          evict);
    evicted += evict.size();
    std::string text;
    for (const ModelId model : evict) text += " " + std::string(models.name(model));
    std::printf("%-9s%s\n", name, text.c_str());
  }

  const auto wrong = penstock::MatrixPlannerOptions{.sets = {{.name = "s", .expression = "llama & (qwen | tts"}}};
  std::printf("%s\n", std::string(wrong.validate(models).message()).c_str());
  return evicted == planners.size() ? 0 : 1;  // here, each of them finds one
}
