// SPDX-License-Identifier: MIT
#include "penstock/state/buffer_pool.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/forked.hpp"

#include "penstock/core/manual_clock.hpp"
#include "penstock/metrics/prometheus_writer.hpp"

namespace penstock {
namespace {

std::uint64_t misses(const BufferPool& pool) {
  std::uint64_t sum = 0;
  for (const BufferPoolStats::Size& size : pool.stats().sizes) sum += size.objects.misses;
  return sum;
}

TEST_CASE("BufferPool: a buffer has the least capacity that will do", "[state][buffer_pool]") {
  BufferPool pool({.sizes = {100, 1000, 1024, 5000}});
  const std::vector<std::pair<std::size_t, std::size_t>> expected = {
      {0, 100},     {1, 100},     {99, 100},    {100, 100},   {101, 1000},  {1000, 1000},  {1001, 1024},
      {1024, 1024}, {1025, 5000}, {4096, 5000}, {5000, 5000}, {5001, 5001}, {12345, 12345}};
  for (const auto& [asked, capacity] : expected) {
    INFO(asked);
    CHECK(pool.acquire(asked).capacity() == capacity);
  }
}

TEST_CASE("BufferPool: without sizes it has the powers of two", "[state][buffer_pool]") {
  BufferPool pool({});
  std::size_t capacity = 256;
  for (std::size_t asked = 0; asked <= (1 << 20); asked = asked * 3 / 2 + 1) {
    while (capacity < asked) capacity *= 2;
    CHECK(pool.acquire(asked).capacity() == capacity);
  }
  CHECK(pool.stats().sizes.size() == 13);
  CHECK(pool.stats().oversize == 0);
  CHECK(pool.acquire((1 << 20) + 1).capacity() == (1 << 20) + 1);
  CHECK(pool.stats().oversize == 1);
}

TEST_CASE("BufferPool: memory that is given back is used again", "[state][buffer_pool]") {
  BufferPool pool({.sizes = {64}});
  const char* const first = pool.acquire(10).data();
  for (int i = 0; i < 100; ++i) CHECK(pool.acquire(64).data() == first);
  const BufferPoolStats stats = pool.stats();
  CHECK(stats.sizes[0].objects.requests == 101);
  CHECK(stats.sizes[0].objects.misses == 1);
  CHECK(stats.hit_ratio() > 0.99);
  CHECK(stats.bytes_idle() == 64);
  CHECK(stats.sizes[0].objects.bytes_saved == 6400);
}

TEST_CASE("BufferPool: what is larger than all sizes is not kept", "[state][buffer_pool]") {
  BufferPool pool({.sizes = {64}});
  pool.acquire(65).append("x");
  pool.acquire(65).append("y");
  CHECK(pool.stats().oversize == 2);
  CHECK(pool.stats().bytes_idle() == 0);
  CHECK(pool.stats().hit_ratio() == 0.0);
  CHECK_THROWS_AS(pool.acquire(std::numeric_limits<std::size_t>::max()), std::bad_alloc);
  CHECK(pool.stats().oversize == 2);
}

TEST_CASE("BufferPool: so much memory of a size is kept, and one buffer at least", "[state][buffer_pool]") {
  BufferPool pool({.sizes = {100, 1000}, .max_idle_bytes = 350});
  {
    std::vector<Buffer> out;
    for (int i = 0; i < 10; ++i) out.push_back(pool.acquire(100));
    for (int i = 0; i < 10; ++i) out.push_back(pool.acquire(1000));
  }
  const BufferPoolStats stats = pool.stats();
  CHECK(stats.sizes[0].objects.idle == 3);
  CHECK(stats.sizes[1].objects.idle == 1);
  CHECK(stats.bytes_idle() == 1300);
  CHECK(pool.release_idle() == 1300);
  CHECK(pool.stats().bytes_idle() == 0);
}

TEST_CASE("BufferPool: what nobody uses goes with the second purge", "[state][buffer_pool]") {
  ManualClock clock;
  BufferPool pool({.sizes = {100}, .purge_every = std::chrono::seconds(10), .clock = &clock});
  pool.acquire(1).append("x");
  clock.advance(std::chrono::seconds(10));
  CHECK(pool.stats().bytes_idle() == 100);
  clock.advance(std::chrono::seconds(10));
  CHECK(pool.stats().bytes_idle() == 0);
  pool.acquire(1).append("x");
  pool.purge();
  pool.purge();
  CHECK(pool.stats().bytes_idle() == 0);
}

TEST_CASE("Buffer: holds what was appended, through any growth", "[state][buffer_pool]") {
  BufferPool pool({.sizes = {8, 64, 512}});
  Buffer buffer = pool.acquire(0);
  std::string expected;
  for (int i = 0; i < 300; ++i) {
    const std::string piece(static_cast<std::size_t>(i % 7), static_cast<char>('a' + i % 26));
    buffer.append(piece);
    expected += piece;
    REQUIRE(buffer.view() == expected);
  }
  CHECK(buffer.capacity() >= buffer.size());
  CHECK(pool.stats().grown >= 3);
  CHECK(pool.stats().sizes[0].objects.idle == 1);  // it has moved on
}

TEST_CASE("Buffer: may be appended to itself", "[state][buffer_pool]") {
  BufferPool pool({.sizes = {8}});
  Buffer buffer = pool.copy("abcdefgh");
  buffer.append(buffer.view());
  CHECK(buffer.view() == "abcdefghabcdefgh");
  buffer.append(buffer.view().substr(2, 3));
  CHECK(buffer.view() == "abcdefghabcdefghcde");
}

TEST_CASE("Buffer: room is prepared, and becomes part of it when it is written", "[state][buffer_pool]") {
  BufferPool pool({.sizes = {16, 1024}});
  Buffer buffer = pool.copy("head ");
  const std::span<char> room = buffer.prepare(100);
  CHECK(room.size() == 100);
  CHECK(buffer.view() == "head ");
  std::fill_n(room.begin(), 4, 'x');
  buffer.commit(4);
  CHECK(buffer.view() == "head xxxx");
}

TEST_CASE("Buffer: what resize adds is zero", "[state][buffer_pool]") {
  BufferPool pool({.sizes = {16, 64}});
  pool.copy("leftover of a stranger").reset();
  Buffer buffer = pool.copy("ab");
  buffer.resize(40);
  CHECK(buffer.view() == "ab" + std::string(38, '\0'));
  buffer.resize(1);
  CHECK(buffer.view() == "a");
  buffer.clear();
  CHECK(buffer.empty());
}

TEST_CASE("Buffer: one that was moved from has nothing", "[state][buffer_pool]") {
  BufferPool pool({.sizes = {16}});
  Buffer first = pool.copy("one");
  Buffer second = std::move(first);
  CHECK(second.view() == "one");
  CHECK(first.capacity() == 0);  // NOLINT(bugprone-use-after-move)
  CHECK(first.view().empty());
  first = pool.copy("two");
  second = std::move(first);
  CHECK(second.view() == "two");
  second.reset();
  CHECK(second.capacity() == 0);
  CHECK(pool.stats().sizes[0].objects.idle == 2);
  const Buffer none;
  CHECK(none.data() == nullptr);
}

TEST_CASE("Buffer: may outlive its pool", "[state][buffer_pool]") {
  std::optional<BufferPool> pool(std::in_place, BufferPoolOptions{.sizes = {16}});
  Buffer small = pool->copy("small");
  Buffer large = pool->copy("larger than all sizes");
  pool.reset();
  CHECK(small.view() == "small");
  CHECK(large.view() == "larger than all sizes");
  small.append(" ones");
  CHECK(small.view() == "small ones");
}

TEST_CASE("BufferPool: options that make no sense are refused, all at once", "[state][buffer_pool]") {
  const absl::Status refused = BufferPoolOptions{.name = std::string(201, 'x'),
                                                 .sizes = {0, 5, 5},
                                                 .max_idle_bytes = 0,
                                                 .purge_every = Duration(0),
                                                 .clock = nullptr}
                                   .validate();
  const std::string text(refused.message());
  for (const char* const part :
       {"options.name must be at most 200 bytes long, got 201", "options.sizes[0] must be in [1, ",
        "options.sizes[2] must be more than 5, got 5", "options.max_idle_bytes must be positive, got 0",
        "options.purge_every must be positive, got 0 ns", "options.clock must be a clock, got null"}) {
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
  }
  CHECK_THROWS_AS(BufferPool({.sizes = {7, 3}}), std::invalid_argument);
  CHECK_THROWS_AS(BufferPool({.sizes = std::vector<std::size_t>(65, 1)}), std::invalid_argument);
}

#if PENSTOCK_TEST_FORKS
TEST_CASE("BufferPool: in a forked child buffers come from the system", "[state][buffer_pool]") {
  BufferPool pool({.sizes = {16}});
  pool.copy("before").reset();
  const int answer = testing::answer_of_child([&] {
    Buffer buffer = pool.copy("in the child");
    buffer.append(" and more");
    return buffer.view() == "in the child and more" ? 7 : 0;
  });
  CHECK(answer == 7);
  CHECK(pool.copy("after").view() == "after");
}
#endif

TEST_CASE("BufferPool: its metrics name pool and size", "[state][buffer_pool]") {
  BufferPool pool({.name = "pieces", .sizes = {16, 64}});
  pool.acquire(100).append("x");
  pool.copy("0123456789").append("0123456789");
  PrometheusWriter writer;
  pool.collect(writer);
  const std::string text = writer.text();
  CHECK(text.find("penstock_buffer_pool_oversize_total{pool=\"pieces\"} 1") != std::string::npos);
  CHECK(text.find("penstock_buffer_pool_grown_total{pool=\"pieces\"} 1") != std::string::npos);
  CHECK(text.find("pool=\"pieces 64\"") != std::string::npos);
}

TEST_CASE("BufferPool: buffers go from thread to thread", "[state][buffer_pool][stress]") {
  BufferPool pool({.sizes = {32, 256}});
  constexpr int kBuffers = 20'000;
  std::vector<Buffer> ready(kBuffers);
  std::thread maker([&] {
    for (int i = 0; i < kBuffers; ++i) ready[static_cast<std::size_t>(i)] = pool.copy(std::to_string(i));
  });
  maker.join();
  bool is_right = true;
  std::thread taker([&] {
    for (int i = 0; i < kBuffers; ++i) {
      Buffer buffer = std::move(ready[static_cast<std::size_t>(i)]);
      is_right = is_right && buffer.view() == std::to_string(i);
    }
  });
  taker.join();
  CHECK(is_right);
  const BufferPoolStats stats = pool.stats();
  CHECK(stats.sizes[0].objects.out == 0);
  CHECK(stats.sizes[0].objects.returns == kBuffers);
  CHECK(misses(pool) == kBuffers);
}

}  // namespace
}  // namespace penstock
