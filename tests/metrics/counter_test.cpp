// SPDX-License-Identifier: MIT
#include "penstock/metrics/counter.hpp"

#include <array>
#include <atomic>
#include <barrier>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <limits>
#include <set>
#include <thread>
#include <vector>

#include "support/aborts.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using testing::ContainsSubstring;

// What a count costs in memory is part of its contract.
static_assert(sizeof(Counter) == 2048);
static_assert(sizeof(Counters<7>) == 2048);
static_assert(sizeof(Counters<15>) == 4096);
static_assert(sizeof(Counters<23>) == 6144);
static_assert(sizeof(Counters<7, 1>) == 128);
static_assert(alignof(Counter) == detail::kCachePadding);

/// Runs `body(index)` in `threads` threads that begin together, and waits for them.
template <class Body>
void run_together(unsigned threads, Body body) {
  std::barrier start(static_cast<std::ptrdiff_t>(threads));
  std::vector<std::thread> running;
  for (unsigned index = 0; index < threads; ++index) {
    running.emplace_back([&, index] {
      start.arrive_and_wait();
      body(index);
      start.arrive_and_wait();  // nobody gives its thread index back before all have used theirs
    });
  }
  for (std::thread& thread : running) thread.join();
}

TEST_CASE("Counter: adds up", "[metrics][counter]") {
  Counter counter;
  CHECK(counter.value() == 0);
  counter.add();
  counter.add(41);
  counter.add(0);
  CHECK(counter.value() == 42);
}

TEST_CASE("Counter: wraps around at 2^64", "[metrics][counter]") {
  Counter counter;
  counter.add(std::numeric_limits<std::uint64_t>::max());
  std::thread([&] { counter.add(3); }).join();
  CHECK(counter.value() == 2);
}

TEST_CASE("Counters: counts of a group are independent and named by enumerators or indexes", "[metrics][counter]") {
  enum class Event : std::uint8_t { kSubmitted, kStarted, kFinished };
  Counters<3> counters;
  counters.add(Event::kSubmitted, 5);
  counters.add(Event::kFinished);
  counters.add(1U, 2);
  CHECK(counters.value(Event::kSubmitted) == 5);
  CHECK(counters.value(Event::kStarted) == 2);
  CHECK(counters.value(2) == 1);
  CHECK(counters.snapshot() == Counters<3>::Snapshot{5, 2, 1});
}

TEST_CASE("Counters: an index beyond the group is caught", "[metrics][counter]") {
  Counters<3> counters;
  volatile unsigned index = 3;
  CHECK_THAT(testing::message_of_abort([&] { counters.add(index); }), ContainsSubstring("no such count"));
  CHECK_THAT(testing::message_of_abort([&] { static_cast<void>(counters.value(index)); }),
             ContainsSubstring("no such count"));
}

TEST_CASE("Counters: no count is lost, whatever the number of threads and rows", "[metrics][counter][stress]") {
  constexpr std::uint64_t kRounds = 20'000;
  const unsigned threads = GENERATE(2U, 16U, 40U);
  Counter single;
  Counters<5> many_rows;
  Counters<2, 2> few_rows;
  Counters<2, 1> one_row;
  run_together(threads, [&](unsigned index) {
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      single.add();
      many_rows.add(index % 5);
      few_rows.add(index % 2, round % 3);
      one_row.add(1);
    }
  });
  CHECK(single.value() == threads * kRounds);
  std::uint64_t sum = 0;
  for (const std::uint64_t count : many_rows.snapshot()) sum += count;
  CHECK(sum == threads * kRounds);
  std::uint64_t expected = 0;
  for (std::uint64_t round = 0; round < kRounds; ++round) expected += round % 3;
  CHECK(few_rows.value(0) + few_rows.value(1) == threads * expected);
  CHECK(one_row.value(1) == threads * kRounds);
  CHECK(one_row.value(0) == 0);
}

TEST_CASE("Counters: threads that come and go lose nothing", "[metrics][counter][stress]") {
  constexpr unsigned kGenerations = 300;
  Counters<1, 4> counters;
  std::vector<std::thread> parents;
  for (int parent = 0; parent < 3; ++parent) {
    parents.emplace_back([&] {
      // Each takes over the index, and with it the row, of one that has just ended in some parent.
      for (unsigned generation = 0; generation < kGenerations; ++generation) {
        std::thread([&] {
          for (int round = 0; round < 100; ++round) counters.add(0);
        }).join();
      }
    });
  }
  for (std::thread& parent : parents) parent.join();
  CHECK(counters.value(0) == 3 * kGenerations * 100);
}

// Destroyed after the value that holds the thread's index, because it was made before.
struct CountsAtTheEnd {
  Counter* counter = nullptr;
  detail::ThreadIndex* index = nullptr;
  ~CountsAtTheEnd() {
    if (counter == nullptr) return;
    counter->add();
    *index = detail::thread_index();
  }
};

TEST_CASE("Counter: counts that are made while a thread ends are not lost", "[metrics][counter]") {
  Counter counter;
  detail::ThreadIndex last_index = detail::kUnassigned;
  for (int round = 0; round < 3; ++round) {
    std::thread([&] {
      thread_local CountsAtTheEnd at_the_end;
      at_the_end.counter = &counter;
      at_the_end.index = &last_index;
      counter.add();
    }).join();
    CHECK(last_index == detail::IndexPool::kNone);
  }
  CHECK(counter.value() == 6);
}

TEST_CASE("Counters: a snapshot shows no effect without its cause", "[metrics][counter][stress]") {
  constexpr std::size_t kSteps[] = {0, 20, 40};  // on lines of their own, or the processor would read them all at once
  Counters<41> counters;
  std::atomic<bool> stop{false};
  std::array<std::uint64_t, 3> rounds{};
  std::vector<std::thread> threads;
  for (std::uint64_t& count : rounds) {
    threads.emplace_back([&] {
      for (std::uint64_t done = 1; !stop.load(std::memory_order_relaxed); ++done) {
        for (const std::size_t step : kSteps) counters.add(step);
        count = done;
      }
    });
  }
  bool ordered = true;
  bool monotone = true;
  Counters<41>::Snapshot last{};
  for (int round = 0; round < 20'000; ++round) {
    const auto now = counters.snapshot();
    ordered = ordered && now[0] >= now[20] && now[20] >= now[40];
    for (const std::size_t step : kSteps) monotone = monotone && now[step] >= last[step];
    last = now;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(ordered);
  CHECK(monotone);
  for (const std::size_t step : kSteps) CHECK(counters.value(step) == rounds[0] + rounds[1] + rounds[2]);
}

TEST_CASE("Gauge: goes up and down, and keeps high-water marks", "[metrics][counter]") {
  Gauge gauge;
  CHECK(gauge.value() == 0);
  gauge.set(7);
  gauge.add(-10);
  CHECK(gauge.value() == -3);
  gauge.raise_to(-4);
  CHECK(gauge.value() == -3);
  gauge.raise_to(12);
  CHECK(gauge.value() == 12);
}

TEST_CASE("Gauge: threads do not disturb each other", "[metrics][counter][stress]") {
  Gauge balance;
  Gauge mark;
  run_together(8, [&](unsigned index) {
    for (int round = 0; round < 10'000; ++round) {
      balance.add(3);
      balance.add(-2);
      mark.raise_to(static_cast<std::int64_t>(index) * 10'000 + round);
    }
  });
  CHECK(balance.value() == 80'000);
  CHECK(mark.value() == 79'999);
}

TEST_CASE("IndexPool: gives each number once, the lowest first, and says when there is none left",
          "[metrics][counter]") {
  detail::IndexPool pool;
  for (detail::ThreadIndex index = 1; index <= detail::IndexPool::kMaxIndex; ++index) REQUIRE(pool.claim() == index);
  CHECK(pool.claim() == detail::IndexPool::kNone);
  pool.release(700);
  pool.release(64);
  pool.release(65);
  CHECK(pool.claim() == 64);
  CHECK(pool.claim() == 65);
  CHECK(pool.claim() == 700);
  CHECK(pool.claim() == detail::IndexPool::kNone);
}

TEST_CASE("IndexPool: two holders never have the same number", "[metrics][counter][stress]") {
  detail::IndexPool pool;
  std::vector<int> plain(64,
                         0);  // written by the holder of a number without an atomic: the point under ThreadSanitizer
  std::atomic<int> collisions{0};
  std::vector<std::atomic<bool>> held(64);
  run_together(6, [&](unsigned) {
    for (int round = 0; round < 20'000; ++round) {
      const detail::ThreadIndex index = pool.claim();
      if (held[index].exchange(true)) ++collisions;
      ++plain[index];
      held[index] = false;
      pool.release(index);
    }
  });
  CHECK(collisions == 0);
  int sum = 0;
  for (const int count : plain) sum += count;
  CHECK(sum == 6 * 20'000);
}

TEST_CASE("thread_index: running threads have different ones", "[metrics][counter]") {
  const detail::ThreadIndex mine = detail::assign_thread_index();
  std::vector<detail::ThreadIndex> indexes(50);
  run_together(50, [&](unsigned index) { indexes[index] = detail::assign_thread_index(); });
  const std::set<detail::ThreadIndex> different(indexes.begin(), indexes.end());
  CHECK(different.size() == 50);
  CHECK_FALSE(different.contains(detail::kUnassigned));
  CHECK_FALSE(different.contains(mine));
  CHECK(detail::assign_thread_index() == mine);
}

struct Hop {
  struct promise_type {
    Hop get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
  std::coroutine_handle<promise_type> handle;
};

// Compilers have been known to keep the address of a thread-local value across a suspension.
Hop hop(detail::ThreadIndex* before, detail::ThreadIndex* after, Counter* counter) {
  counter->add();
  *before = detail::thread_index();
  co_await std::suspend_always{};
  counter->add();
  *after = detail::thread_index();
}

TEST_CASE("thread_index: a coroutine that is resumed elsewhere has the index of that thread", "[metrics][counter]") {
  detail::ThreadIndex before = detail::kUnassigned;
  detail::ThreadIndex after = detail::kUnassigned;
  detail::ThreadIndex other = detail::kUnassigned;
  Counter counter;
  const Hop coroutine = hop(&before, &after, &counter);
  std::thread([&] {
    coroutine.handle.resume();
    other = detail::assign_thread_index();
  }).join();
  CHECK(before == detail::assign_thread_index());
  CHECK(after == other);
  CHECK(before != after);
  CHECK(counter.value() == 2);
  coroutine.handle.destroy();
}

}  // namespace
}  // namespace penstock
