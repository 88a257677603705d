// SPDX-License-Identifier: MIT
#include "penstock/metrics/json_writer.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/check.hpp"
#include "penstock/core/detail/duration_text.hpp"
#include "utf8.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using detail::seconds;

constexpr std::uint64_t kBiggestExact = std::uint64_t{1} << 53;  // a double counts up to here without gaps

/// The escape that every JSON text needs for the byte `c`; empty if it may stand as it is.
std::string_view short_escape(char c) noexcept {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return {};
  }
}

void write_sample(JsonWriter& json, detail::MetricKind kind, const detail::MetricTable::Sample& sample) {
  json.begin_object().key("labels").begin_object();
  for (const auto& [name, value] : sample.labels) json.key(name).value(value);
  json.end_object();
  switch (kind) {
    case detail::MetricKind::kCounter:
      json.key("value").value(sample.count);
      break;
    case detail::MetricKind::kGauge:
      json.key("value").value(sample.number);
      break;
    case detail::MetricKind::kHistogram: {
      const LatencyHistogram::Snapshot& histogram = *sample.histogram;
      json.key("count").value(histogram.count());
      json.key("sum_seconds").value(histogram.sum_seconds());
      json.key("mean_seconds").value(seconds(histogram.mean()));
      json.key("max_seconds").value(seconds(histogram.max()));
      json.key("p50_seconds").value(seconds(histogram.quantile(0.5)));
      json.key("p90_seconds").value(seconds(histogram.quantile(0.9)));
      json.key("p99_seconds").value(seconds(histogram.quantile(0.99)));
      json.key("p999_seconds").value(seconds(histogram.quantile(0.999)));
      break;
    }
  }
  json.end_object();
}

}  // namespace

JsonWriter& JsonWriter::begin_object() {
  begin_level(Level::kNewObject, '{');
  return *this;
}

JsonWriter& JsonWriter::begin_array() {
  begin_level(Level::kNewArray, '[');
  return *this;
}

JsonWriter& JsonWriter::end_object() {
  PENSTOCK_CHECK(!levels_.empty() && (levels_.back() == Level::kNewObject || levels_.back() == Level::kObject),
                 "JSON writer: no object to end here");
  levels_.pop_back();
  text_ += '}';
  return *this;
}

JsonWriter& JsonWriter::end_array() {
  PENSTOCK_CHECK(!levels_.empty() && (levels_.back() == Level::kNewArray || levels_.back() == Level::kArray),
                 "JSON writer: no array to end here");
  levels_.pop_back();
  text_ += ']';
  return *this;
}

JsonWriter& JsonWriter::key(std::string_view name) {
  PENSTOCK_CHECK(!levels_.empty() && (levels_.back() == Level::kNewObject || levels_.back() == Level::kObject),
                 "JSON writer: no member can begin here");
  if (levels_.back() == Level::kObject) text_ += ',';
  append_string(name);
  text_ += ':';
  levels_.back() = Level::kKey;
  return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) {
  begin_value();
  append_string(text);
  return *this;
}

JsonWriter& JsonWriter::value(double number) {
  if (!std::isfinite(number)) return null();
  begin_value();
  fmt::format_to(std::back_inserter(text_), "{}",
                 number);  // the shortest text that reads as this number, in any locale
  return *this;
}

JsonWriter& JsonWriter::null() { return raw("null"); }

JsonWriter& JsonWriter::raw(std::string_view json) {
  PENSTOCK_CHECK(!json.empty(), "JSON writer: an empty text is no value");
  begin_value();
  text_ += json;
  return *this;
}

const std::string& JsonWriter::text() const {
  PENSTOCK_CHECK(is_complete(), "JSON writer: the text is not finished");
  return text_;
}

std::string JsonWriter::take() {
  PENSTOCK_CHECK(is_complete(), "JSON writer: the text is not finished");
  return std::exchange(text_, {});
}

/// Writes what has to stand before a value, and notes that there is one.
void JsonWriter::begin_value() {
  if (levels_.empty()) {
    PENSTOCK_CHECK(text_.empty(), "JSON writer: the text is finished");
    return;
  }
  Level& level = levels_.back();
  PENSTOCK_CHECK(level != Level::kNewObject && level != Level::kObject,
                 "JSON writer: a value in an object needs a key");
  if (level == Level::kArray) text_ += ',';
  level = level == Level::kKey ? Level::kObject : Level::kArray;
}

void JsonWriter::begin_level(Level level, char bracket) {
  begin_value();
  text_ += bracket;
  levels_.push_back(level);
}

void JsonWriter::append_string(std::string_view text) {
  const auto is_plain = [html = options_.html_safe](char c) {
    return c >= 0x20 && c != '"' && c != '\\' && static_cast<unsigned char>(c) < 0x80 &&
           !(html && (c == '<' || c == '>' || c == '&'));
  };
  text_ += '"';
  while (!text.empty()) {
    const auto plain = static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_plain) - text.begin());
    text_ += text.substr(0, plain);
    text.remove_prefix(plain);
    if (text.empty()) break;
    const char c = text.front();
    const detail::Utf8Sequence sequence = detail::first_utf8_sequence(text);
    const std::string_view bytes = text.substr(0, sequence.size);
    text.remove_prefix(sequence.size);
    if (!sequence.valid) {
      text_ += detail::kReplacementCharacter;
    } else if (const std::string_view escape = short_escape(c); !escape.empty()) {
      text_ += escape;
    } else if (sequence.size == 1) {
      fmt::format_to(std::back_inserter(text_), "\\u{:04x}", static_cast<unsigned>(c));
    } else if (options_.html_safe && (bytes == "\xE2\x80\xA8" || bytes == "\xE2\x80\xA9")) {
      text_ += bytes.back() == '\xA8' ? "\\u2028" : "\\u2029";  // ends of lines to JavaScript
    } else {
      text_ += bytes;
    }
  }
  text_ += '"';
}

JsonWriter& JsonWriter::boolean(bool value) { return raw(value ? "true" : "false"); }

JsonWriter& JsonWriter::signed_integer(std::int64_t value) {
  if (value >= 0) return unsigned_integer(static_cast<std::uint64_t>(value));
  begin_value();
  const bool quoted = options_.big_integers_as_strings && value < -static_cast<std::int64_t>(kBiggestExact);
  fmt::format_to(std::back_inserter(text_), "{0}{1}{0}", quoted ? "\"" : "", value);
  return *this;
}

JsonWriter& JsonWriter::unsigned_integer(std::uint64_t value) {
  begin_value();
  const bool quoted = options_.big_integers_as_strings && value > kBiggestExact;
  fmt::format_to(std::back_inserter(text_), "{0}{1}{0}", quoted ? "\"" : "", value);
  return *this;
}

void JsonMetricSink::counter(std::string_view name, std::string_view help, Labels labels, std::uint64_t value) {
  table_.counter(name, help, labels, value);
}

void JsonMetricSink::gauge(std::string_view name, std::string_view help, Labels labels, double value) {
  table_.gauge(name, help, labels, value);
}

void JsonMetricSink::histogram(std::string_view name, std::string_view help, Labels labels,
                               const LatencyHistogram::Snapshot& value) {
  table_.histogram(name, help, labels, value);
}

std::string JsonMetricSink::text(JsonWriter::Options options) const {
  JsonWriter json(options);
  write(json);
  return json.take();
}

void JsonMetricSink::write(JsonWriter& json) const {
  json.begin_object().key("metrics").begin_array();
  for (const detail::MetricTable::Metric& metric : table_.metrics()) {
    json.begin_object();
    json.key("name").value(metric.name);
    json.key("type").value(detail::to_string(metric.kind));
    json.key("help").value(metric.help);
    json.key("samples").begin_array();
    for (const detail::MetricTable::Sample& sample : metric.samples) write_sample(json, metric.kind, sample);
    json.end_array().end_object();
  }
  json.end_array().end_object();
}

}  // namespace penstock::inline PENSTOCK_ABI
