// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the tests of object pools have in common.

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "penstock/state/object_pool.hpp"

#include "support/catch.hpp"

namespace penstock::testing {

/// Counts how many there are, of all threads.
struct Counted {
  explicit Counted(std::atomic<int>& alive) : count(alive) { ++count; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --count; }

  std::atomic<int>& count;
  std::string text;
  int number = 0;
};

using CountedPool = ObjectPool<Counted>;
using Handle = Pooled<Counted>;

/// A pool without a purge of its own.
inline ObjectPoolOptions<Counted> options_for(std::atomic<int>& alive) {
  ObjectPoolOptions<Counted> options;
  options.name = "p";
  options.factory = [&alive] { return std::make_unique<Counted>(alive); };
  options.purge_every = Duration::max();
  return options;
}

inline std::vector<Handle> take(CountedPool& pool, std::size_t number) {
  std::vector<Handle> taken;
  for (std::size_t i = 0; i != number; ++i) taken.push_back(pool.acquire().value());
  return taken;
}

/// What holds in every snapshot.
inline bool is_consistent(const ObjectPoolStats& stats) {
  return stats.requests == stats.hits() + stats.misses && stats.live == stats.idle + stats.out &&
         stats.victim <= stats.idle && stats.creates <= stats.misses;
}

}  // namespace penstock::testing
