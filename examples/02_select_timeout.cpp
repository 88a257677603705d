// SPDX-License-Identifier: MIT
// One thread waits for whichever comes first: a result from either of two providers, or the end of its patience. A
// handler never runs twice, and what came too late stays in its channel.
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

#include "penstock/channel/select.hpp"

using namespace std::chrono_literals;
using penstock::Channel;
using penstock::Context;
using penstock::OpStatus;

int main() {
  Channel<std::string> fast(1);
  Channel<std::string> slow(1);
  const Context::Cancellable slow_may_go_on = Context::background().with_cancel();

  std::thread fast_provider([&] { static_cast<void>(fast.send("42")); });
  std::thread slow_provider([&] {
    Channel<int> never(0);
    static_cast<void>(never.receive(slow_may_go_on.context));  // hangs until it is called off
    static_cast<void>(slow.send("also 42"));
  });

  std::string answer;
  OpStatus end = OpStatus::kOk;
  const auto keep = [&](std::string text) { answer = std::move(text); };
  const auto ask = [&](Context patience) {
    answer.clear();
    select(on_receive(fast, keep), on_receive(slow, keep), on_done(patience, [&](OpStatus status) { end = status; }));
    std::printf("%s\n", answer.empty() ? std::string(to_string(end)).c_str() : answer.c_str());
  };

  ask(Context::background().with_timeout(5s));  // the fast one answers
  const bool first_ok = answer == "42";
  ask(Context::background().with_timeout(20ms));  // nobody does
  const bool second_ok = answer.empty() && end == OpStatus::kTimedOut;
  slow_may_go_on.source.cancel();
  ask(Context::background().with_timeout(5s));  // now the slow one does
  const bool third_ok = answer == "also 42";

  fast_provider.join();
  slow_provider.join();
  return first_ok && second_ok && third_ok ? 0 : 1;
}
