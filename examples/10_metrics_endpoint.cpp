// SPDX-License-Identifier: MIT
// What a server answers to GET /metrics: components count cheaply, a registry asks them when somebody wants to know,
// and a writer turns the answers into the text that Prometheus reads, or into JSON for a page of your own.
#include <array>
#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/metrics/counter.hpp"
#include "penstock/metrics/histogram.hpp"
#include "penstock/metrics/json_writer.hpp"
#include "penstock/metrics/prometheus_writer.hpp"
#include "penstock/metrics/registry.hpp"

using namespace std::chrono_literals;

// A component owns its numbers, and hands them to whoever asks. It knows neither the registry nor a format.
class Provider {
 public:
  explicit Provider(std::string name) : name_(std::move(name)) {}

  // Called by many threads at once: a count costs a nanosecond or so, and no thread waits for another one.
  void serve(penstock::Duration took, bool ok) {
    in_flight_.add(1);
    latency_.record(took);
    counters_.add(ok ? Outcome::kOk : Outcome::kFailed);
    in_flight_.add(-1);
  }

  void collect(penstock::MetricSink& sink) const {
    constexpr std::string_view kHelp = "Requests by outcome.";
    sink.counter("demo_requests_total", kHelp, {{"provider", name_}, {"outcome", "ok"}}, counters_.value(Outcome::kOk));
    sink.counter("demo_requests_total", kHelp, {{"provider", name_}, {"outcome", "failed"}},
                 counters_.value(Outcome::kFailed));
    sink.gauge("demo_requests_in_flight", "Requests that run now.", {{"provider", name_}},
               static_cast<double>(in_flight_.value()));
    sink.histogram("demo_request_seconds", "How long requests took.", {{"provider", name_}}, latency_.snapshot());
  }

 private:
  enum class Outcome { kOk, kFailed };

  std::string name_;
  penstock::Counters<2> counters_;  // several counts of one object share their memory
  penstock::Gauge in_flight_;
  penstock::LatencyHistogram latency_;
};

int main() {
  Provider openai("openai");
  Provider local("local");

  penstock::MetricRegistry registry;
  // As long as a registration lives, the collector is asked; its end waits for one that runs.
  const auto first = registry.add([&](penstock::MetricSink& sink) { openai.collect(sink); });
  const auto second = registry.add([&](penstock::MetricSink& sink) { local.collect(sink); });

  std::vector<std::thread> clients;
  for (int client = 0; client < 4; ++client) {
    clients.emplace_back([&] {
      for (int request = 1; request <= 100; ++request) {
        openai.serve(request * 5ms, request % 20 != 0);
        local.serve(request * 200us, true);
      }
    });
  }
  for (std::thread& client : clients) client.join();

  // What the handler of GET /metrics does; the content type is PrometheusWriter::kContentType.
  penstock::PrometheusWriter::Options options;
  options.bounds = {10ms, 100ms, 250ms, 500ms};
  penstock::PrometheusWriter text(options);
  registry.collect(text);
  std::fputs(text.text().c_str(), stdout);

  // The same numbers for a program that reads JSON.
  penstock::JsonMetricSink json;
  registry.collect(json);
  std::printf("\n%s\n", json.text().c_str());
}
