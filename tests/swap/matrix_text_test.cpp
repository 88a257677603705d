// SPDX-License-Identifier: MIT

// The compiler of matrix expressions against any text.

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "penstock/swap/matrix_planner.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"
#include "swap/planner_support.hpp"

using penstock::MatrixPlanner;
using penstock::MatrixPlannerOptions;
using penstock::ModelId;
using penstock::ModelTable;
using penstock::testing::Names;
using penstock::testing::table_of;
using penstock::testing::text_of;

namespace {

class RandomNumbers {
 public:
  explicit RandomNumbers(std::uint64_t seed) : random_(seed) {}
  std::size_t below(std::size_t bound) { return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random_); }

 private:
  std::mt19937_64 random_;
};

/// It is a program, or an error that names the place in it.
void check_text(const std::string& expression, const ModelTable& models) {
  const MatrixPlannerOptions options{.sets = {{"s", expression}, {"t", "a & b"}}};
  const absl::Status status = options.validate(models);
  if (status.ok()) {
    const MatrixPlanner planner(options, models);
    const std::vector<ModelId> running{ModelId{1}};
    static_cast<void>(planner.explain(ModelId{0}, running));
    return;
  }
  const std::string text = text_of(status);
  CAPTURE(expression, text);
  const std::size_t column = text.find(" column ");
  REQUIRE(column != std::string::npos);
  CHECK(text.find("options.sets[0].expression must be ") != std::string::npos);
  const std::size_t at = text.rfind("at column ");
  REQUIRE(at != std::string::npos);
  const std::size_t place = std::stoul(text.substr(at + 10));
  CHECK(place >= 1);
  CHECK(place <= expression.size() + 1);
  CHECK(std::all_of(text.begin(), text.end(), [](char byte) { return byte >= ' ' && byte <= '~'; }));
}

}  // namespace

TEST_CASE("MatrixExpression: any text is a program or an error with a place", "[swap][matrix_planner]") {
  RandomNumbers random(20240705);
  const ModelTable models = table_of({"a", "b", "c"});
  const Names pieces{"a",  "b", "c",  "ab", "&", "|", "(", ")", "+",  "+t", "+s",
                     "+x", " ", "\n", "-",  "_", ".", "@", ">", "\"", "\\", "'"};
  for (int i = 0; i < 20'000; ++i) {
    std::string expression;
    const std::size_t length = random.below(16);
    for (std::size_t j = 0; j < length; ++j) expression += pieces[random.below(pieces.size())];
    check_text(expression, models);
  }
  for (int i = 0; i < 5'000; ++i) {
    std::string expression(random.below(64), '\0');
    for (char& byte : expression) byte = static_cast<char>(random.below(256));
    check_text(expression, models);
  }
}

TEST_CASE("MatrixExpression: a damaged expression is a program or an error with a place", "[swap][matrix_planner]") {
  RandomNumbers random(20240706);
  const ModelTable models = table_of({"a", "b", "c"});
  const std::string valid = "((a | b) & c | +t & (a | (b & c))) & (c | +t)";
  for (int i = 0; i < 10'000; ++i) {
    std::string expression = valid;
    const std::size_t changes = 1 + random.below(3);
    for (std::size_t j = 0; j < changes; ++j) {
      const std::size_t at = random.below(expression.size());
      if (random.below(2) == 0) {
        expression.erase(at, 1);
      } else {
        expression.insert(at, 1, "ab&|()+ @"[random.below(9)]);
      }
    }
    check_text(expression, models);
  }
}
