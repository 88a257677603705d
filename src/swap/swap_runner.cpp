// SPDX-License-Identifier: MIT
#include "penstock/swap/swap_runner.hpp"

#include <numeric>
#include <vector>

#include <fmt/format.h>

#include "penstock/core/failure_stage.hpp"
#include "swap_runner_core.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

std::vector<ModelId> all_of(const ModelTable& models) {
  std::vector<ModelId> all(models.size());
  for (std::size_t at = 0; at != all.size(); ++at) all[at] = static_cast<ModelId>(at);
  return all;
}

absl::Status wait_for(detail::SwapRunnerCore& core, std::vector<ModelId> models, Duration timeout, const Context& ctx) {
  if (core.is_inside()) return core.inside_error("unload");
  const auto unload = core.unload(std::move(models), timeout);
  if (!unload.ok()) return unload.status();
  return detail::result_of(**unload, (*unload)->ended.wait(ctx));
}

}  // namespace

absl::Status detail::unshared(const absl::Status& status) {
  absl::Status copy(status.code(), status.message());
  status.ForEachPayload([&](auto type, const auto& payload) { copy.SetPayload(type, payload); });
  return copy;
}

absl::Status detail::result_of(const SwapUnloadState& unload, Waiter::Outcome outcome) {
  if (outcome >= Waiter::kServed) return unload.result == nullptr ? absl::OkStatus() : unshared(*unload.result);
  return with_failure_stage(to_status(to_op_status(outcome), unload.subject + ": waiting for models to stop"), "swap");
}

SwapRunner::SwapRunner(SwapRunnerOptions options)
    : core_(std::make_shared<detail::SwapRunnerCore>(std::move(options))) {
  core_->start();
}

SwapRunner::~SwapRunner() {
  if (core_->is_forked()) {
    static_cast<void>(new std::shared_ptr<detail::SwapRunnerCore>(std::move(core_)));  // its locks are the parent's
    return;
  }
  core_->destroy();
}

absl::StatusOr<SwapLease> SwapRunner::acquire(ModelChoice model, const SwapRequestOptions& options,
                                              const Context& ctx) {
  if (core_->is_inside()) return core_->inside_error("acquire");
  auto state = core_->submit(model, options, &ctx);
  if (!state.ok()) return state.status();
  return detail::SwapTicketState::wait_and_take(*std::move(state), ctx);
}

SwapAcquireAwaiter SwapRunner::async_acquire(ModelChoice model, const SwapRequestOptions& options, Context ctx) {
  auto state = core_->submit(model, options, &ctx);
  if (!state.ok()) return SwapAcquireAwaiter(state.status(), nullptr, std::move(ctx));
  return SwapAcquireAwaiter(detail::SwapTicketState::handle(*state), *state, std::move(ctx));
}

SwapAcquireAwaiter SwapRunner::async_acquire(ModelChoice model, Context ctx) {
  return async_acquire(model, SwapRequestOptions{}, std::move(ctx));
}

absl::StatusOr<SwapTicket> SwapRunner::submit(ModelChoice model, const SwapRequestOptions& options) {
  auto state = core_->submit(model, options, nullptr);
  if (!state.ok()) return state.status();
  return detail::SwapTicketState::handle(*std::move(state));
}

absl::Status SwapRunner::unload(std::span<const ModelId> models, Duration timeout, const Context& ctx) {
  return wait_for(*core_, std::vector(models.begin(), models.end()), timeout, ctx);
}

absl::Status SwapRunner::unload(ModelChoice model, Duration timeout, const Context& ctx) {
  const ModelId id = model.in(core_->models());
  if (id == kNoModel) {
    return with_failure_stage(
        absl::NotFoundError(fmt::format("swap runner '{}': there is no model {}", name(), model.text())), "swap");
  }
  return wait_for(*core_, {id}, timeout, ctx);
}

absl::Status SwapRunner::unload_all(Duration timeout, const Context& ctx) {
  return wait_for(*core_, all_of(core_->models()), timeout, ctx);
}

SwapUnloadAwaiter SwapRunner::async_unload(std::span<const ModelId> models, Duration timeout, Context ctx) {
  return SwapUnloadAwaiter(core_->unload(std::vector(models.begin(), models.end()), timeout), std::move(ctx));
}

absl::Status SwapUnloadAwaiter::await_resume() {
  if (!unload_.ok()) return unload_.status();
  return detail::result_of(**unload_, wait_.finish());
}

SwapShutdownReport SwapRunner::shutdown(const Context& ctx) { return core_->shutdown(ctx); }

const std::string& SwapRunner::name() const noexcept { return core_->name(); }
const ModelTable& SwapRunner::models() const noexcept { return core_->models(); }
Clock& SwapRunner::clock() const noexcept { return core_->clock(); }
bool SwapRunner::is_closed() const noexcept { return core_->is_closed(); }
bool SwapRunner::is_idle() const noexcept { return core_->is_idle(); }
ModelState SwapRunner::model_state(ModelChoice model) const noexcept {
  return core_->model_state(model.in(core_->models()));
}
SwapRunnerStats SwapRunner::stats() const { return core_->stats(); }
SwapModelStats SwapRunner::model_stats(ModelChoice model) const {
  return core_->model_stats(model.in(core_->models()));
}
void SwapRunner::collect(MetricSink& sink) const { core_->collect(sink); }

}  // namespace penstock::inline PENSTOCK_ABI
