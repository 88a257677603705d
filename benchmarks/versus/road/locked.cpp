// SPDX-License-Identifier: MIT
// What everybody writes: each thing with all of its state under one std::mutex; and the semaphore of the standard
// library.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <semaphore>
#include <vector>

#include "road_workloads.hpp"

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using versus::Arguments;

/// Opens when the last 100 calls were all slow.
class Breaker {
 public:
  explicit Breaker(const Arguments& /*arguments*/) {}
  bool call() {
    if (!try_acquire()) return false;
    success(1ms);
    return true;
  }

 protected:
  bool try_acquire() {
    const Clock::time_point now = Clock::now();
    const std::lock_guard lock(mutex_);
    return now > open_until_;
  }
  void success(Clock::duration took) {
    const Clock::time_point now = Clock::now();
    const std::lock_guard lock(mutex_);
    const bool slow = took > 60s;
    slow_ += static_cast<std::size_t>(slow) - window_[next_];
    window_[next_] = static_cast<unsigned char>(slow);
    next_ = next_ + 1 == window_.size() ? 0 : next_ + 1;
    if (slow_ == window_.size()) open_until_ = now + 60s;
  }

  std::mutex mutex_;
  std::vector<unsigned char> window_ = std::vector<unsigned char>(100);
  std::size_t next_ = 0;
  std::size_t slow_ = 0;
  Clock::time_point open_until_{};
};

class OpenBreaker : public Breaker {
 public:
  explicit OpenBreaker(const Arguments& arguments) : Breaker(arguments) { open_until_ = Clock::time_point::max(); }
};

class Bucket {
 public:
  Bucket(double rate, double burst) : rate_(rate), burst_(burst), tokens_(burst) {}
  bool call() {
    const Clock::time_point now = Clock::now();
    const std::lock_guard lock(mutex_);
    const double come_in = std::chrono::duration<double>(std::max(now, last_) - last_).count() * rate_;
    last_ = std::max(now, last_);
    tokens_ = std::min(burst_, tokens_ + come_in);
    if (tokens_ < 1) return false;
    tokens_ -= 1;
    return true;
  }

 private:
  std::mutex mutex_;
  const double rate_;
  const double burst_;
  double tokens_;
  Clock::time_point last_ = Clock::now();
};

struct Plenty : Bucket {
  explicit Plenty(const Arguments& /*arguments*/) : Bucket(1e9, 1e9) {}
};
struct Few : Bucket {
  explicit Few(const Arguments& /*arguments*/) : Bucket(1e-3, 1) {
    versus::check(call(), "there was no token at first");
  }
};

class CondVarSemaphore {
 public:
  explicit CondVarSemaphore(const Arguments& arguments) : free_(arguments["capacity"]) {}
  bool call() {
    {
      std::unique_lock lock(mutex_);
      is_free_.wait(lock, [this] { return free_ != 0; });
      --free_;
    }
    {
      const std::lock_guard lock(mutex_);
      ++free_;
    }
    is_free_.notify_one();
    return true;
  }

 private:
  std::mutex mutex_;
  std::condition_variable is_free_;
  std::size_t free_;
};

class Semaphore {
 public:
  explicit Semaphore(const Arguments& arguments) : free_(static_cast<std::ptrdiff_t>(arguments["capacity"])) {}
  bool call() {
    free_.acquire();
    free_.release();
    return true;
  }

 private:
  std::counting_semaphore<> free_;
};

}  // namespace

int main(int argc, char** argv) {
  return versus::run_program(argc, argv,
                             {{"breaker", versus::calls<Breaker, true>},
                              {"breaker_open", versus::calls<OpenBreaker, false>},
                              {"rate", versus::calls<Plenty, true>},
                              {"rate_refused", versus::calls<Few, false>},
                              {"limiter", versus::calls<CondVarSemaphore, true>},
                              {"limiter_semaphore", versus::calls<Semaphore, true>}});
}
