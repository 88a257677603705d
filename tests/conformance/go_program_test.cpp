// SPDX-License-Identifier: MIT

// Whole programs of channels, as Go's suite has them. Where Go starts a goroutine, these spawn a coroutine.

#include <array>
#include <cstddef>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "conformance/go_support.hpp"
#include "penstock/core/task.hpp"

namespace penstock {
namespace {

using namespace testing;

using IntChannel = std::unique_ptr<Channel<int>>;
IntChannel make_channel(std::size_t capacity = 0) { return std::make_unique<Channel<int>>(capacity); }

Task<> pass_on(Channel<int>& from, Channel<int>& to) {
  const Received<int> received = co_await from.async_receive();
  if (received) static_cast<void>(co_await to.async_send(*received.value + 1));
}

TEST_CASE("Channel conformance: a chain of ten thousand hands a number along", "[conformance][channel]") {
  constexpr int kLinks = 10'000;
  RunLoop loop;
  std::vector<IntChannel> channels;
  for (int i = 0; i <= kLinks; ++i) channels.push_back(make_channel());
  for (std::size_t i = 0; i != kLinks; ++i) static_cast<void>(spawn(loop, pass_on(*channels[i], *channels[i + 1])));
  loop.run_ready();
  CHECK(channels.front()->try_send(0) == OpStatus::kOk);
  loop.run_ready();
  CHECK(channels.back()->try_receive().value == kLinks);
  loop.run_ready();
}

TEST_CASE("Channel conformance: a chain of two hundred threads hands a number along", "[conformance][channel]") {
  constexpr int kLinks = 200;
  std::vector<IntChannel> channels;
  for (int i = 0; i <= kLinks; ++i) channels.push_back(make_channel());
  std::vector<std::unique_ptr<Call<bool>>> threads;
  for (std::size_t i = 0; i != kLinks; ++i) {
    threads.push_back(std::make_unique<Call<bool>>([from = channels[i].get(), to = channels[i + 1].get()] {
      return to->send(from->receive().value.value_or(-1) + 1) == OpStatus::kOk;
    }));
  }
  CHECK(channels.front()->send(0) == OpStatus::kOk);
  CHECK(channels.back()->receive().value == kLinks);
}

Task<> count_from_two(Channel<int>& to) {
  for (int i = 2; co_await to.async_send(i) == OpStatus::kOk;) ++i;
}

Task<> filter(Channel<int>& from, Channel<int>& to, int prime) {
  while (const Received<int> received = co_await from.async_receive()) {
    if (*received.value % prime == 0) continue;
    if (co_await to.async_send(*received.value) != OpStatus::kOk) break;
  }
}

Task<std::vector<int>> sieve(RunLoop& loop, std::vector<IntChannel>& channels, std::size_t count) {
  std::vector<int> primes;
  static_cast<void>(spawn(loop, count_from_two(*channels.emplace_back(make_channel()))));
  while (primes.size() != count) {
    Channel<int>& from = *channels.back();
    int prime = 0;
    if (co_await from.async_receive(prime) != OpStatus::kOk) break;
    primes.push_back(prime);
    static_cast<void>(spawn(loop, filter(from, *channels.emplace_back(make_channel()), prime)));
  }
  co_return primes;
}

const std::vector<int> kPrimes{2,  3,  5,  7,  11, 13, 17, 19, 23, 29, 31, 37, 41,
                               43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97};

TEST_CASE("Channel conformance: a chain of filters finds the primes", "[conformance][channel]") {
  RunLoop loop;
  std::vector<IntChannel> channels;
  auto primes = spawn(loop, sieve(loop, channels, 25));
  loop.run_ready();
  CHECK(sync_wait(std::move(primes)) == kPrimes);
  for (const IntChannel& channel : channels) channel->close();
  loop.run_ready();
}

// Composites are merged from the streams of multiples of the primes below; what no stream has is prime.

struct Stream {
  IntChannel channel;
  int head;
};

Task<> multiples(Channel<int>& to, int prime) {
  for (int i = prime * prime; co_await to.async_send(i) == OpStatus::kOk;) i += prime;
}

Task<std::vector<int>> merge_sieve(RunLoop& loop, std::vector<Stream>& streams, int limit) {
  std::vector<int> primes;
  for (int number = 2; number < limit; ++number) {
    bool composite = false;
    for (Stream& stream : streams) {
      while (stream.head < number) {
        if (co_await stream.channel->async_receive(stream.head) != OpStatus::kOk) co_return primes;
      }
      composite = composite || stream.head == number;
    }
    if (composite) continue;
    primes.push_back(number);
    streams.push_back(Stream{make_channel(), 0});
    static_cast<void>(spawn(loop, multiples(*streams.back().channel, number)));
  }
  co_return primes;
}

TEST_CASE("Channel conformance: merged streams of multiples leave out the primes", "[conformance][channel]") {
  RunLoop loop;
  std::vector<Stream> streams;
  auto primes = spawn(loop, merge_sieve(loop, streams, 100));
  loop.run_ready();
  CHECK(sync_wait(std::move(primes)) == kPrimes);
  for (const Stream& stream : streams) stream.channel->close();
  loop.run_ready();
}

// Power series whose coefficients are computed on demand, each by a coroutine that reads its operands'
// channels.

struct Fraction {
  long top = 0;
  long bottom = 1;
  static Fraction of(long top, long bottom) {
    const long divisor = std::gcd(top, bottom);
    const long sign = bottom < 0 ? -1 : 1;
    return {sign * top / divisor, sign * bottom / divisor};
  }
  friend Fraction operator+(Fraction a, Fraction b) {
    return of(a.top * b.bottom + b.top * a.bottom, a.bottom * b.bottom);
  }
  friend Fraction operator*(Fraction a, Fraction b) { return of(a.top * b.top, a.bottom * b.bottom); }
  friend bool operator==(const Fraction&, const Fraction&) = default;
};

using Series = Channel<Fraction>;

class SeriesProgram {
 public:
  ~SeriesProgram() {
    for (const auto& series : all_) series->close();
    loop_.run_ready();
  }

  Series& repeat(Fraction value) {
    return start([value](Series& out) { return repeating(out, value); });
  }
  Series& add(Series& a, Series& b) {
    return start([&](Series& out) { return adding(a, b, out); });
  }
  Series& derive(Series& a) {
    return start([&](Series& out) { return deriving(a, out); });
  }
  Series& integrate(Fraction constant, Series& a) {
    return start([&](Series& out) { return integrating(constant, a, out); });
  }
  Series& multiply(Series& a, Series& b) {
    return start([&](Series& out) { return multiplying(a, b, out); });
  }
  /// exp of a series without constant part: the integral of itself times the derivative, fed back to itself.
  Series& exponential(Series& a) {
    Series& fed_back = make();
    Series& result = make();
    Series& integral = integrate(Fraction{1}, multiply(fed_back, derive(a)));
    static_cast<void>(spawn(loop_, splitting(integral, result, fed_back)));
    return result;
  }

  std::vector<Fraction> first(Series& series, std::size_t count) {
    std::vector<Fraction> terms;
    while (terms.size() != count) {
      loop_.run_ready();
      if (Received<Fraction> received = series.try_receive()) terms.push_back(*received.value);
    }
    return terms;
  }

 private:
  Series& make() { return *all_.emplace_back(std::make_unique<Series>(0)); }
  template <class Program>
  Series& start(Program program) {
    Series& out = make();
    static_cast<void>(spawn(loop_, program(out)));
    return out;
  }

  static Task<> repeating(Series& out, Fraction value) {
    // g++ 12 miscompiles a coroutine that awaits in a condition and has no local variable.
    OpStatus status = OpStatus::kOk;
    while (status == OpStatus::kOk) status = co_await out.async_send(value);
  }
  static Task<> adding(Series& a, Series& b, Series& out) {
    Fraction left;
    Fraction right;
    while (co_await a.async_receive(left) == OpStatus::kOk && co_await b.async_receive(right) == OpStatus::kOk) {
      if (co_await out.async_send(left + right) != OpStatus::kOk) break;
    }
  }
  static Task<> deriving(Series& a, Series& out) {
    Fraction term;
    static_cast<void>(co_await a.async_receive(term));
    for (long i = 1; co_await a.async_receive(term) == OpStatus::kOk; ++i) {
      if (co_await out.async_send(Fraction{i} * term) != OpStatus::kOk) break;
    }
  }
  static Task<> integrating(Fraction constant, Series& a, Series& out) {
    Fraction term = constant;
    for (long i = 1; co_await out.async_send(term) == OpStatus::kOk; ++i) {
      if (co_await a.async_receive(term) != OpStatus::kOk) break;
      term = term * Fraction::of(1, i);
    }
  }
  static Task<> multiplying(Series& a, Series& b, Series& out) {
    std::vector<Fraction> left;
    std::vector<Fraction> right;
    for (;;) {
      Fraction term;
      if (co_await a.async_receive(term) != OpStatus::kOk) break;
      left.push_back(term);
      if (co_await b.async_receive(term) != OpStatus::kOk) break;
      right.push_back(term);
      Fraction sum;
      for (std::size_t i = 0; i != left.size(); ++i) sum = sum + left[i] * right[left.size() - 1 - i];
      if (co_await out.async_send(sum) != OpStatus::kOk) break;
    }
  }
  static Task<> splitting(Series& from, Series& one, Series& two) {
    Fraction term;
    while (co_await from.async_receive(term) == OpStatus::kOk) {
      if (co_await two.async_send(term) != OpStatus::kOk || co_await one.async_send(term) != OpStatus::kOk) break;
    }
  }

  RunLoop loop_;
  std::vector<std::unique_ptr<Series>> all_;
};

std::vector<Fraction> fractions(std::initializer_list<std::array<long, 2>> values) {
  std::vector<Fraction> all;
  for (const auto& value : values) all.push_back(Fraction::of(value[0], value[1]));
  return all;
}

TEST_CASE("Channel conformance: power series computed by coroutines", "[conformance][channel]") {
  SeriesProgram program;
  const auto ones = [&]() -> Series& { return program.repeat(Fraction{1}); };
  CHECK(program.first(ones(), 4) == fractions({{1, 1}, {1, 1}, {1, 1}, {1, 1}}));
  CHECK(program.first(program.add(ones(), program.repeat(Fraction{2})), 3) == fractions({{3, 1}, {3, 1}, {3, 1}}));
  CHECK(program.first(program.derive(ones()), 4) == fractions({{1, 1}, {2, 1}, {3, 1}, {4, 1}}));
  CHECK(program.first(program.integrate(Fraction{}, ones()), 4) == fractions({{0, 1}, {1, 1}, {1, 2}, {1, 3}}));
  CHECK(program.first(program.multiply(ones(), ones()), 4) == fractions({{1, 1}, {2, 1}, {3, 1}, {4, 1}}));
  CHECK(program.first(program.multiply(program.integrate(Fraction{}, ones()), ones()), 4) ==
        fractions({{0, 1}, {1, 1}, {3, 2}, {11, 6}}));
  CHECK(program.first(program.derive(program.integrate(Fraction{7}, ones())), 3) ==
        fractions({{1, 1}, {1, 1}, {1, 1}}));
  // exp(log(1 / (1 - x))) is 1 / (1 - x) again, and exp(x + x^2 / 2 + ...) its own integral equation.
  CHECK(program.first(program.exponential(program.integrate(Fraction{}, ones())), 8) ==
        std::vector<Fraction>(8, Fraction{1}));
  CHECK(program.first(program.exponential(program.integrate(Fraction{}, program.derive(ones()))), 5) ==
        fractions({{1, 1}, {1, 1}, {3, 2}, {13, 6}, {73, 24}}));
}

TEST_CASE("Channel conformance: a long line costs each who leaves it no more than a short one",
          "[conformance][channel]") {
  // With a walk along the line for each, the test would not end in time.
  constexpr std::size_t kWaiting = 50'000;
  RunLoop loop;
  Channel<int> channel(0);
  const auto [ctx, source] = Context::background().with_cancel();
  std::size_t left = 0;
  const auto wait = [](Channel<int>& on, Context under, std::size_t& count) -> Task<> {
    const Received<int> received = co_await on.async_receive(under);
    if (received.status == OpStatus::kCancelled) ++count;
  };
  for (std::size_t i = 0; i != kWaiting; ++i) static_cast<void>(spawn(loop, wait(channel, ctx, left)));
  loop.run_ready();
  CHECK(channel.stats().blocked_receivers == kWaiting);
  source.cancel();
  loop.run_ready();
  CHECK(left == kWaiting);
  CHECK(channel.stats().blocked_receivers == 0);
}

TEST_CASE("Channel conformance: ten threads and four channels, plain and in selects", "[conformance][select]") {
  constexpr int kValues = 2'000;
  std::array<IntChannel, 4> channels{make_channel(), make_channel(), make_channel(2), make_channel(3)};
  std::vector<std::unique_ptr<Call<bool>>> calls;
  for (std::size_t i = 0; i != 4; ++i) {
    calls.push_back(std::make_unique<Call<bool>>([on = channels[i].get()] {
      for (int count = 0; count != kValues; ++count) {
        if (on->send(0) != OpStatus::kOk) return false;
      }
      return true;
    }));
    calls.push_back(std::make_unique<Call<bool>>([on = channels[i].get()] {
      for (int count = 0; count != kValues; ++count) {
        if (!on->receive()) return false;
      }
      return true;
    }));
  }
  const auto on = [](IntChannel& channel, int left) { return left != 0 ? channel.get() : nullptr; };
  calls.push_back(std::make_unique<Call<bool>>([&] {
    std::array<int, 4> left{kValues, kValues, kValues, kValues};
    for (int count = 0; count != 4 * kValues; ++count) {
      --left[select(on_send(on(channels[3], left[0]), 0, ignore), on_send(on(channels[2], left[1]), 0, ignore),
                    on_send(on(channels[0], left[2]), 0, ignore), on_send(on(channels[1], left[3]), 0, ignore))];
    }
    return true;
  }));
  calls.push_back(std::make_unique<Call<bool>>([&] {
    std::array<int, 4> left{kValues, kValues, kValues, kValues};
    for (int count = 0; count != 4 * kValues; ++count) {
      --left[select(on_receive(on(channels[0], left[0]), ignore), on_receive(on(channels[1], left[1]), ignore),
                    on_receive(on(channels[2], left[2]), ignore), on_receive(on(channels[3], left[3]), ignore))];
    }
    return true;
  }));
  for (auto& call : calls) CHECK(call->result());
  for (const IntChannel& channel : channels) {
    CHECK(channel->stats().sends == 2 * kValues);
    CHECK(channel->stats().receives == 2 * kValues);
    CHECK(nobody_waits(*channel));
  }
}

}  // namespace
}  // namespace penstock
