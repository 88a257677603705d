// SPDX-License-Identifier: MIT

// Many parties on few channels: nothing is lost, and nothing doubled.

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "conformance/go_support.hpp"

namespace penstock {
namespace {

using namespace testing;

/// Some parties send 0, 1, 2... on one or several channels, others receive; who sends on several does so by select.
struct Crowd {
  std::size_t senders;
  std::size_t receivers;
  std::size_t channels;
  bool sends_by_select;
  bool receives_by_select;
};

TEST_CASE("Channel conformance: however many send and receive, plainly or by select, every value counts once",
          "[conformance][channel]") {
  constexpr int kEach = 456;
  const std::size_t capacity = GENERATE(as<std::size_t>(), 0, 1, 3, 10, 64, 100);
  const Crowd crowd = GENERATE(Crowd{1, 1, 1, false, false}, Crowd{1, 4, 1, false, false}, Crowd{4, 1, 1, false, false},
                               Crowd{4, 4, 4, false, false}, Crowd{1, 4, 4, true, false}, Crowd{4, 1, 4, false, true},
                               Crowd{2, 2, 4, true, true});
  std::vector<std::unique_ptr<Channel<int>>> channels;
  for (std::size_t i = 0; i != 4; ++i) channels.push_back(std::make_unique<Channel<int>>(capacity));
  const auto channel = [&](std::size_t party) -> Channel<int>& { return *channels[party % crowd.channels]; };
  std::atomic<int> received{0};
  std::atomic<long> sum{0};
  std::vector<std::unique_ptr<Call<bool>>> receivers;
  for (std::size_t party = 0; party != crowd.receivers; ++party) {
    receivers.push_back(std::make_unique<Call<bool>>([&, party] {
      const auto take = [&](int value) { sum += value, ++received; };
      if (!crowd.receives_by_select) {
        for (const int value : channel(party)) take(value);
        return true;
      }
      std::array<Channel<int>*, 4> open{channels[0].get(), channels[1].get(), channels[2].get(), channels[3].get()};
      while (std::any_of(open.begin(), open.end(), [](const Channel<int>* each) { return each != nullptr; })) {
        const auto from = [&](std::size_t index) {
          return [&, index](Received<int> got) { got ? take(*got.value) : void(open[index] = nullptr); };
        };
        select(on_receive(open[0], from(0)), on_receive(open[1], from(1)), on_receive(open[2], from(2)),
               on_receive(open[3], from(3)));
      }
      return true;
    }));
  }
  std::vector<std::unique_ptr<Call<bool>>> senders;
  for (std::size_t party = 0; party != crowd.senders; ++party) {
    senders.push_back(std::make_unique<Call<bool>>([&, party] {
      for (int i = 0; i != kEach; ++i) {
        if (crowd.sends_by_select) {
          select(on_send(*channels[0], i, ignore), on_send(*channels[1], i, ignore), on_send(*channels[2], i, ignore),
                 on_send(*channels[3], i, ignore));
        } else if (channel(party).send(i) != OpStatus::kOk) {
          return false;
        }
      }
      return true;
    }));
  }
  for (auto& sender : senders) CHECK(sender->result());
  for (auto& each : channels) each->close();
  for (auto& receiver : receivers) receiver->result();
  CHECK(received == static_cast<int>(crowd.senders) * kEach);
  CHECK(sum == static_cast<long>(crowd.senders) * (kEach - 1) * kEach / 2);
  for (auto& each : channels) CHECK(nobody_waits(*each));
}

TEST_CASE("Channel conformance: many receivers share the values, each value goes to one", "[conformance][channel]") {
  constexpr int kReceivers = 23;
  constexpr int kValues = 10'000;
  Channel<int> queue(GENERATE(as<std::size_t>(), 0, 1, 3, 25, 64));
  std::vector<std::atomic<int>> seen(kValues);
  std::vector<std::unique_ptr<Call<bool>>> receivers;
  for (int i = 0; i != kReceivers; ++i) {
    receivers.push_back(std::make_unique<Call<bool>>([&] {
      for (const int value : queue) ++seen[static_cast<std::size_t>(value)];
      return true;
    }));
  }
  for (int i = 0; i != kValues; ++i) REQUIRE(queue.send(i) == OpStatus::kOk);
  queue.close();
  for (auto& receiver : receivers) receiver->result();
  CHECK(std::all_of(seen.begin(), seen.end(), [](const std::atomic<int>& count) { return count == 1; }));
}

TEST_CASE("Channel conformance: four senders and four receivers, each value exactly four times",
          "[conformance][channel]") {
  constexpr int kValues = 1000;
  Channel<int> channel(swept_capacity());
  std::vector<std::atomic<int>> seen(kValues);
  std::vector<std::unique_ptr<Call<bool>>> calls;
  for (int i = 0; i != 4; ++i) {
    calls.push_back(std::make_unique<Call<bool>>([&] {
      for (int value = 0; value != kValues; ++value) {
        if (channel.send(value) != OpStatus::kOk) return false;
      }
      return true;
    }));
    calls.push_back(std::make_unique<Call<bool>>([&] {
      for (int count = 0; count != kValues; ++count) {
        const Received<int> received = channel.receive();
        if (!received) return false;
        ++seen[static_cast<std::size_t>(*received.value)];
      }
      return true;
    }));
  }
  for (auto& call : calls) CHECK(call->result());
  CHECK(std::all_of(seen.begin(), seen.end(), [](const std::atomic<int>& count) { return count == 4; }));
  CHECK(channel.size() == 0);
  CHECK(channel.stats().sends == 4 * kValues);
  CHECK(channel.stats().receives == 4 * kValues);
}

TEST_CASE("Channel conformance: a barrier of empty rendezvous", "[conformance][channel]") {
  constexpr int kThreads = 10;
  constexpr int kRounds = 1000;
  Channel<Empty> ready(0);
  Channel<Empty> go(0);
  std::vector<std::unique_ptr<Call<bool>>> calls;
  for (int i = 0; i != kThreads; ++i) {
    calls.push_back(std::make_unique<Call<bool>>([&] {
      for (int round = 0; round != kRounds; ++round) {
        if (ready.send(Empty{}) != OpStatus::kOk || !go.receive()) return false;
      }
      return true;
    }));
  }
  for (int i = 0; i != kThreads * kRounds; ++i) {
    REQUIRE(ready.receive());
    REQUIRE(go.send(Empty{}) == OpStatus::kOk);
  }
  for (auto& call : calls) CHECK(call->result());
}

TEST_CASE("Channel conformance: however many try at once, exactly as many succeed as there is room or values for",
          "[conformance][channel]") {
  constexpr std::size_t kThreads = 3;
  const std::size_t capacity = GENERATE(as<std::size_t>(), 3, 64);
  const bool by_select = GENERATE(false, true);
  int refused_sends = 0;
  int refused_receives = 0;
  for (int round = 0; round != 300; ++round) {
    Channel<int> channel(capacity);
    std::atomic<std::size_t> arrived{0};
    // Each thread tries as often as there is room for it; one that is refused has been passed over.
    const auto all_try = [&](auto attempt) {
      arrived = 0;
      std::vector<std::unique_ptr<Call<int>>> calls;
      for (std::size_t i = 0; i != kThreads; ++i) {
        calls.push_back(std::make_unique<Call<int>>([&] {
          ++arrived;
          while (arrived != kThreads) std::this_thread::yield();
          int refused = 0;
          for (std::size_t left = capacity / kThreads; left != 0; --left) refused += attempt() ? 0 : 1;
          return refused;
        }));
      }
      int refused = 0;
      for (auto& call : calls) refused += call->result();
      return refused;
    };
    refused_sends += all_try([&] {
      return by_select ? select(on_send(channel, 1, ignore), otherwise(ignore)) == 0
                       : channel.try_send(1) == OpStatus::kOk;
    });
    REQUIRE(channel.size() + static_cast<std::size_t>(refused_sends) >= capacity / kThreads * kThreads);
    fill(channel);
    refused_receives += all_try([&] {
      return by_select ? select(on_receive(channel, ignore), otherwise(ignore)) == 0
                       : channel.try_receive().status == OpStatus::kOk;
    });
  }
  CHECK(refused_sends == 0);
  CHECK(refused_receives == 0);
}

}  // namespace
}  // namespace penstock
