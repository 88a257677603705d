// SPDX-License-Identifier: MIT
// Ours, many values at once: `receive_many` of up to `batch`, and single receives where `batch` is 1.
#include <span>
#include <vector>

#include "penstock/channel/channel.hpp"

#include "penstock_workloads.hpp"

namespace versus {
namespace {

using penstock::Channel;
using penstock::OpStatus;

constexpr std::size_t kRun = 64;  // that many values are sent at once

template <class T>
class Receiver {
 public:
  Receiver(Channel<T>& channel, std::size_t batch) : channel_(channel), batch_(batch) { values_.reserve(batch); }

  void receive(std::size_t count) {
    while (count != 0) count -= batch_ == 1 ? one() : many(std::min(batch_, count));
  }
  [[nodiscard]] std::uint64_t sum() const { return sum_; }

 private:
  std::size_t one() {
    T value;
    check(channel_.receive(value) == OpStatus::kOk, "receive failed");
    sum_ += value.sum();
    return 1;
  }
  std::size_t many(std::size_t most) {
    values_.clear();
    check(channel_.receive_many(values_, most).status == OpStatus::kOk, "receive_many failed");
    for (const T& value : values_) sum_ += value.sum();
    return values_.size();
  }

  Channel<T>& channel_;
  const std::size_t batch_;
  std::vector<T> values_;
  std::uint64_t sum_ = 0;
};

template <class T>
void send(Channel<T>& channel, std::size_t from, std::size_t to) {
  std::vector<T> values;
  values.reserve(kRun);
  for (; from != to; values.clear()) {
    for (std::size_t left = std::min(kRun, to - from); left != 0; --left) values.push_back(T::of(from++));
    check(channel.send_many(std::span<T>(values)).status == OpStatus::kOk, "send_many failed");
  }
}

/// A thread fills the channel, and then empties it: the wall time is that of the latter. An item is a value.
template <class T>
Figures receive_alone(const Arguments& arguments) {
  const std::size_t capacity = arguments["capacity"];
  const std::size_t rounds = arguments["items"] / capacity + 1;
  Channel<T> channel(capacity);
  Receiver<T> receiver(channel, arguments["batch"]);
  std::uint64_t spent = 0;
  Figures figures = run_alone(rounds * capacity, [&] {
    for (std::size_t round = 0; round != rounds; ++round) {
      send(channel, round * capacity, (round + 1) * capacity);
      const std::uint64_t begin = now_ns();
      receiver.receive(capacity);
      spent += now_ns() - begin;
    }
  });
  check(receiver.sum() == sum_of_first(rounds * capacity), "receive_alone: the sum is wrong");
  figures.wall_ns = static_cast<double>(spent);
  return figures;
}

/// Another thread sends.
template <class T>
Figures receive_from_other(const Arguments& arguments) {
  const std::size_t items = arguments["items"];
  Channel<T> channel(arguments["capacity"]);
  Receiver<T> receiver(channel, arguments["batch"]);
  const Figures figures = run_together(items, {[&] { receiver.receive(items); }, [&] { send(channel, 0, items); }});
  check(receiver.sum() == sum_of_first(items), "receive_from_other: the sum is wrong");
  return figures;
}

}  // namespace

Workloads batch_workloads() {
  return {{"receive_alone",
           [](const Arguments& arguments) {
             return arguments["bytes"] == 64 ? receive_alone<Value<64>>(arguments) : receive_alone<Value<8>>(arguments);
           }},
          {"receive_from_other", [](const Arguments& arguments) {
             return arguments["bytes"] == 64 ? receive_from_other<Value<64>>(arguments)
                                             : receive_from_other<Value<8>>(arguments);
           }}};
}

}  // namespace versus
