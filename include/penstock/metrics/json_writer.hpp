// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Writes JSON (RFC 8259), and the samples of a metric registry as JSON. There is no reader here.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "penstock/metrics/detail/metric_table.hpp"
#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// Writes one JSON text from left to right, on one line. Whatever the values are, the text is valid: strings are
/// escaped, bytes that are no UTF-8 become U+FFFD, and a NaN or an infinity becomes `null`.
///
///     JsonWriter json;
///     json.begin_object().key("name").value(name).key("load").value(0.5).end_object();
///     send(json.text());
///
/// Calls that make no JSON (a value without a key in an object, a key in an array, an end without its begin, a second
/// text, asking for an unfinished one) abort the program: they are mistakes in the code, whatever the data. Keys that
/// are written twice are not noticed.
///
/// Threads: one at a time.
class JsonWriter {
 public:
  struct Options {
    /// Also escapes `<`, `>`, `&`, U+2028 and U+2029, so that the text can stand in an HTML page or a script.
    bool html_safe = false;

    /// Writes integers beyond +-2^53 as strings, for readers that take every number for a double, as JavaScript does.
    bool big_integers_as_strings = false;
  };

  JsonWriter() = default;
  explicit JsonWriter(Options options) noexcept : options_(options) {}

  JsonWriter& begin_object();
  JsonWriter& end_object();
  JsonWriter& begin_array();
  JsonWriter& end_array();

  /// Begins a member of the current object; its value comes next.
  JsonWriter& key(std::string_view name);

  /// A string.
  JsonWriter& value(std::string_view text);
  /// A string that ends at its NUL; `null` for a null pointer.
  JsonWriter& value(const char* text) { return text == nullptr ? null() : value(std::string_view(text)); }
  JsonWriter& value(double number);

  /// `true`, `false` or an integer. Characters are refused, because they could mean a number or a string.
  template <std::integral Value>
  JsonWriter& value(Value number);

  JsonWriter& null();

  /// Inserts `json`, one complete JSON value that somebody else has written; it is not looked at.
  JsonWriter& raw(std::string_view json);

  /// The finished text.
  [[nodiscard]] const std::string& text() const;

  /// The finished text, moved out; the writer is as new.
  [[nodiscard]] std::string take();

  /// Whether the text is finished: one value, and all that was begun has been ended.
  [[nodiscard]] bool is_complete() const noexcept { return levels_.empty() && !text_.empty(); }

 private:
  enum class Level : std::uint8_t { kNewObject, kObject, kKey, kNewArray, kArray };

  void begin_value();
  void begin_level(Level level, char bracket);
  void append_string(std::string_view text);
  JsonWriter& boolean(bool value);
  JsonWriter& signed_integer(std::int64_t value);
  JsonWriter& unsigned_integer(std::uint64_t value);

  Options options_;
  std::string text_;
  std::vector<Level> levels_;  // what has been begun; kKey is an object that waits for a member's value
};

/// Collects samples and writes them as one JSON object, those of one metric together:
///
///     {"metrics": [{"name": "jobs_total", "type": "counter", "help": "...", "samples": [
///        {"labels": {"provider": "openai"}, "value": 12}]}]}
///
/// A histogram's sample has, in place of `value`, `count`, `sum_seconds`, `mean_seconds`, `max_seconds` and
/// `p50_seconds`, `p90_seconds`, `p99_seconds`, `p999_seconds`.
///
/// Threads: one at a time.
class JsonMetricSink final : public MetricSink {
 public:
  /// Throws: std::invalid_argument if a limit is too low.
  explicit JsonMetricSink(MetricLimits limits = {}) : table_(limits) {}

  void counter(std::string_view name, std::string_view help, Labels labels, std::uint64_t value) override;
  void gauge(std::string_view name, std::string_view help, Labels labels, double value) override;
  void histogram(std::string_view name, std::string_view help, Labels labels,
                 const LatencyHistogram::Snapshot& value) override;

  /// All samples so far, as a text of their own.
  [[nodiscard]] std::string text(JsonWriter::Options options = {}) const;

  /// All samples so far, as the next value of `json`.
  void write(JsonWriter& json) const;

  [[nodiscard]] const MetricRefusals& refusals() const noexcept { return table_.refusals(); }

 private:
  detail::MetricTable table_;
};

// --- implementation ---

template <std::integral Value>
JsonWriter& JsonWriter::value(Value number) {
  using Plain = std::remove_cv_t<Value>;
  static_assert(!std::same_as<Plain, char> && !std::same_as<Plain, wchar_t> && !std::same_as<Plain, char8_t> &&
                    !std::same_as<Plain, char16_t> && !std::same_as<Plain, char32_t>,
                "write a character as a string, or as an integer");
  static_assert(sizeof(Value) <= sizeof(std::uint64_t), "integers have at most 64 bits");
  if constexpr (std::same_as<Plain, bool>) {
    return boolean(number);
  } else if constexpr (std::is_signed_v<Plain>) {
    return signed_integer(number);
  } else {
    return unsigned_integer(number);
  }
}

}  // namespace penstock::inline PENSTOCK_ABI
