// SPDX-License-Identifier: LGPL-2.1-or-later
// history - calls in the auditor's records, as questions to a policy.
#include "ctl/policy/history.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "config.h"
#include "ctl/audit/moment.h"
#include "ctl/policy/words.h"
#include "libshared/base/bytes.h"

namespace virtgate::ctl::policy {

using audit::Entry;
using audit::Moment;

namespace {

// How exactly people remember when something happened.
constexpr std::chrono::microseconds k_vicinity = std::chrono::minutes{1};

std::chrono::microseconds distance(Moment a, Moment b) noexcept { return a < b ? b - a : a - b; }

std::string shown(const std::optional<std::string>& text) { return text ? escape(*text) : std::string{}; }

}  // namespace

std::string default_audit_file() { return VIRTGATE_LOGDIR "/audit.jsonl"; }

Result<std::vector<PastRecord>> find_refusals(const std::string& path, const audit::Filter& filter, Moment at,
                                              std::size_t most) {
    std::vector<PastRecord> found;
    const auto nearer = [&](const PastRecord& a, const PastRecord& b) {
        return distance(a.entry.time, at) < distance(b.entry.time, at);
    };
    const auto done = audit::read_lines(path, [&](std::string_view line) {
        auto entry = audit::parse_entry(line);
        if (!entry || entry->verdict != "refused" || !filter.matches(*entry)) return true;
        found.push_back({std::move(*entry), std::string(line)});
        std::stable_sort(found.begin(), found.end(), nearer);
        if (found.size() > most) found.pop_back();
        return true;
    });
    if (!done) return tl::unexpected(done.error());
    // The nearest is always told; what is far from both it and the moment has nothing to do with the
    // question.
    while (found.size() > 1 && distance(found.back().entry.time, at) > k_vicinity) found.pop_back();
    return found;
}

Result<Request> request_of(const Entry& entry) {
    if (!entry.program || !entry.procedure) return peer_fault("the record is about no call");
    const auto found = find_procedure(*entry.program + "." + *entry.procedure);
    if (!found) return tl::unexpected(found.error());
    Request request{.program = found->program, .procedure = found->procedure, .flags = entry.flags};
    for (const audit::Object& object : entry.objects) {
        const auto kind = virtgate::policy::parse_kind(object.kind);
        if (!kind) return peer_fault(fmt::format("\"{}\" is no kind of object", escape(object.kind, 64)));
        request.names.emplace_back(*kind, object.name);
        request.uuids.push_back(parse_uuid(object.uuid));
    }
    return request;
}

std::string describe(const Entry& entry, Moment now) {
    std::string text = fmt::format("{}  {}", audit::format_moment(entry.time, now), shown(entry.verdict));
    if (entry.reason) text += fmt::format(" ({})", shown(entry.reason));
    if (entry.procedure) text += fmt::format("  {}.{}", shown(entry.program), shown(entry.procedure));
    for (const audit::Object& object : entry.objects)
        text += fmt::format(" {}={}{}", escape(object.kind),
                            escape(object.name.empty() ? object.uuid : object.name),
                            object.known ? "" : " (as the client calls it)");
    if (const auto request = request_of(entry); request && entry.flags != 0)
        text += " flags=" + say_flags(request->procedure->name, entry.flags);
    if (!entry.procedure) text += fmt::format("  {}", escape(entry.record));
    text += "\n  client   " + (entry.identity ? shown(entry.identity) : std::string("(no identity)"));
    if (entry.subject) text += ", certificate " + shown(entry.subject);
    if (entry.login) text += fmt::format(", login {} by {}", shown(entry.login), shown(entry.mechanism));
    if (entry.uid) text += fmt::format(", uid {}", *entry.uid);
    if (entry.source) text += ", from " + shown(entry.source);
    if (entry.listener) text += ", at " + shown(entry.listener);
    text += '\n';
    if (entry.role) text += fmt::format("  rule     role {} at {}\n", shown(entry.role), shown(entry.rule));
    if (entry.detail) text += fmt::format("  detail   {}\n", shown(entry.detail));
    if (entry.generation) text += fmt::format("  policy   generation {}\n", *entry.generation);
    return text;
}

}  // namespace virtgate::ctl::policy
