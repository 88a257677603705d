// SPDX-License-Identifier: MIT
#include "penstock/core/run_loop.hpp"

#include <atomic>
#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/task.hpp"
#include "support/aborts.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

/// Work that counts how often it ran.
struct Counted : Work {
  Counted() noexcept : Work([](Work& work) noexcept { ++static_cast<Counted&>(work).runs; }) {}
  std::atomic<int> runs{0};
};

template <class F>
void on_another_thread(F f) {
  std::thread(f).join();
}

TEST_CASE("RunLoop: runs until stopped and empty, and can run again", "[core][run_loop]") {
  RunLoop loop;
  std::atomic<int> runs{0};
  std::thread posting([&] {
    for (int i = 0; i < 100; ++i) loop.post([&] { ++runs; });
    loop.stop();
  });
  loop.run();
  posting.join();
  CHECK(runs == 100);
  loop.post([&] { ++runs; });
  loop.stop();
  loop.run();
  CHECK(runs == 101);
}

TEST_CASE("RunLoop: may go as soon as its last work has run", "[core][run_loop][stress]") {
  for (int round = 0; round < 3000; ++round) {
    auto loop = std::make_unique<RunLoop>();
    std::thread posting([raw = loop.get()] { raw->post([raw] { raw->stop(); }); });
    loop->run();
    loop.reset();
    posting.join();
  }
}

TEST_CASE("RunLoop: what was posted before runs before, by whichever thread", "[core][run_loop]") {
  RunLoop loop;
  std::vector<int> order;
  loop.post([&] {
    loop.post([&] { order.push_back(1); });
    on_another_thread([&] { loop.post([&] { order.push_back(2); }); });
    loop.post([&] { order.push_back(3); });
    on_another_thread([&] { loop.post([&] { order.push_back(4); }); });
  });
  CHECK(loop.run_ready() == 5);
  CHECK(order == std::vector<int>{1, 2, 3, 4});
}

TEST_CASE("RunLoop: runs inside of itself and of others", "[core][run_loop]") {
  RunLoop outer;
  RunLoop inner;
  std::vector<int> order;
  outer.post([&] {
    outer.post([&] { order.push_back(2); });
    inner.post([&] {
      outer.post([&] { order.push_back(3); });
      order.push_back(1);
    });
    CHECK(inner.run_ready() == 1);
    CHECK(outer.run_ready() == 2);
    outer.post([&] { order.push_back(4); });
  });
  CHECK(outer.run_ready() == 2);
  CHECK(order == std::vector<int>{1, 2, 3, 4});
}

TEST_CASE("RunLoop: other threads take back what they posted, not what its own thread did", "[core][run_loop]") {
  RunLoop loop;
  Counted own;
  Counted mail;
  bool own_revoked = true;
  bool mail_revoked = false;
  loop.post([&] {
    loop.post(own);
    on_another_thread([&] {
      loop.post(mail);
      mail_revoked = loop.revoke(mail);
      own_revoked = loop.revoke(own);
    });
  });
  CHECK(loop.run_ready() == 2);
  CHECK(mail_revoked);
  CHECK(mail.runs == 0);
  CHECK_FALSE(own_revoked);
  CHECK(own.runs == 1);
}

TEST_CASE("RunLoop: what is left in a loop that nobody runs can be revoked by anybody", "[core][run_loop]") {
  RunLoop loop;
  Counted left;
  std::thread running([&] { loop.run(); });
  on_another_thread([&] {
    loop.post([&] {
      loop.stop();
      loop.post(left);
    });
  });
  running.join();
  CHECK(left.runs == 1);  // a loop that is stopped runs what is left
  Counted more;
  on_another_thread([&] { loop.post(more); });
  CHECK(loop.revoke(more));
  CHECK(loop.run_ready() == 0);
}

/// A coroutine that begins at once, is resumed by a loop, and goes with its owner, suspended or not.
class Owned {
 public:
  struct promise_type {
    template <class... Args>
    explicit promise_type(RunLoop& resumes, Args&...) noexcept : loop(resumes) {}
    Owned get_return_object() noexcept { return Owned(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_always final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept { std::terminate(); }
    [[nodiscard]] Executor* executor() const noexcept { return &loop; }
    RunLoop& loop;
  };

  explicit Owned(std::coroutine_handle<promise_type> coroutine) noexcept : coroutine_(coroutine) {}
  Owned(Owned&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  ~Owned() {
    if (coroutine_) coroutine_.destroy();
  }

 private:
  std::coroutine_handle<promise_type> coroutine_;
};

Task<int> two() { co_return 2; }
Owned add(RunLoop& /*loop*/, JoinHandle<int>& handle, int& sum) { sum += co_await handle; }

TEST_CASE("RunLoop: a coroutine may go between the end of its wait and its resumption", "[core][run_loop]") {
  RunLoop loop;
  RunLoop other;
  int sum = 0;
  JoinHandle<int> handle = spawn(other, two());
  {
    const Owned waiting = add(loop, handle, sum);
    other.run_ready();
  }
  CHECK(loop.run_ready() == 0);
  CHECK(sum == 0);
  CHECK(handle.get() == 2);
}

TEST_CASE("RunLoop: a coroutine may go while another thread ends its wait", "[core][run_loop][stress]") {
  for (int round = 0; round < 1000; ++round) {
    RunLoop loop;
    RunLoop other;
    int sum = 0;
    JoinHandle<int> handle = spawn(other, two());
    std::optional<Owned> waiting = add(loop, handle, sum);
    std::thread ending([&] { other.run_ready(); });
    waiting.reset();
    REQUIRE(loop.run_ready() == 0);
    REQUIRE(sum == 0);
    ending.join();
  }
}

TEST_CASE("RunLoop: two threads at once may not run it", "[core][run_loop]") {
  CHECK(testing::message_of_abort([] {
          RunLoop loop;
          loop.post([&] { on_another_thread([&] { loop.run_ready(); }); });
          loop.run_ready();
        }).find("run by two threads") != std::string::npos);
}

TEST_CASE("RunLoop: threads post to each other's loops, and each piece runs once", "[core][run_loop][stress]") {
  constexpr int kHops = 20'000;
  struct Hop : Work {
    Hop(RunLoop& a, RunLoop& b) noexcept
        : Work([](Work& work) noexcept {
            auto& self = static_cast<Hop&>(work);
            if (--self.left == 0) {
              self.loops[0]->stop();
              self.loops[1]->stop();
            } else {
              self.loops[self.left % 3 == 0 ? 0 : 1]->post(self);
            }
          }),
          loops{&a, &b} {}
    RunLoop* const loops[2];
    int left = kHops;
  };
  RunLoop first;
  RunLoop second;
  Hop hop(first, second);
  first.post(hop);
  std::thread other([&] { second.run(); });
  first.run();
  other.join();
  CHECK(hop.left == 0);
}

}  // namespace
}  // namespace penstock
