// SPDX-License-Identifier: MIT
#include "penstock/swap/swap_backend.hpp"

#include <utility>

#include "swap_runner_core.hpp"

namespace penstock::inline PENSTOCK_ABI {

bool detail::SwapTaskState::settle(absl::Status how, bool drops) noexcept {
  if (settled.exchange(true, std::memory_order_relaxed)) return false;
  result = std::move(how);
  was_dropped = drops;
  core->mailbox().post(*this, 1);
  return true;
}

SwapTask::SwapTask(std::shared_ptr<detail::SwapTaskState> state) noexcept : state_(std::move(state)) {}
SwapTask::SwapTask(SwapTask&&) noexcept = default;

SwapTask& SwapTask::operator=(SwapTask&& other) noexcept {
  SwapTask taken(std::move(other));
  state_.swap(taken.state_);
  return *this;
}

SwapTask::~SwapTask() {
  if (state_ == nullptr || state_->core->is_forked()) return;
  if (state_->core->hands_over(*state_)) {
    state_->core->note_drop();  // it may be going because that call throws: the thread knows better what to say then
  } else {
    state_->settle(absl::OkStatus(), true);
  }
}

ModelId SwapTask::target() const noexcept { return state_->target; }
std::span<const ModelId> SwapTask::to_stop() const noexcept { return state_->to_stop; }
Duration SwapTask::stop_timeout() const noexcept { return state_->stop_timeout; }
const Context& SwapTask::context() const noexcept { return state_->life.context; }

void SwapTask::done(absl::Status status) && noexcept {
  if (state_ == nullptr || state_->core->is_forked()) return;
  if (!state_->settle(std::move(status), false)) state_->core->count_late_answer();
}

}  // namespace penstock::inline PENSTOCK_ABI
