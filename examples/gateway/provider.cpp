// SPDX-License-Identifier: MIT

// A provider of chat completions on loopback, to try the gateway with: it answers after some time, and misbehaves on
// request, by flags or live through POST /control. It stands in for the server of a local model as well, which takes
// its time to load, and may crash.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <utility>

#include <fmt/core.h>
#include <httplib.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include "connection.hpp"
#include "flags.hpp"
#include "http_server.hpp"
#include "termination.hpp"

namespace {

using gateway::Connection;
using nlohmann::json;

constexpr std::string_view kModes[] = {"healthy", "hang", "garbage", "bad_json", "die", "crash"};

constexpr std::string_view kUsage =
    R"(usage: provider [--name alpha] [--host 127.0.0.1] [--port 0] [--latency-ms 40] [--jitter-ms 5]
                [--error-rate 0] [--mode healthy|hang|garbage|bad_json|die|crash] [--load-ms 0] [--load-while file]
                [--journal file]

Prints its URL when it listens. --load-ms, --load-while: so long, and as long as there is that file, GET /health and
completions are answered with 503. --journal: adds a line to the file, its name and its process, when it starts. POST /control takes {"latency_ms", "jitter_ms", "error_rate", "mode", "limited_key",
"refused_key"}, each optional.
)";

struct Behaviour {
  double latency_ms = 40;
  double jitter_ms = 5;
  double error_rate = 0;  // the part of requests that is answered with 500
  // hang: never answer; garbage: no HTTP; bad_json: no JSON; die: half an answer; crash: end the process
  std::string mode = "healthy";
  std::string limited_key = {};  // requests with it are answered with 429, Retry-After: 2
  std::string refused_key = {};  // and with this one with 401
};

bool is_mode(const std::string& mode) {
  return std::find(std::begin(kModes), std::end(kModes), mode) != std::end(kModes);
}

class Provider {
 public:
  /// Answers from `loaded` on, once there is no file `hold`.
  Provider(std::string name, Behaviour behaviour, std::chrono::steady_clock::time_point loaded, std::string hold)
      : name_(std::move(name)), loaded_(loaded), hold_(std::move(hold)) {
    set(std::move(behaviour));
  }
  ~Provider() { ::close(released_); }

  void install(httplib::Server& server);
  /// Lets go of all requests that hang.
  void stop() {
    stopping_ = true;
    ::eventfd_write(released_, 1);
  }

 private:
  void set(Behaviour behaviour);
  Behaviour behaviour() {
    const std::lock_guard lock(mutex_);
    return behaviour_;
  }
  double random();

  void complete(const httplib::Request& request, httplib::Response& response);
  /// The models, for clients and for health checks: hangs like the rest.
  void models(httplib::Response& response);
  /// Returns false, and says so in the response, as long as the model is not loaded.
  bool is_loaded(httplib::Response& response) const;
  /// Hangs as long as that is the mode. Returns whether the client is still there.
  bool hang();
  /// Whether the key of the request is one that is to be refused; then the response says so.
  static bool refuse_key(const httplib::Request& request, const Behaviour& now, httplib::Response& response);
  void stream(httplib::Response& response, const std::string& model, const std::string& content, bool dies,
              double pause_ms);
  json completion(const char* object, const std::string& model, json choice);
  void control(const httplib::Request& request, httplib::Response& response);
  json state();

  /// Waits; returns false if the client has gone meanwhile.
  static bool pause(double milliseconds, int wake = -1);

  const std::string name_;
  const std::chrono::steady_clock::time_point loaded_;
  const std::string hold_;
  std::atomic<std::uint64_t> requests_{0};
  std::atomic<std::uint64_t> abandoned_{0};  // the client has gone before the answer
  std::atomic<std::uint64_t> hanging_{0};
  std::atomic<bool> stopping_{false};
  // Readable while nobody hangs: one write wakes all that wait.
  const int released_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

  std::mutex mutex_;
  Behaviour behaviour_;
  std::minstd_rand random_{1};
};

void Provider::set(Behaviour behaviour) {
  const std::lock_guard lock(mutex_);
  eventfd_t value = 0;
  if (behaviour.mode == "hang") {
    ::eventfd_read(released_, &value);
  } else {
    ::eventfd_write(released_, 1);
  }
  behaviour_ = std::move(behaviour);
}

double Provider::random() {
  const std::lock_guard lock(mutex_);
  return std::uniform_real_distribution<double>(0, 1)(random_);
}

bool Provider::pause(double milliseconds, int wake) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double, std::milli>(milliseconds);
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::nanoseconds>(until - std::chrono::steady_clock::now()).count();
    if (milliseconds >= 0 && left <= 0) return true;
    const timespec timeout{.tv_sec = left / 1'000'000'000, .tv_nsec = left % 1'000'000'000};
    pollfd events[2] = {{.fd = Connection::current().socket(), .events = POLLRDHUP, .revents = 0},
                        {.fd = wake, .events = POLLIN, .revents = 0}};
    const int count = ::ppoll(events, 2, milliseconds < 0 ? nullptr : &timeout, nullptr);
    if (count > 0) return events[0].revents == 0;
  }
}

bool Provider::hang() {
  ++hanging_;
  const bool here = pause(-1, released_);
  --hanging_;
  if (stopping_) Connection::current().shut_down();
  return here;
}

void Provider::models(httplib::Response& response) {
  if (behaviour().mode == "hang" && !hang()) return;
  const json model = {{"id", name_ + "-1"}, {"object", "model"}, {"owned_by", name_}};
  response.set_content(json{{"object", "list"}, {"data", json::array({model})}}.dump(), "application/json");
}

bool Provider::is_loaded(httplib::Response& response) const {
  const bool is_held = !hold_.empty() && ::access(hold_.c_str(), F_OK) == 0;
  if (!is_held && std::chrono::steady_clock::now() >= loaded_) return true;
  response.status = 503;
  response.set_content(R"({"error":{"message":"the model is being loaded"}})", "application/json");
  return false;
}

json Provider::completion(const char* object, const std::string& model, json choice) {
  return {{"id", fmt::format("chatcmpl-{}-{}", name_, requests_.load())},
          {"object", object},
          {"model", model},
          {"provider", name_},
          {"choices", json::array({std::move(choice)})}};
}

bool Provider::refuse_key(const httplib::Request& request, const Behaviour& now, httplib::Response& response) {
  const std::string key = request.get_header_value("Authorization");
  if (!now.refused_key.empty() && key == "Bearer " + now.refused_key) {
    response.status = 401;
    response.set_content(R"({"error":{"message":"the API key is not known"}})", "application/json");
  } else if (!now.limited_key.empty() && key == "Bearer " + now.limited_key) {
    response.status = 429;
    response.set_header("Retry-After", "2");
    response.set_content(R"({"error":{"message":"too many requests with this API key"}})", "application/json");
  } else {
    return false;
  }
  return true;
}

void Provider::complete(const httplib::Request& request, httplib::Response& response) {
  if (!is_loaded(response)) return;
  ++requests_;
  const Behaviour now = behaviour();
  const json body = json::parse(request.body, nullptr, false);
  if (!body.is_object() || !body.contains("messages") || !body["messages"].is_array() || body["messages"].empty()) {
    response.status = 400;
    response.set_content(R"({"error":{"message":"messages: must be a list that is not empty"}})", "application/json");
    return;
  }

  if (now.mode == "crash") {
    fmt::print(stderr, "provider {}: out of memory in the middle of request {}\n", name_, requests_.load());
    std::_Exit(70);
  }
  double wait_ms = now.latency_ms + now.jitter_ms * random();
  bool here = true;
  if (now.mode == "hang") {
    here = hang();
    wait_ms = 0;
  }
  const bool streams = body.value("stream", false);
  const std::string model = body.value("model", name_ + "-1");
  const json& last = body["messages"].back();
  const std::string content =
      fmt::format("{} says: {}", name_, last.is_object() ? last.value("content", std::string()) : std::string());

  if (!here || !pause(streams ? wait_ms / 2 : wait_ms)) {
    ++abandoned_;
  } else if (now.mode == "garbage") {
    Connection::current().write("\x16\x03\x01 this is not HTTP\r\n\r\n");
    Connection::current().shut_down();
  } else if (now.mode == "bad_json") {
    response.set_content("<html>It works!</html>", "text/html");
  } else if (refuse_key(request, now, response)) {
    // answered
  } else if (random() < now.error_rate) {
    response.status = 500;
    response.set_content(R"({"error":{"message":"the model has crashed"}})", "application/json");
  } else if (streams) {
    stream(response, model, content, now.mode == "die", wait_ms / 2);
  } else {
    const json choice = {
        {"index", 0}, {"message", {{"role", "assistant"}, {"content", content}}}, {"finish_reason", "stop"}};
    json answer = completion("chat.completion", model, choice);
    answer["usage"] = {{"prompt_tokens", request.body.size() / 4}, {"completion_tokens", content.size() / 4}};
    const std::string text = answer.dump();
    if (now.mode == "die") {
      response.set_content_provider(text.size(), "application/json",
                                    [text](std::size_t, std::size_t, httplib::DataSink& sink) {
                                      sink.write(text.data(), text.size() / 2);
                                      return false;
                                    });
    } else {
      response.set_content(text, "application/json");
    }
  }
}

void Provider::stream(httplib::Response& response, const std::string& model, const std::string& content, bool dies,
                      double pause_ms) {
  std::vector<std::string> words;
  std::istringstream text(content);
  for (std::string word; text >> word;) words.push_back(words.empty() ? word : " " + word);
  const double each_ms = pause_ms / static_cast<double>(words.size());
  response.set_chunked_content_provider("text/event-stream", [this, model, words, dies, each_ms, next = std::size_t{0}](
                                                                 std::size_t, httplib::DataSink& sink) mutable {
    if (dies && next == words.size() / 2) return false;
    if (next == words.size()) {
      sink.os << "data: [DONE]\n\n";
      sink.done();
      return true;
    }
    if (!pause(each_ms)) {
      ++abandoned_;
      return false;
    }
    const json choice = {{"index", 0}, {"delta", {{"content", words[next++]}}}};
    const std::string event = "data: " + completion("chat.completion.chunk", model, choice).dump() + "\n\n";
    return sink.write(event.data(), event.size());
  });
}

json Provider::state() {
  const Behaviour now = behaviour();
  return {
      {"latency_ms", now.latency_ms}, {"jitter_ms", now.jitter_ms}, {"error_rate", now.error_rate},  {"mode", now.mode},
      {"requests", requests_.load()}, {"hanging", hanging_.load()}, {"abandoned", abandoned_.load()}};
}

void Provider::control(const httplib::Request& request, httplib::Response& response) {
  Behaviour wanted = behaviour();
  std::string violation;
  try {
    const json body = json::parse(request.body);
    wanted.latency_ms = body.value("latency_ms", wanted.latency_ms);
    wanted.jitter_ms = body.value("jitter_ms", wanted.jitter_ms);
    wanted.error_rate = body.value("error_rate", wanted.error_rate);
    wanted.mode = body.value("mode", wanted.mode);
    wanted.limited_key = body.value("limited_key", wanted.limited_key);
    wanted.refused_key = body.value("refused_key", wanted.refused_key);
    if (!is_mode(wanted.mode)) violation = "mode: must be healthy, hang, garbage, bad_json, die or crash";
    if (!(wanted.latency_ms >= 0 && wanted.jitter_ms >= 0)) violation = "latency_ms, jitter_ms: must not be negative";
  } catch (const json::exception& error) {
    violation = error.what();
  }
  if (violation.empty()) {
    set(wanted);
  } else {
    response.status = 400;
  }
  response.set_content((violation.empty() ? state() : json{{"error", violation}}).dump(), "application/json");
}

void Provider::install(httplib::Server& server) {
  server.Post("/v1/chat/completions", [this](const auto& request, auto& response) { complete(request, response); });
  server.Get("/health", [this](const httplib::Request&, httplib::Response& response) {
    if (is_loaded(response)) response.set_content(R"({"status":"ok"})", "application/json");
  });
  server.Get("/v1/models", [this](const httplib::Request&, httplib::Response& response) { models(response); });
  server.Post("/control", [this](const auto& request, auto& response) { control(request, response); });
  server.Get("/control", [this](const httplib::Request&, httplib::Response& response) {
    response.set_content(state().dump(), "application/json");
  });
}

int run(int argc, char** argv) {
  gateway::Flags flags(argc, argv);
  gateway::HttpServerOptions options;
  const std::string name = flags.text("name", "alpha");
  options.host = flags.text("host", options.host);
  options.port = flags.integer("port", 0, 0, 65535);
  Behaviour behaviour;
  behaviour.latency_ms = flags.number("latency-ms", behaviour.latency_ms, 0, 3.6e6);
  behaviour.jitter_ms = flags.number("jitter-ms", behaviour.jitter_ms, 0, 3.6e6);
  behaviour.error_rate = flags.number("error-rate", 0, 0, 1);
  behaviour.mode = flags.text("mode", behaviour.mode);
  if (!is_mode(behaviour.mode)) {
    flags.complain("--mode: must be healthy, hang, garbage, bad_json, die or crash, got '" + behaviour.mode + "'");
  }
  const std::chrono::duration<double, std::milli> load(flags.number("load-ms", 0, 0, 3.6e6));
  const std::string hold = flags.text("load-while", "");
  const std::string journal = flags.text("journal", "");
  if (const auto violations = flags.violations(); !violations.empty()) {
    return gateway::refuse("provider", violations, kUsage);
  }

  gateway::Termination termination;
  if (!journal.empty()) std::ofstream(journal, std::ios::app) << fmt::format("{} {}\n", name, ::getpid());
  const auto now = std::chrono::steady_clock::now();
  Provider provider(name, behaviour, now + std::chrono::duration_cast<std::chrono::steady_clock::duration>(load), hold);
  gateway::HttpServer server(options);
  provider.install(server);
  const int port = server.bind();
  std::thread serving([&server] { server.run(); });
  fmt::print("provider {} listening on http://{}:{}\n", name, options.host, port);
  std::fflush(stdout);

  termination.wait();
  provider.stop();
  server.stop();
  serving.join();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "provider: {}\n", error.what());
    return 1;
  }
}
