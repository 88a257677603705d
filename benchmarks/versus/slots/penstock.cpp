// SPDX-License-Identifier: MIT
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/slot_queue.hpp"
#include "slot_workloads.hpp"

namespace {

class Queue {
 public:
  using Token = penstock::SlotToken;
  using Lease = penstock::SlotLease<std::uint64_t>;

  Token offer(std::uint64_t slot) {
    auto token = queue_.offer(slot);
    versus::check(token.ok(), "offer failed");
    return *std::move(token);
  }
  std::optional<Lease> acquire() {
    auto lease = queue_.acquire();
    return lease.ok() ? std::optional(*std::move(lease)) : std::nullopt;
  }
  static std::uint64_t slot(const Lease& lease) { return *lease; }
  static void release(Lease lease) { lease.reset(); }
  static std::uint64_t retire(Lease lease) { return lease.retire(); }
  bool eject(Token& token) { return queue_.eject(token).has_value(); }
  void close() { queue_.close(); }

 private:
  penstock::SlotQueue<std::uint64_t> queue_{penstock::SlotQueueOptions<std::uint64_t>{.name = "versus"}};
};

penstock::Task<> get_all(penstock::SlotQueue<std::uint64_t>& queue, std::uint64_t& sum) {
  for (;;) {
    auto lease = co_await queue.async_acquire();
    if (!lease.ok()) co_return;
    sum += lease->retire();
  }
}

/// As `offer_to_waiters`, where coroutines wait, all run by one thread: no thread is woken.
versus::Figures offer_to_coroutines(const versus::Arguments& arguments) {
  const std::size_t items = arguments["items"];
  penstock::RunLoop loop;
  penstock::SlotQueue<std::uint64_t> queue(penstock::SlotQueueOptions<std::uint64_t>{.name = "versus"});
  std::vector<penstock::JoinHandle<>> waiters;
  std::uint64_t sum = 0;
  while (waiters.size() != arguments["consumers"] + 1) waiters.push_back(penstock::spawn(loop, get_all(queue, sum)));
  loop.run_ready();
  const versus::Figures figures = versus::run_alone(items, [&] {
    for (std::uint64_t number = 1; number <= items; ++number) {
      versus::check(queue.offer(number).ok(), "offer failed");
      loop.run_ready();
    }
  });
  queue.close();
  loop.run_ready();
  versus::check(2 * sum == versus::sum_of_first(items + 1), "offer_to_coroutines: the sum is wrong");
  return figures;
}

}  // namespace

int main(int argc, char** argv) {
  versus::Workloads workloads = versus::slot_workloads<Queue>();
  workloads["offer_to_coroutines"] = offer_to_coroutines;
  return versus::run_program(argc, argv, workloads);
}
