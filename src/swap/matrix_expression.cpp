// SPDX-License-Identifier: MIT
#include "matrix_expression.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/option_text.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::size_t kMaxQuotedBytes = 64;   // of a name
constexpr std::size_t kMaxContextBytes = 40;  // of an expression, on each side of a place

bool is_space(char byte) noexcept { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

/// What does not print, as its code: an expression may be any bytes.
std::string printable(std::string_view text) {
  std::string result;
  for (const char byte : text) {
    if (byte >= ' ' && byte <= '~') {
      result += byte;
    } else {
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    }
  }
  return result;
}

class MatrixParser {
 public:
  explicit MatrixParser(std::string_view text) : text_(text) { advance(); }

  std::variant<MatrixExpression, MatrixSyntaxError> parse() {
    if (!error_ && token_.kind == Token::kEnd) fail(0, "empty expression");
    if (!error_) parse_any();
    if (!error_ && token_.kind != Token::kEnd) {
      fail(token_.position,
           token_.kind == Token::kClose ? "')' without a '('" : "expected '&', '|' or the end, got " + got());
    }
    if (error_) return std::move(*error_);
    return std::move(expression_);
  }

 private:
  struct Token {
    enum Kind : std::uint8_t { kName, kReference, kAnd, kOr, kOpen, kClose, kEnd } kind = kEnd;
    std::size_t position = 0;
    std::string_view name{};
  };

  void fail(std::size_t position, std::string text) {
    if (!error_) error_ = MatrixSyntaxError{position, std::move(text)};
    token_ = {Token::kEnd, text_.size(), {}};  // so that all loops come to an end
  }

  std::string got() const {
    switch (token_.kind) {
      case Token::kName:
        return fmt::format("'{}'", shortened(token_.name, kMaxQuotedBytes));
      case Token::kReference:
        return fmt::format("'+{}'", shortened(token_.name, kMaxQuotedBytes));
      case Token::kEnd:
        return "the end";
      default:
        return fmt::format("'{}'", text_[token_.position]);
    }
  }

  std::string_view take_name() noexcept {
    const std::size_t begin = next_;
    while (next_ < text_.size() && is_matrix_name_byte(text_[next_])) ++next_;
    return text_.substr(begin, next_ - begin);
  }

  void advance() {
    if (error_) return;
    while (next_ < text_.size() && is_space(text_[next_])) ++next_;
    const std::size_t position = next_;
    if (next_ == text_.size()) {
      token_ = {Token::kEnd, position, {}};
      return;
    }
    switch (const char byte = text_[next_]; byte) {
      case '&':
      case '|':
      case '(':
      case ')':
        ++next_;
        token_ = {byte == '&'   ? Token::kAnd
                  : byte == '|' ? Token::kOr
                  : byte == '(' ? Token::kOpen
                                : Token::kClose,
                  position,
                  {}};
        return;
      case '+': {
        ++next_;
        const std::string_view name = take_name();
        if (name.empty()) return fail(position, "'+' without the name of a set");
        token_ = {Token::kReference, position, name};
        return;
      }
      default: {
        const std::string_view name = take_name();
        if (name.empty()) return fail(position, fmt::format("unexpected character '{}'", printable({&byte, 1})));
        token_ = {Token::kName, position, name};
        return;
      }
    }
  }

  std::size_t add(MatrixTerm term) {
    expression_.terms.push_back(std::move(term));
    return expression_.terms.size() - 1;
  }

  /// Parts between the tokens `between`: the only one itself, or one term of all of them.
  template <class Part>
  std::size_t parse_list(MatrixKind kind, Token::Kind between, const Part& part) {
    const std::size_t position = token_.position;
    const std::size_t first = part();
    if (error_ || token_.kind != between) return first;
    std::vector<std::size_t> parts{first};
    while (!error_ && token_.kind == between) {
      advance();
      parts.push_back(part());
    }
    return error_ ? first : add({kind, position, {}, std::move(parts)});
  }

  std::size_t parse_any() {
    return parse_list(MatrixKind::kAny, Token::kOr,
                      [this] { return parse_list(MatrixKind::kAll, Token::kAnd, [this] { return parse_primary(); }); });
  }

  std::size_t parse_primary() {
    if (error_) return 0;
    const Token token = token_;
    switch (token.kind) {
      case Token::kName:
      case Token::kReference: {
        advance();
        return add(
            {token.kind == Token::kName ? MatrixKind::kName : MatrixKind::kReference, token.position, token.name});
      }
      case Token::kOpen: {
        if (depth_ == kMaxMatrixDepth) {
          fail(token.position, fmt::format("more than {} parentheses within each other", kMaxMatrixDepth));
          return 0;
        }
        ++depth_;
        advance();
        const std::size_t inner = parse_any();
        --depth_;
        if (error_) return 0;
        if (token_.kind == Token::kEnd) {
          fail(token_.position, fmt::format("missing ')' for the '(' of column {}", token.position + 1));
        } else if (token_.kind != Token::kClose) {
          fail(token_.position, "expected '&', '|' or ')', got " + got());
        }
        advance();
        return inner;
      }
      default:
        fail(token.position, "expected a name, '+' or '(', got " + got());
        return 0;
    }
  }

  std::string_view text_;
  std::size_t next_ = 0;  // the first byte behind `token_`
  std::size_t depth_ = 0;
  Token token_{};
  MatrixExpression expression_{};
  std::optional<MatrixSyntaxError> error_{};
};

}  // namespace

bool is_matrix_name_byte(char byte) noexcept {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || byte == '_' ||
         byte == '-' || byte == '.';
}

std::variant<MatrixExpression, MatrixSyntaxError> parse_matrix_expression(std::string_view text) {
  if (text.size() > kMaxMatrixExpressionBytes) {
    return MatrixSyntaxError{kMaxMatrixExpressionBytes,
                             fmt::format("more than {} bytes ({})", kMaxMatrixExpressionBytes, text.size())};
  }
  return MatrixParser(text).parse();
}

std::string matrix_place(std::string_view text, std::size_t position) {
  const std::size_t begin = position > kMaxContextBytes ? position - kMaxContextBytes : 0;
  const std::size_t end = std::min(text.size(), position + kMaxContextBytes);
  return fmt::format("column {} of \"{}{}>{}{}\"", position + 1, begin > 0 ? "..." : "",
                     printable(text.substr(begin, position - begin)), printable(text.substr(position, end - position)),
                     end < text.size() ? "..." : "");
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
