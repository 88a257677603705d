// SPDX-License-Identifier: MIT
// Three stages joined by channels: one thread produces, two compute, the main thread collects. A full channel slows the
// stage before it down; closing a channel tells the stage after it that nothing more will come.
#include <cstdio>
#include <thread>
#include <vector>

#include "penstock/channel/channel.hpp"

using penstock::Channel;
using penstock::OpStatus;

struct Square {
  int number;
  long result;
};

int main() {
  constexpr int kNumbers = 1000;
  Channel<int> numbers(10);
  Channel<Square> squares(10);

  std::thread producer([&] {
    for (int i = 1; i <= kNumbers; ++i) {
      if (numbers.send(i) != OpStatus::kOk) return;  // closed: nobody wants more
    }
    numbers.close();
  });

  std::vector<std::thread> workers;
  for (int i = 0; i != 2; ++i) {
    workers.emplace_back([&] {
      for (const int number : numbers) {  // until closed and empty
        if (squares.send(Square{number, static_cast<long>(number) * number}) != OpStatus::kOk) return;
      }
    });
  }
  std::thread closer([&] {
    for (std::thread& worker : workers) worker.join();
    squares.close();
  });

  long sum = 0;
  for (const Square& square : squares) sum += square.result;
  producer.join();
  closer.join();

  const penstock::ChannelStats stats = squares.stats();
  std::printf("the squares of 1 to %d add up to %ld; at most %zu of them were waiting\n", kNumbers, sum,
              stats.high_water);
  return sum == 333'833'500 && stats.receives == kNumbers ? 0 : 1;
}
