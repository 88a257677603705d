// SPDX-License-Identifier: MIT

// One pool in trouble, another one beside it: what the second gets done does not change. A shared lock, queue or thread
// would show.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>

#include "exec/pool_support.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/sanitized.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::make_pool;
using testing::TestPool;

using Nanoseconds = std::chrono::nanoseconds;
using Moment = std::chrono::steady_clock::time_point;

Moment now() { return std::chrono::steady_clock::now(); }

enum class Trouble : std::uint8_t { kNone, kStuck, kThrowing };
constexpr std::size_t kTroubles = 3;

/// The pool in trouble. Stuck: every worker held, the queue full, each further job refused. Throwing: one worker, whose
/// jobs do nothing else and never run out.
class Neighbour {
 public:
  explicit Neighbour(Trouble trouble) : trouble_(trouble) {
    if (trouble == Trouble::kNone) return;
    const bool is_stuck = trouble == Trouble::kStuck;
    pool_.emplace(WorkerPoolOptions{.name = "a",
                                    .workers = is_stuck ? std::size_t{4} : 1,
                                    .queue_capacity = 8,
                                    .overflow = OverflowPolicy::kReject},
                  &gate_);
    if (is_stuck) {
      testing::hold(**pool_, gate_, 12);
      if (!gate_.await(4)) throw std::runtime_error("the workers did not come to the gate");
      if ((*pool_)->try_submit([] {}) != OpStatus::kFull) throw std::runtime_error("the pool is not full");
    } else {
      throw_on(**pool_);
      if (!eventually([&] { return thrown_ > 10; })) throw std::runtime_error("no job throws");
    }
  }
  Neighbour(const Neighbour&) = delete;
  Neighbour& operator=(const Neighbour&) = delete;
  ~Neighbour() { ends_ = true; }

  /// Whether `thrown` jobs within `time` is what a thread does that has a processor for itself, or nearly.
  [[nodiscard]] bool was_at_it(std::uint64_t thrown, Nanoseconds time) const {
    return trouble_ != Trouble::kThrowing || thrown >= static_cast<std::uint64_t>(time / 10us);
  }
  [[nodiscard]] std::uint64_t thrown() const { return thrown_; }

 private:
  /// A job brings the next one and throws.
  void throw_on(WorkerPool& pool) {
    static_cast<void>(pool.try_submit([this, &pool] {
      ++thrown_;
      if (!ends_) throw_on(pool);
      throw std::runtime_error("no such model");
    }));
  }

  const Trouble trouble_;
  Gate gate_;
  std::atomic<bool> ends_{false};
  std::atomic<std::uint64_t> thrown_{0};
  std::optional<TestPool> pool_;
};

/// What one round of the pool beside it took: its submitter to bring the jobs, its worker to run them. The two do it
/// one after the other, and each in less than a time slice: so who else wants the processors has little say.
struct Round {
  Nanoseconds submitted{};
  Nanoseconds ran{};
  bool has_company = true;  // the neighbour was at it all the time, and not waiting for a processor itself
};

constexpr int kJobs = 2000;

Round run_round(WorkerPool& pool, const Neighbour& neighbour) {
  static std::atomic<int> left{0};
  static Moment first;
  static std::uint64_t thrown_at_first;
  left = kJobs;
  Round round;
  pool.pause();
  bool accepted = true;
  const std::uint64_t thrown_before = neighbour.thrown();
  const Moment begin = now();
  for (int i = 0; i < kJobs; ++i) {
    const OpStatus status = pool.execute([&neighbour] {
      if (left.fetch_sub(1) != kJobs) return;
      thrown_at_first = neighbour.thrown();
      first = now();
    });
    accepted = accepted && status == OpStatus::kOk;
  }
  round.submitted = now() - begin;
  const std::uint64_t thrown_meanwhile = neighbour.thrown() - thrown_before;
  static std::uint64_t thrown_at_last;
  absl::StatusOr<Job<Moment>> last = pool.submit([&neighbour] {
    thrown_at_last = neighbour.thrown();
    return now();
  });
  pool.resume();
  const absl::StatusOr<Moment> end =
      last.ok() ? last->get(Context::background().with_timeout(20s)) : absl::StatusOr<Moment>(last.status());
  if (!accepted || !end.ok() || left != 0) throw std::runtime_error("a job of the pool without trouble was lost");
  round.ran = *end - first;
  round.has_company = neighbour.was_at_it(thrown_meanwhile, round.submitted) &&
                      neighbour.was_at_it(thrown_at_last - thrown_at_first, round.ran);
  return round;
}

/// The best of many rounds: those in which nothing else on the machine came in between.
struct Best {
  Nanoseconds submitted = Nanoseconds::max();
  Nanoseconds ran = Nanoseconds::max();
  int rounds = 0;
  void add(const Round& round) {
    if (!round.has_company) return;
    ++rounds;
    submitted = std::min(submitted, round.submitted);
    ran = std::min(ran, round.ran);
  }
};

/// As the throughput with and without the neighbour.
double ratio(Nanoseconds without, Nanoseconds with) {
  return static_cast<double>(without.count()) / static_cast<double>(with.count());
}

TEST_CASE("WorkerPool: what hangs or throws in one pool is not felt in the next", "[stress][worker_pool]") {
#if PENSTOCK_HAS_ASAN || PENSTOCK_HAS_TSAN
  constexpr double kLeast = 0;  // a sanitizer's own locks are shared by all
  constexpr int kMostTurns = 5;
#else
  constexpr double kLeast = 0.9;
  constexpr int kMostTurns = 400;
#endif
  constexpr int kFewestTurns = 5;
  constexpr int kRounds = 8;
  std::array<Best, kTroubles> best;
  const auto is_good = [&] {
    return std::all_of(best.begin() + 1, best.end(), [&](const Best& with) {
      return ratio(best[0].submitted, with.submitted) >= kLeast && ratio(best[0].ran, with.ran) >= kLeast;
    });
  };
  std::uint64_t jobs = 0;
  auto pool = make_pool({.name = "b", .workers = 1, .queue_capacity = kJobs + 1, .overflow = OverflowPolicy::kReject});
  int turns = 0;
  // More turns only bring each figure closer to what it would be on a machine of its own.
  for (; turns < kFewestTurns || (turns < kMostTurns && !is_good()); ++turns) {
    for (std::size_t trouble = 0; trouble < kTroubles; ++trouble) {
      const Neighbour neighbour(static_cast<Trouble>(trouble));
      for (int round = 0; round < kRounds; ++round) {
        best.at(trouble).add(run_round(*pool, neighbour));
        jobs += kJobs + 1;
      }
    }
  }
  for (std::size_t trouble = 1; trouble < kTroubles; ++trouble) {
    if (best.at(trouble).rounds == 0) {
      if (kLeast > 0) WARN("no processor was left for the neighbour: nothing to compare");
      continue;
    }
    INFO("trouble " << trouble << " after " << turns << " turns: submitting takes " << best[0].submitted.count()
                    << " and " << best.at(trouble).submitted.count() << " ns, running " << best[0].ran.count()
                    << " and " << best.at(trouble).ran.count() << " ns");
    CHECK(ratio(best[0].submitted, best.at(trouble).submitted) >= kLeast);
    CHECK(ratio(best[0].ran, best.at(trouble).ran) >= kLeast);
  }
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.succeeded == jobs);
  CHECK(stats.submitted == jobs);
  CHECK(stats.exceptions == 0);
  CHECK(discrepancies(stats, true).empty());
}

}  // namespace
}  // namespace penstock
