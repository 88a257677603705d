// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the header of the thread manager needs: a function whatever its shape, the place in the manager that it is made
/// for, and the scopes in which a thread says what it does.

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/empty_function.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

class ThreadCore;
struct CrewThread;
struct ThreadRecord;
struct ThreadManagerAccess;

using ThreadCall = absl::AnyInvocable<void(const Context&)>;

/// `function` as one of a context. Called once, as an lvalue or an rvalue, whichever it takes.
template <class F>
auto thread_call(F&& function) {
  using Function = std::decay_t<F>;
  const auto call = [](Function& held, const auto&... ctx) {
    if constexpr (std::is_invocable_v<Function&, decltype(ctx)...>) {
      using Result = std::invoke_result_t<Function&, decltype(ctx)...>;
      static_assert(std::is_void_v<Result>, "a thread's function returns nothing: there is nobody to take it");
      std::invoke(held, ctx...);
    } else {
      using Result = std::invoke_result_t<Function, decltype(ctx)...>;
      static_assert(std::is_void_v<Result>, "a thread's function returns nothing: there is nobody to take it");
      std::invoke(std::move(held), ctx...);
    }
  };
  constexpr bool kTakesContext =
      std::is_invocable_v<Function&, const Context&> || std::is_invocable_v<Function, const Context&>;
  static_assert(kTakesContext || std::is_invocable_v<Function&> || std::is_invocable_v<Function>,
                "a thread's function is one of nothing or of a const Context&");
  return [call, held = Function(std::forward<F>(function))]([[maybe_unused]] const Context& ctx) mutable {
    if constexpr (kTakesContext) {
      call(held, ctx);
    } else {
      call(held);
    }
  };
}

/// The thread that will run a function, kept for it while the function is being made. Given back if that fails.
class ThreadAdmission {
 public:
  /// On refusal `refusal` says why. Throws: std::bad_alloc, and then nothing has happened.
  ThreadAdmission(ThreadCore& core, std::string_view name, bool nothing_to_call, absl::Status& refusal);
  ThreadAdmission(const ThreadAdmission&) = delete;
  ThreadAdmission& operator=(const ThreadAdmission&) = delete;
  ~ThreadAdmission();

  [[nodiscard]] bool is_granted() const noexcept { return thread_ != nullptr; }
  /// Lets `call` run, and returns its id.
  std::uint64_t enter(ThreadCall call) noexcept;

 private:
  ThreadCore& core_;
  CrewThread* thread_ = nullptr;
  std::unique_ptr<ThreadRecord> record_;
};

/// Puts the calling thread, if it is managed, into `state`, given and returned as a number. `id` is that of its
/// function, 0 if it has none.
std::uint8_t enter_thread_state(std::uint8_t state, std::uint64_t& id) noexcept;
/// Puts the calling thread back into `state` if it still runs the function `id`.
void leave_thread_state(std::uint8_t state, std::uint64_t id) noexcept;

/// Says that the calling thread is in `kState` until the scope ends; then it is as before again. Does nothing on a
/// thread that no manager runs.
///
/// Threads: made and destroyed by one. Cost: a few nanoseconds and a reading of the clock at each end; no lock.
template <class State, State kState>
class [[nodiscard]] ThreadScope {
 public:
  ThreadScope() noexcept : before_(enter_thread_state(static_cast<std::uint8_t>(kState), id_)) {}
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;
  ~ThreadScope() { leave_thread_state(before_, id_); }

 private:
  std::uint64_t id_ = 0;
  const std::uint8_t before_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
