// SPDX-License-Identifier: MIT
// A pool for one slow back end: two workers and a queue of four. Whatever is submitted is refused at once or answered
// exactly once, with a value or with the reason why there is none.
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "penstock/channel/channel.hpp"
#include "penstock/exec/worker_pool.hpp"

using namespace std::chrono_literals;
using penstock::Context;
using penstock::Job;
using penstock::JobContext;

using Answer = absl::StatusOr<std::string>;

// Two channels on which nothing is ever sent: one is closed when the back end comes up, the other one never.
penstock::Channel<int> starting(0);
penstock::Channel<int> silence(0);

// A back end that fails on request 2, and hangs from request 5 on until the call is called off.
Answer call(int request, const Context& ctx) {
  (void)starting.receive(ctx);
  if (request == 2) throw std::runtime_error("connection reset");
  if (request >= 5 && !silence.receive(ctx)) return ctx.cause();
  return "answer " + std::to_string(request);
}

void print(int request, const absl::Status& status, const std::string& text) {
  std::printf("request %d: %s\n", request, status.ok() ? text.c_str() : std::string(status.message()).c_str());
}

int main() {
  auto created = penstock::WorkerPool::create(
      {.name = "openai", .workers = 2, .queue_capacity = 4, .overflow = penstock::OverflowPolicy::kReject});
  if (!created.ok()) return 1;
  penstock::WorkerPool& pool = **created;

  std::vector<Job<Answer>> jobs;
  for (int request = 1; request <= 7; ++request) {
    absl::StatusOr<Job<Answer>> job =
        pool.submit([request](const JobContext& running) { return call(request, running.context); });
    if (job.ok()) {
      jobs.push_back(*std::move(job));
    } else {
      print(request, job.status(), "");  // the queue is full
    }
  }

  jobs[3].cancel();  // the fourth waits in the queue: it never runs
  starting.close();
  for (int request = 1; request <= 4; ++request) {
    const Answer answer = jobs[static_cast<std::size_t>(request) - 1].get();
    print(request, answer.status(), answer.value_or(""));
  }

  // Lets what runs finish for a while, then calls off what hangs.
  const penstock::ShutdownReport report = pool.shutdown(Context::background().with_timeout(50ms));
  for (const auto& hanging : report.running)
    std::printf("job %llu hangs\n", static_cast<unsigned long long>(hanging.id));
  print(5, jobs[4].get().status(), "");

  const penstock::WorkerPoolStats stats = pool.stats();
  return stats.rejected == 1 && stats.accepted == 6 && stats.succeeded == 2 && stats.panicked == 1 ? 0 : 1;
}
