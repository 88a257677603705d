// SPDX-License-Identifier: MIT
// What a decision of the matrix planner costs. Ideal: proportional to the expressions and to what runs, a few us, where
// the published solver holds all combinations of what runs: 10^6 for six dimensions of ten.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "penstock/swap/matrix_planner.hpp"

namespace {

using penstock::MatrixPlanner;
using penstock::MatrixPlannerOptions;
using penstock::ModelId;
using penstock::ModelTable;
using penstock::SwapModel;

struct Question {
  std::unique_ptr<MatrixPlanner> planner;
  ModelId target{};
  std::vector<ModelId> running;
};

std::string model(std::size_t number) { return "m" + std::to_string(10000 + number); }

/// `dimensions` of `choices`, and a model for each of `links` that is in two dimensions, with their first choices;
/// `outsiders` run too. The target is the last choice of the last dimension; of each other dimension run `running`.
Question ask(std::size_t dimensions, std::size_t choices, std::size_t running, std::size_t outsiders,
             std::size_t links = 0) {
  const std::size_t product = dimensions * choices;
  std::vector<SwapModel> models;
  for (std::size_t i = 0; i < product + outsiders + links; ++i) models.push_back({.name = model(i)});
  std::string expression;
  for (std::size_t i = 0; i < dimensions; ++i) {
    expression += i == 0 ? "(" : " & (";
    for (std::size_t j = 0; j < choices; ++j) {
      expression += (j == 0 ? "" : " | ") + model(i * choices + j);
      if (j == 0 && i < links) expression += " & " + model(product + outsiders + i);
      if (j == 0 && i > 0 && i <= links) expression += " & " + model(product + outsiders + i - 1);
    }
    expression += ")";
  }
  const ModelTable table(models);
  Question question;
  question.planner = std::make_unique<MatrixPlanner>(MatrixPlannerOptions{.sets = {{"s", expression}}}, table);
  question.target = *table.find(model(product - 1));
  for (std::size_t i = 0; i < models.size(); ++i) {
    const bool is_target = i == product - 1;
    if (!is_target && (i >= product || i % choices < running)) question.running.push_back(*table.find(model(i)));
  }
  return question;
}

void decide(benchmark::State& state, const Question& question) {
  std::vector<ModelId> evict;
  for (auto _ : state) {
    evict.clear();
    question.planner->plan({.target = question.target, .running = question.running, .last_used = {}, .start_times = {}},
                           evict);
    benchmark::DoNotOptimize(evict.data());
  }
  state.SetItemsProcessed(state.iterations());
  state.counters["relevant"] = static_cast<double>(question.running.size() + 1);
  state.counters["evicted"] = static_cast<double>(evict.size());
}

// What: six dimensions of ten, of which one choice each runs, and as many models of no set as make up so many.
void decide_outsiders(benchmark::State& state) {
  decide(state, ask(6, 10, 1, static_cast<std::size_t>(state.range(0)) - 7));
}
BENCHMARK(decide_outsiders)->Name("matrix/decide_outsiders")->ArgName("relevant")->Arg(10)->Arg(70)->Arg(200);

// What: all choices of all dimensions run: a million combinations for 60, of which none is within another one.
void decide_all_run(benchmark::State& state) {
  const auto relevant = static_cast<std::size_t>(state.range(0));
  decide(state, relevant == 10 ? ask(2, 5, 5, 0) : relevant == 70 ? ask(6, 10, 10, 10) : ask(19, 10, 10, 10));
}
BENCHMARK(decide_all_run)->Name("matrix/decide_all_run")->ArgName("relevant")->Arg(10)->Arg(70)->Arg(200);

// What: dimensions hang together by so many models, each of them in two; of each dimension run so many choices.
// Combinations of those that hang together have to be looked at, but for those that cannot become the best.
void decide_linked(benchmark::State& state) {
  decide(state, ask(6, 10, static_cast<std::size_t>(state.range(1)), 10, static_cast<std::size_t>(state.range(0))));
}
BENCHMARK(decide_linked)
    ->Name("matrix/decide_linked")
    ->ArgNames({"links", "running"})
    ->ArgsProduct({{0, 1, 5}, {3, 10}});

// What: the worst: 2^20 combinations of equal worth, so that as many as may be are held at each step.
void decide_exploding(benchmark::State& state) {
  std::vector<SwapModel> models{{.name = "link"}, {.name = "t"}};
  std::string expression = "t";
  for (std::size_t i = 0; i < 20; ++i) {
    models.push_back({.name = model(2 * i)});
    models.push_back({.name = model(2 * i + 1)});
    expression += " & (link & " + model(2 * i) + " | link & " + model(2 * i + 1) + ")";
  }
  const ModelTable table(models);
  Question question;
  question.planner = std::make_unique<MatrixPlanner>(
      MatrixPlannerOptions{.sets = {{"s", expression}}, .max_states = static_cast<std::size_t>(state.range(0))}, table);
  question.target = *table.find("t");
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (static_cast<ModelId>(i) != question.target) question.running.push_back(static_cast<ModelId>(i));
  }
  decide(state, question);
}
BENCHMARK(decide_exploding)->Name("matrix/decide_exploding")->ArgName("max_states")->Arg(64)->Arg(512)->Arg(4096);

}  // namespace
