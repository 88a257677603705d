// SPDX-License-Identifier: MIT
// Fifty calls to a provider that refuses each of them twice, on a pool with one worker. Each attempt is a job; between
// two attempts a call is a suspended coroutine. So the worker is free while they rest, and all of them rest at once:
// in jobs that slept for their retries the same would take 50 times 60 ms.
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "penstock/exec/pool_retry.hpp"

using namespace std::chrono_literals;
using penstock::async_retry_on;
using penstock::RetryAttempt;
using penstock::WorkerPool;

namespace {

/// Runs in the worker. A real one would look at attempt.context, which ends when the caller gives up.
absl::StatusOr<std::string> ask(int question, const RetryAttempt& attempt) {
  if (attempt.number < 3) return absl::UnavailableError("connection refused");
  return "answer " + std::to_string(question) + " of attempt " + std::to_string(attempt.number);
}

}  // namespace

int main() {
  auto pool = WorkerPool::create({.name = "openai", .workers = 1, .queue_capacity = 8, .enqueue_timeout = 5s});
  if (!pool.ok()) return 1;
  penstock::RetryOptions options;
  options.name = "openai";
  options.initial = 20ms;  // then 40 ms, each 20 % more or less
  options.budget.capacity = 200;
  penstock::Retrier retrier(options);

  const auto start = std::chrono::steady_clock::now();
  const auto in_ms = [start] {
    const auto passed = std::chrono::steady_clock::now() - start;
    return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(passed).count());
  };

  // The coroutines run on the pool, too: there is no other thread.
  penstock::SubmitOptions terms;
  terms.tag = "chat";
  terms.context = penstock::Context::background().with_timeout(5s);
  std::vector<penstock::JoinHandle<absl::StatusOr<std::string>>> calls;
  for (int question = 0; question < 50; ++question) {
    const auto attempt = [question](const RetryAttempt& each) { return ask(question, each); };
    calls.push_back(spawn(**pool, async_retry_on(**pool, retrier, attempt, terms)));
  }

  // While they rest, whoever comes is served.
  absl::StatusOr<penstock::Job<int>> other = (*pool)->submit([in_ms] { return in_ms(); });

  int answered = 0;
  std::string last;
  for (auto& call : calls) {
    const absl::StatusOr<std::string> answer = call.get();
    if (!answer.ok()) continue;
    ++answered;
    last = *answer;
  }
  const int took = in_ms();
  const penstock::WorkerPoolStats stats = (*pool)->stats();
  if (!other.ok()) return 1;
  std::printf("another job was done after %d ms\n", other->get().value_or(-1));
  std::printf("%d of 50 calls answered in %d ms, the last one with: %s\n", answered, took, last.c_str());
  std::printf("the worker ran %d jobs, and %d submissions waited for a place\n", static_cast<int>(stats.started),
              static_cast<int>(stats.blocked));
  std::printf("calls after a retry: %d; retries: %d\n", static_cast<int>(retrier.stats().succeeded_after_retry),
              static_cast<int>(retrier.stats().retries));
  return answered == 50 && stats.started == 151 && took < 1500 ? 0 : 1;
}
