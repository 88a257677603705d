// SPDX-License-Identifier: MIT
#include "penstock/metrics/detail/metric_table.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

#include <fmt/format.h>

#include "utf8.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::size_t kHashBytes = 17;  // '#' and sixteen hexadecimal digits
constexpr std::size_t kLeastValueBytes = 32;
constexpr std::string_view kOther = "other";

bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

bool is_metric_name(std::string_view name) noexcept {
  const auto allowed = [](char c) { return is_letter(c) || is_digit(c) || c == ':'; };
  return !name.empty() && !is_digit(name.front()) && std::all_of(name.begin(), name.end(), allowed);
}

bool is_label_name(std::string_view name) noexcept {
  const auto allowed = [](char c) { return is_letter(c) || is_digit(c); };
  // Names that begin with two underscores belong to Prometheus.
  return !name.empty() && !is_digit(name.front()) && name.substr(0, 2) != "__" &&
         std::all_of(name.begin(), name.end(), allowed);
}

/// `name` with the ending that its kind demands.
std::string complete_name(MetricKind kind, std::string_view name) {
  const std::string_view ending = kind == MetricKind::kCounter     ? "_total"
                                  : kind == MetricKind::kHistogram ? "_seconds"
                                                                   : "";
  std::string result(name);
  const bool there =
      result.size() >= ending.size() && result.compare(result.size() - ending.size(), ending.size(), ending) == 0;
  if (!there) result += ending;
  return result;
}

/// Tells values apart that are equal in what is kept of them. FNV-1a: no secret and no proof, only a name.
std::uint64_t hash_of(std::string_view text) noexcept {
  std::uint64_t hash = 0xCBF29CE484222325U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  return hash;
}

/// One string for equal labels. 0xFF is no part of UTF-8, so nothing in a value can look like a separator.
std::string key_of(const MetricTable::Sample& sample) {
  std::string key;
  for (const auto& [name, value] : sample.labels) key.append(name).append("\xFF").append(value).append("\xFF");
  return key;
}

}  // namespace

std::string_view to_string(MetricKind kind) noexcept {
  switch (kind) {
    case MetricKind::kCounter:
      return "counter";
    case MetricKind::kGauge:
      return "gauge";
    case MetricKind::kHistogram:
      return "histogram";
  }
  return "untyped";
}

MetricTable::MetricTable(MetricLimits limits) : limits_(limits) {
  std::string violations;
  if (limits.label_value_bytes < kLeastValueBytes) {
    violations += fmt::format("; limits.label_value_bytes must be at least {}, got {}", kLeastValueBytes,
                              limits.label_value_bytes);
  }
  if (limits.samples_per_metric == 0) violations += "; limits.samples_per_metric must be at least 1, got 0";
  if (!violations.empty()) throw std::invalid_argument("metric sink: " + violations.substr(2));
}

void MetricTable::counter(std::string_view name, std::string_view help, Labels labels, std::uint64_t value) {
  bool fresh = false;
  if (Sample* const sample = find_or_add(MetricKind::kCounter, name, help, labels, &fresh)) sample->count += value;
}

void MetricTable::gauge(std::string_view name, std::string_view help, Labels labels, double value) {
  bool fresh = false;
  Sample* const sample = find_or_add(MetricKind::kGauge, name, help, labels, &fresh);
  if (sample != nullptr) sample->number = fresh ? value : sample->number + value;  // 0.0 + -0.0 would lose the sign
}

void MetricTable::histogram(std::string_view name, std::string_view help, Labels labels,
                            const LatencyHistogram::Snapshot& value) {
  auto copy =
      std::make_unique<LatencyHistogram::Snapshot>(value);  // first, so that a failure leaves no sample without it
  bool fresh = false;
  Sample* const sample = find_or_add(MetricKind::kHistogram, name, help, labels, &fresh);
  if (sample == nullptr) return;
  if (fresh) {
    sample->histogram = std::move(copy);
  } else {
    sample->histogram->merge(value);
  }
}

MetricTable::Sample* MetricTable::find_or_add(MetricKind kind, std::string_view name, std::string_view help,
                                              Labels labels, bool* fresh) {
  Sample sample;
  if (!is_metric_name(name) || !copy_labels(kind, labels, sample)) {
    ++refusals_.bad_names;
    return nullptr;
  }
  Metric* const target = metric(kind, name, help);
  if (target == nullptr) {
    ++refusals_.conflicts;
    return nullptr;
  }
  std::string key = key_of(sample);
  if (target->index.contains(key)) {
    // The sum in `other` may meet a sample that has these values by itself; it belongs there.
    const bool is_other =
        !sample.labels.empty() && std::all_of(sample.labels.begin(), sample.labels.end(),
                                              [](const auto& label) { return label.second == kOther; });
    if (!is_other) {
      ++refusals_.duplicates;
      return nullptr;
    }
  } else if (target->samples.size() >= limits_.samples_per_metric && !sample.labels.empty()) {
    for (auto& label : sample.labels) label.second = kOther;
    key = key_of(sample);
    ++refusals_.merged;
  }
  if (const auto found = target->index.find(key); found != target->index.end()) {
    *fresh = false;
    return &target->samples[found->second];
  }
  *fresh = true;
  target->samples.push_back(std::move(sample));
  try {
    target->index.emplace(std::move(key), target->samples.size() - 1);
  } catch (...) {
    target->samples.pop_back();
    throw;
  }
  return &target->samples.back();
}

/// The metric `name`, made if it is new; null if that name, or one of its parts, belongs to another metric.
MetricTable::Metric* MetricTable::metric(MetricKind kind, std::string_view name, std::string_view help) {
  std::string full = complete_name(kind, name);
  if (const auto found = names_.find(full); found != names_.end()) {
    Metric& known = metrics_[found->second];
    if (known.kind != kind || known.name != full) return nullptr;
    if (known.help.empty()) known.help = valid_utf8(help);
    return &known;
  }
  std::vector<std::string> names{full};
  if (kind == MetricKind::kHistogram) {
    for (const std::string_view part : {"_bucket", "_sum", "_count"}) names.push_back(full + std::string(part));
  }
  for (const std::string& part : names) {
    if (names_.contains(part)) return nullptr;
  }
  Metric fresh;
  fresh.name = std::move(full);
  fresh.help = valid_utf8(help);
  fresh.kind = kind;
  metrics_.push_back(std::move(fresh));
  for (std::string& part : names) names_.emplace(std::move(part), metrics_.size() - 1);
  return &metrics_.back();
}

/// Copies what is allowed of `labels`; returns false if a name is not.
bool MetricTable::copy_labels(MetricKind kind, Labels labels, Sample& sample) {
  for (auto label = labels.begin(); label != labels.end(); ++label) {
    if (!is_label_name(label->name)) return false;
    if (kind == MetricKind::kHistogram && label->name == "le") return false;  // the name of the bucket's bound
    const auto same_name = [&](const Label& other) { return other.name == label->name; };
    if (std::any_of(labels.begin(), label, same_name)) return false;
    // To Prometheus an empty value and no label are the same.
    if (!label->value.empty()) sample.labels.emplace_back(label->name, limited_value(label->value));
  }
  std::sort(sample.labels.begin(), sample.labels.end());
  return true;
}

std::string MetricTable::limited_value(std::string_view value) {
  const std::size_t limit = limits_.label_value_bytes;
  if (value.size() <= limit) {
    std::string valid = valid_utf8(value);
    if (valid.size() <= limit) return valid;  // replacement characters are longer than what they replace
  }
  ++refusals_.cut_values;
  const std::string valid = valid_utf8(value.substr(0, limit));  // the rest would be cut off anyway
  return fmt::format("{}#{:016x}", utf8_prefix(valid, limit - kHashBytes), hash_of(value));
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
