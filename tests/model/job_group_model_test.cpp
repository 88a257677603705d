// SPDX-License-Identifier: MIT

// Groups of jobs under every schedule: the first error is told once it is there, nobody waits for ever, and a group may
// go while its jobs are being answered.

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "penstock/core/task.hpp"
#include "penstock/exec/job_group.hpp"

#include "model/pool_scenario.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using penstock::checker::must_pass_with_pool;
namespace world = penstock::detail::world;

namespace {

std::unique_ptr<WorkerPool> make_pool() {
  return checker::make_endless_pool({.workers = 1, .queue_capacity = 2, .overflow = OverflowPolicy::kReject});
}

}  // namespace

TEST_CASE("JobGroup: the first error against the answers", "[model][job_group]") {
  must_pass_with_pool({.name = "group, first error against answers"}, [] {
    const auto pool = make_pool();
    JobGroup<absl::Status> group;
    group.submit(*pool, [] { return absl::NotFoundError(""); });
    group.submit(*pool, [] { return absl::OkStatus(); });
    MODEL_ASSERT(absl::IsNotFound(group.first_error()));
    const auto answers = group.wait_all();
    MODEL_ASSERT(answers.ok() && answers->size() == 2);
    MODEL_ASSERT(absl::IsNotFound((*answers)[0]));
    MODEL_ASSERT((*answers)[1].ok() || absl::IsCancelled((*answers)[1]));
  });
}

TEST_CASE("JobGroup: the first error, answers and the caller's cancellation", "[model][job_group]") {
  must_pass_with_pool({.name = "group, first error, answers, cancellation"}, [] {
    const Context::Cancellable caller = Context::background().with_cancel();
    const auto pool = make_pool();
    JobGroup<absl::Status> group;
    group.submit(*pool, [] { return absl::NotFoundError(""); });
    world::Thread canceller([&] { caller.source.cancel(); });
    const absl::Status error = group.first_error(caller.context);
    canceller.join();
    MODEL_ASSERT(absl::IsNotFound(error) || absl::IsCancelled(error));
    MODEL_ASSERT(absl::IsNotFound(group.first_error()));
  });
}

TEST_CASE("JobGroup: it goes while its job is answered", "[model][job_group]") {
  must_pass_with_pool({.name = "group, end against answer"}, [] {
    const auto pool = make_pool();
    int ran = 0;
    {
      JobGroup<int> group;
      group.submit(*pool, [&] { return ++ran; });
    }
    pool->shutdown(Context::background());
    MODEL_ASSERT(ran <= 1);
    const WorkerPoolStats s = pool->stats();
    MODEL_ASSERT(s.succeeded + s.cancelled == 1);
  });
}

TEST_CASE("JobGroup: all answers against a cancellation of one job and the end of the pool", "[model][job_group]") {
  must_pass_with_pool({.name = "group, all against a closer"}, [] {
    auto pool = make_pool();
    JobGroup<int> group;
    group.submit(*pool, [] { return 1; });
    world::Thread closer([&] { pool.reset(); });
    const auto answers = group.wait_all();
    MODEL_ASSERT(answers.ok() && answers->size() == 1);
    MODEL_ASSERT((*answers)[0].value() == 1);
    closer.join();
  });
}

TEST_CASE("JobGroup: a coroutine waits for the first error against the answers", "[model][job_group]") {
  must_pass_with_pool({.name = "group, awaited first error against answers"}, [] {
    const auto pool = make_pool();
    JobGroup<absl::Status> group;
    group.submit(*pool, [] { return absl::NotFoundError(""); });
    group.submit(*pool, [] { return absl::OkStatus(); });
    MODEL_ASSERT(absl::IsNotFound(sync_wait(group.async_first_error())));
    const auto answers = group.wait_all();
    MODEL_ASSERT(answers.ok() && answers->size() == 2);
    MODEL_ASSERT((*answers)[1].ok() || absl::IsCancelled((*answers)[1]));
  });
}
