// SPDX-License-Identifier: MIT
#include "penstock/route/concurrency_limiter.hpp"

#include <chrono>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "penstock/core/failure_stage.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/metrics/prometheus_writer.hpp"
#include "route/limiter_support.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::ContainsSubstring;
using testing::limiter_options;
using testing::LimiterSlot;
using testing::Script;
using testing::scripted_options;
using testing::stage_of;
using testing::text_of;

TEST_CASE("ConcurrencyLimiter: as many slots as the limit says, and no more", "[route][concurrency_limiter]") {
  ConcurrencyLimiter limiter(limiter_options(2));
  CHECK(limiter.limit() == 2);
  auto first = limiter.try_acquire();
  auto second = limiter.try_acquire();
  REQUIRE(first.has_value());
  REQUIRE(second.has_value());
  CHECK(first->in_flight() == 1);
  CHECK(second->in_flight() == 2);
  CHECK_FALSE(limiter.try_acquire().has_value());
  CHECK(limiter.in_flight() == 2);
  first->success();
  CHECK(limiter.in_flight() == 1);
  CHECK(limiter.try_acquire().has_value());  // and given back at once: abandoned
  second->ignore();
  const ConcurrencyLimiterStats stats = limiter.stats();
  CHECK(stats.limit == 2);
  CHECK(stats.in_flight == 0);
  CHECK(stats.success == 1);
  CHECK(stats.ignored == 1);
  CHECK(stats.abandoned == 1);
  CHECK(stats.rejected == 1);
  CHECK(stats.algorithm == "fixed");
  CHECK(stats.partitions.empty());
}

TEST_CASE("ConcurrencyLimiter: a slot is given back once, however often it reports", "[route][concurrency_limiter]") {
  ConcurrencyLimiter limiter(limiter_options(3));
  auto slot = limiter.try_acquire();
  auto other = limiter.try_acquire();
  slot->success();
  slot->success(1ms);
  slot->dropped();
  slot->ignore();
  slot->settle(absl::OkStatus());
  CHECK_FALSE(slot->is_pending());
  CHECK(limiter.in_flight() == 1);
  CHECK(limiter.stats().doubled_reports == 4);

  LimiterSlot moved = std::move(*other);
  CHECK_FALSE(other->is_pending());  // NOLINT(bugprone-use-after-move): what this is about
  other->success();                  // ignored
  CHECK(limiter.in_flight() == 1);
  moved = *limiter.try_acquire();  // the one it held is abandoned
  CHECK(limiter.in_flight() == 1);
  moved.success();
  const ConcurrencyLimiterStats stats = limiter.stats();
  CHECK(stats.in_flight == 0);
  CHECK(stats.doubled_reports == 4);
  CHECK(stats.success == 2);
  CHECK(stats.abandoned == 1);
}

TEST_CASE("ConcurrencyLimiter: the algorithm learns the time, the crowd and the drops",
          "[route][concurrency_limiter]") {
  ManualClock clock;
  const auto script = std::make_shared<Script>();
  script->limit = 10;
  ConcurrencyLimiterOptions options = scripted_options(script);
  options.clock = &clock;
  ConcurrencyLimiter limiter(options);
  CHECK(limiter.stats().algorithm == "scripted");

  auto first = limiter.try_acquire();
  clock.advance(5ms);
  auto second = limiter.try_acquire();
  clock.advance(2ms);
  first->success();
  second->dropped();
  limiter.try_acquire()->ignore();
  limiter.try_acquire().reset();
  limiter.try_acquire()->success(3ms);
  limiter.try_acquire()->dropped(4ms);
  limiter.try_acquire()->settle(absl::UnavailableError("busy"), 9ms);
  limiter.try_acquire()->settle(absl::InternalError("bug"), 9ms);
  REQUIRE(script->samples.size() == 5);
  CHECK(script->samples[0].rtt == 7ms);
  CHECK(script->samples[0].in_flight == 1);
  CHECK_FALSE(script->samples[0].dropped);
  CHECK(script->samples[0].now == clock.now());
  CHECK(script->samples[1].rtt == 2ms);
  CHECK(script->samples[1].in_flight == 2);
  CHECK(script->samples[1].dropped);
  CHECK(script->samples[2].rtt == 3ms);
  CHECK(script->samples[3].rtt == 4ms);
  CHECK(script->samples[3].dropped);
  CHECK(script->samples[4].rtt == 9ms);
  CHECK(script->samples[4].dropped);
}

TEST_CASE("ConcurrencyLimiter: what took no time teaches nothing, but a drop does", "[route][concurrency_limiter]") {
  class BackwardClock final : public Clock {
   public:
    [[nodiscard]] TimePoint now() const noexcept override { return now_; }
    void start_timers() override {}
    bool arm(Timer&, TimePoint) noexcept override { return true; }
    void disarm(Timer&) noexcept override {}
    TimePoint now_{};
  };
  BackwardClock clock;
  const auto script = std::make_shared<Script>();
  script->limit = 10;
  ConcurrencyLimiterOptions options = scripted_options(script);
  options.clock = &clock;
  ConcurrencyLimiter limiter(options);
  auto slot = limiter.try_acquire();
  clock.now_ -= 1h;
  slot->success();
  limiter.try_acquire()->success();
  limiter.try_acquire()->success(0s);
  limiter.try_acquire()->success(Duration::min());
  CHECK(script->samples.empty());
  CHECK(limiter.stats().success == 4);
  limiter.try_acquire()->dropped(-1s);
  REQUIRE(script->samples.size() == 1);
  CHECK(script->samples[0].rtt == 1s);  // nothing better is known
  limiter.try_acquire()->success(Duration::max());
  CHECK(script->samples.size() == 2);
}

TEST_CASE("ConcurrencyLimiter: calls are timed as the options say", "[route][concurrency_limiter]") {
  ManualClock clock;
  const auto script = std::make_shared<Script>();
  script->limit = 10;
  ConcurrencyLimiterOptions options = scripted_options(script);
  options.clock = &clock;
  options.timing = ConcurrencyLimiterOptions::Timing::kByCaller;
  ConcurrencyLimiter limiter(options);
  auto slot = limiter.try_acquire();
  clock.advance(1s);
  slot.value().success();
  CHECK(script->samples.empty());
  options.timing = ConcurrencyLimiterOptions::Timing::kCoarse;
  REQUIRE(limiter.set_options(options).ok());
  slot = limiter.try_acquire();
  clock.advance(1s);
  slot.value().success();
  REQUIRE(script->samples.size() == 1);
  CHECK(script->samples[0].rtt == 1s);
}

TEST_CASE("ConcurrencyLimiter: a drop without a time counts with the usual one", "[route][concurrency_limiter]") {
  ConcurrencyLimiterOptions options = limiter_options(1);
  options.algorithm = VegasLimit{.probe_multiplier = 0};
  options.timing = ConcurrencyLimiterOptions::Timing::kByCaller;
  ConcurrencyLimiter limiter(options);
  limiter.try_acquire()->success(10ms);
  limiter.try_acquire()->dropped();
  CHECK(limiter.limit() == 19);
  CHECK(limiter.stats().min_rtt == 10ms);
  CHECK(limiter.stats().window_rtt == 10ms);
}

TEST_CASE("ConcurrencyLimiter: AIMD moves the limit", "[route][concurrency_limiter]") {
  ConcurrencyLimiterOptions options = limiter_options(1);
  options.algorithm = AimdLimit{.initial = 4, .min = 1, .max = 10};
  ConcurrencyLimiter limiter(options);
  auto first = limiter.try_acquire();
  auto second = limiter.try_acquire();
  second->success(10ms);  // two of four
  CHECK(limiter.limit() == 5);
  first->dropped(10ms);
  CHECK(limiter.limit() == 4);
  CHECK(limiter.stats().limit_changes == 2);
}

TEST_CASE("ConcurrencyLimiter: a limit that falls interrupts nobody", "[route][concurrency_limiter]") {
  const auto script = std::make_shared<Script>();
  script->limit = 4;
  ConcurrencyLimiter limiter(scripted_options(script));
  std::vector<std::optional<LimiterSlot>> slots;
  for (int i = 0; i != 4; ++i) slots.push_back(limiter.try_acquire());
  script->limit = 2;
  slots[0]->success(1ms);
  CHECK(limiter.limit() == 2);
  CHECK(limiter.in_flight() == 3);
  CHECK_FALSE(limiter.try_acquire().has_value());
  slots[1]->success(1ms);
  CHECK_FALSE(limiter.try_acquire().has_value());
  slots[2]->success(1ms);
  CHECK(limiter.try_acquire().has_value());
}

TEST_CASE("ConcurrencyLimiter: a limit of nonsense is held within its range", "[route][concurrency_limiter]") {
  const auto script = std::make_shared<Script>();
  script->limit = 0;
  ConcurrencyLimiter limiter(scripted_options(script));
  CHECK(limiter.limit() == 1);
  script->limit = std::numeric_limits<std::size_t>::max();
  limiter.try_acquire()->success(1ms);
  CHECK(limiter.limit() == kMaxConcurrencyLimit);
  CHECK(limiter.in_flight() == 0);
}

TEST_CASE("ConcurrencyLimiter: a classifier decides, and may throw", "[route][concurrency_limiter]") {
  ConcurrencyLimiterOptions options = limiter_options(2);
  options.classify = [](const absl::Status& status) -> LimitOutcome {
    if (status.code() == absl::StatusCode::kDataLoss) throw std::runtime_error("lost");
    return status.ok() ? LimitOutcome::kIgnored : LimitOutcome::kSuccess;
  };
  ConcurrencyLimiter limiter(options);
  limiter.try_acquire()->settle(absl::OkStatus());
  limiter.try_acquire()->settle(absl::UnavailableError(""));
  limiter.try_acquire()->settle(absl::DataLossError(""));
  ConcurrencyLimiterStats stats = limiter.stats();
  CHECK(stats.ignored == 2);
  CHECK(stats.success == 1);
  CHECK(stats.caught_exceptions == 1);
  options.classify = nullptr;
  REQUIRE(limiter.set_options(options).ok());
  limiter.try_acquire()->settle(absl::OkStatus());
  CHECK(limiter.stats().success == 2);
}

TEST_CASE("ConcurrencyLimiter: what statuses mean", "[route][concurrency_limiter]") {
  CHECK(classify_limit(absl::OkStatus()) == LimitOutcome::kSuccess);
  CHECK(classify_limit(absl::ResourceExhaustedError("")) == LimitOutcome::kDropped);
  CHECK(classify_limit(absl::UnavailableError("")) == LimitOutcome::kDropped);
  CHECK(classify_limit(absl::DeadlineExceededError("")) == LimitOutcome::kDropped);
  CHECK(classify_limit(with_failure_stage(absl::DeadlineExceededError(""), "run")) == LimitOutcome::kDropped);
  CHECK(classify_limit(with_failure_stage(absl::DeadlineExceededError(""), "queue")) == LimitOutcome::kIgnored);
  CHECK(classify_limit(with_failure_stage(absl::ResourceExhaustedError(""), "limit")) == LimitOutcome::kIgnored);
  CHECK(classify_limit(absl::CancelledError("")) == LimitOutcome::kIgnored);
  CHECK(classify_limit(absl::InvalidArgumentError("")) == LimitOutcome::kIgnored);
  CHECK(classify_limit(absl::InternalError("")) == LimitOutcome::kIgnored);
}

TEST_CASE("ConcurrencyLimiter: an algorithm may use the limiter that it limits", "[route][concurrency_limiter]") {
  struct Reentrant final : LimitAlgorithm {
    std::size_t on_sample(const LimitSample&) noexcept override {
      ++samples;
      if (samples == 1) {
        seen = limiter->stats().limit;
        if (auto slot = limiter->try_acquire()) slot->success(1ms);  // a sample from within a sample
      }
      return 5;
    }
    [[nodiscard]] std::size_t limit() const noexcept override { return 5; }
    [[nodiscard]] std::string_view name() const noexcept override { return "a name that is longer than most others"; }
    ConcurrencyLimiter* limiter = nullptr;
    std::size_t seen = 0;
    int samples = 0;
  };
  Reentrant* algorithm = nullptr;
  ConcurrencyLimiterOptions options;
  options.make_algorithm = [&algorithm] {
    auto made = std::make_unique<Reentrant>();
    algorithm = made.get();
    return made;
  };
  ConcurrencyLimiter limiter(options);
  algorithm->limiter = &limiter;
  limiter.try_acquire()->success(1ms);
  CHECK(algorithm->samples == 2);
  CHECK(algorithm->seen == 5);
  CHECK(limiter.in_flight() == 0);
  CHECK(limiter.stats().algorithm == "a name that is longer than most");
}

TEST_CASE("ConcurrencyLimiter: refusals say why", "[route][concurrency_limiter]") {
  ConcurrencyLimiter limiter(limiter_options(1, 0));
  const auto held = limiter.try_acquire();
  LimitRefusal why;
  CHECK_FALSE(limiter.try_acquire({}, why).has_value());
  const absl::Status status = to_status(why, limiter.name());
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  CHECK(text_of(status) == "concurrency limiter 'l': full (limit 1, 1 in flight, 0 waiting)");
  CHECK(stage_of(status) == "limit");
  const auto refused = limiter.acquire();  // and nobody may wait
  CHECK(refused.status().code() == absl::StatusCode::kResourceExhausted);
  CHECK(limiter.stats().rejected == 2);
  CHECK(limiter.stats().waits == 0);
}

TEST_CASE("ConcurrencyLimiter: a closed one gives nothing, and slots that are out stay good",
          "[route][concurrency_limiter]") {
  ConcurrencyLimiter limiter(limiter_options(2));
  auto held = limiter.try_acquire();
  CHECK(limiter.close());
  CHECK_FALSE(limiter.close());
  CHECK(limiter.is_closed());
  CHECK_FALSE(limiter.try_acquire().has_value());
  const auto refused = limiter.acquire();
  CHECK(refused.status().code() == absl::StatusCode::kUnavailable);
  CHECK(text_of(refused.status()) == "concurrency limiter 'l': closed");
  CHECK(limiter.in_flight() == 1);
  held->success(1ms);
  const ConcurrencyLimiterStats stats = limiter.stats();
  CHECK(stats.in_flight == 0);
  CHECK(stats.closed);
  CHECK(stats.refused_closed == 2);
  CHECK(stats.success == 1);
}

TEST_CASE("ConcurrencyLimiter: bad options are all named", "[route][concurrency_limiter]") {
  ConcurrencyLimiterOptions options;
  options.name = "bad";
  options.algorithm = AimdLimit{.backoff = std::numeric_limits<double>::quiet_NaN()};
  options.window = LimitWindow{.min_samples = 0};
  options.probe = LimitProbe{.concurrency = 0};
  options.partitions = {{"a", 0.5}, {"a", 0.3}, {"", 1.5}, {"default", 0}};
  options.default_share = -1;
  options.wait_timeout = -1s;
  options.clock = nullptr;
  const std::string text = text_of(options.validate());
  CHECK_THAT(text,
             ContainsSubstring("concurrency limiter 'bad': options.algorithm.backoff must be in (0, 1), got nan"));
  CHECK_THAT(text, ContainsSubstring("options.probe must be absent with a fixed or an AIMD limit, got one"));
  CHECK_THAT(text, ContainsSubstring("options.window.min_samples must be at least 1, got 0"));
  CHECK_THAT(text, ContainsSubstring("options.probe.concurrency must be in [1, 1000000000], got 0"));
  CHECK_THAT(text, ContainsSubstring("options.default_share must be in [0, 1], got -1"));
  CHECK_THAT(text, ContainsSubstring("options.partitions['a'].name must be unlike all others, got it twice"));
  CHECK_THAT(text, ContainsSubstring("options.partitions[''].name must be 1 to 256 bytes long, got 0"));
  CHECK_THAT(text, ContainsSubstring("options.partitions[''].share must be in (0, 1], got 1.5"));
  CHECK_THAT(text, ContainsSubstring("options.partitions['default'].name must be another"));
  CHECK_THAT(text, ContainsSubstring("options.shares, with default_share, must be at most 1 in all, got 1.3"));
  CHECK_THAT(text, ContainsSubstring("options.wait_timeout must be not negative, got -1 s"));
  CHECK_THAT(text, ContainsSubstring("options.clock must be a clock, got null"));
  CHECK_THROWS_AS(ConcurrencyLimiter(options), std::invalid_argument);
  CHECK(ConcurrencyLimiterOptions{}.validate().ok());
  // Ten tenths.
  ConcurrencyLimiterOptions tenths;
  for (int i = 0; i != 10; ++i) tenths.partitions.push_back({std::string(1, static_cast<char>('a' + i)), 0.1});
  CHECK(tenths.validate().ok());

  ConcurrencyLimiterOptions none;
  none.make_algorithm = [] { return nullptr; };
  CHECK_THROWS_AS(ConcurrencyLimiter(none), std::invalid_argument);
  none.make_algorithm = []() -> std::unique_ptr<LimitAlgorithm> { throw std::runtime_error("no"); };
  CHECK_THROWS_AS(ConcurrencyLimiter(none), std::runtime_error);
}

TEST_CASE("ConcurrencyLimiter: metrics", "[route][concurrency_limiter]") {
  ConcurrencyLimiterOptions options = limiter_options(2);
  options.partitions = {{"batch", 0.5}};
  ConcurrencyLimiter limiter(options);
  auto slot = limiter.try_acquire("batch");
  limiter.try_acquire()->success();
  PrometheusWriter writer;
  limiter.collect(writer);
  const std::string text = writer.text();
  for (const char* const line :
       {"penstock_limiter_limit{limiter=\"l\"} 2\n", "penstock_limiter_inflight{limiter=\"l\"} 1\n",
        "penstock_limiter_calls_total{limiter=\"l\",outcome=\"success\"} 1\n",
        "penstock_limiter_rejected_total{limiter=\"l\"} 0\n",
        "penstock_limiter_gave_up_total{limiter=\"l\",reason=\"timed_out\"} 0\n",
        "penstock_limiter_min_rtt_seconds{limiter=\"l\"} 0\n",
        "penstock_limiter_partition_guarantee{limiter=\"l\",partition=\"batch\"} 1\n",
        "penstock_limiter_partition_inflight{limiter=\"l\",partition=\"batch\"} 1\n",
        "penstock_limiter_partition_acquired_total{limiter=\"l\",partition=\"default\"} 1\n"}) {
    CHECK_THAT(text, ContainsSubstring(line));
  }
}

}  // namespace
}  // namespace penstock
