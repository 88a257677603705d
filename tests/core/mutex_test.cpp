// SPDX-License-Identifier: MIT
#include "penstock/core/mutex.hpp"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;

/// A number of permits, to be waited for.
class Permits {
 public:
  OpStatus take(const Context& ctx = Context::background()) {
    MutexLock lock(mutex_);
    ++waiting_;
    while (count_ == 0) {
      if (const OpStatus status = changed_.wait(mutex_, ctx); status != OpStatus::kOk) {
        --waiting_;
        return status;
      }
    }
    --waiting_;
    --count_;
    return OpStatus::kOk;
  }

  void put(int count) {
    {
      MutexLock lock(mutex_);
      count_ += count;
    }
    for (int i = 0; i < count; ++i) changed_.notify_one();
  }

  void put_and_tell_all(int count) {
    {
      MutexLock lock(mutex_);
      count_ += count;
    }
    changed_.notify_all();
  }

  int waiting() {
    MutexLock lock(mutex_);
    return waiting_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
  int waiting_ ABSL_GUARDED_BY(mutex_) = 0;
};

TEST_CASE("Mutex: one at a time", "[core][mutex]") {
  Mutex mutex;
  int plain = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5000; ++i) {
        MutexLock lock(mutex);
        ++plain;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(plain == 20000);

  // In the form that clang's analysis understands: the macros of Catch2 hide the result from it.
  bool taken = false;
  std::atomic<bool> taken_twice{true};
  if (mutex.try_lock()) {
    taken = true;
    std::thread([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      taken_twice = mutex.try_lock();
      if (taken_twice) mutex.unlock();
    }).join();
    mutex.unlock();
  }
  CHECK(taken);
  CHECK_FALSE(taken_twice);
}

TEST_CASE("CondVar: a condition that holds is not waited for", "[core][mutex]") {
  Permits permits;
  permits.put(1);
  CHECK(permits.take() == OpStatus::kOk);
}

TEST_CASE("CondVar: each notification wakes one", "[core][mutex]") {
  Permits permits;
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      if (permits.take() == OpStatus::kOk) ++taken;
    });
  }
  REQUIRE(testing::eventually([&] { return permits.waiting() == 3; }));
  permits.put(1);
  REQUIRE(testing::eventually([&] { return taken == 1; }));
  CHECK(permits.waiting() == 2);
  permits.put_and_tell_all(2);
  for (std::thread& thread : threads) thread.join();
  CHECK(taken == 3);
}

TEST_CASE("CondVar: ends with its context", "[core][mutex]") {
  Permits permits;
  ManualClock clock;
  const auto [ctx, source] = Context(clock).with_timeout(1s).with_cancel();
  std::atomic<OpStatus> status{OpStatus::kOk};
  std::thread thread([&, ctx = ctx] { status.store(permits.take(ctx)); });
  REQUIRE(testing::eventually([&] { return clock.armed() == 1; }));
  SECTION("timed out") {
    clock.advance(1s);
    thread.join();
    CHECK(status == OpStatus::kTimedOut);
  }
  SECTION("cancelled") {
    source.cancel();
    thread.join();
    CHECK(status == OpStatus::kCancelled);
  }
  CHECK(permits.take(ctx) != OpStatus::kOk);
}

TEST_CASE("CondVar: says how its context ended that was cancelled after its deadline", "[core][mutex]") {
  ManualClock clock;
  const auto [ctx, source] = Context(clock).with_timeout(1s).with_cancel();
  clock.advance(1s);
  source.cancel();
  Permits permits;
  CHECK(ctx.status() == OpStatus::kTimedOut);
  CHECK(permits.take(ctx) == OpStatus::kTimedOut);
}

TEST_CASE("CondVar: a notification is never lost on one who leaves", "[core][mutex][stress]") {
  // Two wait, one of them is cancelled while one permit is put: whoever stays must get it.
  for (int round = 0; round < 2000; ++round) {
    Permits permits;
    const auto [ctx, source] = Context::background().with_cancel();
    std::atomic<int> taken{0};
    std::thread leaving([&, ctx = ctx] {
      if (permits.take(ctx) == OpStatus::kOk) {
        ++taken;
        permits.put(1);  // passes it on
      }
    });
    std::thread staying([&] {
      if (permits.take() == OpStatus::kOk) ++taken;
    });
    std::thread cancelling([source = source] { source.cancel(); });
    permits.put(1);
    staying.join();
    leaving.join();
    cancelling.join();
    REQUIRE(taken >= 1);
  }
}

}  // namespace
}  // namespace penstock
