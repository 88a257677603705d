// SPDX-License-Identifier: MIT

// Counts are exact and seen in order although their owners add without read-modify-writes: under every schedule.

#include "penstock/metrics/counter.hpp"
#include "penstock/metrics/histogram.hpp"

#include <cstdint>
#include <optional>

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using checker::must_find;
using checker::must_pass;
using checker::Options;
using Kind = checker::Violation::Kind;
namespace world = penstock::detail::world;

namespace {

/// Gives the calling thread a number of `pool`, as production does for the life of a thread.
class Numbered {
 public:
  explicit Numbered(detail::IndexPool& pool) : pool_(pool), index_(pool.claim()) { slot() = index_; }
  ~Numbered() {
    slot() = detail::IndexPool::kNone;
    pool_.release(index_);
  }
  Numbered(const Numbered&) = delete;
  Numbered& operator=(const Numbered&) = delete;

  [[nodiscard]] detail::ThreadIndex index() const { return index_; }

 private:
  static detail::ThreadIndex& slot() {
    return world::thread_local_value<detail::ThreadIndexTag, detail::ThreadIndexSlot>().index;
  }

  detail::IndexPool& pool_;
  const detail::ThreadIndex index_;
};

}  // namespace

TEST_CASE("Counters: exact under every schedule, with threads that own, share, and inherit a row", "[model][counter]") {
  must_pass({.name = "counters", .preemptions = 2}, [] {
    detail::IndexPool pool;
    Counters<1, 2> counters;
    const auto body = [&] {
      const Numbered numbered(pool);
      counters.add(0);
      counters.add(0, 10);
    };
    // Three threads and two rows: two numbers meet in one row, and a thread may take over the number of one that ended.
    world::Thread first(body);
    world::Thread second(body);
    body();
    first.join();
    second.join();
    MODEL_ASSERT(counters.value(0) == 33);
  });
}

TEST_CASE("Counters: exact when stores become visible late", "[model][counter]") {
  must_pass({.name = "counters, delayed stores", .preemptions = 2, .store_delay = true}, [] {
    detail::IndexPool pool;
    Counters<1, 1> counters;
    const auto body = [&] {
      const Numbered numbered(pool);
      counters.add(0);
    };
    world::Thread other(body);
    body();
    body();
    other.join();
    MODEL_ASSERT(counters.value(0) == 3);
  });
}

TEST_CASE("Counters: a snapshot shows no effect without its cause, under every schedule", "[model][counter]") {
  must_pass({.name = "snapshot", .preemptions = 3}, [] {
    detail::IndexPool pool;
    Counters<2, 1> counters;
    const auto body = [&] {
      const Numbered numbered(pool);
      counters.add(0);
      counters.add(1);
    };
    world::Thread owner(body);
    world::Thread sharer(body);
    const auto snapshot = counters.snapshot();
    MODEL_ASSERT(snapshot[0] >= snapshot[1]);
    owner.join();
    sharer.join();
    MODEL_ASSERT(counters.value(0) == 2 && counters.value(1) == 2);
  });
}

TEST_CASE("Counters: two threads with one number would lose a count", "[model][counter]") {
  // What the pool of numbers is there to prevent.
  must_find(Kind::kAssertion, {.name = "one number for two"}, 1'000, [] {
    Counters<1, 1> counters;
    const auto body = [&] {
      world::thread_local_value<detail::ThreadIndexTag, detail::ThreadIndexSlot>().index = 1;
      counters.add(0);
    };
    world::Thread other(body);
    body();
    other.join();
    MODEL_ASSERT(counters.value(0) == 2);
  });
}

TEST_CASE("LatencyHistogram: exact under every schedule, and when a row cannot be allocated", "[model][histogram]") {
  const auto record_with_number = [](detail::IndexPool& pool, LatencyHistogram& histogram) {
    const Numbered numbered(pool);
    histogram.record(Duration(3'000));
  };
  must_pass({.name = "histogram", .preemptions = 2, .executions = 2'000}, [&] {
    detail::IndexPool pool;
    LatencyHistogram histogram;
    world::Thread other([&] { record_with_number(pool, histogram); });
    record_with_number(pool, histogram);
    histogram.record(Duration(5'000'000'000));  // without a number: shared
    record_with_number(pool, histogram);
    other.join();
    const LatencyHistogram::Snapshot snapshot = histogram.snapshot();
    MODEL_ASSERT(snapshot.count() == 4);
    MODEL_ASSERT(snapshot.sum() == Duration(5'000'009'000));
    MODEL_ASSERT(snapshot.max() == Duration(5'000'000'000));
    MODEL_ASSERT(snapshot.count_up_to(Duration(3'000)) == 3);
  });
  const checker::Result failing = checker::explore_allocation_failures({.name = "histogram without memory"}, [&] {
    detail::IndexPool pool;
    LatencyHistogram histogram;
    record_with_number(pool, histogram);
    record_with_number(pool, histogram);
    MODEL_ASSERT(histogram.snapshot().count() == 2);
    MODEL_ASSERT(histogram.snapshot().sum() == Duration(6'000));
  });
  INFO(failing.describe());
  CHECK(failing.passed());
}

TEST_CASE("LatencyHistogram: sum and maximum cover what a snapshot counts, under every schedule",
          "[model][histogram]") {
  for (const bool with_number : {true, false}) {
    must_pass({.name = with_number ? "snapshot of an own row" : "snapshot of the shared row",
               .preemptions = 2,
               .executions = 2'000},
              [&] {
                detail::IndexPool pool;
                LatencyHistogram histogram;
                world::Thread other([&] {
                  std::optional<Numbered> numbered;
                  if (with_number) numbered.emplace(pool);
                  histogram.record(Duration(3'000));
                });
                const LatencyHistogram::Snapshot snapshot = histogram.snapshot();
                MODEL_ASSERT(snapshot.sum() >= Duration(3'000) * static_cast<std::int64_t>(snapshot.count()));
                MODEL_ASSERT(snapshot.count() == 0 || snapshot.max() == Duration(3'000));
                other.join();
              });
  }
}

TEST_CASE("IndexPool: the next holder of a number sees what the last one did", "[model][counter]") {
  must_pass({.name = "index pool", .preemptions = 3}, [] {
    detail::IndexPool pool;
    int plain[3] = {};
    const auto body = [&] {
      const Numbered numbered(pool);
      ++plain[numbered.index()];  // a race, if the hand-over did not order it
    };
    world::Thread other(body);
    body();
    body();
    other.join();
    MODEL_ASSERT(plain[1] + plain[2] == 3);
  });
}
