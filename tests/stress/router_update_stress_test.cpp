// SPDX-License-Identifier: MIT

// A provider that is updated all the time, under load: no job is lost, none runs twice, none is refused.

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/route/provider_router.hpp"
#include "support/catch.hpp"
#include "support/rounds.hpp"
#include "support/sanitized.hpp"

using namespace std::chrono_literals;
using penstock::Job;
using penstock::OverflowPolicy;
using penstock::ProviderOptions;
using penstock::ProviderRouter;

namespace {

constexpr std::size_t kSubmitters = 4;

/// A million jobs and a hundred updates; a tenth of that where a sanitizer makes each of them slow.
constexpr std::size_t kPart = PENSTOCK_HAS_ASAN != 0 || PENSTOCK_HAS_TSAN != 0 ? 10 : 1;

ProviderOptions options_of(int round) {
  ProviderOptions options;
  options.pool.workers = 1 + static_cast<std::size_t>(round % 3);
  options.pool.queue_capacity = 4 + static_cast<std::size_t>(round % 5) * 16;
  options.pool.overflow = OverflowPolicy::kBlock;
  options.pool.enqueue_timeout = options.pool.queue_wait_limit = options.pool.processing_timeout = 1h;
  options.pool.discipline = round % 4 == 3 ? penstock::QueueDiscipline::kLifo : penstock::QueueDiscipline::kFifo;
  options.pool.measure = round % 2 == 0;
  options.breaker.emplace();
  return options;
}

}  // namespace

TEST_CASE("ProviderRouter: a million jobs and a hundred updates, none lost and none doubled",
          "[route][provider_router][stress]") {
  const std::size_t each = 250'000 / kPart;
  const int updates = 100 / static_cast<int>(kPart);
  const std::size_t jobs = each * kSubmitters;

  ProviderRouter router;
  REQUIRE(router.add("openai", options_of(0)).ok());
  std::vector<std::atomic<std::uint8_t>> runs(jobs);
  std::atomic<std::uint64_t> refused{0};
  std::atomic<std::uint64_t> unanswered{0};
  std::atomic<std::size_t> submitted{0};
  std::atomic<std::uint64_t> moved{0};
  int done = 0;
  bool all_updated = true;

  std::vector<std::thread> submitters;
  for (std::size_t submitter = 0; submitter < kSubmitters; ++submitter) {
    submitters.emplace_back([&, submitter] {
      std::vector<Job<std::size_t>> mine;
      const auto settle = [&] {
        for (Job<std::size_t>& job : mine) {
          if (!job.get().ok()) unanswered.fetch_add(1);
        }
        mine.clear();
      };
      for (std::size_t number = submitter * each; number < (submitter + 1) * each; ++number) {
        auto job = router.submit("openai", [&runs, number, owned = std::make_unique<std::size_t>(number)] {
          runs[*owned].fetch_add(1, std::memory_order_relaxed);
          return number;
        });
        submitted.fetch_add(1);
        if (!job.ok()) {
          refused.fetch_add(1);
          continue;
        }
        mine.push_back(*std::move(job));
        if (mine.size() == 64) settle();
      }
      settle();
    });
  }
  // The updates are spread over the jobs.
  for (int round = 1; round <= updates; ++round) {
    while (submitted.load() < jobs / static_cast<std::size_t>(updates + 1) * static_cast<std::size_t>(round)) {
      std::this_thread::yield();
    }
    const auto report = router.update("openai", options_of(round));
    all_updated = all_updated && report.ok() && report->retired.is_drained();
    if (report.ok()) moved.fetch_add(report->moved);
    ++done;
  }
  for (std::thread& submitter : submitters) submitter.join();

  CHECK(all_updated);
  CHECK(done == updates);
  CHECK(refused == 0);
  CHECK(unanswered == 0);
  CHECK(moved > 0);
  std::size_t lost = 0;
  std::size_t doubled = 0;
  for (const auto& run : runs) {
    lost += run.load() == 0 ? 1 : 0;
    doubled += run.load() > 1 ? 1 : 0;
  }
  CHECK(lost == 0);
  CHECK(doubled == 0);
  const auto stats = router.stats().at("openai");
  CHECK(stats.updates == static_cast<std::uint64_t>(updates));
  CHECK(stats.breaker->succeeded == jobs);
  // Ignored are those that had their permit when their pool closed, and went to the next one.
  CHECK(stats.breaker->abandoned + stats.breaker->late_results == 0);
}

TEST_CASE("ProviderRouter: who submits while a provider is added is served or refused",
          "[route][provider_router][stress]") {
  ProviderOptions options = options_of(0);
  options.pool.overflow = OverflowPolicy::kReject;
  ProviderRouter router;
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> odd{0};
  std::atomic<std::uint64_t> served{0};
  std::vector<std::thread> submitters;
  for (std::size_t submitter = 0; submitter < kSubmitters; ++submitter) {
    submitters.emplace_back([&] {
      while (!done) {
        auto job = router.submit("openai", [] { return 1; });
        if (job.ok()) {
          const auto answer = job->get();
          if (answer.ok()) ++served;
          if (!answer.ok() && !absl::IsCancelled(answer.status())) ++odd;
        } else if (!absl::IsNotFound(job.status()) && !absl::IsUnavailable(job.status()) &&
                   !absl::IsResourceExhausted(job.status())) {
          ++odd;
        }
      }
    });
  }
  bool all_added = true;
  penstock::testing::Rounds rounds(500);
  while (rounds.next()) {
    all_added = all_added && router.add("openai", options).ok();
    const std::uint64_t before = served;
    while (served == before) std::this_thread::yield();
    all_added = all_added && router.remove("openai", penstock::Context::background().with_timeout(0s)).ok();
  }
  done = true;
  for (std::thread& submitter : submitters) submitter.join();
  CHECK(all_added);
  CHECK(odd == 0);
}
