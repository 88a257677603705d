// SPDX-License-Identifier: MIT

// The published scenarios A01 to A12 and A20 to A23: what a request meets, and what a swap or a service that ends lets
// through.

#include <string>

#include "swap/swap_script.hpp"

namespace penstock {
namespace {

using testing::any_rules;
using testing::rules;
using testing::Script;
using testing::Ways;

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A01 a ready model serves at once", "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "a", .ready = "a", .options = any_rules()});
  CHECK(script.request('a') == "G 1");
  CHECK(script.in_flight('a') == 1);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A02 an unknown model is refused", "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "a", .options = any_rules()});
  CHECK(script.request('x') == "E 1 unknown_model");
  CHECK(script.state_of(1) == TicketState::kEnded);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A03 a stopped model is brought up, then it serves", "[swap][conformance]",
                        Ways) {
  Script<TestType> script({.models = "a", .options = any_rules()});
  CHECK(script.request('a') == "S a");
  CHECK(script.state_of(1) == TicketState::kJoined);
  CHECK(script.up('a') == "G 1");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A04 three requests share one swap", "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "a", .options = any_rules()});
  CHECK(script.requests("aaa") == "S a");
  CHECK(script.up('a') == "G 1 G 2 G 3");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A05 who waited for a swap that fails is told", "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "a", .options = any_rules()});
  CHECK(script.requests("aa") == "S a");
  CHECK(script.fail('a') == "E 1 swap_failed E 2 swap_failed");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A06 a model that serves is not evicted", "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "ab", .evict = {"b:a"}, .options = any_rules()});
  CHECK(script.request('a') == "S a");
  CHECK(script.request('b') == "");
  CHECK(script.up('a') == "G 1");
  CHECK(script.served(1) == "S b[a]");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A07 who is in nobody's way comes up at once", "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "ab", .options = any_rules()});
  CHECK(script.request('a') == "S a");
  CHECK(script.request('b') == "S b");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A08 two swaps do not share a victim", "[swap][conformance]", Ways) {
  const SwapSchedulerOptions options = any_rules();
  Script<TestType> script({.models = "abx", .evict = {"a:x", "b:x"}, .ready = "x", .options = options});
  CHECK(script.request('a') == "S a[x]");
  CHECK(script.request('b') == "");
  // As published, x is in the way until a is up; cured, until it has stopped.
  CHECK(script.up('a') == (options.conduct == SwapConduct::kCured ? "S b G 1" : "G 1 S b"));
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A09 all that a swap held back comes after it", "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "abc", .evict = {"a:bc"}, .ready = "bc", .options = any_rules()});
  CHECK(script.request('a') == "S a[b c]");
  CHECK(script.request('b') == "");
  CHECK(script.request('c') == "");
  CHECK(script.up('a') == "G 1 S b S c");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A10 requests for a model are served together", "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "abc", .evict = {"a:bc", "b:ac", "c:ab"}, .options = any_rules()});
  CHECK(script.requests("abcabc") == "S a");
  CHECK(script.up('a') == "G 1 G 4");
  CHECK(script.served(1) == "");
  CHECK(script.served(4) == "S b[a]");
  CHECK(script.up('b') == "G 2 G 5");
  CHECK(script.served(2) == "");
  CHECK(script.served(5) == "S c[b]");
  CHECK(script.up('c') == "G 3 G 6");
  CHECK(script.stats().swaps_started == 3);
  CHECK(script.stats().granted == 6);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A11 the last service that ends lets go", "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "ab", .evict = {"b:a"}, .ready = "a", .options = any_rules()});
  CHECK(script.requests("aab") == "G 1 G 2");
  CHECK(script.served(1) == "");
  CHECK(script.served(2) == "S b[a]");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A12 a grant that nobody takes does not count", "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "ab", .evict = {"b:a"}, .options = any_rules()});
  CHECK(script.requests("ab") == "S a");
  CHECK(script.up('a') == "G 1");
  CHECK(script.refuse(1) == "S b[a]");
  CHECK(script.in_flight('a') == 0);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A20 one too many is refused, until one has ended", "[swap][conformance]",
                        Ways) {
  const LimitAt limit_at = GENERATE(LimitAt::kArrival, LimitAt::kGrant);
  Script<TestType> script({.models = "a", .ready = "a", .limit = {{'a', 1}}, .options = rules(limit_at)});
  CHECK(script.request('a') == "G 1");
  CHECK(script.request('a') == "E 2 concurrency_limit");
  CHECK(script.served(1) == "");
  CHECK(script.request('a') == "G 3");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A21 ten are let in where no limit is set", "[swap][conformance]", Ways) {
  const LimitAt limit_at = GENERATE(LimitAt::kArrival, LimitAt::kGrant);
  Script<TestType> script({.models = "a", .ready = "a", .options = rules(limit_at)});
  CHECK(script.requests("aaaaaaaaaa") == "G 1 G 2 G 3 G 4 G 5 G 6 G 7 G 8 G 9 G 10");
  CHECK(script.request('a') == "E 11 concurrency_limit");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A22 the limit is the model's own", "[swap][conformance]", Ways) {
  const LimitAt limit_at = GENERATE(LimitAt::kArrival, LimitAt::kGrant);
  Script<TestType> script({.models = "a", .ready = "a", .limit = {{'a', 2}}, .options = rules(limit_at)});
  CHECK(script.requests("aaa") == "G 1 G 2 E 3 concurrency_limit");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A23 the limit of a model that comes up", "[swap][conformance]", Ways) {
  SECTION("at the grant: any number waits, and who is one too many is refused then") {
    Script<TestType> script({.models = "a", .limit = {{'a', 2}}, .options = rules(LimitAt::kGrant)});
    CHECK(script.requests("aaa") == "S a");
    CHECK(script.up('a') == "G 1 G 2 E 3 concurrency_limit");
  }
  SECTION("at arrival: who is one too many is refused at once") {
    Script<TestType> script({.models = "a", .limit = {{'a', 2}}, .options = rules(LimitAt::kArrival)});
    CHECK(script.requests("aaa") == "S a E 3 concurrency_limit");
    CHECK(script.up('a') == "G 1 G 2");
  }
  SECTION("at the service: who is one too many waits for its turn") {
    Script<TestType> script({.models = "a", .limit = {{'a', 2}}, .options = rules(LimitAt::kService)});
    CHECK(script.requests("aaaa") == "S a");
    CHECK(script.up('a') == "G 1 G 2");
    CHECK(script.queue() == "aa");
    CHECK(script.position(3) == 1);
    CHECK(script.served(2) == "G 3");
    CHECK(script.refuse(3) == "G 4");
    CHECK(script.served(1) == "");
  }
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A28 a limit counts those in the queue", "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "ab", .evict = {"a:b"}, .limit = {{'a', 2}}, .options = rules(LimitAt::kArrival)});
  CHECK(script.request('b') == "S b");
  CHECK(script.requests("aaa") == "E 4 concurrency_limit");
  CHECK(script.up('b') == "G 1");
  CHECK(script.served(1) == "S a[b]");
  CHECK(script.up('a') == "G 2 G 3");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A29 who leaves the queue makes room", "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "ab", .evict = {"a:b"}, .limit = {{'a', 1}}, .options = rules(LimitAt::kArrival)});
  CHECK(script.request('b') == "S b");
  CHECK(script.requests("aa") == "E 3 concurrency_limit");
  CHECK(script.cancel(2) == "");
  CHECK(script.request('a') == "");
  CHECK(script.queue() == "a");
}

}  // namespace
}  // namespace penstock
