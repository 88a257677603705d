// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The place in an elastic pool that a task is made for.

#include <cstdint>

#include "absl/status/status.h"

#include "penstock/core/context.hpp"
#include "penstock/core/op_status.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

class ElasticCore;
class JobHome;
class JobState;
struct ElasticWorker;

/// What a submission was given.
struct ElasticPlace {
  ElasticWorker* worker = nullptr;
  std::uint64_t id = 0;
};

struct DeleteElasticCore {
  void operator()(ElasticCore* core) const noexcept;
};

/// A place for one task, given by the pool before the task is made: a refusal costs no allocation and leaves the
/// function untouched. With it comes an idle worker, if there is one, which nobody else gets meanwhile. Both go back if
/// making the task fails.
class ElasticAdmission {
 public:
  explicit ElasticAdmission(ElasticCore& core) : ElasticAdmission(core, nullptr, nullptr) {}
  /// `refusal` gets the text of a refusal.
  ElasticAdmission(ElasticCore& core, const Context& ctx, absl::Status& refusal)
      : ElasticAdmission(core, &ctx, &refusal) {}
  ElasticAdmission(const ElasticAdmission&) = delete;
  ElasticAdmission& operator=(const ElasticAdmission&) = delete;
  ~ElasticAdmission() {
    if (status_ == OpStatus::kOk && !entered_) give_back();
  }

  [[nodiscard]] OpStatus status() const noexcept { return status_; }
  [[nodiscard]] JobHome& home() const noexcept;

  /// Hands the task to the worker, or puts it into the queue.
  void enter(JobState& job) noexcept;

 private:
  ElasticAdmission(ElasticCore& core, const Context* ctx, absl::Status* refusal);
  void give_back() noexcept;

  ElasticCore& core_;
  ElasticPlace place_;
  OpStatus status_ = OpStatus::kOk;
  bool entered_ = false;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
