// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What threads do with a pool of objects. An adapter is
///
///     template <class T>
///     class Pool {
///      public:
///       explicit Pool(const Arguments& arguments);
///       Handle get();              // a pointer, smart or not, that can be without an object
///       void put(Handle handle);
///       void purge();              // if it can: drops what nobody needs
///     };

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <sched.h>

#include "measure.hpp"

namespace versus {

/// What is pooled: 1 KiB, whose first word is written by who gets it and read by who returns it.
struct Object {
  std::uint64_t words[128];
};

/// One that counts how many there have been.
struct CountedObject : Object {
  CountedObject() { made.fetch_add(1, std::memory_order_relaxed); }
  static inline std::atomic<std::size_t> made{0};
};

/// Somebody else might read and write `object`: keeps a compiler from leaving out what is done with it.
template <class T>
void touch(T& object) {
  asm volatile("" : : "r"(&object) : "memory");
}

/// Takes handles from one thread to another, 64 at a time.
template <class Handle>
class Belt {
 public:
  static constexpr std::size_t kBatch = 64;

  /// Called by one thread. What is less than a batch arrives with `flush`.
  void put(Handle handle) {
    while (put_ - taken_.load(std::memory_order_acquire) == kPlaces) sched_yield();
    places_[put_ % kPlaces] = std::move(handle);
    if (++put_ % kBatch == 0) flush();
  }
  void flush() { sent_.store(put_, std::memory_order_release); }

  /// Called by one thread.
  Handle take() {
    if (known_ == received_) {
      taken_.store(received_, std::memory_order_release);
      while ((known_ = sent_.load(std::memory_order_acquire)) == received_) sched_yield();
    }
    return std::move(places_[received_++ % kPlaces]);
  }

 private:
  static constexpr std::size_t kPlaces = 8 * kBatch;

  alignas(128) std::size_t put_ = 0;
  alignas(128) std::size_t known_ = 0;
  std::size_t received_ = 0;
  alignas(128) std::atomic<std::size_t> sent_{0};
  alignas(128) std::atomic<std::size_t> taken_{0};
  alignas(128) Handle places_[kPlaces] = {};
};

/// Gets two objects and returns them: what a pool does the first time is not measured.
template <class Pool>
void use_once(Pool& pool) {
  auto one = pool.get();
  auto other = pool.get();
  pool.put(std::move(one));
  pool.put(std::move(other));
}

/// Each thread gets an object and returns it, again and again. An item is that, by each of them.
template <template <class> class Pool>
Figures one_at_a_time(const Arguments& arguments) {
  const std::size_t threads = arguments["producers"];
  const std::size_t each = arguments["items"];
  Pool<Object> pool(arguments);
  use_once(pool);
  std::atomic<std::uint64_t> sum{0};
  const std::function<void()> worker = [&] {
    std::uint64_t own = 0;
    for (std::size_t number = 0; number != each; ++number) {
      auto handle = pool.get();
      handle->words[0] = number;
      touch(*handle);
      own += handle->words[0];
      pool.put(std::move(handle));
    }
    sum += own;
  };
  const Figures figures = run_together(each, std::vector(threads, worker));
  check(2 * sum == threads * sum_of_first(each), "one_at_a_time: the sum is wrong");
  return figures;
}

/// Each thread gets `batch` objects, and then returns them. An item is an object, for each of the threads.
template <template <class> class Pool>
Figures many_at_a_time(const Arguments& arguments) {
  constexpr std::size_t kMost = 64;
  const std::size_t threads = arguments["producers"];
  const std::size_t batch = arguments["batch"];
  check(batch != 0 && batch <= kMost, "many_at_a_time: up to 64");
  const std::size_t each = (arguments["items"] + batch - 1) / batch * batch;
  Pool<Object> pool(arguments);
  use_once(pool);
  std::atomic<std::uint64_t> sum{0};
  const std::function<void()> worker = [&] {
    decltype(pool.get()) held[kMost] = {};
    std::uint64_t own = 0;
    for (std::size_t number = 0; number != each;) {
      for (std::size_t i = 0; i != batch; ++i) {
        held[i] = pool.get();
        held[i]->words[0] = number++;
        touch(*held[i]);
      }
      for (std::size_t i = 0; i != batch; ++i) {
        own += held[i]->words[0];
        pool.put(std::move(held[i]));
      }
    }
    sum += own;
  };
  const Figures figures = run_together(each, std::vector(threads, worker));
  check(2 * sum == threads * sum_of_first(each), "many_at_a_time: the sum is wrong");
  return figures;
}

/// Half of the threads get objects, each for one of the others, which returns them. An item is an object, for each of
/// these pairs. Who gets and who returns are on different processors, as otherwise the scheduler decides what comes
/// out.
template <template <class> class Pool>
Figures crossed(const Arguments& arguments) {
  const std::size_t pairs = arguments["producers"] / 2;
  const std::size_t each = arguments["items"];
  Pool<Object> pool(arguments);
  use_once(pool);
  using Handle = decltype(pool.get());
  std::vector<std::unique_ptr<Belt<Handle>>> belts;
  std::vector<std::function<void()>> workers;
  std::atomic<std::uint64_t> sum{0};
  for (std::size_t pair = 0; pair != pairs; ++pair) {
    Belt<Handle>& belt = *belts.emplace_back(std::make_unique<Belt<Handle>>());
    workers.emplace_back([&] {
      pin_to_one_processor(0);
      for (std::size_t number = 0; number != each; ++number) {
        Handle handle = pool.get();
        handle->words[0] = number;
        belt.put(std::move(handle));
      }
      belt.flush();
    });
    workers.emplace_back([&] {
      pin_to_one_processor(1);
      std::uint64_t own = 0;
      for (std::size_t left = each; left != 0; --left) {
        Handle handle = belt.take();
        own += handle->words[0];
        pool.put(std::move(handle));
      }
      sum += own;
    });
  }
  const Figures figures = run_together(each, workers);
  check(2 * sum == pairs * sum_of_first(each), "crossed: the sum is wrong");
  return figures;
}

/// How many objects are needed at once: up to `low`, for a while up to `high`, then up to `low` again.
struct Demand {
  static constexpr std::size_t kPhase = 4096;  ///< a thread's gets from one change to the next
  static constexpr std::size_t kPurge = 1024;  ///< all threads' gets from one purge to the next

  std::size_t low;
  std::size_t high;
  std::uint64_t random = 1;

  /// Of the burst that begins with get number `number`.
  std::size_t next(std::size_t number) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    return 1 + (random >> 33) % (number / kPhase % 2 == 0 ? low : high);
  }
};

inline Figures with_misses(Figures figures, std::size_t made, std::size_t gets) {
  figures.more.emplace_back("misses_per_1000", 1000 * static_cast<double>(made) / static_cast<double>(gets));
  return figures;
}

/// Each thread gets a burst of objects, of a size that changes, and returns them; the first one has the pool purged now
/// and then. An item is an object, for each of the threads.
template <template <class> class Pool, std::size_t Low, std::size_t High>
Figures bursts(const Arguments& arguments) {
  const std::size_t threads = arguments["producers"];
  const std::size_t each = arguments["items"];
  Pool<CountedObject> pool(arguments);
  use_once(pool);
  const std::size_t made_before = CountedObject::made;
  std::vector<std::function<void()>> workers;
  std::atomic<std::uint64_t> sum{0};
  for (std::size_t thread = 0; thread != threads; ++thread) {
    workers.emplace_back([&, thread] {
      Demand demand{.low = Low, .high = High, .random = thread};
      std::vector<decltype(pool.get())> held(High);
      std::uint64_t own = 0;
      std::size_t purge_at = Demand::kPurge / threads;
      for (std::size_t number = 0; number != each;) {
        const std::size_t burst = std::min(demand.next(number), each - number);
        for (std::size_t i = 0; i != burst; ++i) {
          held[i] = pool.get();
          held[i]->words[0] = number++;
          touch(*held[i]);
        }
        for (std::size_t i = 0; i != burst; ++i) {
          own += held[i]->words[0];
          pool.put(std::move(held[i]));
        }
        if (number < purge_at) continue;
        purge_at += Demand::kPurge / threads;
        if (thread == 0) pool.purge();
      }
      sum += own;
    });
  }
  const Figures figures = run_together(each, workers);
  check(2 * sum == threads * sum_of_first(each), "bursts: the sum is wrong");
  return with_misses(figures, CountedObject::made - made_before, each * threads);
}

/// The same, where half of the threads return what the others have got.
template <template <class> class Pool, std::size_t Low, std::size_t High>
Figures crossed_bursts(const Arguments& arguments) {
  const std::size_t pairs = arguments["producers"] / 2;
  const std::size_t each = arguments["items"];
  Pool<CountedObject> pool(arguments);
  use_once(pool);
  const std::size_t made_before = CountedObject::made;
  using Handle = decltype(pool.get());
  std::vector<std::unique_ptr<Belt<Handle>>> belts;
  std::vector<std::function<void()>> workers;
  std::atomic<std::uint64_t> sum{0};
  for (std::size_t pair = 0; pair != pairs; ++pair) {
    Belt<Handle>& belt = *belts.emplace_back(std::make_unique<Belt<Handle>>());
    workers.emplace_back([&, pair] {
      pin_to_one_processor(0);
      Demand demand{.low = Low, .high = High, .random = pair};
      std::size_t purge_at = Demand::kPurge / pairs;
      for (std::size_t number = 0; number != each;) {
        for (std::size_t left = std::min(demand.next(number), each - number); left != 0; --left) {
          Handle handle = pool.get();
          handle->words[0] = number++;
          belt.put(std::move(handle));
        }
        belt.flush();
        sched_yield();
        if (number < purge_at) continue;
        purge_at += Demand::kPurge / pairs;
        if (pair == 0) pool.purge();
      }
    });
    workers.emplace_back([&] {
      pin_to_one_processor(1);
      std::uint64_t own = 0;
      for (std::size_t left = each; left != 0; --left) {
        Handle handle = belt.take();
        own += handle->words[0];
        pool.put(std::move(handle));
      }
      sum += own;
    });
  }
  const Figures figures = run_together(each, workers);
  check(2 * sum == pairs * sum_of_first(each), "crossed_bursts: the sum is wrong");
  return with_misses(figures, CountedObject::made - made_before, each * pairs);
}

/// All of these for an adapter; their names begin with `prefix`.
template <template <class> class Pool>
Workloads object_workloads(const std::string& prefix = "") {
  Workloads workloads = {{prefix + "one", one_at_a_time<Pool>},
                         {prefix + "many", many_at_a_time<Pool>},
                         {prefix + "crossed", crossed<Pool>}};
  if constexpr (requires(Pool<CountedObject> & pool) { pool.purge(); }) {
    workloads[prefix + "channels"] = bursts<Pool, 1, 8>;
    workloads[prefix + "messages"] = bursts<Pool, 8, 64>;
    workloads[prefix + "responses"] = crossed_bursts<Pool, 32, 256>;
  }
  return workloads;
}

}  // namespace versus
