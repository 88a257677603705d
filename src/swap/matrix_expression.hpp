// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The expressions of a matrix: which models may run together.
///
///   any     = all { "|" all }
///   all     = primary { "&" primary }
///   primary = name | "+" name | "(" any ")"
///   name    = one or more of: letters, digits, "_", "-", "."
///
/// White space may stand between all of these, but not behind a "+".

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

inline constexpr std::size_t kMaxMatrixExpressionBytes = 65536;
inline constexpr std::size_t kMaxMatrixDepth = 200;  // of parentheses: they recurse

enum class MatrixKind : std::uint8_t {
  kName,       // a variable or a model
  kReference,  // another set
  kAll,        // "&"
  kAny,        // "|"
};

struct MatrixTerm {
  MatrixKind kind;
  std::size_t position;              // of its first byte
  std::string_view name;             // of a name or a reference; a part of the text
  std::vector<std::size_t> parts{};  // of the others: at least two earlier terms, from left to right
};

/// Terms in the order in which they can be computed: the last one is all of it.
struct MatrixExpression {
  std::vector<MatrixTerm> terms;
};

struct MatrixSyntaxError {
  std::size_t position;
  std::string text;
};

/// `text` has to outlive the expression. Of several errors, the first.
std::variant<MatrixExpression, MatrixSyntaxError> parse_matrix_expression(std::string_view text);

/// Letters, digits, "_", "-" or ".".
bool is_matrix_name_byte(char byte) noexcept;

/// `column 5 of "g & >x"`: bytes are counted from 1 on, the place is marked, and far more than a line is left out.
std::string matrix_place(std::string_view text, std::size_t position);

}  // namespace penstock::inline PENSTOCK_ABI::detail
