// SPDX-License-Identifier: MIT
#include "penstock/swap/decision_log.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "decision_header.hpp"
#include "penstock/core/detail/option_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using detail::DecisionState;
using detail::kBlockHeadBytes;
using detail::zigzag;

constexpr std::size_t kLeastCapacity = 4096;
constexpr std::size_t kMostCapacity = std::size_t{1} << 40U;
constexpr std::size_t kSlots = 8;  // so seven eighths of the capacity are always held

static_assert(kSwapReasons <= 32);
static_assert(std::variant_size_v<SwapEvent> <= 16 && std::variant_size_v<SwapAction> <= 8);

constexpr std::size_t slot_bytes(std::size_t capacity) { return std::min(capacity / kSlots, detail::kMostBlockBytes); }

/// Writes numbers to where there is room for all of them.
class Pen {
 public:
  Pen(std::byte* at, DecisionState& state) noexcept : at_(at), state_(state) {}

  [[nodiscard]] std::byte* at() const noexcept { return at_; }

  void byte(std::size_t value) noexcept { *at_++ = static_cast<std::byte>(value); }
  void varint(std::uint64_t number) noexcept {
    for (; number >= 0x80; number >>= 7U) byte((number & 0x7f) | 0x80);
    byte(number);
  }
  void number(std::int64_t number) noexcept { varint(zigzag(number)); }

  void time(TimePoint time) noexcept {
    const std::int64_t count = time.time_since_epoch().count();
    number(difference(count, state_.time));
    state_.time = count;
  }
  /// A point after the time of the event, usually.
  void later(TimePoint time) noexcept { number(difference(time.time_since_epoch().count(), state_.time)); }
  void duration(Duration duration) noexcept { number(duration.count()); }
  void model(ModelId model) noexcept {
    const auto id = static_cast<std::uint32_t>(model);
    number(static_cast<std::int32_t>(id - state_.model));
    state_.model = id;
  }
  /// Tickets that count up take one byte each, and so does one that is named again.
  void ticket(std::uint64_t ticket) noexcept {
    const auto lower = static_cast<std::int32_t>(static_cast<std::uint32_t>(ticket - state_.ticket));
    const auto upper = static_cast<std::int32_t>(static_cast<std::uint32_t>((ticket >> 32U) - (state_.ticket >> 32U)));
    varint(zigzag(lower) << 1U | (upper != 0 ? 1U : 0U));
    if (upper != 0) number(upper);
    state_.ticket = ticket;
  }
  void swap(SwapId swap) noexcept { delta(static_cast<std::uint64_t>(swap), state_.swap); }
  void stop(std::uint64_t stop) noexcept { delta(stop, state_.stop); }

 private:
  static std::int64_t difference(std::int64_t a, std::int64_t b) noexcept {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b));
  }
  void delta(std::uint64_t id, std::uint64_t& last) noexcept {
    number(static_cast<std::int64_t>(id - last));
    last = id;
  }

  std::byte* at_;
  DecisionState& state_;
};

/// The arguments and the result of an event, but for a list of models.
struct WriteEvent {
  Pen& pen;
  std::size_t kind;  // with `kHasActions`
  TimePoint now;
  std::uint64_t result;

  void begin(unsigned flags) const {
    pen.byte(kind | flags);
    pen.time(now);
  }
  [[nodiscard]] unsigned flag() const { return result != 0 ? detail::kFlag0 : 0; }

  void operator()(const RequestEvent& event) const {
    const SwapRequest& request = event.request;
    begin((request.priority != 0 ? detail::kFlag0 : 0) | (request.tenant != TenantId{} ? detail::kFlag1 : 0) |
          (request.deadline != TimePoint::max() ? detail::kFlag2 : 0));
    pen.model(request.model);
    if (request.priority != 0) pen.number(request.priority);
    if (request.tenant != TenantId{}) pen.varint(static_cast<std::uint32_t>(request.tenant));
    if (request.deadline != TimePoint::max()) pen.later(request.deadline);
    pen.ticket(result);
  }
  void operator()(const CancelEvent& event) const { of_ticket(event.ticket); }
  void operator()(const GrantRefusedEvent& event) const { of_ticket(event.ticket); }
  void operator()(const ServeDoneEvent& event) const { of_ticket(event.ticket); }
  void operator()(const SwapDoneEvent& event) const {
    begin(flag() | (event.succeeded ? detail::kFlag1 : 0));
    pen.swap(event.swap);
  }
  void operator()(const ModelStateEvent& event) const {
    begin(flag());
    pen.model(event.model);
    pen.byte(static_cast<std::size_t>(event.state));
  }
  void operator()(const UnloadEvent& event) const {
    begin(flag());
    pen.duration(event.timeout);
    if (result != 0) pen.stop(result);
  }
  void operator()(const StoppedEvent& event) const {
    begin(flag());
    pen.stop(static_cast<std::uint64_t>(event.stop));
  }
  void operator()(const TimerEvent&) const { begin(0); }
  void operator()(const ShutdownEvent&) const { begin(0); }

  void of_ticket(TicketId ticket) const {
    begin(flag());
    pen.ticket(static_cast<std::uint64_t>(ticket));
  }
};

/// The fields of an action, but for a list of models, which follows.
struct WriteAction {
  Pen& pen;
  std::size_t kind;

  void begin(SwapReason reason) const { pen.byte(kind | static_cast<std::size_t>(reason) << detail::kReasonShift); }

  void operator()(const StartSwap& action) const {
    begin(action.reason);
    pen.swap(action.swap);
    pen.model(action.target);
  }
  void operator()(const CancelSwap& action) const {
    begin(action.reason);
    pen.swap(action.swap);
    pen.model(action.target);
  }
  void operator()(const GrantTicket& action) const {
    begin(action.reason);
    pen.ticket(static_cast<std::uint64_t>(action.ticket));
    pen.model(action.model);
  }
  void operator()(const RejectTicket& action) const {
    begin(action.reason);
    pen.ticket(static_cast<std::uint64_t>(action.ticket));
    pen.model(action.model);
    pen.byte((action.swap != SwapId{} ? detail::kHasSwap : 0U) |
             (action.retry_after != Duration::zero() ? detail::kHasRetryAfter : 0U));
    if (action.swap != SwapId{}) pen.swap(action.swap);
    if (action.retry_after != Duration::zero()) pen.duration(action.retry_after);
  }
  void operator()(const StopModels& action) const {
    begin(action.reason);
    pen.stop(static_cast<std::uint64_t>(action.stop));
    pen.duration(action.timeout);
  }
  void operator()(const WakeAt& action) const {
    pen.byte(kind | (action.when == TimePoint::max() ? detail::kNever : 0U));
    if (action.when != TimePoint::max()) pen.later(action.when);
  }
};

const DecisionLogOptions& checked(const DecisionLogOptions& options) {
  if (const absl::Status status = options.validate(); !status.ok()) {
    throw std::invalid_argument(std::string(detail::text_of(status)));
  }
  return options;
}

}  // namespace

absl::Status DecisionLogOptions::validate() const {
  detail::OptionViolations violations;
  violations.require(kLeastCapacity <= capacity_bytes && capacity_bytes <= kMostCapacity, "capacity_bytes",
                     "in [4096, 2^40]", capacity_bytes);
  return violations.status("decision log");
}

DecisionLog::DecisionLog(const SwapSchedulerOptions& scheduler, DecisionLogOptions options)
    : options_((static_cast<void>(checked(options)), std::move(options))),
      header_(detail::decision_header(scheduler)),
      slots_(options_.capacity_bytes / slot_bytes(options_.capacity_bytes)),
      slot_bytes_(slot_bytes(options_.capacity_bytes)),
      ring_(slots_ * slot_bytes_),
      used_(kBlockHeadBytes) {
  stats_.blocks = 1;
  has_spilled_header_ = spill(header_);
}

DecisionLog::~DecisionLog() { flush(); }

void DecisionLog::on_decision(const SwapEvent& event, TimePoint now, std::uint64_t result, const SwapActions& actions,
                              std::size_t first) noexcept {
  MutexLock lock(mutex_);
  const std::size_t count = actions.size() - first;
  begin_event();
  add(event, now, result, count != 0);
  if (count != 0) {
    piece([&](Pen& pen) { pen.varint(count); });
    for (std::size_t at = first; at != actions.size(); ++at) add(actions[at], actions);
    stats_.actions += count;
  }
  end_event();
}

void DecisionLog::begin_event() {
  if (used_ == slot_bytes_) next_block();
  if (open_.events++ == 0) {
    open_.first_event = options_.first_event + stats_.events;
    open_.first_offset = static_cast<std::uint32_t>(used_ - kBlockHeadBytes);
    state_ = {};
  }
}

void DecisionLog::end_event() {
  ++stats_.events;
  open_.payload_bytes = static_cast<std::uint32_t>(used_ - kBlockHeadBytes);
  whole_ = open_;
}

void DecisionLog::add(const SwapEvent& event, TimePoint now, std::uint64_t result, bool has_actions) {
  const std::size_t kind = event.index() | (has_actions ? detail::kHasActions : 0U);
  piece([&](Pen& pen) { std::visit(WriteEvent{pen, kind, now, result}, event); });
  if (const auto* const unload = std::get_if<UnloadEvent>(&event)) add(unload->models);
}

void DecisionLog::add(const SwapAction& action, const SwapActions& actions) {
  piece([&](Pen& pen) { std::visit(WriteAction{pen, action.index()}, action); });
  if (const auto* const start = std::get_if<StartSwap>(&action)) add(actions.models(start->evict));
  if (const auto* const stop = std::get_if<StopModels>(&action)) add(actions.models(stop->models));
}

void DecisionLog::add(std::span<const ModelId> models) {
  piece([&](Pen& pen) { pen.varint(models.size()); });
  for (const ModelId model : models) {
    piece([&](Pen& pen) { pen.model(model); });
  }
}

template <class Encode>
void DecisionLog::piece(const Encode& encode) {
  if (slot_bytes_ - used_ >= detail::kPieceBytes) {
    std::byte* const from = slot(open_.block) + used_;
    Pen pen(from, state_);
    encode(pen);
    const auto size = static_cast<std::size_t>(pen.at() - from);
    used_ += size;
    stats_.bytes += size;
    return;
  }
  std::array<std::byte, detail::kPieceBytes> bytes;
  Pen pen(bytes.data(), state_);
  encode(pen);
  append(bytes.data(), static_cast<std::size_t>(pen.at() - bytes.data()));
}

void DecisionLog::append(const std::byte* from, std::size_t size) {
  stats_.bytes += size;
  while (size != 0) {
    if (used_ == slot_bytes_) next_block();
    const std::size_t part = std::min(size, slot_bytes_ - used_);
    std::memcpy(slot(open_.block) + used_, from, part);
    used_ += part;
    from += part;
    size -= part;
  }
}

void DecisionLog::next_block() {
  seal();
  const std::span full(slot(open_.block), used_);
  if (options_.spill) {
    // The recording thread alone writes the ring, so what `bytes` sees meanwhile does not change.
    mutex_.unlock();
    if (!has_spilled_header_) has_spilled_header_ = spill(header_);
    if (has_spilled_header_) spill(full);
    mutex_.lock();
  }
  open_ = {.block = open_.block + 1};
  used_ = kBlockHeadBytes;
  ++stats_.blocks;
}

void DecisionLog::seal() {
  open_.payload_bytes = static_cast<std::uint32_t>(used_ - kBlockHeadBytes);
  detail::seal_block(slot(open_.block), open_);
}

bool DecisionLog::spill(std::span<const std::byte> bytes) noexcept {
  if (!options_.spill) return true;
  try {
    options_.spill(bytes);
    return true;
  } catch (...) {
    MutexLock lock(mutex_);
    ++stats_.spill_failures;
    return false;
  }
}

void DecisionLog::flush() noexcept {
  MutexLock lock(mutex_);
  if (used_ == kBlockHeadBytes || !options_.spill) return;
  next_block();
  whole_ = open_;
}

std::byte* DecisionLog::slot(std::uint64_t block) { return ring_.data() + block % slots_ * slot_bytes_; }
const std::byte* DecisionLog::slot(std::uint64_t block) const { return ring_.data() + block % slots_ * slot_bytes_; }

std::uint64_t DecisionLog::oldest_block() const { return open_.block >= slots_ ? open_.block - slots_ + 1 : 0; }

std::vector<std::byte> DecisionLog::bytes() const {
  std::vector<std::byte> bytes;
  bytes.reserve(header_.size() + slots_ * slot_bytes_);  // not under the lock, where a recording thread waits
  bytes = header_;
  MutexLock lock(mutex_);
  for (std::uint64_t block = oldest_block(); block <= whole_.block; ++block) {
    const std::byte* const from = slot(block);
    const std::uint32_t payload = block == whole_.block ? whole_.payload_bytes : detail::load<std::uint32_t>(from + 4);
    if (payload == 0) continue;
    const std::size_t at = bytes.size();
    bytes.insert(bytes.end(), from, from + kBlockHeadBytes + payload);
    if (block == whole_.block) detail::seal_block(bytes.data() + at, whole_);
  }
  return bytes;
}

DecisionLogStats DecisionLog::stats() const noexcept {
  MutexLock lock(mutex_);
  DecisionLogStats stats = stats_;
  stats.first_event = options_.first_event + stats_.events;
  for (std::uint64_t block = oldest_block(); block <= open_.block; ++block) {
    const bool is_open = block == open_.block;
    const std::uint32_t events = is_open ? open_.events : detail::load<std::uint32_t>(slot(block) + 28);
    if (events == 0) continue;
    stats.first_event = is_open ? open_.first_event : detail::load<std::uint64_t>(slot(block) + 16);
    break;
  }
  return stats;
}

}  // namespace penstock::inline PENSTOCK_ABI
