// SPDX-License-Identifier: MIT
#include "penstock/core/executor.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"

#include "core/catching_loop.hpp"
#include "penstock/core/detail/inline_batch.hpp"
#include "penstock/core/run_loop.hpp"
#include "support/aborts.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

TEST_CASE("Executor: posted functions run once, in order", "[core][executor]") {
  RunLoop loop;
  std::vector<int> order;
  loop.post([&] {
    order.push_back(1);
    loop.post([&] { order.push_back(3); });
  });
  loop.post([&, owned = std::make_unique<int>(2)] { order.push_back(*owned); });
  CHECK(order.empty());
  CHECK(loop.run_ready() == 3);
  CHECK(order == std::vector<int>{1, 2, 3});
}

TEST_CASE("Executor: what escapes from a posted function is reported and the rest runs", "[core][executor]") {
  CatchingLoop loop;
  Executor& executor = loop;
  int runs = 0;
  executor.post([] { throw std::runtime_error("escaped"); });
  executor.post([&] { ++runs; });
  loop.run_ready();
  CHECK(runs == 1);
  CHECK(loop.escaped.size() == 1);
}

TEST_CASE("Executor: refuses an empty function", "[core][executor]") {
  RunLoop loop;
  CHECK_THROWS_AS(loop.post(absl::AnyInvocable<void() &&>()), std::invalid_argument);
  CHECK(loop.run_ready() == 0);
}

TEST_CASE("Executor: the inline one serves until the process ends", "[core][executor]") {
  // Handlers run in the opposite order: this one after whatever belongs to the executor, if that is made afterwards.
  const std::string message = testing::message_of_abort([] {
    std::atexit([] { Executor::inline_executor().post([] {}); });
    Executor::inline_executor().post([] {});
    std::exit(0);
  });
  CHECK(message.empty());
}

/// Work that counts how often it ran.
struct Counted : Work {
  Counted() noexcept : Work([](Work& work) noexcept { ++static_cast<Counted&>(work).runs; }) {}
  std::atomic<int> runs{0};
};

TEST_CASE("Executor: what is revoked never runs, wherever it is in the queue", "[core][executor]") {
  for (std::size_t revoked = 0; revoked < 4; ++revoked) {
    RunLoop loop;
    std::array<Counted, 4> works;
    for (Counted& work : works) loop.post(work);
    CHECK(loop.revoke(works[revoked]));
    Counted late;
    loop.post(late);
    CHECK(loop.run_ready() == 4);
    for (std::size_t i = 0; i < works.size(); ++i) CHECK(works[i].runs == (i == revoked ? 0 : 1));
    CHECK(late.runs == 1);
  }
}

TEST_CASE("Executor: what has been taken to be run is not revoked", "[core][executor]") {
  struct Itself : Work {
    explicit Itself(Executor& on) noexcept
        : Work([](Work& work) noexcept {
            auto& self = static_cast<Itself&>(work);
            self.revoked = self.executor.revoke(self);
          }),
          executor(on) {}
    Executor& executor;
    bool revoked = true;
  };
  RunLoop loop;
  Itself posted(loop);
  loop.post(posted);
  CHECK(loop.run_ready() == 1);
  CHECK_FALSE(posted.revoked);
  CHECK_FALSE(loop.revoke(posted));
  Itself at_once(Executor::inline_executor());
  at_once.executor.post(at_once);
  CHECK_FALSE(at_once.revoked);
}

TEST_CASE("Executor: work revokes what waits behind it", "[core][executor]") {
  RunLoop loop;
  for (Executor* const executor : {static_cast<Executor*>(&loop), &Executor::inline_executor()}) {
    Counted first;
    Counted second;
    Counted third;
    bool revoked = false;
    executor->post([&] {
      executor->post(first);
      executor->post(second);
      executor->post(third);
      revoked = executor->revoke(second);
    });
    loop.run_ready();
    CHECK(revoked);
    CHECK(first.runs == 1);
    CHECK(second.runs == 0);
    CHECK(third.runs == 1);
  }
}

TEST_CASE("InlineBatch: all is posted before the first runs, and the first may revoke the second", "[core][executor]") {
  Executor& executor = Executor::inline_executor();
  Counted second;
  Counted third;
  bool revoked = false;
  {
    const detail::InlineBatch outer;
    executor.post([&] { revoked = executor.revoke(second); });
    {
      const detail::InlineBatch inner;
      executor.post(second);
    }
    executor.post(third);
    CHECK_FALSE(revoked);
  }
  CHECK(revoked);
  CHECK(second.runs == 0);
  CHECK(third.runs == 1);
}

TEST_CASE("Executor: revoked work can be posted again", "[core][executor]") {
  RunLoop loop;
  Counted work;
  loop.post(work);
  CHECK(loop.revoke(work));
  CHECK(loop.run_ready() == 0);
  loop.post(work);
  CHECK(loop.run_ready() == 1);
  CHECK(work.runs == 1);
}

TEST_CASE("Executor: revoking waits for the thread that is about to post", "[core][executor][stress]") {
  for (int round = 0; round < 2000; ++round) {
    RunLoop loop;
    auto work = std::make_unique<Counted>();
    std::thread posting([&loop, raw = work.get()] { loop.post(*raw); });
    const bool revoked = loop.revoke(*work);
    work.reset();  // the other thread is through with it
    REQUIRE(revoked);
    REQUIRE(loop.run_ready() == 0);
    posting.join();
  }
}

TEST_CASE("Executor: the inline one runs at once, and chains do not nest", "[core][executor]") {
  Executor& executor = Executor::inline_executor();
  int depth = 0;
  int deepest = 0;
  int runs = 0;
  struct Chain {
    Executor& executor;
    int& depth;
    int& deepest;
    int& runs;
    void operator()() const {
      deepest = std::max(deepest, ++depth);
      if (++runs < 100'000) executor.post(Chain(*this));
      --depth;
    }
  };
  executor.post(Chain{executor, depth, deepest, runs});
  CHECK(runs == 100'000);
  CHECK(deepest == 1);
}

}  // namespace
}  // namespace penstock
