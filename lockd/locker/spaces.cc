// SPDX-License-Identifier: LGPL-2.1-or-later
// spaces - the lock spaces that there are, by the path that clients call them.
#include "lockd/locker/spaces.h"

#include <cerrno>

#include "libshared/base/bytes.h"
#include "libshared/base/log.h"

namespace virtgate::lockd::locker {

namespace {

constexpr std::size_t k_path_max = 4095;

rpc::Failure not_allowed(std::string_view path) {
    return forbidden(
        fmt::format("lock space {}: not beneath any directory of `lock_spaces` in lockd.toml", path),
        rpc::k_domain_rpc);
}

}  // namespace

Spaces::Spaces(const Roots& roots, const Roots& direct, Keeping& keeping, const LockTable& table)
    : roots_(roots), keeping_(keeping), table_(table), direct_(direct) {}

Spaces::~Spaces() { keeping_.forget(*this); }

LockSpace* Spaces::find(const std::string& path) noexcept {
    if (path.empty()) return &direct_;
    if (EtcdSpace* const space = find_etcd(path)) return space;
    const auto found = spaces_.find(path);
    return found != spaces_.end() && found->second.is_kept ? found->second.space.get() : nullptr;
}

EtcdSpace* Spaces::find_etcd(const std::string& path) noexcept {
    const auto found = in_etcd_.find(path);
    return found == in_etcd_.end() ? nullptr : found->second;
}

std::set<std::string> Spaces::paths() const {
    std::set<std::string> all{{}};
    for (const auto& [path, space] : in_etcd_) all.insert(path);
    for (const auto& [path, space] : spaces_)
        if (space.is_kept) all.insert(path);
    return all;
}

void Spaces::open(const std::string& path, bool has_to_be_new, server::Call call) {
    if (path.empty()) return has_to_be_new ? call.fail(default_space_exists()) : call.reply();
    if (find_etcd(path) != nullptr) return has_to_be_new ? call.fail(space_exists(path)) : call.reply();
    if (const auto there = spaces_.find(path); there != spaces_.end()) {
        Space& space = there->second;
        const bool is_stale = space.is_kept && !space.space->is_current() && !table_.uses(*space.space);
        if (!is_stale) {
            if (has_to_be_new) return call.fail(space_exists(path));
            if (space.is_kept) return call.reply();
            return space.calls.push_back(std::move(call));
        }
        drop(there);
    }
    if (const auto checked = check(path); !checked) return call.fail(checked.error());
    auto directory =
        open_directory(*roots_.find(path), true, fmt::format("Unable to open lock space {}", path));
    if (!directory) return call.fail(directory.error());
    add(path, std::move(*directory), std::move(call));
}

Answer<void> Spaces::check(const std::string& path) const {
    if (path.size() > k_path_max)
        return tl::make_unexpected(system_failure(ENAMETOOLONG,
                                                  fmt::format("Unable to open lock space {}", path),
                                                  "the path is longer than 4095 bytes"));
    if (!roots_.find(path)) return tl::make_unexpected(not_allowed(path));
    if (spaces_.size() >= k_max) return tl::make_unexpected(internal("there are too many lock spaces"));
    return {};
}

void Spaces::add(const std::string& path, UniqueFd directory, server::Call call) {
    const auto slot = keeping_.take_slot();
    if (!slot) return call.fail(internal("there are too many locks and lock spaces"));
    const int borrowed = directory.get();
    Space& space = spaces_[path];
    space.space = std::make_unique<DirectorySpace>(path, std::move(directory));
    space.slot = *slot;
    space.calls.push_back(std::move(call));
    const Ticket ticket = next_ticket_++;
    opening_.emplace(ticket, path);
    const ByteView bytes = as_bytes(path);
    keeping_.keep(*slot, proto::kept::Kept::make_space({.path = {bytes.begin(), bytes.end()}}), borrowed,
                  ticket, *this);
}

void Spaces::drop(Place place) {
    Log{}.info("the directory of lock space {} was removed or replaced", escape(place->first));
    const Ticket ticket = next_ticket_++;
    dropping_.emplace(ticket, place->second.slot);
    const Slot slot = place->second.slot;
    spaces_.erase(place);
    keeping_.drop(slot, ticket, *this);
}

void Spaces::on_kept(Ticket ticket, Answer<void> done) noexcept {
    if (const auto dropped = dropping_.find(ticket); dropped != dropping_.end()) {
        // A slot that could not be dropped stays taken.
        if (done) keeping_.free_slot(dropped->second);
        dropping_.erase(dropped);
        return;
    }
    const auto opened = opening_.extract(ticket);
    const auto place = spaces_.find(opened.mapped());
    std::vector<server::Call> calls = std::move(place->second.calls);
    place->second.calls.clear();
    if (done) {
        place->second.is_kept = true;
        Log{}.info("lock space {} is open", escape(place->first));
    } else {
        Log{}.error("cannot keep lock space {}: {}", escape(place->first), escape(done.error().message));
        keeping_.free_slot(place->second.slot);
        spaces_.erase(place);
    }
    for (server::Call& call : calls) {
        if (done)
            call.reply();
        else
            call.fail(done.error());
    }
}

void Spaces::restore(Slot slot, std::string path, UniqueFd directory) {
    Space space{
        .space = std::make_unique<DirectorySpace>(path, std::move(directory)), .slot = slot, .is_kept = true};
    spaces_.insert_or_assign(std::move(path), std::move(space));
}

}  // namespace virtgate::lockd::locker
