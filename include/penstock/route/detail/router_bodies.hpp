// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The bodies of ProviderRouter's templates.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/result_status.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/job.hpp"
#include "penstock/exec/pool_retry.hpp"
#include "penstock/exec/retry.hpp"
#include "penstock/route/detail/routed_call.hpp"
#include "penstock/route/provider_router.hpp"

namespace penstock::inline PENSTOCK_ABI {

namespace detail {

/// Why providers have refused, or failed, one after the other.
class RefusalList {
 public:
  void add(std::string_view provider, absl::Status refusal);
  /// The last one; of several, with the texts of all.
  [[nodiscard]] absl::Status take() &&;

 private:
  absl::Status last_;
  std::string texts_;
  std::size_t count_ = 0;
};

/// A function that may have to be handed in several times until a pool takes it: it stays here until it is called.
template <class F>
class Boxed {
 public:
  explicit Boxed(F function) : function_(std::make_shared<F>(std::move(function))) {}

  template <class... Arguments>
  requires std::is_invocable_v<F, const Arguments&...> std::invoke_result_t<F, const Arguments&...>
  operator()(const Arguments&... arguments) && {
    F function = std::move(*function_);  // destroyed when it has returned, whoever else has the box
    return std::invoke(std::move(function), arguments...);
  }

  friend bool operator==(const Boxed& box, std::nullptr_t) noexcept { return is_empty_function(*box.function_); }

 private:
  std::shared_ptr<F> function_;
};

}  // namespace detail

template <class F>
auto ProviderRouter::submit_to(detail::Provider& provider, std::remove_reference_t<F>& function,
                               const SubmitOptions& options) -> absl::StatusOr<Job<detail::RoutedResult<F>>> {
  using Result = detail::RoutedResult<F>;
  const auto& road = provider.road();
  detail::CallTicket ticket;
  if (absl::Status refusal = road->admit(road, options, ticket); !refusal.ok()) return refusal;
  if constexpr (!detail::RoutedFunction<std::decay_t<F>>::kTakesContext) {
    if (!road->needs_context()) {
      return provider.pool().submit(detail::ShortRoutedCall<F>(function, std::move(ticket)), options);
    }
  }
  auto job = provider.pool().submit(detail::LongRoutedCall<F>(function, std::move(ticket)), options);
  if (!job.ok()) return std::move(job).status();
  return detail::JobAccess::as<Result>(*std::move(job));
}

template <class F>
auto ProviderRouter::submit(std::string_view provider, F&& function, SubmitOptions options)
    -> absl::StatusOr<Job<detail::RoutedResult<F>>> {
  for (ProviderPtr found = table_.find(provider); found != nullptr;) {
    auto job = submit_to<F>(*found, function, options);
    if (!absl::IsUnavailable(job.status())) return job;
    // An update may have closed the pool and put another one in its place.
    ProviderPtr now = table_.find(provider);
    if (now == found) return job;
    found = std::move(now);
  }
  return unknown(provider);
}

template <class F>
auto ProviderRouter::submit_with_fallback(const Names& providers, F&& function, const SubmitOptions& options)
    -> absl::StatusOr<Job<detail::RoutedResult<F>>> {
  detail::RefusalList refusals;
  for (std::size_t index = 0; index < providers.size(); ++index) {
    SubmitOptions mine = options;
    if (index + 1 < providers.size() && !mine.overflow) mine.overflow = OverflowPolicy::kReject;
    auto job = submit(providers[index], std::forward<F>(function), std::move(mine));  // moved from only if it is taken
    if (job.ok() || !falls_back(job.status())) return job;
    refusals.add(providers[index], std::move(job).status());
  }
  return std::move(refusals).take();
}

template <class F>
auto ProviderRouter::async_submit(std::string provider, F&& function)
    -> Task<absl::StatusOr<Job<detail::RoutedResult<F>>>> {
  return submit_later<std::decay_t<F>>(std::move(provider), std::forward<F>(function), SubmitOptions());
}

template <class F>
auto ProviderRouter::async_submit(std::string provider, F&& function, const SubmitOptions& options)
    -> Task<absl::StatusOr<Job<detail::RoutedResult<F>>>> {
  return submit_later<std::decay_t<F>>(std::move(provider), std::forward<F>(function), options);
}

template <class F>
auto ProviderRouter::submit_later(std::string provider, F function, SubmitOptions options)
    -> Task<absl::StatusOr<Job<detail::RoutedResult<F>>>> {
  using Result = detail::RoutedResult<F>;
  using Call = detail::LongRoutedCall<detail::Boxed<F>>;
  detail::Boxed<F> boxed(std::move(function));
  for (ProviderPtr found = table_.find(provider); found != nullptr;) {
    const std::shared_ptr<const detail::ProviderRoad> road = found->road();
    absl::Status refusal;
    {
      detail::CallTicket ticket;
      refusal = road->admit(road, options, ticket);
      if (refusal.ok()) {
        detail::Boxed<F> mine = boxed;
        Call call(mine, std::move(ticket));
        auto job = co_await found->pool().async_submit(std::move(call), options);
        if (job.ok()) co_return detail::JobAccess::as<Result>(*std::move(job));
        refusal = std::move(job).status();
      }
    }
    if (!absl::IsUnavailable(refusal)) co_return refusal;
    ProviderPtr now = table_.find(provider);
    if (now == found) co_return refusal;
    found = std::move(now);
  }
  co_return unknown(provider);
}

template <class F>
auto ProviderRouter::attempt(const std::string& provider, F function, SubmitOptions options, std::uint64_t& call_id)
    -> Task<typename detail::JobTraits<detail::RoutedResult<F>>::Answer> {
  using Result = detail::RoutedResult<F>;
  absl::StatusOr<Job<Result>> job = co_await submit_later(provider, std::move(function), options);
  if (!job.ok()) co_return job.status();
  if (call_id == 0) call_id = job->id();
  const detail::CalledOff<Result> called_off(*job);
  co_return co_await *job;
}

template <class F>
auto ProviderRouter::async_call(Names providers, F&& function)
    -> Task<typename detail::JobTraits<detail::RoutedResult<F>>::Answer> {
  return call_all<std::decay_t<F>>(std::move(providers), std::forward<F>(function), SubmitOptions());
}

template <class F>
auto ProviderRouter::async_call(Names providers, F&& function, const SubmitOptions& options)
    -> Task<typename detail::JobTraits<detail::RoutedResult<F>>::Answer> {
  return call_all<std::decay_t<F>>(std::move(providers), std::forward<F>(function), options);
}

template <class F>
auto ProviderRouter::call_all(Names providers, F function, SubmitOptions options)
    -> Task<typename detail::JobTraits<detail::RoutedResult<F>>::Answer> {
  using Answer = typename detail::JobTraits<detail::RoutedResult<F>>::Answer;
  detail::RefusalList refusals;
  for (const std::string& provider : providers) {
    ProviderPtr found = table_.find(provider);
    if (found == nullptr) {
      refusals.add(provider, unknown(provider));
      continue;
    }
    Context ctx = options.context.can_end() ? options.context : Context(found->road()->clock());
    const std::shared_ptr<Retrier> retrier = found->road()->retrier();
    found.reset();  // an update or a removal does not wait for this call
    const auto once = [this, &provider, &function, &options](const RetryAttempt& attempt_now) {
      SubmitOptions mine = options;
      mine.context = attempt_now.context;
      mine.attempt = attempt_now.number;
      mine.front = options.front || attempt_now.number > 1;
      return attempt(provider, F(function), std::move(mine), options.call_id);
    };
    Answer answer = absl::UnknownError("");
    if (retrier != nullptr) {
      answer = co_await async_retry(*retrier, once, ctx);
    } else {
      const RetryAttempt only{.context = ctx};
      answer = co_await once(only);
    }
    const absl::Status& outcome = detail::status_of(answer);
    if (outcome.ok() || ctx.is_done() || !falls_back(outcome)) co_return answer;
    refusals.add(provider, outcome);
  }
  co_return std::move(refusals).take();
}

}  // namespace penstock::inline PENSTOCK_ABI
