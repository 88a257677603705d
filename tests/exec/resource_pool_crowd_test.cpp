// SPDX-License-Identifier: MIT

// Everything at once: threads and coroutines that share a few resources, while others come, go and rest.

#include <atomic>
#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "exec/resource_pool_support.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;

TEST_CASE("ResourcePool: threads and coroutines share a few resources", "[exec][resource_pool][stress]") {
  ResourcePool<int> pool({.name = "shared", .strategy = ResourceStrategy::kLeastLoaded});
  constexpr int kResources = 3;
  for (int i = 0; i != kResources; ++i) REQUIRE(pool.add(std::to_string(i), i).ok());
  std::atomic<int> users[kResources] = {};
  std::atomic<int> clashes{0};
  std::atomic<int> refused{0};
  const auto use = [&](const absl::StatusOr<Lease<int>>& lease) {
    if (!lease.ok()) {
      ++refused;
      return;
    }
    if (**lease == kResources) return;  // there are several of these
    if (users[**lease].fetch_add(1) != 0) ++clashes;
    std::this_thread::yield();
    users[**lease].fetch_sub(1);
  };
  std::vector<std::thread> threads;
  for (int t = 0; t != 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i != 500; ++i) {
        if (i % 3 == 0) {
          use(pool.acquire({.filter = [t](std::string_view, const int& each) { return each != t; }}));
        } else if (i % 3 == 1) {
          use(pool.acquire());
        } else {
          use(sync_wait([](ResourcePool<int>& from) -> Task<absl::StatusOr<Lease<int>>> {
            const AcquireOptions<int> together{.sticky_key = "all"};
            co_return co_await from.async_acquire(together);
          }(pool)));
        }
      }
    });
  }
  for (int i = 0; i != 200; ++i) {
    const std::string id = "extra " + std::to_string(i % 2);
    static_cast<void>(i % 4 < 2 ? pool.add(id, kResources, {.weight = 0}) : pool.remove(id).status());
    if (i % 10 == 0) static_cast<void>(pool.disable("1", 1us));
    if (i % 4 < 2) static_cast<void>(pool.disable(id));
    std::this_thread::yield();
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(clashes == 0);
  CHECK(refused == 0);
  const ResourcePoolStats stats = pool.stats();
  CHECK(stats.leases == 2000);
  CHECK(stats.in_use == 0);
  CHECK(discrepancies(stats).empty());
}

}  // namespace
}  // namespace penstock
