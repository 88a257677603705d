// SPDX-License-Identifier: MIT
// Functions that run in containers. A container takes a while to start and is then warm: so the newest that is idle
// serves the next request, who finds none has one started, and those that nobody needs are stopped.
#include <chrono>
#include <cstdio>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/slot_queue.hpp"

using namespace std::chrono_literals;
using penstock::Context;
using penstock::LaunchTicket;
using penstock::SlotEnd;
using penstock::SlotQueue;

struct Container {
  int number = 0;
  int served = 0;
};

/// Starts containers, each in a thread; the third one finds no image.
class Starters {
 public:
  void start(LaunchTicket<Container> ticket) {
    const std::lock_guard lock(mutex_);
    threads_.emplace_back([number = ++started_, ticket = std::move(ticket)]() mutable {
      if (number == 3) {
        ticket.fail(absl::NotFoundError("container 3: no such image"));  // for who asked for this one, and nobody else
      } else {
        (void)ticket.succeed(Container{.number = number});
      }
    });
  }
  void join() {
    const std::lock_guard lock(mutex_);
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  std::mutex mutex_;
  std::vector<std::thread> threads_;
  int started_ = 0;
};

int main() {
  penstock::ManualClock clock;  // so that nobody has to wait to see containers expire
  Starters starters;
  int expired = 0;
  SlotQueue<Container> warm({.name = "resize",
                             .idle_timeout = 30s,
                             .min_idle = 1,
                             .launch = [&](LaunchTicket<Container> ticket) { starters.start(std::move(ticket)); },
                             .on_retired = [&](Container&&, SlotEnd end) { expired += end == SlotEnd::kExpired; },
                             .clock = &clock});

  // Two requests at once: two containers are started. Both are warm afterwards.
  {
    auto first = warm.acquire();
    auto second = warm.acquire();
    if (!first.ok() || !second.ok()) return 1;
    std::printf("cold     containers %d and %d\n", (*first)->number, (*second)->number);
  }

  // A hundred more, one after the other: the warmest serves them all.
  int served_by_warmest = 0;
  for (int request = 0; request != 100; ++request) served_by_warmest = ++(*warm.acquire())->served;
  std::printf("warm     one container served %d requests, %d starts\n", served_by_warmest,
              static_cast<int>(warm.stats().launches));

  // Both are busy, and the third cannot be started: the one who asked for it is told why.
  absl::Status refused;
  {
    const auto first = warm.acquire();
    const auto second = warm.acquire();
    refused = warm.acquire(Context::background().with_timeout(10s)).status();
    std::printf("failed   %s\n", std::string(refused.message()).c_str());
  }

  // Nobody comes any more: one is stopped, one is kept for the next.
  clock.advance(1min);
  std::printf("idle     %d expired, %zu left\n", expired, warm.size());
  starters.join();
  return served_by_warmest == 100 && absl::IsNotFound(refused) && expired == 1 && warm.size() == 1 ? 0 : 1;
}
