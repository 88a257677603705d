// SPDX-License-Identifier: MIT

// What stands between a router and the functions of its jobs.

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/route/provider_router.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using penstock::InterceptedCall;
using penstock::Interceptor;
using penstock::JobContext;
using penstock::ManualClock;
using penstock::ProviderOptions;
using penstock::ProviderRouter;
using penstock::ProviderRouterOptions;
using penstock::testing::ContainsSubstring;
using penstock::testing::Equals;
using penstock::testing::text_of;

namespace {

using Log = std::vector<std::string>;

/// Writes down when it is called, and does what the test wants. The pool has one worker: one call at a time.
class Recorder : public Interceptor {
 public:
  using Act = std::function<void(InterceptedCall&)>;

  Recorder(std::string name, Log& log, Act before = nullptr, Act after = nullptr)
      : name_(std::move(name)), log_(log), before_(std::move(before)), after_(std::move(after)) {}

  std::string_view name() const noexcept override { return name_; }
  void before(InterceptedCall& call) override {
    log_.push_back(name_ + " before");
    if (before_) before_(call);
  }
  void after(InterceptedCall& call) override {
    log_.push_back(name_ + " after " + (call.status().ok() ? "ok" : text_of(call.status())));
    if (after_) after_(call);
  }

 private:
  const std::string name_;
  Log& log_;
  const Act before_;
  const Act after_;
};

struct Fixture {
  /// The router gets `chain` at the first use.
  ProviderRouter& router() {
    if (!router_) {
      router_.emplace(ProviderRouterOptions{.interceptors = std::move(chain)});
      ProviderOptions options;
      options.pool.workers = 1;
      options.pool.clock = &clock;
      options.breaker.emplace();
      if (!router_->add("openai", options).ok()) throw std::runtime_error("the options are no good");
    }
    return *router_;
  }
  void add(std::string name, Recorder::Act before = nullptr, Recorder::Act after = nullptr) {
    chain.push_back(std::make_shared<Recorder>(std::move(name), log, std::move(before), std::move(after)));
  }
  template <class F>
  auto run(F function) {
    return router().submit("openai", std::move(function))->get();
  }
  auto breaker() { return router().breaker("openai")->stats(); }
  auto stats() { return router().stats().at("openai"); }

  Log log;
  ManualClock clock;
  std::vector<std::shared_ptr<Interceptor>> chain;
  std::optional<ProviderRouter> router_;
};

}  // namespace

TEST_CASE("Interceptor: before in order, after in the opposite one, around the function", "[route][interceptor]") {
  Fixture test;
  test.add("first");
  test.add("second");
  CHECK(test.run([&] {
              test.log.push_back("function");
              return 7;
            })
            .value() == 7);
  CHECK(test.log == Log{"first before", "second before", "function", "second after ok", "first after ok"});
}

TEST_CASE("Interceptor: an answer in before is the last thing on the way in", "[route][interceptor]") {
  Fixture test;
  bool called = false;
  test.add("first");
  SECTION("of the function's type") {
    test.add("cache", [](InterceptedCall& call) {
      if (call.answer(std::string("hit")) || !call.answer(42)) throw std::logic_error("an int");
    });
    test.add("third");
    CHECK(test.run([&] {
                called = true;
                return 7;
              })
              .value() == 42);
    CHECK(test.log == Log{"first before", "cache before", "cache after ok", "first after ok"});
  }
  SECTION("a failure") {
    test.add("guard", [](InterceptedCall& call) { call.fail(absl::PermissionDeniedError("no more money")); });
    test.add("third");
    CHECK(test.run([&] {
                called = true;
                return 7;
              })
              .status()
              .code() == absl::StatusCode::kPermissionDenied);
    CHECK(test.log == Log{"first before", "guard before", "guard after no more money", "first after no more money"});
  }
  SECTION("of a function that returns nothing") {
    test.add("cache", [](InterceptedCall& call) {
      if (call.answer(1) || !call.answer()) throw std::logic_error("nothing");
    });
    CHECK(test.run([&] { called = true; }).ok());
  }
  CHECK_FALSE(called);
  CHECK(test.breaker().ignored == 1);  // the provider was not called: it says nothing about it
  CHECK(test.breaker().succeeded + test.breaker().failed == 0);
  CHECK(test.breaker().abandoned == 0);
}

TEST_CASE("Interceptor: after sees the answer and may change it", "[route][interceptor]") {
  Fixture test;
  test.add("outer");
  SECTION("the value") {
    test.add("redact", nullptr, [](InterceptedCall& call) {
      if (call.value<int>() != nullptr) throw std::logic_error("no int");
      *call.value<std::string>() += "!";
    });
    CHECK(test.run([] { return std::string("hello"); }).value() == "hello!");
  }
  SECTION("a success into a failure") {
    test.add("check", nullptr, [](InterceptedCall& call) { call.fail(absl::DataLossError("odd")); });
    CHECK(test.run([] { return 7; }).status().code() == absl::StatusCode::kDataLoss);
    CHECK(test.log.back() == "outer after odd");
    CHECK(test.breaker().succeeded == 1);  // which is what the provider did
  }
  SECTION("a failure into a success") {
    test.add("stale", nullptr, [](InterceptedCall& call) {
      if (call.status().ok() || !call.answer(3)) throw std::logic_error("an int");
    });
    CHECK(test.run([]() -> absl::StatusOr<int> { return absl::UnavailableError("down"); }).value() == 3);
    CHECK(test.breaker().failed == 1);
  }
  SECTION("an exception into a success") {
    test.add("stale", nullptr, [](InterceptedCall& call) {
      if (!absl::IsInternal(call.status()) || !call.answer(3)) throw std::logic_error("an int");
    });
    CHECK(test.run([]() -> int { throw std::runtime_error("oops"); }).value() == 3);
    CHECK(test.breaker().failed == 1);
    CHECK(test.stats().pool.panicked == 0);
  }
  SECTION("an OK failure is none") {
    test.add("odd", nullptr, [](InterceptedCall& call) { call.fail(absl::OkStatus()); });
    CHECK(absl::IsInternal(test.run([] { return 7; }).status()));
  }
}

TEST_CASE("Interceptor: an exception of the function passes it, and reaches the pool", "[route][interceptor]") {
  Fixture test;
  test.add("first");
  const auto answer = test.run([]() -> int { throw std::runtime_error("oops"); });
  CHECK(absl::IsInternal(answer.status()));
  CHECK_THAT(text_of(answer.status()), ContainsSubstring("oops"));
  CHECK(test.log.back() == "first after the function threw an exception");
  CHECK(test.stats().pool.panicked == 1);
}

TEST_CASE("Interceptor: what it says of an exception is what the caller learns", "[route][interceptor]") {
  Fixture test;
  test.add("redact", nullptr, [](InterceptedCall& call) { call.fail(absl::PermissionDeniedError("redacted")); });
  const auto answer = test.run([]() -> int { throw std::runtime_error("the secret"); });
  CHECK(answer.status().code() == absl::StatusCode::kPermissionDenied);
  CHECK_THAT(text_of(answer.status()), Equals("redacted"));
}

TEST_CASE("Interceptor: a value that cannot be moved in leaves a failure, and not nothing", "[route][interceptor]") {
  struct Moody {
    Moody() = default;
    Moody(Moody&& other) : moves(other.moves - 1) {
      if (moves < 0) throw std::runtime_error("no more moves");
    }
    int moves = 100;
  };
  Fixture test;
  test.add("odd", nullptr, [](InterceptedCall& call) {
    Moody last;
    last.moves = 1;  // into `answer`, but no further
    static_cast<void>(call.answer(std::move(last)));
  });
  CHECK(absl::IsInternal(test.run([] { return Moody(); }).status()));
  CHECK(test.stats().interceptor_exceptions == 1);
}

TEST_CASE("Interceptor: one that throws is counted and named, and the others are called", "[route][interceptor]") {
  Fixture test;
  test.add("first");
  SECTION("in before") {
    test.add("bad", [](InterceptedCall&) { throw std::runtime_error("no disk"); });
    test.add("third");
    bool called = false;
    const auto answer = test.run([&] { called = true; });
    CHECK_FALSE(called);
    CHECK(absl::IsInternal(answer));
    CHECK_THAT(text_of(answer), Equals("provider 'openai': interceptor 'bad' threw: no disk"));
    CHECK(test.log.size() == 4);
  }
  SECTION("in before, something odd") {
    test.add("bad", [](InterceptedCall&) { throw 7; });
    CHECK_THAT(text_of(test.run([] {})), ContainsSubstring("something that is no std::exception"));
  }
  SECTION("in after") {
    test.add("bad", nullptr, [](InterceptedCall&) { throw std::runtime_error("no disk"); });
    CHECK(test.run([] { return 7; }).value() == 7);
    CHECK(test.log.back() == "first after ok");
  }
  CHECK(test.stats().interceptor_exceptions == 1);
  CHECK_THAT(test.router().state_json(), ContainsSubstring("\"interceptor_exceptions\":1"));
}

TEST_CASE("Interceptor: it learns the provider, the job and the time of the function", "[route][interceptor]") {
  Fixture test;
  std::string provider;
  std::uint64_t id = 0;
  penstock::Duration took{};
  test.add(
      "watch",
      [&](InterceptedCall& call) {
        provider = call.provider();
        id = call.job().job_id;
        if (call.took() != 0s || call.is_answered()) throw std::logic_error("too early");
      },
      [&](InterceptedCall& call) { took = call.took(); });
  SECTION("that returns") {
    CHECK(test.run([&] { test.clock.advance(3s); }).ok());
  }
  SECTION("that throws") {
    const auto fail = [&] {
      test.clock.advance(3s);
      throw std::runtime_error("oops");
    };
    CHECK(absl::IsInternal(test.run(fail)));
  }
  CHECK(provider == "openai");
  CHECK(id == 1);
  CHECK(took == 3s);
  CHECK(test.stats().interceptor_exceptions == 0);
}

TEST_CASE("Interceptor: a chain without an interceptor in it is refused", "[route][interceptor]") {
  CHECK_THROWS_AS(ProviderRouter(ProviderRouterOptions{.interceptors = {nullptr}}), std::invalid_argument);
}
