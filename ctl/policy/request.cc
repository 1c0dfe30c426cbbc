// SPDX-License-Identifier: LGPL-2.1-or-later
// request - a client and a call, from words.
#include "ctl/policy/request.h"

#include <algorithm>
#include <charconv>

#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "policy/flag_names.h"
#include "proto/programs.h"

namespace virtgate::ctl::policy {

using virtgate::policy::Object;
using virtgate::policy::ObjectKind;
using virtgate::policy::Uuid;

namespace {

Result<std::uint32_t> parse_id(std::string_view text) {
    std::uint32_t id = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (error != std::errc{} || end != text.data() + text.size())
        return peer_fault(fmt::format("\"{}\" is no number of a user or a group", escape(text, 32)));
    return id;
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

Result<const proto::ProcedureInfo*> find_procedure(std::string_view word,
                                                   const proto::ProgramInfo*& program) {
    const auto dot = word.find('.');
    const std::string name = to_lower(dot == word.npos ? word : word.substr(dot + 1));
    program = &proto::remote_program();
    for (const auto* each : {&proto::qemu_program(), &proto::lxc_program()})
        if (dot != word.npos && to_lower(word.substr(0, dot)) == each->name) program = each;
    if (const auto* found = program->find(name)) return found;
    std::vector<std::string> known;
    for (const auto& procedure : program->procedures()) known.push_back(to_upper(procedure.name));
    return peer_fault(
        fmt::format("there is no procedure \"{}\"{}", escape(word, 64), did_you_mean(to_upper(name), known)));
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

}  // namespace

Result<proto::who::Who> make_who(const ClientWords& words) {
    proto::who::Who who;
    who.source = words.source;
    who.listener = words.listener;
    if (!words.subject.empty() || !words.san_dns.empty()) {
        auto& facts = who.certificate.emplace();
        std::string_view rest = words.subject;
        while (!rest.empty()) {
            const auto comma = rest.find(',');
            const std::string_view part = rest.substr(0, comma);
            rest = comma == rest.npos ? std::string_view{} : rest.substr(comma + 1);
            const auto equals = part.find('=');
            if (equals == part.npos || equals == 0)
                return peer_fault(
                    fmt::format("\"{}\" is no attribute: write CN=alice,O=Acme", escape(part, 64)));
            facts.subject.push_back(
                {std::string(part.substr(0, equals)), std::string(part.substr(equals + 1))});
        }
        for (const std::string& name : words.san_dns)
            facts.names.push_back({proto::who::AlternativeNameKind::name_dns, name});
    }
    if (!words.sasl.empty()) who.login = {.mechanism = words.mechanism, .name = words.sasl};
    if (!words.uid.empty()) {
        const auto uid = parse_id(words.uid);
        const auto gid = parse_id(words.gid.empty() ? words.uid : words.gid);
        if (!uid || !gid) return tl::unexpected(uid ? gid.error() : uid.error());
        who.local.emplace();
        who.local->uid = *uid;
        who.local->gid = *gid;
        who.local_counts = true;
    }
    if (who.listener.empty()) who.listener = who.local ? "unix" : "tls";
    who.strength = who.local ? 0 : words.strength;
    return who;
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
    std::string flag_words;
    for (int i = 0; i < 64; ++i) {
        const std::uint64_t bit = std::uint64_t{1} << i;
        if ((flags & bit) == 0) continue;
        const std::string_view name = virtgate::policy::name_of_flag(procedure->name, bit);
        flag_words += flag_words.empty() ? "" : ",";
        flag_words += name.empty() ? fmt::format("0x{:x}", bit) : std::string(name);
    }
    return flag_words.empty() ? text : fmt::format("{} flags={}", text, flag_words);
}

Result<Request> parse_request(const std::vector<std::string>& words) {
    if (words.empty()) return peer_fault("which call? For example: DOMAIN_CREATE domain=web-1");
    Request request;
    const auto procedure = find_procedure(words.front(), request.program);
    if (!procedure) return tl::unexpected(procedure.error());
    request.procedure = *procedure;
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
        if (!kind) return peer_fault(fmt::format("\"{}\" is no kind of object", escape(key, 64)));
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
