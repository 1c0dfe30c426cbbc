// SPDX-License-Identifier: LGPL-2.1-or-later
// names_cache - names by uuid, and the epoch in which they may be added to.
//
// Pure: what may be kept, and when it has to go, is said by names_feed.h.
//
// Whatever else goes wrong with what is announced, no name is used for longer than k_age_max after its answer came.
//
// Trust:  names are the daemon's. They are somebody's choice all the same, who has defined an object.
// Limits: k_names_max names of k_name_size_max bytes; one too many, and all are forgotten. Finding allocates nothing.
// Owns:   copies of the names.
#pragma once

#include <string>
#include <unordered_map>

#include "libshared/base/clock.h"
#include "workerd/worker/names.h"

namespace virtgate::workerd::worker {

class NamesCache {
public:
    static constexpr std::size_t k_names_max = 65'536;
    // Longer ones are not kept. libvirt's own drivers have files of such names, and a file's name is shorter.
    static constexpr std::size_t k_name_size_max = 512;
    static constexpr Milliseconds k_age_max{5'000};

    // `clock` has to outlive it. Nothing is kept of any kind at first.
    explicit NamesCache(const Clock& clock) noexcept : clock_(clock) {}

    // As in names.h.
    [[nodiscard]] std::optional<std::string_view> find(policy::ObjectKind kind,
                                                       const policy::Uuid& uuid) const noexcept;
    [[nodiscard]] Names::Epoch epoch() const noexcept { return epoch_; }
    void learn(policy::ObjectKind kind, const policy::Uuid& uuid, std::string_view name, Names::Epoch asked);

    // From now on changes of that kind are announced, and its names are kept. What was asked for before may have
    // changed without a word.
    void admit(policy::ObjectKind kind) noexcept;
    [[nodiscard]] bool admits(policy::ObjectKind kind) const noexcept { return (kinds_ & bit(kind)) != 0; }

    // The object may be called otherwise from now on. A new epoch begins.
    void drop(policy::ObjectKind kind, const policy::Uuid& uuid) noexcept;
    // The same of all objects.
    void drop_all() noexcept;
    // Nothing is announced any more: all names go, and none is kept until their kind is admitted again.
    void close() noexcept;

    [[nodiscard]] std::size_t size() const noexcept { return names_.size(); }

private:
    struct Key {
        policy::ObjectKind kind;
        policy::Uuid uuid;
        bool operator==(const Key&) const = default;
    };
    struct Hash {
        std::size_t operator()(const Key& key) const noexcept;
    };
    struct Entry {
        std::string name;
        Instant learned;
    };
    const Clock& clock_;
    policy::KindMask kinds_ = 0;
    Names::Epoch epoch_ = 0;
    std::unordered_map<Key, Entry, Hash> names_;
};

}  // namespace virtgate::workerd::worker
