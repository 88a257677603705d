// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How the parts of a configuration are read from JSON.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "absl/time/time.h"

#include "config.hpp"

#include "penstock/core/clock.hpp"

namespace gateway {

inline constexpr double kDayMs = 24 * 3600 * 1000.0;
inline constexpr double kMostMemoryMb = 1 << 24;

/// Reads the members of one JSON object, and says all that is wrong with them.
class Reader {
 public:
  Reader(const nlohmann::json& object, std::string path, std::vector<std::string>& violations)
      : object_(object), path_(std::move(path)), violations_(violations) {
    if (!object_.is_object()) complain("", "must be an object", object_);
  }

  void complain(const std::string& key, const std::string& expected, const nlohmann::json& got) {
    violations_.push_back(fmt::format("{}{}: {}, got {}", path_, key.empty() ? "" : "." + key, expected, brief(got)));
  }

  /// The value of `key`; null if there is none.
  const nlohmann::json* find(const std::string& key) {
    known_.push_back(key);
    if (!object_.is_object()) return nullptr;
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }

  /// Whether there is a value of `key`.
  [[nodiscard]] bool has(const std::string& key) const { return object_.is_object() && object_.contains(key); }

  template <class Number>
  void number(const std::string& key, Number& value, double least, double most) {
    const nlohmann::json* const found = find(key);
    if (found == nullptr) return;
    const bool whole = std::is_integral_v<Number>;
    const double got = found->is_number() ? found->get<double>() : std::nan("");
    if (!(got >= least && got <= most) || (whole && got != std::floor(got))) {
      return complain(key, fmt::format("must be a {}number in [{}, {}]", whole ? "whole " : "", least, most), *found);
    }
    value = static_cast<Number>(got);
  }

  template <class Rep, class Period>
  void time_ms(const std::string& key, std::chrono::duration<Rep, Period>& value, double least, double most) {
    auto count = static_cast<double>(std::chrono::duration_cast<std::chrono::milliseconds>(value).count());
    number(key, count, least, most);
    value = std::chrono::duration_cast<std::chrono::duration<Rep, Period>>(
        std::chrono::duration<double, std::milli>(count));
  }

  /// The same, and `false` for what is not limited.
  template <class Rep, class Period>
  void time_ms_or_false(const std::string& key, std::chrono::duration<Rep, Period>& value, double least, double most) {
    const nlohmann::json* const found = find(key);
    if (found == nullptr || *found == false) return;
    const double got = found->is_number() ? found->get<double>() : std::nan("");
    if (!(got >= least && got <= most)) {
      return complain(key, fmt::format("must be false or a number in [{}, {}]", least, most), *found);
    }
    value =
        std::chrono::duration_cast<std::chrono::duration<Rep, Period>>(std::chrono::duration<double, std::milli>(got));
  }

  /// "500ms", "1.5s", or a number of milliseconds.
  void time(const std::string& key, penstock::Duration& value, double least_ms, double most_ms) {
    const nlohmann::json* const found = find(key);
    if (found == nullptr) return;
    absl::Duration got = absl::ZeroDuration();
    const bool is_time =
        found->is_string() ? absl::ParseDuration(found->get_ref<const std::string&>(), &got) : found->is_number();
    if (found->is_number()) got = absl::Milliseconds(found->get<double>());
    if (!is_time || got < absl::Milliseconds(least_ms) || got > absl::Milliseconds(most_ms)) {
      return complain(key,
                      fmt::format("must be a time such as \"500ms\", or milliseconds, in [{}, {}]", least_ms, most_ms),
                      *found);
    }
    value = absl::ToChronoNanoseconds(got);
  }

  void flag(const std::string& key, bool& value) {
    const nlohmann::json* const found = find(key);
    if (found == nullptr) return;
    if (!found->is_boolean()) return complain(key, "must be true or false", *found);
    value = found->get<bool>();
  }

  void text(const std::string& key, std::string& value, bool required = false) {
    const nlohmann::json* const found = find(key);
    if (found == nullptr && !required) return;
    if (found != nullptr && found->is_string() && !found->get_ref<const std::string&>().empty()) {
      value = *found;
    } else {
      complain(key, "must be a text that is not empty", found == nullptr ? nlohmann::json() : *found);
    }
  }

  /// A list of texts that are not empty; if it is required, of at least one.
  std::vector<std::string> texts(const std::string& key, std::string_view what, bool required = false) {
    const nlohmann::json* const found = find(key);
    if (found == nullptr && !required) return {};
    const auto is_name = [](const nlohmann::json& name) {
      return name.is_string() && !name.get_ref<const std::string&>().empty();
    };
    if (found != nullptr && found->is_array() && !(required && found->empty()) &&
        std::all_of(found->begin(), found->end(), is_name)) {
      return found->get<std::vector<std::string>>();
    }
    complain(key, fmt::format("must be a list of {}{}", what, required ? " that is not empty" : ""),
             found == nullptr ? nlohmann::json() : *found);
    return {};
  }

  /// One of some words, each of which stands for a value.
  template <class Value>
  void choice(const std::string& key, Value& value, const std::vector<std::pair<std::string_view, Value>>& choices) {
    const nlohmann::json* const found = find(key);
    if (found == nullptr) return;
    std::string words;
    for (const auto& [word, meaning] : choices) {
      if (*found == word) {
        value = meaning;
        return;
      }
      words += fmt::format("{}{}", words.empty() ? "" : ", ", word);
    }
    complain(key, "must be one of " + words, *found);
  }

  /// To be called last: what nobody has asked for is a mistake, most likely in its spelling.
  void refuse_unknown_keys() {
    if (!object_.is_object()) return;
    for (const auto& [key, value] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
      std::string names;
      for (const std::string& name : known_) names += (names.empty() ? "" : ", ") + name;
      violations_.push_back(fmt::format("{}.{}: there is no such key, expected one of {}", path_, key, names));
    }
  }

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  static std::string brief(const nlohmann::json& value) {
    const std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return value.is_null() ? "nothing" : text.size() <= 60 ? text : text.substr(0, 57) + "...";
  }

  const nlohmann::json& object_;
  const std::string path_;
  std::vector<std::string>& violations_;
  std::vector<std::string> known_;
};

/// The models that the gateway serves itself.
LocalConfig read_local(const nlohmann::json& object, const std::string& path, std::vector<std::string>& violations);

/// Who runs with whom: the members "groups", "matrix" and "budget" of `reader`, of which at most one is there.
penstock::PlannerFactory read_planner(Reader& reader, const std::vector<LocalModelConfig>& models,
                                      std::vector<std::string>& violations);

/// Each reads one member of a provider, at `path`, and adds what is wrong with it to `violations`. `false` stands for
/// none, where that is allowed.
void read_breaker(const nlohmann::json& object, const std::string& path, ProviderConfig& provider,
                  std::vector<std::string>& violations);
void read_health(const nlohmann::json& object, const std::string& path, ProviderConfig& provider,
                 std::vector<std::string>& violations);
void read_rate_limit(const nlohmann::json& object, const std::string& path, ProviderConfig& provider,
                     std::vector<std::string>& violations);
void read_limiter(const nlohmann::json& object, const std::string& path, ProviderConfig& provider,
                  std::vector<std::string>& violations);
void read_scaling(const nlohmann::json& object, const std::string& path, ProviderConfig& provider,
                  std::vector<std::string>& violations);
/// A whole provider. Its name is `name` if it does not say another one; empty: it has to.
ProviderConfig read_provider(const nlohmann::json& object, const std::string& path, const std::string& name,
                             std::vector<std::string>& violations);

}  // namespace gateway
