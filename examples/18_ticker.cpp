// SPDX-License-Identifier: MIT
// A server that works off its queue, reports at a steady beat, and leaves when no job has come for a while: one select
// over a channel of jobs, a ticker and a time-out. On a ManualClock the same code runs in no time, and always in the
// same way.
#include <chrono>
#include <cstdio>
#include <optional>

#include "penstock/channel/select.hpp"
#include "penstock/channel/ticker.hpp"
#include "penstock/core/manual_clock.hpp"

using namespace std::chrono_literals;
using namespace penstock;

int main() {
  ManualClock clock;  // a real server leaves it out, and gets the machine's
  const TimePoint start = clock.now();
  const auto seconds = [&](TimePoint now) { return std::chrono::duration<double>(now - start).count(); };

  Channel<int> jobs(10);
  Ticker beat(1s, clock);
  std::optional<After> idle(std::in_place, 2500ms, clock);
  int done = 0;
  int reports = 0;
  bool is_idle = false;

  const auto work = [&](int) { ++done; };
  const auto leave = [&](TimePoint) { is_idle = true; };
  const auto report = [&](TimePoint now) {
    std::printf("%4.1f s  %d jobs done\n", seconds(now), done);
    ++reports;
  };
  const auto go_on = [&] {  // instead of waiting: time passes, and in the first three seconds it brings jobs
    clock.advance(500ms);
    if (clock.now() <= start + 3s) static_cast<void>(jobs.try_send(1));
  };
  while (!is_idle) {
    const std::size_t taken = select(SelectOrder::kInOrder, on_receive(jobs, work), on_receive(idle->channel(), leave),
                                     on_receive(beat.channel(), report), otherwise(go_on));
    if (taken == 0) idle.emplace(2500ms, clock);  // from now on
  }
  std::printf("%4.1f s  idle, leaving\n", seconds(clock.now()));

  beat.stop();
  clock.advance(1h);
  return done == 6 && reports == 5 && beat.channel().size() == 0 ? 0 : 1;
}
