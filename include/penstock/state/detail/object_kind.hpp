// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the part of an object pool that knows no type has to know of it.

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/state/object_pool_options.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define PENSTOCK_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PENSTOCK_POISONS 1
#endif
#endif
#if defined(PENSTOCK_POISONS)
extern "C" {
void __asan_poison_memory_region(const volatile void* address, std::size_t size);
void __asan_unpoison_memory_region(const volatile void* address, std::size_t size);
}
#endif

namespace penstock::inline PENSTOCK_ABI::detail {

/// The options without the type.
struct ObjectCoreOptions {
  static constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();

  std::string name;
  std::size_t max_live = kUnlimited;
  std::size_t max_idle = 0;
  std::size_t max_weight = kUnlimited;
  std::size_t prewarm = 0;
  std::size_t min_idle = 0;
  Duration purge_every{};
  bool timestamps = false;
  bool steals = false;
  ObjectDetection detection = ObjectDetection::kOff;
  std::function<void(const ObjectMisuse&)> on_misuse = {};
  std::optional<AlertRule> alert;
  std::function<void(AlertChange, const std::string&)> on_alert = {};
  Clock* clock = nullptr;
  Executor* executor = nullptr;

  bool has_factory = false;  // or does without
  bool resets = false;
  bool weighs = false;
  std::size_t object_bytes = 0;
  std::size_t type_bytes = 0;
  bool is_plain_memory = false;  // may be overwritten and restored while it is idle

  [[nodiscard]] absl::Status validate() const;
};

template <class T>
ObjectCoreOptions core_options(const ObjectPoolOptions<T>& from) {
  ObjectCoreOptions to;
  to.name = from.name;
  to.max_live = from.max_live;
  to.max_idle = from.max_idle.value_or(from.max_live < 1024 ? from.max_live : 1024);
  to.max_weight = from.max_weight;
  to.prewarm = from.prewarm;
  to.min_idle = from.min_idle;
  to.purge_every = from.purge_every;
  to.timestamps = from.timestamps;
  to.steals = from.steals;
  to.detection = from.detection;
  to.on_misuse = from.on_misuse;
  to.alert = from.alert;
  to.on_alert = from.on_alert;
  to.clock = from.clock;
  to.executor = from.executor;
  to.has_factory = from.factory != nullptr || std::is_default_constructible_v<T>;
  to.resets = from.reset != nullptr;
  // A bare limit needs the weights, too; but then all are the same.
  to.weighs = from.weight != nullptr;
  to.object_bytes = from.object_bytes;
  to.type_bytes = sizeof(T);
  to.is_plain_memory = std::is_trivially_copyable_v<T>;
  return to;
}

inline constexpr unsigned char kIdleByte = 0xDB;

// The sanitizer is the user's: the library may have been built without one. So these are only for templates.
#if defined(PENSTOCK_POISONS)
inline void poison(const void* object, std::size_t bytes) noexcept { __asan_poison_memory_region(object, bytes); }
inline void unpoison(const void* object, std::size_t bytes) noexcept { __asan_unpoison_memory_region(object, bytes); }
#else
inline void poison(const void* /*object*/, std::size_t /*bytes*/) noexcept {}
inline void unpoison(const void* /*object*/, std::size_t /*bytes*/) noexcept {}
#endif

/// Threads: any member, from any thread.
class ObjectKind {
 public:
  virtual ~ObjectKind() = default;

  /// A new object, or null if the factory made none.
  [[nodiscard]] virtual absl::StatusOr<void*> make() = 0;
  [[nodiscard]] virtual bool reset(void* object) = 0;
  [[nodiscard]] virtual std::size_t weigh(const void* object) = 0;
  virtual void destroy(void* object) noexcept = 0;
  /// For who sanitizes: from here on nobody may touch the object.
  virtual void hide(void* object) noexcept = 0;
  /// Of an object of plain memory: keeps what it holds in `copy`, and fills it with kIdleByte.
  virtual void overwrite(void* object, std::byte* copy) noexcept = 0;
  /// False if somebody has written there meanwhile.
  virtual bool restore(void* object, const std::byte* copy) noexcept = 0;
};

template <class T>
class TypedKind final : public ObjectKind {
 public:
  explicit TypedKind(ObjectPoolOptions<T>&& options)
      : factory_(std::move(options.factory)), reset_(std::move(options.reset)), weight_(std::move(options.weight)) {}

  absl::StatusOr<void*> make() override {
    if (factory_ == nullptr) {
      if constexpr (std::is_default_constructible_v<T>) return static_cast<void*>(new T());
    } else {
      absl::StatusOr<std::unique_ptr<T>> made = factory_();
      if (!made.ok()) return made.status();
      if (*made != nullptr) return static_cast<void*>(const_cast<std::remove_const_t<T>*>(made->release()));
    }
    return nullptr;
  }
  bool reset(void* object) override { return reset_(*static_cast<T*>(object)); }
  std::size_t weigh(const void* object) override { return weight_(*static_cast<const T*>(object)); }
  void destroy(void* object) noexcept override {
    unpoison(object, sizeof(T));
    delete static_cast<T*>(object);
  }
  void hide(void* object) noexcept override { poison(object, sizeof(T)); }
  void overwrite(void* object, std::byte* copy) noexcept override {
    std::memcpy(copy, object, sizeof(T));
    std::memset(object, kIdleByte, sizeof(T));
  }
  bool restore(void* object, const std::byte* copy) noexcept override {
    unpoison(object, sizeof(T));
    const auto* const bytes = static_cast<const unsigned char*>(object);
    const bool is_untouched =
        std::all_of(bytes, bytes + sizeof(T), [](unsigned char byte) { return byte == kIdleByte; });
    if (is_untouched) std::memcpy(object, copy, sizeof(T));
    return is_untouched;
  }

 private:
  const std::function<absl::StatusOr<std::unique_ptr<T>>()> factory_;
  const std::function<bool(T&)> reset_;
  const std::function<std::size_t(const T&)> weight_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail

namespace penstock::inline PENSTOCK_ABI {

template <class T>
absl::Status ObjectPoolOptions<T>::validate() const {
  return detail::core_options(*this).validate();
}

}  // namespace penstock::inline PENSTOCK_ABI
