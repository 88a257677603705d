// SPDX-License-Identifier: MIT
//
// Threads with names, a limit and an end that somebody waits for: a poller that waits, a call into a library that knows
// no deadline and hangs, and a manager that says which thread it is, and who is left at shutdown.
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <string>

#include "penstock/channel/channel.hpp"
#include "penstock/exec/thread_manager.hpp"

using namespace std::chrono_literals;
using penstock::Context;
using penstock::ThreadInfo;
using penstock::ThreadManager;

namespace {

// A library of somebody else's, whose call returns when it likes.
class LegacyClient {
 public:
  void call() {
    std::unique_lock lock(mutex_);
    answered_.wait(lock, [this] { return answer_; });
  }
  void answer() {
    const std::lock_guard lock(mutex_);
    answer_ = true;
    answered_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable answered_;
  bool answer_ = false;
};

void print(const char* what, const ThreadInfo& thread) {
  std::printf("%s: %s-%d, %s\n", what, thread.name.c_str(), static_cast<int>(thread.id),
              std::string(to_string(thread.state)).c_str());
}

}  // namespace

int main() {
  penstock::Channel<int> requests(8);
  penstock::Channel<bool> alarm(1);
  LegacyClient legacy;

  penstock::ThreadManagerOptions options;
  options.name = "gateway";
  options.max_threads = 2;
  options.stuck_after.blocking = 50ms;
  options.health_interval = 10ms;
  options.on_stuck = [&](const ThreadInfo& thread) {
    print("stuck", thread);
    static_cast<void>(alarm.try_send(true));
  };
  auto created = ThreadManager::create(options);
  if (!created.ok()) return 1;
  ThreadManager& threads = **created;

  int handled = 0;  // of the poller, which has ended when we read it
  const auto poller = threads.spawn("poller", [&](const Context& ctx) {
    while (!ctx.is_done()) {
      if (requests.receive(ctx)) ++handled;  // while it sleeps in there it counts as waiting, not as running
    }
  });
  const auto caller = threads.spawn("legacy", [&] {
    ThreadManager::Blocking blocking;
    legacy.call();
  });
  if (!poller.ok() || !caller.ok()) return 1;

  const auto third = threads.spawn("third", [] {});
  std::printf("%s\n", third.status().ToString().c_str());

  for (int i = 0; i < 3; ++i) static_cast<void>(requests.send(i));
  alarm.receive();

  const penstock::ThreadShutdownReport report = threads.shutdown(Context::background().with_timeout(20ms));
  for (const ThreadInfo& left : report.left) print("left at shutdown", left);

  legacy.answer();
  const bool complete = threads.shutdown(Context::background()).is_complete();
  std::printf("all ended: %s; the poller handled %d requests\n", complete ? "yes" : "no", handled);
  return complete && report.left.size() == 1 && !third.ok() ? 0 : 1;
}
