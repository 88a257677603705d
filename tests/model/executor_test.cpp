// SPDX-License-Identifier: MIT

// Executors: work runs once or was revoked, nobody sleeps while there is work, and nothing is touched that is gone.

#include "penstock/core/executor.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <system_error>

#include "penstock/core/detail/parker.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/work_stealing_executor.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using checker::must_pass;
namespace world = penstock::detail::world;

namespace {

/// Work that counts, and is told what else to do.
struct Piece : Work {
  using Then = void (*)(Piece&);
  explicit Piece(Executor* on = nullptr, Work* next_work = nullptr) noexcept
      : Work([](Work& work) noexcept {
          auto& self = static_cast<Piece&>(work);
          self.runs.store(self.runs.load(std::memory_order_relaxed) + 1, std::memory_order_release);
          if (self.following != nullptr) self.executor->post(*self.following);
        }),
        executor(on),
        following(next_work) {}
  Executor* executor;
  Work* following;
  world::Atomic<int> runs{0};

  [[nodiscard]] int ran() const noexcept { return runs.load(std::memory_order_acquire); }
  /// Until it has run once.
  void await() const noexcept {
    while (ran() == 0) world::yield();
  }
};

/// Posts others to its own thread, and does not let go of that before the awaited one has run.
struct Holding : Work {
  Holding(Executor& on, std::array<Work*, 2> posted_work, Piece& awaited_piece) noexcept
      : Work([](Work& work) noexcept {
          auto& self = static_cast<Holding&>(work);
          for (Work* const other : self.posted) {
            if (other != nullptr) self.executor.post(*other);
          }
          self.awaited.await();
          self.ended.store(true, std::memory_order_release);
        }),
        executor(on),
        posted(posted_work),
        awaited(awaited_piece) {}
  Executor& executor;
  const std::array<Work*, 2> posted;
  Piece& awaited;
  world::Atomic<bool> ended{false};
};

}  // namespace

TEST_CASE("RunLoop: work is revoked by the loop's thread while another one posts it", "[model][executor]") {
  must_pass({.name = "run loop, revoke and post", .preemptions = 3}, [] {
    RunLoop loop;
    auto work = std::make_unique<Piece>();
    world::Thread poster([&, raw = work.get()] { loop.post(*raw); });
    MODEL_ASSERT(loop.revoke(*work));
    work.reset();  // the poster is through with it
    MODEL_ASSERT(loop.run_ready() == 0);
    poster.join();
  });
}

TEST_CASE("RunLoop: work is revoked by another thread while the loop runs", "[model][executor]") {
  must_pass({.name = "run loop, revoke and run", .preemptions = 3}, [] {
    RunLoop loop;
    Piece own;
    Piece mail(&loop, &own);
    world::Thread runner([&] { loop.run_ready(); });
    loop.post(mail);
    const bool revoked = loop.revoke(mail);
    runner.join();
    loop.run_ready();
    MODEL_ASSERT(mail.ran() == (revoked ? 0 : 1));
    MODEL_ASSERT(own.ran() == (revoked ? 0 : 1));
  });
}

TEST_CASE("RunLoop: mail, work of its own and the end", "[model][executor]") {
  must_pass({.name = "run loop, mail and stop", .preemptions = 3}, [] {
    std::optional<RunLoop> loop(std::in_place);
    Piece own;
    Piece mail(&*loop, &own);
    world::Thread poster([&] {
      loop->post(mail);
      loop->stop();
    });
    loop->run();
    MODEL_ASSERT(own.ran() == 1);
    poster.join();
    loop.reset();
  });
}

TEST_CASE("WorkStealingExecutor: posts from outside meet threads that go to sleep", "[model][executor]") {
  for (const std::size_t threads : {1U, 2U}) {
    must_pass(
        {.name = threads == 1 ? "stealing, one sleeps" : "stealing, two sleep", .executions = 20'000, .timeouts = 0},
        [&] {
          WorkStealingExecutor executor(threads, "x");
          Piece first;
          Piece second;
          executor.post(first);
          executor.post(second);
          first.await();
          second.await();
        });
  }
}

TEST_CASE("WorkStealingExecutor: what is posted is run before it goes", "[model][executor]") {
  must_pass({.name = "stealing, stop", .executions = 20'000}, [] {
    Piece last;
    std::optional<WorkStealingExecutor> executor(std::in_place, 2, "x");
    Piece first(&*executor, &last);
    executor->post(first);
    executor.reset();
    MODEL_ASSERT(first.ran() == 1 && last.ran() == 1);
  });
}

TEST_CASE("WorkStealingExecutor: it may go as soon as its last work has run", "[model][executor]") {
  must_pass({.name = "stealing, goes", .executions = 20'000}, [] {
    Piece work;
    std::optional<WorkStealingExecutor> executor(std::in_place, 1, "x");
    world::Thread poster([&] { executor->post(work); });
    work.await();
    poster.join();
    executor.reset();
  });
}

TEST_CASE("WorkStealingExecutor: what a thread has posted to itself does not wait for it", "[model][executor]") {
  // Two preemptions, which take half a minute, find nothing more.
  for (const bool rested : {false, true}) {
    must_pass({.name = rested ? "stealing, held up after a rest" : "stealing, held up",
               .preemptions = 1,
               .executions = 20'000,
               .timeouts = 0},
              [&] {
                WorkStealingExecutor executor(2, "x");
                // Meanwhile the watch finds everybody at rest, and ceases to be.
                if (rested) detail::Parker().park_until(world::now() + std::chrono::seconds(1));
                Piece awaited;
                Holding holding(executor, {&awaited}, awaited);  // which only the other thread can run
                executor.post(holding);
                while (!holding.ended.load(std::memory_order_acquire)) world::yield();
              });
  }
}

TEST_CASE("WorkStealingExecutor: who keeps watch hands that on when it goes to work", "[model][executor]") {
  must_pass({.name = "stealing, held up twice", .preemptions = 0, .executions = 5'000, .timeouts = 0}, [] {
    WorkStealingExecutor executor(3, "x");
    Piece awaited;
    Holding second(executor, {}, awaited);
    Holding first(executor, {&awaited, &second}, awaited);  // the second is taken first
    executor.post(first);
    while (!first.ended.load(std::memory_order_acquire)) world::yield();
    while (!second.ended.load(std::memory_order_acquire)) world::yield();
  });
}

TEST_CASE("WorkStealingExecutor: work is revoked or runs, wherever it is", "[model][executor]") {
  for (const bool from_outside : {true, false}) {
    must_pass({.name = from_outside ? "stealing, revoke mail" : "stealing, revoke own", .executions = 20'000}, [&] {
      Piece work;
      Piece posting;
      bool revoked = false;
      {
        WorkStealingExecutor executor(from_outside ? 2 : 1, "x");
        posting.executor = &executor;
        posting.following = &work;
        executor.post(from_outside ? work : posting);
        revoked = executor.revoke(work);
      }
      MODEL_ASSERT(work.ran() == (revoked ? 0 : 1));
    });
  }
}

TEST_CASE("WorkStealingExecutor: a thread that cannot be started leaves nothing behind", "[model][executor]") {
  for (std::uint32_t failing = 1; failing <= 2; ++failing) {
    must_pass({.name = "stealing, no thread", .executions = 5'000, .fail_thread = failing}, [] {
      bool thrown = false;
      try {
        const WorkStealingExecutor executor(2, "x");
      } catch (const std::system_error&) {
        thrown = true;
      }
      MODEL_ASSERT(thrown);
    });
  }
}
