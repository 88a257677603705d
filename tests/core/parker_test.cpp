// SPDX-License-Identifier: MIT
#include "penstock/core/detail/parker.hpp"

#include <pthread.h>
#include <csignal>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "support/catch.hpp"
#include "support/eventually.hpp"

namespace penstock::detail {
namespace {

using namespace std::chrono_literals;

#define ALL_PARKERS FutexParker, PortableParker

TEMPLATE_TEST_CASE("Parker: a token left before is taken without sleeping", "[core][parker]", ALL_PARKERS) {
  TestType parker;
  parker.unpark();
  parker.park();
  CHECK_FALSE(parker.park_until(world::now()));  // it was the only one
}

TEMPLATE_TEST_CASE("Parker: tokens do not add up", "[core][parker]", ALL_PARKERS) {
  TestType parker;
  parker.unpark();
  parker.unpark();
  CHECK(parker.park_until(world::TimePoint::max()));
  CHECK_FALSE(parker.park_until(world::now()));
}

TEMPLATE_TEST_CASE("Parker: a deadline ends the wait, never early", "[core][parker]", ALL_PARKERS) {
  TestType parker;
  const world::TimePoint deadline = world::now() + 3ms;
  CHECK_FALSE(parker.park_until(deadline));
  CHECK(world::now() >= deadline);
  CHECK_FALSE(parker.park_until(world::TimePoint::min()));
  CHECK_FALSE(parker.park_until(world::TimePoint{}));
}

TEMPLATE_TEST_CASE("Parker: the end of time is for ever", "[core][parker]", ALL_PARKERS) {
  TestType parker;
  std::atomic<bool> woken{false};
  std::thread sleeper([&] { woken = parker.park_until(world::TimePoint::max()); });
  parker.unpark();
  sleeper.join();
  CHECK(woken);
}

TEMPLATE_TEST_CASE("Parker: what was done before unpark is seen after park", "[core][parker]", ALL_PARKERS) {
  for (int round = 0; round < 2000; ++round) {
    TestType parker;
    int plain = 0;  // the point of the test under ThreadSanitizer
    std::thread waker([&] {
      plain = 1;
      parker.unpark();
    });
    parker.park();
    const int seen = plain;
    waker.join();
    REQUIRE(seen == 1);
  }
}

TEMPLATE_TEST_CASE("Parker: may be destroyed by its owner as soon as park returns", "[core][parker][stress]",
                   ALL_PARKERS) {
  // The waker holds nothing but the address; AddressSanitizer sees a touch after the token.
  for (int round = 0; round < 5000; ++round) {
    auto parker = std::make_unique<TestType>();
    std::thread waker([raw = parker.get()] { raw->unpark(); });
    parker->park();
    parker.reset();
    waker.join();
  }
}

TEMPLATE_TEST_CASE("Parker: two threads hand a token to and fro without losing it", "[core][parker][stress]",
                   ALL_PARKERS) {
  TestType here;
  TestType there;
  constexpr int kRounds = 20000;
  std::thread peer([&] {
    for (int i = 0; i < kRounds; ++i) {
      there.park();
      here.unpark();
    }
  });
  for (int i = 0; i < kRounds; ++i) {
    there.unpark();
    here.park();
  }
  peer.join();
  SUCCEED("came to the end");
}

void ignore_signal(int) {}

TEMPLATE_TEST_CASE("Parker: signals wake nobody early", "[core][parker]", ALL_PARKERS) {
  struct sigaction action {};
  action.sa_handler = ignore_signal;  // without SA_RESTART: the system call returns EINTR
  struct sigaction previous {};
  REQUIRE(sigaction(SIGUSR1, &action, &previous) == 0);

  TestType parker;
  std::atomic<int> returns{0};
  std::atomic<bool> running{false};
  std::thread sleeper([&] {
    running = true;
    parker.park();
    ++returns;
    if (parker.park_until(world::now() + 1h)) ++returns;
  });
  REQUIRE(testing::eventually([&] { return running.load(); }));
  for (int i = 0; i < 200; ++i) pthread_kill(sleeper.native_handle(), SIGUSR1);
  CHECK(returns == 0);
  parker.unpark();
  REQUIRE(testing::eventually([&] { return returns == 1; }));
  for (int i = 0; i < 200; ++i) pthread_kill(sleeper.native_handle(), SIGUSR1);
  CHECK(returns == 1);
  parker.unpark();
  sleeper.join();
  CHECK(returns == 2);
  sigaction(SIGUSR1, &previous, nullptr);
}

}  // namespace
}  // namespace penstock::detail
