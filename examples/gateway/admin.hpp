// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What an operator does by hand while the gateway serves.

#include <string>
#include <string_view>

#include <httplib.h>

#include "local_models.hpp"
#include "providers.hpp"

#include "penstock/core/context.hpp"

namespace gateway {

/// PUT  /admin/providers/{name}          its JSON, as in the configuration: an update, which no request notices
/// POST /admin/providers/{name}/check    a health check, now
/// POST /admin/providers/{name}/breaker  {"state": "open" | "reset" | "disabled" | "metrics_only"}
/// POST /admin/reload                    all providers, as the file says now; refused if its local models are others
/// POST /api/models/unload               stops all local models
/// POST /api/models/unload/{model}       stops one of them
///
/// Threads: any member, from any thread.
class Admin {
 public:
  /// `local` may be null. `file` is that of the configuration; empty if there is none. Waits end when `accepting` does.
  Admin(Providers& providers, LocalModels* local, std::string file, penstock::Context accepting)
      : providers_(providers), local_(local), file_(std::move(file)), accepting_(std::move(accepting)) {}

  /// The methods of a path; empty if it is not one of these.
  static std::string_view allowed_methods(std::string_view path);
  /// Whether a request to that path has a body.
  static bool takes_body(std::string_view path);

  /// Answers a request to one of these paths. Blocks: an update until what runs by the old options has ended, a check
  /// until it has; an unload until the processes have ended.
  void handle(std::string_view path, const std::string& body, httplib::Response& response);

 private:
  void update(const std::string& name, const std::string& body, httplib::Response& response);
  void check(const std::string& name, httplib::Response& response);
  void set_breaker(const std::string& name, const std::string& body, httplib::Response& response);
  void reload(httplib::Response& response);
  void unload(const std::string& model, httplib::Response& response);

  Providers& providers_;
  LocalModels* const local_;
  const std::string file_;
  const penstock::Context accepting_;
};

}  // namespace gateway
