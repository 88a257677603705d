// SPDX-License-Identifier: MIT

// What `otherwise` says about the past: there was a moment, after all that this thread has done, at which no case was
// ready.

#include <array>
#include <atomic>
#include <cstdint>
#include <thread>

#include "penstock/channel/select.hpp"
#include "support/catch.hpp"
#include "support/rounds.hpp"

namespace penstock {
namespace {

/// Two threads, each with a channel: it sends there, and then looks into the other one's.
class Announcers {
 public:
  explicit Announcers(std::uint32_t most_rounds) : most_(most_rounds) {
    for (std::size_t i = 0; i != 2; ++i) {
      looks_[i].on_receive(channels_[1 - i], [this, i](int) { saw_[i] = true; });
    }
  }

  /// Rounds in which neither has seen what the other one had sent.
  int blind_rounds() {
    int blind = 0;
    std::thread other([this] {
      for (meet(); !over_; meet()) run(1);
    });
    for (testing::Rounds rounds(most_); rounds.next();) {
      meet();
      run(0);
      if (!saw_[0] && !saw_[1]) ++blind;
    }
    over_ = true;
    meet();
    other.join();
    return blind;
  }

 private:
  void run(std::size_t me) {
    random_[me] = random_[me] * 1664525U + 1013904223U;
    // One of them has to see the meeting first; a random delay makes up for that.
    for (std::uint32_t i = (random_[me] >> 16) % (me == 0 ? 512 : 64); i != 0; --i) asm volatile("");
    saw_[me] = false;
    static_cast<void>(channels_[me].try_send(1));
    static_cast<void>(looks_[me].try_select());
    meet();
    // The other one's channel, so that the lines of a thread's own are not at hand when it sends again.
    static_cast<void>(channels_[1 - me].try_receive());
  }

  /// Until both are here.
  void meet() {
    const std::uint32_t mine = ++arrived_;
    const std::uint32_t all = mine + mine % 2;
    for (int spins = 0; arrived_.load() < all;) {
      if (++spins % 4096 == 0) std::this_thread::yield();
    }
  }

  const std::uint32_t most_;
  std::array<Channel<int>, 2> channels_{Channel<int>(1), Channel<int>(1)};
  std::array<Selector, 2> looks_;
  alignas(128) std::atomic<std::uint32_t> arrived_{0};
  alignas(128) std::array<bool, 2> saw_{};
  bool over_ = false;  // told by meet()
  std::array<std::uint32_t, 2> random_{777, 12345};
};

// One round in some hundred thousand goes wrong where stores can be overtaken by loads: a failure proves something,
// a success little.
TEST_CASE("Select: of two that send and then look, one finds what the other has sent", "[channel][select][stress]") {
  CHECK(Announcers(500'000).blind_rounds() == 0);
}

}  // namespace
}  // namespace penstock
