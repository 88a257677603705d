// SPDX-License-Identifier: MIT

// The checker, checked: that its search visits what it claims to visit.

#include <algorithm>
#include <array>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <vector>

#include "penstock/core/detail/world.hpp"

#include "model/planted.hpp"
#include "model/trail.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using checker::must_find;
using checker::must_pass;
using checker::Options;
using checker::Result;
using checker::Unobserved;
using Kind = checker::Violation::Kind;
namespace world = penstock::detail::world;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;

/// Everything that threads of a program saw, one list for all.
using Outcome = std::vector<int>;

/// Explores `program`, which returns what happened in one execution, and collects all that can happen.
template <class Program>
std::set<Outcome> outcomes_of(const Options& options, Program program) {
  std::set<Outcome> outcomes;
  const Result result = checker::explore(options, [&] {
    const auto outcome = program();
    const Unobserved bookkeeping;
    outcomes.insert(Outcome(outcome.begin(), outcome.end()));
  });
  INFO(result.describe());
  CHECK(result.passed());
  return outcomes;
}

/// A random program of three threads on two numbers and a mutex, always the same for a seed.
std::array<int, 10> run_program(std::uint64_t seed) {
  constexpr int kSteps = 3;
  checker::Random random(seed);
  world::Atomic<int> numbers[2] = {{0}, {0}};
  world::Mutex mutex;
  std::array<int, 10> seen{};
  std::array<std::array<std::uint32_t, 2 * kSteps>, 3> codes;
  for (auto& thread : codes) {
    for (std::uint32_t& code : thread) code = random.below(6);
  }
  const auto body = [&](std::size_t thread) {
    for (std::size_t step = 0; step != kSteps; ++step) {
      world::Atomic<int>& number = numbers[codes[thread][2 * step + 1] % 2];
      int& result = seen[thread * kSteps + step];
      const int mark = static_cast<int>(10 * thread + step + 1);
      switch (codes[thread][2 * step]) {
        case 0:
        case 1:
          result = number.load(kAcquire);
          break;
        case 2:
          number.store(mark, kRelease);
          break;
        case 3:
          result = number.exchange(mark, kRelaxed);
          break;
        case 4: {
          const std::lock_guard lock(mutex);
          result = number.load(kRelaxed);
          number.store(result + 100, kRelaxed);
          break;
        }
        default: {
          int expected = 0;
          result = number.compare_exchange_strong(expected, mark, kAcquire, kRelaxed) ? 1 : -expected;
        }
      }
    }
  };
  world::Thread first(body, 0);
  world::Thread second(body, 1);
  body(2);
  first.join();
  second.join();
  seen[9] = 1000 * numbers[0].load(kRelaxed) + numbers[1].load(kRelaxed);
  return seen;
}

}  // namespace

TEST_CASE("Checker: counts of interleavings are those of arithmetic", "[model][checker]") {
  // Two threads of one step each beside the main thread's join: the orders of n independent marks.
  const auto orders = [](std::size_t threads, std::size_t steps) {
    return outcomes_of({.name = "orders", .preemptions = 14, .prune = false},
                       [=] {
                         world::Atomic<int> next{0};
                         std::array<int, 8> places{};
                         std::vector<world::Thread> running;
                         for (std::size_t thread = 0; thread != threads; ++thread) {
                           running.emplace_back([&, thread] {
                             for (std::size_t step = 0; step != steps; ++step)
                               places[thread * steps + step] = next.fetch_add(1, kRelaxed);
                           });
                         }
                         for (world::Thread& thread : running) thread.join();
                         return places;
                       })
        .size();
  };
  CHECK(orders(2, 1) == 2);
  CHECK(orders(3, 1) == 6);
  CHECK(orders(2, 2) == 6);   // 4! / (2! 2!)
  CHECK(orders(2, 3) == 20);  // 6! / (3! 3!)
  CHECK(orders(3, 2) == 90);  // 6! / (2! 2! 2!)
}

TEST_CASE("Checker: a pruned search sees every outcome that a full one sees", "[model][checker]") {
  std::uint64_t full = 0;
  std::uint64_t pruned = 0;
  for (std::uint64_t seed = 1; seed != 30; ++seed) {
    for (const std::uint32_t preemptions : {0U, 1U, 2U}) {
      Options options{.name = "random program", .preemptions = preemptions};
      const auto program = [&] { return run_program(seed); };
      const std::set<Outcome> some = outcomes_of(options, program);
      pruned += checker::explore(options, [&] { run_program(seed); }).executions;
      options.prune = false;
      const std::set<Outcome> all = outcomes_of(options, program);
      full += checker::explore(options, [&] { run_program(seed); }).executions;
      INFO("seed " << seed << ", " << preemptions << " preemptions");
      CHECK(some == all);
    }
  }
  CHECK(pruned < full);
}

TEST_CASE("Checker: random schedules reach nothing that a full search misses, and much of what it finds",
          "[model][checker]") {
  for (std::uint64_t seed = 1; seed != 15; ++seed) {
    const std::set<Outcome> all =
        outcomes_of({.name = "random program", .preemptions = 14}, [&] { return run_program(seed); });
    std::set<Outcome> some;
    const Result result = checker::random({.name = "random program", .executions = 10'000, .seed = seed}, [&] {
      const auto outcome = run_program(seed);
      const Unobserved bookkeeping;
      some.insert(Outcome(outcome.begin(), outcome.end()));
    });
    CHECK(result.passed());
    INFO("seed " << seed << ": " << some.size() << " of " << all.size());
    CHECK(std::includes(all.begin(), all.end(), some.begin(), some.end()));
    CHECK(2 * some.size() >= all.size());
  }
}

TEST_CASE("Checker: a delayed store is seen late, but in order and by its own thread at once", "[model][checker]") {
  const auto store_buffer = [] {
    world::Atomic<int> x{0};
    world::Atomic<int> y{0};
    std::array<int, 2> seen{};
    world::Thread other([&] {
      x.store(1, kRelease);
      MODEL_ASSERT(x.load(kRelaxed) == 1);
      seen[0] = y.load(kAcquire);
    });
    y.store(1, kRelease);
    seen[1] = x.load(kAcquire);
    other.join();
    return seen;
  };
  const Options strict{.name = "strict", .preemptions = 8};
  const Options delayed{.name = "delayed", .preemptions = 8, .store_delay = true};
  CHECK(outcomes_of(strict, store_buffer) == std::set<Outcome>{{0, 1}, {1, 0}, {1, 1}});
  CHECK(outcomes_of(delayed, store_buffer) == std::set<Outcome>{{0, 0}, {0, 1}, {1, 0}, {1, 1}});

  const auto message = [] {  // stores of one thread arrive in order
    world::Atomic<int> data{0};
    world::Atomic<int> flag{0};
    std::array<int, 2> seen{};
    world::Thread other([&] {
      data.store(1, kRelaxed);
      flag.store(1, kRelease);
    });
    seen[0] = flag.load(kAcquire);
    seen[1] = data.load(kRelaxed);
    other.join();
    return seen;
  };
  CHECK(outcomes_of(delayed, message) == std::set<Outcome>{{0, 0}, {0, 1}, {1, 1}});
}

TEST_CASE("Checker: a timed wait ends both ways, and time has passed if it timed out", "[model][checker]") {
  using namespace std::chrono_literals;
  std::set<bool> ends;
  const Result result = checker::explore({.name = "timed wait"}, [&] {
    world::Atomic<std::uint32_t> word{0};
    world::Thread waker([&] {
      word.store(1, kRelease);
      world::futex_wake_one(&word);
    });
    const world::TimePoint deadline = world::now() + 5ms;
    bool in_time = true;
    while (in_time && word.load(kAcquire) == 0) in_time = world::futex_wait_until(word, 0, deadline);
    if (!in_time) MODEL_ASSERT(world::now() >= deadline);
    waker.join();
    const Unobserved bookkeeping;
    ends.insert(in_time);
  });
  INFO(result.describe());
  CHECK(result.passed());
  CHECK(ends.size() == 2);

  must_pass({.name = "nobody wakes, but time passes"}, [] {
    world::Mutex mutex;
    world::CondVar never;
    std::unique_lock lock(mutex);
    const world::TimePoint start = world::now();
    MODEL_ASSERT(never.wait_until(lock, start + 1h) == std::cv_status::timeout);
    MODEL_ASSERT(world::now() - start == 1h);
  });
}

TEST_CASE("Checker: a wait that is not in a loop fails on a spurious wake-up only", "[model][checker]") {
  const auto scenario = [](bool loops) {
    world::Mutex mutex;
    world::CondVar ready;
    bool done = false;
    world::Thread other([&] {
      const std::lock_guard lock(mutex);
      done = true;
      ready.notify_one();
    });
    {
      std::unique_lock lock(mutex);
      if (!done) ready.wait(lock);
      while (loops && !done) ready.wait(lock);
      MODEL_ASSERT(done);
    }
    other.join();
  };
  must_pass({.name = "no spurious wake-ups"}, [&] { scenario(false); });
  must_find(Kind::kAssertion, {.name = "spurious wake-up", .spurious_wakes = 1}, 50, [&] { scenario(false); });
  must_pass({.name = "in a loop", .spurious_wakes = 2}, [&] { scenario(true); });
}

TEST_CASE("Checker: values by chance are explored, thread-local ones belong to their thread", "[model][checker]") {
  const auto values = outcomes_of({.name = "chance", .random_values = true}, [] {
    return std::array{static_cast<int>(world::random_below(3)), static_cast<int>(world::random_below(2))};
  });
  CHECK(values.size() == 6);

  struct Tag;
  struct Local {
    std::unique_ptr<int> number = std::make_unique<int>(0);
  };
  must_pass({.name = "thread-local"}, [] {
    const auto count = [] {
      for (int i = 1; i != 3; ++i) MODEL_ASSERT(++*world::thread_local_value<Tag, Local>().number == i);
    };
    world::Thread other(count);
    count();
    other.join();
  });
}

TEST_CASE("Checker: a global atomic begins every execution with the same value", "[model][checker]") {
  static constinit world::Atomic<int> global{7};
  must_pass({.name = "global"}, [] {
    MODEL_ASSERT(global.fetch_add(1, kRelaxed) == 7);
    world::Thread other([] { global.fetch_add(1, kRelaxed); });
    global.fetch_add(1, kRelaxed);
    other.join();
    MODEL_ASSERT(global.load(kRelaxed) == 10);
  });
  CHECK(global.load(kRelaxed) == 7);
}

TEST_CASE("Checker: a stop callback that is destroyed while it runs is waited for", "[model][checker]") {
  must_pass({.name = "stop_callback", .preemptions = 4, .standard_steps = true}, [] {
    std::stop_source source;
    world::Atomic<int> calls{0};
    world::Thread stopper([&] { source.request_stop(); });
    bool inside = false;
    {
      const std::stop_callback callback(source.get_token(), [&] {
        inside = true;
        calls.fetch_add(1, kRelaxed);
        inside = false;
      });
    }
    MODEL_ASSERT(!inside);
    stopper.join();
    MODEL_ASSERT(calls.load(kRelaxed) <= 1);
  });
}
