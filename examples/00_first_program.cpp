// SPDX-License-Identifier: MIT
#include <chrono>
#include <cstdio>

#include <penstock/penstock.hpp>

int main() {
  using enum penstock::OverflowPolicy;
  penstock::Channel<int> silence(0);  // bedrock hangs: nobody will ever send here
  penstock::ProviderRouter router;    // each provider has threads, a queue and a gate of its own
  for (const char* name : {"openai", "bedrock"}) {
    const auto status = router.add(name, {.pool = {.workers = 4, .queue_capacity = 16, .overflow = kReject}});
    if (!status.ok()) return 1;
  }

  int refused = 0;
  for (int call = 0; call < 25; ++call) {
    const auto job = router.submit("bedrock", [&](const penstock::JobContext& ctx) {
      return silence.receive(ctx.context).value.has_value();  // waits until the call is called off
    });
    if (!job.ok()) ++refused;  // 4 hang in the workers, 16 wait in the queue
  }

  auto answer = router.submit("openai", [] { return 42; });  // does not notice
  if (!answer.ok()) return 1;
  std::printf("bedrock refused %d of 25 calls, openai says %d\n", refused, answer->get().value_or(-1));

  // Lets what runs finish for a while, then calls off what hangs.
  router.shutdown(penstock::Context::background().with_timeout(std::chrono::milliseconds(100)));
}
