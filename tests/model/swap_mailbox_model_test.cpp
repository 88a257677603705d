// SPDX-License-Identifier: MIT

// The mailbox of a swap runner, alone: what is posted is taken once, one at a time decides, and nothing is left lying
// while nobody has the turn, whoever comes, goes, closes or is woken by the time in between.

#include "swap/swap_mailbox.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "penstock/core/detail/parker.hpp"
#include "penstock/core/manual_clock.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using checker::must_pass;
using detail::SwapMail;
using detail::SwapMailbox;
namespace world = penstock::detail::world;

namespace {

struct Letter : SwapMail {
  using SwapMail::SwapMail;
  world::Atomic<std::uint8_t> posted{0};  // bits
  world::Atomic<std::uint8_t> taken{0};
  int place = 0;  // among all that were taken, from 1 on; of who has the turn
};

constexpr SwapMail::About kTicket = SwapMail::About::kTicket;
constexpr SwapMail::About kTask = SwapMail::About::kTask;

/// A mailbox, and what those do there who have the turn. They write to plain memory: two at a time would be a race.
class Desk {
 public:
  using Wish = SwapMailbox::Wish;

  ManualClock clock;

  explicit Desk(Duration look_after = Duration::max())
      : look_at_(look_after == Duration::max() ? TimePoint::max() : clock.now() + look_after),
        thread_([this] { run(); }) {}

  /// As a client that decides `share` letters at most, and then wishes `last`.
  void submit(Letter& letter, std::uint8_t bit = 1, int share = 2, Wish last = Wish::kNoMore) {
    const SwapMailbox::Posted posted = box_.post_or_take(letter, bit);
    if (posted.is_posted) letter.posted.fetch_or(bit, std::memory_order_relaxed);
    if (posted.first.mail == nullptr) return;
    MODEL_ASSERT(posted.first.mail == &letter);
    decide(posted.first);
    for (int decided = 1; decided != share; ++decided) {
      const SwapMailbox::Taken taken = box_.next_of_client(Wish::kMore);
      if (taken.mail == nullptr) return;
      MODEL_ASSERT(taken.mail->about == kTicket);
      decide(taken);
    }
    if (last == Wish::kThread) {
      handed_.fetch_add(1, std::memory_order_relaxed);
      ++left_to_thread_;
    }
    MODEL_ASSERT(box_.next_of_client(last).mail == nullptr);
  }

  void post(Letter& letter, std::uint8_t bit = 1) {
    if (box_.post(letter, bit)) letter.posted.fetch_or(bit, std::memory_order_relaxed);
  }

  void close() { box_.close(); }

  /// Waits until the time has come for the thread.
  void await_look() {
    while (looks_.load(std::memory_order_acquire) == 0) progress_.park();
  }

  /// Waits until all that was posted has been taken, and what was begun for the thread has come to it, which nothing
  /// but the posting and the handing over makes happen; then for the end of the thread, for which the box is closed
  /// now, or has been.
  template <std::size_t n>
  void check(std::array<Letter, n>& letters, bool is_closed = false) {
    int posted = 0;
    for (Letter& letter : letters) {
      const std::uint8_t bits = letter.posted.load(std::memory_order_relaxed);
      while (letter.taken.load(std::memory_order_acquire) != bits) progress_.park();
      if (bits != 0) ++posted;
    }
    while (gone_on_.load(std::memory_order_acquire) != handed_.load(std::memory_order_relaxed)) progress_.park();
    if (!is_closed) box_.close();
    thread_.join();
    MODEL_ASSERT(box_.is_over());
    MODEL_ASSERT(decided_ >= posted);
  }

 private:
  void run() {
    while (true) {
      if (const int begun = std::exchange(left_to_thread_, 0); begun != 0) {
        gone_on_.fetch_add(begun, std::memory_order_release);
        progress_.unpark();
      }
      if (const SwapMailbox::Taken taken = box_.take(); taken.mail != nullptr) {
        decide(taken);
      } else if (box_.is_over()) {
        return;
      } else {
        box_.wait(clock, look_at_);
        if (clock.now() >= look_at_) look();
      }
    }
  }

  void decide(const SwapMailbox::Taken& taken) {
    auto& letter = static_cast<Letter&>(*taken.mail);
    letter.place = ++decided_;
    MODEL_ASSERT(taken.said != 0);
    const std::uint8_t before = letter.taken.fetch_or(taken.said, std::memory_order_release);
    MODEL_ASSERT((before & taken.said) == 0);
    progress_.unpark();
  }

  void look() {
    look_at_ = TimePoint::max();
    looks_.fetch_add(1, std::memory_order_release);
    progress_.unpark();
  }

  SwapMailbox box_;
  world::Atomic<int> looks_{0};
  world::Atomic<int> handed_{0};
  world::Atomic<int> gone_on_{0};
  detail::Parker progress_;  // of whoever made the scenario
  // Of who has the turn.
  TimePoint look_at_;
  int decided_ = 0;
  int left_to_thread_ = 0;
  world::Thread thread_;
};

}  // namespace

TEST_CASE("SwapMailbox: two clients, one of which decides for both", "[model][swap_mailbox]") {
  must_pass({.name = "swap mailbox, two clients", .preemptions = 3}, [] {
    std::array letters = {Letter(kTicket), Letter(kTicket)};
    Desk desk;
    world::Thread other([&] { desk.submit(letters[1]); });
    desk.submit(letters[0]);
    other.join();
    desk.check(letters);
  });
}

TEST_CASE("SwapMailbox: a client that has done its share hands the rest to the thread", "[model][swap_mailbox]") {
  must_pass({.name = "swap mailbox, share", .preemptions = 3}, [] {
    std::array letters = {Letter(kTicket), Letter(kTicket)};
    Desk desk;
    world::Thread other([&] { desk.submit(letters[1], 1, 1); });
    desk.submit(letters[0], 1, 1);
    other.join();
    desk.check(letters);
  });
}

TEST_CASE("SwapMailbox: what only the thread can end comes to it, whoever posts meanwhile", "[model][swap_mailbox]") {
  must_pass({.name = "swap mailbox, to the thread", .preemptions = 3}, [] {
    std::array letters = {Letter(kTicket), Letter(kTask)};
    Desk desk;
    world::Thread other([&] { desk.post(letters[1]); });
    desk.submit(letters[0], 1, 1, SwapMailbox::Wish::kThread);
    other.join();
    desk.check(letters);
  });
}

TEST_CASE("SwapMailbox: a client leaves the mail of others to the thread", "[model][swap_mailbox]") {
  must_pass({.name = "swap mailbox, mail of others", .preemptions = 2}, [] {
    std::array letters = {Letter(kTicket), Letter(kTicket), Letter(kTask)};
    Desk desk;
    world::Thread poster([&] { desk.post(letters[2]); });
    world::Thread other([&] { desk.submit(letters[1]); });
    desk.submit(letters[0], 1, 3);
    other.join();
    poster.join();
    desk.check(letters);
  });
}

TEST_CASE("SwapMailbox: what one has posted is taken in his order", "[model][swap_mailbox]") {
  must_pass({.name = "swap mailbox, order", .preemptions = 2}, [] {
    std::array letters = {Letter(kTicket), Letter(kTask), Letter(kTask)};
    Desk desk;
    world::Thread poster([&] {
      desk.post(letters[1]);
      desk.post(letters[2]);
    });
    desk.submit(letters[0]);
    poster.join();
    desk.check(letters);
    MODEL_ASSERT(letters[1].place < letters[2].place);
  });
}

TEST_CASE("SwapMailbox: what is said of a letter again is taken with it, or once more", "[model][swap_mailbox]") {
  must_pass({.name = "swap mailbox, said twice", .preemptions = 3}, [] {
    std::array letters = {Letter(kTicket)};
    Desk desk;
    world::Thread other([&] { desk.post(letters[0], 2); });
    desk.submit(letters[0], 4);
    other.join();
    desk.check(letters);
  });
}

TEST_CASE("SwapMailbox: the time comes while a client has the turn", "[model][swap_mailbox]") {
  must_pass({.name = "swap mailbox, time and client", .preemptions = 3}, [] {
    std::array letters = {Letter(kTicket)};
    Desk desk(1s);
    world::Thread time([&] { desk.clock.advance(1s); });
    desk.submit(letters[0]);
    time.join();
    desk.await_look();
    desk.check(letters);
  });
}

TEST_CASE("SwapMailbox: the time comes while somebody posts", "[model][swap_mailbox]") {
  must_pass({.name = "swap mailbox, time and poster", .preemptions = 3}, [] {
    std::array letters = {Letter(kTask)};
    Desk desk(1s);
    world::Thread time([&] { desk.clock.advance(1s); });
    desk.post(letters[0]);
    time.join();
    desk.await_look();
    desk.check(letters);
  });
}

TEST_CASE("SwapMailbox: the time comes while somebody closes", "[model][swap_mailbox]") {
  must_pass({.name = "swap mailbox, time and closer", .preemptions = 3}, [] {
    std::array letters = {Letter(kTicket)};
    Desk desk(1s);
    world::Thread time([&] { desk.clock.advance(1s); });
    desk.submit(letters[0]);
    desk.close();
    time.join();
    desk.check(letters, true);
  });
}

TEST_CASE("SwapMailbox: a closer comes between a client and a poster", "[model][swap_mailbox]") {
  must_pass({.name = "swap mailbox, closer", .preemptions = 2}, [] {
    std::array letters = {Letter(kTicket), Letter(kTask)};
    Desk desk;
    world::Thread poster([&] { desk.post(letters[1]); });
    world::Thread closer([&] { desk.close(); });
    desk.submit(letters[0]);
    poster.join();
    closer.join();
    desk.check(letters, true);
  });
}
