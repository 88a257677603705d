// SPDX-License-Identifier: MIT

// A channel may go as soon as an operation on it has been completed by a peer, and so may the operation. The sanitizers
// see what looks at either of them later.

#include <array>
#include <cstddef>
#include <memory>
#include <thread>
#include <vector>

#include "penstock/channel/select.hpp"
#include "penstock/core/task.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

namespace penstock {
namespace {

Task<> send_batch(Channel<int>& channel, std::array<int, 2>& values, BatchResult& result) {
  result = co_await channel.async_send_many(values);
}

TEST_CASE("Channel: its destructor waits for a batch that comes back for more", "[channel][coroutine]") {
  auto channel = std::make_unique<Channel<int>>(0);
  RunLoop loop;
  std::array<int, 2> values{1, 2};
  BatchResult result{OpStatus::kFull, 0};
  auto sender = spawn(loop, send_batch(*channel, values, result));
  loop.run_ready();
  CHECK(channel->try_receive().value == 1);  // the batch is on its way back
  std::thread destroyer([&channel] { channel.reset(); });
  CHECK(testing::eventually([&] {
    loop.run_ready();
    return result.status != OpStatus::kFull;
  }));
  destroyer.join();
  CHECK(result.status == OpStatus::kClosed);
  CHECK(result.count == 1);
}

Task<> receive_batch(Channel<int>& channel, std::vector<int>& out, BatchResult& result) {
  result = co_await channel.async_receive_many(out, 2);
}

TEST_CASE("Channel: its destructor waits for a batch that looks for more", "[channel][coroutine]") {
  auto channel = std::make_unique<Channel<int>>(2);
  RunLoop loop;
  std::vector<int> out;
  BatchResult result{OpStatus::kEmpty, 0};
  auto receiver = spawn(loop, receive_batch(*channel, out, result));
  loop.run_ready();
  CHECK(channel->try_send(1) == OpStatus::kOk);  // the batch has it, and will look for a second one
  std::thread destroyer([&channel] { channel.reset(); });
  CHECK(testing::eventually([&] {
    loop.run_ready();
    return result.status != OpStatus::kEmpty;
  }));
  destroyer.join();
  CHECK(result.status == OpStatus::kOk);
  CHECK(out == std::vector<int>{1});
}

// Waits in a frame of its own, which goes with the second select.
Task<> receive_two(Channel<int>& channel, long& sum) {
  const auto add = [&sum](int value) { sum += value; };
  for (int i = 0; i != 2; ++i) {
    const std::size_t taken =
        co_await async_select(on_receive(channel, add), on_receive(channel, add), on_receive(channel, add));
    static_cast<void>(taken);
  }
}
Task<> receive_all(Channel<int>& channel, long& sum) {
  while (!channel.is_closed()) co_await receive_two(channel, sum);
}

TEST_CASE("Select: a coroutine that names a channel several times may be gone before it is all unlocked",
          "[channel][select][coroutine][stress]") {
  constexpr int kCount = 10'000;
  Channel<int> channel(0);
  long sum = 0;
  auto receiver = spawn(Executor::inline_executor(), receive_all(channel, sum));
  // Each of the two resumes the coroutine in itself, while the other one may still be suspending it.
  const auto feed = [&channel] {
    for (int i = 0; i != kCount; ++i) {
      while (channel.try_send(1) != OpStatus::kOk) std::this_thread::yield();
    }
  };
  std::thread left(feed);
  std::thread right(feed);
  left.join();
  right.join();
  channel.close();
  sync_wait(std::move(receiver));
  CHECK(sum == 2 * kCount);
}

}  // namespace
}  // namespace penstock
