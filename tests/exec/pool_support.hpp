// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the tests of the pools share: pools that let their jobs go, and the books.

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "penstock/metrics/sink.hpp"
#include "support/eventually.hpp"
#include "support/gate.hpp"
#include "support/status_text.hpp"

namespace penstock::testing {

/// A pool that opens the gate of its jobs before it is destroyed, so that a failed test does not hang. On the machine's
/// clock it has only the limits that the test gives it: the default ones may be over where the machine is busy.
class TestPool {
 public:
  TestPool(WorkerPoolOptions options, Gate* gate) : gate_(gate) {
    if (options.name.empty()) options.name.push_back('p');
    const WorkerPoolOptions defaults;
    for (Duration WorkerPoolOptions::*limit :
         {&WorkerPoolOptions::enqueue_timeout, &WorkerPoolOptions::queue_wait_limit,
          &WorkerPoolOptions::processing_timeout, &WorkerPoolOptions::shutdown_timeout}) {
      if (options.clock == defaults.clock && options.*limit == defaults.*limit) options.*limit = std::chrono::hours(1);
    }
    auto pool = WorkerPool::create(std::move(options));
    if (!pool.ok()) throw std::runtime_error(std::string(pool.status().message()));
    pool_ = *std::move(pool);
  }
  struct Held {};
  TestPool(WorkerPoolOptions options, Gate& gate, Held) : TestPool(std::move(options), &gate) {
    static_cast<void>(pool_->try_submit([&gate] { gate.pass(); }));
    if (!gate.await(1)) throw std::runtime_error("the worker did not come to the gate");
  }
  TestPool(const TestPool&) = delete;
  TestPool& operator=(const TestPool&) = delete;
  ~TestPool() {
    if (gate_ != nullptr) gate_->open();
  }

  WorkerPool* operator->() const { return pool_.get(); }
  WorkerPool& operator*() const { return *pool_; }
  void destroy() { pool_.reset(); }

 private:
  Gate* const gate_;
  std::unique_ptr<WorkerPool> pool_;
};

/// Throws, and so fails the test, if the options are no good.
inline TestPool make_pool(WorkerPoolOptions options) { return TestPool(std::move(options), nullptr); }
inline TestPool make_pool(Gate& gate, WorkerPoolOptions options) { return TestPool(std::move(options), &gate); }

/// A pool of one worker, which is held up at the gate by the first job.
inline TestPool held_pool(Gate& gate, WorkerPoolOptions options) {
  options.workers = 1;
  return TestPool(std::move(options), gate, TestPool::Held{});
}

/// Jobs that stay at the gate. Throws, and so fails the test, if one is refused.
inline void hold(WorkerPool& pool, Gate& gate, int jobs = 1) {
  for (int i = 0; i < jobs; ++i) {
    if (pool.try_submit([&gate] { gate.pass(); }) != OpStatus::kOk) throw std::runtime_error("a job was refused");
  }
}

/// Whether a shutdown has begun: then that is why even a submission is refused that has ended already.
inline bool is_closed(WorkerPool& pool) {
  const Context ended = Context::background().with_timeout(std::chrono::seconds(0));
  return pool.try_submit([] {}, nullptr, {.context = ended}) == OpStatus::kClosed;
}

/// Of a pool with one worker; throws, and so fails the test, if it shows another number.
inline WorkerInfo worker_of(WorkerPool& pool) {
  const std::vector<WorkerInfo> workers = pool.workers();
  if (workers.size() != 1) throw std::runtime_error("there are " + std::to_string(workers.size()) + " workers");
  return workers.front();
}

/// Whether nothing has become less between two snapshots.
inline bool only_grows(const WorkerPoolCounts& before, const WorkerPoolCounts& after) {
  using Numbers = std::array<std::uint64_t, sizeof(WorkerPoolCounts) / sizeof(std::uint64_t)>;
  const auto from = std::bit_cast<Numbers>(before);
  const auto to = std::bit_cast<Numbers>(after);
  return std::equal(from.begin(), from.end(), to.begin(), std::less_equal<>());
}

/// What does not add up in one snapshot; empty if all does. The histograms are filled without a lock, and read before
/// the counts: with `at_rest` they agree.
inline std::string discrepancies(const WorkerPoolStats& s, bool at_rest = false) {
  std::string wrong;
  const auto check = [&wrong](const char* law, std::uint64_t left, std::uint64_t right) {
    if (left != right) wrong += std::string(law) + ": " + std::to_string(left) + " and " + std::to_string(right) + "; ";
  };
  check("submitted", s.submitted,
        s.accepted + s.rejected + s.dropped_newest + s.enqueue_timeouts + s.enqueue_cancelled + s.refused_closed +
            s.enqueue_failures + s.submitting);
  check("accepted", s.accepted + s.taken_over,
        s.starting + s.queue_depth + s.running + s.succeeded + s.failed + s.panicked + s.cancelled + s.queue_expired +
            s.dropped_oldest + s.shed + s.processing_timeouts + s.abandoned + s.handed_over);
  check("live", s.live, s.idle + s.busy);
  check("states", s.live,
        std::accumulate(s.workers_by_state.begin() + 1, s.workers_by_state.end(), std::uint64_t{0}));  // but kStarting
  check("crew", s.live + s.joining, s.configured + s.replacements + s.retiring);
  if (at_rest) {
    check("queue_wait", s.queue_wait.count(), s.started);
    check("run", s.run.count(), s.started);
    std::uint64_t pairs = 0;
    for (const auto& row : s.wait_run.jobs) pairs = std::accumulate(row.begin(), row.end(), pairs);
    check("wait_run", pairs, s.started);
  }
  if (s.queue_wait.count() > s.started) wrong += "queue_wait counts more than were started; ";
  if (s.run.count() > s.started) wrong += "run counts more than were started; ";
  if (s.queue_bytes < (s.starting + s.queue_depth) * 64) wrong += "queue_bytes below the least for its jobs; ";
  if (s.starting + s.queue_depth == 0 && s.queue_bytes != 0) wrong += "queue_bytes without a job; ";
  if (s.workers_removed != 0) return wrong;             // the jobs that were to be theirs wait with the others
  if (s.taken_over + s.handed_over != 0) return wrong;  // and so do those of other pools, and of coroutines in line
  if (s.queue_depth > s.queue_capacity) wrong += "queue_depth over capacity; ";
  if (s.queue_high_water > s.queue_capacity) wrong += "queue_high_water over capacity; ";
  return wrong;
}

/// Keeps samples by name and the values of their labels.
class Samples : public MetricSink {
 public:
  void counter(std::string_view name, std::string_view, Labels labels, std::uint64_t value) override {
    keep(name, labels, static_cast<double>(value));
  }
  void gauge(std::string_view name, std::string_view, Labels labels, double value) override {
    keep(name, labels, value);
  }
  void histogram(std::string_view name, std::string_view, Labels labels,
                 const LatencyHistogram::Snapshot& value) override {
    keep(name, labels, static_cast<double>(value.count()));
  }

  /// -1: there is none.
  [[nodiscard]] double at(const std::string& key) const { return values_.count(key) == 0 ? -1 : values_.at(key); }

  [[nodiscard]] bool has_doubles() const { return has_doubles_; }

 private:
  void keep(std::string_view name, Labels labels, double value) {
    std::string key(name);
    for (const Label& label : labels) key += " " + std::string(label.value);
    has_doubles_ = !values_.emplace(key, value).second || has_doubles_;
  }

  std::map<std::string, double> values_;
  bool has_doubles_ = false;
};

}  // namespace penstock::testing
