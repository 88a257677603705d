// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A job and its function in one block of memory, and the place in the pool that it is made for.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"

#include "penstock/core/detail/empty_function.hpp"
#include "penstock/exec/job.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// What a job's function returns, called as the rvalue that a job calls once.
template <class F, bool = std::is_invocable_v<F, const JobContext&>>
struct JobCall {
  static constexpr bool kTakesContext = true;
  using Result = std::invoke_result_t<F, const JobContext&>;
};
template <class F>
struct JobCall<F, false> {
  static_assert(std::is_invocable_v<F>, "a job is a function of nothing or of a const JobContext&");
  static constexpr bool kTakesContext = false;
  using Result = std::invoke_result_t<F>;
};

template <class F>
using JobOf = Job<typename JobCall<std::decay_t<F>>::Result>;

/// Makes handles.
struct JobAccess {
  template <class R>
  static Job<R> handle(typename Job<R>::State& state) noexcept {
    return Job<R>(state);
  }
  /// The same job as one whose function returns a `To`: with the same value, and the same answer. It refers to one.
  template <class To, class From>
  static Job<To> as(Job<From>&& job) noexcept {
    static_assert(std::is_same_v<typename Job<To>::State, typename Job<From>::State>);
    return Job<To>(*std::exchange(job.job_, nullptr));
  }
  /// Null if the handle refers to no job.
  template <class R>
  static typename Job<R>::State* state(const Job<R>& job) noexcept {
    return job.job_;
  }
};

template <class F>
class TypedJob final : public ResultJob<typename JobTraits<typename JobCall<F>::Result>::Value> {
 public:
  using Result = typename JobCall<F>::Result;
  using Base = ResultJob<typename JobTraits<Result>::Value>;

  template <class Pool, class G>
  TypedJob(Pool& pool, SubmitOptions&& options, G&& function)
      : Base(pool, std::move(options), JobCall<F>::kTakesContext, JobState::steps_of(sizeof(TypedJob))),
        function_(std::forward<G>(function)) {}
  // Whoever decides a job destroys its function. So there is nothing left to do here, unless the job was never
  // accepted, which happens only while it is being made: then either function_ was not made, or nothing after it can
  // throw.
  ~TypedJob() noexcept override {}  // NOLINT(modernize-use-equals-default): the union has a member with a destructor

 private:
  absl::Status invoke(const JobContext* ctx) override {
    if (is_empty_function(function_)) return absl::InvalidArgumentError("job: there is no function to call");
    if constexpr (std::is_void_v<Result>) {
      call(ctx);
      return absl::OkStatus();
    } else if constexpr (std::is_same_v<Result, absl::Status>) {
      return call(ctx);
    } else if constexpr (std::is_same_v<typename JobTraits<Result>::Answer, Result>) {
      Result result = call(ctx);
      if (!result.ok()) return std::move(result).status();
      this->keep(*std::move(result));
      return absl::OkStatus();
    } else {
      this->keep(call(ctx));
      return absl::OkStatus();
    }
  }

  Result call([[maybe_unused]] const JobContext* ctx) {
    if constexpr (JobCall<F>::kTakesContext) {
      return std::invoke(std::move(function_), *ctx);
    } else {
      return std::invoke(std::move(function_));
    }
  }

  void destroy_function() override { std::destroy_at(&function_); }

  union {
    F function_;
  };
};

/// A function of nothing whose answer nobody will see. Without a context, a tag or limits of its own there is nothing
/// to keep but the function.
template <class F>
class PlainJob final : public JobState {
 public:
  template <class G>
  explicit PlainJob(G&& function) noexcept(std::is_nothrow_constructible_v<F, G>)
      : JobState(true, steps_of(sizeof(PlainJob))), function_(std::forward<G>(function)) {}
  [[nodiscard]] F& function() noexcept { return function_; }
  /// For a job that was never accepted.
  void destroy() noexcept {
    std::destroy_at(&function_);
    release();
  }
  ~PlainJob() noexcept override {}  // NOLINT(modernize-use-equals-default): as TypedJob

 private:
  absl::Status invoke(const JobContext* /*ctx*/) override {
    if (is_empty_function(function_)) return absl::InvalidArgumentError("job: there is no function to call");
    if constexpr (std::is_same_v<std::invoke_result_t<F>, absl::Status>) {
      return std::invoke(std::move(function_));
    } else if constexpr (requires { std::invoke(std::move(function_)).status(); }) {
      return std::invoke(std::move(function_)).status();
    } else {
      static_cast<void>(std::invoke(std::move(function_)));
      return absl::OkStatus();
    }
  }
  void destroy_function() override { std::destroy_at(&function_); }
  void release() noexcept override { delete this; }

  union {
    F function_;
  };
};

/// Puts a plain job into the queue of `pool` if that has a place and nobody waits for one; else nothing has happened.
bool enter_quickly(PoolCore& pool, JobState& job) noexcept;

/// A place for one job, given by the pool before the job is made: a refusal costs no allocation and leaves the function
/// untouched. Goes back to the pool if making the job fails.
class Admission {
 public:
  /// `refusal`: where to put the text of a refusal; null if none is wanted.
  Admission(PoolCore& pool, const SubmitOptions& options, bool may_wait, absl::Status* refusal);
  /// For one on the pool's own terms, which may wait.
  explicit Admission(PoolCore& pool);
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;
  ~Admission() {
    if (status_ == OpStatus::kOk && !entered_) give_back();
  }

  [[nodiscard]] OpStatus status() const noexcept { return status_; }

  /// Puts the job into the queue, or runs it if the policy says so.
  void enter(JobState& job) noexcept;

 private:
  void give_back() noexcept;

  PoolCore& pool_;
  OpStatus status_ = OpStatus::kOk;
  bool runs_here_ = false;
  bool entered_ = false;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
