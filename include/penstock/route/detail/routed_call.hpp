// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A caller's function on its way into a provider's pool, with the permit that its outcome settles.

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/exec/job.hpp"
#include "penstock/route/detail/provider.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

template <class F, bool = std::is_invocable_v<F, const JobContext&>>
struct RoutedResult {
  using Type = std::invoke_result_t<F, const JobContext&>;
};
template <class F>
struct RoutedResult<F, false> {
  static_assert(std::is_invocable_v<F>, "a job is a function of nothing or of a const JobContext&");
  using Type = std::invoke_result_t<F>;
};

/// What the breaker is told about a function that has returned `result`.
template <class Result>
absl::Status outcome_of([[maybe_unused]] const Result& result) {
  if constexpr (std::is_same_v<Result, absl::Status>) {
    return result;
  } else if constexpr (requires { requires std::is_same_v<Result, absl::StatusOr<typename Result::value_type>>; }) {
    return result.status();
  } else {
    return absl::OkStatus();
  }
}

/// A function that is moved only once a pool has taken it: made with a reference to the caller's function, it takes
/// that one out when it is moved itself, which a pool does with a job that it has accepted. So a refusal leaves the
/// caller's function untouched, ready for the next provider.
///
/// `F`: as a forwarding reference is deduced.
template <class F>
class RoutedCall {
  using Function = std::decay_t<F>;
  static constexpr bool kTakesContext = std::is_invocable_v<Function, const JobContext&>;

 public:
  using Result = typename RoutedResult<Function>::Type;

  RoutedCall(std::remove_reference_t<F>& source, CallTicket ticket) noexcept
      : source_(std::addressof(source)), ticket_(std::move(ticket)) {}
  RoutedCall(RoutedCall&& other) : ticket_(std::move(other.ticket_)) {
    function_.emplace(std::forward<F>(*other.source_));
  }
  RoutedCall& operator=(RoutedCall&&) = delete;
  ~RoutedCall() = default;

  // Templates, because clang 14 ignores a requires clause when it instantiates a class explicitly.
  template <bool Takes = kTakesContext>
  std::enable_if_t<Takes, Result> operator()(const JobContext& job) && {
    return run(&job, [&]() -> Result { return std::invoke(std::move(*function_), job); });
  }
  template <bool Takes = kTakesContext>
  std::enable_if_t<!Takes, Result> operator()() && {
    return run(nullptr, [&]() -> Result { return std::invoke(std::move(*function_)); });
  }

  /// Whether there is nothing to call: a pool asks that of each function.
  friend bool operator==(const RoutedCall& call, std::nullptr_t) noexcept {
    return call.source_ != nullptr ? is_empty(*call.source_) : is_empty(*call.function_);
  }

 private:
  template <class G>
  static bool is_empty([[maybe_unused]] const G& function) noexcept {
    if constexpr (std::is_function_v<G> || (std::is_class_v<G> && requires { +function; })) {
      return false;  // a function, or a lambda that only converts to a pointer
    } else if constexpr (requires { static_cast<bool>(function == nullptr); }) {
      return function == nullptr;
    } else {
      return false;
    }
  }

  template <class Call>
  Result run(const JobContext* job, const Call& call) {
    TrackedCall tracked(ticket_, job);
    try {
      if constexpr (std::is_void_v<Result>) {
        call();
        tracked.end(absl::OkStatus());
      } else {
        Result result = call();
        tracked.end(outcome_of(result));
        return result;
      }
    } catch (...) {
      tracked.end(absl::InternalError("the function threw an exception"));
      throw;
    }
  }

  std::remove_reference_t<F>* source_ = nullptr;
  std::optional<Function> function_;
  CallTicket ticket_;  // before the function's end nothing of it is told
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
