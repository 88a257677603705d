// SPDX-License-Identifier: MIT

// Groups of counters compile as a whole, and take every kind of index.

#include <cstddef>
#include <cstdint>

#include "penstock/metrics/counter.hpp"
#include "penstock/metrics/json_writer.hpp"

template class penstock::Counters<1>;
template class penstock::Counters<20>;
template class penstock::Counters<7, 1>;

enum class Event : std::uint8_t { kOne };
template void penstock::Counters<20>::add(Event, std::uint64_t) noexcept;
template void penstock::Counters<20>::add(int, std::uint64_t) noexcept;
template std::uint64_t penstock::Counters<20>::value(std::size_t) const noexcept;

template penstock::JsonWriter& penstock::JsonWriter::value(bool);
template penstock::JsonWriter& penstock::JsonWriter::value(signed char);
template penstock::JsonWriter& penstock::JsonWriter::value(unsigned long long);
