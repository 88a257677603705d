// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Metrics as Prometheus reads them: the text format, version 0.0.4.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "penstock/metrics/detail/metric_table.hpp"
#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// Collects the samples of one scrape and writes them as text, those of one metric together under one HELP and one TYPE
/// line, in whatever order they came. A counter's name is completed by `_total`, a histogram's by `_seconds`.
///
/// What Prometheus would reject, and with it the whole scrape, is left out and counted in `refusals()`. Values may be
/// NaN or infinite: the format has words for them.
///
/// Threads: one at a time; make one for each scrape.
class PrometheusWriter final : public MetricSink {
 public:
  struct Options {
    MetricLimits limits;

    /// The `le` bounds of a histogram, in any order; the infinite one is always there. A bound that is no bound of
    /// LatencyHistogram's buckets is replaced by the next one below it, so that all counts are exact.
    /// Empty: 1, 2.5 and 5 of each decade from 1 us to 50 s, then 100 s and 300 s.
    std::vector<Duration> bounds;
  };

  /// The content type of an HTTP answer with this text.
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

  PrometheusWriter() : PrometheusWriter(Options{}) {}
  /// Throws: std::invalid_argument if a limit is too low.
  explicit PrometheusWriter(Options options);

  void counter(std::string_view name, std::string_view help, Labels labels, std::uint64_t value) override;
  void gauge(std::string_view name, std::string_view help, Labels labels, double value) override;
  void histogram(std::string_view name, std::string_view help, Labels labels,
                 const LatencyHistogram::Snapshot& value) override;

  /// All samples so far.
  [[nodiscard]] std::string text() const;

  [[nodiscard]] const MetricRefusals& refusals() const noexcept { return table_.refusals(); }

 private:
  void write_histogram(std::string& text, const detail::MetricTable::Metric& metric,
                       const detail::MetricTable::Sample& sample) const;

  detail::MetricTable table_;
  std::vector<std::size_t> last_buckets_;  // for each bound, the highest bucket at or below it; ascending
};

}  // namespace penstock::inline PENSTOCK_ABI
