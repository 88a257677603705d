// SPDX-License-Identifier: MIT

// Functions of every kind on their way through a router.

#include <functional>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"

#include "penstock/exec/job.hpp"
#include "penstock/route/circuit_breaker.hpp"
#include "penstock/route/provider_router.hpp"

namespace {

struct MoveOnly {
  std::unique_ptr<int> owned;
  absl::StatusOr<std::unique_ptr<int>> operator()(const penstock::JobContext&) && { return std::move(owned); }
};

struct CopyOnly {
  CopyOnly() = default;
  CopyOnly(const CopyOnly&) = default;
  CopyOnly& operator=(const CopyOnly&) = default;
  absl::Status operator()() { return absl::OkStatus(); }
};

struct Overloaded {
  int operator()() { return 1; }
  std::string operator()(const penstock::JobContext&) { return "told"; }  // taken before the other one
};

struct Leaseholder {
  std::unique_ptr<int> owned;
  int operator()(const penstock::ProviderCall& call) const { return *call.resource<std::unique_ptr<int>>(); }
};

int plain() { return 1; }

}  // namespace

template class penstock::detail::LongRoutedCall<MoveOnly>;
template class penstock::detail::LongRoutedCall<CopyOnly&>;
template class penstock::detail::LongRoutedCall<Leaseholder>;
template class penstock::detail::LongRoutedCall<absl::AnyInvocable<int(const penstock::JobContext&) &&>>;
template class penstock::detail::LongRoutedCall<penstock::detail::Boxed<MoveOnly>>;
template class penstock::detail::ShortRoutedCall<CopyOnly&>;
template class penstock::detail::ShortRoutedCall<const std::function<void()>&>;
template class penstock::detail::ShortRoutedCall<int (&)()>;
template class penstock::detail::ShortRoutedCall<int (*)()>;
template class penstock::detail::TypedAnswer<std::unique_ptr<int>>;
template class penstock::detail::TypedLease<std::unique_ptr<int>>;
template class penstock::detail::PooledLeases<std::unique_ptr<int>>;

namespace penstock {

/// `submit` in all its forms.
void use_every_form(ProviderRouter& router) {
  CopyOnly copied;
  const std::function<void()> nothing = [] {};
  absl::StatusOr<Job<absl::StatusOr<std::unique_ptr<int>>>> move_only = router.submit("p", MoveOnly{});
  absl::StatusOr<Job<absl::Status>> copy_only = router.submit("p", copied);
  absl::StatusOr<Job<void>> wrapped = router.submit("p", nothing, {.tag = "tag"});
  absl::StatusOr<Job<int>> function = router.submit("p", plain);
  absl::StatusOr<Job<int>> pointer = router.submit("p", &plain);
  absl::StatusOr<Job<std::string>> overloaded = router.submit("p", Overloaded{});
  absl::StatusOr<Job<int>> any = router.submit("p", absl::AnyInvocable<int(const JobContext&) &&>());
  absl::StatusOr<Job<int>> leased = router.submit_with_fallback({"p", "q"}, Leaseholder{});
  auto awaited = router.async_submit("p", Leaseholder{});
  auto called = router.async_call({"p", "q"}, copied);
  absl::StatusOr<int> answer = router.call({"p"}, plain);
}

}  // namespace penstock
