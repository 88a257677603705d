// SPDX-License-Identifier: MIT

// What a swap runner has its back end do: swaps, stops, and the end of all.

#include <algorithm>
#include <exception>

#include <fmt/format.h>

#include "penstock/core/detail/elapsed.hpp"
#include "swap_runner_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::uint8_t kMostStopsTried = 2;

std::uint64_t number(auto id) noexcept { return static_cast<std::uint64_t>(id); }

absl::Status thrown_status(const std::string& subject) {
  try {
    throw;
  } catch (const std::exception& thrown) {
    return absl::InternalError(fmt::format("{}: the back end threw: {}", subject, thrown.what()));
  } catch (...) {
    return absl::InternalError(fmt::format("{}: the back end threw", subject));
  }
}

}  // namespace

// --- a task ---

void SwapRunnerCore::perform(const StartSwap& start) noexcept {
  begin_task(swaps_, number(start.swap), start.target, start.evict, Duration::zero());
}

void SwapRunnerCore::perform(const StopModels& stop) noexcept {
  begin_task(stops_, number(stop.stop), kNoModel, stop.models, stop.timeout);
}

void SwapRunnerCore::begin_task(Tasks& tasks, std::uint64_t id, ModelId target, ModelList to_stop,
                                Duration stop_timeout) noexcept {
  std::shared_ptr<SwapTaskState> task;
  insist([&] {
    task = std::make_shared<SwapTaskState>(shared_from_this(),
                                           Context(clock_).with_timeout(options_.task_timeout).with_cancel());
    const std::span<const ModelId> models = actions_.models(to_stop);
    task->to_stop.assign(models.begin(), models.end());
    tasks[id] = task;
  });
  task->id = id;
  task->target = target;
  task->stop_timeout = stop_timeout;
  hand_over(task);
}

void SwapRunnerCore::perform(const CancelSwap& cancel) noexcept {
  const auto found = swaps_.find(number(cancel.swap));
  if (found == swaps_.end()) return;
  const std::shared_ptr<SwapTaskState> task = found->second;
  try {
    task->life.source.cancel(absl::CancelledError(
        fmt::format("{}: the swap is called off ({})", subject(cancel.target), penstock::to_string(cancel.reason))));
  } catch (const std::bad_alloc&) {  // no memory for the text: the bare cause will do
    task->life.source.cancel();
  }
}

void SwapRunnerCore::perform(const WakeAt& wake) noexcept { wake_at_ = wake.when; }

void SwapRunnerCore::hand_over(const std::shared_ptr<SwapTaskState>& task) noexcept {
  {
    const SpinLockGuard lock(books_lock_);
    task->next_task = first_task_;
    if (first_task_ != nullptr) first_task_->previous_task = task.get();
    first_task_ = task.get();
    ++counts_.tasks;
    ++counts_.tasks_begun;
  }
  handing_over_ = task.get();
  was_dropped_ = false;
  absl::Status thrown;
  try {
    backend_->begin(SwapTaskState::handle(task));
  } catch (...) {
    handing_over_ = nullptr;
    {
      const SpinLockGuard lock(books_lock_);
      ++counts_.exceptions;
    }
    insist([&] { thrown = thrown_status(subject(task->target)); });
  }
  handing_over_ = nullptr;
  if (!thrown.ok()) {
    task->settle(std::move(thrown), false);
  } else if (was_dropped_) {
    task->settle(absl::OkStatus(), true);
  }
}

void SwapRunnerCore::end_task(SwapTaskState& ended) noexcept {
  const bool is_swap = ended.target != kNoModel;
  Tasks& tasks = is_swap ? swaps_ : stops_;
  const auto found = tasks.find(ended.id);
  const std::shared_ptr<SwapTaskState> task = std::move(found->second);
  tasks.erase(found);
  if (task->was_dropped) {
    insist([&] {
      task->result =
          absl::InternalError(fmt::format("{}: the back end dropped the task without a word", subject(task->target)));
    });
  }
  const bool succeeded = task->result.ok();
  {
    const SpinLockGuard lock(books_lock_);
    (task->previous_task == nullptr ? first_task_ : task->previous_task->next_task) = task->next_task;
    if (task->next_task != nullptr) task->next_task->previous_task = task->previous_task;
    --counts_.tasks;
    ++(succeeded ? counts_.tasks_succeeded : counts_.tasks_failed);
    if (task->was_dropped) ++counts_.tasks_dropped;
    if (is_swap) {
      SwapModelBooks& books = model_books_[static_cast<std::size_t>(task->target)];
      ++(succeeded ? books.swaps_succeeded : books.swaps_failed);
    }
  }
  error_ = nullptr;
  if (!succeeded) {
    insist([&] { error_ = std::make_shared<const absl::Status>(std::move(task->result)); });
  }
  if (is_swap) {
    handle(SwapDoneEvent{.swap = SwapId{task->id}, .succeeded = succeeded});
  } else {
    handle(StoppedEvent{StopId{task->id}});
    const auto waiting = unloads_.find(task->id);
    if (waiting != unloads_.end()) {
      const std::shared_ptr<SwapUnloadState> unload = std::move(waiting->second);
      unloads_.erase(waiting);
      end_unload(*unload, error_);
    }
  }
  error_ = nullptr;
  if (is_closing_) stop_the_rest();
}

// --- unloads ---

void SwapRunnerCore::begin_unload(SwapUnloadState& asked) noexcept {
  const std::shared_ptr<SwapUnloadState> unload = std::move(asked.self);
  const std::uint64_t stop = decide(UnloadEvent{.models = unload->models, .timeout = unload->timeout}).value_or(0);
  if (stop != 0) insist([&] { unloads_[stop] = unload; });
  carry_out();
  if (stop == 0) end_unload(*unload, nullptr);
}

void SwapRunnerCore::end_unload(SwapUnloadState& unload, SwapVerdict result) noexcept {
  unload.result = std::move(result);
  unload.ended.happen();
}

// --- the end ---

void SwapRunnerCore::begin_shutdown() noexcept {
  if (is_closing_) return;
  is_closing_ = true;
  decide(ShutdownEvent{});
  const auto refused =
      static_cast<std::uint64_t>(std::count_if(actions_.begin(), actions_.end(), [](const SwapAction& action) {
        return std::holds_alternative<RejectTicket>(action);
      }));
  {
    const SpinLockGuard lock(books_lock_);
    closed_ = true;
    refused_at_end_ = refused;
  }
  carry_out();
  stop_the_rest();
}

void SwapRunnerCore::stop_the_rest() noexcept {
  std::vector<ModelId> left;
  insist([&] {
    left.clear();
    std::vector<bool> is_told(models_.size());
    for (const auto& [id, task] : stops_) {
      for (const ModelId model : task->to_stop) is_told[static_cast<std::size_t>(model)] = true;
    }
    // The target of a swap that is under way is stopped, too: that calls its start off.
    for (const auto& [id, task] : swaps_) {
      const auto target = static_cast<std::size_t>(task->target);
      if (stops_tried_[target] == 0 && !is_told[target]) left.push_back(task->target);
      is_told[target] = true;
    }
    const MutexLock lock(scheduler_mutex_);
    for (std::size_t at = 0; at != models_.size(); ++at) {
      const auto model = static_cast<ModelId>(at);
      if (is_told[at] || stops_tried_[at] == kMostStopsTried || !is_running(scheduler_.model_state(model))) continue;
      left.push_back(model);
    }
  });
  for (const ModelId model : left) ++stops_tried_[static_cast<std::size_t>(model)];
  if (!left.empty()) handle(UnloadEvent{.models = left, .timeout = Duration::zero()});
  if (swaps_.empty() && stops_.empty()) quiet_.happen();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
