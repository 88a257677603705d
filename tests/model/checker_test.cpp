// SPDX-License-Identifier: MIT

// The checker, checked: bugs that it must find, each beside the correct version in which it must find nothing.

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

#include "penstock/core/detail/world.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using checker::must_find;
using checker::must_pass;
using checker::Options;
using checker::Result;
using Kind = checker::Violation::Kind;
namespace world = penstock::detail::world;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;

// Through pointers to functions, so that the compiler does not see what is wrong.
void (*volatile write_to)(int*) = [](int* value) { *value = 2; };
int* (*volatile make_int)() = [] { return new int(1); };
void (*volatile free_int)(int*) = [](int* value) { delete value; };
[[gnu::noinline]] void fails() { throw std::runtime_error("fails"); }

}  // namespace

// --- plain memory ---

TEST_CASE("Checker: two unordered writes of a plain int are a race", "[model][checker]") {
  const auto scenario = [](bool locked) {
    int count = 0;
    world::Mutex mutex;
    const auto add = [&] {
      std::unique_lock lock(mutex, std::defer_lock);
      if (locked) lock.lock();
      ++count;
    };
    world::Thread other(add);
    add();
    other.join();
    MODEL_ASSERT(count == 2);
  };
  must_find(Kind::kRace, {.name = "plain int"}, 1, [&] { scenario(false); });
  must_pass({.name = "int under a mutex"}, [&] { scenario(true); });
}

TEST_CASE("Checker: bytes of one word are different variables", "[model][checker]") {
  struct Flags {
    bool first = false;
    bool second = false;
  };
  must_pass({.name = "two bools"}, [] {
    Flags flags;
    world::Thread other([&] { flags.first = true; });
    flags.second = true;
    other.join();
    MODEL_ASSERT(flags.first && flags.second);
  });
  must_find(Kind::kRace, {.name = "copy of both"}, 1, [] {
    Flags flags;
    Flags copy;
    Flags (*volatile take)(Flags) = [](Flags given) { return given; };
    world::Thread other([&] { flags.first = true; });
    copy = flags;
    other.join();
    MODEL_ASSERT(!take(copy).second);
  });
}

TEST_CASE("Checker: a copy of a string is many reads", "[model][checker]") {
  const auto scenario = [](bool joined) {
    std::string text(100, 'a');
    std::string copy;
    world::Thread other([&] { text[60] = 'b'; });
    if (joined) other.join();
    copy = text;
    if (!joined) other.join();
  };
  must_find(Kind::kRace, {.name = "string"}, 4, [&] { scenario(false); });
  must_pass({.name = "string after join"}, [&] { scenario(true); });
}

TEST_CASE("Checker: a relaxed store publishes nothing", "[model][checker]") {
  const auto scenario = [](std::memory_order order) {
    int value = 0;
    world::Atomic<bool> ready{false};
    world::Thread writer([&] {
      value = 42;
      ready.store(true, order);
    });
    if (ready.load(kAcquire)) MODEL_ASSERT(value == 42);
    writer.join();
  };
  must_find(Kind::kRace, {.name = "relaxed publish"}, 4, [&] { scenario(kRelaxed); });
  must_pass({.name = "release publish"}, [&] { scenario(kRelease); });
}

TEST_CASE("Checker: a std::atomic has to be published, too", "[model][checker]") {
  const auto scenario = [](std::memory_order order) {
    world::Atomic<std::atomic<int>*> shared{nullptr};
    world::Thread maker([&] { shared.store(new std::atomic<int>(1), order); });
    if (std::atomic<int>* const number = shared.load(kAcquire)) number->fetch_add(1);
    maker.join();
    delete shared.load(kRelaxed);
  };
  must_find(Kind::kRace, {.name = "relaxed std::atomic"}, 4, [&] { scenario(kRelaxed); });
  must_pass({.name = "released std::atomic"}, [&] { scenario(kRelease); });
}

TEST_CASE("Checker: a release sequence goes on through relaxed changes and ends with a store", "[model][checker]") {
  const auto scenario = [](bool stores) {
    int value = 0;
    world::Atomic<int> state{0};
    world::Thread writer([&] {
      value = 42;
      state.store(1, kRelease);
    });
    world::Thread passer([&] {
      if (stores) {
        if (state.load(kRelaxed) == 1) state.store(2, kRelaxed);
      } else {
        state.fetch_add(1, kRelaxed);
      }
    });
    if (state.load(kAcquire) == 2) MODEL_ASSERT(value == 42);
    writer.join();
    passer.join();
  };
  must_find(Kind::kRace, {.name = "sequence ended"}, 100, [&] { scenario(true); });
  must_pass({.name = "sequence continued"}, [&] { scenario(false); });
}

TEST_CASE("Checker: shared_ptr is ordered by its count", "[model][checker]") {
  must_pass({.name = "shared_ptr"}, [] {
    auto shared = std::make_shared<std::string>(40, 'x');
    world::Thread other([copy = shared]() mutable {
      MODEL_ASSERT(copy->size() == 40);
      copy.reset();
    });
    shared.reset();
    other.join();
  });
}

// --- memory ---

TEST_CASE("Checker: uses of freed memory, second frees, overruns and leaks", "[model][checker]") {
  must_find(Kind::kUseAfterFree, {.name = "use after free"}, 1, [] {
    int* const value = make_int();
    free_int(value);
    write_to(value);
  });
  must_find(Kind::kBadFree, {.name = "double free"}, 20, [] {
    world::Atomic<int*> shared{new int(1)};
    const auto drop = [&] {
      int* const mine = shared.load(kAcquire);  // two threads may load it before one of them takes it
      if (mine == nullptr) return;
      shared.store(nullptr, kRelease);
      delete mine;
    };
    world::Thread other(drop);
    drop();
    other.join();
  });
  must_pass({.name = "free once"}, [] {
    world::Atomic<int*> shared{new int(1)};
    const auto drop = [&] { delete shared.exchange(nullptr, std::memory_order_acq_rel); };
    world::Thread other(drop);
    drop();
    other.join();
  });
  must_find(Kind::kOutOfBounds, {.name = "overrun"}, 1, [] {
    const std::unique_ptr<char[]> bytes(new char[13]);
    static_cast<volatile char*>(bytes.get())[13] = 1;
  });
  must_find(Kind::kLeak, {.name = "leak"}, 1, [] { make_int(); });
  must_pass({.name = "allowed leak", .allowed_leaks = 1}, [] { make_int(); });
}

TEST_CASE("Checker: the waker may not touch a word after the waiter may have left", "[model][checker]") {
  struct Node {
    world::Atomic<std::uint32_t> word{0};
  };
  const auto scenario = [](bool touches) {
    world::Atomic<Node*> waiting{nullptr};
    world::Thread waker([&] {
      Node* node = nullptr;
      while ((node = waiting.load(kAcquire)) == nullptr) world::yield();
      const void* const address = &node->word;
      node->word.store(1, kRelease);
      if (touches && node->word.load(kRelaxed) != 1) return;  // the frame of the waiter may be gone
      world::futex_wake_one(address);
    });
    {
      Node node;
      waiting.store(&node, kRelease);
      while (node.word.load(kAcquire) == 0) world::futex_wait(node.word, 0);
    }
    waker.join();
  };
  const Result result = checker::explore({.name = "dead stack word"}, [&] { scenario(true); });
  // Seen as a race with the destructor, or as a use after it, whichever schedule comes first.
  if (!result.found(Kind::kRace) && !result.found(Kind::kUseAfterFree)) FAIL(result.describe());
  CHECK(checker::replay(result.violation->schedule, [&] { scenario(true); }).found(result.violation->kind));
  must_pass({.name = "wake by address"}, [&] { scenario(false); });
}

// --- locks ---

TEST_CASE("Checker: a mutex that is not unlocked, or locked twice", "[model][checker]") {
  must_find(Kind::kMisuse, {.name = "missed unlock"}, 1, [] {
    world::Mutex mutex;
    world::Thread other([&] { mutex.lock(); });
    other.join();
  });
  must_find(Kind::kMisuse, {.name = "locked twice"}, 1, [] {
    world::Mutex mutex;
    const std::lock_guard outer(mutex);
    const std::lock_guard inner(mutex);
  });
}

TEST_CASE("Checker: two mutexes in two orders deadlock", "[model][checker]") {
  const auto scenario = [](bool ordered) {
    world::Mutex a;
    world::Mutex b;
    world::Thread other([&] {
      const std::lock_guard outer(ordered ? a : b);
      const std::lock_guard inner(ordered ? b : a);
    });
    {
      const std::lock_guard outer(a);
      const std::lock_guard inner(b);
    }
    other.join();
  };
  must_find(Kind::kDeadlock, {.name = "ABBA"}, 20, [&] { scenario(false); });
  must_pass({.name = "ABAB"}, [&] { scenario(true); });
}

// --- threads, exceptions, crashes ---

TEST_CASE("Checker: threads that are not joined, exceptions that escape, crashes", "[model][checker]") {
  must_find(Kind::kThreadLeft, {.name = "not joined"}, 1, [] { world::Thread other([] {}); });
  must_find(Kind::kException, {.name = "escaped"}, 1, [] {
    world::Thread other([] { throw std::runtime_error("nobody catches this"); });
    other.join();
  });
  must_find(Kind::kCrash, {.name = "abort"}, 1, [] { std::abort(); });
  must_find(Kind::kCrash, {.name = "noexcept"}, 1, [] { []() noexcept { fails(); }(); });
  must_find(Kind::kCrash, {.name = "null"}, 1, [] { write_to(nullptr); });
  must_pass({.name = "caught"}, [] {
    world::Atomic<int> caught{0};
    const auto thrower = [&] {
      try {
        throw std::runtime_error("a text too long for the small buffer of a string");
      } catch (const std::exception&) {
        caught.fetch_add(1, kRelaxed);  // others run while this handler is entered
        world::yield();
      }
    };
    world::Thread other(thrower);
    thrower();
    other.join();
    MODEL_ASSERT(caught.load(kRelaxed) == 2);
  });
}

TEST_CASE("Checker: a thread that cannot be created and an allocation that fails", "[model][checker]") {
  const auto scenario = [](bool careful) {
    std::array<world::Thread, 2> threads;
    try {
      for (world::Thread& thread : threads) thread = world::Thread([] {});
    } catch (const std::system_error&) {
      if (!careful) throw;
    } catch (const std::bad_alloc&) {
      if (!careful) throw;
    }
    for (world::Thread& thread : threads) {
      if (thread.joinable()) thread.join();
    }
  };
  const Result careless = checker::explore({.fail_thread = 2}, [&] { scenario(false); });
  CHECK((careless.found(Kind::kThreadLeft) || careless.found(Kind::kException)));
  const Result careful = checker::explore({.fail_thread = 2}, [&] { scenario(true); });
  INFO(careful.describe());
  CHECK(careful.passed());
  CHECK(careful.fault_reached);
  CHECK_FALSE(checker::explore({.fail_thread = 3}, [&] { scenario(true); }).fault_reached);

  CHECK(checker::explore_allocation_failures({}, [&] { scenario(true); }).passed());
  CHECK_FALSE(checker::explore_allocation_failures({}, [&] { scenario(false); }).passed());
}

TEST_CASE("Checker: spinning for what never comes is a livelock", "[model][checker]") {
  const auto scenario = [](bool comes) {
    world::Atomic<bool> go{false};
    world::Thread waiter([&] {
      while (!go.load(kAcquire)) world::pause();
    });
    if (comes) go.store(true, kRelease);
    waiter.join();
  };
  const Result stuck = must_find(Kind::kDeadlock, {.name = "spins for ever"}, 1, [&] { scenario(false); });
  CHECK_THAT(stuck.violation->text, penstock::testing::ContainsSubstring("spins"));
  must_pass({.name = "spins until it comes"}, [&] { scenario(true); });
  must_find(Kind::kLivelock, {.name = "no end", .max_steps = 1'000}, 1, [] {
    world::Atomic<int> number{0};
    for (;;) number.fetch_add(1, kRelaxed);
  });
}

TEST_CASE("Checker: a thread that spins with a lock lets the others in when it unlocks", "[model][checker]") {
  must_pass({.name = "spins with a lock"}, [] {
    world::Mutex mutex;
    bool ready = false;
    world::Thread other([&] {
      const std::lock_guard lock(mutex);
      ready = true;
    });
    for (bool seen = false; !seen;) {
      const std::lock_guard lock(mutex);
      seen = ready;
      if (!seen) world::yield();
    }
    other.join();
  });
}

TEST_CASE("Checker: a spin loop that gives up is followed to its end", "[model][checker]") {
  must_find(Kind::kAssertion, {.name = "bounded spin", .preemptions = 0}, 10, [] {
    world::Atomic<bool> go{false};
    world::Thread waiter([&] {
      for (int turn = 0; turn != 30; ++turn) {
        if (go.load(kAcquire)) return;
        world::pause();
      }
      MODEL_ASSERT(go.load(kAcquire));  // the other thread may not even have started
    });
    world::Thread setter([&] { go.store(true, kRelease); });
    waiter.join();
    setter.join();
  });
}

TEST_CASE("Checker: a scenario that remembers earlier executions is refused", "[model][checker]") {
  int runs = 0;
  const Result result = checker::explore({}, [&] {
    const bool odd = ++runs % 2 == 1;
    world::Atomic<int> number{0};
    if (odd) number.fetch_add(1);
    world::Thread other([&] { number.fetch_add(1); });
    number.fetch_add(1);
    other.join();
  });
  CHECK(result.found(Kind::kNondeterminism));
  CHECK(checker::replay("nonsense", [] {}).found(Kind::kNondeterminism));
}
