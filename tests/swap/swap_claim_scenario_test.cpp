// SPDX-License-Identifier: MIT

// X03 to X05: who has waited for long, or matters more, is not passed by for ever. And idle models, which are stopped.

#include <chrono>
#include <cstdint>
#include <string>

#include "swap/swap_script.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::any_rules;
using testing::rules;
using testing::Script;
using testing::Ways;

SwapSchedulerOptions with_max_wait(Duration max_wait) {
  SwapSchedulerOptions options = any_rules();
  options.max_wait = max_wait;
  return options;
}

SwapSchedulerOptions with_claim_priority(std::int32_t priority) {
  SwapSchedulerOptions options = any_rules();
  options.claim_priority = priority;
  return options;
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: X03 a model in demand starves nobody beyond max_wait", "[swap][conformance]",
                        Ways) {
  const bool has_bound = GENERATE(true, false);
  Script<TestType> script({.models = "ab",
                           .evict = {"a:b", "b:a"},
                           .ready = "a",
                           .options = with_max_wait(has_bound ? Duration(60s) : Duration::max())});
  // One request for a every 100 ms, each served for 250 ms: it is never idle. One for b, after the first.
  CHECK(script.request('a') == "G 1");
  CHECK(script.request('b') == "");
  std::size_t asked = 2;
  std::size_t served = 0;
  std::chrono::milliseconds time{};
  const auto b_comes_up = [&] { return script.scheduler().model_load(script.id('b')).swap != SwapId{}; };
  while (!b_comes_up() && time < 120s) {
    time += 50ms;
    script.set_time(time);
    if (time % 100ms == 0ms) {
      script.request('a');
      ++asked;
    }
    if (time % 100ms == 50ms && time > 250ms) {
      ++served;
      script.served(served == 1 ? 1 : served + 1);
    }
  }
  CHECK(b_comes_up() == has_bound);
  if (has_bound) {
    // What was running when it had waited for long enough had yet to end; and that was all.
    CHECK(time > 60s);
    CHECK(time <= 60s + 300ms);
    CHECK(script.scheduler().model_load(script.id('a')).queued > 0);
    CHECK(script.up('b') == "G 2");
    CHECK(script.served(2).substr(0, 6) == "S a[b]");
  }
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: X04 smaller swaps do not take what a claim needs", "[swap][conformance]",
                        Ways) {
  const bool has_claims = GENERATE(true, false);
  Script<TestType> script({.models = "hlxy",
                           .evict = {"h:xyl", "l:xh"},
                           .ready = "xy",
                           .priority = {{'h', 100}},
                           .options = with_claim_priority(has_claims ? 100 : 1000)});
  CHECK(script.requests("xyhl") == "G 1 G 2");
  CHECK(script.queue() == "hl");
  if (has_claims) {
    CHECK(script.served(1) == "");
    CHECK(script.served(2) == "S h[x y]");
    CHECK(script.queue() == "l");
  } else {
    CHECK(script.served(1) == "S l[x]");
  }
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: X05 nor does who comes later", "[swap][conformance]", Ways) {
  const bool has_claims = GENERATE(true, false);
  Script<TestType> script({.models = "hlxy",
                           .evict = {"h:xyl", "l:xh"},
                           .ready = "xy",
                           .priority = {{'h', 100}},
                           .options = with_claim_priority(has_claims ? 100 : 1000)});
  CHECK(script.requests("yh") == "G 1");
  CHECK(script.request('l') == (has_claims ? "" : "S l[x]"));
  if (!has_claims) return;
  CHECK(script.request('x') == "");
  CHECK(script.queue() == "hlx");
  CHECK(script.served(1) == "S h[x y]");
  CHECK(script.up('h') == "G 2 S x");  // which evicts nobody
  CHECK(script.served(2) == "");       // as x is being brought up, and l would evict it
  CHECK(script.up('x') == "G 4");
  CHECK(script.served(4) == "S l[h x]");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: a claim lets join, and nobody after that", "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "abc", .evict = {"b:a"}, .options = with_max_wait(10s)});
  CHECK(script.requests("ab") == "S a");
  script.set_time(10s);
  CHECK(script.request('a') == "");     // joins: it is granted with who was there before it
  CHECK(script.request('c') == "S c");  // which is in nobody's way
  CHECK(script.queue() == "b");
  CHECK(script.up('a') == "G 1 G 3");
  CHECK(script.request('a') == "");
  CHECK(script.queue() == "ba");
  CHECK(script.served(1) == "");
  CHECK(script.served(3) == "S b[a]");
  CHECK(script.queue() == "a");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: a claim ends with who holds it", "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "hlxy",
                           .evict = {"h:xyl", "l:xh"},
                           .ready = "xy",
                           .priority = {{'h', 100}},
                           .options = with_claim_priority(100)});
  CHECK(script.requests("yhl") == "G 1");
  SECTION("cancelled") { CHECK(script.cancel(2) == "S l[x]"); }
  SECTION("unloaded") { CHECK(script.unload("h") == "E 2 unloaded stop[h] S l[x]"); }
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: what a claim needs gone is not brought up, even if it runs",
                        "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "hmx",
                           .evict = {"h:mx"},
                           .ready = "x",
                           .priority = {{'h', 100}},
                           .options = with_claim_priority(100)});
  CHECK(script.requests("xh") == "G 1");
  CHECK(script.state('m', ModelState::kStarting) == "");  // by itself
  CHECK(script.request('m') == "");
  CHECK(script.served(1) == "S h[m x]");
  CHECK(script.up('h') == "G 2 S m");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: a claim that ends in time lets others go before idle models are stopped",
                        "[swap][conformance]", Ways) {
  SwapSchedulerOptions options = with_claim_priority(100);
  options.models = {{.name = "i", .idle_unload = 10s}};
  Script<TestType> script(
      {.models = "hxy", .evict = {"h:xy", "y:i"}, .ready = "ix", .priority = {{'h', 100}}, .options = options});
  CHECK(script.request('x') == "G 1");
  CHECK(script.request('h', {.deadline = 10s}) == "");
  CHECK(script.request('y') == "");
  CHECK(script.at(10s) == "E 2 expired S y[i] wake never");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: of two claims the older one goes first", "[swap][conformance]", Ways) {
  // b and c need what the other one has.
  Script<TestType> script(
      {.models = "abc", .evict = {"a:bc", "b:ac", "c:ab"}, .ready = "a", .options = with_max_wait(5s)});
  CHECK(script.request('a') == "G 1");
  CHECK(script.request('b') == "");
  script.set_time(1s);
  CHECK(script.request('c', {.priority = 9}) == "");
  CHECK(script.queue() == "cb");
  script.set_time(6s);
  CHECK(script.request('a', {.priority = 20}) == "");
  CHECK(script.served(1) == "S b[a]");
  CHECK(script.up('b') == "G 2");
  CHECK(script.served(2) == "S c[b]");
  CHECK(script.up('c') == "G 3");
  CHECK(script.served(3) == "S a[c]");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: who is passed by for a claim goes when that is refused", "[swap][conformance]",
                        Ways) {
  SwapSchedulerOptions options = with_max_wait(5s);
  options.models = {{.name = "b", .start_time = 2s}};
  options.reject_late = true;
  Script<TestType> script(
      {.models = "ac", .evict = {"a:bc", "b:ac", "c:ab"}, .ready = "a", .options = std::move(options)});
  CHECK(script.request('a') == "G 1");
  CHECK(script.request('b', {.deadline = 9s}) == "wake 9000");
  script.set_time(1s);
  CHECK(script.request('c', {.priority = 9}) == "");
  CHECK(script.queue() == "cb");
  script.set_time(8s);  // both hold claims, and c, which is in front, waits for b: that is too late by now
  CHECK(script.served(1) == "E 2 too_late S c[a] wake never");
  CHECK(script.up('c') == "G 3");
}

SwapSchedulerOptions at_service(Duration max_wait) {
  SwapSchedulerOptions options = rules(LimitAt::kService, GENERATE(SwapConduct::kCured, SwapConduct::kPublished));
  options.max_wait = max_wait;
  return options;
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: who is passed by for a claim goes when that is granted", "[swap][conformance]",
                        Ways) {
  // b would evict c, c would not evict b.
  Script<TestType> script(
      {.models = "bc", .evict = {"b:c"}, .ready = "b", .limit = {{'b', 1}}, .options = at_service(5s)});
  CHECK(script.requests("bb") == "G 1");
  script.set_time(6s);
  CHECK(script.request('c', {.priority = 9}) == "");
  CHECK(script.queue() == "cb");
  CHECK(script.served(1) == "G 2 S c");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: a free place goes to an old claim behind who has none", "[swap][conformance]",
                        Ways) {
  Script<TestType> script(
      {.models = "ab", .evict = {"a:b", "b:a"}, .ready = "a", .limit = {{'a', 2}}, .options = at_service(5s)});
  CHECK(script.requests("aa") == "G 1 G 2");
  CHECK(script.request('a', {.priority = -1}) == "");
  script.set_time(1s);
  CHECK(script.request('b') == "");
  script.set_time(6s);
  CHECK(script.request('a') == "");
  CHECK(script.queue() == "baa");
  CHECK(script.served(1) == "G 3");
  CHECK(script.served(2) == "");
  CHECK(script.served(3) == "S b[a]");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: those of one model take turns by their claims", "[swap][conformance]", Ways) {
  const int limit = GENERATE(1, 2);
  Script<TestType> script({.models = "b", .ready = "b", .limit = {{'b', limit}}, .options = at_service(5s)});
  std::size_t number = 0;
  for (; number != static_cast<std::size_t>(limit); ++number) script.request('b');
  const std::size_t old = ++number;
  CHECK(script.request('b') == "");
  script.set_time(6s);
  CHECK(script.request('b', {.priority = 1}) == "");
  CHECK(script.position(old) == 2);
  CHECK(script.served(1) == "G " + std::to_string(old));
  CHECK(script.served(old) == "G " + std::to_string(old + 1));
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: of those of one model the oldest claim brings it up", "[swap][conformance]",
                        Ways) {
  SwapSchedulerOptions options = rules(GENERATE(LimitAt::kGrant, LimitAt::kService));
  options.max_wait = 5s;
  Script<TestType> script(
      {.models = "ab", .evict = {"a:b", "b:a"}, .ready = "a", .limit = {{'b', 1}}, .options = options});
  CHECK(script.requests("ab") == "G 1");
  script.set_time(6s);
  CHECK(script.request('b', {.priority = 1}) == "");
  CHECK(script.served(1) == "S b[a]");
  CHECK(script.up('b') == (options.limit_at == LimitAt::kService ? "G 2" : "G 2 E 3 concurrency_limit"));
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: those who hold claims join the swap of their model before others",
                        "[swap][conformance]", Ways) {
  SwapSchedulerOptions options = rules(GENERATE(LimitAt::kGrant, LimitAt::kService));
  options.max_wait = 5s;
  Script<TestType> script(
      {.models = "ab", .evict = {"a:b", "b:a"}, .ready = "a", .limit = {{'b', 2}}, .options = options});
  CHECK(script.request('a') == "G 1");
  CHECK(script.request('b', {.priority = 1}) == "");
  CHECK(script.request('b') == "");
  script.set_time(6s);
  CHECK(script.request('b', {.priority = 1}) == "");
  CHECK(script.served(1) == "S b[a]");
  CHECK(script.up('b') == (options.limit_at == LimitAt::kService ? "G 2 G 3" : "G 2 G 3 E 4 concurrency_limit"));
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: what may stay serves until it may not, and then for nobody's sake",
                        "[swap][conformance]", Ways) {
  SwapSchedulerOptions options = with_claim_priority(1);
  options.max_wait = 5s;
  options.batching.min_residency = 600s;
  Script<TestType> script({.models = "xy", .evict = {"y:x"}, .ready = "x", .options = options});
  script.set_time(1s);
  CHECK(script.request('y', {.priority = 1}) == "wake 6000");
  script.set_time(2s);
  CHECK(script.request('x') == "G 2");
  CHECK(script.at(6s) == "wake never");
  CHECK(script.request('x') == "");
  CHECK(script.served(2) == "S y[x]");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: a model that serves nobody for long enough is stopped", "[swap][conformance]",
                        Ways) {
  SwapSchedulerOptions options = any_rules();
  options.models = {{.name = "i", .idle_unload = 10s}, {.name = "j", .idle_unload = 10s}};
  Script<TestType> script({.models = "a", .evict = {"a:i"}, .options = options});
  CHECK(script.request('i') == "S i");
  script.set_time(5s);
  CHECK(script.up('i') == "G 1");
  script.set_time(20s);
  CHECK(script.served(1) == "wake 30000");
  CHECK(script.at(29s) == "");
  CHECK(script.request('i') == "G 2 wake never");
  script.set_time(40s);
  CHECK(script.served(2) == "wake 50000");
  CHECK(script.at(50s) == "stop[i] wake never");
  CHECK(script.stats().idle_unloads == 1);
  // Until it has stopped it is in the way, as ever; then it may come again.
  CHECK(script.request('i') == "");
  CHECK(script.stop() == std::nullopt);
  CHECK(script.state('i', ModelState::kStopped) == "");
  CHECK(script.stopped(StopId{1}) == "S i");
}

}  // namespace
}  // namespace penstock
