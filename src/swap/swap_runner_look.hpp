// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a swap runner's scheduler is asked from any thread.

#include "swap_runner_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

class SwapRunnerCore::Look {
 public:
  explicit Look(const SwapRunnerCore& core) noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS  // it need not lock
      : core_(core),
        may_look_(!core.is_forked() && !(core.is_inside() && core.is_deciding_)) {
    if (!may_look_) return;
    core_.scheduler_mutex_.lock();
    scheduler = &core_.scheduler_;
  }
  ~Look() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (may_look_) core_.scheduler_mutex_.unlock();
  }
  Look(const Look&) = delete;
  Look& operator=(const Look&) = delete;

  const SwapScheduler* scheduler = nullptr;

 private:
  const SwapRunnerCore& core_;
  const bool may_look_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
