// SPDX-License-Identifier: MIT

// The policy of a provider: the decision, with its budget, its random numbers and its figures.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "penstock/exec/retry.hpp"
#include "penstock/metrics/sink.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kNow{1h};
const absl::Status kRefused = absl::UnavailableError("refused");

/// One call in which every attempt ends with `status`; returns how many were made.
std::uint32_t fail(Retrier& retrier, const absl::Status& status, TimePoint now = kNow,
                   TimePoint deadline = TimePoint::max()) {
  for (std::uint32_t attempt = 1;; ++attempt) {
    static_cast<void>(retrier.begin(attempt));
    const RetryDecision decision = retrier.after_failure(attempt, status, now, deadline);
    if (!decision.retries()) return attempt;
    now = decision.at;
  }
}

void check_sums(const RetryStats& stats) {
  std::uint64_t ended = stats.succeeded_first + stats.succeeded_after_retry;
  for (const std::uint64_t stops : stats.stops) ended += stops;
  CHECK(stats.calls == ended + stats.running);
  CHECK(stats.attempts == stats.calls + stats.retries);
  CHECK(stats.stopped(RetryStop::kNone) == 0);
}

TEST_CASE("Retrier: every call ends in one figure", "[exec][retry]") {
  Retrier retrier({.max_attempts = 3, .jitter = 0, .budget = {.capacity = 4, .per_second = 0}});
  CHECK(retrier.begin(1));
  CHECK(retrier.stats().running == 1);
  retrier.succeeded(1);

  CHECK(retrier.begin(1));
  CHECK(retrier.after_failure(1, kRefused, kNow).wait == 500ms);
  CHECK(retrier.begin(2));
  CHECK(retrier.after_failure(2, kRefused, kNow).wait == 1s);
  CHECK(retrier.begin(3));
  retrier.succeeded(3);

  CHECK(fail(retrier, kRefused) == 3);
  CHECK(fail(retrier, kRefused) == 1);  // the budget is used up
  CHECK(fail(retrier, absl::InvalidArgumentError("no")) == 1);
  CHECK(fail(retrier, absl::UnauthenticatedError("no")) == 1);
  CHECK(fail(retrier, kRefused, kNow, kNow + 1ms) == 1);
  CHECK(fail(retrier, with_retry_after(kRefused, 1h)) == 1);

  CHECK(retrier.begin(1));
  CHECK(retrier.after_failure(1, kRefused, kNow, TimePoint::max(), {.cancelled = true}).stop == RetryStop::kCancelled);
  CHECK(retrier.begin(1));
  CHECK(retrier.after_failure(1, kRefused, kNow, TimePoint::max(), {.breaker_open = true}).stop == RetryStop::kBreaker);
  CHECK(retrier.begin(1));
  retrier.stopped(RetryStop::kAbandoned);

  const RetryStats stats = retrier.stats();
  check_sums(stats);
  CHECK(stats.calls == 11);
  CHECK(stats.retries == 4);
  CHECK(stats.running == 0);
  CHECK(stats.succeeded_first == 1);
  CHECK(stats.succeeded_after_retry == 1);
  CHECK(stats.exhausted() == 1);
  CHECK(stats.budget_denied() == 1);
  for (const auto why : {RetryStop::kVerdict, RetryStop::kNoResource, RetryStop::kDeadline, RetryStop::kRetryAfter,
                         RetryStop::kCancelled, RetryStop::kBreaker, RetryStop::kAbandoned}) {
    CAPTURE(std::string(to_string(why)));
    CHECK(stats.stopped(why) == 1);
  }
  CHECK(stats.backoff_total == 3s);
}

TEST_CASE("Retrier: a storm gets its part of the calls, and no more", "[exec][retry]") {
  Retrier retrier({.budget = {.ratio = 0.1, .capacity = 10, .per_second = 0}});
  for (int call = 0; call < 1000; ++call) fail(retrier, kRefused);
  const RetryStats stats = retrier.stats();
  check_sums(stats);
  // The bucket was full when the first call paid, so that this tenth found no room.
  CHECK(stats.retries == 10 + 99);
  CHECK(stats.calls == 1000);
}

TEST_CASE("Retrier: a seed fixes the waits, and none does not", "[exec][retry]") {
  const auto waits = [](std::uint64_t seed) {
    Retrier retrier({.max_attempts = 100, .initial = 1s, .max = 1s, .jitter = 0.5, .seed = seed});
    std::vector<Duration> list;
    for (std::uint32_t attempt = 1; attempt < 50; ++attempt) {
      list.push_back(retrier.after_failure(attempt, kRefused, kNow).wait);
    }
    return list;
  };
  CHECK(waits(1) == waits(1));
  CHECK(waits(1) != waits(2));
  CHECK(waits(0) != waits(0));
  for (const std::uint64_t seed : {0U, 1U, 2U}) {
    std::size_t below = 0;
    for (const Duration wait : waits(seed)) {
      if (wait < 500ms || wait > 1s) FAIL_CHECK(wait.count());
      below += wait < 750ms ? 1 : 0;
    }
    CHECK(below > 0);
    CHECK(below < 49);
  }
}

TEST_CASE("Retrier: the caller's classifier is asked, but not about a success", "[exec][retry]") {
  int asked = 0;
  Retrier retrier({.classify = [&asked](const absl::Status& status) {
    ++asked;
    return status.code() == absl::StatusCode::kInternal ? RetryVerdict::kRetry : RetryVerdict::kStop;
  }});
  CHECK(retrier.after_failure(1, absl::InternalError("flaky"), kNow).retries());
  CHECK(retrier.after_failure(1, kRefused, kNow).stop == RetryStop::kVerdict);
  CHECK(asked == 2);
  CHECK(retrier.after_failure(1, absl::OkStatus(), kNow).stop == RetryStop::kVerdict);
  CHECK(asked == 2);
}

TEST_CASE("Retrier: what the caller's functions throw is contained", "[exec][retry]") {
  Retrier retrier({.classify = [](const absl::Status&) -> RetryVerdict { throw std::runtime_error("classify"); },
                   .breaker_open = []() -> bool { throw 1; }});
  CHECK(retrier.after_failure(1, kRefused, kNow).retries());
  CHECK(retrier.after_failure(1, absl::InternalError("bug"), kNow).stop == RetryStop::kVerdict);
  CHECK(retrier.stats().caught_exceptions == 3);
}

TEST_CASE("Retrier: asks for the breaker only where it matters", "[exec][retry]") {
  int asked = 0;
  bool open = true;
  Retrier retrier({.max_attempts = 2, .breaker_open = [&] {
                     ++asked;
                     return open;
                   }});
  const auto stop = [&](std::uint32_t attempt, const absl::Status& status) {
    return retrier.after_failure(attempt, status, kNow).stop;
  };
  CHECK(stop(1, absl::InternalError("bug")) == RetryStop::kVerdict);
  CHECK(stop(2, kRefused) == RetryStop::kAttempts);
  CHECK(asked == 0);
  CHECK(stop(1, kRefused) == RetryStop::kBreaker);
  open = false;
  CHECK(stop(1, kRefused) == RetryStop::kNone);
  CHECK(asked == 2);
}

TEST_CASE("Retrier: no retry begins while the circuit breaker is open, whatever was decided before", "[exec][retry]") {
  bool open = false;
  Retrier retrier({.breaker_open = [&open] { return open; }});
  REQUIRE(retrier.begin(1));
  REQUIRE(retrier.after_failure(1, kRefused, kNow).retries());
  open = true;
  CHECK_FALSE(retrier.begin(2));
  CHECK(retrier.begin(1));  // whether a first attempt is made is its caller's business
  open = false;
  REQUIRE(retrier.after_failure(1, kRefused, kNow).retries());
  CHECK(retrier.begin(2));
  retrier.succeeded(2);
  const RetryStats stats = retrier.stats();
  check_sums(stats);
  CHECK(stats.calls == 2);
  CHECK(stats.retries == 1);
  CHECK(stats.stopped(RetryStop::kBreaker) == 1);
  CHECK(stats.running == 0);
}

TEST_CASE("Retrier: a failure costs no allocation, and one that runs out of memory is decided all the same",
          "[exec][retry]") {
  Retrier retrier({.max_attempts = 1000, .jitter = 0, .budget = {.capacity = 1000}});
  const absl::Status asks = with_retry_after(kRefused, 3s);
  CHECK(retrier.after_failure(1, asks, kNow).wait == 3s);  // the first one of a thread may allocate for the figures
  const testing::Allocations before = testing::Allocations::now();
  CHECK(retrier.begin(1));
  const RetryDecision decision = retrier.after_failure(1, kRefused, kNow);
  CHECK(retrier.begin(2));
  retrier.succeeded(2);
  const bool allocated = testing::Allocations::now() != before;
  CHECK(decision.wait == 500ms);
  CHECK_FALSE(allocated);
  for (std::uint64_t nth = 0;; ++nth) {
    const testing::FailAllocation failure(nth);
    const Duration wait = retrier.after_failure(1, asks, kNow).wait;
    if (!failure.has_failed()) {
      CHECK(wait == 3s);
      break;
    }
    CHECK((wait == 3s || wait == 500ms));
  }
}

TEST_CASE("Retrier: exact however many threads use it", "[exec][retry][stress]") {
  constexpr std::uint64_t kCalls = 5000;
  Retrier retrier({.max_attempts = 3, .budget = {.ratio = 0.5, .capacity = 100}});
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> broken{0};
  std::vector<std::thread> threads;
  for (std::uint64_t thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&, thread] {
      for (std::uint64_t call = 0; call < kCalls; ++call) {
        if ((call + thread) % 3 == 0) {
          if (!retrier.begin()) ++broken;
          retrier.succeeded(1);
        } else {
          fail(retrier, kRefused);
        }
      }
    });
  }
  std::thread reader([&] {
    while (!done) {
      const RetryStats stats = retrier.stats();
      if (stats.running > stats.calls || stats.attempts < stats.calls) ++broken;
    }
  });
  for (std::thread& thread : threads) thread.join();
  done = true;
  reader.join();
  const RetryStats stats = retrier.stats();
  check_sums(stats);
  CHECK(broken == 0);
  CHECK(stats.running == 0);
  CHECK(stats.calls == 3 * kCalls);
  CHECK(stats.succeeded_first == kCalls);
  CHECK(stats.exhausted() + stats.budget_denied() == 2 * kCalls);
}

/// Keeps counters and gauges by name and the value of the last label.
class Samples final : public MetricSink {
 public:
  void counter(std::string_view name, std::string_view /*help*/, Labels labels, std::uint64_t value) override {
    std::string key(name);
    for (const Label& label : labels) key += " " + std::string(label.name) + "=" + std::string(label.value);
    counters[key] = value;
  }
  void gauge(std::string_view name, std::string_view /*help*/, Labels /*labels*/, double value) override {
    gauges[std::string(name)] = value;
  }
  void histogram(std::string_view name, std::string_view /*help*/, Labels /*labels*/,
                 const LatencyHistogram::Snapshot& value) override {
    seconds[std::string(name)] = value.sum_seconds();
  }
  std::map<std::string, std::uint64_t> counters;
  std::map<std::string, double> gauges;
  std::map<std::string, double> seconds;
};

TEST_CASE("Retrier: collect", "[exec][retry]") {
  Retrier retrier({.name = "openai", .jitter = 0, .budget = {.capacity = 3, .per_second = 0}});
  CHECK(retrier.begin());
  retrier.succeeded(1);
  fail(retrier, kRefused);
  fail(retrier, kRefused);
  Samples samples;
  retrier.collect(samples);
  CHECK(samples.counters["penstock_retry_calls_total retry=openai"] == 3);
  CHECK(samples.counters["penstock_retry_attempts_total retry=openai"] == 6);
  CHECK(samples.counters["penstock_retry_succeeded_first_total retry=openai"] == 1);
  CHECK(samples.counters["penstock_retry_succeeded_after_retry_total retry=openai"] == 0);
  CHECK(samples.counters["penstock_retry_exhausted_total retry=openai"] == 1);
  CHECK(samples.counters["penstock_retry_budget_denied_total retry=openai"] == 1);
  CHECK(samples.counters["penstock_retry_stops_total retry=openai reason=attempts"] == 1);
  CHECK(samples.counters["penstock_retry_stops_total retry=openai reason=budget"] == 1);
  CHECK(samples.counters.count("penstock_retry_stops_total retry=openai reason=none") == 0);
  CHECK(samples.counters["penstock_retry_caught_exceptions_total retry=openai"] == 0);
  CHECK(samples.seconds["penstock_retry_backoff_seconds"] == testing::Approx(2.0));
}

TEST_CASE("Retry: every enumerator has a name", "[exec][retry]") {
  CHECK(to_string(RetryVerdict::kRetryOtherResource) == "other_resource");
  CHECK(to_string(static_cast<RetryVerdict>(99)) == "unknown");
  for (std::size_t index = 0; index < kRetryStops; ++index) {
    CHECK(to_string(static_cast<RetryStop>(index)) != "unknown");
  }
  CHECK(to_string(static_cast<RetryStop>(kRetryStops)) == "unknown");
}

}  // namespace
}  // namespace penstock
