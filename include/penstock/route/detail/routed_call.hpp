// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A caller's function on its way into a provider's pool, with the ticket that its outcome settles.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"

#include "penstock/core/detail/empty_function.hpp"
#include "penstock/core/detail/result_status.hpp"
#include "penstock/exec/job.hpp"
#include "penstock/route/detail/provider_road.hpp"
#include "penstock/route/interceptor.hpp"
#include "penstock/route/provider_lease.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// How a function is called, and what it returns.
template <class F, bool = std::is_invocable_v<F, const JobContext&>, bool = std::is_invocable_v<F, const ProviderCall&>>
struct RoutedFunction {
  static constexpr bool kTakesContext = true;
  using Result = std::invoke_result_t<F, const JobContext&>;
  static Result call(F&& function, const ProviderCall& call) { return std::invoke(std::move(function), call.job()); }
};
template <class F>
struct RoutedFunction<F, false, true> {
  static constexpr bool kTakesContext = true;
  using Result = std::invoke_result_t<F, const ProviderCall&>;
  static Result call(F&& function, const ProviderCall& call) { return std::invoke(std::move(function), call); }
};
template <class F>
struct RoutedFunction<F, false, false> {
  static_assert(std::is_invocable_v<F>,
                "a routed job is a function of nothing, of a const JobContext& or of a const ProviderCall&");
  static constexpr bool kTakesContext = false;
  using Result = std::invoke_result_t<F>;
  static Result call(F&& function, const ProviderCall& /*call*/) { return std::invoke(std::move(function)); }
};

template <class F>
using RoutedResult = typename RoutedFunction<std::decay_t<F>>::Result;

/// A function that is moved only once a pool has taken it: made with a reference to the caller's function, it takes
/// that one out when it is moved itself, which a pool does with a job that it has accepted. So a refusal leaves the
/// caller's function untouched, ready for the next provider.
///
/// `F`: as a forwarding reference is deduced.
template <class F>
class RoutedCall {
 protected:
  using Function = std::decay_t<F>;
  using Form = RoutedFunction<Function>;
  using Result = typename Form::Result;
  using Answer = typename JobTraits<Result>::Answer;

 public:
  RoutedCall(std::remove_reference_t<F>& source, CallTicket ticket) noexcept
      : source_(std::addressof(source)), ticket_(std::move(ticket)) {}
  RoutedCall(RoutedCall&& other) : ticket_(std::move(other.ticket_)) {
    if (other.source_ != nullptr) {
      function_.emplace(std::forward<F>(*other.source_));
    } else {
      function_.emplace(*std::move(other.function_));
    }
  }
  RoutedCall& operator=(RoutedCall&&) = delete;
  ~RoutedCall() = default;

  /// Whether there is nothing to call: a pool asks that of each function.
  friend bool operator==(const RoutedCall& call, std::nullptr_t) noexcept {
    return call.source_ != nullptr ? is_empty_function(*call.source_) : is_empty_function(*call.function_);
  }

 protected:
  Answer run(const JobContext& job) {
    const ProviderRoad& road = ticket_.road();
    if (road.interceptors().empty()) {
      Duration took{};
      return call(job, took);
    }
    TypedAnswer<typename JobTraits<Result>::Value> answer;
    InterceptedCall intercepted(road.name(), job, answer);
    InterceptorRun chain(road.interceptors(), intercepted, road.life());
    if (!chain.before()) {
      chain.after();
      return answer.get();
    }
    Duration took{};
    try {
      answer.set(call(job, took));
    } catch (...) {
      intercepted.set_took(took);
      answer.fail(absl::InternalError("the function threw an exception"));
      const std::uint32_t changes = answer.changes();
      chain.after();
      if (answer.changes() != changes) return answer.get();  // made good, or told in other words
      throw;
    }
    intercepted.set_took(took);
    chain.after();
    return answer.get();
  }

  [[nodiscard]] Function& function() noexcept { return *function_; }
  [[nodiscard]] CallTicket& ticket() noexcept { return ticket_; }

 private:
  /// The function between its passage's begin and end.
  Answer call(const JobContext& job, Duration& took) {
    Passage passage(ticket_, &job);
    if (!passage.refusal().ok()) return passage.refusal();
    const ProviderCall seen(ticket_.road().name(), job, passage.lease());
    const auto end = [&](const absl::Status& status) {
      passage.end(status);
      took = passage.took();
    };
    try {
      if constexpr (std::is_void_v<Result>) {
        Form::call(std::move(*function_), seen);
        end(absl::OkStatus());
        return absl::OkStatus();
      } else if constexpr (std::is_same_v<Answer, Result>) {
        Result result = Form::call(std::move(*function_), seen);
        end(status_of(result));
        return result;
      } else {
        Result result = Form::call(std::move(*function_), seen);
        end(absl::OkStatus());
        return Answer(std::move(result));
      }
    } catch (...) {
      end(absl::InternalError("the function threw an exception"));
      throw;
    }
  }

  std::remove_reference_t<F>* source_ = nullptr;
  std::optional<Function> function_;
  CallTicket ticket_;  // before the function's end nothing of it is told
};

/// One that is called with a context: it may wait for what its road demands, and be refused there.
template <class F>
class LongRoutedCall : public RoutedCall<F> {
 public:
  using RoutedCall<F>::RoutedCall;
  typename RoutedCall<F>::Answer operator()(const JobContext& job) && { return this->run(job); }
};

/// One that needs no context, on a road without waits.
template <class F>
class ShortRoutedCall : public RoutedCall<F> {
  using Result = typename RoutedCall<F>::Result;

 public:
  using RoutedCall<F>::RoutedCall;

  Result operator()() && {
    Passage passage(this->ticket(), nullptr);
    try {
      if constexpr (std::is_void_v<Result>) {
        std::invoke(std::move(this->function()));
        passage.end(absl::OkStatus());
      } else {
        Result result = std::invoke(std::move(this->function()));
        if constexpr (std::is_same_v<typename RoutedCall<F>::Answer, Result>) {
          passage.end(status_of(result));
        } else {
          passage.end(absl::OkStatus());
        }
        return result;
      }
    } catch (...) {
      passage.end(absl::InternalError("the function threw an exception"));
      throw;
    }
  }
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
