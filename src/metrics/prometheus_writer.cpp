// SPDX-License-Identifier: MIT
#include "penstock/metrics/prometheus_writer.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using Sample = detail::MetricTable::Sample;

std::vector<Duration> default_bounds() {
  using std::chrono::seconds;
  std::vector<Duration> bounds;
  for (Duration decade = std::chrono::microseconds(1); decade < seconds(100); decade *= 10) {
    bounds.insert(bounds.end(), {decade, decade * 5 / 2, decade * 5});
  }
  bounds.insert(bounds.end(), {seconds(100), seconds(300)});
  return bounds;
}

/// Appends `text` with a backslash before each backslash and, if asked, quote; a new line becomes `\n`.
void append_escaped(std::string& out, std::string_view text, bool quotes) {
  for (const char c : text) {
    if (c == '\\' || (c == '"' && quotes)) out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
}

void append_labels(std::string& out, const Sample& sample, std::string_view bound = {}) {
  if (sample.labels.empty() && bound.empty()) return;
  char separator = '{';
  for (const auto& [name, value] : sample.labels) {
    out += std::exchange(separator, ',');
    out += name;
    out += "=\"";
    append_escaped(out, value, true);
    out += '"';
  }
  if (!bound.empty()) fmt::format_to(std::back_inserter(out), "{}le=\"{}\"", separator, bound);
  out += '}';
}

std::string number_text(double number) {
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", number);
}

std::string bound_text(Duration bound) { return number_text(detail::seconds(bound)); }

}  // namespace

PrometheusWriter::PrometheusWriter(Options options) : table_(options.limits) {
  if (options.bounds.empty()) options.bounds = default_bounds();
  for (const Duration bound : options.bounds) {
    std::size_t bucket = LatencyHistogram::bucket_of(bound);
    if (LatencyHistogram::upper_bound(bucket) > bound) {
      if (bucket == 0) continue;  // below the lowest bound there is no count
      --bucket;
    }
    if (bucket + 1 < LatencyHistogram::kBuckets) last_buckets_.push_back(bucket);
  }
  std::sort(last_buckets_.begin(), last_buckets_.end());
  last_buckets_.erase(std::unique(last_buckets_.begin(), last_buckets_.end()), last_buckets_.end());
}

void PrometheusWriter::counter(std::string_view name, std::string_view help, Labels labels, std::uint64_t value) {
  table_.counter(name, help, labels, value);
}

void PrometheusWriter::gauge(std::string_view name, std::string_view help, Labels labels, double value) {
  table_.gauge(name, help, labels, value);
}

void PrometheusWriter::histogram(std::string_view name, std::string_view help, Labels labels,
                                 const LatencyHistogram::Snapshot& value) {
  table_.histogram(name, help, labels, value);
}

std::string PrometheusWriter::text() const {
  std::string text;
  for (const detail::MetricTable::Metric& metric : table_.metrics()) {
    if (!metric.help.empty()) {
      fmt::format_to(std::back_inserter(text), "# HELP {} ", metric.name);
      append_escaped(text, metric.help, false);
      text += '\n';
    }
    fmt::format_to(std::back_inserter(text), "# TYPE {} {}\n", metric.name, detail::to_string(metric.kind));
    for (const Sample& sample : metric.samples) {
      if (metric.kind == detail::MetricKind::kHistogram) {
        write_histogram(text, metric, sample);
        continue;
      }
      text += metric.name;
      append_labels(text, sample);
      text += ' ';
      text +=
          metric.kind == detail::MetricKind::kCounter ? fmt::format("{}", sample.count) : number_text(sample.number);
      text += '\n';
    }
  }
  return text;
}

void PrometheusWriter::write_histogram(std::string& text, const detail::MetricTable::Metric& metric,
                                       const Sample& sample) const {
  const LatencyHistogram::Snapshot& histogram = *sample.histogram;
  const auto line = [&](std::string_view part, std::string_view bound, std::string_view value) {
    text += metric.name;
    text += part;
    append_labels(text, sample, bound);
    text += ' ';
    text += value;
    text += '\n';
  };
  std::uint64_t count = 0;
  std::size_t next = 0;
  for (const std::size_t last : last_buckets_) {
    for (; next <= last; ++next) count += histogram.buckets()[next];
    line("_bucket", bound_text(LatencyHistogram::upper_bound(last)), fmt::format("{}", count));
  }
  const std::string total = fmt::format("{}", histogram.count());
  line("_bucket", "+Inf", total);
  line("_sum", {}, number_text(histogram.sum_seconds()));
  line("_count", {}, total);
}

}  // namespace penstock::inline PENSTOCK_ABI
