// SPDX-License-Identifier: MIT
#include "penstock/swap/process_options.hpp"

#include <algorithm>
#include <type_traits>

#include <fmt/format.h>

#include "child_system.hpp"
#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/option_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;
constexpr std::size_t kMinLogBytes = 1024;
constexpr std::size_t kMaxLogBytes = std::size_t{1} << 30;
constexpr std::size_t kMinLineBytes = 16;
constexpr int kMaxSignal = 64;
constexpr std::size_t kQuotedBytes = 64;

bool holds_nul(const std::string& text) noexcept { return text.find('\0') != std::string::npos; }

/// What would end the request line, or another one.
bool breaks_request(char byte) noexcept { return static_cast<unsigned char>(byte) <= ' ' || byte == '\x7f'; }

std::string quoted(const std::string& text) { return fmt::format("'{}'", detail::shortened(text, kQuotedBytes)); }

void check_place(detail::OptionViolations& violations, const std::string& address, std::uint16_t port) {
  violations.require(detail::is_numeric_address(address), "ready.address", "a numeric address", quoted(address));
  violations.require(port != 0, "ready.port", "at least 1", port);
}

void check(detail::OptionViolations& /*violations*/, const ReadyAtOnce& /*probe*/) {}
void check(detail::OptionViolations& violations, const ReadyOnLine& probe) {
  violations.require(!probe.text.empty(), "ready.text", "of at least 1 byte", "none");
  violations.require(probe.text.find('\n') == std::string::npos, "ready.text", "a part of one line",
                     quoted(probe.text));
}
void check(detail::OptionViolations& violations, const ReadyOnConnect& probe) {
  check_place(violations, probe.address, probe.port);
}
void check(detail::OptionViolations& violations, const ReadyOnHttp& probe) {
  check_place(violations, probe.address, probe.port);
  violations.require(!probe.path.empty() && probe.path.front() == '/' &&
                         std::none_of(probe.path.begin(), probe.path.end(), breaks_request),
                     "ready.path", "a path from '/' on, without white space", quoted(probe.path));
}
void check(detail::OptionViolations& violations, const ReadyWhen& probe) {
  violations.require(static_cast<bool>(probe.check), "ready.check", "a function", "none");
}

}  // namespace

std::string_view to_string(ProcessStream stream) noexcept {
  return stream == ProcessStream::kErrors ? "errors" : "output";
}

std::string to_string(const ReadinessProbe& probe) {
  return std::visit(
      [](const auto& which) -> std::string {
        using Probe = std::decay_t<decltype(which)>;
        if constexpr (std::is_same_v<Probe, ReadyAtOnce>) {
          return "at once";
        } else if constexpr (std::is_same_v<Probe, ReadyOnLine>) {
          return fmt::format("line with {}", quoted(which.text));
        } else if constexpr (std::is_same_v<Probe, ReadyOnConnect>) {
          return fmt::format("connect {}:{}", which.address, which.port);
        } else if constexpr (std::is_same_v<Probe, ReadyOnHttp>) {
          return fmt::format("http GET {}:{}{}", which.address, which.port, which.path);
        } else {
          return "check";
        }
      },
      probe);
}

absl::Status ProcessOptions::validate() const {
  detail::OptionViolations violations;
  violations.require(!name.empty() && name.size() <= kMaxNameBytes, "name", "of 1 to 256 bytes", name.size());
  violations.require(!arguments.empty() && !arguments.front().empty(), "arguments", "a program and what it is given",
                     arguments.empty() ? "none" : "an empty one");
  violations.require(std::none_of(arguments.begin(), arguments.end(), holds_nul), "arguments", "without NUL",
                     "one with");
  for (const std::string& variable : environment) {
    const std::size_t end = variable.find('=');
    violations.require(end != std::string::npos && end != 0 && !holds_nul(variable), "environment",
                       "NAME=value each, without a NUL", quoted(variable.substr(0, end)));
  }
  violations.require(!holds_nul(working_directory), "working_directory", "without NUL", "one with");
  std::visit([&](const auto& probe) { check(violations, probe); }, ready);
  const auto positive = [&](Duration duration, std::string_view option) {
    violations.require(duration > Duration::zero(), option, "positive", detail::duration_text(duration));
  };
  positive(start_timeout, "start_timeout");
  positive(probe_interval, "probe_interval");
  positive(probe_timeout, "probe_timeout");
  violations.require(stop_signal >= 1 && stop_signal <= kMaxSignal, "stop_signal", "in [1, 64]", stop_signal);
  violations.require(graceful_timeout >= Duration::zero(), "graceful_timeout", "at least 0",
                     detail::duration_text(graceful_timeout));
  positive(kill_timeout, "kill_timeout");
  violations.require(log_bytes >= kMinLogBytes && log_bytes <= kMaxLogBytes, "log_bytes", "in [1024, 1073741824]",
                     log_bytes);
  violations.require(line_bytes >= kMinLineBytes && line_bytes <= log_bytes / 4, "line_bytes", "in [16, log_bytes / 4]",
                     line_bytes);
  if (const auto* const line = std::get_if<ReadyOnLine>(&ready)) {
    violations.require(line->text.size() <= line_bytes, "ready.text", "of at most line_bytes", line->text.size());
  }
  return violations.status(fmt::format("process '{}'", detail::shortened(name, kMaxNameBytes)));
}

}  // namespace penstock::inline PENSTOCK_ABI
