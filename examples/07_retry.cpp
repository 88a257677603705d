// SPDX-License-Identifier: MIT
// A thousand calls to a provider that refuses some of them, and for two seconds all. A coroutine that waits to try
// again holds no thread, and a budget keeps the retries from multiplying the load. Time is a clock that the program
// moves.
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/exec/retry.hpp"

using namespace std::chrono_literals;
using penstock::Context;
using penstock::RetryAttempt;
using penstock::Task;

namespace {

/// Refuses every eighth call, and is down from the 6th to the 8th second.
struct Provider {
  penstock::ManualClock& clock;
  penstock::TimePoint start = clock.now();
  int calls = 0;

  Task<absl::StatusOr<std::string>> ask(const RetryAttempt& attempt) {
    const auto since = clock.now() - start;
    const bool is_down = since >= 6s && since < 8s;
    if (++calls % 8 == 0 || is_down) co_return absl::UnavailableError("connection refused");
    co_return "answer of attempt " + std::to_string(attempt.number);
  }
};

}  // namespace

int main() {
  penstock::ManualClock clock;
  penstock::RunLoop loop;  // the program's one thread
  Provider provider{clock};

  penstock::RetryOptions options;
  options.name = "openai";
  options.max_attempts = 4;      // the first one counts
  options.initial = 500ms;       // then 1 s, then 2 s, each 20 % more or less
  options.budget.ratio = 0.2;    // one retry for five calls ...
  options.budget.capacity = 50;  // ... of which fifty can be saved up
  options.seed = 1;              // so that this program does the same each time
  penstock::Retrier retrier(options);

  // A hundred calls a second, each with ten seconds of patience.
  std::vector<penstock::JoinHandle<absl::StatusOr<std::string>>> calls;
  for (int call = 0; call < 1000; ++call) {
    calls.push_back(spawn(loop, async_retry(
                                    retrier, [&](const RetryAttempt& attempt) { return provider.ask(attempt); },
                                    Context(clock).with_timeout(10s))));
    loop.run_ready();
    clock.advance(10ms);
    loop.run_ready();
  }
  for (; retrier.stats().running != 0; clock.advance(100ms)) loop.run_ready();

  int answered = 0;
  absl::Status last_failure;
  for (auto& call : calls) {
    const absl::StatusOr<std::string> answer = call.get();
    if (answer.ok()) {
      ++answered;
    } else {
      last_failure = answer.status();
    }
  }

  const penstock::RetryStats stats = retrier.stats();
  std::printf("%d of 1000 calls answered, %d of them after a retry\n", answered,
              static_cast<int>(stats.succeeded_after_retry));
  std::printf("the provider got %d calls; %d were not tried again to spare it\n", provider.calls,
              static_cast<int>(stats.budget_denied()));
  std::printf("the last failure: %s\n", last_failure.ToString().c_str());
  return stats.succeeded_after_retry > 50 && answered > 750 && provider.calls < 1300 ? 0 : 1;
}
