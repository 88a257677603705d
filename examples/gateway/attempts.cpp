// SPDX-License-Identifier: MIT
#include "attempts.hpp"

#include <nlohmann/json.hpp>

#include "upstream.hpp"
#include "verdicts.hpp"

namespace gateway {

void Ledger::after(penstock::InterceptedCall& call) {
  std::uint64_t prompt = 0;
  std::uint64_t completion = 0;
  if (const auto* const answer = call.value<Answer>(); answer != nullptr && !answer->body.empty()) {
    const auto document = nlohmann::json::parse(answer->body, nullptr, false);
    const auto usage = document.is_object() ? document.value("usage", nlohmann::json()) : nlohmann::json();
    const auto tokens = [&usage](const char* key) {
      const auto found = usage.is_object() ? usage.find(key) : usage.end();
      return usage.is_object() && found != usage.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
    };
    prompt = tokens("prompt_tokens");
    completion = tokens("completion_tokens");
  }
  const std::lock_guard lock(mutex_);
  Account& account = accounts_[std::string(call.provider())];
  ++account.attempts[absl::StatusCodeToString(call.status().code())];
  account.prompt_tokens += prompt;
  account.completion_tokens += completion;
}

void Ledger::collect(penstock::MetricSink& sink) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [provider, account] : accounts_) {
    for (const auto& [status, count] : account.attempts) {
      sink.counter("gateway_attempts_total", "Attempts that have come to an end, by what that was.",
                   {{"provider", provider}, {"status", status}}, count);
    }
    const auto tokens = [&, &provider = provider](std::string_view kind, std::uint64_t count) {
      sink.counter("gateway_tokens_total", "Tokens that the provider says it has used; not of streams.",
                   {{"provider", provider}, {"kind", kind}}, count);
    };
    tokens("prompt", account.prompt_tokens);
    tokens("completion", account.completion_tokens);
  }
}

void Ledger::write_state(penstock::JsonWriter& json, std::string_view provider) const {
  const std::lock_guard lock(mutex_);
  const auto found = accounts_.find(provider);
  const Account account = found == accounts_.end() ? Account() : found->second;
  json.key("attempts").begin_object();
  for (const auto& [status, count] : account.attempts) json.key(status).value(count);
  json.end_object();
  json.key("tokens").begin_object().key("prompt").value(account.prompt_tokens);
  json.key("completion").value(account.completion_tokens).end_object();
}

void RetryRoom::after(penstock::InterceptedCall& call) {
  // The verdict of who has several keys: at most, a place is taken that is not needed.
  if (call.status().ok() || retry_verdict(call.status(), true) == penstock::RetryVerdict::kStop) return;
  if (!enter(call.provider(), call.job().call_id)) call.fail(without_retry(call.status()));
}

void RetryRoom::set_size(const std::string& provider, std::size_t places) {
  const std::lock_guard lock(mutex_);
  rooms_[provider].places = places;
}

std::size_t RetryRoom::waiting(std::string_view provider) const {
  const std::lock_guard lock(mutex_);
  const auto found = rooms_.find(provider);
  return found == rooms_.end() ? 0 : found->second.calls.size();
}

bool RetryRoom::enter(std::string_view provider, std::uint64_t call_id) {
  const std::lock_guard lock(mutex_);
  const auto found = rooms_.find(provider);
  if (found == rooms_.end()) return false;
  Room& room = found->second;
  if (room.calls.contains(call_id)) return true;
  return room.calls.size() < room.places && room.calls.insert(call_id).second;
}

void RetryRoom::leave(std::uint64_t call_id) {
  const std::lock_guard lock(mutex_);
  for (auto& [provider, room] : rooms_) room.calls.erase(call_id);
}

RetryRoom::Place::Place(RetryRoom& room) : room_(room) {
  const std::lock_guard lock(room.mutex_);
  // Far from the ids of jobs, which stand for calls that were given none.
  call_id_ = (std::uint64_t{1} << 62) + ++room.last_call_;
}

}  // namespace gateway
