// SPDX-License-Identifier: MIT
// Three API keys that many calls share. Each call leases one and says how it went: a key that gets a 429 rests, one
// that gets a 401 is out until somebody enables it, and a session stays with the key that has its prompt in the cache.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "penstock/exec/resource_pool.hpp"

using namespace std::chrono_literals;
using penstock::AcquireOptions;
using penstock::Context;
using penstock::ResourcePool;

struct Key {
  std::string secret;  // never an id: ids are shown in texts and metrics
  std::string model;
};

void show(const char* what, const absl::Status& status) {
  std::printf("%-9s %s\n", what, std::string(status.message()).c_str());
}

int main() {
  ResourcePool<Key> keys({.name = "openai", .rest_for = 30s, .seed = 1});
  for (const auto& [id, model, weight] :
       {std::tuple{"team-a", "large", 3.0}, {"team-b", "small", 1.0}, {"trial", "small", 0.001}}) {
    const Key key{"sk-" + std::to_string(weight), model};
    if (const absl::Status added = keys.add(id, key, {.weight = weight, .max_concurrent = 2}); !added.ok()) {
      show("add", added);
      return 1;
    }
  }

  // Eight threads, six places: whoever finds none waits in line.
  std::atomic<int> calls{0};
  std::vector<std::thread> threads;
  for (int t = 0; t != 8; ++t) {
    threads.emplace_back([&] {
      for (int call = 0; call != 250; ++call) {
        auto key = keys.acquire(Context::background().with_timeout(5s));
        if (!key.ok()) continue;
        key->report(absl::OkStatus());  // as if (*key)->secret had been used
        ++calls;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::printf("%-9s %d of 2000\n", "served", calls.load());
  for (const penstock::ResourceStats& each : keys.stats().by_resource) {
    if (each.weight >= 1) continue;
    std::printf("%-9s %s, whose weight is %g, was used at all: %s\n", "weights", each.id.c_str(), each.weight,
                each.leases > 0 ? "yes" : "no");
  }

  // A session keeps its key.
  const AcquireOptions<Key> session{.sticky_key = "session 17"};
  const std::string first = keys.acquire(session)->id();
  bool stays = true;
  for (int call = 0; call != 100; ++call) stays = stays && keys.acquire(session)->id() == first;
  std::printf("%-9s session 17 stays with its key: %s\n", "sticky", stays ? "yes" : "no");

  // Only one key may use the large model. It is rate-limited, and then it was revoked.
  const AcquireOptions<Key> large{.filter = [](std::string_view, const Key& key) { return key.model == "large"; }};
  keys.acquire(large)->report(absl::ResourceExhaustedError("429"), 20s);
  const absl::Status limited = keys.acquire(large, Context::background().with_timeout(1s)).status();
  show("429", limited);
  if (!keys.enable("team-a").ok()) return 1;
  keys.acquire(large)->report(absl::UnauthenticatedError("401"));
  const absl::Status revoked = keys.try_acquire(large).status();
  show("401", revoked);

  {
    const auto key = keys.acquire();  // the others go on
    std::printf("%-9s %s\n", "others", key.ok() ? "go on" : "are stopped");
  }
  keys.close();
  show("close", keys.acquire().status());
  return calls == 2000 && stays && absl::IsUnavailable(limited) && absl::IsUnavailable(revoked) ? 0 : 1;
}
