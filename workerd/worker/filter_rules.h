// SPDX-License-Identifier: LGPL-2.1-or-later
// filter_rules - what has to happen to the reply of each procedure when its client may not see everything.
//
// Most of it follows from the annotations in the schema (@returns, @key, @aclfilter). The rest is a table in
// the source: libvirt's first generation of list calls, which name objects by bare names or numbers, or only
// count them. Those are not filtered but asked in another way: the newer call says name, uuid and number of
// each object at one moment, so that nobody has to remember which number was whose.
//
// Source: proto/remote.x; flags of libvirt's public headers.
// Limits: a procedure without annotations and without an entry in the table is left alone. A test goes
//         through all procedures and fails for one that looks like a list, a count or a look-up and is in
//         neither.
// Owns:   the rules. Places and procedures are the ProgramInfo's, which must outlive them.
#pragma once

#include <string_view>
#include <vector>

#include "proto/program.h"
#include "workerd/worker/filter_errors.h"
#include "workerd/worker/filter_objects.h"

namespace virtgate::workerd::worker {

enum class ReplyAction : std::uint8_t {
    nothing,   // pass it on: `reason` says why, if one could think otherwise
    prune,     // take hidden objects out of the list; ask for the list even if only the number is wanted
    ask,       // send the call `instead`, and make the reply out of what it says
    single,    // one object: if it is hidden, the reply becomes "there is no such object"
    parent,    // the name of a device: if it is hidden, the reply says that there is none
    withhold,  // a loaded schema says more than this filter knows: the client gets an error
};

// What the client gets of the objects that `instead` has listed.
enum class Extract : std::uint8_t { count, names, uuids, ids };

// How the arguments of `instead` are made.
enum class Arguments : std::uint8_t {
    none,
    list_all,  // need_results = 1, `flags`
    volumes,   // the pool of the call, need_results = 1, `flags`
    devices,   // the capability of the call, as many names as can be, the flags of the call
    names,     // as many names as can be
};

struct ReplyRule {
    ReplyAction action = ReplyAction::nothing;
    Shape shape = Shape::domain;           // all but nothing
    std::span<const std::uint32_t> steps;  // to the object in the reply (ask: in that of `instead`)
    std::uint32_t count_field = proto::layout::k_none;  // prune: of the reply, see prune()
    std::uint32_t need_results =
        proto::layout::k_none;  // prune: the field of the arguments that asks for the list
    const proto::ProcedureInfo* instead = nullptr;  // ask
    Arguments arguments = Arguments::none;          // ask
    bool bare_names = false;                        // ask: the list has names, not objects
    std::uint32_t flags = 0;                        // ask
    std::uint32_t limit =
        proto::layout::k_none;           // ask: the field of the arguments that says how many at most
    Extract extract = Extract::count;    // ask
    By by = By::name;                    // single
    std::span<const std::uint32_t> key;  // single: to the argument that it was looked up by
    std::string_view reason;             // nothing: why
};

class ReplyRules {
public:
    // The rules of a program of libvirt's.
    explicit ReplyRules(const proto::ProgramInfo& program);
    // Of those of others: all of them `nothing`.
    ReplyRules();

    // The rule of a call of the program. O(1).
    [[nodiscard]] const ReplyRule& of(const proto::ProcedureInfo& procedure) const noexcept;
    [[nodiscard]] const proto::ProgramInfo& program() const noexcept { return program_; }

private:
    [[nodiscard]] ReplyRule make(const proto::ProcedureInfo& procedure) const;
    [[nodiscard]] ReplyRule make_list(const proto::ProcedureInfo& procedure) const;
    [[nodiscard]] ReplyRule make_single(const proto::ProcedureInfo& procedure) const;
    [[nodiscard]] ReplyRule make_ask(const proto::ProcedureInfo& procedure, std::size_t row) const;
    [[nodiscard]] std::uint32_t field(proto::TypeIndex structure, std::string_view name) const noexcept;

    const proto::ProgramInfo& program_;
    std::vector<ReplyRule> rules_;  // by number
};

}  // namespace virtgate::workerd::worker
