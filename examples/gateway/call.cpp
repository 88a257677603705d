// SPDX-License-Identifier: MIT
#include "call.hpp"

#include <optional>
#include <utility>

#include <fmt/core.h>

#include "verdicts.hpp"

#include "penstock/exec/job.hpp"
#include "penstock/exec/retry.hpp"

namespace gateway {
namespace {

using penstock::Context;
using penstock::JobContext;
using penstock::SubmitOptions;

/// `attempt` returns an answer, or why there is none.
template <class Attempt>
absl::StatusOr<Answer> with_retries(Provider& provider, const Context& ctx, const Attempt& attempt) {
  Provider::Waiting waiting(provider);
  std::optional<Answer> limited;  // a 429, as the upstream has put it
  absl::StatusOr<Answer> result = penstock::retry(
      provider.retrier(),
      [&](const penstock::RetryAttempt&) {
        limited.reset();
        absl::StatusOr<Answer> answer = attempt();
        if (answer.ok()) {
          if (absl::Status refused = to_status(*answer, provider.name()); !refused.ok()) {
            if (answer->status == 429) limited = *std::move(answer);
            answer = std::move(refused);
          }
        }
        if (!answer.ok() && !waiting.begin()) answer = without_retry(answer.status());
        return answer;
      },
      ctx);
  if (!result.ok() && limited && !ctx.is_done()) return *std::move(limited);
  return result;
}

}  // namespace

absl::StatusOr<Answer> ask(Providers& providers, Provider& provider, std::shared_ptr<const ChatRequest> request,
                           const Context& ctx) {
  return with_retries(provider, ctx, [&]() -> absl::StatusOr<Answer> {
    // The function may outlive this call, if the upstream ignores its deadline: it owns what it uses.
    auto job = providers.router().submit(
        provider.name(),
        [&provider, request](const JobContext& running) { return provider.complete(*request, running); },
        SubmitOptions{.context = ctx, .tag = request->model});
    if (!job.ok()) return job.status();
    return job->get(ctx);
  });
}

absl::StatusOr<Answer> ask(Providers& providers, Provider& provider, std::shared_ptr<const ChatRequest> request,
                           const Context& ctx, EventStream& events) {
  return with_retries(provider, ctx, [&]() -> absl::StatusOr<Answer> {
    auto job = providers.router().submit(
        provider.name(),
        [&provider, request, sink = events.make_sink()](const JobContext& running) {
          const auto pass_on = [&](std::string_view piece) { return sink.send(piece, running.context); };
          return provider.complete(*request, running, pass_on);
        },
        SubmitOptions{.context = ctx, .tag = request->model});
    if (!job.ok()) return job.status();
    if (events.begin(*std::move(job))) return Answer{.status = 200};
    return events.answer();
  });
}

Failure explain(const absl::Status& status, const Context& ctx, const Provider& provider) {
  if (ctx.status() != penstock::OpStatus::kCancelled) return to_failure(status, provider.name());
  if (absl::IsCancelled(ctx.cause())) return client_closed();
  // The gateway has waited for it for as long as it could. What `status` says depends on where that was noticed first.
  Failure ended = shutting_down();
  ended.provider = provider.name();
  ended.message = fmt::format("provider '{}': no answer before the gateway has shut down", provider.name());
  return ended;
}

}  // namespace gateway
