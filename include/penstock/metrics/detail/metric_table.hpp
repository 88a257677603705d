// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Samples in the order in which they are written out: those of one metric together, whoever sent them when.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "penstock/core/detail/string_key.hpp"
#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

enum class MetricKind : std::uint8_t { kCounter, kGauge, kHistogram };

std::string_view to_string(MetricKind kind) noexcept;

/// Keeps metrics in the order of their first samples, checks and completes names, and enforces the limits.
///
/// Threads: one at a time.
class MetricTable {
 public:
  struct Sample {
    std::vector<std::pair<std::string, std::string>> labels;  // sorted by name; values are valid UTF-8, and not empty
    std::uint64_t count = 0;                                  // of a counter
    double number = 0;                                        // of a gauge
    std::unique_ptr<LatencyHistogram::Snapshot> histogram;    // of a histogram
  };
  struct Metric {
    std::string name;
    std::string help;
    MetricKind kind = MetricKind::kCounter;
    std::vector<Sample> samples;
    StringMap<std::size_t> index;  // from the labels to the sample
  };

  /// Throws: std::invalid_argument that lists all limits which are too low.
  explicit MetricTable(MetricLimits limits);

  void counter(std::string_view name, std::string_view help, Labels labels, std::uint64_t value);
  void gauge(std::string_view name, std::string_view help, Labels labels, double value);
  void histogram(std::string_view name, std::string_view help, Labels labels, const LatencyHistogram::Snapshot& value);

  [[nodiscard]] const std::vector<Metric>& metrics() const noexcept { return metrics_; }
  [[nodiscard]] const MetricRefusals& refusals() const noexcept { return refusals_; }

 private:
  /// The sample to write to, or null if it is refused; `*fresh` says whether it has no value yet.
  Sample* find_or_add(MetricKind kind, std::string_view name, std::string_view help, Labels labels, bool* fresh);
  Metric* metric(MetricKind kind, std::string_view name, std::string_view help);
  bool copy_labels(MetricKind kind, Labels labels, Sample& sample);
  std::string limited_value(std::string_view value);

  const MetricLimits limits_;
  std::vector<Metric> metrics_;
  StringMap<std::size_t> names_;  // also those that a histogram's parts have in the text format
  MetricRefusals refusals_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
