// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Whether it pays that an idle worker lets others have its processor before it sleeps.

#include <algorithm>
#include <cstdint>
#include <utility>

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Where a submitter brings one task after the other, it is best to let it: it fills the queue meanwhile, and nobody
/// has to be woken for each task. Where it brings one and waits for it, and the processors are taken, that task starts
/// a time slice late, while a worker that sleeps and is woken goes before others. What tells the two apart is whether
/// there was more to do after the task that came meanwhile. If not, the worker does not try again for a while: each
/// time in a row for twice as long.
///
/// Threads: one.
class GiveWay {
 public:
  /// Before a sleep.
  [[nodiscard]] bool is_worth_it() noexcept {
    if (rest_ == 0) return true;
    --rest_;
    return false;
  }

  /// A task has come while others had the processor for long.
  void made_late() noexcept { was_late_ = true; }

  /// After each task: whether there is another one.
  void task_done(bool has_more) noexcept {
    if (!std::exchange(was_late_, false)) return;
    rest_ = has_more ? 0 : next_rest_;
    next_rest_ = has_more ? kShortest : std::min(next_rest_ * 2, kLongest);
  }

 private:
  static constexpr std::uint32_t kShortest = 16;
  static constexpr std::uint32_t kLongest = 1024;

  bool was_late_ = false;
  std::uint32_t rest_ = 0;  // waits
  std::uint32_t next_rest_ = kShortest;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
