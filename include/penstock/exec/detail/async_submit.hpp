// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// One submission of a coroutine, which is suspended while it waits for a place.

#include <coroutine>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/exec/detail/answered_job.hpp"
#include "penstock/exec/detail/typed_job.hpp"
#include "penstock/exec/job.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

class PoolCore;

/// The way of a submission to its place; pool_line.cpp says how.
class LineWait {
 public:
  explicit LineWait(PoolCore& pool) noexcept : pool_(pool) {}
  LineWait(const LineWait&) = delete;
  LineWait& operator=(const LineWait&) = delete;
  ~LineWait();

  /// Whether there is nothing to wait for: a place, or a refusal.
  bool admit(const SubmitOptions& options);
  /// Puts the job where its place is, if there was nothing to wait for.
  void enter(JobState& job) noexcept;
  /// Destroys a job that it has not taken.
  void discard(AnsweredJob& job) noexcept;

  /// Takes `job`, both shares of it, and gets in line with it. Returns whether the coroutine stays suspended; from then
  /// on it may be gone. Throws: as a waiter; then the job is still the caller's.
  template <class Promise>
  bool suspend(AnsweredJob& job, std::coroutine_handle<Promise> coroutine) {
    take(job);
    wait_.emplace(until_, coroutine, &job);
    return wait_->suspend([this] { return line_up(); });
  }

  /// The end of what was suspended: whether the job was accepted, whose handle is the caller's then. Else the
  /// submission is refused, and the job is gone.
  bool finish();
  [[nodiscard]] bool is_refused() const noexcept { return stage_ == Stage::kOver; }
  [[nodiscard]] absl::Status take_refusal() noexcept { return std::move(refusal_); }

 private:
  enum class Stage : std::uint8_t {
    kNew,
    kPlaced,    // there is a place
    kRunsHere,  // there is none, but it needs none
    kCounted,   // as submitting
    kWaiting,   // with a job, in line unless there is an `immediate_` end
    kOver,      // refused, or accepted
  };

  void take(AnsweredJob& job);
  bool line_up() noexcept;

  PoolCore& pool_;
  Stage stage_ = Stage::kNew;
  Waiter::Outcome immediate_ = Waiter::kPending;
  TimePoint since_{};
  AnsweredJob* job_ = nullptr;
  Context until_ = Context::background();  // outlives wait_
  std::optional<CoroutineWait> wait_;
  absl::Status refusal_;
};

template <class F>
class [[nodiscard]] SubmitAwaiter {
  using Typed = TypedJob<F>;

 public:
  /// `bad`: what is wrong with the rest.
  template <class G>
  SubmitAwaiter(PoolCore& pool, absl::Status bad, G&& function, SubmitOptions options)
      : pool_(pool),
        bad_(std::move(bad)),
        function_(std::forward<G>(function)),
        options_(std::move(options)),
        line_(pool) {}
  SubmitAwaiter(const SubmitAwaiter&) = delete;
  SubmitAwaiter& operator=(const SubmitAwaiter&) = delete;

  bool await_ready() { return !bad_.ok() || line_.admit(options_); }

  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    auto* const job = make();
    job_ = job;  // before it is listed: from then on the frame may be gone
    try {
      return line_.suspend(*job, coroutine);
    } catch (...) {
      line_.discard(*job);
      throw;
    }
  }

  absl::StatusOr<JobOf<F>> await_resume() {
    if (!bad_.ok()) return std::move(bad_);
    if (job_ != nullptr && line_.finish()) return handle(*job_);
    if (line_.is_refused()) return line_.take_refusal();
    auto* const job = make();
    JobOf<F> mine = handle(*job);
    line_.enter(*job);
    return mine;
  }

 private:
  Typed* make() { return new Typed(pool_, std::move(options_), std::move(function_)); }
  static JobOf<F> handle(Typed& job) noexcept { return JobAccess::handle<typename Typed::Result>(job); }

  PoolCore& pool_;
  absl::Status bad_;
  F function_;
  SubmitOptions options_;
  Typed* job_ = nullptr;  // one that has waited
  LineWait line_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
