// SPDX-License-Identifier: MIT
#include "penstock/metrics/json_writer.hpp"

#include <bit>
#include <chrono>
#include <clocale>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "metrics/random_text.hpp"
#include "support/aborts.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;
using nlohmann::json;

template <class Value>
std::string text_of(const Value& value, JsonWriter::Options options = {}) {
  JsonWriter writer(options);
  writer.value(value);
  return writer.take();
}

TEST_CASE("JsonWriter: writes every kind of value", "[metrics][json_writer]") {
  JsonWriter writer;
  writer.begin_object();
  writer.key("text").value("a").key("view").value("b"sv).key("string").value("c"s);
  writer.key("yes").value(true).key("no").value(false).key("nothing").null();
  writer.key("double").value(0.25).key("float").value(0.5F);
  writer.key("int").value(-7).key("unsigned").value(7U).key("short").value(short{-3});
  writer.key("raw").raw("[1, 2]").key("no_text").value(static_cast<const char*>(nullptr));
  writer.key("empty_array").begin_array().end_array().key("empty_object").begin_object().end_object();
  writer.key("nested").begin_array().value(1).begin_object().key("x").value(2).end_object().value("y").end_array();
  writer.end_object();
  CHECK(writer.is_complete());
  CHECK(writer.text() ==
        R"({"text":"a","view":"b","string":"c","yes":true,"no":false,"nothing":null,"double":0.25,"float":0.5,)"
        R"("int":-7,"unsigned":7,"short":-3,"raw":[1, 2],"no_text":null,"empty_array":[],"empty_object":{},)"
        R"("nested":[1,{"x":2},"y"]})");
  CHECK(json::accept(writer.text()));
}

TEST_CASE("JsonWriter: one value alone is a text, and a writer may be used again", "[metrics][json_writer]") {
  JsonWriter writer;
  CHECK_FALSE(writer.is_complete());
  CHECK(writer.value("x").take() == "\"x\"");
  CHECK_FALSE(writer.is_complete());
  CHECK(writer.begin_array().end_array().take() == "[]");
}

TEST_CASE("JsonWriter: integers keep all their digits", "[metrics][json_writer]") {
  CHECK(text_of(std::numeric_limits<std::uint64_t>::max()) == "18446744073709551615");
  CHECK(text_of(std::numeric_limits<std::int64_t>::min()) == "-9223372036854775808");
  CHECK(text_of(std::numeric_limits<std::int64_t>::max()) == "9223372036854775807");
  CHECK(text_of(0) == "0");
}

TEST_CASE("JsonWriter: integers that a double cannot hold are strings on request", "[metrics][json_writer]") {
  const JsonWriter::Options options{.html_safe = false, .big_integers_as_strings = true};
  constexpr std::int64_t kExact = std::int64_t{1} << 53;
  CHECK(text_of(kExact, options) == "9007199254740992");
  CHECK(text_of(-kExact, options) == "-9007199254740992");
  CHECK(text_of(kExact + 1, options) == "\"9007199254740993\"");
  CHECK(text_of(-kExact - 1, options) == "\"-9007199254740993\"");
  CHECK(text_of(std::numeric_limits<std::uint64_t>::max(), options) == "\"18446744073709551615\"");
}

TEST_CASE("JsonWriter: doubles read back as they were, in any locale", "[metrics][json_writer]") {
  const std::string before = std::setlocale(LC_ALL, nullptr);
  for (const char* const name : {"C", "de_DE.UTF-8", "fr_FR.UTF-8"}) {
    if (std::setlocale(LC_ALL, name) == nullptr) continue;  // not on this machine
    for (const double number : {0.0, -0.0, 0.1, 1.0, -1.5, 1e300, 5e-324, 1e21, 123456789.125, 1.0 / 3}) {
      CHECK(json::parse(text_of(number)).get<double>() == number);
    }
  }
  std::setlocale(LC_ALL, before.c_str());
}

TEST_CASE("JsonWriter: a number that is none is null", "[metrics][json_writer]") {
  CHECK(text_of(std::numeric_limits<double>::quiet_NaN()) == "null");
  CHECK(text_of(std::numeric_limits<double>::infinity()) == "null");
  CHECK(text_of(-std::numeric_limits<double>::infinity()) == "null");
}

TEST_CASE("JsonWriter: escapes what JSON demands", "[metrics][json_writer]") {
  CHECK(text_of("\"\\/\b\f\n\r\t"sv) == R"("\"\\/\b\f\n\r\t")");
  CHECK(text_of("\0\x01\x1F\x7F"sv) == "\"\\u0000\\u0001\\u001f\x7F\"");
  CHECK(text_of("<&>\xE2\x80\xA8"sv) == "\"<&>\xE2\x80\xA8\"");
  JsonWriter writer;
  writer.begin_object().key("a\"\n").value(1).end_object();
  CHECK(writer.text() == R"({"a\"\n":1})");
}

TEST_CASE("JsonWriter: escapes what HTML would read, on request", "[metrics][json_writer]") {
  const JsonWriter::Options options{.html_safe = true, .big_integers_as_strings = false};
  CHECK(text_of("</script>&\xE2\x80\xA8\xE2\x80\xA9\xE2\x80\xAA"sv, options) ==
        "\"\\u003c/script\\u003e\\u0026\\u2028\\u2029\xE2\x80\xAA\"");
}

TEST_CASE("JsonWriter: bytes that are no UTF-8 become U+FFFD, one for each maximal part", "[metrics][json_writer]") {
  const auto replaced = [](std::string_view text) { return json::parse(text_of(text)).get<std::string>(); };
  // From the examples of the Unicode standard, chapter 3.9, table 3-8 to 3-11; "?" stands for U+FFFD.
  const auto expected = [](std::string text) {
    for (std::size_t at = 0; (at = text.find('?', at)) != std::string::npos; at += 3)
      text.replace(at, 1, "\xEF\xBF\xBD");
    return text;
  };
  CHECK(replaced("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"sv) == expected("????????A"));
  CHECK(replaced("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"sv) == expected("????????A"));
  CHECK(replaced("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"sv) == expected("?????A??B"));
  CHECK(replaced("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"sv) == expected("????A"));
  CHECK(replaced("a\xC3"sv) == expected("a?"));
  const std::string valid = "\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xF0\x90\x80\x80\xF4\x8F\xBF\xBF";
  CHECK(replaced(valid) == valid);
}

TEST_CASE("JsonWriter: whatever the strings, a reader accepts the text", "[metrics][json_writer]") {
  std::mt19937_64 random(4);
  for (int round = 0; round < 3'000; ++round) {
    const JsonWriter::Options options{.html_safe = random() % 2 == 0, .big_integers_as_strings = random() % 2 == 0};
    JsonWriter writer(options);
    std::vector<bool> in_object;
    const auto open = [&](bool object) {
      in_object.push_back(object);
      object ? writer.begin_object() : writer.begin_array();
    };
    open(random() % 2 == 0);
    for (int step = 0; step < 30; ++step) {
      if (random() % 6 == 0 && in_object.size() > 1) {
        in_object.back() ? writer.end_object() : writer.end_array();
        in_object.pop_back();
        continue;
      }
      if (in_object.back()) writer.key(testing::random_text(random, 6));
      switch (random() % 6) {
        case 0:
          open(true);
          break;
        case 1:
          open(false);
          break;
        case 2:
          writer.value(std::bit_cast<double>(random()));
          break;
        case 3:
          writer.value(random());
          break;
        case 4:
          writer.value(static_cast<std::int64_t>(random()));
          break;
        default:
          writer.value(testing::random_text(random, 12));
      }
    }
    for (; !in_object.empty(); in_object.pop_back()) in_object.back() ? writer.end_object() : writer.end_array();
    const std::string text = writer.take();
    if (!json::accept(text)) FAIL("no JSON: " << text);
    if (options.html_safe && text.find_first_of("<>&") != std::string::npos) FAIL("not safe: " << text);
  }
}

void append_code_point(std::string& text, std::uint32_t code) {
  const auto tail = [&](unsigned shift) { text += static_cast<char>(0x80U | ((code >> shift) & 0x3FU)); };
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += static_cast<char>(0xC0U | code >> 6);
    tail(0);
  } else if (code < 0x10000) {
    text += static_cast<char>(0xE0U | code >> 12);
    tail(6);
    tail(0);
  } else {
    text += static_cast<char>(0xF0U | code >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

TEST_CASE("JsonWriter: strings that are valid read back as they were", "[metrics][json_writer]") {
  std::string all;
  for (std::uint32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code < 0xD800 || code > 0xDFFF) append_code_point(all, code);
  }
  for (const bool html_safe : {false, true}) {
    const std::string text = text_of(all, {.html_safe = html_safe, .big_integers_as_strings = false});
    CHECK((json::parse(text).get<std::string>() == all));  // in brackets: no megabytes in the report
  }
}

TEST_CASE("JsonWriter: calls that make no JSON abort, and say why", "[metrics][json_writer]") {
  using testing::ContainsSubstring;
  using testing::message_of_abort;
  using W = JsonWriter;
  struct Case {
    const char* message;
    void (*call)(W&);
  };
  const Case cases[] = {
      {"needs a key", [](W& w) { w.begin_object().value(1); }},
      {"needs a key", [](W& w) { w.begin_object().begin_array(); }},
      {"needs a key", [](W& w) { w.begin_object().key("a").value(1).null(); }},
      {"no member can begin", [](W& w) { w.key("a"); }},
      {"no member can begin", [](W& w) { w.begin_array().key("a"); }},
      {"no member can begin", [](W& w) { w.begin_object().key("a").key("b"); }},
      {"no object to end", [](W& w) { w.begin_array().end_object(); }},
      {"no object to end", [](W& w) { w.begin_object().key("a").end_object(); }},
      {"no object to end", [](W& w) { w.end_object(); }},
      {"no array to end", [](W& w) { w.begin_object().end_array(); }},
      {"no array to end", [](W& w) { w.value(1).end_array(); }},
      {"the text is finished", [](W& w) { w.value(1).value(2); }},
      {"the text is finished", [](W& w) { w.begin_array().end_array().begin_object(); }},
      {"not finished", [](W& w) { static_cast<void>(w.text()); }},
      {"not finished", [](W& w) { static_cast<void>(w.begin_array().text()); }},
      {"not finished", [](W& w) { static_cast<void>(w.begin_object().take()); }},
      {"no value", [](W& w) { w.raw(""); }},
  };
  for (const Case& c : cases) {
    CHECK_THAT(message_of_abort([&] {
                 JsonWriter writer;
                 c.call(writer);
               }),
               ContainsSubstring(c.message));
  }
}

TEST_CASE("JsonMetricSink: writes samples by metric", "[metrics][json_writer]") {
  JsonMetricSink sink;
  LatencyHistogram::Snapshot wait;
  wait.record(10ms, 98);
  wait.record(2s, 2);
  sink.counter("jobs_total", "Jobs.", {{"provider", "openai"}, {"outcome", "ok"}}, 12);
  sink.gauge("queue_depth", "Waiting.", {}, 2.5);
  sink.histogram("wait_seconds", "Waits.", {{"provider", "openai"}}, wait);
  sink.counter("jobs_total", "ignored", {{"provider", "azure"}}, std::numeric_limits<std::uint64_t>::max());
  sink.gauge("broken", "", {}, std::nan(""));
  const json parsed = json::parse(sink.text());
  const json& metrics = parsed.at("metrics");
  REQUIRE(metrics.size() == 4);
  CHECK(metrics[0] == json::parse(R"({"name": "jobs_total", "type": "counter", "help": "Jobs.", "samples": [
      {"labels": {"outcome": "ok", "provider": "openai"}, "value": 12},
      {"labels": {"provider": "azure"}, "value": 18446744073709551615}]})"));
  CHECK(metrics[1] == json::parse(R"({"name": "queue_depth", "type": "gauge", "help": "Waiting.", "samples": [
      {"labels": {}, "value": 2.5}]})"));
  const json& sample = metrics[2].at("samples").at(0);
  CHECK(metrics[2].at("type") == "histogram");
  CHECK(sample.at("labels") == json{{"provider", "openai"}});
  CHECK(sample.at("count") == 100);
  CHECK(sample.at("sum_seconds").get<double>() == testing::Approx(4.98));
  CHECK(sample.at("mean_seconds").get<double>() == testing::Approx(0.0498));
  CHECK(sample.at("max_seconds") == 2.0);
  CHECK(sample.at("p50_seconds").get<double>() == testing::Approx(0.01).epsilon(0.125));
  CHECK(sample.at("p99_seconds").get<double>() == testing::Approx(2).epsilon(0.125));
  CHECK(sample.at("p999_seconds").get<double>() == testing::Approx(2).epsilon(0.125));
  CHECK(metrics[3].at("samples").at(0).at("value").is_null());
  CHECK(sink.refusals() == MetricRefusals());
}

TEST_CASE("JsonMetricSink: nothing is an empty list, and can be part of another text", "[metrics][json_writer]") {
  const JsonMetricSink sink;
  CHECK(sink.text() == R"({"metrics":[]})");
  JsonWriter writer;
  writer.begin_object().key("inner");
  sink.write(writer);
  writer.end_object();
  CHECK(writer.text() == R"({"inner":{"metrics":[]}})");
}

TEST_CASE("JsonMetricSink: whatever it is sent, a reader accepts the text", "[metrics][json_writer]") {
  std::mt19937_64 random(6);
  for (int round = 0; round < 300; ++round) {
    JsonMetricSink sink({.label_value_bytes = 32, .samples_per_metric = 5});
    for (int sample = 0; sample < 20; ++sample) {
      const std::string name = random() % 4 == 0 ? testing::random_text(random, 3) : "m" + std::to_string(random() % 4);
      const std::string help = testing::random_text(random, 10);
      const std::string value = testing::random_text(random, 20);
      LatencyHistogram::Snapshot histogram;
      histogram.record(Duration(static_cast<Duration::rep>(random())));
      switch (random() % 3) {
        case 0:
          sink.counter(name, help, {{"label", value}}, random());
          break;
        case 1:
          sink.gauge(name, help, {{"label", value}}, std::bit_cast<double>(random()));
          break;
        default:
          sink.histogram(name, help, {{"label", value}}, histogram);
      }
    }
    const std::string text = sink.text({.html_safe = true, .big_integers_as_strings = true});
    if (!json::accept(text)) FAIL("no JSON: " << text);
  }
}

TEST_CASE("JsonMetricSink: limits that make no sense are refused, all at once", "[metrics][json_writer]") {
  CHECK_THROWS_WITH(JsonMetricSink({.label_value_bytes = 31, .samples_per_metric = 0}),
                    testing::Equals("metric sink: limits.label_value_bytes must be at least 32, got 31; "
                                    "limits.samples_per_metric must be at least 1, got 0"));
}

}  // namespace
}  // namespace penstock
