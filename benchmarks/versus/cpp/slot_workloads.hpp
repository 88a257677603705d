// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What threads do with a queue of slots, which are numbers here. An adapter is
///
///     class Queue {
///      public:
///       Token offer(std::uint64_t slot);        // to who waits for one, or on top of those that are idle
///       std::optional<Lease> acquire();         // the newest one; waits for it; nothing once the queue is closed
///       static std::uint64_t slot(const Lease&);
///       void release(Lease lease);              // back on top
///       std::uint64_t retire(Lease lease);      // out of the queue
///       bool eject(Token& token);               // if the slot is idle: out of the queue
///       void close();                           // who waits gets nothing
///       std::size_t waiting();                  // if a slot wakes all who wait: how many are back
///     };

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include <pthread.h>
#include <sched.h>

#include "measure.hpp"

namespace versus {

/// Threads get the newest slot and put it back. An item is that.
template <class Queue>
Figures reuse(const Arguments& arguments) {
  const std::size_t threads = arguments["producers"];
  const std::size_t each = (arguments["items"] + threads - 1) / threads;
  const std::size_t idle = arguments["capacity"];
  Queue queue;
  for (std::size_t slot = 1; slot <= idle; ++slot) static_cast<void>(queue.offer(slot));
  std::atomic<std::uint64_t> sum{0};
  const std::function<void()> worker = [&] {
    std::uint64_t own = 0;
    for (std::size_t left = each; left != 0; --left) {
      auto lease = queue.acquire();
      own += Queue::slot(*lease);
      queue.release(*std::move(lease));
    }
    sum += own;
  };
  const Figures figures = run_together(each * threads, std::vector(threads, worker));
  check(threads != 1 || sum == each * idle, "reuse: it was not the newest slot");
  check(sum >= each * threads * (idle + 1 - std::min(idle, threads)), "reuse: a slot was got twice");
  return figures;
}

/// The life of a slot: offered, acquired, given back, ejected. An item is that.
template <class Queue>
Figures life(const Arguments& arguments) {
  const std::size_t items = arguments["items"];
  Queue queue;
  for (std::size_t slot = 1; slot <= arguments["capacity"]; ++slot) static_cast<void>(queue.offer(0));
  std::uint64_t sum = 0;
  const Figures figures = run_alone(items, [&] {
    for (std::size_t number = 0; number != items; ++number) {
      auto token = queue.offer(number);
      auto lease = queue.acquire();
      sum += Queue::slot(*lease);
      queue.release(*std::move(lease));
      check(queue.eject(token), "life: the slot was not ejected");
    }
  });
  check(2 * sum == sum_of_first(items), "life: the sum is wrong");
  return figures;
}

/// The slot that is idle for the longest time is ejected, and offered anew, where `capacity` are idle. An item is that.
template <class Queue>
Figures eject_oldest(const Arguments& arguments) {
  const std::size_t items = arguments["items"];
  const std::size_t idle = arguments["capacity"];
  Queue queue;
  using Token = decltype(queue.offer(0));
  std::vector<Token> tokens;
  tokens.reserve(idle);
  for (std::size_t slot = 0; slot != idle; ++slot) tokens.push_back(queue.offer(slot));
  std::size_t ejected = 0;
  const Figures figures = run_alone(items, [&] {
    std::size_t oldest = 0;
    for (std::size_t number = 0; number != items; ++number) {
      ejected += queue.eject(tokens[oldest]) ? 1 : 0;
      tokens[oldest] = queue.offer(number);
      if (++oldest == idle) oldest = 0;
    }
  });
  check(ejected == items, "eject_oldest: a slot was not ejected");
  auto lease = queue.acquire();
  check(Queue::slot(*lease) == items - 1, "eject_oldest: the newest slot is another one");
  static_cast<void>(queue.retire(*std::move(lease)));
  return figures;
}

/// Threads with small stacks, so that there can be very many.
class Crowd {
 public:
  Crowd(std::size_t count, std::function<void()> body) : body_(std::move(body)), threads_(count) {
    pthread_attr_t attributes;
    check(pthread_attr_init(&attributes) == 0, "pthread_attr_init failed");
    check(pthread_attr_setstacksize(&attributes, 64 * 1024) == 0, "pthread_attr_setstacksize failed");
    for (pthread_t& thread : threads_) {
      check(pthread_create(&thread, &attributes, call, this) == 0, "pthread_create failed");
    }
    pthread_attr_destroy(&attributes);
  }
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;
  ~Crowd() {
    for (const pthread_t thread : threads_) pthread_join(thread, nullptr);
  }

 private:
  static void* call(void* self) {
    static_cast<Crowd*>(self)->body_();
    return nullptr;
  }

  std::function<void()> body_;
  std::vector<pthread_t> threads_;
};

/// Waits until the `threads` of this process do nothing; for two seconds at most. (To ask takes time for each thread.)
inline void come_to_rest(std::size_t threads) {
  double used_ns = 1e9;
  for (int left = 100; left != 0 && used_ns > 300'000 + 300 * static_cast<double>(threads); --left) {
    const double before_ns = Usage::now().cpu_ns;
    sleep_ns(20'000'000);
    used_ns = Usage::now().cpu_ns - before_ns;
  }
}

/// A slot is offered while `consumers` threads wait for one; who gets it retires it and waits again, and then comes the
/// next one. An item is a slot.
template <class Queue>
Figures offer_to_waiters(const Arguments& arguments) {
  const std::size_t items = arguments["items"];
  const std::size_t waiters = arguments["consumers"] + 1;  // one of them may be on its way back
  Queue queue;
  std::atomic<std::size_t> here{0};
  std::atomic<std::uint64_t> got{0};
  std::uint64_t sum = 0;  // belongs to who has the slot
  const Crowd crowd(waiters, [&] {
    ++here;
    while (auto lease = queue.acquire()) {
      const std::uint64_t number = queue.retire(*std::move(lease));
      sum += number;
      got.store(number, std::memory_order_release);
      got.notify_one();
    }
  });
  while (here != waiters) sleep_ns(1000000);
  come_to_rest(waiters);
  const auto offer_all = [&] {
    for (std::uint64_t number = 1; number <= items; ++number) {
      if constexpr (requires { queue.waiting(); }) {
        while (queue.waiting() < arguments["consumers"]) sched_yield();
      }
      static_cast<void>(queue.offer(number));
      for (std::uint64_t old; (old = got.load()) != number;) got.wait(old);
    }
  };
  const Figures figures = run_together(items, {offer_all});
  queue.close();
  check(2 * sum == sum_of_first(items + 1), "offer_to_waiters: the sum is wrong");
  return figures;
}

/// A slot for a thread that has waited for `gap_us`: from just before it is offered until the thread has it. An item is
/// a slot.
template <class Queue>
Figures hand_over(const Arguments& arguments) {
  const std::size_t items = arguments["items"];
  Queue queue;
  std::vector<std::uint64_t> latencies;
  latencies.reserve(items);
  const auto waiter = [&] {
    for (std::size_t left = items; left != 0; --left) {
      const std::uint64_t offered = queue.retire(*queue.acquire());
      latencies.push_back(now_ns() - offered);
    }
  };
  const auto producer = [&] {
    for (std::size_t left = items; left != 0; --left) {
      sleep_ns(arguments["gap_us"] * 1000);
      static_cast<void>(queue.offer(now_ns()));
    }
  };
  Figures figures = run_together(items, {waiter, producer});
  figures.add_quantiles(latencies);
  return figures;
}

/// All of these for an adapter; their names begin with `prefix`.
template <class Queue>
Workloads slot_workloads(const std::string& prefix = "") {
  return {{prefix + "reuse", reuse<Queue>},
          {prefix + "life", life<Queue>},
          {prefix + "eject_oldest", eject_oldest<Queue>},
          {prefix + "offer_to_waiters", offer_to_waiters<Queue>},
          {prefix + "hand_over", hand_over<Queue>}};
}

}  // namespace versus
