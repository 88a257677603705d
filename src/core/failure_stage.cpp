// SPDX-License-Identifier: MIT
#include "penstock/core/failure_stage.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr char kUrl[] = "type.penstock/stage";

}  // namespace

absl::Status with_failure_stage(absl::Status status, std::string_view stage) {
  status.SetPayload(kUrl, absl::Cord(std::string(stage)));
  return status;
}

std::optional<std::string> failure_stage(const absl::Status& status) {
  const auto payload = status.GetPayload(kUrl);
  if (!payload.has_value()) return std::nullopt;
  return std::string(*payload);
}

}  // namespace penstock::inline PENSTOCK_ABI
