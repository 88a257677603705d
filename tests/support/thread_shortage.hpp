// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A system that has no threads left; the `pthread_create` that says so is part of the test program.

namespace penstock::testing {

/// While it lives, so many threads can be started and no more: then a thread's constructor throws
/// std::errc::resource_unavailable_try_again. One at a time.
class ThreadShortage {
 public:
  explicit ThreadShortage(int left) noexcept;
  ThreadShortage(const ThreadShortage&) = delete;
  ThreadShortage& operator=(const ThreadShortage&) = delete;
  ~ThreadShortage();
};

}  // namespace penstock::testing
