// SPDX-License-Identifier: MIT

// A load driver for the gateway: asks for completions at given rates, checks every answer, shows progress, and compares
// with an earlier run.
//
// The load is open: a request is due at its point in time, however the ones before it fare, and its latency counts from
// that point. A driver that waits for an answer before it sends the next request sends less when the server is slow,
// and so hides what it was meant to measure.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <httplib.h>
#include <nlohmann/json.hpp>

#include "flags.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;
using std::chrono::duration;

constexpr std::string_view kUsage =
    R"(usage: load --gateway URL --target provider=rate[:connections]... [--seconds 10] [--stream] [--save results.json]
            [--compare results.json] [--max-ratio 1.5]

Asks for the model '<provider>-1' of each target, `rate` times a second, over at most so many connections (16).
--compare prints, for each target of an earlier run, how it fares now; the exit code is 1 if its 99th percentile is more
than --max-ratio of what it was, or its throughput less than 1 / --max-ratio, or if an answer was not as it should be.
)";

double to_ms(Clock::duration time) { return duration<double, std::milli>(time).count(); }

struct Target {
  std::string provider;
  double rate = 0;  // requests a second
  int connections = 16;
  bool streams = false;
};

/// What became of the requests of one target.
struct Results {
  std::map<int, std::uint64_t> by_status;  // 0: no answer
  std::vector<double> latencies_ms;        // of those answered with 200
  std::vector<std::string> surprises;      // the first few
  std::uint64_t surprise_count = 0;

  [[nodiscard]] std::uint64_t count(int status) const {
    const auto found = by_status.find(status);
    return found == by_status.end() ? 0 : found->second;
  }
  [[nodiscard]] double quantile_ms(double q) const {
    if (latencies_ms.empty()) return 0;
    std::vector<double> sorted = latencies_ms;
    const auto rank = static_cast<std::ptrdiff_t>(q * static_cast<double>(sorted.size() - 1) + 0.5);
    std::nth_element(sorted.begin(), sorted.begin() + rank, sorted.end());
    return sorted[static_cast<std::size_t>(rank)];
  }
  void add(const Results& other) {
    for (const auto& [status, count] : other.by_status) by_status[status] += count;
    latencies_ms.insert(latencies_ms.end(), other.latencies_ms.begin(), other.latencies_ms.end());
    surprises.insert(surprises.end(), other.surprises.begin(), other.surprises.end());
    surprise_count += other.surprise_count;
  }
};

/// Sends the requests of one target.
class Driver {
 public:
  Driver(std::string gateway, Target target, Clock::time_point start, Clock::duration length)
      : gateway_(std::move(gateway)), target_(std::move(target)), start_(start), end_(start + length) {
    for (int i = 0; i < target_.connections; ++i) threads_.emplace_back([this] { work(); });
  }
  ~Driver() { join(); }
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  /// Waits until all requests have been answered.
  void join() {
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

  /// What has happened since the last call.
  Results take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(results_, {});
  }
  [[nodiscard]] const Target& target() const { return target_; }
  [[nodiscard]] int waiting() const { return waiting_; }

 private:
  void work();
  std::string check(const httplib::Response& response, const std::string& content) const;
  [[nodiscard]] std::string content_of_stream(const std::string& body) const;

  const std::string gateway_;
  const Target target_;
  const Clock::time_point start_;
  const Clock::time_point end_;
  std::atomic<std::uint64_t> next_{0};
  std::atomic<int> waiting_{0};
  std::mutex mutex_;
  Results results_;
  std::vector<std::thread> threads_;
};

void Driver::work() {
  httplib::Client client(gateway_);
  client.set_keep_alive(true);
  client.set_tcp_nodelay(true);
  client.set_read_timeout(120);
  for (;;) {
    const std::uint64_t number = next_++;
    const auto due = start_ + std::chrono::duration_cast<Clock::duration>(
                                  duration<double>(static_cast<double>(number) / target_.rate));
    if (due >= end_) return;
    std::this_thread::sleep_until(due);
    const std::string content = fmt::format("request {} of {}", number, target_.provider);
    const json request = {{"model", target_.provider + "-1"},
                          {"stream", target_.streams},
                          {"messages", json::array({{{"role", "user"}, {"content", content}}})}};
    ++waiting_;
    const httplib::Result result = client.Post("/v1/chat/completions", request.dump(), "application/json");
    --waiting_;
    const auto done = Clock::now();
    const std::string surprise = result ? check(*result, content) : "no answer: " + to_string(result.error());

    const std::lock_guard lock(mutex_);
    ++results_.by_status[result ? result->status : 0];
    if (result && result->status == 200) results_.latencies_ms.push_back(to_ms(done - due));
    if (!surprise.empty() && ++results_.surprise_count <= 3) {
      results_.surprises.push_back(target_.provider + ": " + surprise);
    }
  }
}

std::string Driver::content_of_stream(const std::string& body) const {
  std::string content;
  for (std::size_t begin = 0; begin < body.size();) {
    const std::size_t end = std::min(body.find("\n\n", begin), body.size());
    const std::string event = body.substr(begin, end - begin);
    if (event == "data: [DONE]") return content;
    if (event.compare(0, 6, "data: ") != 0) return "event: " + event;
    content += json::parse(event.substr(6)).at("choices").at(0).at("delta").value("content", std::string());
    begin = end + 2;
  }
  return "a stream without an end: " + content;
}

/// What is wrong with an answer; empty if nothing is. A refusal is fine if it says who refuses and why.
std::string Driver::check(const httplib::Response& response, const std::string& content) const {
  try {
    if (response.status == 200) {
      const std::string expected = target_.provider + " says: " + content;
      const std::string got =
          target_.streams
              ? content_of_stream(response.body)
              : json::parse(response.body).at("choices").at(0).at("message").at("content").get<std::string>();
      return got == expected ? "" : fmt::format("expected '{}', got '{}'", expected, got);
    }
    const json error = json::parse(response.body).at("error");
    const bool known = response.status == 429 || (response.status >= 502 && response.status <= 504);
    const bool explained = !error.at("message").get<std::string>().empty() && error.at("provider") == target_.provider;
    return known && explained ? "" : fmt::format("status {} with {}", response.status, response.body);
  } catch (const json::exception& error) {
    return fmt::format("status {} with a body that is not understood ({}): {}", response.status, error.what(),
                       response.body.substr(0, 200));
  }
}

std::string statuses(const Results& results) {
  std::string text;
  for (const auto& [status, count] : results.by_status) {
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", count, status == 0 ? "none" : std::to_string(status));
  }
  return text.empty() ? "-" : text;
}

json get(const std::string& gateway, const std::string& path) {
  httplib::Client client(gateway);
  const httplib::Result result = client.Get(path);
  if (!result) throw std::runtime_error("cannot get " + gateway + path + ": " + to_string(result.error()));
  return json::parse(result->body);
}

/// "opened 3, probed 2, closed 0; now open": what the breaker has done, from the gateway's own numbers.
std::string transitions(const json& state, const std::string& provider) {
  for (const json& entry : state.at("router").at("providers")) {
    if (entry.at("name") != provider || !entry.at("breaker").is_object()) continue;
    const json& breaker = entry.at("breaker");
    const json& entered = breaker.at("entered");
    return fmt::format("opened {}, probed {}, closed {}; now {}", entered.at("open").get<int>(),
                       entered.at("half_open").get<int>(), entered.at("closed").get<int>(),
                       breaker.at("state").get<std::string>());
  }
  return "-";
}

/// Prints how a target fares compared with `before`. Returns whether it is within the bound.
bool compare(const std::string& provider, const json& before, const json& now, double max_ratio) {
  const double p99 = now.at("p99_ms").get<double>() / before.at("p99_ms").get<double>();
  const double throughput = now.at("throughput").get<double>() / before.at("throughput").get<double>();
  fmt::print(
      "{}, compared with the run alone: throughput x {:.3f} ({:.1f}/s, was {:.1f}/s), p50 {:.1f} ms (was {:.1f}), "
      "p99 x {:.3f} ({:.1f} ms, was {:.1f} ms)\n",
      provider, throughput, now.at("throughput").get<double>(), before.at("throughput").get<double>(),
      now.at("p50_ms").get<double>(), before.at("p50_ms").get<double>(), p99, now.at("p99_ms").get<double>(),
      before.at("p99_ms").get<double>());
  const bool undisturbed = p99 <= 1.1 && throughput >= 0.9;
  const bool bearable = p99 <= max_ratio && throughput >= 1 / max_ratio;
  fmt::print("{}: {}\n", provider,
             undisturbed ? "undisturbed (within 10 %)"
             : bearable  ? fmt::format("disturbed by more than 10 %, within the bound of {}", max_ratio)
                         : fmt::format("DISTURBED beyond the bound of {}", max_ratio));
  return bearable;
}

int run(int argc, char** argv) {
  gateway::Flags flags(argc, argv, {"stream"});
  const std::string gateway = flags.text("gateway", "");
  const double seconds = flags.number("seconds", 10, 0.1, 86400);
  const double max_ratio = flags.number("max-ratio", 1.5, 1, 1000);
  const std::string save = flags.text("save", "");
  const std::string baseline = flags.text("compare", "");
  const bool streams = flags.is_set("stream");
  if (gateway.empty()) flags.complain("--gateway: missing");
  std::vector<Target> targets;
  for (const std::string& text : flags.all("target")) {
    const std::size_t equals = text.find('=');
    Target target{.provider = text.substr(0, equals), .streams = streams};
    int used = 0;
    const std::string numbers = equals == std::string::npos ? "" : text.substr(equals + 1);
    const int fields = std::sscanf(numbers.c_str(), "%lf%n:%d%n", &target.rate, &used, &target.connections, &used);
    if (fields < 1 || used != static_cast<int>(numbers.size()) || !(target.rate > 0) || target.connections < 1) {
      flags.complain("--target: expected provider=rate[:connections], got '" + text + "'");
    }
    targets.push_back(target);
  }
  if (targets.empty()) flags.complain("--target: missing");
  if (const auto violations = flags.violations(); !violations.empty()) {
    return gateway::refuse("load", violations, kUsage);
  }

  const auto start = Clock::now() + std::chrono::milliseconds(100);
  const auto length = std::chrono::duration_cast<Clock::duration>(duration<double>(seconds));
  std::vector<std::unique_ptr<Driver>> drivers;
  for (const Target& target : targets) drivers.push_back(std::make_unique<Driver>(gateway, target, start, length));

  std::vector<Results> totals(drivers.size());
  for (int second = 1;; ++second) {
    const auto until = start + std::min<Clock::duration>(std::chrono::seconds(second), length);
    std::this_thread::sleep_until(until);
    std::string line = fmt::format("{:4.0f} s", std::ceil(to_ms(until - start) / 1000));
    for (std::size_t i = 0; i < drivers.size(); ++i) {
      const Results now = drivers[i]->take();
      line += fmt::format(" | {} {}, p99 {:.0f} ms, {} waiting", targets[i].provider, statuses(now),
                          now.quantile_ms(0.99), drivers[i]->waiting());
      totals[i].add(now);
    }
    fmt::print("{}\n", line);
    std::fflush(stdout);
    if (until >= start + length) break;
  }

  // What counts is what was done by the end of the time; but each answer that is still to come has to be right as well.
  json results = json::object();
  for (std::size_t i = 0; i < drivers.size(); ++i) {
    results[targets[i].provider] = {{"throughput", static_cast<double>(totals[i].count(200)) / seconds},
                                    {"p50_ms", totals[i].quantile_ms(0.5)},
                                    {"p99_ms", totals[i].quantile_ms(0.99)}};
    drivers[i]->join();
    totals[i].add(drivers[i]->take());
  }
  const json state = get(gateway, "/api/state");
  if (!save.empty()) std::ofstream(save) << results.dump(1) << "\n";

  fmt::print("\n{:<10} {:>8} {:>10} {:>9} {:>9} {:>9} {:>9}  {}\n", "provider", "sent", "served/s", "p50 ms", "p99 ms",
             "rejected", "failed", "breaker");
  bool fine = true;
  std::vector<std::string> surprises;
  for (std::size_t i = 0; i < drivers.size(); ++i) {
    const Results& total = totals[i];
    std::uint64_t sent = 0;
    for (const auto& [status, count] : total.by_status) sent += count;
    const std::uint64_t rejected = total.count(429) + total.count(503);
    const json& now = results[targets[i].provider];
    fmt::print("{:<10} {:>8} {:>10.1f} {:>9.1f} {:>9.1f} {:>9} {:>9}  {}\n", targets[i].provider, sent,
               now.at("throughput").get<double>(), now.at("p50_ms").get<double>(), now.at("p99_ms").get<double>(),
               rejected, sent - rejected - total.count(200), transitions(state, targets[i].provider));
    fine = fine && total.surprise_count == 0;
    surprises.insert(surprises.end(), total.surprises.begin(), total.surprises.end());
  }
  fmt::print("\n");
  for (std::size_t i = 0; i < drivers.size(); ++i) {
    fmt::print("{} was answered {}\n", targets[i].provider, statuses(totals[i]));
  }
  if (!baseline.empty()) {
    const json before = json::parse(std::ifstream(baseline));
    for (const auto& [provider, figures] : before.items()) {
      if (results.contains(provider)) fine = compare(provider, figures, results[provider], max_ratio) && fine;
    }
  }
  for (const std::string& surprise : surprises) fmt::print("unexpected: {}\n", surprise);
  return fine ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "load: {}\n", error.what());
    return 1;
  }
}
