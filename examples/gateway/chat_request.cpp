// SPDX-License-Identifier: MIT
#include "chat_request.hpp"

#include <utility>

#include <nlohmann/json.hpp>

namespace gateway {

using nlohmann::json;

std::variant<ChatRequest, Failure> ChatRequest::parse(std::string body) {
  json request;
  try {
    request = json::parse(body);
  } catch (const json::parse_error& error) {
    const std::string what = error.what();
    return invalid_request("", "the body is not JSON: " + what.substr(what.find(']') + 2));
  }
  if (!request.is_object()) return invalid_request("", "the body must be a JSON object");
  const auto member = [&request](const char* key) {
    const auto found = request.find(key);
    return found == request.end() ? json() : *found;
  };
  const json model = member("model");
  if (!model.is_string()) return invalid_request("model", "must be the name of a model");
  const json messages = member("messages");
  if (!messages.is_array() || messages.empty()) return invalid_request("messages", "must be a list that is not empty");
  const json stream = member("stream");
  if (!stream.is_null() && !stream.is_boolean()) return invalid_request("stream", "must be true or false");
  const json session = member("prompt_cache_key");
  if (!session.is_null() && !session.is_string()) return invalid_request("prompt_cache_key", "must be a text");
  return ChatRequest{.model = model,
                     .streams = stream.is_boolean() && stream.get<bool>(),
                     .session = session.is_string() ? session.get<std::string>() : "",
                     .body = std::move(body)};
}

}  // namespace gateway
