// SPDX-License-Identifier: LGPL-2.1-or-later
// keys - how locks are written down in etcd: a contract between all hosts of a lock space.
//
//     PREFIX made/NAME               the resource was made; no lease
//     PREFIX held/NAME/x             somebody has it for himself
//     PREFIX held/NAME/s/LEASE       somebody has a share of it
//     PREFIX settle/LEASE            see job.h
//
// What is held has the lease of who holds it, and says in words who that is. The create_revision of its key
// is the fencing token: it rises with every owner.
//
// Trust:  whoever may write beneath the prefix may take, break and forge locks; etcd's roles are for that.
#pragma once

#include "lockd/etcd/words.h"

namespace virtgate::lockd::etcd {

class Keys {
public:
    // `prefix` ends with a slash.
    explicit Keys(std::string prefix) : prefix_(std::move(prefix)) {}

    [[nodiscard]] std::string made(const std::string& name) const { return prefix_ + "made/" + name; }
    // The key of one holder.
    [[nodiscard]] std::string held(const std::string& name, bool shared, LeaseId lease) const;
    // The keys of all holders of a resource, and of all.
    [[nodiscard]] Range holders(const std::string& name) const;
    [[nodiscard]] Range all_held() const;
    [[nodiscard]] std::string settle(LeaseId lease) const;

    struct Held {
        std::string name{};
        bool shared = false;
    };
    // What a key beneath all_held() is about; none if it is not of this form.
    [[nodiscard]] std::optional<Held> parse(const std::string& key) const;

private:
    const std::string prefix_;
};

// True if a resource can have this name.
[[nodiscard]] bool is_name(const std::string& name) noexcept;

// What a holder's key says.
struct Holder {
    std::string host{};
    std::string attempt{};   // unique: which attempt to take it this is
    std::int64_t since = 0;  // s since 1970, by that host's clock
};
[[nodiscard]] std::string write_holder(const Holder& holder);
// Of what is no such text, the host is "somebody".
[[nodiscard]] Holder read_holder(const std::string& value);
// "held by HOST since 2026-01-01 00:00:00 UTC", safe for a log.
[[nodiscard]] std::string describe(const Holder& holder);

}  // namespace virtgate::lockd::etcd
