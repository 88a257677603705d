// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the tests of the thread manager share: managers that let their threads go, and the books.

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/detail/thread_core.hpp"
#include "penstock/exec/thread_manager.hpp"
#include "support/eventually.hpp"
#include "support/gate.hpp"
#include "support/status_text.hpp"

namespace penstock::testing {

/// A manager that opens the gate of its functions before it is destroyed, so that a failed test does not hang.
class TestManager {
 public:
  explicit TestManager(ThreadManagerOptions options, Gate* gate = nullptr,
                       detail::ThreadCore::MakeThread make = detail::ThreadCore::make_thread)
      : gate_(gate) {
    if (options.name.empty()) options.name = "m";
    auto manager = detail::ThreadManagerAccess::create(std::move(options), make);
    if (!manager.ok()) throw std::runtime_error(std::string(manager.status().message()));
    manager_ = *std::move(manager);
  }
  TestManager(const TestManager&) = delete;
  TestManager& operator=(const TestManager&) = delete;
  ~TestManager() {
    if (gate_ != nullptr) gate_->open();
  }

  ThreadManager* operator->() const { return manager_.get(); }
  ThreadManager& operator*() const { return *manager_; }
  void destroy() { manager_.reset(); }

  /// The only thread that is at work.
  [[nodiscard]] ThreadInfo only() const {
    const std::vector<ThreadInfo> threads = manager_->snapshot();
    if (threads.size() != 1) throw std::runtime_error("not one thread, but " + std::to_string(threads.size()));
    return threads[0];
  }

  /// Waits for all functions to have ended and all threads to be idle or gone.
  [[nodiscard]] bool is_at_rest() const {
    return eventually([&] {
      const ThreadManagerStats s = manager_->stats();
      return s.spawned == s.finished && s.live == s.idle;
    });
  }

 private:
  Gate* const gate_;
  std::unique_ptr<ThreadManager> manager_;
};

/// A thread that goes from step to step as it is told. It waits for the next one by means of the standard library,
/// which nobody notices.
class Steps {
 public:
  void run(std::function<void()> step) {
    begin(std::move(step));
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !step_; });
  }
  /// Without waiting for the end of it.
  void begin(std::function<void()> step) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !step_; });
    step_ = std::move(step);
    changed_.notify_all();
  }
  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return step_ || over_; });
      if (!step_) return;
      lock.unlock();
      step_();
      lock.lock();
      step_ = nullptr;
      changed_.notify_all();
    }
  }
  void end() {
    const std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> step_;
  bool over_ = false;
};

/// What does not add up in one snapshot; empty if all does.
inline std::string discrepancies(const ThreadManagerStats& s) {
  std::string wrong;
  const auto check = [&wrong](const char* law, std::uint64_t left, std::uint64_t right) {
    if (left != right) wrong += std::string(law) + ": " + std::to_string(left) + " and " + std::to_string(right) + "; ";
  };
  const std::size_t at_work = std::accumulate(s.by_state.begin(), s.by_state.end(), std::size_t{0});
  check("live", s.live, s.starting + s.idle + at_work);
  check("spawned", s.spawned, s.finished + at_work);
  check("finished", s.finished, s.returned + s.threw + s.cancelled);
  if (s.live + s.ending > s.max) wrong += "over the limit; ";
  if (s.high_water > s.max) wrong += "high water over the limit; ";
  if (s.reused > s.spawned) wrong += "reused; ";
  return wrong;
}

/// The tasks of this process, as the system counts them.
inline std::size_t system_threads() {
  // With the first thread of a process a sanitizer may start one of its own, which stays. The first one itself is seen
  // for a moment after it was joined.
  static const bool is_gone = [] {
    std::filesystem::path first;
    std::thread([&first] { first = std::filesystem::canonical("/proc/thread-self"); }).join();
    return eventually([&first] { return !std::filesystem::exists(first); });
  }();
  if (!is_gone) throw std::logic_error("a thread that has been joined is still there");
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

/// The names of the tasks of this process.
inline std::multiset<std::string> system_thread_names() {
  std::multiset<std::string> names;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "comm");
    std::string name;
    if (std::getline(file, name)) names.insert(name);
  }
  return names;
}

}  // namespace penstock::testing
