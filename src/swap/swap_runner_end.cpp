// SPDX-License-Identifier: MIT

// How a swap runner begins and ends.

#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/check.hpp"
#include "penstock/core/detail/elapsed.hpp"
#include "swap_runner_look.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void SwapRunnerCore::start() {
  if (!clock_.is_machine_time()) clock_.start_timers();
  try {
    backend_->attach(models_, [core = weak_from_this()](ModelId model, ModelState state) {
      if (const std::shared_ptr<SwapRunnerCore> runner = core.lock()) runner->report_state(model, state);
    });
    thread_ = world::Thread([this] { run(); });
  } catch (...) {
    mailbox_.close();
    backend_ = nullptr;
    throw;
  }
}

bool SwapRunnerCore::is_closed() const noexcept {
  if (is_forked()) return true;
  const SpinLockGuard lock(books_lock_);
  return closed_;
}

SwapShutdownReport SwapRunnerCore::shutdown(const Context& ctx) {
  SwapShutdownReport report;
  if (is_forked()) return report;
  const TimePoint start = clock_.now();
  mailbox_.post(shutdown_mail_, 1);
  if (is_inside()) {
    report.in_time = quiet_.has_happened();
  } else {
    report.in_time = quiet_.wait(ctx) == Waiter::kServed;
  }
  report.took = elapsed(start, clock_.now());
  {
    const SpinLockGuard lock(books_lock_);
    report.refused = refused_at_end_;
    report.tasks = counts_.tasks;
  }
  const Look look(*this);
  if (look.scheduler == nullptr) return report;
  report.leases = look.scheduler->stats().in_flight;
  for (std::size_t at = 0; at != models_.size(); ++at) {
    const auto model = static_cast<ModelId>(at);
    if (is_running(look.scheduler->model_state(model))) report.running.push_back(model);
  }
  return report;
}

void SwapRunnerCore::destroy() noexcept {
  PENSTOCK_CHECK(!is_inside(), "a swap runner is not destroyed on its own thread");
  mailbox_.post(shutdown_mail_, 1);
  try {
    static_cast<void>(quiet_.wait(Context(clock_).with_timeout(options_.shutdown_timeout)));
  } catch (...) {  // there is no way to wait for so long: as if the time were up
  }
  mailbox_.close();
  thread_.join();
  // From here on nothing comes any more, and the thread's things are this one's.
  for (auto* const tasks : {&swaps_, &stops_}) {
    for (const auto& [id, task] : *tasks) task->life.source.cancel();
    const SpinLockGuard lock(books_lock_);
    first_task_ = nullptr;
  }
  swaps_.clear();
  stops_.clear();
  for (const auto& [id, unload] : unloads_) {
    SwapVerdict result;
    insist([&] {
      result = std::make_shared<const absl::Status>(
          absl::UnavailableError(fmt::format("{}: destroyed before its models had stopped", subject())));
    });
    end_unload(*unload, std::move(result));
  }
  unloads_.clear();
  while (strays_ != nullptr) drop_stray(*strays_);
  tickets_.clear();
  backend_ = nullptr;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
