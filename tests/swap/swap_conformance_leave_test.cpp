// SPDX-License-Identifier: MIT

// The published scenarios A13 to A19 and A24 to A27: shutdown, unload, the order of the queue, and who goes away.

#include <chrono>
#include <string>

#include "swap/swap_script.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::any_rules;
using testing::Script;
using testing::Ways;

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A13 a shutdown answers everybody who waits, once", "[swap][conformance]",
                        Ways) {
  Script<TestType> script({.models = "abc", .evict = {"c:ab"}, .options = any_rules()});
  CHECK(script.requests("aabbc") == "S a S b");
  CHECK(script.shutdown() == "E 1 shutdown E 2 shutdown E 3 shutdown E 4 shutdown E 5 shutdown");
  CHECK(script.scheduler().is_shut_down());
  CHECK(script.shutdown() == "");
  CHECK(script.request('a') == "E 6 shutdown");
  CHECK(script.up('a') == "");
  CHECK(script.answer());
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A14 an unload refuses who waits for the swap, and stops once",
                        "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "a", .options = any_rules()});
  CHECK(script.requests("aa") == "S a");
  CHECK(script.unload("a", 1s) == "E 1 unloaded E 2 unloaded C a stop[a]");
  REQUIRE(script.stop());
  CHECK(script.stopped("a") == "");
  CHECK(script.answer());
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A15 an unload refuses who is queued, and nobody else", "[swap][conformance]",
                        Ways) {
  Script<TestType> script({.models = "ab", .evict = {"b:a"}, .options = any_rules()});
  CHECK(script.requests("ab") == "S a");
  CHECK(script.unload("b") == "E 2 unloaded stop[b]");
  CHECK(script.state_of(1) == TicketState::kJoined);
  CHECK(script.stopped("b") == "");
  CHECK(script.up('a') == "G 1");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A16 the queue is in the order of priorities, then of arrival",
                        "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "ABCDz",
                           .evict = {"z:ABCD"},
                           .ready = "ABCD",
                           .priority = {{'A', 10}, {'B', 5}, {'C', 5}, {'D', 1}},
                           .options = any_rules()});
  CHECK(script.request('z') == "S z[A B C D]");
  CHECK(script.requests("BDCA") == "");
  CHECK(script.queue() == "ABCD");
  CHECK(script.position(5) == 1);
  CHECK(script.position(2) == 2);
  CHECK(script.position(4) == 3);
  CHECK(script.position(3) == 4);
  CHECK(script.position(1) == 0);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: a request's priority is added to its model's", "[swap][conformance]", Ways) {
  Script<TestType> script(
      {.models = "abz", .evict = {"z:ab"}, .ready = "ab", .priority = {{'a', -3}, {'b', 2}}, .options = any_rules()});
  CHECK(script.request('z') == "S z[a b]");
  CHECK(script.request('a') == "");
  CHECK(script.request('b') == "");
  CHECK(script.request('a', {.priority = 6}) == "");
  CHECK(script.request('b', {.priority = -6}) == "");
  CHECK(script.queue() == "abab");
  CHECK(script.position(4) == 1);
  CHECK(script.position(5) == 4);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A17 nothing is brought up for who has left the queue", "[swap][conformance]",
                        Ways) {
  Script<TestType> script({.models = "ab", .evict = {"b:a"}, .options = any_rules()});
  CHECK(script.requests("ab") == "S a");
  CHECK(script.cancel(2) == "");
  CHECK(script.answer());
  CHECK(script.queue() == "");
  CHECK(script.up('a') == "G 1");
  CHECK(script.served(1) == "");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A18 who has left a swap is not granted", "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "a", .options = any_rules()});
  CHECK(script.requests("aa") == "S a");
  CHECK(script.cancel(1) == "");
  CHECK(script.scheduler().model_load(script.id('a')).joined == 1);
  CHECK(script.up('a') == "G 2");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A19 who is granted cannot be cancelled", "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "a", .ready = "a", .options = any_rules()});
  CHECK(script.request('a') == "G 1");
  CHECK(script.cancel(1) == "");
  CHECK_FALSE(script.answer());
  CHECK(script.in_flight('a') == 1);
  CHECK(script.served(1) == "");
  CHECK(script.answer());
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A24 who comes too late takes nobody's place", "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "a", .ready = "a", .limit = {{'a', 1}}, .options = any_rules()});
  script.set_time(5ms);
  CHECK(script.request('a', {.deadline = 5ms}) == "E 1 expired");
  CHECK(script.request('a') == "G 2");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A25 a request without a deadline never comes too late", "[swap][conformance]",
                        Ways) {
  Script<TestType> script({.models = "a", .options = any_rules()});
  script.set_time(std::chrono::hours(24 * 365 * 200));
  CHECK(script.request('a') == "S a");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A26 the end of what was never let in is counted, and changes nothing",
                        "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "a", .ready = "a", .limit = {{'a', 1}}, .options = any_rules()});
  CHECK(script.request('a') == "G 1");
  CHECK(script.served(1) == "");
  CHECK(script.served(1) == "");
  CHECK_FALSE(script.answer());
  CHECK(script.refuse(1) == "");
  CHECK_FALSE(script.answer());
  CHECK(script.in_flight('a') == 0);
  CHECK(script.stats().ignored == 2);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A27 a priority is no hindrance where nobody waits", "[swap][conformance]",
                        Ways) {
  Script<TestType> script({.models = "a", .ready = "a", .priority = {{'a', 7}}, .options = any_rules()});
  CHECK(script.request('a') == "G 1");
  CHECK(script.scheduler().models()[script.id('a')].priority == 7);
}

}  // namespace
}  // namespace penstock
