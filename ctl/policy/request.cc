// SPDX-License-Identifier: LGPL-2.1-or-later
// request - a client and a call, from words.
#include "ctl/policy/request.h"

#include <algorithm>
#include <charconv>

#include "ctl/pki/client.h"
#include "ctl/policy/subject.h"
#include "ctl/policy/words.h"
#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "policy/flag_names.h"
#include "policy/words.h"
#include "proto/programs.h"

namespace virtgate::ctl::policy {

using virtgate::policy::Object;
using virtgate::policy::ObjectKind;
using virtgate::policy::Uuid;

namespace {

constexpr std::string_view k_tls_version = "1.3";
constexpr std::uint32_t k_tls_strength = 256;

std::vector<std::string_view> known_kinds() {
    std::vector<std::string_view> words;
    for (std::size_t i = 0; i < virtgate::policy::k_kinds; ++i)
        words.push_back(virtgate::policy::to_text(static_cast<ObjectKind>(i)));
    return words;
}

Result<std::uint32_t> parse_number(std::string_view text, std::string_view what) {
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size())
        return peer_fault(fmt::format("\"{}\" is no number of {}", escape(text, 32), what));
    return number;
}

Done add_flags(std::string_view list, Request& request) {
    while (!list.empty()) {
        const auto comma = list.find(',');
        const std::string flag = to_upper(list.substr(0, comma));
        list = comma == list.npos ? std::string_view{} : list.substr(comma + 1);
        const auto bits = virtgate::policy::find_flag(request.procedure->name,
                                                      flag.starts_with("0X") ? to_lower(flag) : flag);
        if (!bits)
            return peer_fault(
                fmt::format("{} has no flag \"{}\"{}", to_upper(request.procedure->name), escape(flag, 64),
                            did_you_mean(flag, virtgate::policy::flags_of(request.procedure->name))));
        request.flags |= *bits;
    }
    return {};
}

Done add_certificate(const ClientWords& words, proto::who::Who& who) {
    const bool is_told = !words.subject.empty() || !words.san_dns.empty();
    if (!words.certificate.empty()) {
        if (is_told) return peer_fault("--cert says what --subject and --san-dns would: leave them out");
        auto facts = pki::read_client(words.certificate);
        if (!facts) return tl::unexpected(facts.error());
        who.certificate = std::move(*facts);
    } else if (is_told) {
        auto subject = parse_subject(words.subject);
        if (!subject) return tl::unexpected(subject.error());
        who.certificate.emplace().subject = std::move(*subject);
        for (const std::string& name : words.san_dns)
            who.certificate->names.push_back({proto::who::AlternativeNameKind::name_dns, name});
    }
    return {};
}

Done add_local(const ClientWords& words, proto::who::Who& who) {
    if (words.uid.empty() && words.gid.empty()) return {};
    if (words.uid.empty()) return peer_fault("--gid needs --uid");
    const auto uid = parse_number(words.uid, "a user");
    const auto gid = parse_number(words.gid.empty() ? words.uid : words.gid, "a group");
    if (!uid || !gid) return tl::unexpected(uid ? gid.error() : uid.error());
    who.local.emplace();
    who.local->uid = *uid;
    who.local->gid = *gid;
    who.local_counts = true;
    return {};
}

// Where it comes in, and how strong its encryption is. What is not told is what is usual.
Done add_way(const ClientWords& words, proto::who::Who& who) {
    const bool is_local = who.local || words.listener == "unix" || words.listener == "unix-ro";
    if (!words.tls.empty() && words.tls != k_tls_version)
        return peer_fault(fmt::format("\"{}\": clients come over TLS {} or not at all", escape(words.tls, 16),
                                      k_tls_version));
    who.listener = words.listener;
    if (who.listener.empty()) who.listener = is_local ? "unix" : "tls";
    if (std::find(k_listeners.begin(), k_listeners.end(), who.listener) == k_listeners.end())
        return peer_fault(fmt::format("there is no listener \"{}\"{}", escape(who.listener, 32),
                                      did_you_mean(who.listener, k_listeners)));
    if (!words.tls.empty() && who.listener != "tls")
        return peer_fault(fmt::format("there is no TLS at the listener {}", who.listener));
    who.source = words.source;
    who.read_only = who.listener == "unix-ro";
    who.strength = who.listener == "tls" ? k_tls_strength : 0;
    if (words.strength.empty()) return {};
    const auto strength = parse_number(words.strength, "bits");
    if (!strength) return tl::unexpected(strength.error());
    who.strength = *strength;
    return {};
}

}  // namespace

Result<proto::who::Who> make_who(const ClientWords& words) {
    proto::who::Who who;
    for (const auto add : {add_certificate, add_local, add_way})
        if (const Done done = add(words, who); !done) return tl::unexpected(done.error());
    if (!words.sasl.empty())
        who.login = {.mechanism = words.mechanism, .name = words.sasl};
    else if (!words.mechanism.empty())
        return peer_fault("--mech says how --sasl was proved: add it");
    return who;
}

std::optional<Uuid> parse_uuid(std::string_view text) {
    std::string digits;
    std::copy_if(text.begin(), text.end(), std::back_inserter(digits), [](char c) { return c != '-'; });
    Uuid uuid{};
    if (digits.size() != 2 * uuid.size()) return std::nullopt;
    for (std::size_t i = 0; i < uuid.size(); ++i) {
        unsigned byte = 0;
        const char* start = digits.data() + 2 * i;
        if (const auto [end, error] = std::from_chars(start, start + 2, byte, 16);
            error != std::errc{} || end != start + 2)
            return std::nullopt;
        uuid[i] = static_cast<std::byte>(byte);
    }
    return uuid;
}

Result<ProcedureWord> find_procedure(std::string_view word) {
    const auto dot = word.find('.');
    const std::string name = to_lower(dot == word.npos ? word : word.substr(dot + 1));
    const proto::ProgramInfo* program = dot == word.npos ? &proto::remote_program() : nullptr;
    // The newest version of a program comes first.
    for (const auto* each : proto::session_programs())
        if (program == nullptr && to_lower(word.substr(0, dot)) == each->name) program = each;
    if (program == nullptr)
        return peer_fault(fmt::format("\"{}\" begins with no program: {}", escape(word, 64),
                                      virtgate::policy::list_programs()));
    if (const auto* found = program->find(name)) return ProcedureWord{program, found};
    std::vector<std::string> known;
    for (const auto& procedure : program->procedures()) known.push_back(to_upper(procedure.name));
    return peer_fault(
        fmt::format("there is no procedure \"{}\"{}", escape(word, 64), did_you_mean(to_upper(name), known)));
}

std::vector<Object> Request::objects() const {
    std::vector<Object> list;
    for (std::size_t i = 0; i < names.size(); ++i)
        list.push_back({names[i].first, names[i].second, uuids[i]});
    return list;
}

std::string Request::describe() const {
    std::string text = to_upper(procedure->name);
    for (const auto& [kind, name] : names)
        text += fmt::format(" {}={}", virtgate::policy::to_text(kind), escape(name, 256));
    return flags == 0 ? text : fmt::format("{} flags={}", text, say_flags(procedure->name, flags));
}

Result<Request> parse_request(const std::vector<std::string>& words) {
    if (words.empty()) return peer_fault("which call? For example: DOMAIN_CREATE domain=web-1");
    Request request;
    const auto procedure = find_procedure(words.front());
    if (!procedure) return tl::unexpected(procedure.error());
    request.program = procedure->program;
    request.procedure = procedure->procedure;
    for (std::size_t i = 1; i < words.size(); ++i) {
        const std::string_view word = words[i];
        const auto equals = word.find('=');
        const std::string_view key = word.substr(0, equals);
        if (equals == word.npos)
            return peer_fault(fmt::format("\"{}\" is neither KIND=NAME nor flags=FLAG", escape(word, 64)));
        const std::string_view value = word.substr(equals + 1);
        if (key == "flags") {
            if (const Done done = add_flags(value, request); !done) return tl::unexpected(done.error());
            continue;
        }
        const auto kind = virtgate::policy::parse_kind(key);
        if (!kind)
            return peer_fault(fmt::format("\"{}\" is no kind of object{}", escape(key, 64),
                                          did_you_mean(key, known_kinds())));
        const auto comma = value.find(",uuid:");
        std::optional<Uuid> uuid;
        if (comma != value.npos) {
            uuid = parse_uuid(value.substr(comma + 6));
            if (!uuid) return peer_fault(fmt::format("\"{}\" ends in no UUID", escape(value, 128)));
        }
        request.names.emplace_back(*kind, std::string(value.substr(0, comma)));
        request.uuids.push_back(uuid);
    }
    return request;
}

}  // namespace virtgate::ctl::policy
