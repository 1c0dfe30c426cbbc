// SPDX-License-Identifier: LGPL-2.1-or-later
// learned - a role that allows what somebody did, and no more.
#include "ctl/policy/learned.h"

#include <algorithm>

#include "ctl/policy/history.h"
#include "ctl/policy/words.h"
#include "libshared/base/bytes.h"
#include "policy/migrate_uri.h"
#include "policy/touch.h"
#include "proto/who.h"

namespace virtgate::ctl::policy {

using audit::Entry;
using virtgate::policy::ObjectKind;

namespace {

constexpr std::string_view k_uuid = "uuid:", k_glob = "glob:";

bool has_uuid(ObjectKind kind) noexcept {
    return kind == ObjectKind::domain || kind == ObjectKind::network || kind == ObjectKind::pool ||
           kind == ObjectKind::secret || kind == ObjectKind::nwfilter;
}

// SCHEME://HOST[:PORT] of a URI, which is what a policy can say about it.
std::string place_of_uri(std::string_view uri) {
    const auto start = uri.find("://");
    if (start == uri.npos) return {};
    std::string_view authority = uri.substr(start + 3);
    authority = authority.substr(0, authority.find_first_of("/?#"));
    if (const auto at = authority.rfind('@'); at != authority.npos) authority.remove_prefix(at + 1);
    return std::string(uri.substr(0, start + 3)).append(authority);
}

// The text by which a policy names exactly this object; empty if there is none. A name that begins like a
// pattern would be read as one.
std::string name_in_policy(ObjectKind kind, const audit::Object& object) {
    const bool is_odd = object.name.starts_with(k_glob) || object.name.starts_with(k_uuid) ||
                        object.name.find('*') != object.name.npos || !is_plain_text(object.name) ||
                        object.name.size() > proto::who::k_text_max || object.name.empty();
    const auto uuid = parse_uuid(object.uuid);
    switch (kind) {
        case ObjectKind::migrate_uri: {
            const std::string place = place_of_uri(object.name);
            const bool is_good = !is_odd && virtgate::policy::flaw_of_migrate_uri(place).empty() &&
                                 virtgate::policy::matches_migrate_uri(place, object.name);
            return is_good ? place : std::string{};
        }
        case ObjectKind::path:
            if (is_odd || !object.name.starts_with('/') || object.name.find("/../") != object.name.npos ||
                object.name.find("//") != object.name.npos)
                return {};
            return object.name;
        case ObjectKind::volume:
            if (object.name.find('/') == object.name.npos) return {};
            break;
        default: break;
    }
    if (!is_odd) return object.name;
    return uuid && has_uuid(kind) ? std::string(k_uuid) + object.uuid : std::string{};
}

void count(Lesson::Use& use, const Entry& entry) {
    ++use.count;
    if (entry.verdict == "shadowed") ++use.shadowed;
    if (entry.verdict == "refused") {
        ++use.refused;
        use.reason = entry.reason.value_or("");
    }
    use.flags |= entry.flags;
    use.last = std::max(use.last, entry.time);
}

// Refusals that a role could have prevented.
bool is_for_roles(const Entry& entry) {
    return entry.reason == "no-binding" || entry.reason == "object" || entry.reason == "flag" ||
           entry.reason == "constraint";
}

}  // namespace

void Lesson::leave(const Request& request, const Entry& entry, std::string why) {
    count(leftovers_[{request.describe(), std::move(why)}], entry);
}

void Lesson::add(const Entry& entry) {
    if (entry.record != "call" || !entry.verdict) return;
    ++calls_;
    const auto request = request_of(entry);
    if (!request) {
        count(leftovers_[{escape(entry.procedure.value_or("(no name)")), request.error().text}], entry);
        return;
    }
    if (request->procedure->readonly == proto::ReadOnly::allowed) has_reading_ = true;
    if (virtgate::policy::is_denied_for_good(*request->program, *request->procedure))
        return leave(*request, entry, "nobody can be allowed it");
    if (virtgate::policy::is_passthrough(*request->program, *request->procedure))
        return leave(*request, entry, "it needs allow_monitor_commands under [global]");
    if (entry.verdict == "refused" && (!with_refused_ || !is_for_roles(entry)))
        return leave(*request, entry,
                     "it was refused: " + escape(entry.reason.value_or("for no known reason"), 64));
    std::set<LearnedObject> objects;
    for (std::size_t i = 0; i < entry.objects.size(); ++i) {
        const ObjectKind kind = request->names[i].first;
        const bool is_free = kind == ObjectKind::path || kind == ObjectKind::migrate_uri;
        std::string text = name_in_policy(kind, entry.objects[i]);
        if (!entry.objects[i].known && !is_free)
            return leave(*request, entry, "libvirt did not know the object");
        if (text.empty()) return leave(*request, entry, "a policy cannot name the object");
        objects.insert({entry.objects[i].kind, std::move(text)});
    }
    if (entry.more_objects != 0) return leave(*request, entry, "the record does not name all of its objects");
    Known& known = procedures_[say_procedure(*request->program, *request->procedure)];
    known.objects.merge(objects);
    count(known.use, entry);
}

std::vector<Lesson::Group> Lesson::groups() const {
    std::map<std::set<LearnedObject>, Group> by_objects;
    for (const auto& [name, known] : procedures_) {
        Group& group = by_objects[known.objects];
        group.objects = known.objects;
        group.procedures.emplace(name, known.use);
    }
    std::vector<Group> groups;
    for (auto& [objects, group] : by_objects) groups.push_back(std::move(group));
    std::stable_sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) {
        return std::tuple(!a.objects.empty(), b.procedures.size()) <
               std::tuple(!b.objects.empty(), a.procedures.size());
    });
    return groups;
}

std::vector<Lesson::Leftover> Lesson::leftovers() const {
    std::vector<Leftover> list;
    for (const auto& [key, use] : leftovers_) list.push_back({key.first, use, key.second});
    return list;
}

}  // namespace virtgate::ctl::policy
