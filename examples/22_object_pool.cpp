// SPDX-License-Identifier: MIT
// Messages of a gateway, made once and used by one request after the other. A message is cleaned when it comes back,
// one that has grown too large is not kept, and what nobody uses for a while goes away.
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>

#include "penstock/core/manual_clock.hpp"
#include "penstock/state/object_pool.hpp"

using namespace std::chrono_literals;

namespace {

struct Message {
  std::string role;
  std::string text;
};

void serve(penstock::ObjectPool<Message>& messages, std::size_t bytes) {
  auto message = messages.acquire();  // with a context it would wait no longer than that lasts
  if (!message.ok()) {
    std::printf("%s\n", message.status().ToString().c_str());
    return;
  }
  (*message)->role = "user";
  (*message)->text.assign(bytes, 'x');
}  // given back here, however the scope is left

}  // namespace

int main() {
  penstock::ManualClock clock;
  penstock::ObjectPoolOptions<Message> options;
  options.name = "messages";
  options.reset = [](Message& message) {
    message.role.clear();
    message.text.clear();  // keeps its memory: that is what the pool saves
    return true;
  };
  options.weight = [](const Message& message) { return sizeof(message) + message.text.capacity(); };
  options.max_weight = 64 * 1024;
  options.max_live = 2;
  options.prewarm = 1;
  options.purge_every = 1min;
  options.clock = &clock;
  penstock::ObjectPool<Message> messages(std::move(options));

  for (int request = 0; request != 9; ++request) serve(messages, 1000);
  serve(messages, 1'000'000);  // not kept
  serve(messages, 1000);       // so this needs a new one

  penstock::ObjectPoolStats stats = messages.stats();
  std::printf("%llu requests, hit ratio %.2f, %llu too large, %zu idle with %zu bytes\n",
              static_cast<unsigned long long>(stats.requests), stats.hit_ratio(),
              static_cast<unsigned long long>(stats.discarded_oversize), stats.idle, stats.bytes_idle);

  // No more than two at a time.
  {
    auto one = messages.try_acquire();
    auto two = messages.try_acquire();
    std::printf("%s\n", messages.try_acquire().status().ToString().c_str());
    if (one.ok()) one->discard();  // it is broken, say
    std::printf("and then: %s\n", messages.try_acquire().status().ToString().c_str());
  }

  // Idle for two purges: gone.
  clock.advance(2min);
  stats = messages.stats();
  std::printf("after two minutes %zu idle, %llu purged\n", stats.idle, static_cast<unsigned long long>(stats.purged));
  return stats.idle == 0 ? 0 : 1;
}
