// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The world of the model checker: the names of core/detail/world.hpp with the same meaning, where every operation is a
/// step that the checker decides on. Included by that header, and only with PENSTOCK_MODEL.

#include <atomic>
#include <chrono>
#include <compare>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <ostream>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>

#include "penstock/version.hpp"

#include "model/cells.hpp"

namespace penstock::inline PENSTOCK_ABI::detail::world {

using TimePoint = checker::TimePoint;

/// std::atomic for integers, enums, bool, pointers and other small trivial types.
template <class T>
class Atomic {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(std::uint64_t));
  using Order = std::memory_order;
  // What fetch_add and its like take: a distance for pointers, else the value's own type.
  using Operand = std::conditional_t<std::is_pointer_v<T>, std::ptrdiff_t, T>;

 public:
  using value_type = T;
  static constexpr bool is_always_lock_free = true;

  constexpr Atomic() noexcept : Atomic(T{}) {}
  constexpr Atomic(T value) noexcept : cell_(bits(value)) {}  // NOLINT(google-explicit-constructor): as std::atomic
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  [[nodiscard]] bool is_lock_free() const noexcept { return true; }

  T load(Order order = Order::seq_cst) const noexcept { return value(cell_.load(order)); }
  operator T() const noexcept { return load(); }  // NOLINT(google-explicit-constructor): as std::atomic
  void store(T desired, Order order = Order::seq_cst) noexcept { cell_.store(bits(desired), order); }
  T operator=(T desired) noexcept {  // NOLINT(misc-unconventional-assign-operator): as std::atomic
    store(desired);
    return desired;
  }
  T exchange(T desired, Order order = Order::seq_cst) noexcept {
    return value(cell_.modify(
        "exchange", [](std::uint64_t, std::uint64_t operand) { return operand; }, bits(desired), order));
  }

  bool compare_exchange_strong(T& expected, T desired, Order success, Order failure) noexcept {
    return compare_exchange(expected, desired, false, success, failure);
  }
  bool compare_exchange_strong(T& expected, T desired, Order order = Order::seq_cst) noexcept {
    return compare_exchange(expected, desired, false, order, on_failure(order));
  }
  bool compare_exchange_weak(T& expected, T desired, Order success, Order failure) noexcept {
    return compare_exchange(expected, desired, true, success, failure);
  }
  bool compare_exchange_weak(T& expected, T desired, Order order = Order::seq_cst) noexcept {
    return compare_exchange(expected, desired, true, order, on_failure(order));
  }

  T fetch_add(Operand operand, Order order = Order::seq_cst) noexcept {
    return modify("fetch_add", operand, order, [](T old, Operand by) { return sum(old, by); });
  }
  T fetch_sub(Operand operand, Order order = Order::seq_cst) noexcept {
    return modify("fetch_sub", operand, order, [](T old, Operand by) { return difference(old, by); });
  }
  T fetch_and(T operand, Order order = Order::seq_cst) noexcept {
    return modify("fetch_and", operand, order, [](T old, T by) { return static_cast<T>(old & by); });
  }
  T fetch_or(T operand, Order order = Order::seq_cst) noexcept {
    return modify("fetch_or", operand, order, [](T old, T by) { return static_cast<T>(old | by); });
  }
  T fetch_xor(T operand, Order order = Order::seq_cst) noexcept {
    return modify("fetch_xor", operand, order, [](T old, T by) { return static_cast<T>(old ^ by); });
  }
  T operator++() noexcept { return sum(fetch_add(1), 1); }
  T operator++(int) noexcept { return fetch_add(1); }
  T operator--() noexcept { return difference(fetch_sub(1), 1); }
  T operator--(int) noexcept { return fetch_sub(1); }
  T operator+=(Operand operand) noexcept { return sum(fetch_add(operand), operand); }
  T operator-=(Operand operand) noexcept { return difference(fetch_sub(operand), operand); }
  T operator&=(T operand) noexcept { return static_cast<T>(fetch_and(operand) & operand); }
  T operator|=(T operand) noexcept { return static_cast<T>(fetch_or(operand) | operand); }
  T operator^=(T operand) noexcept { return static_cast<T>(fetch_xor(operand) ^ operand); }

  [[nodiscard]] const checker::AtomicCell& cell() const noexcept { return cell_; }

 private:
  template <class From>
  static constexpr std::uint64_t bits(From value) noexcept {
    if constexpr (std::is_integral_v<From> || std::is_enum_v<From>) {
      return static_cast<std::uint64_t>(value);
    } else if constexpr (std::is_pointer_v<From>) {
      if (value == nullptr) return 0;  // a constant expression, which the cast is not
      return reinterpret_cast<std::uint64_t>(value);
    } else {
      std::uint64_t to = 0;
      std::memcpy(&to, &value, sizeof(value));
      return to;
    }
  }
  template <class To = T>
  static To value(std::uint64_t bits) noexcept {
    if constexpr (std::is_integral_v<To> || std::is_enum_v<To>) {
      return static_cast<To>(bits);
    } else if constexpr (std::is_pointer_v<To>) {
      return reinterpret_cast<To>(bits);
    } else {
      To to;
      std::memcpy(&to, &bits, sizeof(to));
      return to;
    }
  }
  // Integers wrap, signed ones too.
  static T sum(T a, Operand b) noexcept {
    if constexpr (std::is_integral_v<T>)
      return value(bits(a) + bits(b));
    else
      return a + b;
  }
  static T difference(T a, Operand b) noexcept {
    if constexpr (std::is_integral_v<T>)
      return value(bits(a) - bits(b));
    else
      return a - b;
  }
  static constexpr Order on_failure(Order order) {
    return order == Order::acq_rel ? Order::acquire : order == Order::release ? Order::relaxed : order;
  }

  template <class Function>
  T modify(std::string_view what, Operand operand, Order order, Function) noexcept {
    const checker::AtomicCell::Update update = [](std::uint64_t old, std::uint64_t by) {
      return bits(Function{}(value(old), value<Operand>(by)));
    };
    return value(cell_.modify(what, update, bits(operand), order));
  }

  bool compare_exchange(T& expected, T desired, bool weak, Order success, Order failure) noexcept {
    std::uint64_t found = bits(expected);
    if (cell_.compare_exchange(found, bits(desired), weak, success, failure)) return true;
    expected = value(found);
    return false;
  }

  checker::AtomicCell cell_;  // the only member: a futex knows the atomic by its address
};

class Mutex {
 public:
  constexpr Mutex() noexcept = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() { cell_.lock(); }
  bool try_lock() { return cell_.try_lock(); }
  void unlock() { cell_.unlock(); }

 private:
  friend class CondVar;
  checker::MutexCell cell_;
};

class CondVar {
 public:
  constexpr CondVar() noexcept = default;
  CondVar(const CondVar&) = delete;
  CondVar& operator=(const CondVar&) = delete;

  void wait(std::unique_lock<Mutex>& lock) { cell_.wait(lock.mutex()->cell_); }
  template <class Predicate>
  void wait(std::unique_lock<Mutex>& lock, Predicate holds) {
    while (!holds()) wait(lock);
  }
  std::cv_status wait_until(std::unique_lock<Mutex>& lock, TimePoint deadline) {
    return cell_.wait_until(lock.mutex()->cell_, deadline) ? std::cv_status::no_timeout : std::cv_status::timeout;
  }
  template <class Predicate>
  bool wait_until(std::unique_lock<Mutex>& lock, TimePoint deadline, Predicate holds) {
    while (!holds()) {
      if (wait_until(lock, deadline) == std::cv_status::timeout) return holds();
    }
    return true;
  }
  void notify_one() noexcept { cell_.notify_one(); }
  void notify_all() noexcept { cell_.notify_all(); }

 private:
  checker::ConditionCell cell_;
};

class ThreadId {
 public:
  constexpr ThreadId() noexcept = default;
  friend constexpr auto operator<=>(ThreadId, ThreadId) noexcept = default;
  friend std::ostream& operator<<(std::ostream& out, ThreadId id) { return out << id.number_; }

 private:
  friend class Thread;
  friend ThreadId this_thread_id() noexcept;
  friend struct std::hash<ThreadId>;
  constexpr explicit ThreadId(std::uint32_t thread) noexcept : number_(thread + 1) {}

  std::uint32_t number_ = 0;  // 0: no thread
};

class Thread {
 public:
  using id = ThreadId;

  Thread() noexcept = default;
  template <class Function, class... Arguments>
  requires(!std::is_same_v<std::remove_cvref_t<Function>, Thread>) explicit Thread(Function&& function,
                                                                                   Arguments&&... arguments) {
    using Call = std::tuple<std::decay_t<Function>, std::decay_t<Arguments>...>;
    struct Body final : checker::ThreadBody {
      explicit Body(Call&& given) : call(std::move(given)) {}
      void run() override {
        std::apply([](auto&... parts) { std::invoke(std::move(parts)...); }, call);
      }
      Call call;
    };
    auto body = std::make_unique<Body>(Call(std::forward<Function>(function), std::forward<Arguments>(arguments)...));
    if (!checker::may_create_thread()) {
      throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again), "model thread");
    }
    id_ = ThreadId(checker::create_thread(*body.release()));  // the thread deletes it
  }
  Thread(Thread&& other) noexcept : id_(std::exchange(other.id_, ThreadId())) {}
  Thread& operator=(Thread&& other) noexcept {
    drop();
    id_ = std::exchange(other.id_, ThreadId());
    return *this;
  }
  ~Thread() { drop(); }

  [[nodiscard]] bool joinable() const noexcept { return id_ != ThreadId(); }
  [[nodiscard]] ThreadId get_id() const noexcept { return id_; }
  void join() {
    if (!joinable()) throw std::system_error(std::make_error_code(std::errc::invalid_argument), "join");
    checker::join_thread(id_.number_ - 1);
    id_ = ThreadId();
  }
  void swap(Thread& other) noexcept { std::swap(id_, other.id_); }
  static unsigned hardware_concurrency() noexcept { return 2; }

 private:
  void drop() noexcept {
    if (joinable()) checker::joinable_thread_dropped(id_.number_ - 1);
  }

  ThreadId id_;
};

inline TimePoint now() noexcept { return checker::virtual_now(); }
inline TimePoint recent() noexcept { return checker::virtual_now(); }
inline std::chrono::nanoseconds recent_lag() noexcept { return std::chrono::nanoseconds(0); }
inline ThreadId this_thread_id() noexcept { return ThreadId(checker::this_thread()); }
inline void pause() noexcept { checker::spin(); }
inline void yield() noexcept { checker::spin(); }
inline void back_off(std::uint32_t) noexcept { checker::spin(); }
// A look before sleeping is a step of its own and leads nowhere that the sleep does not: leave it out.
inline std::uint32_t spin_limit() noexcept { return 0; }
inline constexpr bool kMayYield = false;
inline bool has_heavy_barriers() noexcept { return checker::has_heavy_barriers(); }
inline void heavy_barrier() noexcept { checker::heavy_barrier(); }
inline void light_barrier() noexcept {}
inline void set_thread_name(std::string_view name) noexcept { checker::set_this_thread_name(name); }
inline std::uint32_t random_below(std::uint32_t bound) noexcept { return checker::choose_below(bound); }

template <class Tag, class T>
T& thread_local_value() noexcept {
  static constexpr char key = 0;  // its address stands for (Tag, T)
  if (!checker::in_execution()) {
    static thread_local T value{};
    return value;
  }
  if (void* const known = checker::thread_value(&key)) return *static_cast<T*>(known);
  void* const memory =
      checker::make_thread_value(&key, sizeof(T), alignof(T), [](void* value) { static_cast<T*>(value)->~T(); });
  return *new (memory) T{};
}

inline void futex_wait(const Atomic<std::uint32_t>& word, std::uint32_t expected) noexcept {
  checker::Futex::wait(word.cell(), expected, nullptr);
}
inline bool futex_wait_until(const Atomic<std::uint32_t>& word, std::uint32_t expected, TimePoint deadline) noexcept {
  return checker::Futex::wait(word.cell(), expected, &deadline);
}
inline void futex_wake_one(const void* word) noexcept { checker::Futex::wake(word, 1); }

}  // namespace penstock::inline PENSTOCK_ABI::detail::world

template <>
struct std::hash<penstock::detail::world::ThreadId> {
  std::size_t operator()(penstock::detail::world::ThreadId id) const noexcept { return id.number_; }
};
