// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How the tests of the checker judge it: a planted bug must be found, its schedule must lead to it again; and the
/// correct version of the same thing must pass.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "support/catch.hpp"

#include "model/explore.hpp"
#include "support/long_run.hpp"

namespace penstock::checker {

/// Explores `scenario`, which must be found to be of `kind` within `executions`, and replays what was found. The search
/// must find it without pruning, too, and so must random schedules.
inline Result must_find(Violation::Kind kind, const Options& options, std::uint64_t executions,
                        const Scenario& scenario) {
  const auto judge = [&](const Result& result) {
    if (!result.found(kind)) FAIL(result.describe());
    const Result again = replay(result.violation->schedule, scenario);
    if (!again.found(kind)) FAIL(again.describe());
    CHECK(again.violation->text == result.violation->text);
    CHECK(again.executions == 1);
  };
  const Result result = explore(options, scenario);
  judge(result);
  CHECK(result.executions <= executions);
  CHECK_FALSE(result.violation->trace.empty());

  Options variant = options;
  variant.prune = false;
  judge(explore(variant, scenario));
  variant.executions = 20'000;
  judge(random(variant, scenario));
  return result;
}

/// Fails the test, with the whole story, unless `result` is good. With PENSTOCK_MODEL_FIGURES in the environment it
/// prints how much was looked at.
inline void expect_passed(const Result& result) {
  if (!result.passed()) FAIL(result.describe());
  CHECK(result.passed());
  if (std::getenv("PENSTOCK_MODEL_FIGURES") != nullptr) std::fprintf(stderr, "%s\n", result.describe().c_str());
}

/// Explores `scenario` completely, and takes random schedules, both without a violation: `options.executions` in the
/// long runs (PENSTOCK_LONG in the environment), a fifth of them in the others. With PENSTOCK_MODEL_PREEMPTIONS=<n> in
/// the environment the bound is at least n, with PENSTOCK_MODEL_LONG=<n> there are n times as many random schedules;
/// with PENSTOCK_MODEL_REPLAY=<schedule> there is only that one.
inline void must_pass(const Options& options, const Scenario& scenario) {
  if (const char* const schedule = std::getenv("PENSTOCK_MODEL_REPLAY")) {
    return expect_passed(replay(schedule, scenario));
  }
  Options search = options;
  if (const char* const text = std::getenv("PENSTOCK_MODEL_PREEMPTIONS")) {
    search.preemptions = std::max(search.preemptions, static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10)));
  }
  expect_passed(explore(search, scenario));
  Options sample = options;
  if (!testing::runs_long()) sample.executions /= 5;
  expect_passed(random(sample, scenario));
}

/// `must_pass` with so many random schedules, for scenarios that are slow.
inline auto must_pass_with(std::uint64_t executions) {
  return [executions](Options options, const Scenario& scenario) {
    options.executions = executions;
    must_pass(options, scenario);
  };
}

}  // namespace penstock::checker
