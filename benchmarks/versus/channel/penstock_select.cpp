// SPDX-License-Identifier: MIT
// Ours, select.
#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"

#include "penstock_workloads.hpp"

namespace versus {
namespace {

using penstock::Channel;
using penstock::OpStatus;

using Number = std::uint64_t;

/// `Count` channels that one select looks at: made in advance, as that of the Rust peer, for many channels; written out
/// for a few.
template <std::size_t Count>
class Channels {
 public:
  explicit Channels(std::size_t capacity) {
    for (auto& channel : channels_) {
      channel = std::make_unique<Channel<Number>>(capacity);
      selector_.on_receive(*channel, [this](Number value) { received_ = value; });
    }
  }

  void send(std::size_t index, Number value) {
    check(channels_[index % Count]->send(std::move(value)) == OpStatus::kOk, "send failed");
  }
  /// Receives from whichever is ready, and tells which one that was.
  std::size_t receive(Number& out) {
    if constexpr (Count <= 2) {
      const auto take = [&out](Number value) { out = value; };
      return select(on_receive(*channels_[0], take), on_receive(*channels_[1], take));
    } else {
      const std::size_t index = selector_.select();
      out = received_;
      return index;
    }
  }
  /// Whether one is ready.
  bool poll() {
    if constexpr (Count <= 2) {
      const auto take = [](Number) {};
      return select(on_receive(*channels_[0], take), on_receive(*channels_[1], take), penstock::otherwise([] {})) !=
             Count;
    } else {
      return selector_.try_select().has_value();
    }
  }

 private:
  std::array<std::unique_ptr<Channel<Number>>, Count> channels_;
  penstock::Selector selector_;
  Number received_ = 0;
};

/// One channel of all has a value, each in its turn.
template <std::size_t Count>
Figures one_ready(const Arguments& arguments) {
  Channels<Count> channels(1);
  Number sum = 0;
  const std::size_t items = arguments["items"];
  const Figures figures = run_alone(items, [&] {
    Number value = 0;
    for (std::size_t number = 0; number != items; ++number) {
      channels.send(number, number);
      channels.receive(value);
      sum += 2 * value;
    }
  });
  check(sum == sum_of_first(items), "select_one_ready: the sum is wrong");
  return figures;
}

/// All have a value; the one that is taken goes back to where it was.
template <std::size_t Count>
Figures all_ready(const Arguments& arguments) {
  Channels<Count> channels(1);
  for (std::size_t index = 0; index != Count; ++index) channels.send(index, index);
  const std::size_t items = arguments["items"];
  std::size_t wrong = 0;
  const Figures figures = run_alone(items, [&] {
    Number value = 0;
    for (std::size_t left = items; left != 0; --left) {
      const std::size_t index = channels.receive(value);
      wrong += static_cast<std::size_t>(index != value);
      channels.send(index, value);
    }
  });
  check(wrong == 0, "select_all_ready: a value came from the wrong channel");
  return figures;
}

/// None has a value.
template <std::size_t Count>
Figures none_ready(const Arguments& arguments) {
  Channels<Count> channels(1);
  const std::size_t items = arguments["items"];
  std::size_t ready = 0;
  const Figures figures = run_alone(items, [&] {
    for (std::size_t left = items; left != 0; --left) ready += static_cast<std::size_t>(channels.poll());
  });
  check(ready == 0, "select_none_ready: something was ready");
  return figures;
}

/// A thread sends to one channel after the other, another one receives by select.
template <std::size_t Count>
Figures throughput(const Arguments& arguments) {
  Channels<Count> channels(arguments["capacity"]);
  Number sum = 0;
  const std::size_t items = arguments["items"];
  const Figures figures = run_together(items, {[&] {
                                                 Number value = 0;
                                                 for (std::size_t left = items; left != 0; --left) {
                                                   channels.receive(value);
                                                   sum += 2 * value;
                                                 }
                                               },
                                               [&] {
                                                 for (std::size_t number = 0; number != items; ++number) {
                                                   channels.send(number, number);
                                                 }
                                               }});
  check(sum == sum_of_first(items), "select_throughput: the sum is wrong");
  return figures;
}

using Function = Figures (*)(const Arguments&);

Workload by_width(Function two, Function eight, Function sixty_four) {
  return [=](const Arguments& arguments) -> std::optional<Figures> {
    switch (arguments["channels"]) {
      case 2:
        return two(arguments);
      case 8:
        return eight(arguments);
      case 64:
        return sixty_four(arguments);
      default:
        return std::nullopt;
    }
  };
}

}  // namespace

Workloads select_workloads() {
  return {{"select_one_ready", by_width(one_ready<2>, one_ready<8>, one_ready<64>)},
          {"select_all_ready", by_width(all_ready<2>, all_ready<8>, all_ready<64>)},
          {"select_none_ready", by_width(none_ready<2>, none_ready<8>, none_ready<64>)},
          {"select_throughput", by_width(throughput<2>, throughput<8>, throughput<64>)}};
}

}  // namespace versus
