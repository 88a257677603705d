// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the tests of concurrency limiters have in common.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/cord.h"

#include "penstock/core/task.hpp"
#include "penstock/route/concurrency_limiter.hpp"
#include "support/eventually.hpp"
#include "support/status_text.hpp"

namespace penstock::testing {

using LimiterSlot = ConcurrencyLimiter::Slot;

/// A fixed limit.
inline ConcurrencyLimiterOptions limiter_options(std::size_t limit, std::size_t max_waiting = 1000) {
  ConcurrencyLimiterOptions options;
  options.name = "l";
  options.algorithm = FixedLimit{.limit = limit};
  options.max_waiting = max_waiting;
  return options;
}

inline bool in_line(const ConcurrencyLimiter& limiter, std::size_t count) {
  return eventually([&] { return limiter.stats().waiting == count; });
}

inline Task<absl::StatusOr<LimiterSlot>> acquire_in(ConcurrencyLimiter& limiter, Context ctx, std::string partition) {
  co_return co_await limiter.async_acquire(ctx, partition);
}

inline std::string stage_of(const absl::Status& status) {
  return std::string(status.GetPayload("type.penstock/stage").value_or(absl::Cord("none")));
}

/// What a `ScriptedLimit` was given, and what it says next.
struct Script {
  std::vector<LimitSample> samples;
  std::size_t limit = 1;
};

/// An algorithm of a user's: does what the test wants.
class ScriptedLimit final : public LimitAlgorithm {
 public:
  explicit ScriptedLimit(std::shared_ptr<Script> script) : script_(std::move(script)) {}
  std::size_t on_sample(const LimitSample& sample) noexcept override {
    script_->samples.push_back(sample);
    return script_->limit;
  }
  [[nodiscard]] std::size_t limit() const noexcept override { return script_->limit; }
  [[nodiscard]] std::string_view name() const noexcept override { return "scripted"; }

 private:
  const std::shared_ptr<Script> script_;
};

inline ConcurrencyLimiterOptions scripted_options(std::shared_ptr<Script> script) {
  ConcurrencyLimiterOptions options;
  options.name = "l";
  options.make_algorithm = [script = std::move(script)] { return std::make_unique<ScriptedLimit>(script); };
  return options;
}

}  // namespace penstock::testing
