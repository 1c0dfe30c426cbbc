// SPDX-License-Identifier: LGPL-2.1-or-later
// record - one thing that happened, as the auditor writes it: a JSON object, and a sentence for people.
#include "workerd/auditor/record.h"

#include <fmt/format.h>

#include <algorithm>

#include "libshared/base/bytes.h"
#include "policy/touch.h"
#include "proto/programs.h"

namespace virtgate::workerd::auditor {

namespace audit = proto::audit;
using Json = nlohmann::ordered_json;

namespace {

constexpr int k_warning = 4, k_notice = 5, k_information = 6;

std::string_view to_text(Kind kind) {
    switch (kind) {
        case Kind::call: return "call";
        case Kind::session: return "session";
        case Kind::session_end: return "session-end";
        case Kind::policy: return "policy";
        case Kind::dropped: return "dropped";
        case Kind::lock_broken: return "lock-broken";
    }
    return "";
}

std::string_view to_text(audit::AuditVerdict verdict) {
    switch (verdict) {
        case audit::AuditVerdict::verdict_allowed: return "allowed";
        case audit::AuditVerdict::verdict_refused: return "refused";
        case audit::AuditVerdict::verdict_shadowed: return "shadowed";
    }
    return "";
}

// The words of policy::to_text(Reason), and two of the worker's own.
std::string_view to_text(audit::AuditReason reason) {
    switch (reason) {
        case audit::AuditReason::reason_allowed: return "";
        case audit::AuditReason::reason_no_binding: return "no-binding";
        case audit::AuditReason::reason_deny_rule: return "deny-rule";
        case audit::AuditReason::reason_object: return "object";
        case audit::AuditReason::reason_flag: return "flag";
        case audit::AuditReason::reason_hard_deny: return "hard-deny";
        case audit::AuditReason::reason_limit: return "limit";
        case audit::AuditReason::reason_constraint: return "constraint";
        case audit::AuditReason::reason_read_only: return "read-only";
        case audit::AuditReason::reason_redacted: return "redacted";
    }
    return "";
}

std::string_view to_text(Fate fate) {
    switch (fate) {
        case Fate::none: return "";
        case Fate::done: return "done";
        case Fate::error: return "error";
        case Fate::lost: return "lost";
        case Fate::unknown: return "unknown";
    }
    return "";
}

std::string to_text(const audit::RulePlace& place) {
    return place.file.empty() ? std::string{} : fmt::format("{}:{}", place.file, place.line);
}

std::string kind_of(const audit::AuditObject& object) {
    return std::string{policy::to_text(static_cast<policy::ObjectKind>(object.kind))};
}

std::string format_uuid(ByteView bytes) {
    std::string text = to_hex(bytes);
    if (text.size() == 32)
        for (const std::size_t hyphen : {8, 13, 18, 23}) text.insert(hyphen, 1, '-');
    return text;
}

// A word of a sentence that somebody else chose. What is not plainly one word stands in quotes, so that a name cannot
// play a part of the sentence.
std::string quote(std::string_view text) {
    constexpr std::string_view k_plain =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+@/";
    constexpr std::size_t k_shown_max = 256;
    const bool plain = !text.empty() && text.find_first_not_of(k_plain) == std::string_view::npos;
    return plain && text.size() <= k_shown_max ? std::string{text}
                                               : fmt::format("\"{}\"", escape(text, k_shown_max));
}

// Adds what is there.
void add(Json& json, const char* key, std::string_view text) {
    if (!text.empty()) json[key] = text;
}

Json start(Kind kind, Moment time) {
    Json json = Json::object();
    json["time"] = format_time(time);
    json["record"] = to_text(kind);
    return json;
}

void add_client(Json& json, const Client& client, std::uint64_t session) {
    add(json, "identity", client.identity);
    if (session != 0) json["session"] = session;
    add(json, "subject", client.subject);
    add(json, "fingerprint", client.fingerprint);
    add(json, "login", client.login);
    add(json, "mechanism", client.mechanism);
    if (client.local) {
        json["uid"] = client.local->uid;
        json["gid"] = client.local->gid;
        json["pid"] = client.local->pid;
    }
    add(json, "source", client.source);
    if (client.port != 0) json["port"] = client.port;
    add(json, "listener", client.listener);
}

void add_objects(Json& json, const audit::DecisionArgs& decision) {
    if (decision.objects.empty()) return;
    Json& list = json["objects"] = Json::array();
    for (const audit::AuditObject& object : decision.objects) {
        Json one = Json::object();
        one["kind"] = kind_of(object);
        add(one, "name", object.name);
        if (!object.uuid.empty()) one["uuid"] = format_uuid(object.uuid);
        one["known"] = object.known;
        list.push_back(std::move(one));
    }
    if (decision.more_objects != 0) json["more_objects"] = decision.more_objects;
}

// A procedure that this version does not know has its number for a name.
std::string name_of_procedure(const audit::DecisionArgs& decision) {
    const auto* program = proto::find_program(decision.program, decision.version);
    const auto* procedure = program != nullptr ? program->find(decision.procedure) : nullptr;
    return procedure != nullptr ? to_upper(procedure->name) : fmt::format("{}", decision.procedure);
}

std::string name_of_program(const audit::DecisionArgs& decision) {
    const auto* program = proto::find_program(decision.program, decision.version);
    return program != nullptr ? std::string{program->name}
                              : fmt::format("{:#x}:{}", decision.program, decision.version);
}

// "who" in a sentence: the identity, or what the client has shown.
std::string name_of_client(const Client& client) {
    const std::string& best = !client.identity.empty()  ? client.identity
                              : !client.subject.empty() ? client.subject
                                                        : client.login;
    if (!best.empty()) return quote(best);
    return client.local ? fmt::format("uid {}", client.local->uid) : "somebody";
}

// ", role operator at 20-bindings.toml:12"
std::string describe_place(const std::optional<audit::RulePlace>& place) {
    if (!place || (place->role.empty() && place->file.empty())) return {};
    std::string text = place->role.empty() ? std::string{","} : fmt::format(", role {}", quote(place->role));
    if (!place->file.empty()) text += fmt::format(" at {}:{}", quote(place->file), place->line);
    return text;
}

// "alice refused DOMAIN_DESTROY domain=db-1: object, role operator at 20-bindings.toml:12"
std::string describe_call(const Client& client, const audit::DecisionArgs& decision, const Ending& ending,
                          std::string_view procedure) {
    std::string text = fmt::format("{} {} {}", name_of_client(client), to_text(decision.verdict), procedure);
    for (const audit::AuditObject& object : decision.objects)
        text += fmt::format(
            " {}={}", kind_of(object),
            object.name.empty() && !object.uuid.empty() ? format_uuid(object.uuid) : quote(object.name));
    if (decision.more_objects != 0) text += fmt::format(" and {} more", decision.more_objects);
    const std::string_view reason = to_text(decision.reason), result = to_text(ending.fate);
    text += fmt::format(": {}{}{}", reason, reason.empty() || result.empty() ? "" : ", ", result);
    if (ending.fate == Fate::error) text += fmt::format(" {}", ending.error);
    if (!decision.detail.empty()) text += fmt::format(" ({})", quote(decision.detail));
    return text + describe_place(decision.place);
}

int priority_of(audit::AuditVerdict verdict, Fate fate) {
    const bool usual = verdict == audit::AuditVerdict::verdict_allowed && fate != Fate::lost;
    return usual ? k_information : k_notice;
}

}  // namespace

Client make_client(const audit::ArrivalArgs& arrival) {
    const proto::who::Who& who = arrival.client;
    Client client;
    client.identity = arrival.identity;
    if (who.certificate) {
        client.subject = who.certificate->subject_text;
        client.fingerprint = to_hex(who.certificate->fingerprint);
    }
    if (who.login) {
        client.login = who.login->name;
        client.mechanism = who.login->mechanism;
    }
    if (who.local) {
        client.local = who.local;
        client.local->groups = {};
    }
    client.source = who.source;
    client.port = who.source_port;
    client.listener = who.listener;
    return client;
}

Record make_call(Moment time, const Client& client, const audit::DecisionArgs& decision,
                 const Ending& ending) {
    Json json = start(Kind::call, time);
    json["verdict"] = to_text(decision.verdict);
    if (decision.verdict != audit::AuditVerdict::verdict_allowed)
        add(json, "reason", to_text(decision.reason));
    add_client(json, client, decision.session);
    const std::string procedure = name_of_procedure(decision);
    json["program"] = name_of_program(decision);
    json["procedure"] = procedure;
    if (decision.flags != 0) json["flags"] = decision.flags;
    add_objects(json, decision);
    if (decision.place) {
        add(json, "role", decision.place->role);
        add(json, "rule", to_text(*decision.place));
    }
    add(json, "detail", decision.detail);
    if (decision.shadow) {
        add(json, "shadow_role", decision.shadow->role);
        add(json, "shadow_rule", to_text(*decision.shadow));
    }
    json["generation"] = decision.generation;
    json["serial"] = decision.serial;
    json["decision_us"] = decision.duration;
    if (ending.duration) json["duration_us"] = *ending.duration;
    add(json, "result", to_text(ending.fate));
    if (ending.fate == Fate::error) json["error"] = ending.error;
    return {.kind = Kind::call,
            .priority = priority_of(decision.verdict, ending.fate),
            .json = std::move(json),
            .message = describe_call(client, decision, ending, procedure)};
}

Record make_session(Moment time, const Client& client, const audit::ArrivalArgs& arrival) {
    const bool admitted = arrival.reason.empty();
    Json json = start(Kind::session, time);
    json["verdict"] = admitted ? "allowed" : "refused";
    add(json, "reason", arrival.reason);
    add_client(json, client, arrival.session);
    add(json, "role", arrival.place.role);
    add(json, "rule", to_text(arrival.place));
    add(json, "detail", arrival.detail);
    json["generation"] = arrival.generation;

    std::string message = admitted ? fmt::format("{} has session {}", name_of_client(client), arrival.session)
                                   : fmt::format("{} has no session", name_of_client(client));
    if (!client.source.empty()) message += fmt::format(", from {}", quote(client.source));
    if (!client.listener.empty()) message += fmt::format(" ({})", quote(client.listener));
    if (!admitted) message += fmt::format(": {}", quote(arrival.reason));
    if (!arrival.detail.empty()) message += fmt::format(" ({})", quote(arrival.detail));
    return {.kind = Kind::session,
            .priority = admitted ? k_information : k_notice,
            .json = std::move(json),
            .message = message + describe_place(arrival.place)};
}

Record make_session_end(Moment time, const Client& client, std::uint64_t session,
                        std::chrono::microseconds lasted) {
    // A clock that was set back makes no negative time.
    const auto duration = std::max(lasted, std::chrono::microseconds{0});
    Json json = start(Kind::session_end, time);
    add_client(json, client, session);
    json["duration_us"] = duration.count();
    return {.kind = Kind::session_end,
            .priority = k_information,
            .json = std::move(json),
            .message = fmt::format("{}: session {} ended after {} s", name_of_client(client), session,
                                   duration.count() / 1'000'000)};
}

Record make_policy(Moment time, const audit::PolicyArgs& policy) {
    Json json = start(Kind::policy, time);
    json["verdict"] = policy.accepted ? "allowed" : "refused";
    json["detail"] = fmt::format("{} identities", policy.identities);
    json["generation"] = policy.generation;
    const char* const sentence = policy.accepted
                                     ? "policy {} is in force, with {} identities"
                                     : "a new policy has errors; policy {} stays, with {} identities";
    return {.kind = Kind::policy,
            .priority = policy.accepted ? k_notice : k_warning,
            .json = std::move(json),
            .message = fmt::format(fmt::runtime(sentence), policy.generation, policy.identities)};
}

Record make_broken(Moment time, const audit::BrokenArgs& broken) {
    const bool is_done = broken.error == 0;
    const std::string name = broken.space.empty() ? broken.resource : broken.space + "/" + broken.resource;
    Json json = start(Kind::lock_broken, time);
    if (broken.session != 0) json["session"] = broken.session;
    json["uid"] = broken.uid;
    json["pid"] = broken.process;
    json["objects"] = Json::array({{{"kind", "lock"}, {"name", name}, {"known", true}}});
    add(json, "owner", broken.owner);
    if (is_done) json["owner_lives"] = broken.lives != 0;
    add(json, "detail", broken.reason);
    json["result"] = to_text(is_done ? Fate::done : Fate::error);
    if (!is_done) json["error"] = broken.error;
    const std::string who = fmt::format("uid {} (process {})", broken.uid, broken.process);
    std::string message =
        is_done ? fmt::format("{} broke the lock on {} of {}{}", who, quote(name), quote(broken.owner),
                              broken.lives != 0 ? ", who lives and may go on writing" : "")
                : fmt::format("{} could not break the lock on {}: error {}", who, quote(name), broken.error);
    return {.kind = Kind::lock_broken,
            .priority = is_done ? k_warning : k_notice,
            .json = std::move(json),
            .message = message + fmt::format(" ({})", quote(broken.reason))};
}

Record make_dropped(Moment time, std::string_view identity, std::uint64_t count, std::string_view detail) {
    Json json = start(Kind::dropped, time);
    add(json, "identity", identity);
    add(json, "detail", detail);
    if (count != 0) json["dropped"] = count;
    std::string message = count != 0 ? fmt::format("{} records were dropped", count) : "records are missing";
    if (!identity.empty()) message += fmt::format(", of {}", quote(identity));
    if (!detail.empty()) message += fmt::format(": {}", escape(detail));
    return {
        .kind = Kind::dropped, .priority = k_warning, .json = std::move(json), .message = std::move(message)};
}

std::string to_line(const Record& record) {
    return record.json.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}

std::string format_time(Moment time) {
    const auto day = std::chrono::floor<std::chrono::days>(time);
    const std::chrono::year_month_day date{day};
    const std::chrono::hh_mm_ss clock{time - day};
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", static_cast<int>(date.year()),
                       static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                       clock.hours().count(), clock.minutes().count(), clock.seconds().count(),
                       clock.subseconds().count());
}

}  // namespace virtgate::workerd::auditor
