// SPDX-License-Identifier: MIT
#include "probe_attempt.hpp"

#include <array>
#include <string_view>

#include <fmt/format.h>

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::string_view kAnswer = "HTTP/1.1 200";

/// Whether the first line of an answer says that it went well.
bool is_success(std::string_view answer) noexcept {
  constexpr std::size_t kVersion = 9;  // "HTTP/1.1 ", whatever the digit behind the point
  return answer.size() >= kAnswer.size() && answer.substr(0, 7) == "HTTP/1." && answer[kVersion - 1] == ' ' &&
         answer[kVersion] == '2';
}

}  // namespace

ProbeAttempt::Result ProbeAttempt::begin(const ReadyOnConnect& probe) {
  request_.clear();
  answer_.clear();
  phase_ = Phase::kConnecting;
  return begin_connect(probe.address, probe.port, socket_) == 0 ? Result::kPending : end(Result::kNotReady);
}

ProbeAttempt::Result ProbeAttempt::begin(const ReadyOnHttp& probe) {
  const bool is_long = probe.address.find(':') != std::string::npos;
  std::string request = fmt::format("GET {} HTTP/1.1\r\nHost: {}{}{}:{}\r\nConnection: close\r\n\r\n", probe.path,
                                    is_long ? "[" : "", probe.address, is_long ? "]" : "", probe.port);
  const Result result = begin(ReadyOnConnect{probe.address, probe.port});
  request_ = std::move(request);
  return result;
}

ProbeAttempt::Result ProbeAttempt::advance() {
  if (phase_ == Phase::kConnecting) {
    if (connect_error(socket_) != 0) return end(Result::kNotReady);
    if (request_.empty()) return end(Result::kReady);
    phase_ = Phase::kSending;
  }
  if (phase_ == Phase::kSending) {
    const int sent = send_some(socket_, request_);
    if (sent < 0) return end(Result::kNotReady);
    request_.erase(0, static_cast<std::size_t>(sent));
    if (!request_.empty()) return Result::kPending;
    phase_ = Phase::kReceiving;
    return Result::kPending;
  }
  std::array<char, 256> bytes{};
  const int size = read_some(socket_, bytes);
  if (size < 0) return end(Result::kNotReady);
  answer_.append(bytes.data(), static_cast<std::size_t>(size));
  if (answer_.size() < kAnswer.size()) return Result::kPending;
  return end(is_success(answer_) ? Result::kReady : Result::kNotReady);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
