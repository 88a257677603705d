// SPDX-License-Identifier: MIT
#include "penstock/route/interceptor.hpp"

#include <exception>

#include <fmt/format.h>

#include "penstock/route/detail/provider_road.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

/// What was thrown, in words.
std::string text_of(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& exception) {
    return exception.what();
  } catch (...) {
    return "something that is no std::exception";
  }
}

}  // namespace

void AnswerBox::fail(absl::Status status) noexcept {
  ++changes_;
  if (status.ok()) status = absl::Status(absl::StatusCode::kInternal, "");  // without memory for a text
  status_ = std::move(status);
  answered_ = true;
}

bool InterceptorRun::before() noexcept {
  for (const std::shared_ptr<Interceptor>& interceptor : chain_) {
    ++entered_;
    try {
      interceptor->before(call_);
    } catch (...) {
      life_.count_interceptor_exception();
      try {
        call_.fail(absl::InternalError(fmt::format("provider '{}': interceptor '{}' threw: {}", call_.provider(),
                                                   interceptor->name(), text_of(std::current_exception()))));
      } catch (...) {
        call_.fail(absl::Status(absl::StatusCode::kInternal, ""));  // there is no memory to say more
      }
    }
    if (call_.is_answered()) return false;
  }
  return true;
}

void InterceptorRun::after() noexcept {
  while (entered_ > 0) {
    try {
      chain_[--entered_]->after(call_);
    } catch (...) {
      life_.count_interceptor_exception();
    }
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
