// SPDX-License-Identifier: MIT
// Two providers behind one router. One of them hangs: its calls time out, its queue fills, and its breaker stops
// calling it. The other one has threads, a queue and a breaker of its own, and does not notice.
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "penstock/channel/channel.hpp"
#include "penstock/route/provider_router.hpp"

using namespace std::chrono_literals;

int main() {
  penstock::ProviderOptions options;
  options.pool.workers = 4;
  options.pool.queue_capacity = 8;
  options.pool.overflow = penstock::OverflowPolicy::kReject;
  options.breaker.emplace();
  options.breaker->minimum_calls = 4;  // of four calls, not half may fail

  penstock::ProviderRouter router;
  for (const char* name : {"openai", "bedrock"}) {
    if (const absl::Status added = router.add(name, options); !added.ok()) {
      std::printf("%s\n", added.ToString().c_str());
      return 1;
    }
  }

  penstock::Channel<std::string> silence(0);  // bedrock hangs: nobody ever sends
  std::vector<penstock::Job<absl::Status>> hanging;
  int refused = 0;
  for (int call = 0; call < 20; ++call) {
    const auto ask = [&](const penstock::JobContext& job) {
      return to_status(silence.receive(job.context).status, "bedrock");
    };
    auto job = router.submit("bedrock", ask, {.processing_timeout = 50ms});
    if (job.ok()) {
      hanging.push_back(*std::move(job));
    } else {
      ++refused;
    }
  }

  int served = 0;
  for (int call = 0; call < 1000; ++call) {
    auto job = router.submit("openai", [call] { return call * call; });
    if (job.ok() && job->get().value_or(-1) == call * call) ++served;
  }
  std::printf("openai:  %d of 1000 calls served while bedrock hangs\n", served);

  int timed_out = 0;
  for (penstock::Job<absl::Status>& job : hanging) {
    if (absl::IsDeadlineExceeded(job.get())) ++timed_out;
  }
  std::printf("bedrock: %d of 20 calls refused at once, %d timed out\n", refused, timed_out);

  const absl::Status refusal = router.submit("bedrock", [] {}).status();
  std::printf("         %s\n", std::string(refusal.message()).c_str());
  for (const std::string& name : router.providers()) {
    std::printf("%-8s is %s\n", name.c_str(), std::string(to_string(router.state(name).value())).c_str());
  }
  const bool isolated = router.state("bedrock").value() == penstock::ProviderState::kIsolated;
  return served == 1000 && isolated ? 0 : 1;
}
