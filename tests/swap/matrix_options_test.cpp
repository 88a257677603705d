// SPDX-License-Identifier: MIT

#include <string>
#include <vector>

#include "penstock/swap/matrix_planner.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"
#include "swap/matrix_support.hpp"

using penstock::matrix_planner;
using penstock::MatrixPlannerOptions;
using penstock::ModelTable;
using penstock::testing::AskedMatrix;
using penstock::testing::complaint_of;
using penstock::testing::NamedPlan;
using penstock::testing::Names;
using penstock::testing::NamesList;
using penstock::testing::table_of;
using penstock::testing::text_of;

namespace {

const Names kModels{"gemma", "llama70B", "mistral", "qwen", "voxtral"};

std::string complaint(const MatrixPlannerOptions& options) {
  const std::string text = text_of(options.validate(table_of(kModels)));
  const std::string thrown = complaint_of([&] { matrix_planner(options)(table_of(kModels)); });
  return thrown == text ? text : "'" + text + "', but thrown '" + thrown + "'";
}

std::string complaint_about(const std::string& expression) {
  const std::string before = "matrix planner: options.sets[0].expression must be ";
  const std::string behind = " (set 's')";
  const std::string text = complaint({.sets = {{"s", expression}}});
  if (text.substr(0, before.size()) != before || text.size() < behind.size()) return "not '" + text + "'";
  return text.substr(before.size(), text.size() - before.size() - behind.size());
}

std::string complaint_about_variable(const std::string& name) {
  return complaint({.variables = {{name, "gemma"}}, .sets = {{"s", "gemma"}}});
}

}  // namespace

TEST_CASE("MatrixExpression: names (M07 to M09)", "[swap][matrix_planner]") {
  const AskedMatrix asked({"a-b.c_D", "9", "x"}, {.sets = {{"s.1-_", " a-b.c_D\t&\n( 9 |x)\r"}, {"t", "+s.1-_"}}});
  CHECK(asked.combinations("t") == NamesList{{"9", "a-b.c_D"}, {"a-b.c_D", "x"}});
}

TEST_CASE("MatrixExpression: what is not one is refused with its place (M10, M11, M20 to M23)",
          "[swap][matrix_planner]") {
  CHECK(complaint_about("") == "an expression, got empty expression at column 1 of \">\"");
  CHECK(complaint_about(" \n") == "an expression, got empty expression at column 1 of \"> \\x0a\"");
  CHECK(complaint_about("gemma & +") ==
        "an expression, got '+' without the name of a set at column 9 of \"gemma & >+\"");
  CHECK(complaint_about("+ gemma") == "an expression, got '+' without the name of a set at column 1 of \">+ gemma\"");
  CHECK(complaint_about("gemma @") == "an expression, got unexpected character '@' at column 7 of \"gemma >@\"");
  CHECK(complaint_about("\xc3\xa4") ==
        "an expression, got unexpected character '\\xc3' at column 1 of \">\\xc3\\xa4\"");
  CHECK(complaint_about("(gemma") ==
        "an expression, got missing ')' for the '(' of column 1 at column 7 of \"(gemma>\"");
  CHECK(complaint_about("gemma)") == "an expression, got ')' without a '(' at column 6 of \"gemma>)\"");
  CHECK(complaint_about("()") == "an expression, got expected a name, '+' or '(', got ')' at column 2 of \"(>)\"");
  CHECK(complaint_about("gemma |") ==
        "an expression, got expected a name, '+' or '(', got the end at column 8 of \"gemma |>\"");
  CHECK(complaint_about("& gemma") ==
        "an expression, got expected a name, '+' or '(', got '&' at column 1 of \">& gemma\"");
  CHECK(complaint_about("gemma qwen") ==
        "an expression, got expected '&', '|' or the end, got 'qwen' at column 7 of \"gemma >qwen\"");
  CHECK(complaint_about("(gemma +x)") ==
        "an expression, got expected '&', '|' or ')', got '+x' at column 8 of \"(gemma >+x)\"");
  CHECK(complaint_about("gemma (qwen)") ==
        "an expression, got expected '&', '|' or the end, got '(' at column 7 of \"gemma >(qwen)\"");
}

TEST_CASE("MatrixExpression: a long one is not repeated whole", "[swap][matrix_planner]") {
  std::string expression = "gemma";
  for (int i = 0; i < 100; ++i) expression += " | gemma";
  const std::string text = complaint_about(expression + " ! " + expression);
  CHECK(text ==
        "an expression, got unexpected character '!' at column 807 of \"...| gemma | gemma | gemma | gemma | gemma >! "
        "gemma | gemma | gemma | gemma | gemma ...\"");
}

TEST_CASE("MatrixExpression: has limits", "[swap][matrix_planner]") {
  CHECK(complaint({.sets = {{"s", std::string(200, '(') + "gemma" + std::string(200, ')')}}}).empty());
  CHECK(complaint_about(std::string(201, '(') + "gemma" + std::string(201, ')'))
            .find("an expression, got more than 200 parentheses within each other at column 201 of") == 0);
  CHECK(complaint_about(std::string(65537, '(')).find("an expression, got more than 65536 bytes (65537) at") == 0);
}

TEST_CASE("MatrixExpression: each unknown name is refused (M24, M25, M44)", "[swap][matrix_planner]") {
  CHECK(complaint_about("gemma & x") == "of variables and models, got unknown 'x' at column 9 of \"gemma & >x\"");
  CHECK(complaint_about("gemma & +x") == "of sets that exist, got undefined 'x' at column 9 of \"gemma & >+x\"");
  CHECK(
      complaint({.sets = {{"s", "x | gemma & y"}, {"t", "+u"}}}) ==
      "matrix planner: options.sets[0].expression must be of variables and models, got unknown 'x' at column 1 of "
      "\">x | gemma & y\" (set 's'); options.sets[0].expression must be of variables and models, got unknown 'y' at "
      "column 13 of \"x | gemma & >y\" (set 's'); options.sets[1].expression must be of sets that exist, got undefined "
      "'u' at column 1 of \">+u\" (set 't')");
}

TEST_CASE("MatrixPlanner: a circle of references is refused with its path (M26, M41)", "[swap][matrix_planner]") {
  CHECK(complaint_about("+s") == "without a circle, got s -> s at column 1 of \">+s\"");
  CHECK(
      complaint({.sets = {{"x", "gemma | +a"}, {"a", "qwen & +b"}, {"b", "gemma | +c"}, {"c", "(qwen | +a | +c)"}}}) ==
      "matrix planner: options.sets[3].expression must be without a circle, got a -> b -> c -> a at column 9 of "
      "\"(qwen | >+a | +c)\" (set 'c'); options.sets[3].expression must be without a circle, got c -> c at column 14 "
      "of "
      "\"(qwen | +a | >+c)\" (set 'c')");
}

TEST_CASE("MatrixPlanner: of a long circle, only some sets are named", "[swap][matrix_planner]") {
  // s0 refers to s1, that to s2, and so on; and each refers to s0: a circle of each length.
  MatrixPlannerOptions options;
  for (int i = 0; i < 2000; ++i) {
    options.sets.push_back({"s" + std::to_string(i), "+s0 & +s" + std::to_string((i + 1) % 2000)});
  }
  const std::string text = complaint(options);
  CHECK(text.find("got s0 -> s1 -> s2 -> s3 -> s4 -> s5 -> s6 -> s7 -> s8 -> s9 -> s10 -> s11 -> s12 -> s13 -> s14 -> "
                  "s15 -> s0 at") != std::string::npos);
  CHECK(text.find("got s0 -> s1 -> s2 -> s3 -> s4 -> s5 -> s6 -> s7 -> (1984 more) -> s1992 -> s1993 -> s1994 -> s1995 "
                  "-> s1996 -> s1997 -> s1998 -> s1999 -> s0 at column 1 of \">+s0 & +s0\" (set 's1999')") !=
        std::string::npos);
  CHECK(text.size() < 600'000);
}

TEST_CASE("MatrixPlanner: variables name models (M31 to M33)", "[swap][matrix_planner]") {
  const AskedMatrix basic(
      kModels, {.variables = {{"g", "gemma"}, {"q", "qwen"}, {"m", "mistral"}, {"v", "voxtral"}, {"L", "llama70B"}},
                .evict_costs = {{"L", 30}, {"v", 50}},
                .sets = {{"standard", "(g | q | m) & v"}, {"full", "L"}}});
  CHECK(basic.solve("gemma", {"voxtral"}) == NamedPlan{{}, {"gemma", "voxtral"}, "standard"});
  CHECK(basic.solve("llama70B", {"voxtral"}) == NamedPlan{{"voxtral"}, {"llama70B"}, "full"});
  CHECK(basic.explain("llama70B", {"voxtral"}).cost == 50);

  const AskedMatrix direct(kModels, {.sets = {{"combo", "gemma & voxtral"}}});
  CHECK(direct.solve("gemma", {"voxtral"}) == NamedPlan{{}, {"gemma", "voxtral"}, "combo"});
}

TEST_CASE("MatrixPlanner: variables and models may be mixed (M34, M35)", "[swap][matrix_planner]") {
  const AskedMatrix mixed(
      kModels, {.variables = {{"g", "gemma"}}, .sets = {{"base", "g | qwen"}, {"combo", "+base & voxtral"}}});
  CHECK(mixed.solve("qwen", {"voxtral"}) == NamedPlan{{}, {"qwen", "voxtral"}, "combo"});
  const AskedMatrix twice(kModels, {.variables = {{"g", "gemma"}}, .sets = {{"combo", "g & gemma"}}});
  CHECK(twice.combinations("combo") == NamesList{{"gemma"}});
}

TEST_CASE("MatrixPlanner: a variable goes before a model of its name (M36)", "[swap][matrix_planner]") {
  const AskedMatrix asked(kModels,
                          {.variables = {{"qwen", "gemma"}}, .evict_costs = {{"qwen", 7}}, .sets = {{"s", "qwen"}}});
  CHECK(asked.combinations("s") == NamesList{{"gemma"}});
  CHECK(asked.planner.cost(asked.models.find("gemma").value()) == 7);
  CHECK(asked.planner.cost(asked.models.find("qwen").value()) == 1);
}

TEST_CASE("MatrixPlanner: names of variables (M37, M38)", "[swap][matrix_planner]") {
  for (const char* name : {"abcdefghijklmnopqrstuvwxyzABCDEF", "model-var", "model.var"}) {
    CHECK(complaint_about_variable(name).empty());
  }
  CHECK(complaint_about_variable("abcdefghijklmnopqrstuvwxyzABCDEFG") ==
        "matrix planner: options.variables[0].name must be 1 to 32 bytes long, got 33 "
        "('abcdefghijklmnopqrstuvwxyzABCDEFG')");
  CHECK(complaint_about_variable("a_b") ==
        "matrix planner: options.variables[0].name must be of letters, digits, '-' and '.' only, got 'a_b'");
  CHECK(complaint_about_variable("") ==
        "matrix planner: options.variables[0].name must be 1 to 32 bytes long, got 0 ('')");
}

TEST_CASE("MatrixPlanner: a variable names a model, once (M39)", "[swap][matrix_planner]") {
  CHECK(complaint({.variables = {{"x", "nobody"}, {"x", "gemma"}}, .evict_costs = {{"x", 2}}, .sets = {{"s", "x"}}}) ==
        "matrix planner: options.variables[0].model must be a model, got unknown 'nobody'; options.variables[1].name "
        "must be different from those of other variables, got 'x' again");
}

TEST_CASE("MatrixPlanner: costs are positive, and of known models (M40 to M43)", "[swap][matrix_planner]") {
  CHECK(complaint({.variables = {{"g", "gemma"}},
                   .evict_costs = {{"g", 0}, {"qwen", -1}, {"unknown", 5}, {"mistral", 1'000'000'001}, {"gemma", 2}},
                   .sets = {{"s", "g"}}}) ==
        "matrix planner: options.evict_costs[0].cost must be in [1, 1000000000], got 0 for 'g'; "
        "options.evict_costs[1].cost must be in [1, 1000000000], got -1 for 'qwen'; options.evict_costs[2].name must "
        "be a "
        "variable or a model, got unknown 'unknown'; options.evict_costs[3].cost must be in [1, 1000000000], got "
        "1000000001 for 'mistral'; options.evict_costs[4].name must be of a model that has no cost yet, got 'gemma', "
        "which is 'gemma'");
  CHECK(complaint({.evict_costs = {{"gemma", 5}}, .sets = {{"s", "gemma"}}}).empty());
}

TEST_CASE("MatrixPlanner: costs come to the models of their variables (M46)", "[swap][matrix_planner]") {
  const AskedMatrix asked(kModels, {.variables = {{"g", "gemma"}, {"L", "llama70B"}},
                                    .evict_costs = {{"L", 30}, {"g", 5}, {"mistral", 10}},
                                    .sets = {{"s", "g"}}});
  std::vector<std::int64_t> costs;
  for (std::uint32_t i = 0; i < kModels.size(); ++i) costs.push_back(asked.planner.cost(penstock::ModelId{i}));
  CHECK(costs == std::vector<std::int64_t>{5, 30, 10, 1, 1});
}

TEST_CASE("MatrixPlanner: needs sets, of different names (M43, M45)", "[swap][matrix_planner]") {
  CHECK(complaint({}) == "matrix planner: options.sets must be at least one, got none");
  CHECK(complaint({.sets = {{"s", "gemma"}, {"", "gemma"}, {"s", "qwen"}, {std::string(257, 'n'), "qwen"}},
                   .max_states = 15}) ==
        "matrix planner: options.max_states must be in [16, 4096], got 15; options.sets[1].name must be 1 to 256 bytes "
        "long, got 0; options.sets[2].name must be different from those of other sets, got 's' again; "
        "options.sets[3].name must be 1 to 256 bytes long, got 257");
}

TEST_CASE("MatrixPlanner: all kinds of errors at once", "[swap][matrix_planner]") {
  const std::string text = complaint({.variables = {{"a_b", "nobody"}},
                                      .evict_costs = {{"nothing", 0}},
                                      .sets = {{"s", "gemma &"}, {"t", "+nowhere"}},
                                      .max_states = 4097});
  for (const char* part : {"max_states", "variables[0].name", "variables[0].model", "evict_costs[0].cost",
                           "evict_costs[0].name", "sets[0].expression", "sets[1].expression"}) {
    CAPTURE(part);
    CHECK(text.find("options." + std::string(part)) != std::string::npos);
  }
}
