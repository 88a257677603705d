// SPDX-License-Identifier: MIT
#include "flags.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include <fmt/core.h>

namespace gateway {

Flags::Flags(int argc, char** argv, const std::vector<std::string_view>& switches) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.substr(0, 2) != "--" || argument.size() == 2) {
      complain(fmt::format("'{}' is not a flag", argument));
      continue;
    }
    const std::size_t equals = argument.find('=');
    Flag flag{.name = std::string(argument.substr(2, equals == argument.npos ? equals : equals - 2)), .value = {}};
    const bool is_switch = std::find(switches.begin(), switches.end(), flag.name) != switches.end();
    if (equals != argument.npos) {
      flag.value = argument.substr(equals + 1);
    } else if (!is_switch && i + 1 < argc) {
      flag.value = argv[++i];
    } else if (!is_switch) {
      complain(fmt::format("--{}: a value is missing", flag.name));
    }
    flags_.push_back(std::move(flag));
  }
}

Flags::Flag* Flags::last(std::string_view name) {
  Flag* found = nullptr;
  for (Flag& flag : flags_) {
    if (flag.name == name) {
      flag.used = true;
      found = &flag;
    }
  }
  return found;
}

bool Flags::is_set(std::string_view name) { return last(name) != nullptr; }

std::string Flags::text(std::string_view name, std::string fallback) {
  const Flag* flag = last(name);
  return flag == nullptr ? std::move(fallback) : flag->value;
}

double Flags::number(std::string_view name, double fallback, double least, double most) {
  const Flag* flag = last(name);
  if (flag == nullptr) return fallback;
  char* end = nullptr;
  const double value = std::strtod(flag->value.c_str(), &end);
  if (flag->value.empty() || *end != '\0' || !(value >= least && value <= most)) {
    complain(fmt::format("--{}: must be a number in [{}, {}], got '{}'", name, least, most, flag->value));
    return fallback;
  }
  return value;
}

int Flags::integer(std::string_view name, int fallback, int least, int most) {
  const double value = number(name, fallback, least, most);
  if (value != std::floor(value)) complain(fmt::format("--{}: must be a whole number, got {}", name, value));
  return static_cast<int>(value);
}

std::vector<std::string> Flags::all(std::string_view name) {
  std::vector<std::string> values;
  for (Flag& flag : flags_) {
    if (flag.name == name) {
      flag.used = true;
      values.push_back(flag.value);
    }
  }
  return values;
}

std::vector<std::string> Flags::violations() const {
  std::vector<std::string> result = violations_;
  for (const Flag& flag : flags_) {
    if (!flag.used) result.push_back(fmt::format("--{}: there is no such flag", flag.name));
  }
  return result;
}

int refuse(std::string_view program, const std::vector<std::string>& violations, std::string_view usage) {
  for (const std::string& violation : violations) fmt::print(stderr, "{}: {}\n", program, violation);
  fmt::print(stderr, "{}", usage);
  return 64;
}

}  // namespace gateway
