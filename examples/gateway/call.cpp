// SPDX-License-Identifier: MIT
#include "call.hpp"

#include <exception>
#include <mutex>
#include <optional>
#include <utility>

#include <fmt/core.h>

#include "verdicts.hpp"

#include "penstock/core/task.hpp"

namespace gateway {
namespace {

using penstock::Context;
using penstock::ProviderCall;
using penstock::ProviderRouter;
using penstock::SubmitOptions;

/// The last 429, as the upstream has put it: for the client, if it stays at that.
class Limited {
 public:
  /// What a key, another attempt and the breaker are to be told of `answer`.
  absl::StatusOr<Answer> judge(absl::StatusOr<Answer> answer, std::string_view provider) {
    if (!answer.ok()) return answer;
    absl::Status refused = to_status(*answer, provider);
    if (refused.ok()) return answer;
    if (answer->status == 429) {
      const std::lock_guard lock(mutex_);
      answer_ = *std::move(answer);
    }
    return refused;
  }

  absl::StatusOr<Answer> instead_of(absl::StatusOr<Answer> result) {
    const bool is_limited =
        absl::IsResourceExhausted(result.status()) && fault_stage(result.status()) == Stage::kUpstream;
    const std::lock_guard lock(mutex_);
    if (is_limited && answer_) return *std::move(answer_);
    return result;
  }

 private:
  std::mutex mutex_;  // a job that has outrun its time may come late
  std::optional<Answer> answer_;
};

ProviderRouter::Names names_of(const Provider& provider) {
  ProviderRouter::Names names{provider.name()};
  names.insert(names.end(), provider.config.fallback.begin(), provider.config.fallback.end());
  return names;
}

// Functions may outlive their calls, if an upstream ignores its deadline: they own what they use.

auto whole(Providers& providers, std::shared_ptr<const ChatRequest> request, std::shared_ptr<Limited> limited) {
  return [&providers, request = std::move(request), limited = std::move(limited)](const ProviderCall& call) {
    return limited->judge(providers.complete(*request, call), call.provider());
  };
}

auto streamed(Providers& providers, std::shared_ptr<const ChatRequest> request, std::shared_ptr<Limited> limited,
              std::shared_ptr<EventPipe> pipe) {
  return [&providers, request = std::move(request), limited = std::move(limited),
          pipe = std::move(pipe)](const ProviderCall& call) -> absl::StatusOr<Answer> {
    EventPipe::Source source(*pipe);
    if (pipe->has_begun()) {
      return passed_on(upstream_fault(
          absl::StatusCode::kDeadlineExceeded, Stage::kUpstream, "deadline_exceeded",
          fmt::format("provider '{}': not asked, for another one has begun to answer", call.provider())));
    }
    auto answer = limited->judge(
        providers.complete(*request, call,
                           [&](std::string_view piece) { return source.send(piece, call.provider(), call.context()); }),
        call.provider());
    if (!answer.ok() && source.has_sent()) return passed_on(answer.status());
    return answer;
  };
}

penstock::Task<void> stream(Providers& providers, ProviderRouter::Names names,
                            std::shared_ptr<const ChatRequest> request, Context ctx, std::shared_ptr<EventPipe> pipe,
                            std::unique_ptr<Providers::StreamGuard> /*until_it_has_ended*/) {
  absl::StatusOr<Answer> answer;
  try {
    const RetryRoom::Place place(providers.retry_room());
    const auto limited = std::make_shared<Limited>();
    const SubmitOptions options{.context = ctx, .tag = request->session, .call_id = place.call_id()};
    auto function = streamed(providers, request, limited, pipe);
    answer = co_await providers.router().async_call(std::move(names), std::move(function), options);
    answer = limited->instead_of(std::move(answer));
  } catch (const std::exception& error) {
    answer = absl::InternalError(error.what());
  }
  pipe->finish(std::move(answer));
}

}  // namespace

absl::StatusOr<Answer> ask(Providers& providers, const Provider& provider, std::shared_ptr<const ChatRequest> request,
                           const Context& ctx) {
  const RetryRoom::Place place(providers.retry_room());
  const auto limited = std::make_shared<Limited>();
  const SubmitOptions options{.context = ctx, .tag = request->session, .call_id = place.call_id()};
  return limited->instead_of(
      providers.router().call(names_of(provider), whole(providers, std::move(request), limited), options));
}

absl::StatusOr<Answer> ask(Providers& providers, const Provider& provider, std::shared_ptr<const ChatRequest> request,
                           const Context& ctx, EventStream& events) {
  auto pipe = std::make_shared<EventPipe>(providers.pieces());
  // Nobody joins it: the pipe says when it has ended.
  static_cast<void>(
      penstock::spawn(providers.executor(), stream(providers, names_of(provider), std::move(request), ctx, pipe,
                                                   std::make_unique<Providers::StreamGuard>(providers))));
  if (events.begin(std::move(pipe))) return Answer{.status = 200};
  return events.answer();
}

penstock::Duration deadline_of(const Providers& providers, const Provider& provider) {
  penstock::Duration deadline = provider.config.deadline();
  for (const std::string& name : provider.config.fallback) {
    if (const ProviderPtr other = providers.named(name); other != nullptr) deadline += other->config.deadline();
  }
  return deadline;
}

Failure explain(const absl::Status& status, const Context& ctx, const Provider& provider) {
  // What `status` says then depends on where that was noticed first.
  const auto ended = called_off(ctx, provider.name(), fmt::format("provider '{}'", provider.name()));
  return ended ? *ended : to_failure(status, provider.name());
}

}  // namespace gateway
