// SPDX-License-Identifier: MIT
// Many jobs that are waited for together: one group takes all answers, another one stops at the first failure.
#include <cstdio>
#include <string>
#include <vector>

#include "penstock/exec/job_group.hpp"

using penstock::JobContext;
using penstock::JobGroup;
using penstock::WorkerPool;

using Answer = absl::StatusOr<std::string>;

// A back end that knows no model 3.
Answer ask(int model, const penstock::Context& ctx) {
  if (ctx.status() != penstock::OpStatus::kOk) return ctx.cause();  // called off
  if (model == 3) return absl::NotFoundError("no model 3");
  return "answer of model " + std::to_string(model);
}

int main() {
  auto created = WorkerPool::create({.name = "models", .workers = 2});
  if (!created.ok()) return 1;
  WorkerPool& pool = **created;

  JobGroup<Answer> group;
  const auto submit_all = [&] {
    for (int model = 1; model <= 5; ++model) {
      group.submit(pool, [model](const JobContext& job) { return ask(model, job.context); });
    }
  };

  // All answers, in the order of the submissions; a failure is one of them, and so would be a refusal.
  submit_all();
  const auto answers = group.wait_all();
  if (!answers.ok()) return 1;  // only if a context ends first
  for (const Answer& answer : *answers) {
    std::printf("%s\n", answer.ok() ? answer->c_str() : std::string(answer.status().message()).c_str());
  }

  // The first failure; what is left is cancelled.
  submit_all();
  const absl::Status error = group.first_error();
  std::printf("first error: %s\n", std::string(error.message()).c_str());

  // A continuation needs neither a group nor a thread that waits.
  auto job = pool.submit([] { return 20; });
  if (!job.ok()) return 1;
  auto next = std::move(*job).then(pool, [](absl::StatusOr<int> value) { return value.value_or(0) + 1; });
  return answers->size() == 5 && absl::IsNotFound(error) && next.get() == 21 ? 0 : 1;
}
