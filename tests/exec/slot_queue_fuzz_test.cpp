// SPDX-License-Identifier: MIT

// Slot queues against a naive reference: a vector for the stack, one for the line, and every answer compared.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "exec/slot_queue_support.hpp"
#include "penstock/core/run_loop.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::Number;
using testing::number;
using testing::NumberLease;
using testing::NumberQueue;

/// What a slot queue is, as plainly as can be.
struct Reference {
  struct Idle {
    int slot;
    TimePoint since;
  };
  std::vector<Idle> stack;               // the newest last
  std::deque<int> line;                  // who waits
  std::map<int, int> leased;             // slot -> who has it
  std::map<int, bool> retires;           // leased slots that do not come back
  std::vector<std::pair<int, int>> got;  // who, which slot
  std::vector<std::pair<int, SlotEnd>> ended;

  void come(int slot, TimePoint now) {
    if (line.empty()) return stack.push_back({slot, now});
    lend(slot, line.front());
    line.pop_front();
  }
  void lend(int slot, int who) {
    leased[slot] = who;
    got.emplace_back(who, slot);
  }
  std::optional<int> take(int who) {
    if (stack.empty()) return std::nullopt;
    const int slot = stack.back().slot;
    stack.pop_back();
    lend(slot, who);
    return slot;
  }
  bool eject(int slot) {
    const auto at = std::find_if(stack.begin(), stack.end(), [&](const Idle& each) { return each.slot == slot; });
    if (at == stack.end()) return false;
    stack.erase(at);
    return true;
  }
  void expire(TimePoint now, Duration timeout, std::size_t min_idle) {
    while (stack.size() > min_idle && now - stack.front().since >= timeout) {
      ended.emplace_back(stack.front().slot, SlotEnd::kExpired);
      stack.erase(stack.begin());
    }
  }
  void give_back(int slot, TimePoint now) {
    leased.erase(slot);
    if (retires.erase(slot) != 0) return ended.emplace_back(slot, SlotEnd::kRetired), void();
    come(slot, now);
  }
};

struct Real {
  std::map<int, SlotLease<Number>> leases;  // by slot
  std::vector<std::pair<int, int>> got;
  std::vector<std::pair<int, SlotEnd>> ended;
};

Task<> wait_in(NumberQueue& queue, Real& real, int who, Context ctx) {
  NumberLease lease = co_await queue.async_acquire(std::move(ctx));
  if (!lease.ok()) co_return;
  const int slot = ***lease;
  real.got.emplace_back(who, slot);
  real.leases.emplace(slot, *std::move(lease));
}

TEST_CASE("SlotQueue: against a naive reference", "[exec][slot_queue]") {
  for (std::uint64_t seed = 0; seed != 150; ++seed) {
    std::mt19937_64 random(seed);  // NOLINT(cert-msc51-cpp): the same each time
    const auto below = [&](std::size_t end) { return static_cast<std::size_t>(random() % end); };
    const std::size_t min_idle = below(3);
    constexpr Duration kTimeout = 20ms;
    ManualClock clock;
    RunLoop loop;
    Reference reference;
    Real real;
    {
      NumberQueue queue({.name = "q",
                         .idle_timeout = kTimeout,
                         .min_idle = min_idle,
                         .on_retired = [&](Number&& slot, SlotEnd end) { real.ended.emplace_back(*slot, end); },
                         .clock = &clock});
      std::vector<SlotToken> tokens;
      std::map<int, CancelSource> cancels;
      std::vector<JoinHandle<void>> tasks;
      int next_waiter = 0;
      for (int step = 0; step != 400; ++step) {
        const auto pick_leased = [&]() -> std::optional<int> {
          if (reference.leased.empty()) return std::nullopt;
          return std::next(reference.leased.begin(), static_cast<std::ptrdiff_t>(below(reference.leased.size())))
              ->first;
        };
        switch (below(9)) {
          case 0:
          case 1: {  // offer
            const int slot = static_cast<int>(tokens.size());
            tokens.push_back(*queue.offer(number(slot)));
            reference.come(slot, clock.now());
            reference.expire(clock.now(), kTimeout, min_idle);
            break;
          }
          case 2: {  // acquire, waiting
            const int who = next_waiter++;
            const Context::Cancellable ctx = Context::background().with_cancel();
            cancels.emplace(who, ctx.source);
            tasks.push_back(spawn(loop, wait_in(queue, real, who, ctx.context)));
            if (!reference.take(who).has_value()) reference.line.push_back(who);
            break;
          }
          case 3: {  // acquire at once
            NumberLease lease = queue.try_acquire();
            const std::optional<int> expected = reference.take(-1);
            REQUIRE(lease.ok() == expected.has_value());
            if (!lease.ok()) break;
            REQUIRE(***lease == *expected);
            real.got.emplace_back(-1, *expected);
            real.leases.emplace(*expected, *std::move(lease));
            break;
          }
          case 4: {  // cancel somebody in line
            if (reference.line.empty()) break;
            const auto at = reference.line.begin() + static_cast<std::ptrdiff_t>(below(reference.line.size()));
            cancels.at(*at).cancel();
            reference.line.erase(at);
            break;
          }
          case 5: {  // eject any slot there ever was
            if (tokens.empty()) break;
            const std::size_t at = below(tokens.size());
            const std::optional<Number> slot = queue.eject(tokens[at]);
            REQUIRE(slot.has_value() == reference.eject(static_cast<int>(at)));
            if (slot.has_value()) REQUIRE(**slot == static_cast<int>(at));
            break;
          }
          case 6: {  // end a lease
            const std::optional<int> slot = pick_leased();
            if (!slot.has_value()) break;
            real.leases.erase(*slot);
            reference.give_back(*slot, clock.now());
            reference.expire(clock.now(), kTimeout, min_idle);
            break;
          }
          case 7: {  // retire any slot there ever was
            if (tokens.empty()) break;
            const std::size_t at = below(tokens.size());
            const int slot = static_cast<int>(at);
            const SlotState was = tokens[at].retire();
            if (reference.leased.count(slot) != 0) {
              REQUIRE(was == SlotState::kLeased);
              reference.retires[slot] = true;
            } else if (reference.eject(slot)) {
              REQUIRE(was == SlotState::kIdle);
              reference.ended.emplace_back(slot, SlotEnd::kRetired);
            } else {
              REQUIRE(was == SlotState::kGone);
            }
            break;
          }
          default: {
            for (std::size_t left = below(4); left != 0; --left) {
              clock.advance(1ms);
              reference.expire(clock.now(), kTimeout, min_idle);
            }
            break;
          }
        }
        loop.run_ready();
        INFO("seed " << seed << ", step " << step);
        REQUIRE(real.got == reference.got);
        REQUIRE(real.ended == reference.ended);
        const SlotQueueStats stats = queue.stats();
        REQUIRE(stats.idle == reference.stack.size());
        REQUIRE(stats.leased == reference.leased.size());
        REQUIRE(stats.waiting == reference.line.size());
        REQUIRE(discrepancies(stats).empty());
        REQUIRE(queue.idle_since() ==
                (reference.stack.empty() ? std::nullopt : std::optional(reference.stack.front().since)));
      }
      queue.close();
      loop.run_ready();
      real.leases.clear();
      for (const SlotToken& token : tokens) REQUIRE(token.state() == SlotState::kGone);
      REQUIRE(queue.is_idle());
    }
  }
}

}  // namespace
}  // namespace penstock
