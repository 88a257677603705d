// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A reader of the Prometheus text format 0.0.4 that accepts nothing but what the format's description promises, and
/// none of the freedom it leaves: one space between words, HELP before TYPE before samples, each metric in one place.

#include <map>
#include <string>
#include <string_view>

namespace penstock::testing {

struct PrometheusMetric {
  std::string help;
  std::string type;
  /// By name and labels as one text, escapes resolved: `name{label=value,label=value}`.
  std::map<std::string, double> samples;
};

using PrometheusMetrics = std::map<std::string, PrometheusMetric>;

/// Throws: std::runtime_error with the line and what is wrong with it.
PrometheusMetrics parse_prometheus(std::string_view text);

}  // namespace penstock::testing
