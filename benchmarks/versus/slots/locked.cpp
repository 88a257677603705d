// SPDX-License-Identifier: MIT
// What everybody writes: a vector under a std::mutex, and a std::condition_variable that wakes one who waits, or all of
// them.
#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "slot_workloads.hpp"

namespace {

template <bool WakesAll>
class Queue {
 public:
  struct Entry {
    std::uint64_t id;
    std::uint64_t slot;
  };
  using Token = std::uint64_t;
  using Lease = Entry;

  Token offer(std::uint64_t slot) {
    Token token = 0;
    {
      const std::lock_guard lock(mutex_);
      token = next_id_++;
      idle_.push_back({token, slot});
      waiting_ = 0;
    }
    wake();
    return token;
  }
  std::optional<Lease> acquire() {
    std::unique_lock lock(mutex_);
    while (!closed_ && idle_.empty()) {
      ++waiting_;
      changed_.wait(lock);
    }
    if (idle_.empty()) return std::nullopt;
    const Entry entry = idle_.back();
    idle_.pop_back();
    return entry;
  }
  static std::uint64_t slot(const Lease& lease) { return lease.slot; }
  void release(Lease lease) {
    {
      const std::lock_guard lock(mutex_);
      idle_.push_back(lease);
      waiting_ = 0;
    }
    wake();
  }
  static std::uint64_t retire(Lease lease) { return lease.slot; }
  bool eject(Token token) {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(idle_.begin(), idle_.end(), [=](const Entry& entry) { return entry.id == token; });
    if (found == idle_.end()) return false;
    idle_.erase(found);
    return true;
  }
  std::size_t waiting() requires WakesAll {
    const std::lock_guard lock(mutex_);
    return waiting_;
  }
  void close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
  }

 private:
  void wake() {
    if constexpr (WakesAll) {
      changed_.notify_all();
    } else {
      changed_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Entry> idle_;
  std::uint64_t next_id_ = 0;
  std::size_t waiting_ = 0;  // where all are woken: how many have not been
  bool closed_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  versus::Workloads workloads = versus::slot_workloads<Queue<false>>();
  workloads.merge(versus::slot_workloads<Queue<true>>("all_"));
  return versus::run_program(argc, argv, workloads);
}
