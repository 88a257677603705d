// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Code that stands between a router and every call it makes: for logs, costs, caches, guards, redaction.
///
///                       before         before
///     a worker ------> first --------> second --------> the function
///                        |               |                  |
///     the caller <---- first <-------- second <-------------'
///                       after          after
///
/// `before` is called in the order of the chain, `after` in the opposite one, for those whose `before` was called. An
/// interceptor that answers a call in `before` ends the way in: neither those behind it nor the function are called,
/// and no lease, no slot and no token is taken for it.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/clock.hpp"
#include "penstock/exec/job.hpp"

namespace penstock::inline PENSTOCK_ABI {

namespace detail {

/// What a call will be answered with, without its type.
class AnswerBox {
 public:
  AnswerBox(const AnswerBox&) = delete;
  AnswerBox& operator=(const AnswerBox&) = delete;

  [[nodiscard]] bool is_answered() const noexcept { return answered_; }
  [[nodiscard]] const absl::Status& status() const noexcept { return status_; }
  [[nodiscard]] const std::type_info& type() const noexcept { return type_; }
  /// Points to an object of `type`, or is null.
  [[nodiscard]] virtual void* value() noexcept = 0;

  void fail(absl::Status status) noexcept;
  /// `value` points to an object of `type`, which is moved from; null for void.
  void put(void* value) {
    ++changes_;
    take(value);
    status_ = absl::OkStatus();
    answered_ = true;
  }
  /// How often it was answered or failed.
  [[nodiscard]] std::uint32_t changes() const noexcept { return changes_; }

 protected:
  explicit AnswerBox(const std::type_info& type) noexcept : type_(type) {}
  ~AnswerBox() = default;

  bool answered_ = false;
  std::uint32_t changes_ = 0;
  absl::Status status_;

 private:
  virtual void take(void* value) = 0;

  const std::type_info& type_;
};

}  // namespace detail

/// A call, as an interceptor sees it. Valid during `before` and `after`.
class InterceptedCall {
 public:
  InterceptedCall(std::string_view provider, const JobContext& job, detail::AnswerBox& answer) noexcept
      : provider_(provider), job_(job), answer_(answer) {}
  InterceptedCall(const InterceptedCall&) = delete;
  InterceptedCall& operator=(const InterceptedCall&) = delete;

  [[nodiscard]] std::string_view provider() const noexcept { return provider_; }
  /// With the context, the attempt, and what attempts of one call have in common.
  [[nodiscard]] const JobContext& job() const noexcept { return job_; }

  /// Whether there is an answer: always in `after`; in `before`, only once it was given one.
  [[nodiscard]] bool is_answered() const noexcept { return answer_.is_answered(); }
  /// What the answer says: OK, or why there is no value. An exception of the function is Internal.
  [[nodiscard]] const absl::Status& status() const noexcept { return answer_.status(); }
  /// How long the function took; zero if it was not called.
  [[nodiscard]] Duration took() const noexcept { return took_; }

  /// The value of the answer, to look at or to change; null if there is none, or it is not a `T`.
  template <class T>
  [[nodiscard]] T* value() noexcept {
    return answer_.type() == typeid(T) ? static_cast<T*>(answer_.value()) : nullptr;
  }

  /// Answers the call with `value`, in place of an answer that there may be: a failure can be made good.
  ///
  /// Returns: false, and nothing has happened, if the call's function returns something else than a `T`.
  template <class T>
  [[nodiscard]] bool answer(T value) {
    if (answer_.type() != typeid(T)) return false;
    answer_.put(&value);
    return true;
  }
  /// The same for a function that returns nothing, or a status.
  [[nodiscard]] bool answer() {
    if (answer_.type() != typeid(void)) return false;
    answer_.put(nullptr);
    return true;
  }
  /// Answers the call with `status`; with Internal if that is OK.
  void fail(absl::Status status) noexcept { answer_.fail(std::move(status)); }

  /// The router's.
  void set_took(Duration took) noexcept { took_ = took; }

 private:
  const std::string_view provider_;
  const JobContext& job_;
  detail::AnswerBox& answer_;
  Duration took_{};
};

/// What a router calls around the function of each job that starts, on the job's worker. It is one provider's worker,
/// so an interceptor that waits keeps that provider waiting, and no other.
///
/// One that throws is counted, and named in the answer: in `before` the call is answered with Internal; in `after` the
/// answer stays as it was.
///
/// Threads: both members by many at once. The router keeps it for as long as it may be called.
class Interceptor {
 public:
  Interceptor() = default;
  Interceptor(const Interceptor&) = delete;
  Interceptor& operator=(const Interceptor&) = delete;
  virtual ~Interceptor() = default;

  /// For texts; does not change.
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  virtual void before(InterceptedCall& /*call*/) {}
  virtual void after(InterceptedCall& /*call*/) {}
};

namespace detail {

class ProviderLife;

using InterceptorChain = std::span<const std::shared_ptr<Interceptor>>;

/// One call's way through the chain.
class InterceptorRun {
 public:
  InterceptorRun(InterceptorChain chain, InterceptedCall& call, ProviderLife& life) noexcept
      : chain_(chain), call_(call), life_(life) {}

  /// Whether the function is to be called.
  [[nodiscard]] bool before() noexcept;
  void after() noexcept;

 private:
  InterceptorChain chain_;
  InterceptedCall& call_;
  ProviderLife& life_;
  std::size_t entered_ = 0;
};

/// The answer of a function whose job has values of type `Value`.
template <class Value>
class TypedAnswer final : public AnswerBox {
 public:
  TypedAnswer() noexcept : AnswerBox(typeid(Value)) {}

  [[nodiscard]] void* value() noexcept override { return value_ && status_.ok() ? std::addressof(*value_) : nullptr; }
  void set(absl::StatusOr<Value> answer) {
    if (!answer.ok()) return fail(std::move(answer).status());
    put(std::addressof(*answer));
  }
  [[nodiscard]] absl::StatusOr<Value> get() {
    if (!status_.ok()) return std::move(status_);
    // An interceptor has replaced the value by one whose move has thrown.
    if (!value_) return absl::InternalError("the answer was lost when it was changed");
    return *std::move(value_);
  }

 private:
  void take(void* value) override { value_.emplace(std::move(*static_cast<Value*>(value))); }

  std::optional<Value> value_;
};

template <>
class TypedAnswer<void> final : public AnswerBox {
 public:
  TypedAnswer() noexcept : AnswerBox(typeid(void)) {}

  [[nodiscard]] void* value() noexcept override { return nullptr; }
  void set(absl::Status answer) {
    if (!answer.ok()) return fail(std::move(answer));
    put(nullptr);
  }
  [[nodiscard]] absl::Status get() { return std::move(status_); }

 private:
  void take(void* /*value*/) override {}
};

}  // namespace detail

}  // namespace penstock::inline PENSTOCK_ABI
