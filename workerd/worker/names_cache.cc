// SPDX-License-Identifier: LGPL-2.1-or-later
// names_cache - names by uuid, and the epoch in which they may be added to.
#include "workerd/worker/names_cache.h"

#include <functional>

#include "libshared/base/bytes.h"

namespace virtgate::workerd::worker {

using policy::ObjectKind;
using policy::Uuid;

std::size_t NamesCache::Hash::operator()(const Key& key) const noexcept {
    return std::hash<std::string_view>{}(as_text(key.uuid)) ^ static_cast<std::size_t>(key.kind);
}

std::optional<std::string_view> NamesCache::find(ObjectKind kind, const Uuid& uuid) const noexcept {
    const auto found = names_.find({kind, uuid});
    if (found == names_.end() || clock_.now() - found->second.learned >= k_age_max) return std::nullopt;
    return found->second.name;
}

void NamesCache::learn(ObjectKind kind, const Uuid& uuid, std::string_view name, Names::Epoch asked) {
    if (asked != epoch_ || !admits(kind) || name.size() > k_name_size_max) return;
    // Which of them will be asked for again is not known; those that are come back with one question each.
    if (names_.size() >= k_names_max && !names_.contains({kind, uuid})) names_.clear();
    names_.insert_or_assign(Key{kind, uuid}, Entry{std::string(name), clock_.now()});
}

void NamesCache::admit(ObjectKind kind) noexcept {
    kinds_ |= bit(kind);
    ++epoch_;
}

void NamesCache::drop(ObjectKind kind, const Uuid& uuid) noexcept {
    names_.erase({kind, uuid});
    ++epoch_;
}

void NamesCache::drop_all() noexcept {
    names_.clear();
    ++epoch_;
}

void NamesCache::close() noexcept {
    kinds_ = 0;
    drop_all();
}

}  // namespace virtgate::workerd::worker
