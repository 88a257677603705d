// SPDX-License-Identifier: MIT
#include "penstock/core/executor.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"

#include "core/catching_loop.hpp"
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

TEST_CASE("RunLoop: runs until stopped and empty, and can run again", "[core][executor]") {
  RunLoop loop;
  std::atomic<int> runs{0};
  std::thread posting([&] {
    for (int i = 0; i < 100; ++i) loop.post([&] { ++runs; });
    loop.stop();
  });
  loop.run();
  posting.join();
  CHECK(runs == 100);
  loop.post([&] { ++runs; });
  loop.stop();
  loop.run();
  CHECK(runs == 101);
}

TEST_CASE("RunLoop: may go as soon as its last work has run", "[core][executor][stress]") {
  for (int round = 0; round < 3000; ++round) {
    auto loop = std::make_unique<RunLoop>();
    std::thread posting([raw = loop.get()] { raw->post([raw] { raw->stop(); }); });
    loop->run();
    loop.reset();
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
