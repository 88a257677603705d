// SPDX-License-Identifier: MIT

// Slot queues under every schedule: each slot is had by one at a time and ends once, who waits gets a slot or the
// reason, an error reaches nobody but who asked for the start, and a queue that is deleted has nobody in it.

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/slot_queue.hpp"
#include "penstock/exec/slot_queue_map.hpp"

#include "model/planted.hpp"
#include "model/single_user.hpp"
#include "support/detached.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using penstock::testing::Detached;
namespace world = penstock::detail::world;

namespace {

const auto must_pass = checker::must_pass_with(20'000);

/// A slot; how many there are is counted.
class Single : public checker::SingleUser {
 public:
  explicit Single(int& alive) : alive_(&alive) { ++alive; }
  Single(Single&& other) noexcept : alive_(std::exchange(other.alive_, nullptr)) {}
  Single& operator=(Single&&) = delete;
  ~Single() {
    if (alive_ != nullptr) --*alive_;
  }

  void use() {
    MODEL_ASSERT(alive_ != nullptr);
    SingleUser::use();
  }

 private:
  int* alive_;
};

using Queue = SlotQueue<Single>;
using Outcome = absl::StatusOr<SlotLease<Single>>;

bool use(Outcome outcome, absl::StatusCode otherwise) {
  if (outcome.ok()) (*outcome)->use();
  MODEL_ASSERT(outcome.ok() || outcome.status().code() == otherwise);
  return outcome.ok();
}

void check_sums(const Queue& queue) {
  const SlotQueueStats s = queue.stats();
  MODEL_ASSERT(s.offered == s.idle + s.leased + s.ejected + s.taken + s.retired + s.expired + s.closed);
  MODEL_ASSERT(s.launches == s.starting + s.started + s.start_failures);
  MODEL_ASSERT(s.leased == 0 && s.waiting == 0);
}

Task<bool> use_in_coroutine(Queue& queue, Context ctx, absl::StatusCode otherwise) {
  Outcome outcome = co_await queue.async_acquire(std::move(ctx));
  co_return use(std::move(outcome), otherwise);
}

Detached wait_on(RunLoop& /*loop*/, Queue& queue, Context ctx) {
  Outcome outcome = co_await queue.async_acquire(std::move(ctx));
  if (outcome.ok()) (*outcome)->use();
}

}  // namespace

TEST_CASE("SlotQueue: of an acquire and an eject exactly one wins", "[model][slot_queue]") {
  must_pass({.name = "slot queue, acquire and eject", .preemptions = 3}, [] {
    int alive = 0;
    {
      Queue queue({.name = "q"});
      const SlotToken token = *queue.offer(Single(alive));
      bool leased = false;
      bool ejected = false;
      world::Thread consumer([&] {
        Outcome lease = queue.try_acquire();
        leased = lease.ok();
        if (!leased) return;
        (*lease)->use();
        static_cast<void>(lease->retire());
      });
      ejected = queue.eject(token).has_value();
      consumer.join();
      MODEL_ASSERT(leased != ejected);
      MODEL_ASSERT(token.state() == SlotState::kGone);
      check_sums(queue);
    }
    MODEL_ASSERT(alive == 0);
  });
}

TEST_CASE("SlotQueue: two take one slot in turn, while it is offered", "[model][slot_queue]") {
  must_pass({.name = "slot queue, offer to two", .preemptions = 2}, [] {
    int alive = 0;
    {
      Queue queue({.name = "q"});
      const auto take = [&] { use(queue.acquire(), absl::StatusCode::kOk); };
      world::Thread one(take);
      world::Thread two(take);
      const SlotToken token = *queue.offer(Single(alive));
      one.join();
      two.join();
      MODEL_ASSERT(token.state() == SlotState::kIdle);
      check_sums(queue);
    }
    MODEL_ASSERT(alive == 0);
  });
}

TEST_CASE("SlotQueue: an offer, a waiter, a closer and a canceller", "[model][slot_queue]") {
  must_pass({.name = "slot queue, closer and canceller", .preemptions = 2}, [] {
    int alive = 0;
    {
      Queue queue({.name = "q"});
      const Context::Cancellable ending = Context::background().with_cancel();
      absl::StatusCode end = absl::StatusCode::kUnknown;
      world::Thread waiter([&] { end = queue.acquire(ending.context).status().code(); });
      world::Thread closer([&] { MODEL_ASSERT(queue.close()); });
      world::Thread canceller([&] { ending.source.cancel(); });
      const absl::StatusOr<SlotToken> token = queue.offer(Single(alive));
      waiter.join();
      closer.join();
      canceller.join();
      MODEL_ASSERT(end == absl::StatusCode::kOk || end == absl::StatusCode::kCancelled ||
                   end == absl::StatusCode::kUnavailable);
      MODEL_ASSERT(!token.ok() || token->state() == SlotState::kGone);
      check_sums(queue);
      MODEL_ASSERT(queue.is_idle());
    }
    MODEL_ASSERT(alive == 0);
  });
}

TEST_CASE("SlotQueue: who stops waiting loses no slot, and the next one gets it", "[model][slot_queue]") {
  must_pass({.name = "slot queue, cancelled and next", .preemptions = 2}, [] {
    int alive = 0;
    {
      Queue queue({.name = "q"});
      const Context::Cancellable ending = Context::background().with_cancel();
      world::Thread fickle([&] { use(queue.acquire(ending.context), absl::StatusCode::kCancelled); });
      world::Thread canceller([&] { ending.source.cancel(); });
      world::Thread producer([&] { MODEL_ASSERT(queue.offer(Single(alive)).ok()); });
      use(queue.acquire(), absl::StatusCode::kOk);
      fickle.join();
      canceller.join();
      producer.join();
      MODEL_ASSERT(queue.size() == 1);
      check_sums(queue);
    }
    MODEL_ASSERT(alive == 0);
  });
}

TEST_CASE("SlotQueue: a slot expires while somebody wants it", "[model][slot_queue]") {
  must_pass({.name = "slot queue, expiry", .preemptions = 2}, [] {
    int alive = 0;
    int retired = 0;
    ManualClock clock;
    {
      Queue queue({.name = "q",
                   .idle_timeout = 5ms,
                   .on_retired = [&](Single&&, SlotEnd end) { retired += end == SlotEnd::kExpired ? 1 : 0; },
                   .clock = &clock});
      SlotToken token = *queue.offer(Single(alive));
      world::Thread advancer([&] { clock.advance(5ms); });
      world::Thread ejector([&] { static_cast<void>(queue.eject(token)); });
      const bool got = use(queue.try_acquire(), absl::StatusCode::kResourceExhausted);
      advancer.join();
      ejector.join();
      const SlotQueueStats stats = queue.stats();
      MODEL_ASSERT(stats.idle + stats.ejected + stats.expired == 1);
      MODEL_ASSERT(stats.expired == static_cast<std::uint64_t>(retired));
      MODEL_ASSERT(got || stats.idle == 0 || stats.ejected == 0);
      check_sums(queue);
    }
    MODEL_ASSERT(alive == 0);
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("SlotQueue: it is destroyed while a lease ends and somebody waits", "[model][slot_queue]") {
  must_pass({.name = "slot queue, destroyed", .preemptions = 2}, [] {
    int alive = 0;
    ManualClock clock;
    {
      auto queue = std::make_unique<Queue>(SlotQueueOptions<Single>{.name = "q", .idle_timeout = 1s, .clock = &clock});
      MODEL_ASSERT(queue->offer(Single(alive)).ok());
      std::optional<SlotLease<Single>> lease = *queue->try_acquire();
      RunLoop loop;
      auto waiting = spawn(loop, use_in_coroutine(*queue, Context::background(), absl::StatusCode::kUnavailable));
      loop.run_ready();
      world::Thread holder([&] { lease.reset(); });
      queue.reset();
      holder.join();
      loop.run_ready();
      static_cast<void>(waiting.get());
    }
    MODEL_ASSERT(alive == 0);
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("SlotQueue: a coroutine is destroyed while it is handed a slot", "[model][slot_queue]") {
  must_pass({.name = "slot queue, coroutine destroyed", .preemptions = 3}, [] {
    int alive = 0;
    {
      Queue queue({.name = "q"});
      RunLoop loop;
      const Detached waiting = wait_on(loop, queue, Context::background());
      world::Thread producer([&] { MODEL_ASSERT(queue.offer(Single(alive)).ok()); });
      waiting.handle.destroy();
      producer.join();
      MODEL_ASSERT(queue.size() == 1);
      MODEL_ASSERT(loop.run_ready() == 0);
      check_sums(queue);
    }
    MODEL_ASSERT(alive == 0);
  });
}

TEST_CASE("LaunchTicket: a start fails while the one who asked for it stops waiting", "[model][slot_queue]") {
  must_pass({.name = "slot queue, failed start", .preemptions = 2}, [] {
    std::optional<LaunchTicket<int>> ticket;
    {
      SlotQueue<int> queue({.name = "q", .launch = [&](LaunchTicket<int> given) {
                              if (!ticket.has_value()) ticket.emplace(std::move(given));
                            }});
      RunLoop loop;
      const Context::Cancellable ending = Context::background().with_cancel();
      const auto wait = [](SlotQueue<int>& from, Context ctx) -> Task<absl::StatusCode> {
        co_return (co_await from.async_acquire(std::move(ctx))).status().code();
      };
      auto asker = spawn(loop, wait(queue, ending.context));
      loop.run_ready();
      MODEL_ASSERT(ticket.has_value());
      bool reached = false;
      world::Thread canceller([&] { ending.source.cancel(); });
      world::Thread starter([&] { reached = ticket->fail(absl::InternalError("no")); });
      canceller.join();
      starter.join();
      loop.run_ready();
      const absl::StatusCode end = asker.get();
      MODEL_ASSERT(end == (reached ? absl::StatusCode::kInternal : absl::StatusCode::kCancelled));
      const SlotQueueStats stats = queue.stats();
      MODEL_ASSERT(stats.errors_dropped == (reached ? 0U : 1U));
      MODEL_ASSERT(stats.waiting == 0 && stats.starting == 0);
      MODEL_ASSERT(queue.is_idle());
    }
  });
}

TEST_CASE("SlotQueue: two come to wait, each start succeeds at once", "[model][slot_queue]") {
  must_pass({.name = "slot queue, launches", .preemptions = 2}, [] {
    int alive = 0;
    {
      int inside = 0;  // plain memory: never two launches at once
      Queue queue({.name = "q", .launch = [&](LaunchTicket<Single> ticket) {
                     MODEL_ASSERT(++inside == 1);
                     MODEL_ASSERT(ticket.succeed(Single(alive)).ok());
                     --inside;
                   }});
      const auto take = [&] { use(queue.acquire(), absl::StatusCode::kOk); };
      world::Thread one(take);
      take();
      one.join();
      const SlotQueueStats stats = queue.stats();
      MODEL_ASSERT(stats.launches >= 1 && stats.launches <= 2);
      check_sums(queue);
    }
    MODEL_ASSERT(alive == 0);
  });
}

TEST_CASE("SlotQueue: it is destroyed while a start fails", "[model][slot_queue]") {
  must_pass({.name = "slot queue, destroyed while launching", .preemptions = 2}, [] {
    std::optional<LaunchTicket<int>> ticket;
    {
      auto queue =
          std::make_unique<SlotQueue<int>>(SlotQueueOptions<int>{.name = "q", .launch = [&](LaunchTicket<int> given) {
                                                                   if (!ticket.has_value())
                                                                     ticket.emplace(std::move(given));
                                                                 }});
      RunLoop loop;
      const auto wait = [](SlotQueue<int>& from) -> Task<absl::StatusCode> {
        co_return (co_await from.async_acquire()).status().code();
      };
      auto one = spawn(loop, wait(*queue));
      auto two = spawn(loop, wait(*queue));
      loop.run_ready();
      world::Thread starter([&] { static_cast<void>(ticket->fail(absl::InternalError("no"))); });
      queue.reset();
      starter.join();
      loop.run_ready();
      for (const absl::StatusCode end : {one.get(), two.get()}) {
        MODEL_ASSERT(end == absl::StatusCode::kUnavailable || end == absl::StatusCode::kInternal);
      }
    }
  });
}

TEST_CASE("SlotQueueMap: a queue is looked up while it is deleted", "[model][slot_queue]") {
  must_pass({.name = "slot queue map, deletion", .preemptions = 2}, [] {
    int alive = 0;
    {
      SlotQueueMap<int, Single> map({.name = "m", .shards = 1});
      static_cast<void>(map.try_acquire(1).ok());  // there is a queue, and nothing in it
      world::Thread deleter([&] { static_cast<void>(map.erase_if_idle(1)); });
      world::Thread consumer([&] { use(map.acquire(1), absl::StatusCode::kOk); });
      // Both meet in one queue, whichever it is: else the consumer would wait for ever.
      MODEL_ASSERT(map.offer(1, Single(alive)).ok());
      consumer.join();
      deleter.join();
      MODEL_ASSERT(map.size() == 1);
      MODEL_ASSERT(!map.erase_if_idle(1));  // it has a slot
    }
    MODEL_ASSERT(alive == 0);
  });
}
