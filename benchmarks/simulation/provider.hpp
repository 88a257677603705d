// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The model of a provider: `slots` servers and one line before them. Whoever calls with more concurrency than it has
/// slots waits in that line, and is refused once the line is full.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

#include "curve.hpp"
#include "random.hpp"
#include "virtual_time.hpp"

namespace simulation {

enum class Spread : std::uint8_t { kLogNormal, kExponential, kConstant };

struct ProviderOptions {
  std::size_t slots = 50;
  std::size_t line = 25;
  double service_s = 0.8;  ///< The mean.
  Spread spread = Spread::kLogNormal;
  double sigma = 0.5;  ///< Of kLogNormal.

  Curve slowness{.base = 1.0};  ///< What the service times of calls that begin then are multiplied by.
  Curve failing{.base = 0.0};   ///< The part of the calls that fail.
  double hanging = 0.0;         ///< The part of these that are never answered; the others fail after `failure_s`.
  double failure_s = 0.1;
  double refusal_s = 0.05;
};

/// What is drawn for a call when it arrives, so that it is the same whatever becomes of it.
struct CallLuck {
  double service_s = 0;
  double failure = 0;  ///< In (0, 1): fails where it is less than the part of calls that do.
  double hanging = 0;
};

[[nodiscard]] CallLuck draw(const ProviderOptions& options, Random& random) noexcept;

enum class CallEnd : std::uint8_t {
  kServed,
  kFailed,
  kRefused,   ///< By the provider, whose line was full.
  kTimedOut,  ///< The caller gave up.
};

class Provider {
 public:
  using CallId = std::uint32_t;

  /// What becomes of a call that begins to be served.
  struct Begun {
    CallId call = 0;
    std::optional<TimePoint> end{};  ///< None: it hangs.
    CallEnd how = CallEnd::kServed;
  };

  /// `options` must outlive this.
  explicit Provider(const ProviderOptions& options) noexcept : options_(&options) {}

  enum class Answer : std::uint8_t { kBegins, kWaits, kRefuses };
  /// A call arrives. `begun` is set for kBegins.
  Answer call(CallId call, const CallLuck& luck, TimePoint now, Begun& begun);

  /// A call that had begun has ended, or its caller has hung up. Returns the next one that begins, if any.
  std::optional<Begun> leave(TimePoint now);
  /// The caller of a call in the line has hung up.
  void leave_line(CallId call);

  [[nodiscard]] std::size_t serving() const noexcept { return serving_; }
  [[nodiscard]] std::size_t in_line() const noexcept { return line_.size(); }

 private:
  struct Waiting {
    CallId call;
    CallLuck luck;
  };
  [[nodiscard]] Begun begin(CallId call, const CallLuck& luck, TimePoint now) const noexcept;

  const ProviderOptions* options_;
  std::size_t serving_ = 0;
  std::deque<Waiting> line_;
};

}  // namespace simulation
