// SPDX-License-Identifier: MIT

#include <cstddef>
#include <functional>
#include <memory>

#include "absl/functional/any_invocable.h"

#include "penstock/core/detail/empty_function.hpp"
#include "support/catch.hpp"

using penstock::detail::is_empty_function;

namespace {

int seven() { return 7; }

struct Model {
  int size() const { return 7; }
  int weight = 7;
};

/// Can be called, and says of itself that it holds nothing.
struct Hollow {
  void operator()() const {}
  friend bool operator==(const Hollow&, std::nullptr_t) { return true; }
};

}  // namespace

TEST_CASE("is_empty_function: what holds nothing is empty, whatever its shape", "[core][empty_function]") {
  int (*const no_pointer)() = nullptr;
  int (Model::*const no_member)() const = nullptr;
  int Model::*const no_field = nullptr;
  CHECK(is_empty_function(no_pointer));
  CHECK(is_empty_function(no_member));
  CHECK(is_empty_function(no_field));
  CHECK(is_empty_function(std::function<void()>()));
  CHECK(is_empty_function(absl::AnyInvocable<void()>()));
  CHECK(is_empty_function(std::shared_ptr<Model>()));
  CHECK(is_empty_function(Hollow{}));
}

TEST_CASE("is_empty_function: what can be called is not", "[core][empty_function]") {
  CHECK_FALSE(is_empty_function(seven));  // the function itself, and not a pointer to it
  CHECK_FALSE(is_empty_function(&seven));
  CHECK_FALSE(is_empty_function(&Model::size));
  CHECK_FALSE(is_empty_function(&Model::weight));
  CHECK_FALSE(is_empty_function([] {}));
  CHECK_FALSE(is_empty_function([owned = std::make_unique<int>(7)] { return *owned; }));
  CHECK_FALSE(is_empty_function([](auto&&...) {}));
  CHECK_FALSE(is_empty_function(std::function<int()>(seven)));
  CHECK_FALSE(is_empty_function(absl::AnyInvocable<int()>(seven)));
}
