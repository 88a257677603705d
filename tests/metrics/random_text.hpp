// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Strings that a writer may trip over.

#include <cstddef>
#include <random>
#include <string>
#include <string_view>

namespace penstock::testing {

/// A mixture of letters, everything that some format escapes, characters of all lengths, and bytes that are no UTF-8.
inline std::string random_text(std::mt19937_64& random, std::size_t max_pieces) {
  using namespace std::string_view_literals;
  static constexpr std::string_view kPieces[] = {
      "a",
      "openai",
      "\"",
      "\\",
      "\n",
      "\r",
      "\t",
      "\0"sv,
      "\x01",
      "\b",
      "\f",
      "\x1F",
      "\x7F",
      "<",
      ">",
      "&",
      "{",
      "}",
      ",",
      "=",
      "#",
      "/",
      "'",
      " ",
      "\xC3\xA9",
      "\xC0",
      "\xC1\x81",
      "é",
      "\xE2\x80\xA8",
      "\xE2\x80\xA9",
      "\xE2\x82\xAC",
      "\xF0\x9F\x9A\x80",
      "\xE2\x82",
      "\xF0\x9F",
      "\x80",
      "\xED\xA0\x80",
      "\xF4\x90\x80\x80",
      "\xEF\xBF\xBD",
      "\xFE",
      "\xFF",
      "\xE0\x80\x80",
      "\xF5",
  };
  std::string text;
  for (std::size_t pieces = random() % (max_pieces + 1); pieces > 0; --pieces) {
    if (random() % 8 == 0) {
      text += static_cast<char>(random());
    } else {
      text += kPieces[random() % std::size(kPieces)];
    }
  }
  return text;
}

}  // namespace penstock::testing
