// SPDX-License-Identifier: MIT
#include "model/explore.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "model/crash_guard.hpp"
#include "model/execution.hpp"
#include "model/heap.hpp"
#include "model/history.hpp"
#include "model/region.hpp"
#include "model/shadow.hpp"
#include "model/trace.hpp"
#include "model/trail.hpp"

namespace penstock::checker {
namespace {

constexpr std::uint32_t kUnbounded = StateCache::kMaxSpent;

/// What the process needs once.
void prepare() {
  static const bool prepared = [] {
    Region::reserve();
    shadow.reserve();
    // libstdc++ takes short cuts, plain increments in shared_ptr, until the process has had a second thread.
    std::thread([] {}).join();
    return true;
  }();
  static_cast<void>(prepared);
}

/// The options that an execution depends on, each with a letter.
template <class AnyOptions, class Visitor>
void for_each_option(AnyOptions& options, Visitor visit) {
  visit('d', options.store_delay);
  visit('h', options.heavy_barriers);
  visit('t', options.timeouts);
  visit('s', options.spurious_wakes);
  visit('r', options.random_values);
  visit('x', options.standard_steps);
  visit('f', options.fail_thread);
  visit('a', options.fail_allocation);
  visit('k', options.allowed_leaks);
  visit('m', options.max_steps);
  visit('l', options.spin_limit);
}

/// Those that are not as usual, in front of a schedule: "d1s2:".
std::string prefix_of(const Options& options) {
  std::string prefix;
  std::vector<std::uint64_t> usual;
  const Options defaults;
  for_each_option(defaults, [&](char, auto value) { usual.push_back(value); });
  auto usual_value = usual.begin();
  for_each_option(options, [&](char letter, auto value) {
    if (value != *usual_value++) prefix += letter + std::to_string(value);
  });
  return prefix + ':';
}

/// Reads the prefix off the front of `schedule`; false if it is none.
bool take_prefix(std::string_view& schedule, Options& options) {
  for_each_option(options, [&](char letter, auto& value) {
    if (!schedule.starts_with(letter)) return;
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(schedule.data() + 1, schedule.data() + schedule.size(), number);
    if (error != std::errc{}) return;
    schedule.remove_prefix(static_cast<std::size_t>(end - schedule.data()));
    value = static_cast<std::remove_reference_t<decltype(value)>>(number);
  });
  if (!schedule.starts_with(':')) return false;
  schedule.remove_prefix(1);
  return true;
}

/// One call of explore, random or replay.
class Search {
 public:
  Search(const Options& options, const Scenario& scenario) : options_(options), scenario_(scenario) {
    prepare();
    result_.name = options.name;
    execution.set_schedule_prefix(prefix_);
  }

  Result explore() {
    StateCache cache;
    const std::uint32_t last = std::min(options_.preemptions, kUnbounded - 1);
    for (std::uint32_t bound = 0; bound <= last; ++bound) {
      result_.bound = bound;
      cache.clear();
      trail_.search();
      result_.last_bound = 0;
      bool bounded = false;
      do {
        if (result_.executions == options_.max_executions) return finish();
        if (!run(options_.prune ? &cache : nullptr, bound)) return finish();
        bounded = bounded || execution.was_bounded();
      } while (trail_.next());
      result_.exhausted = !bounded;
      if (result_.exhausted) break;
    }
    result_.complete = true;
    return finish();
  }

  Result random() {
    std::uint64_t factor = 1;
    if (const char* const text = std::getenv("PENSTOCK_MODEL_LONG"))
      factor = std::max(1ULL, std::strtoull(text, nullptr, 10));
    for (std::uint64_t i = 0; i != options_.executions * factor; ++i) {
      trail_.wander(options_.seed + i);
      if (!run(nullptr, kUnbounded)) {
        result_.violation->seed = options_.seed + i;
        return finish();
      }
    }
    result_.complete = true;
    return finish();
  }

  Result replay(std::string_view decisions) {
    if (!trail_.follow(decisions)) return no_schedule(decisions);
    run(nullptr, kUnbounded);
    result_.complete = true;
    return finish();
  }

  Result no_schedule(std::string_view text) {
    result_.violation = Violation{};
    result_.violation->kind = Violation::Kind::kNondeterminism;
    result_.violation->text = "'" + std::string(text) + "' is no schedule";
    return finish();
  }

 private:
  /// False if there was a violation.
  bool run(StateCache* cache, std::uint32_t bound) {
    trace.start(false);
    const Execution::Outcome outcome = execution.run(options_, trail_, cache, bound, scenario_);
    ++result_.executions;
    ++result_.last_bound;
    result_.steps += execution.steps();
    result_.longest = std::max(result_.longest, execution.steps());
    result_.fault_reached = result_.fault_reached || execution.fault_reached();
    if (outcome == Execution::Outcome::kPruned) ++result_.pruned;
    if (outcome != Execution::Outcome::kViolated) return true;
    Violation found = std::move(*execution.violation);
    const std::string decisions = trail_.schedule();
    found.schedule = prefix_ + decisions;
    record(found, decisions);
    result_.violation = std::move(found);
    return false;
  }

  /// Runs it again with the recorder on.
  void record(Violation& found, std::string_view decisions) {
    const std::uintptr_t address = execution.violation_address;
    const std::size_t size = execution.violation_size;
    Trail again;
    if (found.kind == Violation::Kind::kNondeterminism || !again.follow(decisions)) return;
    execution.record_next(address, size);
    const Execution::Outcome outcome = execution.run(options_, again, nullptr, kUnbounded, scenario_);
    found.trace = trace.lines();
    trace.start(false);
    if (outcome == Execution::Outcome::kViolated && execution.violation->kind == found.kind &&
        execution.violation->text == found.text) {
      return;
    }
    found.text +=
        " [the same schedule led elsewhere when it was repeated: the scenario depends on more than the schedule]";
  }

  Result finish() {
    result_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
    return std::move(result_);
  }

  const Options& options_;
  const Scenario& scenario_;
  const std::string prefix_ = prefix_of(options_);
  const CrashGuard guard_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  Trail trail_;
  Result result_;
};

}  // namespace

Result explore(const Options& options, const Scenario& scenario) { return Search(options, scenario).explore(); }

Result random(const Options& options, const Scenario& scenario) { return Search(options, scenario).random(); }

Result replay(std::string_view schedule, const Scenario& scenario) {
  Options options;
  options.name = "replay";
  const std::string_view whole = schedule;
  const bool understood = take_prefix(schedule, options);
  Search search(options, scenario);
  return understood ? search.replay(schedule) : search.no_schedule(whole);
}

Result explore_allocation_failures(Options options, const Scenario& scenario) {
  Result all;
  for (options.fail_allocation = 1;; ++options.fail_allocation) {
    Result one = explore(options, scenario);
    one.executions += all.executions;
    one.pruned += all.pruned;
    one.steps += all.steps;
    one.seconds += all.seconds;
    one.longest = std::max(one.longest, all.longest);
    if (!one.passed() || !one.fault_reached) {
      one.name += ", " + std::to_string(options.fail_allocation - 1) + " allocations failed in turn";
      return one;
    }
    all = std::move(one);
  }
}

std::string Result::describe() const {
  std::string text = name + ": " + std::to_string(executions) + " executions";
  if (pruned != 0) text += " (" + std::to_string(pruned) + " of them pruned)";
  text +=
      ", " + std::to_string(steps) + " steps, " + std::to_string(static_cast<std::uint64_t>(1000 * seconds)) + " ms";
  text += violation ? ", violated" : exhausted ? ", every schedule" : complete ? ", complete" : ", incomplete";
  if (complete && !exhausted && !violation)
    text += bound ? " for " + std::to_string(*bound) + " preemptions" : ", random";
  if (!violation) return text;
  text += "\n" + std::string(to_string(violation->kind)) + ": " + violation->text;
  text += "\nschedule: " + violation->schedule;
  if (violation->seed != 0) text += "\nseed: " + std::to_string(violation->seed);
  return text + "\n" + to_text(violation->trace);
}

std::string_view to_string(Violation::Kind kind) {
  switch (kind) {
    case Violation::Kind::kAssertion:
      return "assertion failed";
    case Violation::Kind::kRace:
      return "data race";
    case Violation::Kind::kDeadlock:
      return "deadlock or lost wake-up";
    case Violation::Kind::kLivelock:
      return "livelock";
    case Violation::Kind::kUseAfterFree:
      return "use after free";
    case Violation::Kind::kOutOfBounds:
      return "out of bounds";
    case Violation::Kind::kBadFree:
      return "bad free";
    case Violation::Kind::kLeak:
      return "leak";
    case Violation::Kind::kThreadLeft:
      return "thread left behind";
    case Violation::Kind::kMisuse:
      return "misuse of a mutex";
    case Violation::Kind::kException:
      return "escaped exception";
    case Violation::Kind::kCrash:
      return "crash";
    case Violation::Kind::kLimit:
      return "limit of the checker";
    case Violation::Kind::kNondeterminism:
      return "nondeterminism";
  }
  return "unknown";
}

}  // namespace penstock::checker
