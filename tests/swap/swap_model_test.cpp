// SPDX-License-Identifier: MIT

#include <string>
#include <vector>

#include "penstock/swap/swap_model.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"
#include "swap/planner_support.hpp"

using namespace std::chrono_literals;
using penstock::kNoModel;
using penstock::ModelId;
using penstock::ModelState;
using penstock::ModelTable;
using penstock::SwapModel;
using penstock::testing::complaint_of;
using penstock::testing::text_of;

TEST_CASE("ModelTable: models are in the order of their names", "[swap][model]") {
  const ModelTable table({{.name = "b", .priority = 7}, {.name = "B"}, {.name = "a-1"}, {.name = "a.1"}});
  REQUIRE(table.size() == 4);
  CHECK(table.name(ModelId{0}) == "B");
  CHECK(table.name(ModelId{1}) == "a-1");
  CHECK(table.name(ModelId{2}) == "a.1");
  CHECK(table.name(ModelId{3}) == "b");
  CHECK(table[ModelId{3}].priority == 7);
  CHECK(table.all().front().name == "B");
}

TEST_CASE("ModelTable: finds each model, and no other", "[swap][model]") {
  const ModelTable table({{.name = "b"}, {.name = "d"}});
  CHECK(table.find("b") == ModelId{0});
  CHECK(table.find("d") == ModelId{1});
  for (const char* name : {"", "a", "c", "e", "bb", "B"}) CHECK_FALSE(table.find(name).has_value());
  CHECK(table.contains(ModelId{1}));
  CHECK_FALSE(table.contains(ModelId{2}));
  CHECK_FALSE(table.contains(kNoModel));
  CHECK(table.name(ModelId{2}) == "(unknown)");
  CHECK_FALSE(ModelTable().find("b").has_value());
}

TEST_CASE("ModelTable: says all that is wrong at once", "[swap][model]") {
  const std::vector<SwapModel> models{
      {.name = "m", .concurrency_limit = -1},
      {.name = ""},
      {.name = "z", .idle_unload = 0s, .start_time = -1s},
      {.name = "m"},
      {.name = "m"},
      {.name = std::string(257, 'x')},
  };
  const std::string text = text_of(ModelTable::validate(models));
  CHECK(
      text ==
      "model table: options.models[0].concurrency_limit must be at least 0, got -1 ('m'); options.models[1].name must "
      "be 1 to 256 bytes long, got 0 (''); options.models[2].idle_unload must be positive, got 0 s ('z'); "
      "options.models[2].start_time must be at least 0, got -1 s ('z'); options.models[5].name must be 1 to 256 bytes "
      "long, got 257 ('" +
          std::string(253, 'x') + "...'); options.models must be of different names, got 'm' more than once");
  CHECK(complaint_of([&] { return ModelTable(models); }) == text);
}

TEST_CASE("ModelTable: accepts what is at the limits", "[swap][model]") {
  const std::vector<SwapModel> models{
      {.name = std::string(256, 'x'), .priority = -5, .idle_unload = 1ns, .start_time = 0s}};
  CHECK(ModelTable::validate(models).ok());
  CHECK(ModelTable::validate({}).ok());
}

TEST_CASE("ModelState: each has a name, and three do not run", "[swap][model]") {
  CHECK(to_string(ModelState::kStarting) == "starting");
  CHECK(to_string(ModelState::kReady) == "ready");
  CHECK(to_string(ModelState::kStopping) == "stopping");
  CHECK(to_string(ModelState::kStopped) == "stopped");
  CHECK(to_string(ModelState::kShutdown) == "shutdown");
  CHECK(to_string(ModelState::kUnknown) == "unknown");
  CHECK(is_running(ModelState::kStopping));
  CHECK_FALSE(is_running(ModelState::kStopped));
  CHECK_FALSE(is_running(ModelState::kShutdown));
  CHECK_FALSE(is_running(ModelState::kUnknown));
}
