// SPDX-License-Identifier: MIT
#include "penstock/core/detail/stealing_pool.hpp"

#include <algorithm>

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

struct CurrentTag {};

}  // namespace

StealingPool::Worker*& StealingPool::current() noexcept { return world::thread_local_value<CurrentTag, Worker*>(); }

StealingPool::StealingPool(std::size_t threads, std::string_view name)
    : name_(name), threads_(threads), workers_(new Worker[threads]), started_(threads) {
  for (std::size_t i = 0; i < threads_; ++i) {
    workers_[i].pool = this;
    workers_[i].index = i;
    workers_[i].spins = world::spin_limit();
    workers_[i].seen.resize(threads);
  }
}

void StealingPool::start() {
  for (std::size_t i = 0; i < threads_; ++i) {
    try {
      workers_[i].thread = world::Thread([this, i] { run(workers_[i]); });
    } catch (...) {
      MutexLock lock(mutex_);
      started_ = i;
      throw;
    }
  }
}

StealingPool::~StealingPool() {
  stop();
  for (std::size_t i = 0; i < threads_; ++i) {
    if (workers_[i].thread.joinable()) workers_[i].thread.join();
  }
  // What was posted when the last worker had gone: nothing posted is ever lost.
  for (;;) {
    Work* work = nullptr;
    {
      MutexLock lock(mutex_);
      work = mail_.pop();
    }
    if (work == nullptr) return;
    work->run(*work);
  }
}

void StealingPool::stop() noexcept {
  Claimed claimed;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    if (idle_count_ == started_) claim_everybody(claimed);
  }
  claimed.wake();
}

bool StealingPool::on_own_thread() const noexcept {
  const Worker* const me = current();
  return me != nullptr && me->pool == this;
}

// --- posting ---

void StealingPool::post(Work& work) noexcept {
  Worker* const me = current();
  if (me != nullptr && me->pool == this) {
    post_own(*me, work);
  } else {
    post_mail(work);
  }
}

void StealingPool::post_own(Worker& me, Work& work) noexcept {
  work.place.store(&me.front, std::memory_order_relaxed);
  if (me.front.load(std::memory_order_relaxed) == nullptr) {
    me.front.store(&work, std::memory_order_release);                                     // F1; nobody else fills it
  } else if (Work* const before = me.front.exchange(&work, std::memory_order_release)) {  // F1
    MutexLock lock(me.mutex);
    me.queue.push(*before);
    me.length.store(me.length.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  prompt(me);
}

/// After work was put where only this worker looks.
void StealingPool::prompt(const Worker& me) noexcept {
  if (idle_.load(std::memory_order_relaxed) == 0) return;
  Claimed claimed;
  if (!watched_.load(std::memory_order_relaxed)) {
    MutexLock lock(mutex_);
    if (watch_ == nullptr) claim_watch(claimed);
  } else if (me.is_worth_help() && !searching_.load(std::memory_order_relaxed)) {
    MutexLock lock(mutex_);
    claim_searcher(claimed);
  }
  claimed.wake();
}

void StealingPool::post_mail(Work& work) noexcept {
  Claimed claimed;
  {
    MutexLock lock(mutex_);
    mail_.push(work);
    has_mail_.store(true, std::memory_order_relaxed);
    claim_searcher(claimed);
  }
  claimed.wake();
}

bool StealingPool::revoke(Work& work) noexcept {
  for (;; world::yield()) {
    const void* const place = work.place.load(std::memory_order_relaxed);
    if (place == &work) return false;
    if (place == &mail_) {
      MutexLock lock(mutex_);
      if (mail_.remove(work)) return true;
    } else if (place != nullptr) {
      for (std::size_t i = 0; i < threads_; ++i) {
        Worker& worker = workers_[i];
        if (place == &worker.front) {
          Work* expected = &work;
          if (!worker.front.compare_exchange_strong(expected, nullptr, std::memory_order_acquire,  // F1
                                                    std::memory_order_relaxed)) {
            break;
          }
          work.place.store(&work, std::memory_order_relaxed);
          return true;
        }
        if (place == &worker.queue) {
          MutexLock lock(worker.mutex);
          if (!worker.queue.remove(work)) break;
          worker.length.store(worker.length.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
          return true;
        }
      }
    }
    // It is not posted yet, or on its way from one place to another.
  }
}
// --- places ---

/// Begins a new estimate of what a piece takes.
void StealingPool::Worker::measure() noexcept {
  const world::TimePoint now = world::now();
  const std::uint32_t pieces = begun.load(std::memory_order_relaxed) - measured_begun;
  if (pieces == 0) return;
  const auto elapsed = static_cast<std::uint64_t>((now - measured_at).count());
  const std::uint64_t mean = std::min<std::uint64_t>(elapsed / pieces, kLongestMeanNs);
  mean_ns.store(static_cast<std::uint32_t>((mean + mean_ns.load(std::memory_order_relaxed)) / 2),
                std::memory_order_relaxed);
  measured_at = now;
  measured_begun += pieces;
}

Work* StealingPool::Worker::take_front() noexcept {
  if (front.load(std::memory_order_relaxed) == nullptr) return nullptr;
  Work* const work = front.exchange(nullptr, std::memory_order_acquire);  // F1
  if (work != nullptr) work->place.store(work, std::memory_order_relaxed);
  return work;
}

Work* StealingPool::Worker::take_oldest() noexcept {
  const std::uint32_t before = length.load(std::memory_order_relaxed);
  if (before == 0) return nullptr;
  MutexLock lock(mutex);
  Work* const work = queue.pop();
  if (work != nullptr) length.store(length.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  return work;
}

void StealingPool::Worker::give_half(WorkQueue& thief, std::size_t most) noexcept {
  MutexLock lock(mutex);
  const std::uint32_t there = length.load(std::memory_order_relaxed);
  const auto taken = static_cast<std::uint32_t>(thief.take(queue, std::min<std::size_t>((there + 1) / 2, most)));
  length.store(there - taken, std::memory_order_relaxed);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
