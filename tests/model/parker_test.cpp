// SPDX-License-Identifier: MIT

// The parkers: no token is lost, none is doubled, and a parker may go with the frame of its owner.

#include "penstock/core/detail/parker.hpp"

#include <chrono>

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using checker::must_pass;
using checker::Options;
namespace world = penstock::detail::world;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::chrono::milliseconds kSoon{5};

/// One hand-over; the parker is gone before the other thread has been joined.
template <class Parker>
void hand_over() {
  world::Atomic<Parker*> parked{nullptr};
  int value = 0;
  world::Thread giver([&] {
    Parker* parker = nullptr;
    while ((parker = parked.load(std::memory_order_acquire)) == nullptr) world::yield();
    value = 42;
    parker->unpark();
  });
  {
    Parker parker;
    parked.store(&parker, std::memory_order_release);
    parker.park();
    MODEL_ASSERT(value == 42);
  }
  giver.join();
}

/// Two tokens may merge into one; whoever takes it sees what both have done. A token that was left is either still
/// there or has been taken with an earlier one.
template <class Parker>
void merged_tokens() {
  Parker parker;
  int first_value = 0;
  int second_value = 0;
  world::Atomic<bool> first_done{false};
  world::Atomic<bool> second_done{false};
  world::Thread first([&] {
    first_value = 1;
    parker.unpark();
    first_done.store(true, kRelaxed);
  });
  world::Thread second([&] {
    if (!first_done.load(kRelaxed)) return;
    second_value = 2;
    parker.unpark();
    second_done.store(true, kRelaxed);
  });
  const bool both = second_done.load(kRelaxed);
  parker.park();
  MODEL_ASSERT(first_value == 1);
  if (both) {
    MODEL_ASSERT(second_value == 2);
  } else if (second_done.load(kRelaxed)) {
    parker.park_until(world::now() + kSoon);
    MODEL_ASSERT(second_value == 2);
  }
  first.join();
  second.join();
}

/// A wait that times out leaves the token for the next; one that does not has taken it.
template <class Parker>
void with_deadline() {
  Parker parker;
  int value = 0;
  world::Thread giver([&] {
    value = 42;
    parker.unpark();
  });
  const world::TimePoint deadline = world::now() + kSoon;
  if (!parker.park_until(deadline)) {
    MODEL_ASSERT(world::now() >= deadline);
    parker.park();
  }
  MODEL_ASSERT(value == 42);
  MODEL_ASSERT(!parker.park_until(world::now() + kSoon));
  giver.join();
}

/// Turn and turn about, each with a parker of his own.
template <class Parker>
void ping_pong() {
  constexpr int kTurns = 2;
  Parker mine;
  Parker his;
  int ball = 0;
  world::Thread other([&] {
    for (int turn = 0; turn != kTurns; ++turn) {
      his.park();
      MODEL_ASSERT(ball == 2 * turn + 1);
      ++ball;
      mine.unpark();
    }
  });
  for (int turn = 0; turn != kTurns; ++turn) {
    ++ball;
    his.unpark();
    mine.park();
    MODEL_ASSERT(ball == 2 * turn + 2);
  }
  other.join();
}

/// Two threads leave tokens, a third waits for both with deadlines.
template <class Parker>
void two_givers_with_deadline() {
  Parker parker;
  world::Atomic<int> given{0};
  const auto give = [&] {
    given.fetch_add(1, kRelaxed);
    parker.unpark();
  };
  world::Thread first(give);
  world::Thread second(give);
  while (given.load(kRelaxed) != 2) {
    if (!parker.park_until(world::now() + kSoon)) parker.park();
  }
  first.join();
  second.join();
}

template <class Parker>
void check_all() {
  for (const bool delays : {false, true}) {
    for (const std::uint32_t spurious : {0U, 1U}) {
      Options options{.preemptions = 5, .store_delay = delays, .spurious_wakes = spurious};
      options.name = "parker, hand-over";
      must_pass(options, hand_over<Parker>);
      options.name = "parker, merged tokens";
      must_pass(options, merged_tokens<Parker>);
      options.name = "parker, deadline";
      must_pass(options, with_deadline<Parker>);
      options.name = "parker, ping-pong";
      must_pass(options, ping_pong<Parker>);
    }
  }
  // Deadlines of two waits and tokens of two threads meet: this one waits for ever if a token is lost.
  must_pass({.name = "parker, two givers and a deadline", .preemptions = 3}, two_givers_with_deadline<Parker>);
}

}  // namespace

TEST_CASE("FutexParker: under every schedule", "[model][parker]") { check_all<detail::FutexParker>(); }
TEST_CASE("PortableParker: under every schedule", "[model][parker]") { check_all<detail::PortableParker>(); }
