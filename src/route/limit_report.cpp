// SPDX-License-Identifier: MIT

// What a concurrency limiter says: of the options it is given, of a refusal, and of itself.

#include <cmath>
#include <set>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "absl/status/status.h"

#include "limit_violations.hpp"
#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/core/failure_stage.hpp"
#include "penstock/metrics/sink.hpp"
#include "penstock/route/detail/limit_core.hpp"
#include "rounded_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;
constexpr std::size_t kMaxPartitions = 100;
constexpr std::string_view kDefault = "default";  // the label of those who name no partition

void add_violations(const std::vector<LimitPartition>& partitions, double default_share,
                    detail::OptionViolations& violations) {
  violations.require(partitions.size() <= kMaxPartitions, "partitions.size()",
                     fmt::format("at most {}", kMaxPartitions), partitions.size());
  violations.require(default_share >= 0 && default_share <= 1, "default_share", "in [0, 1]", default_share);
  std::set<std::string_view> names;
  double sum = default_share;
  for (const LimitPartition& partition : partitions) {
    sum += partition.share;
    const std::string shown = fmt::format("partitions['{}']", detail::shortened(partition.name, kMaxNameBytes));
    violations.require(!partition.name.empty() && partition.name.size() <= kMaxNameBytes, shown + ".name",
                       "1 to 256 bytes long", partition.name.size());
    violations.require(partition.name != kDefault, shown + ".name", "another: it means those who name none", kDefault);
    violations.require(names.insert(partition.name).second, shown + ".name", "unlike all others", "it twice");
    violations.require(partition.share > 0 && partition.share <= 1, shown + ".share", "in (0, 1]", partition.share);
  }
  // Ten tenths are more than one.
  if (!partitions.empty()) violations.require(sum <= 1 + 1e-9, "shares, with default_share,", "at most 1 in all", sum);
}

}  // namespace

LimitOutcome classify_limit(const absl::Status& status) noexcept {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return LimitOutcome::kSuccess;
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded: {
      // Where things did not come as far as a call, it is our side that had too much to do.
      const auto stage = failure_stage(status);
      return !stage || *stage == "run" ? LimitOutcome::kDropped : LimitOutcome::kIgnored;
    }
    default:
      return LimitOutcome::kIgnored;
  }
}

absl::Status ConcurrencyLimiterOptions::validate() const {
  detail::OptionViolations violations;
  violations.require(name.size() <= kMaxNameBytes, "name", "at most 256 bytes long", name.size());
  if (!make_algorithm) {
    detail::add_violations(algorithm, "algorithm.", violations);
    const bool can_probe =
        !std::holds_alternative<FixedLimit>(algorithm) && !std::holds_alternative<AimdLimit>(algorithm);
    violations.require(!probe || can_probe, "probe", "absent with a fixed or an AIMD limit", "one");
  }
  if (window) detail::add_violations(*window, "window.", violations);
  if (probe) detail::add_violations(*probe, "probe.", violations);
  add_violations(partitions, default_share, violations);
  violations.require(order == Order::kFifo || order == Order::kLifo, "order", "kFifo or kLifo",
                     static_cast<int>(order));
  violations.require(wait_timeout >= Duration::zero(), "wait_timeout", "not negative",
                     detail::rounded_text(wait_timeout));
  const bool is_known = timing == Timing::kByCaller || timing == Timing::kCoarse || timing == Timing::kExact;
  violations.require(is_known, "timing", "kByCaller, kCoarse or kExact", static_cast<int>(timing));
  violations.require(clock != nullptr, "clock", "a clock", "null");
  return violations.status(fmt::format("concurrency limiter '{}'", detail::shortened(name, kMaxNameBytes)));
}

absl::Status to_status(const LimitRefusal& refusal, std::string_view name) {
  std::string numbers =
      fmt::format("limit {}, {} in flight, {} waiting", refusal.limit, refusal.in_flight, refusal.waiting);
  if (refusal.has_partition) {
    numbers += fmt::format("; of its partition {} in flight, {} guaranteed", refusal.partition_in_flight,
                           refusal.partition_guarantee);
  }
  const std::string subject = fmt::format("concurrency limiter '{}'", name);
  absl::Status status;
  switch (refusal.status) {
    case OpStatus::kTimedOut:
      status = absl::DeadlineExceededError(
          fmt::format("{}: no slot in time (waited {}, {})", subject, detail::rounded_text(refusal.waited), numbers));
      break;
    case OpStatus::kCancelled:
      status = absl::CancelledError(fmt::format("{}: cancelled while waiting for a slot (waited {}, {})", subject,
                                                detail::rounded_text(refusal.waited), numbers));
      break;
    case OpStatus::kClosed:
      status = absl::UnavailableError(fmt::format("{}: closed", subject));
      break;
    case OpStatus::kOk:
    case OpStatus::kFull:
    case OpStatus::kEmpty:
      status = absl::ResourceExhaustedError(fmt::format("{}: full ({})", subject, numbers));
      break;
  }
  return with_failure_stage(std::move(status), "limit");
}

namespace detail {

ConcurrencyLimiterStats LimitCore::stats() const {
  ConcurrencyLimiterStats stats;
  {
    std::array<char, 32> algorithm{};
    {
      const SpinLockGuard lock(sample_lock_);
      algorithm = algorithm_name_;
      stats.min_rtt = min_rtt_;
      stats.window_rtt = window_rtt_;
      stats.missed_samples = missed_samples_;
    }
    stats.algorithm = algorithm.data();
  }
  const auto counts = counts_.snapshot();
  const auto count = [&](Count which) { return counts[static_cast<std::size_t>(which)]; };
  stats.success = count(Count::kSuccess);
  stats.dropped = count(Count::kDropped);
  stats.ignored = count(Count::kIgnored);
  stats.abandoned = count(Count::kAbandoned);
  stats.doubled_reports = count(Count::kDoubled);
  stats.rejected = count(Count::kRejected);

  Shares shares;  // for their names, which are copied without the mutex
  for (std::size_t wanted = 0;;) {
    shares.reserve(wanted);
    stats.partitions.resize(wanted);
    const MutexLock lock(mutex_);
    if (shares_.size() + 1 > wanted) {
      wanted = shares_.size() + 1;
      continue;
    }
    const std::uint64_t word = word_.value.load(kRelaxed);
    stats.limit = limit_word::limit(word);
    stats.in_flight = limit_word::in_flight(word);
    stats.waiting = waiting_;
    stats.closed = closed_;
    stats.waits = places_;
    stats.timed_out = timed_out_;
    stats.cancelled = cancelled_;
    stats.refused_closed = refused_closed_;
    stats.limit_changes = limit_changes_;
    stats.caught_exceptions = caught_exceptions_;
    if (!has_partitions_) break;
    const auto describe = [&](const LimitShare& share, LimitPartitionStats& into)
                              ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                                into.share = share.share;
                                into.guarantee = guarantee(share, stats.limit);
                                into.in_flight = share.in_flight;
                                into.waiting = share.waiting;
                                into.acquired = share.acquired;
                                into.rejected = share.rejected;
                              };
    describe(default_share_, stats.partitions[0]);
    for (const auto& share : shares_) {
      shares.push_back(share);
      describe(*share, stats.partitions[shares.size()]);
    }
    break;
  }
  stats.partitions.resize(shares.empty() ? 0 : shares.size() + 1);
  for (std::size_t i = 0; i != shares.size(); ++i) stats.partitions[i + 1].name = shares[i]->name;
  return stats;
}

void LimitCore::collect(MetricSink& sink) const {
  const ConcurrencyLimiterStats now = stats();
  const Label limiter{"limiter", name_};
  const auto gauge = [&](std::string_view metric, std::string_view help, double value) {
    sink.gauge(metric, help, {limiter}, value);
  };
  using detail::seconds;
  gauge("penstock_limiter_limit", "calls that may be in flight", static_cast<double>(now.limit));
  gauge("penstock_limiter_inflight", "calls that are in flight", static_cast<double>(now.in_flight));
  gauge("penstock_limiter_waiting", "callers in line", static_cast<double>(now.waiting));
  gauge("penstock_limiter_min_rtt_seconds",
        "time of a call that does not queue, as the algorithm sees it; 0: not known", seconds(now.min_rtt));
  gauge("penstock_limiter_window_rtt_seconds", "time that the algorithm last compared with that",
        seconds(now.window_rtt));

  const auto calls = [&](std::string_view outcome, std::uint64_t count) {
    sink.counter("penstock_limiter_calls_total", "calls by what they said about the other side",
                 {limiter, {"outcome", outcome}}, count);
  };
  calls("success", now.success);
  calls("dropped", now.dropped);
  calls("ignored", now.ignored);
  calls("abandoned", now.abandoned);
  const auto gave_up = [&](std::string_view reason, std::uint64_t count) {
    sink.counter("penstock_limiter_gave_up_total", "callers that got no slot though they would have waited",
                 {limiter, {"reason", reason}}, count);
  };
  gave_up("timed_out", now.timed_out);
  gave_up("cancelled", now.cancelled);
  gave_up("closed", now.refused_closed);
  const auto counter = [&](std::string_view metric, std::string_view help, std::uint64_t value) {
    sink.counter(metric, help, {limiter}, value);
  };
  counter("penstock_limiter_rejected_total", "callers that were refused at once", now.rejected);
  counter("penstock_limiter_waits_total", "callers that have stood in line", now.waits);
  counter("penstock_limiter_limit_changes_total", "changes of the limit", now.limit_changes);
  counter("penstock_limiter_doubled_reports_total", "reports on calls that had been reported", now.doubled_reports);
  counter("penstock_limiter_missed_samples_total", "calls that came too fast for the algorithm", now.missed_samples);
  counter("penstock_limiter_caught_exceptions_total", "exceptions of the classifier and of the maker of algorithms",
          now.caught_exceptions);

  for (const LimitPartitionStats& each : now.partitions) {
    const Label partition{"partition", each.name.empty() ? kDefault : std::string_view(each.name)};
    const auto of_partition = [&](std::string_view metric, std::string_view help, std::size_t value) {
      sink.gauge(metric, help, {limiter, partition}, static_cast<double>(value));
    };
    of_partition("penstock_limiter_partition_guarantee", "calls of the partition that the others cannot keep out",
                 each.guarantee);
    of_partition("penstock_limiter_partition_inflight", "calls of the partition that are in flight", each.in_flight);
    of_partition("penstock_limiter_partition_waiting", "callers of the partition in line", each.waiting);
    const auto total = [&](std::string_view metric, std::string_view help, std::uint64_t value) {
      sink.counter(metric, help, {limiter, partition}, value);
    };
    total("penstock_limiter_partition_acquired_total", "slots that the partition has had", each.acquired);
    total("penstock_limiter_partition_rejected_total", "callers of the partition that were refused at once",
          each.rejected);
  }
}

}  // namespace detail
}  // namespace penstock::inline PENSTOCK_ABI
