// SPDX-License-Identifier: MIT
// penstock-decisions [--from=N] [--until=N] [--model=NAME] [--summary] FILE: prints a decision log.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "penstock/swap/decision_reader.hpp"

namespace {

using namespace penstock;

struct Wish {
  std::uint64_t from = 0;
  std::uint64_t until = std::numeric_limits<std::uint64_t>::max();
  std::string model = {};
  std::string file = {};
  bool summary = false;
};

int usage() {
  std::fputs(
      "usage: penstock-decisions [--from=N] [--until=N] [--model=NAME] [--summary] FILE\n"
      "  --from, --until  only the events of these numbers; the last one is left out\n"
      "  --model          only the events that name this model, or bring about something that does\n"
      "  --summary        counts only\n"
      "Times are given from the first event on. Exit: 0, or 1 if the log is damaged or none.\n",
      stderr);
  return 64;
}

bool number_of(std::string_view text, std::uint64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

std::optional<Wish> read_arguments(int argc, char** argv) {
  Wish wish;
  for (int i = 1; i != argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--from=")) {
      if (!number_of(argument.substr(7), wish.from)) return std::nullopt;
    } else if (argument.starts_with("--until=")) {
      if (!number_of(argument.substr(8), wish.until)) return std::nullopt;
    } else if (argument.starts_with("--model=")) {
      wish.model = argument.substr(8);
    } else if (argument == "--summary") {
      wish.summary = true;
    } else if (argument.starts_with("--") || !wish.file.empty()) {
      return std::nullopt;
    } else {
      wish.file = argument;
    }
  }
  if (wish.file.empty()) return std::nullopt;
  return wish;
}

/// What is counted for a summary.
struct Counts {
  std::array<std::uint64_t, std::variant_size_v<SwapEvent>> events{};
  std::array<std::uint64_t, kSwapReasons> granted{};
  std::array<std::uint64_t, kSwapReasons> refused{};
  std::uint64_t swaps = 0;

  void add(const LoggedDecision& decision) {
    ++events[decision.event.index()];
    for (const SwapAction& action : decision.actions) {
      if (const auto* grant = std::get_if<GrantTicket>(&action)) ++granted[static_cast<std::size_t>(grant->reason)];
      if (const auto* reject = std::get_if<RejectTicket>(&action)) ++refused[static_cast<std::size_t>(reject->reason)];
      if (std::holds_alternative<StartSwap>(action)) ++swaps;
    }
  }
  void print() const {
    static const std::array<SwapEvent, std::variant_size_v<SwapEvent>> kinds{
        RequestEvent{},    CancelEvent{}, GrantRefusedEvent{}, ServeDoneEvent{}, SwapDoneEvent{},
        ModelStateEvent{}, UnloadEvent{}, StoppedEvent{},      TimerEvent{},     ShutdownEvent{}};
    const auto line = [](std::uint64_t count, std::string_view what, std::string_view why) {
      if (count == 0) return;
      std::printf("%12llu  %.*s%s%.*s\n", static_cast<unsigned long long>(count), static_cast<int>(what.size()),
                  what.data(), why.empty() ? "" : ": ", static_cast<int>(why.size()), why.data());
    };
    for (std::size_t i = 0; i != events.size(); ++i) line(events[i], name_of(kinds[i]), "");
    line(swaps, "swaps started", "");
    for (std::size_t i = 0; i != kSwapReasons; ++i) line(granted[i], "granted", to_string(static_cast<SwapReason>(i)));
    for (std::size_t i = 0; i != kSwapReasons; ++i) line(refused[i], "refused", to_string(static_cast<SwapReason>(i)));
  }
};

int print(const Wish& wish) {
  std::ifstream in(wish.file, std::ios::binary);
  if (!in) {
    std::fprintf(stderr, "penstock-decisions: cannot read '%s'\n", wish.file.c_str());
    return 1;
  }
  const std::vector<char> bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  auto reader = DecisionReader::open(std::as_bytes(std::span(bytes)));
  if (!reader.ok()) {
    std::fprintf(stderr, "penstock-decisions: %s\n", std::string(reader.status().message()).c_str());
    return 1;
  }
  const DecisionLogHeader& header = reader->header();
  std::printf("scheduler '%s', %zu models, options %016llx\n", header.name.c_str(), header.models.size(),
              static_cast<unsigned long long>(header.options_digest));
  const std::string named = wish.model.empty() ? "" : "'" + wish.model + "'";
  Counts counts;
  std::optional<TimePoint> begin;
  LoggedDecision decision;
  bool is_damaged = false;
  for (;;) {
    const auto is_there = reader->next(decision);
    if (!is_there.ok()) {
      is_damaged = true;
      std::printf("%s\n", std::string(is_there.status().message()).c_str());
      if (!reader->resume()) break;
      continue;
    }
    if (!*is_there) break;
    if (!begin) begin = decision.now;
    if (decision.number < wish.from || decision.number >= wish.until) continue;
    const std::string text = wish.summary && named.empty() ? "" : to_lines(decision, header, *begin);
    if (text.find(named) == std::string::npos) continue;
    if (!wish.summary) std::fputs(text.c_str(), stdout);
    counts.add(decision);
  }
  if (reader->ends_within_event()) std::puts("the log ends within an event");
  if (wish.summary) counts.print();
  return is_damaged ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::optional<Wish> wish = read_arguments(argc, argv);
  if (!wish) return usage();
  try {
    return print(*wish);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "penstock-decisions: %s\n", error.what());
    return 1;
  }
}
