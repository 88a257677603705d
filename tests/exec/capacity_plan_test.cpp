// SPDX-License-Identifier: MIT

#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "penstock/exec/capacity_plan.hpp"
#include "penstock/metrics/json_writer.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"

using namespace std::chrono_literals;
using penstock::CapacityBounds;
using penstock::CapacityPlan;
using penstock::document_capacity_plan;
using penstock::DocumentCapacity;
using penstock::Duration;
using penstock::JsonWriter;
using penstock::plan_capacity;
using penstock::ProviderProfile;
using penstock::RetryOptions;
using penstock::WorkerPoolOptions;
using penstock::testing::ContainsSubstring;
using penstock::testing::text_of;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

CapacityPlan plan(const ProviderProfile& profile, const CapacityBounds& bounds = {}) {
  const auto result = plan_capacity(profile, bounds);
  REQUIRE(result.ok());
  return *result;
}

}  // namespace

TEST_CASE("plan_capacity: Little's law, beside what the document computes", "[exec][capacity]") {
  struct Row {
    double rate;
    Duration latency;
    double error_rate;
    std::size_t workers;
    std::int64_t document;
  };
  const std::vector<Row> rows = {
      {100, 800ms, 0.02, 82, 0},      {100, 999ms, 0, 100, 0},     {100, 1s, 0, 100, 100},
      {100, 1900ms, 0.05, 200, 105},  {500, 2s, 0.01, 1010, 1010}, {10, 250ms, 0.10, 3, 0},
      {1000, 30s, 0, 30'000, 30'000}, {50, 1500ms, 1.0, 150, 100},
  };
  for (const Row& row : rows) {
    const ProviderProfile profile{
        .provider_name = "p", .rate_limit = row.rate, .avg_latency = row.latency, .error_rate = row.error_rate};
    INFO(row.rate << " calls a second of " << row.latency.count() << " ns");
    const CapacityPlan free = plan(profile, {.clamp = false});
    CHECK(free.workers == row.workers);
    CHECK(free.buffer == 3 * row.workers);
    CHECK(free.processing_timeout == 2 * row.latency);
    CHECK(document_capacity_plan(profile) == DocumentCapacity{row.document, 3 * row.document, 2 * row.latency});
    const CapacityPlan held = plan(profile);
    CHECK(held.workers == std::clamp<std::size_t>(row.workers, 10, 100));
    CHECK(held.buffer == std::clamp<std::size_t>(3 * held.workers, 100, 1000));
    CHECK(held.processing_timeout == std::max<Duration>(2 * row.latency, 30s));
  }
}

TEST_CASE("plan_capacity: what is not known stays as it is", "[exec][capacity]") {
  const CapacityPlan no_rate = plan({.provider_name = "p", .avg_latency = 40s});
  CHECK(no_rate.workers == 0);
  CHECK(no_rate.buffer == 0);
  CHECK(no_rate.queue_wait_limit == 0s);
  CHECK(no_rate.processing_timeout == 80s);
  const CapacityPlan no_latency = plan({.provider_name = "p", .rate_limit = 100});
  CHECK(no_latency.workers == 0);
  CHECK(no_latency.processing_timeout == 0s);

  const WorkerPoolOptions before{
      .name = "x", .workers = 7, .queue_capacity = 8, .queue_wait_limit = 9s, .processing_timeout = 11s};
  const WorkerPoolOptions after = apply(no_latency, before);
  CHECK(after.name == "x");
  CHECK(after.workers == 7);
  CHECK(after.queue_capacity == 8);
  CHECK(after.queue_wait_limit == 9s);
  CHECK(after.processing_timeout == 11s);
  CHECK(apply(no_rate, before).processing_timeout == 80s);
  CHECK(apply(no_rate).name == "p");
}

TEST_CASE("plan_capacity: the rest of the plan", "[exec][capacity]") {
  CapacityPlan one = plan({.provider_name = "openai", .rate_limit = 50, .avg_latency = 1s, .p99_latency = 45s});
  CHECK(one.processing_timeout == 45s);  // rather than twice the mean
  CHECK(one.queue_wait_limit == 3s);     // 150 jobs, 50 at a time
  CHECK(one.retry.name == "openai");
  CHECK(one.retry.max_attempts == 3);
  CHECK(one.retry.budget.ratio == 0.1);
  CHECK(one.retry.validate().ok());
  // The retries that the workers are there for are allowed.
  CHECK(plan({.rate_limit = 50, .avg_latency = 1s, .error_rate = 0.4}).retry.budget.ratio == 0.4);
  CHECK(plan({.rate_limit = 50, .avg_latency = 1s, .error_rate = 7}).workers == 100);
  CHECK(plan({.rate_limit = 50, .avg_latency = 1s, .p99_latency = 1h}).processing_timeout == 300s);
  CHECK(plan({.avg_latency = Duration::max()}, {.clamp = false}).processing_timeout == Duration::max());

  CapacityBounds bounds;
  bounds.retry = {.name = "mine", .max_attempts = 5, .initial = 1s};
  bounds.retry.budget.ratio = 0.5;
  bounds.buffer_factor = 0;
  bounds.min_buffer = 0;
  one = plan({.provider_name = "openai", .rate_limit = 50, .avg_latency = 1s, .error_rate = 0.4}, bounds);
  CHECK(one.retry.name == "mine");
  CHECK(one.retry.max_attempts == 5);
  CHECK(one.retry.budget.ratio == 0.5);
  CHECK(one.workers == 70);
  CHECK(one.buffer == 70);  // never fewer places than workers
  // The product is a little more than 110, by its rounding alone.
  CHECK(plan({.rate_limit = 100, .avg_latency = 1100ms}, {.clamp = false}).workers == 110);
}

TEST_CASE("plan_capacity: a pool can be made of it", "[exec][capacity]") {
  const CapacityPlan one = plan({.provider_name = "openai", .rate_limit = 40, .avg_latency = 1s});
  WorkerPoolOptions options = apply(one);
  CHECK(options.name == "openai");
  CHECK(options.workers == 40);
  CHECK(options.queue_capacity == 120);
  CHECK(options.processing_timeout == 30s);
  CHECK(options.queue_wait_limit == 3s);
  CHECK(options.validate().ok());
  CHECK(options.warnings().empty());

  options = apply(one, {.name = "x", .workers = 60, .min_workers = 50, .max_workers = 70});
  CHECK(options.min_workers == 40);
  CHECK(options.max_workers == 70);
  CHECK(options.validate().ok());
  options = apply(one, {.name = "x", .workers = 6, .min_workers = 5, .max_workers = 7});
  CHECK(options.min_workers == 5);
  CHECK(options.max_workers == 40);
  CHECK(options.validate().ok());

  std::mt19937_64 random(9);  // NOLINT(cert-msc51-cpp)
  std::uniform_real_distribution<double> exponent(-6, 12);
  for (int round = 0; round < 2000; ++round) {
    ProviderProfile profile{.provider_name = "r", .rate_limit = std::pow(10, exponent(random))};
    profile.avg_latency = Duration(static_cast<Duration::rep>(std::pow(10, exponent(random) + 6)));
    profile.error_rate = std::pow(10, exponent(random) - 6);
    const CapacityPlan any = plan(profile, {.clamp = round % 2 == 0});
    const std::string text = text_of(apply(any).validate());
    if (any.workers < 1 || any.buffer < any.workers || !text.empty()) FAIL("round " << round << ": " << text);
    const double exact = profile.rate_limit * std::chrono::duration<double>(profile.avg_latency).count() *
                         (1 + std::min(profile.error_rate, 1.0));
    if (round % 2 == 1 && exact < 1e8 && exact > 0) {
      const auto workers = static_cast<double>(any.workers);
      if (workers < exact * (1 - 1e-8) || (workers > 1 && workers - 1 > exact))
        FAIL("round " << round << ": " << exact);
    }
  }
}

TEST_CASE("plan_capacity: every violation is told", "[exec][capacity]") {
  const std::vector<std::pair<std::string, std::function<void(ProviderProfile&)>>> profiles = {
      {"provider_name", [](ProviderProfile& p) { p.provider_name = std::string(257, 'x'); }},
      {"rate_limit", [](ProviderProfile& p) { p.rate_limit = -1; }},
      {"rate_limit", [](ProviderProfile& p) { p.rate_limit = kNan; }},
      {"rate_limit", [](ProviderProfile& p) { p.rate_limit = kInf; }},
      {"avg_latency", [](ProviderProfile& p) { p.avg_latency = -1ns; }},
      {"error_rate", [](ProviderProfile& p) { p.error_rate = -0.1; }},
      {"error_rate", [](ProviderProfile& p) { p.error_rate = kNan; }},
      {"error_rate", [](ProviderProfile& p) { p.error_rate = kInf; }},
      {"p99_latency", [](ProviderProfile& p) { p.p99_latency = p.avg_latency - 1ns; }},
      {"p99_latency", [](ProviderProfile& p) { p.avg_latency = 0ns, p.p99_latency = 0ns; }},
  };
  for (const auto& [option, spoil] : profiles) {
    ProviderProfile profile{.provider_name = "p", .rate_limit = 10, .avg_latency = 1s};
    spoil(profile);
    INFO(option);
    const auto result = plan_capacity(profile);
    CHECK(result.status().code() == absl::StatusCode::kInvalidArgument);
    CHECK_THAT(text_of(result.status()), ContainsSubstring("options." + option + " must be "));
    static_cast<void>(document_capacity_plan(profile));  // computes something
  }
  const std::vector<std::pair<std::string, std::function<void(CapacityBounds&)>>> bounds = {
      {"min_workers", [](CapacityBounds& b) { b.min_workers = 0; }},
      {"max_workers", [](CapacityBounds& b) { b.max_workers = 9; }},
      {"max_buffer", [](CapacityBounds& b) { b.max_buffer = 99; }},
      {"buffer_factor", [](CapacityBounds& b) { b.buffer_factor = -1; }},
      {"buffer_factor", [](CapacityBounds& b) { b.buffer_factor = kNan; }},
      {"min_timeout", [](CapacityBounds& b) { b.min_timeout = 0s; }},
      {"max_timeout", [](CapacityBounds& b) { b.max_timeout = 29s; }},
      {"min_queue_wait", [](CapacityBounds& b) { b.min_queue_wait = -1s; }},
      {"max_queue_wait", [](CapacityBounds& b) { b.max_queue_wait = 0s; }},
      {"max_attempts", [](CapacityBounds& b) { b.retry.max_attempts = 0; }},
  };
  for (const auto& [option, spoil] : bounds) {
    CapacityBounds bad;
    spoil(bad);
    INFO(option);
    CHECK_THAT(text_of(plan_capacity({}, bad).status()), ContainsSubstring("options." + option + " must be "));
  }
  CapacityBounds bad;
  bad.max_workers = 9;
  bad.retry.jitter = 2;
  const std::string text = text_of(plan_capacity({.provider_name = "p", .rate_limit = -1}, bad).status());
  CHECK(text ==
        "capacity of 'p': options.rate_limit must be a number of at least 0, got -1; capacity bounds: "
        "options.max_workers must be in [min_workers (10), 1000000000], got 9; retry 'unnamed': options.jitter must be "
        "in [0, 1], got 2");
}

TEST_CASE("document_capacity_plan: cuts twice, and wraps where the original does", "[exec][capacity]") {
  const auto of = [](double rate, Duration latency, double error_rate) {
    return document_capacity_plan({.rate_limit = rate, .avg_latency = latency, .error_rate = error_rate});
  };
  CHECK(of(99.9, 2s, 0) == DocumentCapacity{198, 594, 4s});
  CHECK(of(3, 1999ms, 0.5) == DocumentCapacity{4, 12, 3998ms});
  CHECK(of(-3, 2s, 0).workers == -6);
  CHECK(of(kNan, 2s, 0).workers == 0);
  CHECK(of(10, 2s, kNan).workers == std::numeric_limits<std::int64_t>::min());
  CHECK(of(1, Duration::max(), 0).timeout == Duration(-2));
}

TEST_CASE("CapacityPlan: as JSON, in the names of the document", "[exec][capacity]") {
  JsonWriter json;
  write(json, plan({.provider_name = "openai", .rate_limit = 100, .avg_latency = 800ms, .error_rate = 0.02}));
  CHECK(json.text() ==
        R"({"provider_name":"openai","rate_limit":100,"avg_latency":800000000,"avg_latency_text":"800 ms",)"
        R"("error_rate":0.02,"optimal_workers":82,"optimal_buffer":246,)"
        R"("timeout_config":{"processing_timeout":30000000000,"processing_timeout_text":"30 s",)"
        R"("queue_wait_limit":2400000000,"queue_wait_limit_text":"2.4 s"},)"
        R"("retry_strategy":{"max_attempts":3,"max_retries":2,"initial":"500ms","max":"5s","multiplier":2,)"
        R"("jitter":0.2,"max_retry_after":"60s","budget":{"ratio":0.1,"capacity":100,"per_second":1}}})");

  JsonWriter unknown;
  write(unknown, plan({.provider_name = "x", .p99_latency = 45s}));
  CHECK_THAT(unknown.text(), ContainsSubstring(R"("avg_latency":null,"p99_latency":45000000000)"));
  CHECK_THAT(unknown.text(), ContainsSubstring(R"("optimal_workers":null,"optimal_buffer":null)"));
  CHECK_THAT(unknown.text(), ContainsSubstring(R"("queue_wait_limit":null)"));
}

TEST_CASE("RetryOptions: as JSON", "[exec][capacity]") {
  RetryOptions options{.max_attempts = 1, .initial = 1500us, .max = 2s};
  options.max_retry_after = 7ns;
  options.budget.ratio = kInf;
  JsonWriter json;
  write(json, options);
  CHECK(json.text() == R"({"max_attempts":1,"max_retries":0,"initial":"1500us","max":"2s","multiplier":2,"jitter":0.2,)"
                       R"("max_retry_after":"7ns","budget":{"ratio":null,"capacity":100,"per_second":1}})");
}
