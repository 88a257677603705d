// SPDX-License-Identifier: MIT
#include "penstock/state/buffer_pool.hpp"

#include <algorithm>
#include <new>
#include <stdexcept>

#include <fmt/core.h>

#include "penstock/core/detail/option_text.hpp"
#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxSizes = 64;
constexpr std::size_t kMaxName = 200;
constexpr std::size_t kMaxCapacity = std::numeric_limits<std::ptrdiff_t>::max() / 2;

std::vector<std::size_t> default_sizes() {
  std::vector<std::size_t> sizes;
  for (std::size_t size = 256; size <= 1 << 20; size *= 2) sizes.push_back(size);
  return sizes;
}

std::unique_ptr<detail::BufferBlock> make_block(std::size_t capacity) {
  return std::unique_ptr<detail::BufferBlock>(new (capacity) detail::BufferBlock(capacity));
}

}  // namespace

absl::Status BufferPoolOptions::validate() const {
  detail::OptionViolations violations;
  violations.require(name.size() <= kMaxName, "name", "at most 200 bytes long", name.size());
  violations.require(sizes.size() <= kMaxSizes, "sizes", "at most 64 of them", sizes.size());
  for (std::size_t i = 0; i < std::min(sizes.size(), kMaxSizes); ++i) {
    const std::string option = fmt::format("sizes[{}]", i);
    violations.require(sizes[i] >= 1 && sizes[i] <= kMaxCapacity, option, fmt::format("in [1, {}]", kMaxCapacity),
                       sizes[i]);
    if (i > 0) {
      violations.require(sizes[i] > sizes[i - 1], option, fmt::format("more than {}", sizes[i - 1]), sizes[i]);
    }
  }
  violations.require(max_idle_bytes >= 1, "max_idle_bytes", "positive", max_idle_bytes);
  violations.require(purge_every > Duration::zero(), "purge_every", "positive",
                     fmt::format("{} ns", purge_every.count()));
  violations.require(detection <= ObjectDetection::kLeaks, "detection", "one of its values",
                     static_cast<unsigned>(detection));
  violations.require(clock != nullptr, "clock", "a clock", "null");
  return violations.status(fmt::format("buffer pool '{}'", detail::shortened(name, kMaxName)));
}

std::size_t BufferPoolStats::bytes_idle() const noexcept {
  std::size_t bytes = 0;
  for (const Size& size : sizes) bytes += size.objects.bytes_idle;
  return bytes;
}

double BufferPoolStats::hit_ratio() const noexcept {
  std::uint64_t requests = oversize;
  std::uint64_t hits = 0;
  for (const Size& size : sizes) {
    requests += size.objects.requests;
    hits += size.objects.hits();
  }
  return requests == 0 ? 0.0 : static_cast<double>(hits) / static_cast<double>(requests);
}

Buffer Buffer::enlarged(std::size_t capacity) {
  PENSTOCK_CHECK(pool_ != nullptr, "a buffer without a pool cannot grow");
  // At least twice as much, so that many small appends cost no more than one large one.
  Buffer larger = pool_->acquire(std::max(capacity, 2 * this->capacity()));
  if (size_ > 0) std::memcpy(larger.data(), data(), size_);
  larger.size_ = size_;
  pool_->grown_.add();
  return larger;
}

void Buffer::append(std::string_view bytes) {
  if (bytes.empty()) return;
  if (bytes.size() > capacity() - size_) {
    Buffer larger = enlarged(sum(size_, bytes.size()));
    larger.append(bytes);  // before our memory goes, as they may lie in it
    swap(larger);
    return;
  }
  std::memcpy(data() + size_, bytes.data(), bytes.size());
  size_ += bytes.size();
}

void Buffer::resize(std::size_t size) {
  if (size > size_) {
    reserve(size);
    std::memset(data() + size_, 0, size - size_);
  }
  size_ = size;
}

BufferPool::BufferPool(BufferPoolOptions options) : options_(std::move(options)) {
  const absl::Status valid = options_.validate();
  if (!valid.ok()) throw std::invalid_argument(std::string(detail::text_of(valid)));
  if (options_.sizes.empty()) options_.sizes = default_sizes();
  for (const std::size_t size : options_.sizes) {
    const std::size_t idle = std::max<std::size_t>(options_.max_idle_bytes / size, 1);
    pools_.push_back(std::make_unique<Pool>(Pool::Options{
        .name = fmt::format("{} {}", options_.name, size),
        .factory = [size] { return make_block(size); },
        .object_bytes = size,
        .max_idle = idle,
        .purge_every = options_.purge_every,
        .detection = options_.detection,
        .clock = options_.clock,
        .executor = options_.executor,
    }));
  }
  for (std::size_t bits = 0; bits < first_.size(); ++bits) {
    // The least capacity of so many bits; what has more of them need not look at smaller sizes.
    const std::size_t least = bits == 0 ? 0 : std::size_t{1} << (bits - 1);
    const auto found = std::lower_bound(options_.sizes.begin(), options_.sizes.end(), least);
    first_[bits] = static_cast<std::uint8_t>(found - options_.sizes.begin());
  }
}

BufferPool::~BufferPool() = default;

Buffer BufferPool::acquire_oversize(std::size_t capacity) {
  if (capacity > kMaxCapacity) throw std::bad_alloc();
  Buffer buffer = acquire_own(capacity);
  oversize_.add();
  return buffer;
}

Buffer BufferPool::acquire_own(std::size_t capacity) { return {*this, make_block(capacity)}; }

void BufferPool::purge() noexcept {
  for (const auto& pool : pools_) pool->purge();
}

std::size_t BufferPool::release_idle(double ratio) noexcept {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < pools_.size(); ++i) bytes += pools_[i]->release_idle(ratio) * options_.sizes[i];
  return bytes;
}

BufferPoolStats BufferPool::stats() const {
  BufferPoolStats stats;
  for (std::size_t i = 0; i < pools_.size(); ++i) stats.sizes.push_back({options_.sizes[i], pools_[i]->stats()});
  stats.oversize = oversize_.value();
  stats.grown = grown_.value();
  return stats;
}

void BufferPool::collect(MetricSink& sink) const {
  for (const auto& pool : pools_) pool->collect(sink);
  const Label pool{"pool", name()};
  sink.counter("penstock_buffer_pool_oversize_total", "buffers larger than all sizes, which were not kept", {pool},
               oversize_.value());
  sink.counter("penstock_buffer_pool_grown_total", "buffers that were filled up, and moved to a larger one", {pool},
               grown_.value());
}

}  // namespace penstock::inline PENSTOCK_ABI
