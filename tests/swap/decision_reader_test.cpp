// SPDX-License-Identifier: MIT
#include "penstock/swap/decision_reader.hpp"

#include <algorithm>
#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "penstock/swap/decision_log.hpp"
#include "penstock/swap/recorded_scheduler.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"
#include "swap/decision_support.hpp"

namespace {

using namespace penstock;
using namespace penstock::testing;

/// A log of so many events, in blocks of 512 bytes.
std::vector<std::byte> log_of(std::uint64_t seed, std::uint64_t events) {
  std::vector<std::byte> file;
  DecisionMaker maker(seed);
  DecisionLog log(log_options(), {.capacity_bytes = 4096, .spill = [&](std::span<const std::byte> bytes) {
                                    file.insert(file.end(), bytes.begin(), bytes.end());
                                  }});
  for (std::uint64_t i = 0; i != events; ++i) record(log, maker.make(i));
  log.flush();
  return file;
}

struct Read {
  std::vector<std::uint64_t> numbers = {};
  std::vector<std::string> damage = {};
  bool ends_within_event = false;
};

/// Reads to the end, whatever happens on the way; all that is read is also put into words.
Read read_on(std::span<const std::byte> log) {
  Read read;
  auto reader = DecisionReader::open(log);
  if (!reader.ok()) {
    read.damage.push_back(text_of(reader.status()));
    return read;
  }
  LoggedDecision decision;
  for (;;) {
    const auto is_there = reader->next(decision);
    if (is_there.ok() && !*is_there) break;
    if (is_there.ok()) {
      if (to_lines(decision, reader->header(), TimePoint()).empty()) FAIL("no text");
      read.numbers.push_back(decision.number);
      continue;
    }
    read.damage.push_back(text_of(is_there.status()));
    if (reader->next(decision).ok()) FAIL("it goes on by itself");
    if (!reader->resume()) break;
  }
  read.ends_within_event = reader->ends_within_event();
  return read;
}

std::size_t first_block(std::span<const std::byte> log) {
  return detail::kDecisionHeadBytes + detail::load<std::uint32_t>(log.data() + 12);
}

/// Where each block begins.
std::vector<std::size_t> blocks_of(std::span<const std::byte> log) {
  std::vector<std::size_t> blocks;
  for (std::size_t at = first_block(log); at < log.size();
       at += detail::kBlockHeadBytes + detail::load<std::uint32_t>(log.data() + at + 4)) {
    blocks.push_back(at);
  }
  return blocks;
}

/// What a scheduler did with a few requests, in blocks of 512 bytes.
std::vector<std::byte> log_of_scheduler() {
  std::vector<std::byte> file;
  RecordedScheduler scheduler(log_options(), {.capacity_bytes = 4096, .spill = [&](std::span<const std::byte> bytes) {
                                                file.insert(file.end(), bytes.begin(), bytes.end());
                                              }});
  std::mt19937_64 random(9);
  SwapActions out;
  std::vector<TicketId> granted;
  std::uint64_t swaps = 0;
  for (int i = 0; i != 45; ++i) {
    const TimePoint now(std::chrono::milliseconds(100 * i));
    out.clear();
    if (!granted.empty() && random() % 2 == 0) {
      scheduler.on_serve_done(granted.back(), now, out);
      granted.pop_back();
    } else if (swaps != 0 && random() % 3 == 0) {
      scheduler.on_model_state(ModelId{static_cast<std::uint32_t>(random() % 4)}, ModelState::kReady, now, out);
      scheduler.on_swap_done(SwapId{swaps}, random() % 4 != 0, now, out);
    } else {
      scheduler.on_request(
          {.model = ModelId{static_cast<std::uint32_t>(random() % 4)}, .deadline = now + std::chrono::seconds(9)}, now,
          out);
    }
    for (const SwapAction& action : out) {
      if (const auto* grant = std::get_if<GrantTicket>(&action)) granted.push_back(grant->ticket);
      if (const auto* start = std::get_if<StartSwap>(&action)) swaps = static_cast<std::uint64_t>(start->swap);
    }
  }
  const std::vector<ModelId> all{ModelId{0}, ModelId{1}, ModelId{2}, ModelId{3}};
  scheduler.on_unload(all, std::chrono::seconds(1), TimePoint(std::chrono::seconds(8)), out);
  scheduler.log().flush();
  return file;
}

/// Makes the checksum of the block right, whatever is in it.
void reseal(std::span<std::byte> log, std::size_t block) {
  std::byte* const at = log.data() + block;
  const auto size = detail::load<std::uint32_t>(at + 4);
  detail::Checksum checksum;
  checksum.add(std::span(at, 32));
  checksum.add(std::span(at + detail::kBlockHeadBytes,
                         std::min<std::size_t>(size, log.size() - block - detail::kBlockHeadBytes)));
  detail::store(at + 32, checksum.value());
}

}  // namespace

TEST_CASE("DecisionReader: a log cut anywhere gives the events before the cut", "[swap][decision_log]") {
  const std::vector<std::byte> log = log_of(1, 120);
  const std::size_t begin = first_block(log);
  const auto blocks = blocks_of(log);
  std::size_t last = 0;
  for (std::size_t size = 0; size<log.size(); size += size> begin + 600 ? 31 : 1) {
    CAPTURE(size);
    const Read read = read_on(std::span(log).first(size));
    for (std::size_t i = 0; i != read.numbers.size(); ++i)
      if (read.numbers[i] != i) FAIL("event " << read.numbers[i] << " in place of " << i);
    REQUIRE(read.numbers.size() >= last);
    last = read.numbers.size();
    const bool at_block = std::find(blocks.begin(), blocks.end(), size) != blocks.end();
    REQUIRE(read.damage.empty() == at_block);
    if (!at_block && size > begin) REQUIRE_THAT(read.damage[0], ContainsSubstring("the log ends within"));
  }
  CHECK(read_on(log).numbers.size() == 120);
}

TEST_CASE("DecisionReader: a file that ends with a block within an event says so", "[swap][decision_log]") {
  const std::vector<std::byte> log = log_of(1, 120);
  const auto blocks = blocks_of(log);
  int within = 0;
  for (std::size_t i = 1; i != blocks.size(); ++i) {
    const Read read = read_on(std::span(log).first(blocks[i]));
    CHECK(read.damage.empty());
    within += read.ends_within_event ? 1 : 0;
  }
  CHECK(within > 0);
  CHECK(!read_on(log).ends_within_event);
}

TEST_CASE("DecisionReader: any flipped bit is noticed, and the other blocks are read", "[swap][decision_log]") {
  const std::vector<std::byte> log = log_of(2, 120);
  const auto blocks = blocks_of(log);
  REQUIRE(blocks.size() > 4);
  for (std::size_t bit = 0; bit < log.size() * 8; bit += 211) {
    std::vector<std::byte> damaged = log;
    damaged[bit / 8] ^= std::byte{1} << static_cast<int>(bit % 8);
    CAPTURE(bit / 8, bit % 8);
    const Read read = read_on(damaged);
    REQUIRE(!read.damage.empty());
    REQUIRE_THAT(read.damage[0], StartsWith("decision log: "));
    if (bit / 8 < blocks[0]) continue;
    REQUIRE_THAT(read.damage[0], StartsWith("decision log: byte "));
    REQUIRE(std::is_sorted(read.numbers.begin(), read.numbers.end()));
    REQUIRE(read.numbers.size() > 120 / 2);  // one of many blocks is lost, and the event that ends in it
  }
}

TEST_CASE("DecisionReader: a block that is missing or there twice is damage", "[swap][decision_log]") {
  const std::vector<std::byte> log = log_of(3, 120);
  const auto blocks = blocks_of(log);
  const auto at = [&](std::size_t block) { return log.begin() + static_cast<std::ptrdiff_t>(blocks[block]); };
  std::vector<std::byte> missing(log.begin(), at(2));
  missing.insert(missing.end(), at(3), log.end());
  const Read without = read_on(missing);
  REQUIRE(without.damage.size() == 1);
  CHECK(without.damage[0] == "decision log: byte " + std::to_string(blocks[2]) + ": block 3 follows block 1");
  CHECK(without.numbers.back() == 119);
  // All but what began in block 2, and what ended in it.
  const auto begun = detail::load<std::uint32_t>(log.data() + blocks[2] + 28);
  CHECK(without.numbers.size() >= 120 - begun - 1);

  std::vector<std::byte> twice(log.begin(), at(3));
  twice.insert(twice.end(), at(2), log.end());
  CHECK_THAT(read_on(twice).damage.at(0), ContainsSubstring("block 2 follows block 2"));
}

TEST_CASE("DecisionReader: bytes that are no log, or of another version, are refused", "[swap][decision_log]") {
  CHECK(DecisionReader::open({}).status().code() == absl::StatusCode::kInvalidArgument);
  std::vector<std::byte> log = log_of(1, 1);
  log[8] = std::byte{2};
  CHECK(text_of(DecisionReader::open(log).status()) == "decision log: version 2, and 1 is known");
  log[8] = std::byte{1};
  log[30] ^= std::byte{1};
  CHECK(DecisionReader::open(log).status().code() == absl::StatusCode::kDataLoss);
}

TEST_CASE("DecisionReader: hostile bytes behind right checksums harm nobody", "[swap][decision_log]") {
  std::mt19937_64 random(42);
  std::size_t damaged_ones = 0;
  for (int round = 0; round != 1'500; ++round) {
    static const std::vector<std::byte> whole = log_of(4, 60);
    std::vector<std::byte> log = whole;
    const auto blocks = blocks_of(log);
    const std::size_t block = blocks[random() % blocks.size()];
    const auto size = detail::load<std::uint32_t>(log.data() + block + 4);
    const std::size_t count = 1 + random() % 4;
    for (std::size_t i = 0; i != count; ++i) {
      // Of the head anything but the mark, of the payload any byte; more often than by chance all bits.
      const std::size_t place = random() % 4 == 0 ? 4 + random() % 28 : detail::kBlockHeadBytes + random() % size;
      log[block + place] = random() % 4 == 0 ? std::byte{0xff} : static_cast<std::byte>(random());
    }
    reseal(log, block);
    const Read read = read_on(log);
    damaged_ones += read.damage.empty() ? 0U : 1U;
  }
  CHECK(damaged_ones > 150);
}

TEST_CASE("DecisionReader: of a log of a scheduler, each bit flipped and each length harms nobody",
          "[swap][decision_log]") {
  const std::vector<std::byte> whole = log_of_scheduler();
  const std::size_t begin = first_block(whole);
  const auto blocks = blocks_of(whole);
  REQUIRE(blocks.size() >= 2);
  const std::size_t events = read_on(whole).numbers.size();
  for (std::size_t size = 0; size != whole.size(); ++size) {
    const Read read = read_on(std::span(whole).first(size));
    if (read.numbers.size() > events || (size < begin && !read.numbers.empty())) FAIL("cut at " << size);
  }
  std::vector<std::byte> log = whole;
  for (std::size_t bit = 0; bit != whole.size() * 8; ++bit) {
    const std::byte mask = std::byte{1} << static_cast<int>(bit % 8);
    log[bit / 8] ^= mask;
    const bool is_told = bit / 8 % 8 != bit % 8 || !read_on(log).damage.empty();  // of each byte, of one bit
    if (!is_told) FAIL("bit " << bit % 8 << " of byte " << bit / 8 << " is not noticed");
    // Behind a right checksum it may mean something else, or nothing.
    const auto after = std::upper_bound(blocks.begin(), blocks.end(), bit / 8);
    if (after != blocks.begin()) {
      const std::size_t block = *(after - 1);
      std::vector<std::byte> sealed = log;
      reseal(sealed, block);
      if (read_on(sealed).numbers.size() > sealed.size()) FAIL("events out of nothing");
    }
    log[bit / 8] ^= mask;
  }
  CHECK(log == whole);
}

TEST_CASE("DecisionReader: marks of blocks all over do not make it slow", "[swap][decision_log]") {
  // Each promises as many bytes as there are; to sum up all of these would take minutes.
  std::vector<std::byte> log = log_of(1, 1);
  const std::vector<std::byte> head(log.begin() + static_cast<std::ptrdiff_t>(first_block(log)), log.end());
  log.resize(std::size_t{8} << 20U);
  for (std::size_t at = first_block(log); at + detail::kBlockHeadBytes <= log.size(); at += detail::kBlockHeadBytes) {
    std::copy_n(head.begin(), detail::kBlockHeadBytes, log.begin() + static_cast<std::ptrdiff_t>(at));
    detail::store(log.data() + at + 4, static_cast<std::uint32_t>(log.size() - at - detail::kBlockHeadBytes));
  }
  const Read read = read_on(log);
  CHECK(read.numbers.empty());
  REQUIRE(read.damage.size() == 1);
  CHECK_THAT(read.damage[0], ContainsSubstring("the block is larger than any is"));
}

TEST_CASE("DecisionReader: hostile names behind a right checksum harm nobody", "[swap][decision_log]") {
  std::mt19937_64 random(43);
  const std::vector<std::byte> whole = log_of(4, 3);
  for (int round = 0; round != 1'500; ++round) {
    std::vector<std::byte> log = whole;
    const auto size = detail::load<std::uint32_t>(log.data() + 12);
    log[detail::kDecisionHeadBytes + 8 + random() % (size - 8)] =
        random() % 2 == 0 ? std::byte{0xff} : static_cast<std::byte>(random());
    detail::Checksum checksum;
    checksum.add(std::span(log).subspan(detail::kDecisionHeadBytes, size));
    detail::store(log.data() + 16, checksum.value());
    const Read read = read_on(log);
    REQUIRE(read.damage.empty() == (read.numbers.size() == 3));
  }
}
