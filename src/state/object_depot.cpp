// SPDX-License-Identifier: MIT
#include "penstock/state/detail/object_depot.hpp"

#include <utility>

namespace penstock::inline PENSTOCK_ABI::detail {

ObjectDepot::~ObjectDepot() {
  while (ObjectMagazine* const magazine = empties_) {
    empties_ = magazine->next;
    delete magazine;
  }
}

void ObjectDepot::push(Part& part, ObjectMagazine& magazine) noexcept {
  magazine.next = part.magazines;
  if (part.magazines == nullptr) part.last = &magazine;
  part.magazines = &magazine;
}

void ObjectDepot::retire_first(Part& part) noexcept {
  ObjectMagazine& magazine = *part.magazines;
  part.magazines = magazine.next;
  if (part.magazines == nullptr) part.last = nullptr;
  add_empty(magazine);
}

void ObjectDepot::put(ObjectSlot& slot, Generation generation) noexcept {
  Part& part = parts_[generation];
  part.loose.push(slot);
  count_in(part, slot);
}

void ObjectDepot::put(ObjectSlot* const* slots, std::uint32_t count, Generation generation) noexcept {
  Part& part = parts_[generation];
  if (empties_ == nullptr) {
    for (std::uint32_t i = 0; i != count; ++i) put(*slots[i], generation);
    return;
  }
  ObjectMagazine& magazine = *empties_;
  empties_ = magazine.next;
  for (std::uint32_t i = 0; i != count; ++i) {
    magazine.slots[i] = slots[i];
    if (weighs_) bytes_ += slots[i]->weight;
  }
  magazine.count = count;
  part.size += count;
  push(part, magazine);
}

ObjectSlot* ObjectDepot::take_from(Generation generation) noexcept {
  Part& part = parts_[generation];
  ObjectSlot* slot = part.loose.pop();
  if (slot == nullptr && part.magazines != nullptr) {
    slot = part.magazines->slots[--part.magazines->count];
    if (part.magazines->count == 0) retire_first(part);
  }
  if (slot != nullptr) count_out(part, *slot);
  return slot;
}

ObjectSlot* ObjectDepot::take(Generation& generation) noexcept {
  generation = kFresh;
  if (ObjectSlot* const slot = take_from(kFresh)) return slot;
  generation = kVictims;
  return take_from(kVictims);
}

std::uint32_t ObjectDepot::take(ObjectSlot** slots, Generation& generation) noexcept {
  generation = parts_[kFresh].size != 0 ? kFresh : kVictims;
  Part& part = parts_[generation];
  std::uint32_t count = 0;
  if (part.magazines != nullptr) {
    for (; count != part.magazines->count; ++count) {
      slots[count] = part.magazines->slots[count];
      if (weighs_) bytes_ -= slots[count]->weight;
    }
    part.size -= count;
    retire_first(part);
    return count;
  }
  while (count != ObjectCache::kMagazine && !part.loose.empty()) {
    slots[count] = part.loose.pop();
    count_out(part, *slots[count]);
    ++count;
  }
  return count;
}

void ObjectDepot::age() noexcept {
  Part& fresh = parts_[kFresh];
  Part& victims = parts_[kVictims];
  if (fresh.magazines != nullptr) {
    fresh.last->next = victims.magazines;
    if (victims.magazines == nullptr) victims.last = fresh.last;
    victims.magazines = fresh.magazines;
    fresh.magazines = fresh.last = nullptr;
  }
  // Mostly one of the chains is empty.
  if (victims.loose.empty()) std::swap(victims.loose, fresh.loose);
  while (ObjectSlot* const slot = fresh.loose.pop()) victims.loose.push(*slot);
  victims.size += std::exchange(fresh.size, 0);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
