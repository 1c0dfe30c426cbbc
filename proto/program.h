// SPDX-License-Identifier: LGPL-2.1-or-later
// program - the procedures of a program: what is known of each before a payload is looked at.
//
// Everything comes from the schema, so that a compiled-in program and one loaded from a .schema file look the same.
//
// Owns: its lists. Texts belong to the Schema, which must outlive the ProgramInfo.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "proto/schema.h"

namespace virtgate::proto {

// Whether a call opens a stream, and who sends on it. Data may still flow both ways on a `read` stream (console).
enum class Stream : std::uint8_t {
    none,
    read,   // the server sends
    write,  // the client sends, the server never does
};

enum class ReadOnly : std::uint8_t {
    refused,
    allowed,
    conditional,  // refused if one of readonly_tests holds
};

enum class EventStyle : std::uint8_t {
    none,      // a call, or an event without registration by id
    legacy,    // the message carries no callback id
    callback,  // the callback id comes first
};

// A question about an integer of the arguments.
struct Test {
    std::string_view path;  // such as "flags"
    layout::TestKind kind;  // has: one of the bits is set; lacks: none is; is: equal
    std::uint64_t value;
    std::span<const std::uint32_t> steps;  // for locate()

    // The answer for the integer at `path`.
    [[nodiscard]] bool holds(std::uint64_t integer) const noexcept {
        switch (kind) {
            case layout::TestKind::has: return (integer & value) != 0;
            case layout::TestKind::lacks: return (integer & value) == 0;
            case layout::TestKind::is: return integer == value;
        }
        return false;
    }
};

// A permission in libvirt's terms, such as domain:read. All rules of a procedure are needed.
struct Rule {
    std::string_view object;
    std::string_view permission;
    std::span<const Test> when;  // the rule applies if one of them holds, or if there is none
};

// Where a message names an object.
struct ObjectPlace {
    std::string_view path;      // such as "domain", "msg.domain", "records[].domain"
    std::string_view object;    // such as "domain", "storage_vol", "domain_snapshot"
    std::string_view identity;  // the fields below the path that name it, separated by spaces
    std::string_view how;       // keys only: lookup, plain, xml, destination, migration_parameters, image ...
    bool list = false;          // the path passes an array
    bool nullable = false;      // the path passes an optional
    std::span<const std::uint32_t> steps;  // for locate()
};

struct ProcedureInfo {
    enum class Kind : std::uint8_t { call, event };

    std::uint32_t number = 0;
    std::string_view name;  // lower case: "domain_lookup_by_name"
    Kind kind = Kind::call;
    TypeIndex args = k_void;  // of a call, or what an event carries
    TypeIndex ret = k_void;
    std::uint32_t args_max = 0;  // the largest encoding in bytes; 2^32 - 1 means "or more"
    std::uint32_t ret_max = 0;
    Stream stream = Stream::none;
    std::uint32_t sparse_flag = 0;  // holes may travel if the call's flags have this bit; 0: never
    std::uint8_t fds_call_min = 0;
    std::uint8_t fds_call_max = 0;
    std::uint8_t fds_reply_min = 0;
    std::uint8_t fds_reply_max = 0;
    bool before_auth = false;    // may be called before authentication
    bool high_priority = false;  // may run in the priority workers
    bool internal = false;       // of one of our own control programs
    bool is_added = false;       // of a program of others (proto/programs.h): its name says nothing to libvirt's rules
    ReadOnly readonly = ReadOnly::refused;
    std::span<const Test> readonly_tests;
    std::span<const Rule> rules;           // what the caller needs
    std::span<const Rule> filters;         // what it needs for each element of the returned list
    std::span<const ObjectPlace> objects;  // in the arguments, or in the event
    std::span<const ObjectPlace> returns;  // in the reply
    std::span<const ObjectPlace> keys;     // arguments that name an object indirectly
    std::string_view event_family;         // "domain", "network", ...; empty for a call
    std::uint32_t event_id = layout::k_none;
    EventStyle event_style = EventStyle::none;
    std::string_view driver;  // the secondary driver that serves it, such as "storage"; may be empty
    std::string_view since;   // the libvirt version that added it; empty: 9.0.0 or before
    std::string_view prose;   // one line for a manual page; may be empty
};

class ProgramInfo {
public:
    // The program of `schema`, in the version of that row (0: the newest); one without procedures if there is none.
    explicit ProgramInfo(const Schema& schema, std::uint32_t row = 0);

    ProgramInfo(ProgramInfo&&) noexcept = default;
    ProgramInfo& operator=(ProgramInfo&&) = delete;
    ProgramInfo(const ProgramInfo&) = delete;
    ProgramInfo& operator=(const ProgramInfo&) = delete;

    std::uint32_t number = 0;
    std::uint32_t version = 0;
    std::string_view name;  // "remote"
    const Schema& schema;

    // The procedure of that number, or null. O(1).
    [[nodiscard]] const ProcedureInfo* find(std::uint32_t procedure) const noexcept {
        return procedure < slots_.size() && slots_[procedure] != k_empty ? &procedures_[slots_[procedure]]
                                                                         : nullptr;
    }
    // The procedure of that name, or null.
    [[nodiscard]] const ProcedureInfo* find(std::string_view procedure) const noexcept;

    // All of them, by number.
    [[nodiscard]] std::span<const ProcedureInfo> procedures() const noexcept { return procedures_; }

    // It is a program of others.
    [[nodiscard]] bool is_added() const noexcept { return is_added_; }
    void set_added() noexcept;

private:
    static constexpr std::uint16_t k_empty = 0xffff;

    void add(const std::uint32_t* row);
    [[nodiscard]] std::span<const Test> tests(std::uint32_t first, std::uint32_t count) const noexcept;

    std::vector<Test> tests_;
    std::vector<Rule> rules_;
    std::vector<ObjectPlace> objects_;
    std::vector<ProcedureInfo> procedures_;
    bool is_added_ = false;
    std::vector<std::uint16_t> slots_;  // by procedure number: its place in procedures_
};

}  // namespace virtgate::proto
