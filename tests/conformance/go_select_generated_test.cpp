// SPDX-License-Identifier: MIT

// Selects in every combination of their parts, generated: what is ready, in which form, in which company, at which
// place.

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "conformance/go_support.hpp"
#include "penstock/core/task.hpp"

namespace penstock {
namespace {

using namespace testing;

// Three places, each of them without a case or with one of six; all combinations.
enum class Place { kNone, kReceiveReady, kReceiveEmpty, kReceiveClosed, kSendReady, kSendFull, kSendClosed };

TEST_CASE("Select conformance: every combination of cases, generated", "[conformance][select]") {
  constexpr int kKinds = 7;
  const bool has_otherwise = GENERATE(true, false);
  const SelectOrder order = GENERATE(SelectOrder::kRandom, SelectOrder::kInOrder);
  int selects = 0;
  for (int combination = 0; combination != kKinds * kKinds * kKinds; ++combination) {
    std::array<Place, 3> places{};
    std::array<std::unique_ptr<Channel<int>>, 3> channels;
    std::array<Channel<int>*, 3> receive{};
    std::array<Channel<int>*, 3> send{};
    std::optional<std::size_t> first_ready;
    bool is_hopeless = true;
    for (std::size_t i = 0, rest = static_cast<std::size_t>(combination); i != 3; ++i, rest /= kKinds) {
      places[i] = static_cast<Place>(rest % kKinds);
      channels[i] = std::make_unique<Channel<int>>(1);
      if (places[i] == Place::kReceiveReady || places[i] == Place::kSendFull)
        REQUIRE(channels[i]->try_send(5) == OpStatus::kOk);
      if (places[i] == Place::kReceiveClosed || places[i] == Place::kSendClosed) channels[i]->close();
      if (places[i] == Place::kNone) continue;
      is_hopeless = false;
      (places[i] < Place::kSendReady ? receive : send)[i] = channels[i].get();
      if (places[i] != Place::kReceiveEmpty && places[i] != Place::kSendFull && !first_ready) first_ready = i;
    }
    std::array<OpStatus, 3> statuses{};
    const auto got = [&](std::size_t i) { return [&, i](Received<int> received) { statuses[i] = received.status; }; };
    const auto gave = [&](std::size_t i) { return [&, i](OpStatus status) { statuses[i] = status; }; };
    std::size_t taken = 0;
    if (has_otherwise) {
      taken = select(order, on_receive(receive[0], got(0)), on_send(send[0], 6, gave(0)),
                     on_receive(receive[1], got(1)), on_send(send[1], 6, gave(1)), on_receive(receive[2], got(2)),
                     on_send(send[2], 6, gave(2)), otherwise(ignore));
    } else if (first_ready || is_hopeless) {
      const auto try_all = [&] {
        return select(order, on_receive(receive[0], got(0)), on_send(send[0], 6, gave(0)),
                      on_receive(receive[1], got(1)), on_send(send[1], 6, gave(1)), on_receive(receive[2], got(2)),
                      on_send(send[2], 6, gave(2)));
      };
      if (is_hopeless) {
        REQUIRE_THROWS_AS(try_all(), std::invalid_argument);
        continue;
      }
      taken = try_all();
    } else {
      continue;  // would wait
    }
    ++selects;
    REQUIRE((taken == 6) == !first_ready);
    for (std::size_t i = 0; i != 3; ++i) {
      const ChannelStats stats = channels[i]->stats();
      const bool was_full = places[i] == Place::kReceiveReady || places[i] == Place::kSendFull;
      const bool closed = places[i] == Place::kReceiveClosed || places[i] == Place::kSendClosed;
      const bool moved = taken / 2 == i && !closed && taken != 6;
      REQUIRE(stats.sends + stats.receives == (was_full ? 1U : 0U) + (moved ? 1U : 0U));
      REQUIRE(stats.blocked_senders + stats.blocked_receivers == 0);
      if (taken / 2 == i && taken != 6) REQUIRE(statuses[i] == (closed ? OpStatus::kClosed : OpStatus::kOk));
    }
    if (first_ready && order == SelectOrder::kInOrder) REQUIRE(taken / 2 == *first_ready);
    if (first_ready) REQUIRE((taken % 2 == 0 ? receive : send)[taken / 2] != nullptr);
  }
  CHECK(selects > 200);
}

/// Goes through all combinations: a program asks `choose(n)` for each of its decisions, and is run until `next` says
/// that every decision has been taken in every way.
class Chooser {
 public:
  std::size_t choose(std::size_t bound) {
    if (asked_ == chosen_.size()) chosen_.push_back({0, bound});
    return chosen_[asked_++].value;
  }
  bool next() {
    asked_ = 0;
    while (!chosen_.empty() && ++chosen_.back().value == chosen_.back().bound) chosen_.pop_back();
    return !chosen_.empty();
  }

 private:
  struct Decision {
    std::size_t value;
    std::size_t bound;
  };
  std::vector<Decision> chosen_;
  std::size_t asked_ = 0;
};

/// Selects `main` in the company of a send and a receive of which nobody is at the other end, or which are on null
/// channels, with an otherwise before it, behind it or not at all. Returns whether `main` was taken.
template <class Main>
bool takes(Chooser& chooser, Main&& main) {
  Channel<int> dummy(0);
  Channel<int>* const to = chooser.choose(2) == 0 ? &dummy : null;
  Channel<int>* const from = chooser.choose(2) == 0 ? &dummy : null;
  const SelectOrder order = chooser.choose(2) == 0 ? SelectOrder::kRandom : SelectOrder::kInOrder;
  const bool last = chooser.choose(2) == 0;
  switch (chooser.choose(3)) {
    case 0:
      return last ? select(order, on_send(to, 1, fail), on_receive(from, fail), std::move(main)) == 2
                  : select(order, std::move(main), on_send(to, 1, fail), on_receive(from, fail)) == 0;
    case 1:
      return last
                 ? select(order, otherwise(ignore), on_send(to, 1, fail), on_receive(from, fail), std::move(main)) == 3
                 : select(order, otherwise(ignore), std::move(main), on_send(to, 1, fail), on_receive(from, fail)) == 1;
    default:
      return last
                 ? select(order, on_send(to, 1, fail), on_receive(from, fail), std::move(main), otherwise(ignore)) == 2
                 : select(order, std::move(main), on_send(to, 1, fail), on_receive(from, fail), otherwise(ignore)) == 0;
  }
}

Task<> send_in_background(Channel<int>& channel, int value) { static_cast<void>(co_await channel.async_send(value)); }
Task<> receive_in_background(Channel<int>& channel, int& value) {
  static_cast<void>(co_await channel.async_receive(value));
}

constexpr std::array<std::size_t, 4> kCapacities{0, 1, 3, 64};

/// Sends a number and receives it in one of all ways. Returns whether it came through.
bool receives(Chooser& chooser) {
  Channel<int> channel(kCapacities[chooser.choose(4)]);
  RunLoop loop;
  auto sender = spawn(loop, send_in_background(channel, 42));  // without a buffer it waits in line
  loop.run_ready();
  int got = 0;
  int calls = 0;
  const auto named = [&]() -> Channel<int>& { return ++calls, channel; };
  bool taken = true;
  switch (chooser.choose(7)) {
    case 0:
      got = named().receive().value.value_or(0);
      break;
    case 1:
      taken = named().receive(got) == OpStatus::kOk;
      break;
    case 2:
      got = named().try_receive().value.value_or(0);
      break;
    case 3:
      taken = named().try_receive(got) == OpStatus::kOk;
      break;
    case 4:
      taken = takes(chooser, on_receive(named(), [&](int value) { got = value; }));
      break;
    case 5:
      taken = takes(chooser, on_receive(&named(), [&](Received<int> received) { got = received.value.value_or(0); }));
      break;
    default:
      taken = takes(chooser, on_receive(named(), [&](const int& value) { got = value; }));
  }
  loop.run_ready();
  return taken && got == 42 && calls == 1 && channel.size() == 0 && channel.stats().sends == 1 && nobody_waits(channel);
}

/// Sends a number in one of all ways and receives it. Returns whether it came through.
bool sends(Chooser& chooser) {
  Channel<int> channel(kCapacities[chooser.choose(4)]);
  RunLoop loop;
  int got = 0;
  auto receiver = spawn(loop, receive_in_background(channel, got));
  loop.run_ready();
  int calls = 0;
  int numbers = 41;
  const auto named = [&]() -> Channel<int>& { return ++calls, channel; };
  const auto number = [&] { return ++numbers; };
  const int constant = 42;
  OpStatus status = OpStatus::kOk;
  const auto note = [&](OpStatus how) { status = how; };
  bool taken = true;
  switch (chooser.choose(7)) {
    case 0:
      status = named().send(number());
      break;
    case 1:
      status = named().try_send(number());
      break;
    case 2:
      status = named().send(constant);
      break;
    case 3:
      taken = takes(chooser, on_send(named(), number(), note));
      break;
    case 4:
      taken = takes(chooser, on_send(&named(), number(), ignore));
      break;
    case 5:
      taken = takes(chooser, on_send(named(), constant, note));
      break;
    default:
      taken = takes(chooser, on_send(&named(), constant, [] {}));
  }
  loop.run_ready();
  return taken && status == OpStatus::kOk && got == 42 && calls == 1 && numbers <= 42 && channel.stats().sends == 1 &&
         nobody_waits(channel);
}

/// A select of nothing that is ready, but for an otherwise. Returns whether it was left without effect.
bool does_nothing(Chooser& chooser) {
  Channel<int> empty(kCapacities[chooser.choose(4)]);
  Channel<int> full(kCapacities[chooser.choose(4)]);
  const std::size_t size = fill(full).size();
  int evaluated = 0;
  const auto number = [&] { return ++evaluated; };
  const SelectOrder order = chooser.choose(2) == 0 ? SelectOrder::kRandom : SelectOrder::kInOrder;
  Channel<int>* const from = chooser.choose(2) == 0 ? &empty : null;
  Channel<int>* const to = chooser.choose(2) == 0 ? &full : null;
  const std::size_t place = chooser.choose(3);
  std::size_t taken = 0;
  if (place == 0) taken = select(order, otherwise(ignore), on_receive(from, fail), on_send(to, number(), fail));
  if (place == 1) taken = select(order, on_receive(from, fail), otherwise(ignore), on_send(to, number(), fail));
  if (place == 2) taken = select(order, on_receive(from, fail), on_send(to, number(), fail), otherwise(ignore));
  return taken == place && evaluated == 1 && full.size() == size && empty.size() == 0 && nobody_waits(full) &&
         nobody_waits(empty);
}

TEST_CASE("Select conformance: every form of a case works in every company", "[conformance][select]") {
  int combinations = 0;
  for (bool (*const program)(Chooser&) : {&receives, &sends, &does_nothing}) {
    Chooser chooser;
    do {
      INFO("combination " << combinations);
      REQUIRE(program(chooser));
      ++combinations;
    } while (chooser.next());
  }
  CHECK(combinations >= 1'045);
}

}  // namespace
}  // namespace penstock
