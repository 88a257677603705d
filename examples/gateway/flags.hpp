// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Command lines: `--name value`, `--name=value` and `--name`.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

/// Collects all that is wrong with a command line, so that it can be told at once.
class Flags {
 public:
  /// `switches` are the names that take no value.
  Flags(int argc, char** argv, const std::vector<std::string_view>& switches = {});

  [[nodiscard]] bool is_set(std::string_view name);
  [[nodiscard]] std::string text(std::string_view name, std::string fallback);
  /// A number in [`least`, `most`].
  [[nodiscard]] double number(std::string_view name, double fallback, double least, double most);
  [[nodiscard]] int integer(std::string_view name, int fallback, int least, int most);
  /// The values of a flag that may be given many times, in their order.
  [[nodiscard]] std::vector<std::string> all(std::string_view name);

  void complain(std::string violation) { violations_.push_back(std::move(violation)); }
  /// What was wrong, also which flags nobody has asked for.
  [[nodiscard]] std::vector<std::string> violations() const;

 private:
  struct Flag {
    std::string name;
    std::string value;
    bool used = false;
  };
  Flag* last(std::string_view name);

  std::vector<Flag> flags_;
  std::vector<std::string> violations_;
};

/// Writes the violations and the usage to stderr. Returns the exit code of a wrong usage.
int refuse(std::string_view program, const std::vector<std::string>& violations, std::string_view usage);

}  // namespace gateway
