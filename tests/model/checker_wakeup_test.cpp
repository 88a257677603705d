// SPDX-License-Identifier: MIT

// The checker, checked on lost wake-ups and lock-free algorithms: bugs that real libraries shipped, retold, each beside
// a correct version.

#include <array>
#include <deque>
#include <list>
#include <mutex>

#include "penstock/core/detail/world.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using checker::must_find;
using checker::must_pass;
using Kind = checker::Violation::Kind;
namespace world = penstock::detail::world;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;
constexpr auto kSeqCst = std::memory_order_seq_cst;

/// A queue of slots whose consumers can be called off. The flag is set, and told to all, with or without the lock.
class Slots {
 public:
  explicit Slots(bool locks) : locks_(locks) {}

  bool dequeue() {
    std::unique_lock lock(mutex_);
    while (slots_ == 0 && !cancelled_.load(kAcquire)) ready_.wait(lock);
    if (slots_ == 0) return false;
    --slots_;
    return true;
  }
  void cancel() {
    std::unique_lock lock(mutex_, std::defer_lock);
    if (locks_) lock.lock();
    // Without the lock, between a consumer's look at the flag and its wait.
    cancelled_.store(true, kRelease);
    ready_.notify_all();
  }

 private:
  const bool locks_;
  world::Mutex mutex_;
  world::CondVar ready_;
  int slots_ = 0;
  world::Atomic<bool> cancelled_{false};
};

/// Permits in a futex word. The hasty one sleeps on the number that it saw before it tried; meanwhile that number may
/// have gone and come back, and with it the only wake-up. So does the counting_semaphore of libstdc++ 12 (GCC PR
/// 98033).
class Semaphore {
 public:
  Semaphore(std::uint32_t permits, bool hasty) : permits_(permits), hasty_(hasty) {}

  void acquire() {
    for (;;) {
      const std::uint32_t seen = permits_.load(kAcquire);
      for (int attempt = 0; attempt != 2; ++attempt) {
        if (try_acquire()) return;
      }
      world::futex_wait(permits_, hasty_ ? seen : 0);
    }
  }
  void release() {
    const std::uint32_t before = permits_.fetch_add(1, kRelease);
    if (hasty_ && before != 0) return;
    world::futex_wake_one(&permits_);
  }

 private:
  bool try_acquire() {
    std::uint32_t permits = permits_.load(kAcquire);
    return permits != 0 && permits_.compare_exchange_strong(permits, permits - 1, kAcquire, kRelaxed);
  }

  world::Atomic<std::uint32_t> permits_;
  const bool hasty_;
};

/// Workers that a pill removes. A job starts a worker if none is idle; the careless one counts a worker as idle until
/// it has taken something, though a pill that is for it may be in the queue already.
class Pool {
 public:
  explicit Pool(bool careful) : careful_(careful) {}

  void submit_job() {
    std::unique_lock lock(mutex_);
    const bool starts = careful_ ? idle_ <= queue_.size() : idle_ == 0;
    queue_.push_back(kJob);
    if (starts) {
      ++idle_;  // before it runs, so that nobody starts another for the same reason
      workers_.emplace_back([this] { work(); });
    }
    ready_.notify_one();
  }
  void submit_pill() {
    const std::lock_guard lock(mutex_);
    queue_.push_back(kPill);
    ready_.notify_one();
  }
  void wait_for_job() {
    std::unique_lock lock(mutex_);
    while (!done_) finished_.wait(lock);
  }
  void start_worker() {
    ++idle_;
    workers_.emplace_back([this] { work(); });
  }
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      ready_.notify_all();
    }
    for (world::Thread& worker : workers_) worker.join();
  }

 private:
  enum Item { kJob, kPill };

  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      while (queue_.empty() && !stopping_) ready_.wait(lock);
      if (queue_.empty()) return;
      const Item item = queue_.front();
      queue_.pop_front();
      --idle_;
      if (item == kPill) return;
      done_ = true;
      finished_.notify_all();
      ++idle_;
    }
  }

  const bool careful_;
  world::Mutex mutex_;
  world::CondVar ready_;
  world::CondVar finished_;
  std::deque<Item> queue_;
  std::list<world::Thread> workers_;
  std::size_t idle_ = 0;
  bool done_ = false;
  bool stopping_ = false;
};

/// Vyukov's bounded queue (1024cores.net): each cell has a number that says whose turn it is. A position is claimed
/// with a compare-and-swap, or, wrongly, with a load and a store.
class Ring {
 public:
  explicit Ring(bool swaps) : swaps_(swaps) {
    for (std::uint32_t i = 0; i != kCapacity; ++i) cells_[i].turn.store(i, kRelaxed);
  }

  bool push(int value) {
    Cell* const cell = claim(tail_, 0);
    if (cell == nullptr) return false;
    cell->value = value;
    cell->turn.store(cell->turn.load(kRelaxed) + 1, kRelease);
    return true;
  }
  bool pop(int& value) {
    Cell* const cell = claim(head_, 1);
    if (cell == nullptr) return false;
    value = cell->value;
    cell->turn.store(cell->turn.load(kRelaxed) - 1 + kCapacity, kRelease);
    return true;
  }

 private:
  static constexpr std::uint32_t kCapacity = 2;
  struct Cell {
    world::Atomic<std::uint32_t> turn{0};
    int value = 0;
  };

  /// The cell at `end` once its turn is there; null if it is not.
  Cell* claim(world::Atomic<std::uint32_t>& end, std::uint32_t turn) {
    std::uint32_t at = end.load(kRelaxed);
    for (;;) {
      Cell& cell = cells_[at % kCapacity];
      const auto ahead = static_cast<std::int32_t>(cell.turn.load(kAcquire) - (at + turn));
      if (ahead < 0) return nullptr;
      if (ahead > 0) {
        at = end.load(kRelaxed);
      } else if (!swaps_) {
        end.store(at + 1, kRelaxed);
        return &cell;
      } else if (end.compare_exchange_weak(at, at + 1, kRelaxed, kRelaxed)) {
        return &cell;
      }
    }
  }

  const bool swaps_;
  std::array<Cell, kCapacity> cells_;
  world::Atomic<std::uint32_t> head_{0};
  world::Atomic<std::uint32_t> tail_{0};
};

}  // namespace

TEST_CASE("Checker: a flag told without the lock loses the wake-up", "[model][checker]") {
  const auto scenario = [](bool locks) {
    Slots slots(locks);
    world::Thread consumer([&] { MODEL_ASSERT(!slots.dequeue()); });
    world::Thread second([&] { MODEL_ASSERT(!slots.dequeue()); });
    slots.cancel();
    consumer.join();
    second.join();
  };
  must_find(Kind::kDeadlock, {.name = "broadcast without the lock"}, 150, [&] { scenario(false); });
  must_pass({.name = "broadcast with the lock"}, [&] { scenario(true); });
}

TEST_CASE("Checker: a semaphore that sleeps on a stale count loses the wake-up", "[model][checker]") {
  const auto scenario = [](bool hasty) {
    Semaphore semaphore(1, hasty);
    const auto use = [&] {
      semaphore.acquire();
      semaphore.release();
    };
    world::Thread other(use);
    use();
    other.join();
  };
  // It takes three preemptions, so two find nothing.
  CHECK(checker::explore({.name = "stale count", .preemptions = 2}, [&] { scenario(true); }).passed());
  must_find(Kind::kDeadlock, {.name = "stale count", .preemptions = 3}, 200, [&] { scenario(true); });
  must_pass({.name = "waits for none", .preemptions = 4}, [&] { scenario(false); });
}

TEST_CASE("Checker: an idle worker with a pill before it strands the job", "[model][checker]") {
  const auto scenario = [](bool careful) {
    Pool pool(careful);
    pool.start_worker();
    world::Thread killer([&] { pool.submit_pill(); });
    killer.join();
    pool.submit_job();
    pool.wait_for_job();
    pool.stop();
  };
  must_find(Kind::kDeadlock, {.name = "stranded job", .preemptions = 0}, 125, [&] { scenario(false); });
  must_pass({.name = "job and pill"}, [&] { scenario(true); });
}

TEST_CASE("Checker: two stores that pass each other in store buffers lose the wake-up", "[model][checker]") {
  const auto scenario = [](std::memory_order order) {
    world::Atomic<std::uint32_t> sleeping{0};
    world::Atomic<bool> ready{false};
    world::Thread waker([&] {
      ready.store(true, order);
      if (sleeping.load(order == kSeqCst ? kSeqCst : kAcquire) == 0) return;
      sleeping.store(0, order);
      world::futex_wake_one(&sleeping);
    });
    sleeping.store(1, order);
    if (!ready.load(order == kSeqCst ? kSeqCst : kAcquire)) world::futex_wait(sleeping, 1);
    waker.join();
  };
  // Invisible as long as every store is seen at once.
  CHECK(checker::explore({.name = "no delay", .preemptions = 4}, [&] { scenario(kRelease); }).passed());
  must_find(Kind::kDeadlock, {.name = "delay", .store_delay = true}, 100, [&] { scenario(kRelease); });
  must_pass({.name = "seq_cst", .preemptions = 4, .store_delay = true}, [&] { scenario(kSeqCst); });
}

TEST_CASE("Checker: a ring whose positions are claimed without compare-and-swap", "[model][checker]") {
  const auto scenario = [](bool swaps, int each) {
    Ring ring(swaps);
    world::Atomic<int> balance{0};
    const auto produce = [&] {
      for (int i = 0; i != each; ++i) {
        if (ring.push(1)) balance.fetch_add(1, kRelaxed);
      }
    };
    const auto consume = [&] {
      int value = 0;
      if (ring.pop(value)) balance.fetch_sub(value, kRelaxed);
    };
    world::Thread producer(produce);
    world::Thread consumer(consume);
    produce();
    producer.join();
    consumer.join();
    int value = 0;
    while (ring.pop(value)) balance.fetch_sub(value, kRelaxed);
    MODEL_ASSERT(balance.load(kRelaxed) == 0);
  };
  must_find(Kind::kRace, {.name = "claim by store"}, 100, [&] { scenario(false, 1); });
  must_pass({.name = "claim by swap", .preemptions = 2}, [&] { scenario(true, 1); });
}
