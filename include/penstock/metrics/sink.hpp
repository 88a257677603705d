// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Where a component's numbers go when somebody asks for them.

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>
#include <type_traits>

#include "penstock/metrics/histogram.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// Tells samples of one metric from each other. A value is one of few: a provider, a model, a state; never a request
/// id.
struct Label {
  std::string_view name;
  std::string_view value;
};

/// The labels of one sample; refers to them, like a span, and can be written in place: `{{"provider", name}}`.
class Labels {
 public:
  constexpr Labels() noexcept = default;
  /// From a vector, an array, a span.
  template <class Range>
  requires(!std::is_same_v<Range, Labels> &&
           std::is_convertible_v<const Range&, std::span<const Label>>) constexpr Labels(const Range& labels) noexcept
      : labels_(labels) {}
  /// The list lives until the end of the full expression, which is as long as a sink needs it.
  constexpr Labels(std::initializer_list<Label> labels) noexcept : labels_(std::data(labels), labels.size()) {}

  [[nodiscard]] constexpr auto begin() const noexcept { return labels_.begin(); }
  [[nodiscard]] constexpr auto end() const noexcept { return labels_.end(); }
  [[nodiscard]] constexpr std::size_t size() const noexcept { return labels_.size(); }

 private:
  std::span<const Label> labels_;
};

/// What a sink that keeps samples accepts. Labels come from outside, so their number and length must have an end.
struct MetricLimits {
  /// A longer label value is cut, and ends in `#` and a hash of the whole, so that different ones stay different. At
  /// least 32.
  std::size_t label_value_bytes = 128;

  /// Samples of a metric with further label values are added up in one whose values are all `other`. At least 1.
  std::size_t samples_per_metric = 1000;
};

/// What a sink did not take as it came.
struct MetricRefusals {
  std::uint64_t bad_names = 0;   ///< samples left out: metric or label name not allowed, or a label name used twice
  std::uint64_t conflicts = 0;   ///< samples left out: the name belongs to a metric of another kind
  std::uint64_t duplicates = 0;  ///< samples left out: name and labels were there already
  std::uint64_t cut_values = 0;  ///< label values longer than the limit
  std::uint64_t merged = 0;      ///< samples added to `other`

  friend bool operator==(const MetricRefusals&, const MetricRefusals&) = default;
};

/// Receives samples, one call each, in any order. What the arguments refer to is gone after the call.
///
/// Names follow Prometheus: letters, digits and `_`, base units, `_total` at the end of a counter and `_seconds` at the
/// end of a histogram. `help` says in one line what the metric means; the first one given for a name is kept.
///
/// Threads: one at a time, unless an implementation promises more.
class MetricSink {
 public:
  virtual ~MetricSink() = default;

  /// A count that only goes up while its component lives.
  virtual void counter(std::string_view name, std::string_view help, Labels labels, std::uint64_t value) = 0;

  /// A number that goes up and down.
  virtual void gauge(std::string_view name, std::string_view help, Labels labels, double value) = 0;

  /// A distribution of durations.
  virtual void histogram(std::string_view name, std::string_view help, Labels labels,
                         const LatencyHistogram::Snapshot& value) = 0;

 protected:
  MetricSink() = default;
  MetricSink(const MetricSink&) = default;
  MetricSink& operator=(const MetricSink&) = default;
};

}  // namespace penstock::inline PENSTOCK_ABI
