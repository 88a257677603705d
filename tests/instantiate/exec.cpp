// SPDX-License-Identifier: MIT

// Every template of the room, once for each kind of argument.

#include <functional>
#include <memory>
#include <string>

#include "penstock/core/task.hpp"
#include "penstock/exec/elastic_pool.hpp"
#include "penstock/exec/job.hpp"
#include "penstock/exec/job_group.hpp"
#include "penstock/exec/overflow.hpp"
#include "penstock/exec/pool_retry.hpp"
#include "penstock/exec/resource_pool.hpp"
#include "penstock/exec/slot_evictor.hpp"
#include "penstock/exec/slot_queue.hpp"
#include "penstock/exec/slot_queue_map.hpp"
#include "penstock/exec/worker_pool.hpp"

namespace penstock {

template class Job<void>;
template class Job<int>;
template class Job<std::string>;
template class Job<std::unique_ptr<int>>;
template class Job<absl::Status>;
template class Job<absl::StatusOr<int>>;
template class Job<absl::StatusOr<std::unique_ptr<int>>>;

template class JobGroup<void>;
template class JobGroup<std::unique_ptr<int>>;
template class JobGroup<absl::Status>;
template class JobGroup<absl::StatusOr<std::unique_ptr<int>>>;

template class ResourcePool<int>;
template class ResourcePool<std::string>;
template class ResourcePool<std::unique_ptr<int>>;
template class Lease<int>;
template class Lease<std::unique_ptr<int>>;

template class SlotQueue<int>;
template class SlotQueue<std::string>;
template class SlotQueue<std::unique_ptr<int>>;
template class SlotLease<std::unique_ptr<int>>;
template class LaunchTicket<std::unique_ptr<int>>;
template class SlotQueueMap<std::string, std::unique_ptr<int>>;
template class SlotQueueMap<int, std::string>;
template std::vector<std::unique_ptr<int>> evict_longest_idle(std::span<SlotQueue<std::unique_ptr<int>>* const>,
                                                              std::size_t);

namespace {

struct MovableOnly {
  std::unique_ptr<int> operator()(const JobContext& /*job*/) && { return std::move(owned); }
  std::unique_ptr<int> owned;
};

absl::Status plain_function() { return absl::OkStatus(); }

[[maybe_unused]] Task<int> instantiate(ElasticPool& pool) {
  Job<std::unique_ptr<int>> moved = pool.submit(MovableOnly{}).value();
  Job<absl::Status> pointer = pool.submit(&plain_function).value();
  Job<int> wrapped = pool.submit(std::function<int(const JobContext&)>()).value();
  static_cast<void>(pool.execute(plain_function));
  static_cast<void>(pool.execute([owned = std::make_unique<int>(1)] { return *owned; }));
  static_cast<void>(pool.execute(absl::AnyInvocable<absl::StatusOr<int>() &&>()));
  co_await pool.schedule();
  co_return *(co_await moved).value() + wrapped.get().value() + (pointer.get().ok() ? 1 : 0);
}

[[maybe_unused]] Task<int> instantiate(WorkerPool& pool) {
  Job<std::unique_ptr<int>> moved = pool.submit(MovableOnly{}).value();
  Job<absl::Status> pointer = pool.submit(&plain_function).value();
  Job<absl::Status> function = pool.submit(plain_function).value();
  Job<int> wrapped = pool.submit(std::function<int(const JobContext&)>()).value();
  Job<absl::StatusOr<int>> once = pool.submit(absl::AnyInvocable<absl::StatusOr<int>() &&>()).value();
  const auto constant = [](const auto& /*anything*/) { return 1; };
  Job<int> generic = pool.submit(constant).value();
  static_cast<void>(pool.try_submit(MovableOnly{}));
  static_cast<void>(pool.try_submit(constant, &generic, {.tag = "t"}));
  co_await pool.schedule();
  co_return (co_await generic).value() + *(co_await moved.async_get(Context::background())).value() +
      wrapped.get().value() + once.get().value() + (pointer.get().ok() && function.get().ok() ? 1 : 0);
}

[[maybe_unused]] Task<int> instantiate(WorkerPool& pool, Retrier& retrier) {
  const SubmitOptions options;
  auto moved = co_await pool.async_submit(MovableOnly{});
  auto function = co_await pool.async_submit(plain_function);
  auto wrapped = co_await pool.async_submit(std::function<int(const JobContext&)>(), options);
  auto once = co_await pool.async_submit(absl::AnyInvocable<absl::StatusOr<int>() &&>());
  const auto status = [](const RetryAttempt& /*attempt*/) { return absl::OkStatus(); };
  const auto value = [](const RetryAttempt& /*attempt*/) -> absl::StatusOr<std::unique_ptr<int>> {
    return std::make_unique<int>(1);
  };
  const absl::Status made = co_await async_retry_on(pool, retrier, status);
  const auto kept = co_await async_retry_on(pool, retrier, value, options);
  co_return *moved->get().value() + wrapped->get().value() + once->get().value() + (function->get().ok() ? 1 : 0) +
      (made.ok() ? **kept : 0);
}

/// Neither copied nor moved.
struct Fixed {
  explicit Fixed(int number) noexcept : value(number) {}
  Fixed(const Fixed&) = delete;
  Fixed& operator=(const Fixed&) = delete;
  const int value;
};

[[maybe_unused]] Task<int> instantiate(ResourcePool<Fixed>& fixed, ResourcePool<std::unique_ptr<int>>& moved) {
  const AcquireOptions<Fixed> options{.filter = [](std::string_view, const Fixed& each) { return each.value > 0; }};
  if (!fixed.add("a", 1).ok() || !moved.add("a", std::make_unique<int>(1)).ok()) co_return 0;
  Lease<Fixed> one = fixed.acquire(options).value();
  Lease<Fixed> two = (co_await fixed.async_acquire(options, Context::background())).value();
  absl::StatusOr<Lease<std::unique_ptr<int>>> three = co_await moved.async_acquire();
  co_return one->value + two->value + ***three + **moved.try_acquire().value();
}

}  // namespace
}  // namespace penstock
