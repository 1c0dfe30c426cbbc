// SPDX-License-Identifier: LGPL-2.1-or-later
// filter - replies and events without what the client may not see.
//
// For a client that may see only some objects the session makes one ReplyFilter per call that needs it,
// before the call goes to the daemon, and gives it the reply. A client cannot tell a hidden object from one
// that does not exist: it is in no list, in no count, in no event, and looking it up fails with libvirt's own
// words.
//
// What is not filtered: names inside of XML documents (a volume's backing file, a device's parent in its
// description), and strings of the host (`sysinfo`).
//
// Trust:  calls and replies have passed validate() against their procedure's types; a reply to a call that
//         was asked in another way, against the types of that. The daemon is believed: what it calls an
//         object is its name. What it repeats of the call is not: `called` says what the call is about.
// Limits: a reply has to be whole. One pass over it; what is pruned is pruned in place.
// Owns:   the arguments and replies that it makes; results are views of these or of the caller's reply.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "libshared/base/bytes.h"
#include "policy/rights.h"
#include "proto/net.h"
#include "proto/program.h"
#include "workerd/worker/filter_errors.h"
#include "workerd/worker/filter_rules.h"

namespace virtgate::workerd::worker {

// What the identity may see. The session implements it with its current rights; one call or event must be
// judged by one generation of them.
class Sight {
public:
    virtual ~Sight() = default;

    // True if nothing of that kind is hidden.
    [[nodiscard]] virtual bool sees_all(policy::ObjectKind kind) const noexcept = 0;

    // True if the identity may see that object. Its name is known, and its uuid if its kind has one.
    [[nodiscard]] virtual bool sees(const policy::Object& object) const noexcept = 0;

    // The uuid of a network filter, since a binding names its filter by name only. Nothing if it is not
    // known; sees() is then asked without it, and has to decide in doubt.
    [[nodiscard]] virtual std::optional<policy::Uuid> nwfilter_uuid(std::string_view name) const noexcept = 0;
};

struct Filtered {
    enum class Kind : std::uint8_t {
        payload,  // send `payload`; status OK
        error,    // send `error`
        broken,   // the reply is not what its type says: send an internal error, never the reply
    };
    Kind kind = Kind::broken;
    ByteView payload{};
    proto::net::Error error{};
};

class ReplyFilter {
public:
    // The filter of a call of `procedure` with the valid arguments `args`, or nothing if its reply goes on as
    // it is. `called` is what the call names, as libvirt knows it (the pool of a list of volumes); views are
    // not kept. `rules` must outlive the filter.
    [[nodiscard]] static std::optional<ReplyFilter> make(const ReplyRules& rules,
                                                         const proto::ProcedureInfo& procedure, ByteView args,
                                                         std::span<const policy::Object> called,
                                                         Driver driver, const Sight& sight);

    // What to send to the daemon: the procedure, and its arguments if they are not the client's own. The
    // header of the reply must carry the client's procedure number again. If the daemon answers with an
    // error, pass it on.
    [[nodiscard]] const proto::ProcedureInfo& ask_for() const noexcept { return *ask_for_; }
    [[nodiscard]] bool changes_args() const noexcept { return !args_.empty(); }
    [[nodiscard]] ByteView args() const noexcept { return args_; }

    // What the client gets for the reply of ask_for(). `reply` is rewritten in place; the result's payload is
    // part of it or lives in the filter.
    [[nodiscard]] Filtered finish(MutableBytes reply, const Sight& sight);

private:
    ReplyFilter(const ReplyRules& rules, const ReplyRule& rule, Driver driver) noexcept
        : rules_(&rules), rule_(&rule), driver_(driver) {}

    [[nodiscard]] bool prepare(const proto::ProcedureInfo& procedure, ByteView args);
    [[nodiscard]] bool prepare_ask(const proto::ProcedureInfo& procedure, ByteView args);
    [[nodiscard]] bool prepare_single(const proto::ProcedureInfo& procedure, ByteView args);
    [[nodiscard]] Filtered finish_prune(MutableBytes reply, const Sight& sight);
    [[nodiscard]] Filtered finish_ask(ByteView reply, const Sight& sight);
    [[nodiscard]] Filtered finish_single(ByteView reply, const Sight& sight);
    [[nodiscard]] Filtered finish_parent(ByteView reply, const Sight& sight);
    void put(const Named& named);

    const ReplyRules* rules_;
    const ReplyRule* rule_;
    Driver driver_;
    const proto::ProcedureInfo* ask_for_ = nullptr;
    ByteVector args_;
    ByteVector made_;
    std::string key_;   // single: for the error
    std::string pool_;  // the pool that the call names
    std::uint32_t limit_ = 0xffffffff;
    bool only_count_ = false;  // the client did not want the list
};

// True if the client may get that event: it may see every object that the event is about. An event about no
// object passes if it is one that is known to be about none. `payload` has passed validate(), else the answer
// is no.
[[nodiscard]] bool may_pass(const proto::ProgramInfo& program, const proto::ProcedureInfo& event,
                            ByteView payload, const Sight& sight);

}  // namespace virtgate::workerd::worker
