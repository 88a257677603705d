// SPDX-License-Identifier: MIT
#include "metrics/prometheus_parser.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace penstock::testing {
namespace {

bool is_valid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = [&](std::size_t offset) -> std::uint32_t {
      return at + offset < text.size() ? static_cast<unsigned char>(text[at + offset]) : 0U;
    };
    const std::uint32_t lead = byte(0);
    const std::size_t size = lead < 0x80   ? 1
                             : lead < 0xC0 ? 0
                             : lead < 0xE0 ? 2
                             : lead < 0xF0 ? 3
                             : lead < 0xF8 ? 4
                                           : 0;
    if (size == 0) return false;
    std::uint32_t code = size == 1 ? lead : lead & (0x7FU >> size);
    for (std::size_t offset = 1; offset < size; ++offset) {
      if ((byte(offset) & 0xC0U) != 0x80) return false;
      code = code << 6 | (byte(offset) & 0x3FU);
    }
    static constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code < kLeast[size] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
    at += size;
  }
  return true;
}

/// Reads one line from left to right.
class Line {
 public:
  Line(std::string_view text, std::size_t number) : rest_(text), text_(text), number_(number) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error("line " + std::to_string(number_) + ": " + what + ": " + std::string(text_));
  }
  [[nodiscard]] bool at_end() const { return rest_.empty(); }
  [[nodiscard]] bool take(std::string_view expected) {
    if (rest_.substr(0, expected.size()) != expected) return false;
    rest_.remove_prefix(expected.size());
    return true;
  }
  void expect(std::string_view expected) {
    if (!take(expected)) fail("expected '" + std::string(expected) + "'");
  }
  std::string name(bool colons) {
    std::size_t size = 0;
    const auto letter = [&](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c == ':' && colons);
    };
    while (size < rest_.size() && (letter(rest_[size]) || (size > 0 && rest_[size] >= '0' && rest_[size] <= '9')))
      ++size;
    if (size == 0) fail("expected a name");
    std::string result(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return result;
  }
  /// Up to the closing quote, or to the end of the line without quotes.
  std::string escaped(bool quoted) {
    std::string result;
    for (;;) {
      if (rest_.empty()) {
        if (quoted) fail("no closing quote");
        return result;
      }
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"' && quoted) return result;
      if (c != '\\') {
        result += c;
      } else if (take("\\")) {
        result += '\\';
      } else if (take("n")) {
        result += '\n';
      } else if (quoted && take("\"")) {
        result += '"';
      } else {
        fail("unknown escape");
      }
    }
  }
  double number() {
    const std::string word(rest_);
    rest_ = {};
    if (word == "NaN") return std::numeric_limits<double>::quiet_NaN();
    if (word == "+Inf") return std::numeric_limits<double>::infinity();
    if (word == "-Inf") return -std::numeric_limits<double>::infinity();
    if (word.find_first_not_of("0123456789+-.e") != std::string::npos) fail("no number");
    char* end = nullptr;
    const double value = std::strtod(word.c_str(), &end);
    if (word.empty() || *end != '\0') fail("no number");
    return value;
  }

 private:
  std::string_view rest_;
  const std::string_view text_;
  const std::size_t number_;
};

/// The buckets, sum and count of one histogram's labels.
struct Histogram {
  std::vector<std::pair<double, double>> buckets;
  std::optional<double> sum;
  std::optional<double> count;
};

class Parser {
 public:
  PrometheusMetrics parse(std::string_view text) {
    if (!text.empty() && text.back() != '\n') throw std::runtime_error("the last line has no end");
    if (!is_valid_utf8(text)) throw std::runtime_error("no UTF-8");
    for (std::size_t number = 1; !text.empty(); ++number) {
      const std::size_t size = text.find('\n');
      Line line(text.substr(0, size), number);
      parse_line(line);
      text.remove_prefix(size + 1);
    }
    finish();
    return std::move(metrics_);
  }

 private:
  void parse_line(Line& line) {
    if (line.take("# HELP ")) {
      begin(line, line.name(true));
      line.expect(" ");
      metrics_[current_].help = line.escaped(false);
    } else if (line.take("# TYPE ")) {
      const std::string name = line.name(true);
      if (name != current_ || !metrics_[name].type.empty()) begin(line, name);
      line.expect(" ");
      metrics_[current_].type = line.escaped(false);
      const std::string& type = metrics_[current_].type;
      if (type != "counter" && type != "gauge" && type != "histogram") line.fail("unknown type");
    } else {
      sample(line);
    }
  }

  void begin(const Line& line, const std::string& name) {
    finish();
    if (metrics_.count(name) != 0) line.fail("metric in two places");
    current_ = name;
    metrics_[name];
  }

  void sample(Line& line) {
    const std::string name = line.name(true);
    PrometheusMetric& metric = metrics_[current_];
    if (current_.empty() || metric.type.empty()) line.fail("sample before its TYPE");
    std::vector<std::pair<std::string, std::string>> labels;
    std::optional<std::string> bound;
    if (line.take("{")) {
      do {
        const std::string label = line.name(false);
        line.expect("=\"");
        std::string value = line.escaped(true);
        if (label == "le") {
          if (bound) line.fail("two bounds");
          bound = value;
        }
        for (const auto& other : labels) {
          if (other.first == label) line.fail("label used twice");
        }
        labels.emplace_back(label, std::move(value));
      } while (line.take(","));
      line.expect("}");
    }
    line.expect(" ");
    const double value = line.number();
    std::sort(labels.begin(), labels.end());
    std::string key = name + "{";
    std::string group;
    for (const auto& [label, text] : labels) {
      key += (key.back() == '{' ? "" : ",") + label + "=" + text;
      if (label != "le") group += label + "=" + text + ",";
    }
    key += "}";
    if (!metric.samples.emplace(key, value).second) line.fail("sample given twice");
    if (metric.type == "histogram") {
      part_of_histogram(line, name.substr(std::min(name.size(), current_.size())), histograms_[group], bound, value);
      if (name.compare(0, current_.size(), current_) != 0) line.fail("sample of another metric");
      return;
    }
    if (name != current_) line.fail("sample of another metric");
    if (metric.type == "counter") {
      if (!(value >= 0)) line.fail("negative counter");
      if (name.size() < 6 || name.compare(name.size() - 6, 6, "_total") != 0) line.fail("counter without _total");
    }
  }

  static void part_of_histogram(Line& line, const std::string& part, Histogram& histogram,
                                const std::optional<std::string>& bound, double value) {
    if (part == "_bucket") {
      if (!bound || histogram.sum || histogram.count) line.fail("bucket out of place");
      Line number(*bound, 0);
      const double limit = number.number();
      if (!histogram.buckets.empty() && limit <= histogram.buckets.back().first) line.fail("bounds do not ascend");
      if (!histogram.buckets.empty() && value < histogram.buckets.back().second) line.fail("counts do not ascend");
      histogram.buckets.emplace_back(limit, value);
    } else if (bound) {
      line.fail("bound out of place");
    } else if (part == "_sum") {
      histogram.sum = value;
    } else if (part == "_count") {
      histogram.count = value;
    } else {
      line.fail("no part of a histogram");
    }
  }

  void finish() {
    for (const auto& [labels, histogram] : histograms_) {
      if (!histogram.sum || !histogram.count || histogram.buckets.empty() ||
          !std::isinf(histogram.buckets.back().first) || histogram.buckets.back().second != *histogram.count) {
        throw std::runtime_error("histogram " + current_ + " {" + labels + "} is not whole");
      }
    }
    histograms_.clear();
    if (!current_.empty() && metrics_[current_].samples.empty()) throw std::runtime_error(current_ + " has no sample");
  }

  PrometheusMetrics metrics_;
  std::string current_;
  std::map<std::string, Histogram> histograms_;  // of the current metric, by labels without `le`
};

}  // namespace

PrometheusMetrics parse_prometheus(std::string_view text) { return Parser().parse(text); }

}  // namespace penstock::testing
