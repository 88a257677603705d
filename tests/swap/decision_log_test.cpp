// SPDX-License-Identifier: MIT
#include "penstock/swap/decision_log.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "penstock/swap/decision_reader.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "swap/decision_support.hpp"

namespace {

using namespace penstock;
using namespace penstock::testing;
using namespace std::chrono_literals;

}  // namespace

TEST_CASE("DecisionLog: what is recorded is read, event by event, field by field", "[swap][decision_log]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    DecisionMaker maker(seed);
    DecisionLog log(log_options());
    std::vector<LoggedDecision> expected;
    for (std::uint64_t i = 0; i != 500; ++i) {
      expected.push_back(maker.make(i));
      record(log, expected.back());
    }
    const std::vector<LoggedDecision> read = read_all(log.bytes());
    REQUIRE(read.size() == expected.size());
    for (std::size_t i = 0; i != read.size(); ++i) {
      CAPTURE(i);
      REQUIRE(is_same(read[i], expected[i]));
    }
    CHECK(log.stats().events == 500);
    CHECK(log.stats().first_event == 0);
  }
}

TEST_CASE("DecisionLog: a full ring loses the oldest whole events", "[swap][decision_log]") {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    CAPTURE(seed);
    DecisionMaker maker(seed);
    DecisionLog log(log_options(), {.capacity_bytes = 4096, .first_event = 1000});
    std::vector<LoggedDecision> expected;
    for (std::uint64_t i = 0; i != 100 + 80 * seed; ++i) {
      expected.push_back(maker.make(1000 + i));
      record(log, expected.back());
      if (i % 17 != 0) continue;
      const std::vector<LoggedDecision> read = read_all(log.bytes());
      REQUIRE(read.size() <= expected.size());
      const std::size_t lost = expected.size() - read.size();
      for (std::size_t k = 0; k != read.size(); ++k) REQUIRE(is_same(read[k], expected[lost + k]));
      REQUIRE(log.stats().first_event == 1000 + lost);
    }
    CHECK(log.bytes().size() <= 4096 + 200);
    CHECK(log.stats().bytes > 4096);
    CHECK(log.stats().first_event > 1000);
  }
}

TEST_CASE("DecisionLog: an event larger than the ring is lost, and the next ones are not", "[swap][decision_log]") {
  DecisionMaker maker(1);
  DecisionLog log(log_options(), {.capacity_bytes = 4096});
  record(log, maker.make(0));
  record(log, maker.unload(1, 20'000));
  CHECK(read_all(log.bytes()).empty());
  CHECK(log.stats().first_event == 2);
  const LoggedDecision next = maker.make(2);
  record(log, next);
  const std::vector<LoggedDecision> read = read_all(log.bytes());
  REQUIRE(read.size() == 1);
  CHECK(is_same(read[0], next));
}

TEST_CASE("DecisionLog: what is spilled is a log of everything", "[swap][decision_log]") {
  std::vector<std::byte> file;
  std::vector<LoggedDecision> expected;
  {
    DecisionMaker maker(7);
    DecisionLog log(log_options(), {.capacity_bytes = 4096, .spill = [&](std::span<const std::byte> bytes) {
                                      file.insert(file.end(), bytes.begin(), bytes.end());
                                    }});
    CHECK(read_all(file).empty());
    for (std::uint64_t i = 0; i != 3000; ++i) {
      expected.push_back(i % 500 == 400 ? maker.unload(i, 10'000) : maker.make(i));
      record(log, expected.back());
      if (i % 1000 != 999) continue;
      log.flush();
      log.flush();  // of nothing
      CHECK(read_all(file).size() == i + 1);
    }
    expected.push_back(maker.make(3000));
    record(log, expected.back());
  }  // the end flushes
  const std::vector<LoggedDecision> read = read_all(file);
  REQUIRE(read.size() == expected.size());
  for (std::size_t i = 0; i != expected.size(); ++i) REQUIRE(is_same(read[i], expected[i]));
}

TEST_CASE("DecisionLog: a spill that throws is counted, and the ring goes on", "[swap][decision_log]") {
  DecisionMaker maker(3);
  int calls = 0;
  DecisionLog log(log_options(), {.capacity_bytes = 4096, .spill = [&](std::span<const std::byte>) {
                                    if (++calls % 2 == 0) throw std::runtime_error("disk full");
                                  }});
  for (std::uint64_t i = 0; i != 500; ++i) record(log, maker.make(i));
  CHECK(log.stats().spill_failures == static_cast<std::uint64_t>(calls / 2));
  CHECK(calls > 4);
  CHECK(!read_all(log.bytes()).empty());
}

TEST_CASE("DecisionLog: of a spill that fails now and then, the rest is a log that tells of the gaps",
          "[swap][decision_log]") {
  DecisionMaker maker(4);
  std::vector<std::byte> file;
  std::vector<LoggedDecision> expected;
  int calls = 0;
  DecisionLog log(log_options(), {.capacity_bytes = 4096, .spill = [&](std::span<const std::byte> bytes) {
                                    // The header fails twice; then each fifth block.
                                    if (++calls <= 2 || calls % 5 == 0) throw std::runtime_error("disk full");
                                    file.insert(file.end(), bytes.begin(), bytes.end());
                                  }});
  for (std::uint64_t i = 0; i != 300; ++i) {
    expected.push_back(maker.make(i));
    record(log, expected.back());
  }
  log.flush();
  auto reader = DecisionReader::open(file);
  REQUIRE(reader.ok());
  std::uint64_t gaps = 0;
  std::uint64_t read = 0;
  for (LoggedDecision decision;;) {
    const auto is_there = reader->next(decision);
    if (!is_there.ok()) {
      ++gaps;
      REQUIRE(reader->resume());
      continue;
    }
    if (!*is_there) break;
    ++read;
    REQUIRE(is_same(decision, expected[decision.number]));
  }
  CHECK(gaps > 2);
  CHECK(gaps + 2 <= log.stats().spill_failures);
  CHECK(read > 100);
  CHECK(read < 300);
}

TEST_CASE("DecisionLog: the format of version 1, byte for byte", "[swap][decision_log]") {
  DecisionLog log({.name = "s", .models = {{.name = "a"}, {.name = "b"}}});
  SwapActions out;
  const std::vector<ModelId> evict{ModelId{0}};
  out.add(StartSwap{SwapId{1}, ModelId{1}, out.keep(evict), SwapReason::kRequested});
  log.on_decision(RequestEvent{{.model = ModelId{1}, .priority = -1}}, TimePoint(1000ns), std::uint64_t{1} << 32U, out,
                  0);
  out.clear();
  out.add(WakeAt{});
  log.on_decision(TimerEvent{}, TimePoint(1000ns), 0, out, 0);

  const std::vector<std::byte> bytes = log.bytes();
  std::string hex;
  for (const std::byte byte : bytes) {
    for (const unsigned digit : {std::to_integer<unsigned>(byte) >> 4U, std::to_integer<unsigned>(byte) & 15U}) {
      hex += "0123456789abcdef"[digit];
    }
  }
  REQUIRE(bytes.size() == 24 + 15 + 40 + 17);
  CHECK(hex.substr(0, 2 * 16) ==
        "50454e53544b444c"
        "01000000"
        "0f000000");  // its checksum and the digest follow
  CHECK(hex.substr(2 * 32, 2 * 7) ==
        "0173"
        "02"
        "0161"
        "0162");
  CHECK(hex.substr(2 * 39) ==
        "50534442"
        "11000000"
        "0000000000000000"
        "0000000000000000"
        "00000000"
        "02000000"
        "3752f63cb8ef13d8"
        "90d00f0201010201"
        "8002000101"  // a request that begins a swap
        "880001"
        "0d");  // a timer, and no further wake-up
}

TEST_CASE("DecisionLog: a digest is the same with every compiler", "[swap][decision_log]") {
  SwapSchedulerOptions options = log_options();
  CHECK(decision_digest(options) == 0xd4e0'3eb1'd134'365e);
  options.planner = group_planner({.groups = {{.name = "g", .swap = false, .members = {"a", "b"}}}});
  options.models[0].priority = -7;
  options.tenants = {{.name = "batch", .weight = 3}};
  options.back_off = {.first = 1s, .factor = 1.5, .longest = 90s};
  options.max_wait = 60s;
  CHECK(decision_digest(options) == 0xb366'193c'514f'f97d);
}

TEST_CASE("DecisionLog: what is read while a block is spilled ends with the last whole event", "[swap][decision_log]") {
  DecisionMaker maker(9);
  std::vector<std::size_t> seen;
  DecisionLog* self = nullptr;
  DecisionLog log(log_options(), {.capacity_bytes = 4096, .spill = [&](std::span<const std::byte>) {
                                    if (self != nullptr) seen.push_back(read_all(self->bytes()).back().number);
                                  }});
  self = &log;
  std::vector<std::size_t> expected;
  for (std::uint64_t i = 0; i != 300; ++i) {
    record(log, maker.make(i));
    while (expected.size() < seen.size()) expected.push_back(i - 1);
  }
  CHECK(seen.size() > 4);
  CHECK(seen == expected);
  self = nullptr;
}

TEST_CASE("DecisionLog: what another thread takes of it meanwhile is a log", "[swap][decision_log]") {
  std::size_t spilled = 0;  // of the thread that records
  DecisionLog log(log_options(), {.capacity_bytes = 4096,
                                  .spill = [&](std::span<const std::byte> bytes) { spilled += bytes.size(); }});
  std::atomic<bool> has_ended = false;
  std::thread recording([&] {
    DecisionMaker maker(8);
    for (std::uint64_t i = 0; i != 5000; ++i) record(log, maker.make(i));
    log.flush();
    has_ended = true;
  });
  std::uint64_t before = 0;
  for (bool is_last = false; !is_last;) {
    is_last = has_ended;
    const DecisionLogStats stats = log.stats();
    const std::vector<LoggedDecision> read = read_all(log.bytes());
    if (stats.events < before || stats.first_event > stats.events) FAIL("stats that go back");
    for (std::size_t i = 1; i < read.size(); ++i) {
      if (read[i].number != read[0].number + i) FAIL("a gap before event " << read[i].number);
    }
    if (!read.empty() && read.back().number + 1 < stats.events) FAIL("an event that was recorded is not there");
    before = stats.events;
  }
  recording.join();
  CHECK(before == 5000);
  CHECK(spilled > 5000);
}

TEST_CASE("DecisionLog: recording allocates nothing", "[swap][decision_log]") {
  DecisionMaker maker(5);
  DecisionLog log(log_options(), {.capacity_bytes = 4096});
  std::vector<LoggedDecision> decisions;
  for (std::uint64_t i = 0; i != 500; ++i) decisions.push_back(maker.make(i));
  const Allocations before = Allocations::now();
  for (const LoggedDecision& decision : decisions) record(log, decision);
  CHECK(Allocations::now() == before);
}

TEST_CASE("DecisionLog: options that are wrong are named", "[swap][decision_log]") {
  CHECK(DecisionLogOptions{}.validate().ok());
  CHECK(DecisionLogOptions{.capacity_bytes = 4096}.validate().ok());
  CHECK_THROWS_WITH(DecisionLog(log_options(), {.capacity_bytes = 4095}),
                    "decision log: options.capacity_bytes must be in [4096, 2^40], got 4095");
}

TEST_CASE("DecisionLog: its header names the scheduler, its models and a digest", "[swap][decision_log]") {
  const SwapSchedulerOptions options = log_options();
  const std::vector<std::byte> bytes = DecisionLog(options).bytes();
  const auto reader = DecisionReader::open(bytes);
  REQUIRE(reader.ok());
  CHECK(reader->header().version == 1);
  CHECK(reader->header().name == options.name);
  CHECK(reader->header().models == std::vector<std::string>{"a", "b", "c", "d"});
  CHECK(reader->header().options_digest == decision_digest(options));
  CHECK(reader->header().name_of(ModelId{2}) == "c");
  CHECK(reader->header().name_of(kNoModel) == "(unknown)");
}

TEST_CASE("DecisionLog: the digest sees each option that decides", "[swap][decision_log]") {
  const std::uint64_t plain = decision_digest(log_options());
  const auto differs = [&](const auto& change) {
    SwapSchedulerOptions options = log_options();
    change(options);
    return decision_digest(options) != plain;
  };
  using Options = SwapSchedulerOptions;
  CHECK(!differs([](Options& o) { o.name = "other"; }));
  CHECK(!differs([](Options& o) { std::swap(o.models[0], o.models[1]); }));
  CHECK(differs([](Options& o) { o.models[0].name = "z"; }));
  CHECK(differs([](Options& o) { o.models[0].priority = 1; }));
  CHECK(differs([](Options& o) { o.models[0].concurrency_limit = 1; }));
  CHECK(differs([](Options& o) { o.models[0].idle_unload = 1s; }));
  CHECK(differs([](Options& o) { o.models[0].start_time = 1s; }));
  CHECK(differs([](Options& o) { o.models.pop_back(); }));
  CHECK(differs([](Options& o) { o.limit_at = LimitAt::kService; }));
  CHECK(differs([](Options& o) { o.conduct = SwapConduct::kPublished; }));
  CHECK(differs([](Options& o) { o.order = QueueOrder::kFairShare; }));
  CHECK(differs([](Options& o) { o.aging_step = 1s; }));
  CHECK(differs([](Options& o) { o.tenants = {{.name = "x"}}; }));
  CHECK(differs([](Options& o) { o.max_wait = 1s; }));
  CHECK(differs([](Options& o) { o.claim_priority = 1; }));
  CHECK(differs([](Options& o) { o.reject_late = true; }));
  CHECK(differs([](Options& o) { o.back_off.first = 1s; }));
  CHECK(differs([](Options& o) { o.back_off.factor = 3; }));
  CHECK(differs([](Options& o) { o.back_off.longest = 1s; }));
  CHECK(differs([](Options& o) { o.batching.by_cost = true; }));
  CHECK(differs([](Options& o) { o.batching.min_residency = 1s; }));
  CHECK(differs([](Options& o) { o.cancel_unwanted = true; }));
  CHECK(differs([](Options& o) { o.max_queued = 1; }));
  CHECK(differs([](Options& o) { o.max_queued_per_model = 1; }));
  CHECK(differs([](Options& o) { o.max_queued_per_tenant = 1; }));
  const auto by_groups = [](bool swap) {
    return group_planner({.groups = {{.name = "g", .swap = swap, .members = {"a", "b"}}}});
  };
  CHECK(differs([&](Options& o) { o.planner = by_groups(true); }));
  SwapSchedulerOptions one = log_options();
  SwapSchedulerOptions other = log_options();
  one.planner = by_groups(true);
  other.planner = by_groups(false);
  CHECK(decision_digest(one) != decision_digest(other));
}

TEST_CASE("DecisionLog: a decision in words", "[swap][decision_log]") {
  DecisionLogHeader header{.name = "swap", .models = {"llama", "qwen"}};
  LoggedDecision decision;
  decision.number = 12;
  decision.now = TimePoint(11s);
  decision.event = RequestEvent{{.model = ModelId{1}, .priority = 3, .deadline = TimePoint(20s)}};
  decision.result = std::uint64_t{2} << 32U | 7;
  const std::vector<ModelId> evict{ModelId{0}};
  decision.actions.add(StartSwap{SwapId{3}, ModelId{1}, decision.actions.keep(evict), SwapReason::kRequested});
  decision.actions.add(RejectTicket{TicketId{7}, ModelId{9}, SwapReason::kBackingOff, SwapId{}, 1500ms});
  decision.actions.add(WakeAt{});
  CHECK(to_lines(decision, header, TimePoint(9750ms)) ==
        "#12 +1.250000000 s  request t7.2 for 'qwen', priority 3, until +10.250000000 s\n"
        "    start swap 3 to 'qwen', stopping 'llama' (requested)\n"
        "    refuse t7 of '(unknown)' (backing_off), again in 1.5 s\n"
        "    wake at never\n");
  decision.event = ServeDoneEvent{TicketId{7}};
  decision.result = 0;
  CHECK(to_text(decision, header, TimePoint(12s)) == "#12 -1.000000000 s  serve_done t7, ignored");
}
