// SPDX-License-Identifier: MIT

// What a slot queue answers to several threads, under every schedule, is what a stack from which slots may be taken out
// answers to one: there is an order of all calls, with none before one that had ended when it began, that explains it.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "penstock/core/detail/world.hpp"
#include "penstock/exec/slot_queue.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
namespace world = penstock::detail::world;

namespace {

constexpr int kNone = -1;

struct Call {
  enum class Kind : std::uint8_t { kOffer, kTake, kEject };
  Kind kind = Kind::kOffer;
  int slot = kNone;  // what was offered, or taken, or is to be ejected
  bool ejected = false;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// Whether the calls that are left have an order from here on. The newest slot is the last of `stack`.
bool explains(const std::vector<Call>& calls, std::uint32_t done, const std::vector<int>& stack) {
  if (done == (1U << calls.size()) - 1) return true;
  std::uint64_t first_end = UINT64_MAX;
  for (std::size_t i = 0; i != calls.size(); ++i) {
    if ((done >> i & 1U) == 0) first_end = std::min(first_end, calls[i].end);
  }
  for (std::size_t i = 0; i != calls.size(); ++i) {
    const Call& call = calls[i];
    if ((done >> i & 1U) != 0 || call.begin > first_end) continue;
    std::vector<int> after = stack;
    const auto at = std::find(after.begin(), after.end(), call.slot);
    switch (call.kind) {
      case Call::Kind::kOffer:
        after.push_back(call.slot);
        break;
      case Call::Kind::kTake:
        if ((after.empty() ? kNone : after.back()) != call.slot) continue;
        if (!after.empty()) after.pop_back();
        break;
      case Call::Kind::kEject:
        if (call.ejected != (at != after.end())) continue;
        if (call.ejected) after.erase(at);
        break;
    }
    if (explains(calls, done | 1U << i, after)) return true;
  }
  return false;
}

/// The calls of one thread, with the times at which they began and ended.
class Caller {
 public:
  Caller(SlotQueue<int>& queue, world::Atomic<std::uint64_t>& clock) : queue_(queue), clock_(clock) {}

  SlotToken offer(int slot) {
    SlotToken token;
    call({.kind = Call::Kind::kOffer, .slot = slot}, [&](Call&) { token = *queue_.offer(slot); });
    return token;
  }
  void take() {
    call({.kind = Call::Kind::kTake}, [&](Call& made) {
      if (absl::StatusOr<SlotLease<int>> lease = queue_.try_acquire(); lease.ok()) made.slot = lease->retire();
    });
  }
  void eject(const SlotToken& token) {
    call({.kind = Call::Kind::kEject, .slot = static_cast<int>(token.id())},
         [&](Call& made) { made.ejected = queue_.eject(token).has_value(); });
  }

  std::vector<Call> calls;

 private:
  template <class Make>
  void call(Call made, Make make) {
    made.begin = clock_.fetch_add(1, std::memory_order_relaxed);
    make(made);
    made.end = clock_.fetch_add(1, std::memory_order_relaxed);
    calls.push_back(made);
  }

  SlotQueue<int>& queue_;
  world::Atomic<std::uint64_t>& clock_;
};

}  // namespace

TEST_CASE("SlotQueue: what it answers to several threads, a stack answers to one", "[model][slot_queue]") {
  checker::must_pass({.name = "slot queue, history", .preemptions = 2, .executions = 20'000}, [] {
    SlotQueue<int> queue({.name = "q"});
    world::Atomic<std::uint64_t> clock{0};
    std::array<Caller, 3> callers{Caller(queue, clock), Caller(queue, clock), Caller(queue, clock)};
    const SlotToken first = callers[0].offer(0);
    SlotToken second = callers[0].offer(1);
    world::Thread one([&] {
      callers[1].take();
      callers[1].eject(first);
    });
    world::Thread two([&] {
      callers[2].eject(second);
      callers[2].take();
    });
    callers[0].offer(2);
    callers[0].take();
    one.join();
    two.join();
    std::vector<Call> calls;
    for (const Caller& caller : callers) calls.insert(calls.end(), caller.calls.begin(), caller.calls.end());
    MODEL_ASSERT(explains(calls, 0, {}));
  });
}

TEST_CASE("SlotQueue: a history that no stack has is not explained", "[model][slot_queue]") {
  using Kind = Call::Kind;
  const Call zero{.kind = Kind::kOffer, .slot = 0, .begin = 0, .end = 1};
  const Call one{.kind = Kind::kOffer, .slot = 1, .begin = 2, .end = 3};
  const Call takes_zero{.kind = Kind::kTake, .slot = 0, .begin = 4, .end = 5};
  CHECK_FALSE(explains({zero, one, takes_zero}, 0, {}));  // not the newest
  CHECK(explains({zero, {.kind = Kind::kOffer, .slot = 1, .begin = 2, .end = 5}, takes_zero}, 0, {}));
  const Call ejects_zero{.kind = Kind::kEject, .slot = 0, .ejected = true, .begin = 4, .end = 6};
  CHECK_FALSE(explains({zero, takes_zero, ejects_zero}, 0, {}));  // by both
}
