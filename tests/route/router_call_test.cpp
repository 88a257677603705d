// SPDX-License-Identifier: MIT

// Calls that take more than one job: fall-back lists, retries, coroutines.

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/route/provider_router.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace std::chrono_literals;
using penstock::Context;
using penstock::JobContext;
using penstock::ManualClock;
using penstock::OverflowPolicy;
using penstock::ProviderCall;
using penstock::ProviderOptions;
using penstock::ProviderRouter;
using penstock::ProviderRouterOptions;
using penstock::RetryOptions;
using penstock::SubmitOptions;
using penstock::Task;
using penstock::testing::ContainsSubstring;
using penstock::testing::Equals;
using penstock::testing::eventually;
using penstock::testing::Gate;
using penstock::testing::text_of;

namespace {

using Names = ProviderRouter::Names;

/// Providers "a" and "b", with a worker and a place in the queue each.
struct Fixture {
  explicit Fixture(std::uint32_t attempts = 3, ProviderRouterOptions router_options = {})
      : router(std::move(router_options)) {
    ProviderOptions options;
    options.pool.workers = 1;
    options.pool.queue_capacity = 1;
    options.pool.clock = &clock;
    options.breaker.emplace();
    options.breaker->minimum_calls = 100;
    options.retry = RetryOptions{.max_attempts = attempts, .initial = 1s, .jitter = 0};
    for (const char* name : {"a", "b"}) {
      if (!router.add(name, options).ok()) throw std::runtime_error("the options are no good");
    }
  }
  ~Fixture() { gate.open(); }

  /// Fills the provider's worker and queue.
  void fill(const char* name) {
    jobs.push_back(*router.submit(name, [this] { gate.pass(); }));
    if (!gate.await(++held)) throw std::runtime_error("no worker came to the gate");
    jobs.push_back(*router.submit(name, [this] { gate.pass(); }));
  }

  ManualClock clock;
  Gate gate;
  int held = 0;
  std::vector<penstock::Job<void>> jobs;
  ProviderRouter router;
};

absl::Status down() { return absl::UnavailableError("connection refused"); }

}  // namespace

TEST_CASE("ProviderRouter: the first of a list takes the job that can", "[route][provider_router]") {
  Fixture test;
  const auto served_by = [&](const Names& names) {
    auto job =
        test.router.submit_with_fallback(names, [](const ProviderCall& call) { return std::string(call.provider()); });
    return job.ok() ? job->get().value() : text_of(job.status());
  };
  CHECK(served_by({"a", "b"}) == "a");
  CHECK(served_by({"nobody", "b"}) == "b");
  test.router.breaker("a")->force_open();
  CHECK(served_by({"a", "b"}) == "b");
  test.fill("b");
  test.router.breaker("a")->reset();
  CHECK(served_by({"b", "a"}) == "a");  // without waiting for a place
}

TEST_CASE("ProviderRouter: if none takes a job, all say why and the function is untouched",
          "[route][provider_router]") {
  Fixture test;
  test.router.breaker("a")->force_open();
  auto function = [owned = std::make_unique<int>(5)] { return *owned; };
  const auto refused = test.router.submit_with_fallback(Names{"a", "nobody"}, std::move(function)).status();
  CHECK(refused.code() == absl::StatusCode::kNotFound);
  CHECK_THAT(text_of(refused),
             Equals("provider router: none of 2 providers could: 'a': circuit breaker 'a': forced open; "
                    "'nobody': provider router: no provider 'nobody', there are 'a', 'b'"));
  CHECK(test.router.submit_with_fallback(Names{}, std::move(function)).status().code() ==
        absl::StatusCode::kInvalidArgument);
  CHECK(test.router.submit_with_fallback(Names{"a", "b"}, std::move(function))->get().value() == 5);
}

TEST_CASE("ProviderRouter: a call is tried again as its provider's options say", "[route][provider_router]") {
  Fixture test;
  std::vector<std::uint32_t> attempts;
  std::vector<std::uint64_t> calls;
  auto done = std::async(std::launch::async, [&] {
    return test.router.call(Names{"a"}, [&](const ProviderCall& call) -> absl::StatusOr<int> {
      attempts.push_back(call.attempt());
      calls.push_back(call.job().call_id);
      if (call.attempt() < 3) return down();
      return 7;
    });
  });
  for (const auto backoff : {1s, 3s}) {  // in all
    REQUIRE(eventually([&] { return test.router.stats().at("a").retry->backoff_total == backoff; }));
    CHECK(test.router.stats().at("a").pool.running == 0);  // nobody waits in a worker
    test.clock.advance(2s);
  }
  CHECK(done.get().value() == 7);
  CHECK(attempts == std::vector<std::uint32_t>{1, 2, 3});
  CHECK(calls == std::vector<std::uint64_t>{1, 1, 1});
  CHECK(test.router.stats().at("a").retry->succeeded_after_retry == 1);
  CHECK(test.router.breaker("a")->stats().failed == 2);
}

TEST_CASE("ProviderRouter: a call goes to the next provider when the first is used up", "[route][provider_router]") {
  Fixture test(1);
  const auto ask = [&](absl::Status of_a, absl::Status of_b) {
    return test.router.call(Names{"a", "b"},
                            [=](const ProviderCall& call) { return call.provider() == "a" ? of_a : of_b; });
  };
  CHECK(ask(down(), absl::OkStatus()).ok());
  CHECK(ask(absl::OkStatus(), down()).ok());
  CHECK(ask(absl::InvalidArgumentError("bad question"), absl::OkStatus()).code() == absl::StatusCode::kInvalidArgument);
  const absl::Status both = ask(down(), absl::ResourceExhaustedError("slow down"));
  CHECK(both.code() == absl::StatusCode::kResourceExhausted);
  CHECK_THAT(text_of(both), ContainsSubstring("'a': connection refused; 'b': slow down"));
  test.router.breaker("a")->force_open();
  CHECK(ask(absl::OkStatus(), absl::OkStatus()).ok());
  CHECK(test.router.stats().at("b").pool.succeeded == 2);
}

TEST_CASE("ProviderRouter: which failures fall back is for the router's owner to say", "[route][provider_router]") {
  ProviderRouterOptions options;
  SECTION("never") {
    options.falls_back = [](const absl::Status&) { return false; };
  }
  SECTION("it throws") {
    options.falls_back = [](const absl::Status&) -> bool { throw std::runtime_error("oops"); };
  }
  Fixture test(1, options);
  CHECK(absl::IsUnavailable(test.router.call(
      Names{"a", "b"}, [](const ProviderCall& call) { return call.provider() == "a" ? down() : absl::OkStatus(); })));
}

TEST_CASE("ProviderRouter: a call ends with its context, between two attempts too", "[route][provider_router]") {
  Fixture test;
  auto scope = Context(test.clock).with_cancel();
  const SubmitOptions options{.context = scope.context};
  auto done = std::async(std::launch::async, [&] {
    return test.router.call(
        Names{"a", "b"}, [](const ProviderCall&) { return down(); }, options);
  });
  REQUIRE(eventually([&] { return test.router.stats().at("a").retry->backoff_total == 1s; }));
  scope.source.cancel();
  CHECK(absl::IsCancelled(done.get()));
  CHECK(test.router.stats().at("b").pool.submitted == 0);
}

TEST_CASE("ProviderRouter: no attempt is made against an open breaker", "[route][provider_router]") {
  Fixture test;
  std::atomic<int> attempts{0};
  const absl::Status answer = test.router.call(Names{"a"}, [&](const ProviderCall&) {
    ++attempts;
    test.router.breaker("a")->force_open();
    return down();
  });
  CHECK(absl::IsUnavailable(answer));
  CHECK(attempts == 1);
  CHECK(test.router.stats().at("a").retry->stopped(penstock::RetryStop::kBreaker) == 1);
}

TEST_CASE("ProviderRouter: a coroutine submits, and waits for a place without a thread", "[route][provider_router]") {
  Fixture test;
  test.fill("a");
  std::atomic<int> ran{0};
  const auto ask = [&](std::string provider) -> Task<absl::StatusOr<int>> {
    auto function = [&, owned = std::make_unique<int>(5)] {
      ++ran;
      return *owned;
    };
    auto job = co_await test.router.async_submit(std::move(provider), std::move(function));
    if (!job.ok()) co_return job.status();
    co_return co_await *job;
  };
  CHECK(absl::IsNotFound(sync_wait(ask("nobody")).status()));
  penstock::RunLoop loop;
  auto waiting = spawn(loop, ask("a"));
  loop.run_ready();
  CHECK(test.router.stats().at("a").pool.submitting == 1);
  test.gate.open();
  auto answer = std::async(std::launch::async, [&] { loop.run(); });
  CHECK(sync_wait(std::move(waiting)).value() == 5);
  loop.stop();
  answer.get();
  CHECK(ran == 1);
}
