// SPDX-License-Identifier: MIT

// Every template of the room, once for each kind of argument.

#include <memory>
#include <string>

#include "penstock/state/object_pool.hpp"

namespace penstock {
namespace instantiated {  // named: what an unnamed one has is to be used

struct Immovable {
  Immovable() = default;
  Immovable(const Immovable&) = delete;
  Immovable& operator=(const Immovable&) = delete;
};

struct NotDefault {
  explicit NotDefault(int) {}
};

}  // namespace instantiated

using instantiated::Immovable;
using instantiated::NotDefault;

template class ObjectPool<int>;
template class ObjectPool<std::string>;
template class ObjectPool<std::unique_ptr<int>>;
template class ObjectPool<Immovable>;
template class ObjectPool<NotDefault>;
template class Pooled<int>;
template class Pooled<std::unique_ptr<int>>;
template class Pooled<Immovable>;
template struct ObjectPoolOptions<NotDefault>;

}  // namespace penstock
