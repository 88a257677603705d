// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Several posts that belong together, where the inline executor may be among the executors.

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// While one lives, what the calling thread posts to the inline executor waits; when the outermost one goes, it runs.
///
/// For who has claimed several waiters and wakes one after the other. A coroutine that was resumed by the first post
/// might destroy the one that the second is to resume. It would have to wait for that post, in the very thread that is
/// to make it. If all of them are posted before any of them runs, it finds the other one's work and takes it back.
class InlineBatch {
 public:
  InlineBatch() noexcept;
  InlineBatch(const InlineBatch&) = delete;
  InlineBatch& operator=(const InlineBatch&) = delete;
  ~InlineBatch();

 private:
  const bool outermost_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
