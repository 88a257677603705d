// SPDX-License-Identifier: MIT

// The condition variable: no notification is lost, also where a wait ends for another reason.

#include "penstock/core/mutex.hpp"

#include <chrono>
#include <memory>
#include <optional>

#include "penstock/core/manual_clock.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using checker::must_pass;
namespace world = penstock::detail::world;

namespace {

class Stock {
 public:
  bool take(const Context& ctx = Context::background()) {
    MutexLock lock(mutex_);
    while (items_ == 0) {
      if (filled_.wait(mutex_, ctx) != OpStatus::kOk) return false;
    }
    --items_;
    return true;
  }
  void put() {
    {
      MutexLock lock(mutex_);
      ++items_;
    }
    filled_.notify_one();
  }
  void put_two() {
    {
      MutexLock lock(mutex_);
      items_ += 2;
    }
    filled_.notify_all();
  }
  int items() {
    MutexLock lock(mutex_);
    return items_;
  }

 private:
  Mutex mutex_;
  CondVar filled_;
  int items_ = 0;
};

}  // namespace

TEST_CASE("CondVar: each notification wakes one", "[model][mutex]") {
  must_pass({.name = "cond var, notify_one", .preemptions = 3}, [] {
    Stock stock;
    world::Thread first([&] { MODEL_ASSERT(stock.take()); });
    world::Thread second([&] { MODEL_ASSERT(stock.take()); });
    stock.put();
    stock.put();
    first.join();
    second.join();
    MODEL_ASSERT(stock.items() == 0);
  });
}

TEST_CASE("CondVar: notify_all wakes all", "[model][mutex]") {
  must_pass({.name = "cond var, notify_all", .preemptions = 3}, [] {
    Stock stock;
    world::Thread first([&] { MODEL_ASSERT(stock.take()); });
    world::Thread second([&] { MODEL_ASSERT(stock.take()); });
    stock.put_two();
    first.join();
    second.join();
  });
}

TEST_CASE("CondVar: a notification is not lost on a wait that is cancelled", "[model][mutex]") {
  must_pass({.name = "cond var, cancel", .preemptions = 3}, [] {
    Stock stock;
    auto [ctx, source] = Context::background().with_cancel();
    bool cancelled_one_took = false;
    world::Thread cancelled([&, mine = ctx] { cancelled_one_took = stock.take(mine); });
    world::Thread patient([&] { MODEL_ASSERT(stock.take()); });
    world::Thread canceller([mine = source] { mine.cancel(); });
    stock.put();
    cancelled.join();
    // If the one that was called off got it all the same, there is one more to give; else the other must get the first.
    if (cancelled_one_took) stock.put();
    patient.join();
    canceller.join();
    MODEL_ASSERT(stock.items() == 0);
  });
}

TEST_CASE("CondVar: a deadline that another thread advances to", "[model][mutex]") {
  must_pass({.name = "cond var, deadline", .preemptions = 3}, [] {
    ManualClock clock;
    Stock stock;
    world::Thread advancer([&] { clock.advance(10ms); });
    world::Thread giver([&] { stock.put(); });
    const bool took = stock.take(Context(clock).with_timeout(5ms));
    giver.join();
    advancer.join();
    MODEL_ASSERT(stock.items() == (took ? 0 : 1));
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("CondVar: the last one that is woken may destroy it", "[model][mutex]") {
  must_pass({.name = "cond var, destroyed by the woken", .preemptions = 4}, [] {
    Mutex mutex;
    auto condition = std::make_unique<CondVar>();
    bool waits = false;
    world::Thread notifier([&] {
      for (bool seen = false; !seen; world::yield()) {
        MutexLock lock(mutex);
        seen = waits;
      }
      condition->notify_one();  // may not have returned when the other one destroys it
    });
    {
      MutexLock lock(mutex);
      waits = true;
      MODEL_ASSERT(condition->wait(mutex) == OpStatus::kOk);
    }
    condition.reset();
    notifier.join();
  });
}

TEST_CASE("CondVar: it may go once everybody has been woken", "[model][mutex]") {
  must_pass({.name = "cond var, destroyed", .preemptions = 3}, [] {
    Mutex mutex;
    auto condition = std::make_unique<CondVar>();
    bool waits = false;
    bool done = false;
    world::Thread waiter([&] {
      MutexLock lock(mutex);
      waits = true;
      while (!done) MODEL_ASSERT(condition->wait(mutex) == OpStatus::kOk);
    });
    for (bool seen = false; !seen; world::yield()) {
      MutexLock lock(mutex);
      seen = done = waits;
    }
    condition->notify_all();
    waiter.join();
    condition.reset();
  });
}
