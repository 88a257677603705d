// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A request for a completion.

#include <string>
#include <variant>

#include "errors.hpp"

namespace gateway {

/// What the gateway has to know of a request; the rest is between the client and the provider.
struct ChatRequest {
  std::string model;
  bool streams = false;
  /// "prompt_cache_key": requests with the same one go out with the same API key, which is where their prompt lies in
  /// a cache.
  std::string session;
  std::string body;  ///< As the client has sent it.

  /// What `body` asks for, or what is wrong with it.
  static std::variant<ChatRequest, Failure> parse(std::string body);
};

}  // namespace gateway
