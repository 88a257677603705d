// SPDX-License-Identifier: MIT
#include "penstock/exec/detail/pool_text.hpp"

#include <cstdlib>
#include <memory>
#include <typeinfo>

#if __has_include(<cxxabi.h>)
#include <cxxabi.h>
#endif

#include <fmt/format.h>

#include "penstock/core/detail/option_text.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::size_t kMaxTypeBytes = 120;
constexpr std::size_t kMaxWhatBytes = 480;

std::string type_name(const std::type_info& type) {
#if __has_include(<cxxabi.h>)
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(type.name(), nullptr, nullptr, &status),
                                                    std::free);
  if (name) return shortened(name.get(), kMaxTypeBytes);
#endif
  return shortened(type.name(), kMaxTypeBytes);
}

std::string current_type_name() {
#if __has_include(<cxxabi.h>)
  if (const std::type_info* const type = abi::__cxa_current_exception_type()) return type_name(*type);
#endif
  return "unknown exception";
}

}  // namespace

std::string exception_text(const std::exception_ptr& exception) noexcept {
  try {
    try {
      std::rethrow_exception(exception);
    } catch (const std::exception& caught) {
      return fmt::format("{}: {}", type_name(typeid(caught)), shortened(caught.what(), kMaxWhatBytes));
    } catch (...) {
      return current_type_name();
    }
  } catch (...) {
    return {};
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
