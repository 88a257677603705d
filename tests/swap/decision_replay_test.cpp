// SPDX-License-Identifier: MIT
#include <chrono>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "penstock/swap/recorded_scheduler.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"
#include "swap/decision_support.hpp"
#include "swap/swap_world.hpp"

namespace {

using namespace penstock;
using namespace penstock::testing;
using namespace std::chrono_literals;

/// Tells a recorded scheduler of events in which everything happens, also what makes no sense.
class Wanderer {
 public:
  Wanderer(std::uint64_t seed, RecordedScheduler& scheduler, Duration most_apart = 2s)
      : random_(seed), scheduler_(scheduler), most_apart_(most_apart) {}

  void step() {
    now_ += Duration(static_cast<std::int64_t>(pick(static_cast<std::uint64_t>(most_apart_.count()))));
    out_.clear();
    scheduler_.tell(next(), now_, out_);
    for (const SwapAction& action : out_) {
      if (const auto* start = std::get_if<StartSwap>(&action)) swaps_.push_back(*start);
      if (const auto* grant = std::get_if<GrantTicket>(&action)) granted_.push_back(grant->ticket);
      if (const auto* stop = std::get_if<StopModels>(&action)) stops_.push_back(stop->stop);
    }
  }

 private:
  SwapEvent next() {
    if (!pending_.empty()) return take(pending_, pending_.size() - 1);
    const std::uint64_t what = pick(12);
    if (what < 2 && !granted_.empty()) return ServeDoneEvent{take(granted_, pick(granted_.size()))};
    if (what < 4 && !swaps_.empty()) {
      const StartSwap swap = take(swaps_, pick(swaps_.size()));
      const bool succeeded = pick(4) != 0;
      pending_.push_back(SwapDoneEvent{swap.swap, succeeded});
      return ModelStateEvent{swap.target, succeeded ? ModelState::kReady : ModelState::kStopped};
    }
    if (what == 4 && !stops_.empty()) return StoppedEvent{take(stops_, pick(stops_.size()))};
    if (what == 5) return ModelStateEvent{model(), static_cast<ModelState>(pick(5))};
    if (what == 6) return CancelEvent{TicketId{pick(50)}};
    if (what == 7 && pick(4) == 0) {
      unloaded_ = {model(), model()};
      return UnloadEvent{unloaded_, 1s};
    }
    if (what == 8) return TimerEvent{};
    if (what == 9 && !granted_.empty()) return GrantRefusedEvent{take(granted_, pick(granted_.size()))};
    return RequestEvent{{.model = model(),
                         .priority = static_cast<std::int32_t>(pick(3)),
                         .tenant = TenantId{static_cast<std::uint32_t>(pick(3))},
                         .deadline = pick(4) == 0 ? now_ + 5 * most_apart_ : TimePoint::max()}};
  }
  template <class Value>
  Value take(std::vector<Value>& values, std::size_t at) {
    Value value = values[at];
    values.erase(values.begin() + static_cast<std::ptrdiff_t>(at));
    return value;
  }
  ModelId model() { return ModelId{static_cast<std::uint32_t>(pick(scheduler_.scheduler().models().size()))}; }
  std::uint64_t pick(std::uint64_t count) { return random_() % count; }

  std::mt19937_64 random_;
  RecordedScheduler& scheduler_;
  const Duration most_apart_;
  TimePoint now_{};
  SwapActions out_;
  std::vector<SwapEvent> pending_;
  std::vector<StartSwap> swaps_;
  std::vector<TicketId> granted_;
  std::vector<StopId> stops_;
  std::vector<ModelId> unloaded_;
};

/// Policies that a world has not, as the seed says.
void add_policies(SwapSchedulerOptions& options, std::uint64_t seed) {
  options.batching.by_cost = seed % 2 == 0;
  if (seed % 3 == 0) options.batching.min_residency = 200us;
  options.reject_late = seed % 5 == 0;
  for (SwapModel& model : options.models) model.start_time = std::chrono::microseconds(100 * (seed % 4));
}

}  // namespace

TEST_CASE("DecisionLog: a replay does what was recorded with every planner and policy", "[swap][decision_log]") {
  std::set<std::string> planners;
  for (const WorldKind kind : {WorldKind::kPairwise, WorldKind::kGeneral, WorldKind::kPolicy, WorldKind::kIdle,
                               WorldKind::kClaim, WorldKind::kWide}) {
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
      World world = make_world(kind, seed);
      add_policies(world.options, seed);
      CAPTURE(to_text(world));
      planners.insert(world.planner);
      RecordedScheduler recorded(world.options);
      Wanderer wanderer(seed, recorded, 200us);
      std::optional<SwapCheckpoint> middle;
      for (int i = 0; i != 300; ++i) {
        if (i == 150) middle = recorded.checkpoint();
        wanderer.step();
      }
      SwapActions out;
      recorded.on_shutdown(TimePoint(1h), out);
      const std::vector<std::byte> log = recorded.log().bytes();
      SwapScheduler fresh(world.options);
      const auto report = replay(log, fresh);
      REQUIRE(text_of(report.status()).empty());
      REQUIRE(report->events == 301);
      REQUIRE(report->actions == recorded.log().stats().actions);
      REQUIRE(fresh.stats().arrived == recorded.scheduler().stats().arrived);
      const auto rest = replay(log, middle->scheduler, {.from_event = 150});
      REQUIRE(text_of(rest.status()).empty());
      REQUIRE(rest->events == 151);
    }
  }
  CHECK(planners.size() > 8);
}

TEST_CASE("DecisionLog: a replay does what was recorded, bit for bit", "[swap][decision_log]") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    RecordedScheduler recorded(log_options());
    Wanderer wanderer(seed, recorded);
    for (int i = 0; i != 1000; ++i) wanderer.step();
    SwapScheduler fresh(log_options());
    const auto report = replay(recorded.log().bytes(), fresh);
    REQUIRE(text_of(report.status()).empty());
    CHECK(report->events == 1000);
    CHECK(report->actions == recorded.log().stats().actions);
    CHECK(fresh.queued() == recorded.scheduler().queued());
    CHECK(fresh.stats().granted == recorded.scheduler().stats().granted);
  }
}

TEST_CASE("DecisionLog: a replay begins at a checkpoint, when the ring has lost the beginning",
          "[swap][decision_log]") {
  RecordedScheduler recorded(log_options(), {.capacity_bytes = 8192});
  Wanderer wanderer(5, recorded);
  std::vector<SwapCheckpoint> checkpoints;
  for (int i = 0; i != 20'000; ++i) {
    if (i % 200 == 0) checkpoints.push_back(recorded.checkpoint());
    wanderer.step();
  }
  const std::vector<std::byte> log = recorded.log().bytes();
  const std::uint64_t first = recorded.log().stats().first_event;
  REQUIRE(first > 15'000);
  SwapScheduler fresh(log_options());
  const absl::Status late = replay(log, fresh).status();
  CHECK(late.code() == absl::StatusCode::kOutOfRange);
  CHECK(text_of(late) == "decision log: its beginning is lost: it has event " + std::to_string(first) +
                             " and later ones, and the scheduler is as before event 0");
  int replayed = 0;
  for (SwapCheckpoint& checkpoint : checkpoints) {
    if (checkpoint.event < first) continue;
    const auto report = replay(log, checkpoint.scheduler, {.from_event = checkpoint.event});
    REQUIRE(text_of(report.status()).empty());
    CHECK(report->events == 20'000 - checkpoint.event);
    ++replayed;
  }
  CHECK(replayed > 0);
}

TEST_CASE("DecisionLog: a recorded scheduler goes on from a checkpoint", "[swap][decision_log]") {
  RecordedScheduler first(log_options());
  Wanderer wanderer(6, first);
  for (int i = 0; i != 300; ++i) wanderer.step();
  RecordedScheduler second(first.checkpoint());
  SwapCheckpoint begin = second.checkpoint();
  Wanderer other(7, second);
  for (int i = 0; i != 300; ++i) other.step();
  CHECK(second.log().stats().first_event == 300);
  const auto report = replay(second.log().bytes(), begin.scheduler, {.from_event = 300, .until_event = 500});
  REQUIRE(report.ok());
  CHECK(report->events == 200);
}

TEST_CASE("DecisionLog: a replay says where it differs, and how", "[swap][decision_log]") {
  SwapScheduler scheduler(log_options());
  DecisionLog log(log_options());
  SwapActions out;
  const SwapEvent event = RequestEvent{{.model = ModelId{2}}};
  const std::uint64_t ticket = apply(scheduler, event, TimePoint(5s), out);
  SwapActions other;
  other.add(GrantTicket{TicketId{ticket}, ModelId{2}, SwapReason::kReady});
  log.on_decision(event, TimePoint(5s), ticket, other, 0);
  SwapScheduler fresh(log_options());
  const absl::Status status = replay(log.bytes(), fresh).status();
  CHECK(status.code() == absl::StatusCode::kAborted);
  CHECK_THAT(text_of(status), StartsWith("decision log: #0 +0.000000000 s  request t"));
  CHECK_THAT(text_of(status), ContainsSubstring("action 1 of 1 was: grant t"));
  CHECK_THAT(text_of(status), ContainsSubstring("it is: start swap 1 to 'c', stopping nothing (requested)"));
}

TEST_CASE("DecisionLog: a replay with other options is refused", "[swap][decision_log]") {
  SwapSchedulerOptions options = log_options();
  options.max_wait = 60s;
  SwapScheduler other(options);
  CHECK(replay(DecisionLog(log_options()).bytes(), other).status().code() == absl::StatusCode::kFailedPrecondition);
}
