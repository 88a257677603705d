// SPDX-License-Identifier: MIT
#include "penstock/core/retry_after.hpp"

#include <algorithm>
#include <charconv>
#include <string>
#include <system_error>

#include <fmt/format.h>

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr char kUrl[] = "type.penstock/retry-after";

}  // namespace

absl::Status with_retry_after(absl::Status status, Duration wait) {
  status.SetPayload(kUrl, absl::Cord(fmt::format("{}", std::max(wait, Duration::zero()).count())));
  return status;
}

std::optional<Duration> retry_after(const absl::Status& status) {
  const auto payload = status.GetPayload(kUrl);
  if (!payload.has_value()) return std::nullopt;
  const std::string digits(*payload);
  Duration::rep ticks = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), ticks);
  if (error != std::errc() || end != digits.data() + digits.size() || ticks < 0) return std::nullopt;
  return Duration(ticks);
}

}  // namespace penstock::inline PENSTOCK_ABI
