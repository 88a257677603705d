// SPDX-License-Identifier: MIT
#include "penstock/exec/chrome_trace.hpp"

#include <chrono>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <streambuf>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "exec/pool_support.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::Gate;
using testing::make_pool;

JobEvent event_of(std::string_view pool, std::uint64_t job, std::string_view tag, std::size_t worker, int since,
                  int at) {
  return {pool,
          job,
          tag,
          TimePoint(std::chrono::microseconds(at)),
          worker,
          TimePoint(std::chrono::microseconds(since)),
          absl::StatusCode::kOk,
          JobOutcome::kNone};
}

void run_one(ChromeTrace& trace, std::string_view pool, std::uint64_t job, std::size_t worker, int since) {
  trace.on_start(event_of(pool, job, "t", worker, since, since + 10));
  trace.on_finish(event_of(pool, job, "t", worker, since + 10, since + 30));
}

std::vector<json> events_of(const std::ostringstream& text, std::string_view phase) {
  std::vector<json> found;
  const json trace = json::parse(text.str());
  for (const json& event : trace.at("traceEvents")) {
    if (event.at("ph") == phase) found.push_back(event);
  }
  return found;
}

/// Each asynchronous slice that begins has an end, not before it, and the other way round.
bool is_paired(const std::ostringstream& text) {
  std::map<std::pair<std::string, std::string>, double> open;
  const json trace = json::parse(text.str());
  for (const json& event : trace.at("traceEvents")) {
    const std::string phase = event.at("ph");
    if (phase == "X" && event.at("dur").get<double>() < 0) return false;
    if (phase != "b" && phase != "e") continue;
    const std::pair<std::string, std::string> key(event.at("cat"), event.at("id"));
    if (phase == "b" && !open.emplace(key, event.at("ts").get<double>()).second) return false;
    if (phase == "e" && (!open.contains(key) || open.at(key) > event.at("ts").get<double>())) return false;
    if (phase == "e") open.erase(key);
  }
  return open.empty();
}

/// Takes so many bytes and then throws.
class Broken : public std::streambuf {
 public:
  explicit Broken(std::size_t room) : room_(room) {}

 protected:
  std::streamsize xsputn(const char* /*text*/, std::streamsize bytes) override {
    if (static_cast<std::size_t>(bytes) > room_) throw std::runtime_error("disk full");
    room_ -= static_cast<std::size_t>(bytes);
    return bytes;
  }
  int_type overflow(int_type /*c*/) override { throw std::runtime_error("disk full"); }

 private:
  std::size_t room_;
};

TEST_CASE("ChromeTrace: a trace without events is valid", "[exec][chrome_trace]") {
  std::ostringstream text;
  { ChromeTrace trace(text); }
  CHECK(json::parse(text.str()).at("traceEvents").empty());
}

TEST_CASE("ChromeTrace: a job is a wait and a slice of its worker", "[exec][chrome_trace]") {
  std::ostringstream text;
  ChromeTrace trace(text);
  trace.on_start(event_of("openai", 7, "chat", 2, 1000, 1010));
  JobEvent end = event_of("openai", 7, "chat", 2, 1010, 1035);
  end.code = absl::StatusCode::kNotFound;
  end.outcome = JobOutcome::kFailed;
  trace.on_finish(end);
  REQUIRE(trace.finish().ok());
  const std::vector<json> runs = events_of(text, "X");
  REQUIRE(runs.size() == 1);
  CHECK(runs[0].at("name") == "chat");
  CHECK(runs[0].at("ts") == 10.0);
  CHECK(runs[0].at("dur") == 25.0);
  CHECK(runs[0].at("tid") == 3);
  CHECK(runs[0].at("args") == json({{"job", 7}, {"tag", "chat"}, {"code", "NOT_FOUND"}, {"outcome", "failed"}}));
  const std::vector<json> begins = events_of(text, "b");
  REQUIRE(begins.size() == 1);
  CHECK(begins[0].at("ts") == 0.0);
  CHECK(events_of(text, "e").at(0).at("ts") == 10.0);
  CHECK(events_of(text, "e").at(0).at("args") == json({{"job", 7}, {"tag", "chat"}, {"code", "OK"}}));
  std::set<std::string> names;
  for (const json& name : events_of(text, "M")) names.insert(name.at("args").at("name"));
  CHECK(names == std::set<std::string>{"openai", "worker 2", "pool"});
}

TEST_CASE("ChromeTrace: whatever the names hold, the text is valid", "[exec][chrome_trace]") {
  std::ostringstream text;
  ChromeTrace trace(text);
  const std::string pool = "a \"pool\"\\\n\x01";
  const std::string tag = "caf\xC3\xA9 \xFF\xC3 \"";
  trace.on_finish(event_of(pool, 1, tag, 0, 0, 1));
  trace.on_finish(event_of(std::string(1000, 'n'), 2, std::string(299, 'a') + "\xC3\xA9", 0, 0, 1));
  REQUIRE(trace.finish().ok());
  const std::vector<json> runs = events_of(text, "X");
  REQUIRE(runs.size() == 2);
  const auto& first = runs[0].at("args").at("job") == 1 ? runs[0] : runs[1];
  const auto& second = runs[0].at("args").at("job") == 1 ? runs[1] : runs[0];
  CHECK(first.at("name") == "caf\xC3\xA9 \xEF\xBF\xBD\xEF\xBF\xBD \"");
  CHECK(second.at("name") == std::string(ChromeTrace::kMaxTextBytes, 'a'));
  bool found = false;
  for (const json& name : events_of(text, "M")) found = found || name.at("args").at("name") == pool;
  CHECK(found);
}

TEST_CASE("ChromeTrace: each pool is a process of its own", "[exec][chrome_trace]") {
  std::ostringstream text;
  ChromeTrace trace(text);
  run_one(trace, "a", 1, 0, 0);
  run_one(trace, "b", 1, 0, 0);
  run_one(trace, "a", 2, 1, 50);
  REQUIRE(trace.finish().ok());
  std::map<int, int> runs;
  for (const json& run : events_of(text, "X")) ++runs[run.at("pid").get<int>()];
  REQUIRE(runs.size() == 2);
  CHECK(runs.begin()->second + runs.rbegin()->second == 3);
  CHECK(is_paired(text));
}

TEST_CASE("ChromeTrace: dropped jobs and states are instants", "[exec][chrome_trace]") {
  std::ostringstream text;
  ChromeTrace trace(text);
  JobEvent drop = event_of("p", 4, "", kCallerThread, 10, 20);
  drop.code = absl::StatusCode::kAborted;
  drop.outcome = JobOutcome::kDroppedOldest;
  trace.on_drop(drop);
  trace.on_state("p", PoolState::kDraining, TimePoint(30us));
  REQUIRE(trace.finish().ok());
  const std::vector<json> instants = events_of(text, "i");
  REQUIRE(instants.size() == 2);
  CHECK(instants[0].at("args").at("code") == "ABORTED");
  CHECK(instants[0].at("args").at("outcome") == "dropped_oldest");
  CHECK(events_of(text, "e").at(0).at("args").at("outcome") == "dropped_oldest");
  CHECK(instants[1].at("name") == "draining");
  CHECK(is_paired(text));
}

TEST_CASE("ChromeTrace: jobs that their submitters run may overlap", "[exec][chrome_trace]") {
  std::ostringstream text;
  ChromeTrace trace(text);
  run_one(trace, "p", 1, kCallerThread, 0);
  run_one(trace, "p", 2, kCallerThread, 5);
  REQUIRE(trace.finish().ok());
  CHECK(events_of(text, "X").empty());
  CHECK(events_of(text, "b").size() == 4);
  CHECK(is_paired(text));
}

TEST_CASE("ChromeTrace: what still runs is a slice up to the end", "[exec][chrome_trace]") {
  std::ostringstream text;
  ChromeTrace trace(text);
  trace.on_start(event_of("p", 1, "hangs", 0, 0, 10));
  REQUIRE(trace.flush().ok());
  run_one(trace, "p", 2, 1, 70);
  REQUIRE(trace.finish().ok());
  bool found = false;
  for (const json& run : events_of(text, "X")) {
    if (run.at("name") != "hangs") continue;
    found = true;
    CHECK(run.at("dur") == 90.0);
    CHECK(run.at("args").at("code") == "running");
    CHECK_FALSE(run.at("args").contains("outcome"));
  }
  CHECK(found);
}

TEST_CASE("ChromeTrace: what finds no room is lost and counted, and flushing makes room", "[exec][chrome_trace]") {
  std::ostringstream text;
  ChromeTrace trace(text, {.max_bytes = 64 << 10});
  constexpr std::size_t kJobs = 2000;
  for (std::size_t i = 0; i < kJobs; ++i) run_one(trace, "p", i + 1, 0, static_cast<int>(i) * 100);
  const std::uint64_t lost = trace.lost();
  CHECK(lost > 0);
  CHECK(lost < 2 * kJobs);
  REQUIRE(trace.flush().ok());
  run_one(trace, "p", kJobs + 1, 0, 1'000'000);
  CHECK(trace.lost() == lost);
  REQUIRE(trace.finish().ok());
  CHECK(events_of(text, "X").size() + events_of(text, "b").size() == 2 * kJobs + 2 - lost);
  CHECK(json::parse(text.str()).at("otherData").at("lost") == lost);
  CHECK(is_paired(text));
}

TEST_CASE("ChromeTrace: what happens after the end is lost", "[exec][chrome_trace]") {
  std::ostringstream text;
  ChromeTrace trace(text);
  REQUIRE(trace.finish().ok());
  const std::string before = text.str();
  run_one(trace, "p", 1, 0, 0);
  CHECK(trace.lost() == 2);
  CHECK(trace.finish().ok());
  CHECK(text.str() == before);
}

TEST_CASE("ChromeTrace: a stream that fails or throws ends the trace", "[exec][chrome_trace]") {
  for (const bool throws : {false, true}) {
    Broken buffer(100);
    std::ostream stream(&buffer);
    if (throws) stream.exceptions(std::ios::badbit | std::ios::failbit);
    ChromeTrace trace(stream);
    run_one(trace, "p", 1, 0, 0);
    CHECK(absl::IsDataLoss(trace.flush()));
    CHECK(trace.lost() == 2);
    run_one(trace, "p", 2, 0, 0);
    CHECK(absl::IsDataLoss(trace.finish()));
    CHECK(trace.lost() == 4);
  }
}

TEST_CASE("ChromeTrace: a limit that is too low is refused", "[exec][chrome_trace]") {
  std::ostringstream text;
  CHECK_THROWS_AS(ChromeTrace(text, {.max_bytes = 1000}), std::invalid_argument);
}

TEST_CASE("ChromeTrace: every job of real pools is there, while somebody flushes", "[exec][chrome_trace]") {
  constexpr int kJobs = 500;
  std::ostringstream text;
  ChromeTrace trace(text);
  {
    const auto one = make_pool({.name = "one", .workers = 3, .queue_capacity = kJobs, .observer = &trace});
    const auto two = make_pool({.name = "two", .workers = 2, .queue_capacity = kJobs, .observer = &trace});
    for (int i = 0; i < kJobs; ++i) {
      static_cast<void>(one->submit([] {}, {.tag = "t"}));
      static_cast<void>(two->execute([] {}));
      if (i % 100 == 0) CHECK(trace.flush().ok());
    }
  }
  REQUIRE(trace.finish().ok());
  CHECK(trace.lost() == 0);
  std::map<std::string, int> runs;
  std::set<std::pair<int, std::uint64_t>> ids;
  for (const json& run : events_of(text, "X")) {
    ++runs[run.at("name")];
    ids.emplace(run.at("pid").get<int>(), run.at("args").at("job").get<std::uint64_t>());
  }
  CHECK(runs == std::map<std::string, int>{{"t", kJobs}, {"job", kJobs}});
  CHECK(ids.size() == 2 * kJobs);
  CHECK(events_of(text, "b").size() == 2 * kJobs);
  CHECK(is_paired(text));
}

TEST_CASE("ChromeTrace: a job that is cancelled in the queue is a drop", "[exec][chrome_trace]") {
  std::ostringstream text;
  ChromeTrace trace(text);
  {
    Gate gate;
    const auto pool = testing::held_pool(gate, {.observer = &trace});
    Job<void> job = pool->submit([] {}).value();
    CHECK(job.cancel());
    gate.open();
  }
  REQUIRE(trace.finish().ok());
  bool found = false;
  for (const json& instant : events_of(text, "i")) {
    found = found || (instant.at("name") == "drop" && instant.at("args").at("code") == "CANCELLED" &&
                      instant.at("args").at("outcome") == "cancelled");
  }
  CHECK(found);
  CHECK(is_paired(text));
}

}  // namespace
}  // namespace penstock
