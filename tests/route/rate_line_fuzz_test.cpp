// SPDX-License-Identifier: MIT

// Random programs of takes, waits and cancellations: the limiter does, at each quarter of a millisecond, what a bucket
// and a queue do that are written down in the plainest way.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "penstock/core/task.hpp"
#include "route/rate_support.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::kBothAlgorithms;
using testing::limited;
using testing::NaiveBucket;

constexpr Duration kStep = 250us;
constexpr std::uint64_t kParts = 4;  // of a token: one comes in with each step

/// What happened, in words: "3 ok at 17".
using Log = std::vector<std::string>;

std::string event(int id, const char* what, std::uint64_t step) {
  return std::to_string(id) + " " + what + " at " + std::to_string(step);
}

class NaiveLimiter {
 public:
  NaiveLimiter(std::uint64_t burst, std::size_t max_waiting)
      : bucket_{burst * kParts, 1}, burst_(burst), max_waiting_(max_waiting) {}

  void pass() {
    ++step_;
    bucket_.pass(1);
    serve();
  }
  bool take(std::uint64_t n) { return line_.empty() && bucket_.take(n * kParts); }
  /// `left`: the deadline is so many steps and a half from now.
  void wait(int id, std::uint64_t n, std::optional<std::uint64_t> left) {
    if (n > burst_) return add(id, "too_many");
    if (take(n)) return add(id, "ok");
    if (line_.size() >= max_waiting_) return add(id, "line_full");
    std::uint64_t wanted = n;
    for (const auto& [other, its] : line_) wanted += its;
    if (left && wanted * kParts - bucket_.level > *left) return add(id, "too_late");
    line_.emplace_back(id, n);
  }
  void cancel(int id) {
    const auto found = std::find_if(line_.begin(), line_.end(), [id](const auto& each) { return each.first == id; });
    if (found == line_.end()) return;
    line_.erase(found);
    add(id, "cancelled");
    serve();
  }

  [[nodiscard]] const Log& log() const { return log_; }
  [[nodiscard]] std::size_t waiting() const { return line_.size(); }

 private:
  void add(int id, const char* what) { log_.push_back(event(id, what, step_)); }
  void serve() {
    while (!line_.empty() && bucket_.take(line_.front().second * kParts)) {
      add(line_.front().first, "ok");
      line_.pop_front();
    }
  }

  NaiveBucket bucket_;
  const std::uint64_t burst_;
  const std::size_t max_waiting_;
  std::deque<std::pair<int, std::uint64_t>> line_;
  std::uint64_t step_ = 0;
  Log log_;
};

Task<> wait_in(RateLimiter& limiter, ManualClock& clock, Log& log, Context ctx, int id, std::uint64_t n) {
  const TimePoint start = TimePoint(1h);  // of the clock
  RateRefusal why;
  const OpStatus status = co_await limiter.async_acquire(ctx, n, why);
  const auto step = static_cast<std::uint64_t>((clock.now() - start) / kStep);
  log.push_back(event(id, status == OpStatus::kOk ? "ok" : std::string(to_string(why.reason)).c_str(), step));
}

void compare(RateAlgorithm algorithm, std::uint32_t seed) {
  std::mt19937 random(seed);
  const auto up_to = [&](std::uint64_t most) { return std::uniform_int_distribution<std::uint64_t>(0, most)(random); };
  const std::uint64_t burst = 1 + up_to(6);
  ManualClock clock;
  RateLimiterOptions options = limited(clock, 1000, static_cast<double>(burst), algorithm);
  options.max_waiting = up_to(8);
  RateLimiter limiter(options);
  NaiveLimiter naive(burst, options.max_waiting);
  Log log;
  std::vector<Context::Cancellable> begun;

  for (int step = 0; step != 300; ++step) {
    switch (up_to(7)) {
      case 0:
      case 1: {
        const std::uint64_t n = 1 + up_to(burst);
        std::optional<std::uint64_t> left;
        Context base = Context::background();
        if (up_to(2) == 0) {
          left = up_to(60);
          base = Context(clock).with_timeout(kStep * static_cast<Duration::rep>(*left) + kStep / 2);
        }
        const int id = static_cast<int>(begun.size());
        begun.push_back(base.with_cancel());
        naive.wait(id, n, left);
        static_cast<void>(
            spawn(Executor::inline_executor(), wait_in(limiter, clock, log, begun.back().context, id, n)));
        break;
      }
      case 2:
        if (!begun.empty()) {
          const std::size_t id = begun.size() - 1 - up_to(std::min<std::size_t>(begun.size() - 1, 6));
          naive.cancel(static_cast<int>(id));
          begun[id].source.cancel();
        }
        break;
      case 3: {
        const std::uint64_t n = 1 + up_to(2);
        const bool expected = n <= burst && naive.take(n);
        if (limiter.try_acquire(n) != expected) FAIL("seed " << seed << ", step " << step << ": try_acquire");
        break;
      }
      default:
        for (std::uint64_t steps = up_to(8); steps != 0; --steps) naive.pass(), clock.advance(kStep);
        break;
    }
    if (log == naive.log() && limiter.stats().waiting == naive.waiting()) continue;
    CAPTURE(seed, step, burst, options.max_waiting);
    CHECK(log == naive.log());
    REQUIRE(limiter.stats().waiting == naive.waiting());
  }
  limiter.close();
}

TEST_CASE("RateLimiter: random programs run as with a plain bucket and a queue", "[route][rate_limiter]") {
  for (std::uint32_t seed = 0; seed != 1500; ++seed) {
    for (const RateAlgorithm algorithm : kBothAlgorithms) compare(algorithm, seed);
  }
}

}  // namespace
}  // namespace penstock
