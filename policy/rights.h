// SPDX-License-Identifier: LGPL-2.1-or-later
// rights - what one identity may do: the decision about every call, event and list.
//
// A call is allowed if one grant allows the procedure, with these flags, on all objects that the call names, and no
// grant denies it. Grants never add up: "console on A" and "power on B" is not power on A. Their order means nothing;
// where several would do, the first by role, file and line is named as the reason.
//
// A grant denies a call if it denies the procedure, or one of the flags, and is about one of the objects, or says
// nothing about objects of their kinds, or the call names none. What cannot be known, such as a UUID that an object does
// not have, never allows and always denies.
//
// Pure, but for the clock if a grant has times. Everything is indexed once: a decision looks at few grants, however many
// there are, unless they all have patterns that begin with a wildcard.
//
// Trust:  the grants come from the policy compiler through the broker. Names and UUIDs of objects are those that
//         libvirt will act on; the caller has resolved them, and does not pass what a client claims.
// Limits: those of proto/policy.x. Judging allocates nothing.
// Owns:   the grants; decisions point into it, so it has to outlive them.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "libshared/base/bytes.h"
#include "libshared/base/result.h"
#include "policy/grant.h"
#include "policy/xml_rule.h"
#include "proto/policy.h"
#include "proto/program.h"

namespace virtgate::policy {

// Why a call is allowed or not. In a record of decisions these are words, see to_text().
enum class Reason : std::uint8_t {
    allowed,
    no_binding,      // no grant has the procedure
    denied_by_rule,  // a "deny" beats what might allow it
    object,          // a grant has the procedure, but not on these objects
    flag,            // a grant would allow it with other flags
    hard_denied,     // nobody can be allowed this
    limit,           // said by those who count; never by judge()
    constraint,      // a grant would allow it at another time, or with other XML
};
[[nodiscard]] std::string_view to_text(Reason reason) noexcept;  // "no-binding"

struct Decision {
    bool allowed = false;
    Reason reason = Reason::no_binding;
    const proto::policy::Grant* grant = nullptr;  // the one that decided, or would have allowed more; or null
    // A grant on probation (shadow = true) that would have decided otherwise, or null. For the log.
    const proto::policy::Grant* shadow = nullptr;
    // What is wrong with the XML, of a constraint; nothing if it is the time. It points into the facts and the grant.
    XmlMisfit misfit{};
};

// Whose grants hold, besides the identity's name.
struct Circumstances {
    using Clock = std::int64_t (*)() noexcept;  // seconds since 1970
    std::string_view listener{};  // of the session; empty: grants for certain listeners do not allow
    Clock clock = nullptr;        // null: the system's
};

// True if libvirt refuses nothing of what `rights` allow, in whatever circumstances, to a connection for reading.
[[nodiscard]] bool only_reads(const proto::policy::IdentityRights& rights) noexcept;

class Rights {
public:
    explicit Rights(proto::policy::IdentityRights rights, Circumstances circumstances = {});
    ~Rights();
    Rights(Rights&&) noexcept;
    Rights& operator=(Rights&&) noexcept;
    Rights(const Rights&) = delete;
    Rights& operator=(const Rights&) = delete;

    // The rights in a message of the broker. Error: system's fault, with what is wrong.
    [[nodiscard]] static Result<Rights> decode(ByteView bytes, Circumstances circumstances = {});

    // What a decision about the procedure depends on.
    enum class Need : std::uint8_t {
        refused,  // nothing: it is never allowed
        allowed,  // nothing: it is always allowed
        flags,    // the flags; judge() needs no objects
        objects,  // the objects or the XML, and perhaps the flags
    };
    [[nodiscard]] Need need(const proto::ProgramInfo& program,
                            const proto::ProcedureInfo& procedure) const noexcept;

    // The decision about a call with these flags (0 if it has none) that names these objects. A procedure that acts on
    // objects is only allowed without any by a grant that is about all of them; one that reads or writes a file of the
    // host, only by a grant that is about all paths, if no object is a path. `unknown` are kinds, all of them such that the
    // procedure acts on, of which the call is also about an object that nobody knows: it needs a grant about all of
    // that kind, and a deny that mentions the kind holds. `xml` is what is in the call's XML: without it no grant allows
    // a call that takes XML (xml_calls.h) and has rules about it. It has to outlive the decision.
    [[nodiscard]] Decision judge(const proto::ProgramInfo& program, const proto::ProcedureInfo& procedure,
                                 std::uint64_t flags, std::span<const Object> objects, KindMask unknown = 0,
                                 const XmlFacts* xml = nullptr) const noexcept;

    // True if a decision about the procedure may depend on what is in its XML. O(1).
    [[nodiscard]] bool looks_at_xml(const proto::ProgramInfo& program,
                                    const proto::ProcedureInfo& procedure) const noexcept;

    // True if the identity may know that the object exists: a grant is about it, and allows a call that shows or
    // changes objects of that kind.
    [[nodiscard]] bool sees(const Object& object) const noexcept;
    // True if sees() is true for every object of the kind, so that nothing has to be filtered.
    [[nodiscard]] bool sees_all(ObjectKind kind) const noexcept;

    // True if events of that kind are delivered at all; the objects in them have to be seen, too.
    [[nodiscard]] bool may_event(const proto::ProgramInfo& program,
                                 const proto::ProcedureInfo& event) const noexcept;

    // True if replies are stripped of what the permission guards ("domain:read_secure") for this object, or for any
    // object at all. As a deny, it holds whatever other grants say.
    [[nodiscard]] bool redacts(std::string_view permission, const Object& object) const noexcept;
    [[nodiscard]] bool redacts(std::string_view permission) const noexcept;

    // True if libvirt refuses none of what it allows to a connection for reading, so that such a connection will do.
    [[nodiscard]] bool only_reads() const noexcept;

    [[nodiscard]] const proto::policy::LimitSet& limits() const noexcept;
    // How much is recorded of the decision: as the grant that decided says, and of others the most that any says.
    [[nodiscard]] proto::policy::AuditLevel audit_level(const Decision& decision) const noexcept;

    [[nodiscard]] std::uint64_t generation() const noexcept;
    [[nodiscard]] const std::string& identity() const noexcept;
    [[nodiscard]] std::span<const proto::policy::Grant> grants() const noexcept;

private:
    struct Index;
    std::unique_ptr<const Index> index_;
};

}  // namespace virtgate::policy
