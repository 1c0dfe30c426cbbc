// SPDX-License-Identifier: LGPL-2.1-or-later
// scrutiny_rig - a session's scrutiny between a client and a daemon that are both played by the test.
//
// The daemon has objects of each kind called "mine", on which all calls are allowed, "seen", on which only few are, and
// "theirs", which must not be there for the client.
#pragma once

#include <criterion/criterion.h>

#include <array>
#include <set>

#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "proto/programs.h"
#include "proto/remote.h"
#include "workerd/worker/scrutiny.h"

namespace virtgate::test {

using namespace virtgate::workerd::worker;
using policy::ObjectKind;
using policy::Rights;
using policy::Uuid;
using proto::ProcedureInfo;
using proto::policy::Grant;
using proto::policy::PatternKind;
using Ruling = Scrutiny::Ruling;
using Outcome = Scrutiny::Outcome;
namespace remote = proto::remote;

inline const proto::ProgramInfo& program() { return proto::remote_program(); }

inline const ProcedureInfo& procedure(std::string_view name) {
    const auto* info = program().find(name);
    cr_assert_not_null(info, "%s", std::string(name).c_str());
    return *info;
}

inline Uuid uuid(unsigned char first) { return {std::byte{first}, std::byte{0x5e}}; }
inline const Uuid k_mine = uuid(1), k_seen = uuid(2), k_theirs = uuid(3), k_nobody = uuid(9);

// ---- rights ----------------------------------------

inline void set(proto::who::Ceiling& ceiling, const ProcedureInfo& info) {
    if (ceiling.programs.empty()) ceiling.programs.push_back({program().number, program().version, {}});
    auto& bytes = ceiling.programs[0].procedures;
    if (bytes.size() <= info.number / 8) bytes.resize(info.number / 8 + 1);
    bytes[info.number / 8] |= std::byte{1} << (info.number % 8);
}

inline Grant grant_of(std::vector<std::string_view> names) {
    Grant grant;
    grant.role = "r";
    grant.file = "f.toml";
    grant.line = 3;
    for (const std::string_view name : names) set(grant.may, procedure(name));
    return grant;
}

inline Grant grant_all_calls() {
    Grant grant = grant_of({});
    for (const ProcedureInfo& info : program().procedures()) set(grant.may, info);
    return grant;
}

inline void add(Grant& grant, ObjectKind kind, std::string_view text) {
    grant.objects.push_back(
        {static_cast<proto::policy::ObjectKind>(kind),
         text.find('*') != text.npos ? PatternKind::pattern_glob : PatternKind::pattern_exact,
         std::string(text)});
}

inline Grant on(Grant grant, std::string_view name) {
    for (const ObjectKind kind :
         {ObjectKind::domain, ObjectKind::network, ObjectKind::pool, ObjectKind::secret, ObjectKind::nodedev,
          ObjectKind::interface, ObjectKind::nwfilter})
        add(grant, kind, name);
    add(grant, ObjectKind::volume, std::string(name) + "/*");
    return grant;
}

// What may be done with "seen".
inline constexpr std::string_view k_on_seen[] = {"domain_get_state", "network_is_active",
                                                 "storage_pool_get_info", "secret_get_xml_desc",
                                                 "nwfilter_get_xml_desc"};

inline std::shared_ptr<const Rights> rights(std::vector<Grant> grants) {
    return std::make_shared<const Rights>(proto::policy::IdentityRights{
        .generation = 1, .identity = "a", .grants = std::move(grants), .limits = {}});
}

inline std::shared_ptr<const Rights> usual_rights() {
    Grant mine = on(grant_all_calls(), "mine");
    add(mine, ObjectKind::path, "/srv");
    add(mine, ObjectKind::migrate_uri, "tcp://10.0.0.0/8");
    return rights({mine, on(grant_of({std::begin(k_on_seen), std::end(k_on_seen)}), "seen")});
}

// ---- a daemon ----------------------------------------

template <class T>
ByteVector encode(const T& value) {
    auto bytes = proto::encode(value);
    cr_assert(bytes.has_value());
    return *bytes;
}

inline std::string name_of(const Uuid& which) {
    return which == k_mine ? "mine" : which == k_seen ? "seen" : which == k_theirs ? "theirs" : "";
}
inline Uuid uuid_of(std::string_view name) {
    return name == "mine" ? k_mine : name == "seen" ? k_seen : name == "theirs" ? k_theirs : k_nobody;
}

template <class T>
std::array<std::byte, 16> asked_uuid(ByteView args) {
    const auto decoded = proto::decode<T>(args);
    cr_assert(decoded.has_value());
    return decoded->uuid;
}

struct Answer {
    rpc::Status status = rpc::Status::ok;
    ByteVector payload{};
};

inline Answer error(int code) {
    return {rpc::Status::error, rpc::make_error_payload(code, "no such object", 10)};
}

// What the daemon says to a question.
inline Answer look_up(const rpc::Header& header, ByteView args) {
    const std::string_view name = program().find(header.procedure)->name;
    if (name == "domain_lookup_by_uuid") {
        const Uuid which = asked_uuid<remote::DomainLookupByUuidArgs>(args);
        if (name_of(which).empty()) return error(42);
        return {{}, encode(remote::DomainLookupByUuidRet{{name_of(which), which, -1}})};
    }
    if (name == "network_lookup_by_uuid") {
        const Uuid which = asked_uuid<remote::NetworkLookupByUuidArgs>(args);
        if (name_of(which).empty()) return error(43);
        return {{}, encode(remote::NetworkLookupByUuidRet{{name_of(which), which}})};
    }
    if (name == "storage_pool_lookup_by_uuid") {
        const Uuid which = asked_uuid<remote::StoragePoolLookupByUuidArgs>(args);
        if (name_of(which).empty()) return error(49);
        return {{}, encode(remote::StoragePoolLookupByUuidRet{{name_of(which), which}})};
    }
    if (name == "secret_lookup_by_uuid") {
        const Uuid which = asked_uuid<remote::SecretLookupByUuidArgs>(args);
        if (name_of(which).empty()) return error(66);
        return {{}, encode(remote::SecretLookupByUuidRet{{which, 1, name_of(which)}})};
    }
    if (name == "nwfilter_lookup_by_uuid") {
        const Uuid which = asked_uuid<remote::NwfilterLookupByUuidArgs>(args);
        if (name_of(which).empty()) return error(62);
        return {{}, encode(remote::NwfilterLookupByUuidRet{{name_of(which), which}})};
    }
    if (name == "nwfilter_binding_lookup_by_port_dev") {
        const auto decoded = proto::decode<remote::NwfilterBindingLookupByPortDevArgs>(args);
        const std::string filter = decoded->name.starts_with("port-") ? decoded->name.substr(5) : "";
        if (filter.empty()) return error(101);
        return {{}, encode(remote::NwfilterBindingLookupByPortDevRet{{decoded->name, filter}})};
    }
    if (name == "network_lookup_by_name") {
        const auto decoded = proto::decode<remote::NetworkLookupByNameArgs>(args);
        if (uuid_of(decoded->name) == k_nobody) return error(43);
        return {{}, encode(remote::NetworkLookupByNameRet{{decoded->name, uuid_of(decoded->name)}})};
    }
    cr_assert(false, "asked %s", std::string(name).c_str());
    return {};
}

// ---- a session ----------------------------------------

struct Rig {
    explicit Rig(std::shared_ptr<const Rights> given = usual_rights()) : scrutiny(std::move(given)) {}

    rpc::Header header(std::string_view name, std::uint32_t serial = 1) const {
        return {program().number, program().version, procedure(name).number, rpc::Type::call,
                serial,           rpc::Status::ok};
    }

    Ruling start(std::string_view name, ByteVector args, std::uint32_t serial = 1) {
        return scrutiny.on_call(header(name, serial), program(), procedure(name), args, is_used);
    }

    // The answer to what a ruling asks.
    Outcome answer(const Ruling& ruling) {
        cr_assert_eq(ruling.kind, Ruling::Kind::ask);
        cr_assert(scrutiny.is_asking());
        ++questions;
        rpc::Header asked = rpc::read_header(ruling.frame.data());
        cr_assert(!is_used(asked));
        Answer said = look_up(asked, ByteView(ruling.frame).subspan(rpc::k_frame_min));
        asked.type = rpc::Type::reply;
        asked.status = said.status;
        cr_assert(scrutiny.wants(asked));
        return scrutiny.on_frame(asked, said.payload, is_used);
    }

    // What becomes of a call in the end.
    Ruling call(std::string_view name, const ByteVector& args, std::uint32_t serial = 1) {
        Ruling ruling = start(name, args, serial);
        while (ruling.kind == Ruling::Kind::ask) {
            Outcome outcome = answer(ruling);
            cr_assert_eq(outcome.kind, Outcome::Kind::resume);
            cr_assert(outcome.held == header(name, serial));
            if (outcome.ruling.kind != Ruling::Kind::ask)
                cr_assert(outcome.held_frame == rpc::make_frame(outcome.held, args),
                          "the call is sent as it was");
            ruling = std::move(outcome.ruling);
        }
        cr_assert(!scrutiny.is_asking());
        if (ruling.kind == Ruling::Kind::refuse) cr_assert(!ruling.log.empty());
        return ruling;
    }

    Outcome reply(const rpc::Header& asked, ByteVector payload, rpc::Status status = rpc::Status::ok) {
        const rpc::Header header = rpc::reply_to(asked, status);
        cr_assert(scrutiny.wants(header), "%u", header.procedure);
        return scrutiny.on_frame(header, payload, is_used);
    }

    Outcome event(std::string_view name, ByteVector payload, bool wanted = true) {
        const rpc::Header header{
            program().number, program().version, procedure(name).number, rpc::Type::message, 0,
            rpc::Status::ok};
        cr_assert_eq(scrutiny.wants(header), wanted, "%s", std::string(name).c_str());
        return scrutiny.on_frame(header, payload, is_used);
    }

    Scrutiny scrutiny;
    std::set<std::array<std::uint32_t, 2>> open{};  // procedure, serial
    Scrutiny::IsUsed is_used = [this](const rpc::Header& each) {
        return open.contains({each.procedure, each.serial});
    };
    unsigned questions = 0;
};

inline ByteView payload_of(const Outcome& outcome) {
    cr_assert_eq(outcome.kind, Outcome::Kind::forward);
    return ByteView(outcome.frame).subspan(rpc::k_frame_min);
}

inline proto::net::Error error_of(const Outcome& outcome) {
    cr_assert_eq(rpc::read_header(outcome.frame.data()).status, rpc::Status::error);
    const auto decoded = proto::decode<proto::net::Error>(payload_of(outcome));
    cr_assert(decoded.has_value());
    return *decoded;
}

template <class T>
T value_of(const Outcome& outcome) {
    cr_assert_eq(rpc::read_header(outcome.frame.data()).status, rpc::Status::ok);
    auto decoded = proto::decode<T>(payload_of(outcome));
    cr_assert(decoded.has_value());
    return *decoded;
}

inline remote::Domain domain(std::string_view name, const Uuid& which) {
    return {std::string(name), which, 7};
}
inline remote::Domain domain(std::string_view name) { return domain(name, uuid_of(name)); }

inline bool passes(const Ruling& ruling) { return ruling.kind == Ruling::Kind::pass; }
inline bool is_denied(const Ruling& ruling) {
    return ruling.kind == Ruling::Kind::refuse && ruling.error.code == 88 && ruling.error.domain == 55 &&
           ruling.error.message->starts_with("access denied: ") &&
           ruling.error.message->find("theirs") == std::string::npos;
}

}  // namespace virtgate::test
