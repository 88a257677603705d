// SPDX-License-Identifier: MIT

// The checker itself: it accepts what can be, and finds what is wrong with channels that are.

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "channel/linearizability.hpp"
#include "channel/linearizability_program.hpp"
#include "channel/linearizability_reference.hpp"
#include "channel/linearizability_runner.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace testing;

constexpr std::size_t kNothing = Operation::kNothing;

/// An operation from `invoked` to `returned`.
struct At {
  std::uint64_t invoked;
  std::uint64_t returned;
};

Operation operation(At at, std::vector<Case> cases, std::size_t taken, OpStatus status = OpStatus::kOk, int value = 0) {
  Operation made;
  made.cases = std::move(cases);
  made.taken = taken;
  made.status = status;
  made.value = value;
  made.invoked = at.invoked;
  made.returned = at.returned;
  return made;
}
Operation sent(At at, int value, std::size_t channel = 0) {
  return operation(at, {{Action::kSend, channel, value}}, 0);
}
Operation send_refused(At at, OpStatus status) {
  return operation(at, {{Action::kSend, 0, 99}}, status == OpStatus::kClosed ? 0 : kNothing, status);
}
Operation received(At at, int value, std::size_t channel = 0) {
  return operation(at, {{Action::kReceive, channel}}, 0, OpStatus::kOk, value);
}
Operation receive_refused(At at, OpStatus status) {
  return operation(at, {{Action::kReceive, 0}}, status == OpStatus::kClosed ? 0 : kNothing, status);
}
Operation closed(At at, bool first = true) {
  return operation(at, {{Action::kClose, 0}}, 0, first ? OpStatus::kOk : OpStatus::kClosed);
}
Operation trying(Operation made) {
  made.waits = false;
  return made;
}
Operation pending(std::uint64_t invoked, Case each) {
  return operation({invoked, Operation::kNever}, {each}, Operation::kPending);
}

using Parties = std::vector<std::vector<Operation>>;
bool can_be(std::size_t capacity, Parties parties, Pending what = Pending::kMayHaveActed) {
  return is_linearizable(History{{capacity, capacity}, std::move(parties)}, what);
}

TEST_CASE("Linearizability checker: a queue gives its values in order", "[channel][linearizability]") {
  CHECK(can_be(3, {{sent({1, 2}, 1), sent({3, 4}, 2), received({5, 6}, 1), received({7, 8}, 2)}}));
  CHECK_FALSE(can_be(3, {{sent({1, 2}, 1), sent({3, 4}, 2), received({5, 6}, 2), received({7, 8}, 1)}}));
  CHECK_FALSE(can_be(3, {{sent({1, 2}, 1), received({3, 4}, 2)}}));
  CHECK_FALSE(can_be(3, {{sent({1, 2}, 1), received({3, 4}, 1), received({5, 6}, 1)}}));
  CHECK_FALSE(can_be(3, {{sent({1, 2}, 1), receive_refused({3, 4}, OpStatus::kEmpty)}}));
}

TEST_CASE("Linearizability checker: operations that overlap may have happened in any order",
          "[channel][linearizability]") {
  CHECK(can_be(3, {{sent({1, 4}, 1)}, {sent({2, 3}, 2)}, {received({5, 6}, 2), received({7, 8}, 1)}}));
  CHECK(can_be(3, {{sent({1, 4}, 1)}, {sent({2, 3}, 2)}, {received({5, 6}, 1), received({7, 8}, 2)}}));
  CHECK_FALSE(can_be(3, {{sent({1, 2}, 1)}, {sent({3, 4}, 2)}, {received({5, 6}, 2), received({7, 8}, 1)}}));
  CHECK(can_be(3, {{sent({1, 5}, 1)}, {received({2, 3}, 1)}}));
  CHECK_FALSE(can_be(3, {{sent({4, 5}, 1)}, {received({2, 3}, 1)}}));
  // Two parties that saw two values in different orders.
  CHECK_FALSE(can_be(3, {{sent({1, 9}, 1)},
                         {sent({1, 9}, 2)},
                         {received({10, 11}, 1), receive_refused({12, 13}, OpStatus::kEmpty)},
                         {received({14, 15}, 2)}}));
}

TEST_CASE("Linearizability checker: a buffer has its bound", "[channel][linearizability]") {
  CHECK(can_be(1, {{sent({1, 2}, 1), send_refused({3, 4}, OpStatus::kFull)}}));
  CHECK_FALSE(can_be(2, {{sent({1, 2}, 1), send_refused({3, 4}, OpStatus::kFull)}}));
  CHECK_FALSE(can_be(1, {{sent({1, 2}, 1), sent({3, 4}, 2)}}));
  CHECK_FALSE(can_be(2, {{sent({1, 2}, 1), send_refused({3, 4}, OpStatus::kTimedOut)}}));  // it could have gone ahead
}

TEST_CASE("Linearizability checker: close ends sends at once and receives when all is gone",
          "[channel][linearizability]") {
  CHECK(
      can_be(2, {{sent({1, 2}, 1), closed({3, 4}), received({5, 6}, 1), receive_refused({7, 8}, OpStatus::kClosed)}}));
  CHECK_FALSE(can_be(2, {{sent({1, 2}, 1), closed({3, 4}), receive_refused({5, 6}, OpStatus::kClosed)}}));
  CHECK_FALSE(can_be(2, {{closed({1, 2}), sent({3, 4}, 1)}}));
  CHECK_FALSE(can_be(0, {{closed({1, 2}), sent({3, 6}, 1)}, {received({4, 5}, 1)}}));
  CHECK_FALSE(can_be(2, {{closed({1, 2}), send_refused({3, 4}, OpStatus::kFull)}}));
  CHECK_FALSE(can_be(2, {{closed({1, 2}), receive_refused({3, 4}, OpStatus::kEmpty)}}));
  CHECK_FALSE(can_be(2, {{send_refused({1, 2}, OpStatus::kClosed)}}));
  CHECK(can_be(2, {{closed({1, 4})}, {closed({2, 3}, false)}}));
  CHECK_FALSE(can_be(2, {{closed({1, 2})}, {closed({3, 4})}}));
  CHECK_FALSE(can_be(2, {{closed({1, 2}, false)}}));
}

TEST_CASE("Linearizability checker: without a buffer two meet", "[channel][linearizability]") {
  CHECK(can_be(0, {{sent({1, 4}, 1)}, {received({2, 3}, 1)}}));
  CHECK_FALSE(can_be(0, {{sent({1, 2}, 1)}, {received({3, 4}, 1)}}));
  CHECK_FALSE(can_be(0, {{sent({1, 4}, 1)}, {received({2, 3}, 2)}}));
  CHECK_FALSE(can_be(0, {{sent({1, 4}, 1)}}));
  CHECK_FALSE(can_be(0, {{received({1, 4}, 1)}}));
  CHECK_FALSE(can_be(0, {{sent({1, 8}, 1)}, {received({2, 3}, 1)}, {received({4, 5}, 1)}}));
  // Of two that meet, one has waited.
  CHECK(can_be(0, {{trying(sent({1, 4}, 1))}, {received({2, 3}, 1)}}));
  CHECK_FALSE(can_be(0, {{trying(sent({1, 4}, 1))}, {trying(received({2, 3}, 1))}}));
}

TEST_CASE("Linearizability checker: a select is one operation, at one moment", "[channel][linearizability]") {
  const std::vector<Case> both{{Action::kReceive, 0}, {Action::kReceive, 1}};
  const Operation otherwise = trying(operation({5, 6}, both, kNothing));
  CHECK(can_be(1, {{otherwise}}));
  CHECK_FALSE(can_be(1, {{sent({1, 2}, 1), otherwise}}));
  // The second becomes ready before the first ceases to be: one of them was, throughout.
  CHECK_FALSE(can_be(
      1, {{sent({1, 2}, 1)}, {trying(operation({3, 8}, both, kNothing))}, {sent({4, 5}, 2, 1), received({6, 7}, 1)}}));
  CHECK(can_be(
      1, {{sent({1, 2}, 1)}, {trying(operation({3, 8}, both, kNothing))}, {received({4, 5}, 1), sent({6, 7}, 2, 1)}}));

  Operation second = operation({5, 6}, both, 1, OpStatus::kOk, 2);
  CHECK(can_be(1, {{sent({1, 2}, 1), sent({3, 4}, 2, 1), second}}));
  second.in_order = true;
  CHECK_FALSE(can_be(1, {{sent({1, 2}, 1), sent({3, 4}, 2, 1), second}}));
  CHECK(can_be(1, {{sent({3, 4}, 2, 1), second}}));

  // What it did not take is still there.
  CHECK_FALSE(can_be(1, {{sent({1, 2}, 1), sent({3, 4}, 2, 1), operation({5, 6}, both, 0, OpStatus::kOk, 1),
                          receive_refused({7, 8}, OpStatus::kEmpty), trying(operation({9, 10}, both, kNothing))}}));
  // It does not meet itself.
  CHECK_FALSE(can_be(0, {{operation({1, 2}, {{Action::kSend, 0, 1}, {Action::kReceive, 0}}, 0)}}));
}

TEST_CASE("Linearizability checker: what has not returned may have acted, or not", "[channel][linearizability]") {
  const Operation sending = pending(1, {Action::kSend, 0, 1});
  CHECK(can_be(1, {{sending}, {received({2, 3}, 1)}}));
  CHECK(can_be(1, {{sending}, {receive_refused({2, 3}, OpStatus::kEmpty)}}));
  CHECK(can_be(0, {{sending}, {received({2, 3}, 1)}}));
  CHECK(can_be(0, {{pending(1, {Action::kReceive, 0})}, {sent({2, 3}, 1)}}));
  CHECK(can_be(1, {{pending(1, {Action::kClose, 0})}, {send_refused({2, 3}, OpStatus::kClosed)}}));
  CHECK_FALSE(can_be(1, {{sending}, {received({2, 3}, 2)}}));
  CHECK_FALSE(can_be(1, {{pending(4, {Action::kSend, 0, 1})}, {received({2, 3}, 1)}}));
}

TEST_CASE("Linearizability checker: who is stuck has reason to be", "[channel][linearizability]") {
  const Operation sending = pending(9, {Action::kSend, 0, 1});
  const Operation receiving = pending(9, {Action::kReceive, 0});
  CHECK(can_be(1, {{receiving}}, Pending::kAreStuck));
  CHECK(can_be(1, {{sent({1, 2}, 1), sending}}, Pending::kAreStuck));
  CHECK_FALSE(can_be(1, {{sending}}, Pending::kAreStuck));
  CHECK_FALSE(can_be(1, {{sent({1, 2}, 1), receiving}}, Pending::kAreStuck));
  CHECK_FALSE(can_be(1, {{closed({1, 2}), receiving}}, Pending::kAreStuck));
  CHECK(can_be(0, {{sending}, {sending}}, Pending::kAreStuck));
  CHECK_FALSE(can_be(0, {{sending}, {receiving}}, Pending::kAreStuck));
  CHECK_FALSE(can_be(0, {{sending}, {received({1, 12}, 1)}}, Pending::kAreStuck));
}

/// The seed of the first of `programs` random programs on channels with that fault that is found out; none if none is.
std::optional<std::string> first_problem(Fault fault, std::uint64_t programs) {
  Crew crew(4);
  for (std::uint64_t seed = 0; seed != programs; ++seed) {
    const Program program = Program::from(seed, false);
    ReferenceChannels channels(program.capacities, fault);
    if (auto problem = ProgramRun<ReferenceChannels>(channels, program, seed).run(crew)) return problem;
  }
  return std::nullopt;
}

TEST_CASE("Linearizability checker: random programs find nothing wrong with channels that are right",
          "[channel][linearizability]") {
  const std::optional<std::string> problem = first_problem(Fault::kNone, 1'000);
  INFO(problem.value_or(""));
  CHECK_FALSE(problem);
}

TEST_CASE("Linearizability checker: random programs find every fault", "[channel][linearizability]") {
  const Fault fault = GENERATE(Fault::kNewestFirst, Fault::kLosesValue, Fault::kDoublesValue, Fault::kSendsAfterClose,
                               Fault::kOverlooksReady, Fault::kForgetsWaiter, Fault::kTooLarge, Fault::kClosesTwice,
                               Fault::kDropsAtClose, Fault::kSwallowsOnTimeout, Fault::kTakesTwoCases);
  CAPTURE(static_cast<int>(fault));
  CHECK(first_problem(fault, 1'000));
}

}  // namespace
}  // namespace penstock
