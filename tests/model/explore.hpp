// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Runs a scenario under every schedule up to a bound, under random schedules, or under one.
///
///     const Result result = checker::explore({.name = "hand-over", .preemptions = 2}, [] {
///       Parker parker;
///       bool given = false;
///       world::Thread giver([&] { given = true; parker.unpark(); });
///       parker.park();
///       MODEL_ASSERT(given);
///       giver.join();
///     });
///     INFO(result.describe());
///     REQUIRE(result.passed());
///
/// A scenario is a function that creates world::Threads, has them meet through the library, joins them, and asserts. It
/// is run again for each schedule, so it must depend on nothing but the schedule: no real threads, time or randomness,
/// no state that outlives it. Whatever it allocates it frees. It may throw, but no exception may leave a thread.
///
/// A schedule says at which steps another thread takes over. It is preempted there if the first could have gone on, and
/// the search is complete for all schedules with up to so many preemptions, since most bugs need few (CHESS: Musuvathi
/// and Qadeer, "Iterative context bounding for systematic testing of multithreaded programs", 2007). Waiting, spinning
/// and ending are no preemptions.
///
/// What is not explored: reorderings that hardware or compilers may do, except stores that are delayed (`store_delay`)
/// and races, which are found from the declared memory orders whatever order things happened in.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "model/violation.hpp"

namespace penstock::checker {

struct Options {
  const char* name = "";
  // --- search ---
  std::uint32_t preemptions = 2;               ///< Bound of `explore`; 14 at most.
  std::uint64_t max_executions = 100'000'000;  ///< `explore` gives up, incomplete, after so many.
  bool prune = true;                           ///< Leaves states that were explored before.
  // --- random ---
  std::uint64_t executions = 100'000;
  std::uint64_t seed = 1;
  // --- the world ---
  bool store_delay = false;    ///< A store that is not sequentially consistent may become visible later, as on x86.
  bool heavy_barriers = true;  ///< The system has them (world.hpp).
  std::uint32_t timeouts = 2;  ///< Timed waits that may end early while something else could still run.
  std::uint32_t spurious_wakes = 0;   ///< Wake-ups, and failures of compare_exchange_weak, without reason.
  bool random_values = false;         ///< `random_below` is a decision; else it counts up, for each thread.
  bool standard_steps = false;        ///< Operations on std::atomic, as in stop tokens and shared_ptr, are steps, too.
  std::uint32_t fail_thread = 0;      ///< This creation of a thread, from 1, fails.
  std::uint64_t fail_allocation = 0;  ///< This allocation, from 1, fails.
  // --- limits ---
  std::size_t allowed_leaks = 0;     ///< Blocks that may be alive at the end.
  std::uint64_t max_steps = 20'000;  ///< An execution with more is a livelock.
  std::uint32_t spin_limit = 200;    ///< A loop that spins so often with nothing changing waits for a change.
};

struct Result {
  std::string name;
  std::optional<Violation> violation;
  bool complete = false;               ///< All schedules within `preemptions` have been seen, or there was a violation.
  bool exhausted = false;              ///< There are no schedules beyond them.
  std::optional<std::uint32_t> bound;  ///< Preemptions that `explore` came to.
  std::uint64_t executions = 0;        ///< In all.
  std::uint64_t pruned = 0;            ///< Of these, left in a state that had been explored.
  std::uint64_t last_bound = 0;        ///< Executions at the last bound alone.
  std::uint64_t steps = 0;
  std::uint64_t longest = 0;   ///< Steps of the longest execution.
  bool fault_reached = false;  ///< The thread creation or allocation that was to fail was made.
  double seconds = 0;

  [[nodiscard]] bool passed() const { return !violation && (complete || exhausted); }
  [[nodiscard]] bool found(Violation::Kind kind) const { return violation && violation->kind == kind; }
  /// One line of figures; after a violation what happened, its schedule and its trace.
  [[nodiscard]] std::string describe() const;
};

using Scenario = std::function<void()>;

/// Every schedule with 0, then up to 1, ... up to `preemptions` preemptions, until a violation.
Result explore(const Options& options, const Scenario& scenario);

/// `executions` random schedules, until a violation. The i-th has the seed `seed` + i. With PENSTOCK_MODEL_LONG=<n> in
/// the environment n times as many.
Result random(const Options& options, const Scenario& scenario);

/// The execution that `schedule`, from a violation, stands for; it brings its options along.
Result replay(std::string_view schedule, const Scenario& scenario);

/// Fails the 1st, 2nd, ... allocation in turn, each under every schedule, until there is none left to fail.
Result explore_allocation_failures(Options options, const Scenario& scenario);

/// While it lives, what the calling thread does belongs to the test and not to the scenario: its memory is not checked,
/// allocations outlive the execution, and operations on atomics and mutexes are no steps. For bookkeeping across
/// executions.
class Unobserved {
 public:
  Unobserved() noexcept;
  ~Unobserved();
  Unobserved(const Unobserved&) = delete;
  Unobserved& operator=(const Unobserved&) = delete;

 private:
  bool was_observing_;
};

/// While one lives nobody is preempted, no store is late and no choice is made: whoever runs goes on until he waits.
/// For setting up what the scenario is about, whose own schedules would drown the others.
class Calm {
 public:
  Calm() noexcept;
  ~Calm();
  Calm(const Calm&) = delete;
  Calm& operator=(const Calm&) = delete;
};

/// For MODEL_ASSERT.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace penstock::checker

/// Ends the execution with a violation if the condition is false. In any thread of a scenario.
#define MODEL_ASSERT(...) \
  ((__VA_ARGS__) ? void(0) : ::penstock::checker::assertion_failed(#__VA_ARGS__, __FILE__, __LINE__))
