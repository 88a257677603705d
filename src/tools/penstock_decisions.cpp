// SPDX-License-Identifier: MIT
// penstock-decisions [--help] [--from=N] [--until=N] [--model=NAME] [--summary] FILE: prints a decision log.
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "penstock/swap/decision_reader.hpp"

namespace {

using namespace penstock;

struct Wish {
  std::uint64_t from = 0;
  std::uint64_t until = std::numeric_limits<std::uint64_t>::max();
  std::string model = {};
  std::string file = {};
  bool has_model = false;
  bool summary = false;
  bool help = false;
};

constexpr const char* kUsage =
    "usage: penstock-decisions [--from=N] [--until=N] [--model=NAME] [--summary] FILE\n"
    "  --from, --until  only the events of these numbers; the last one is left out\n"
    "  --model          only the events that name this model, or bring about something that does\n"
    "  --summary        counts only\n"
    "Times are given from the first event on. Where the log is damaged, a line says so, and it goes on behind that.\n"
    "Exit: 0; 1 if the log is damaged, or FILE is none or cannot be read; 64 for wrong arguments.\n";

bool number_of(std::string_view text, std::uint64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

/// What is wrong with the arguments, or nothing.
std::string read_arguments(std::span<char* const> arguments, Wish& wish) {
  for (const std::string_view argument : arguments) {
    const std::string_view value = argument.substr(std::min(argument.find('=') + 1, argument.size()));
    if (argument == "--help" || argument == "-h") {
      wish.help = true;
      return "";
    }
    if (argument.starts_with("--from=") || argument.starts_with("--until=")) {
      std::uint64_t& number = argument[2] == 'f' ? wish.from : wish.until;
      if (!number_of(value, number)) return "'" + std::string(argument) + "': not a number";
    } else if (argument.starts_with("--model=")) {
      wish.model = value;
      wish.has_model = true;
    } else if (argument == "--summary") {
      wish.summary = true;
    } else if (argument.starts_with("-") && argument != "-") {
      return "unknown option '" + std::string(argument) + "'";
    } else if (!wish.file.empty()) {
      return "one FILE, and '" + std::string(argument) + "' is another";
    } else {
      wish.file = argument;
    }
  }
  return wish.file.empty() ? "FILE is missing" : "";
}

/// Whether the decision is about a model.
class Names {
 public:
  explicit Names(ModelId model) : model_(model) {}

  bool operator()(const LoggedDecision& decision) const {
    return std::visit(*this, decision.event) ||
           std::any_of(decision.actions.begin(), decision.actions.end(), [&](const SwapAction& action) {
             return std::visit([&](const auto& each) { return in_action(each, decision.actions); }, action);
           });
  }
  bool operator()(const RequestEvent& event) const { return event.request.model == model_; }
  bool operator()(const ModelStateEvent& event) const { return event.model == model_; }
  bool operator()(const UnloadEvent& event) const { return is_in(event.models); }
  template <class Event>
  bool operator()(const Event&) const {
    return false;
  }

 private:
  [[nodiscard]] bool is_in(std::span<const ModelId> models) const {
    return std::find(models.begin(), models.end(), model_) != models.end();
  }
  [[nodiscard]] bool in_action(const StartSwap& action, const SwapActions& actions) const {
    return action.target == model_ || is_in(actions.models(action.evict));
  }
  [[nodiscard]] bool in_action(const CancelSwap& action, const SwapActions&) const { return action.target == model_; }
  [[nodiscard]] bool in_action(const GrantTicket& action, const SwapActions&) const { return action.model == model_; }
  [[nodiscard]] bool in_action(const RejectTicket& action, const SwapActions&) const { return action.model == model_; }
  [[nodiscard]] bool in_action(const StopModels& action, const SwapActions& actions) const {
    return is_in(actions.models(action.models));
  }
  [[nodiscard]] static bool in_action(const WakeAt&, const SwapActions&) { return false; }

  ModelId model_;
};

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

int complain(const std::string& what) {
  std::fprintf(stderr, "penstock-decisions: %s\n", what.c_str());
  return 1;
}

bool read_file(const std::string& name, std::vector<char>& bytes) {
  constexpr std::size_t kPart = std::size_t{1} << 20U;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(name.c_str(), "rb"), std::fclose);
  if (file == nullptr) return false;
  std::size_t size = 0;
  do {
    bytes.resize(size + kPart);
    size += std::fread(bytes.data() + size, 1, kPart, file.get());
  } while (size == bytes.size());
  bytes.resize(size);
  return std::ferror(file.get()) == 0;
}

/// The header, with names that do nothing to a terminal and take one line, whatever is in the file.
DecisionLogHeader printable(DecisionLogHeader header) {
  const auto clean = [](std::string& name) {
    std::replace_if(
        name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  };
  clean(header.name);
  std::for_each(header.models.begin(), header.models.end(), clean);
  return header;
}

/// Prints the events, or counts them. Returns: whether the log is whole.
bool print(const Wish& wish, DecisionReader& reader, std::optional<ModelId> model) {
  const DecisionLogHeader header = printable(reader.header());
  std::printf("scheduler '%s', %zu models, options %016llx\n", header.name.c_str(), header.models.size(),
              static_cast<unsigned long long>(header.options_digest));
  Counts counts;
  std::optional<TimePoint> begin;
  LoggedDecision decision;
  bool is_whole = true;
  for (;;) {
    const auto is_there = reader.next(decision);
    if (!is_there.ok()) {
      is_whole = false;
      std::printf("%s\n", std::string(is_there.status().message()).c_str());
      if (!reader.resume()) break;
      continue;
    }
    if (!*is_there) break;
    if (!begin) begin = decision.now;
    if (decision.number < wish.from || decision.number >= wish.until) continue;
    if (model && !Names(*model)(decision)) continue;
    if (!wish.summary) std::fputs(to_lines(decision, header, *begin).c_str(), stdout);
    counts.add(decision);
  }
  if (reader.ends_within_event()) std::puts("the log ends within an event");
  if (wish.summary) counts.print();
  return is_whole;
}

int run(const Wish& wish) {
  std::vector<char> bytes;
  if (!read_file(wish.file, bytes)) return complain("cannot read '" + wish.file + "': " + std::strerror(errno));
  auto reader = DecisionReader::open(std::as_bytes(std::span(bytes)));
  if (!reader.ok()) return complain("'" + wish.file + "': " + std::string(reader.status().message()));
  std::optional<ModelId> model;
  if (wish.has_model) {
    const std::vector<std::string>& models = reader->header().models;
    const auto found = std::find(models.begin(), models.end(), wish.model);
    if (found == models.end()) return complain("'" + wish.file + "': no model '" + wish.model + "' in this log");
    model = static_cast<ModelId>(found - models.begin());
  }
  const bool is_whole = print(wish, *reader, model);
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) return complain("cannot write its output");
  return is_whole ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Wish wish;
  const std::string wrong = read_arguments(std::span(argv, static_cast<std::size_t>(argc)).subspan(1), wish);
  if (!wrong.empty()) {
    complain(wrong);
    std::fputs(kUsage, stderr);
    return 64;
  }
  if (wish.help) {
    std::fputs(kUsage, stdout);
    return 0;
  }
  try {
    return run(wish);
  } catch (const std::exception& error) {
    return complain(error.what());
  }
}
