// SPDX-License-Identifier: MIT
#include "penstock/metrics/prometheus_writer.hpp"

#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "metrics/prometheus_parser.hpp"
#include "metrics/random_text.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::parse_prometheus;
using testing::PrometheusMetrics;

PrometheusWriter::Options with_bounds(std::vector<Duration> bounds) {
  PrometheusWriter::Options options;
  options.bounds = std::move(bounds);
  return options;
}

PrometheusWriter::Options with_limits(MetricLimits limits) {
  PrometheusWriter::Options options;
  options.limits = limits;
  return options;
}

TEST_CASE("PrometheusWriter: writes the text format, each metric in one place", "[metrics][prometheus_writer]") {
  PrometheusWriter writer(with_bounds({100ms, 1s, 2500ms}));
  LatencyHistogram::Snapshot wait;
  for (const Duration latency : {100ms, 101ms, 1000ms, 7000ms}) wait.record(latency);
  writer.counter("jobs_total", "Jobs by outcome.", {{"provider", "openai"}, {"outcome", "ok"}}, 12);
  writer.gauge("queue_depth", "Waiting now.", {}, 2.5);
  writer.counter("jobs_total", "another help", {{"provider", "azure"}}, std::numeric_limits<std::uint64_t>::max());
  writer.histogram("wait_seconds", "Waits.", {{"provider", "openai"}}, wait);
  writer.gauge("queue_depth", "", {{"provider", "azure"}}, -1);
  CHECK(writer.text() ==
        "# HELP jobs_total Jobs by outcome.\n"
        "# TYPE jobs_total counter\n"
        "jobs_total{outcome=\"ok\",provider=\"openai\"} 12\n"
        "jobs_total{provider=\"azure\"} 18446744073709551615\n"
        "# HELP queue_depth Waiting now.\n"
        "# TYPE queue_depth gauge\n"
        "queue_depth 2.5\n"
        "queue_depth{provider=\"azure\"} -1\n"
        "# HELP wait_seconds Waits.\n"
        "# TYPE wait_seconds histogram\n"
        "wait_seconds_bucket{provider=\"openai\",le=\"0.1\"} 1\n"
        "wait_seconds_bucket{provider=\"openai\",le=\"1\"} 3\n"
        "wait_seconds_bucket{provider=\"openai\",le=\"2.5\"} 3\n"
        "wait_seconds_bucket{provider=\"openai\",le=\"+Inf\"} 4\n"
        "wait_seconds_sum{provider=\"openai\"} 8.201\n"
        "wait_seconds_count{provider=\"openai\"} 4\n");
  CHECK(writer.refusals() == MetricRefusals());
  CHECK_NOTHROW(parse_prometheus(writer.text()));
}

TEST_CASE("PrometheusWriter: nothing is an empty text", "[metrics][prometheus_writer]") {
  CHECK(PrometheusWriter().text().empty());
}

TEST_CASE("PrometheusWriter: completes the names of counters and histograms", "[metrics][prometheus_writer]") {
  PrometheusWriter writer;
  writer.counter("jobs", "", {}, 1);
  writer.counter("jobs_total", "Late help.", {{"a", "b"}}, 2);  // the same metric
  writer.histogram("wait", "", {}, {});
  writer.gauge("depth", "", {}, 0);
  const PrometheusMetrics metrics = parse_prometheus(writer.text());
  CHECK(metrics.size() == 3);
  CHECK(metrics.at("jobs_total").samples.size() == 2);
  CHECK(metrics.at("jobs_total").help == "Late help.");
  CHECK(metrics.at("wait_seconds").samples.at("wait_seconds_count{}") == 0);
  CHECK(metrics.at("depth").help.empty());
}

TEST_CASE("PrometheusWriter: the usual bounds run from 1 us to 300 s", "[metrics][prometheus_writer]") {
  PrometheusWriter writer;
  LatencyHistogram::Snapshot wait;
  wait.record(1us);
  wait.record(250ms);
  wait.record(250ms + 1ns);
  wait.record(400s);
  writer.histogram("wait_seconds", "Waits.", {}, wait);
  const auto samples = parse_prometheus(writer.text()).at("wait_seconds").samples;
  CHECK(samples.size() == 26 + 3);
  CHECK(samples.at("wait_seconds_bucket{le=1e-06}") == 1);
  CHECK(samples.at("wait_seconds_bucket{le=2.5e-06}") == 1);
  CHECK(samples.at("wait_seconds_bucket{le=0.1}") == 1);
  CHECK(samples.at("wait_seconds_bucket{le=0.25}") == 2);
  CHECK(samples.at("wait_seconds_bucket{le=0.5}") == 3);
  CHECK(samples.at("wait_seconds_bucket{le=50}") == 3);
  CHECK(samples.at("wait_seconds_bucket{le=300}") == 3);
  CHECK(samples.at("wait_seconds_bucket{le=+Inf}") == 4);
}

TEST_CASE("PrometheusWriter: bounds are sorted, and moved to where counts are exact", "[metrics][prometheus_writer]") {
  PrometheusWriter writer(with_bounds({1s, 105ms, 100ms, 1s, -1s, 500ns, Duration::max(), 2h}));
  LatencyHistogram::Snapshot wait;
  wait.record(102ms);
  writer.histogram("wait_seconds", "", {}, wait);
  const auto samples = parse_prometheus(writer.text()).at("wait_seconds").samples;
  CHECK(samples.size() == 6);
  CHECK(samples.at("wait_seconds_bucket{le=0.1}") == 0);
  CHECK(samples.at("wait_seconds_bucket{le=1}") == 1);
  CHECK(samples.at("wait_seconds_bucket{le=300}") == 1);
  CHECK(samples.at("wait_seconds_bucket{le=+Inf}") == 1);
}

TEST_CASE("PrometheusWriter: escapes labels and help", "[metrics][prometheus_writer]") {
  PrometheusWriter writer;
  writer.gauge("g", "a \"quoted\" \\ back\nslash \xFF", {{"path", "C:\\dir\n\"x\""}, {"text", "{a=\"b\"} # \xC3"}}, 1);
  CHECK(writer.text() ==
        "# HELP g a \"quoted\" \\\\ back\\nslash \xEF\xBF\xBD\n"
        "# TYPE g gauge\n"
        "g{path=\"C:\\\\dir\\n\\\"x\\\"\",text=\"{a=\\\"b\\\"} # \xEF\xBF\xBD\"} 1\n");
  const auto metric = parse_prometheus(writer.text()).at("g");
  CHECK(metric.help == "a \"quoted\" \\ back\nslash \xEF\xBF\xBD");
  CHECK(metric.samples.count("g{path=C:\\dir\n\"x\",text={a=\"b\"} # \xEF\xBF\xBD}") == 1);
}

TEST_CASE("PrometheusWriter: has words for numbers that are none", "[metrics][prometheus_writer]") {
  PrometheusWriter writer;
  writer.gauge("g", "", {{"v", "nan"}}, std::nan(""));
  writer.gauge("g", "", {{"v", "inf"}}, std::numeric_limits<double>::infinity());
  writer.gauge("g", "", {{"v", "-inf"}}, -std::numeric_limits<double>::infinity());
  CHECK(writer.text() == "# TYPE g gauge\ng{v=\"nan\"} NaN\ng{v=\"inf\"} +Inf\ng{v=\"-inf\"} -Inf\n");
}

TEST_CASE("PrometheusWriter: names that are not allowed are left out and counted", "[metrics][prometheus_writer]") {
  PrometheusWriter writer;
  for (const char* const name : {"", "7up", "a-b", "a b", "a{b}", "é", "a\n"}) writer.counter(name, "", {}, 1);
  for (const char* const label : {"", "7up", "a-b", "a:b", "__name__", "\xFF"})
    writer.gauge("g", "", {{label, "x"}}, 1);
  writer.gauge("g", "", {{"a", "x"}, {"a", "y"}}, 1);
  writer.gauge("g", "", {{"a", ""}, {"a", "y"}}, 1);
  writer.histogram("h_seconds", "", {{"le", "1"}}, {});
  CHECK(writer.text().empty());
  CHECK(writer.refusals().bad_names == 16);
  writer.gauge("a:b_c9", "", {{"_x", "y"}, {"le", "1"}}, 1);
  CHECK(writer.text() == "# TYPE a:b_c9 gauge\na:b_c9{_x=\"y\",le=\"1\"} 1\n");
}

TEST_CASE("PrometheusWriter: what would make Prometheus refuse the text is left out and counted",
          "[metrics][prometheus_writer]") {
  PrometheusWriter writer;
  writer.gauge("g", "", {{"a", "x"}, {"b", "y"}}, 1);
  writer.gauge("g", "", {{"b", "y"}, {"a", "x"}}, 2);             // the same labels in another order
  writer.gauge("g", "", {{"b", "y"}, {"a", "x"}, {"c", ""}}, 3);  // an empty value is no label
  CHECK(writer.refusals().duplicates == 2);
  writer.histogram("h_seconds", "", {}, {});
  writer.histogram("g", "", {}, {});           // becomes g_seconds: allowed
  writer.gauge("h_seconds", "", {}, 1);        // another kind
  writer.gauge("h_seconds_count", "", {}, 1);  // a part of the histogram
  writer.gauge("jobs_total", "", {}, 1);
  writer.counter("jobs", "", {}, 1);  // completed to a name that a gauge has
  writer.gauge("x_seconds_sum", "", {}, 1);
  writer.histogram("x_seconds", "", {}, {});  // would have a part of that name
  CHECK(writer.refusals().conflicts == 4);
  const PrometheusMetrics metrics = parse_prometheus(writer.text());
  CHECK(metrics.size() == 5);
  CHECK(metrics.at("g").samples.at("g{a=x,b=y}") == 1);
}

TEST_CASE("PrometheusWriter: a long label value is cut but stays different from others",
          "[metrics][prometheus_writer]") {
  PrometheusWriter writer(with_limits({.label_value_bytes = 40, .samples_per_metric = 100}));
  const std::string most(40, 'x');
  const std::string longer(41, 'x');
  const std::string longest(100'000, 'x');
  std::string letters = "a";  // the limit falls into the midst of a character
  for (int letter = 0; letter < 30; ++letter) letters += "\xC3\xA9";
  writer.gauge("g", "", {{"v", most}}, 1);
  CHECK(writer.refusals().cut_values == 0);
  for (const std::string& value : {longer, longest, letters, std::string(39, '\xFF')})
    writer.gauge("g", "", {{"v", value}}, 1);
  CHECK(writer.refusals().cut_values == 4);
  CHECK(writer.refusals().duplicates == 0);
  const auto samples = parse_prometheus(writer.text()).at("g").samples;
  REQUIRE(samples.size() == 5);
  CHECK(samples.count("g{v=" + most + "}") == 1);
  for (const auto& [key, value] : samples) {
    CHECK(key.size() <= 40 + std::string("g{v=}").size());
    if (key.find('#') != std::string::npos) CHECK(key.find('#') == key.size() - 18);
  }
}

TEST_CASE("PrometheusWriter: too many labels end up in one sample", "[metrics][prometheus_writer]") {
  PrometheusWriter writer(with_limits({.label_value_bytes = 64, .samples_per_metric = 10}));
  constexpr int kMany = 100'000;
  for (int index = 0; index < kMany; ++index) {
    writer.counter("jobs_total", "", {{"user", std::to_string(index)}, {"kind", "k"}}, 2);
  }
  LatencyHistogram::Snapshot wait;
  wait.record(1s);
  for (int index = 0; index < 50; ++index) {
    writer.gauge("depth", "", {{"user", std::to_string(index)}}, 0.5);
    writer.histogram("wait_seconds", "", {{"user", std::to_string(index)}}, wait);
  }
  CHECK(writer.refusals().merged == kMany - 10 + 40 + 40);
  const PrometheusMetrics metrics = parse_prometheus(writer.text());
  CHECK(metrics.at("jobs_total").samples.size() == 11);
  CHECK(metrics.at("jobs_total").samples.at("jobs_total{kind=k,user=9}") == 2);
  CHECK(metrics.at("jobs_total").samples.at("jobs_total{kind=other,user=other}") == 2 * (kMany - 10));
  CHECK(metrics.at("depth").samples.at("depth{user=other}") == 20);
  CHECK(metrics.at("wait_seconds").samples.at("wait_seconds_count{user=other}") == 40);
}

TEST_CASE("PrometheusWriter: limits that make no sense are refused", "[metrics][prometheus_writer]") {
  CHECK_THROWS_AS(PrometheusWriter(with_limits({.label_value_bytes = 10, .samples_per_metric = 1})),
                  std::invalid_argument);
}

TEST_CASE("PrometheusWriter: whatever it is sent, a strict reader accepts the text", "[metrics][prometheus_writer]") {
  std::mt19937_64 random(7);
  for (int round = 0; round < 400; ++round) {
    PrometheusWriter writer(with_limits({.label_value_bytes = 32, .samples_per_metric = 5}));
    for (int sample = 0; sample < 40; ++sample) {
      static constexpr std::array<const char*, 8> kNames = {"a", "a_total", "a_seconds", "a_seconds_sum",
                                                            "b", "b:c",     "b_bucket",  "a_seconds_count"};
      static constexpr std::array<const char*, 4> kLabels = {"provider", "le", "x", "y"};
      const std::string name = random() % 6 == 0 ? testing::random_text(random, 3) : kNames[random() % kNames.size()];
      const std::string help = testing::random_text(random, 10);
      const std::string first = testing::random_text(random, random() % 2 == 0 ? 1 : 20);
      const std::string second = testing::random_text(random, 2);
      const std::string odd = testing::random_text(random, 2);
      std::vector<Label> labels{{kLabels[random() % kLabels.size()], first},
                                {kLabels[random() % kLabels.size()], second}};
      if (random() % 8 == 0) labels.push_back({odd, second});
      labels.resize(random() % (labels.size() + 1));
      LatencyHistogram::Snapshot histogram;
      for (auto records = random() % 4; records > 0; --records) {
        histogram.record(Duration(static_cast<Duration::rep>(random() >> random() % 64)));
      }
      switch (random() % 3) {
        case 0:
          writer.counter(name, help, labels, random());
          break;
        case 1:
          writer.gauge(name, help, labels, std::bit_cast<double>(random()));
          break;
        default:
          writer.histogram(name, help, labels, histogram);
      }
    }
    const std::string text = writer.text();
    try {
      static_cast<void>(parse_prometheus(text));
    } catch (const std::runtime_error& error) {
      FAIL(error.what() << "\nin\n" << text);
    }
  }
}

TEST_CASE("Prometheus parser: accepts no wrong text", "[metrics][prometheus_writer]") {
  for (const char* const text : {
           "a 1\n",                                                                                    // no TYPE
           "# TYPE a gauge\na 1",                                                                      // no end
           "# TYPE a gauge\n",                                                                         // no sample
           "# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n# TYPE a gauge\na{x=\"\"} 1\n",                  // in two places
           "# TYPE a gauge\na 1\na 2\n",                                                               // twice
           "# TYPE a gauge\na{x=\"1\",x=\"2\"} 1\n",                                                   // label twice
           "# TYPE a gauge\na{x=\"1\\t\"} 1\n",                                                        // escape
           "# TYPE a gauge\na nan\n",                                                                  // number
           "# TYPE a gauge\na{x=\"\xFF\"} 1\n",                                                        // UTF-8
           "# TYPE a counter\na 1\n",                                                                  // no _total
           "# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n",                           // no +Inf
           "# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",  // not cumulative
           "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 2\n",                        // count
       }) {
    CAPTURE(text);
    CHECK_THROWS_AS(parse_prometheus(text), std::runtime_error);
  }
}

TEST_CASE("PrometheusWriter: promtool has no complaint", "[metrics][prometheus_writer]") {
  if (!std::filesystem::exists("/usr/bin/promtool")) {
    WARN("skipped: promtool is not installed");
    return;
  }
  PrometheusWriter writer;
  LatencyHistogram::Snapshot wait;
  wait.record(3ms);
  writer.counter("penstock_pool_jobs_total", "Jobs by outcome.", {{"provider", "a \"b\" \\ \n c"}}, 1);
  writer.gauge("penstock_pool_queue_depth", "Jobs that wait.", {{"provider", "openai"}}, 3);
  writer.histogram("penstock_pool_queue_wait_seconds", "Time from submit to start.", {{"provider", "openai"}}, wait);
  std::FILE* const pipe = popen("/usr/bin/promtool check metrics", "w");
  REQUIRE(pipe != nullptr);
  const std::string text = writer.text();
  CHECK(std::fwrite(text.data(), 1, text.size(), pipe) == text.size());
  CHECK(pclose(pipe) == 0);
}

}  // namespace
}  // namespace penstock
