// SPDX-License-Identifier: LGPL-2.1-or-later
// scrutiny - judges the calls of a client whose rights have limits, and what the daemon answers.
//
// The session shows it each call, and of what the daemon sends the frames that it wants. A call is passed on as it is
// or asked in another way, refused, or held until the daemon has said what it is about:
//
//     client             scrutiny                        daemon
//       | destroy(name, uuid) |                             |
//       |-------------------->| held  lookup_by_uuid(uuid)  |     a client can lie about the name or the uuid;
//       |                     |---------------------------->|     libvirt acts on what has the uuid, and that
//       |                     |<------------- name, uuid ---|     is what the call is judged by
//       |                     | judge   destroy(name, uuid) |
//       |                     |---------------------------->|
//
// Asked for are domains, networks, pools, secrets and filters (by uuid) and bindings of filters (by their port, for
// their filter). Volumes, node devices and interfaces need no question, because libvirt acts on the names in the call.
// A uuid whose name is known (names.h) is not asked for again, if the client may see the object.
// Whether the object is hidden or not there the client gets the same error, made here, whatever else is wrong with its
// call; the call does not go to the daemon then, where it could meet an object that was made in between.
//
// Where the call does not tell what it is about, it needs a grant about all objects of that kind, whatever else it
// names. With a narrower one these cannot be used at all:
//   all that make or define something out of XML, and domain_restore*, domain_save_image_*, domain_migrate_prepare* and
//     domain_migrate_finish*, qemu's domain_attach: all domains (or networks, pools, ...). Not if the XML is of a part
//     of an object that the call names: a snapshot, a checkpoint, a port
//   storage_vol_create_xml, storage_vol_create_xml_from: all volumes, and the pool
//   domain_save_params, domain_restore_params, domain_block_rebase without a base: all paths
//   domain_migrate_perform* without a URI: all places to migrate to
// A call to rename a domain needs both names. domain_migrate_begin* and domain_migrate_confirm* need the domain only.
//
// Trust:  calls are validated, but what is in them is the client's word. What the daemon says an object's name is, is
//         its name; its frames are validated here before they are looked at.
// Limits: one call is held, so at most one frame; OpenCalls::k_calls_max replies are waited for. A call for which
//         nothing has to be looked at allocates nothing.
// Owns:   the held call and the filters of open calls. A call is judged by the rights of its beginning, with its reply;
//         an event by those that hold.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "libshared/rpc/header.h"
#include "policy/rights.h"
#include "proto/net.h"
#include "proto/program.h"
#include "workerd/worker/filter_errors.h"
#include "workerd/worker/finding.h"
#include "workerd/worker/names.h"

namespace virtgate::workerd::worker {

struct Claims;

class Scrutiny {
public:
    // `rights` may be replaced between two calls, when the policy has changed. With `is_shadowed` the policy is on
    // probation: what it refuses passes, nothing is hidden or redacted, and the findings tell what would have been
    // refused. What nobody may do is refused all the same.
    explicit Scrutiny(std::shared_ptr<const policy::Rights> rights, bool is_shadowed = false);
    ~Scrutiny();
    Scrutiny(Scrutiny&&) = delete;

    void set_rights(std::shared_ptr<const policy::Rights> rights, bool is_shadowed = false) noexcept;
    // Who serves the connection; known when it is open.
    void set_driver(Driver driver) noexcept { driver_ = driver; }
    // What is known of the names on that connection; null: everything is asked for. Borrowed until it is set anew.
    void set_names(Names* names) noexcept { names_ = names; }

    // True if nothing of these rights needs a look at payloads, replies or events: a call then only has to pass
    // reaches().
    [[nodiscard]] bool is_idle() const noexcept { return is_idle_ && open_.empty() && !held_; }
    // False if the procedure is never allowed. O(1).
    [[nodiscard]] bool reaches(const proto::ProgramInfo& program,
                               const proto::ProcedureInfo& procedure) const noexcept {
        return is_shadowed_ || rights_->need(program, procedure) != policy::Rights::Need::refused;
    }

    // True if a connection for reading will do for all that may pass.
    [[nodiscard]] bool only_reads() const noexcept { return !is_shadowed_ && rights_->only_reads(); }

    // True if even that a call of the procedure is allowed may have to be recorded.
    [[nodiscard]] bool records(const proto::ProcedureInfo& procedure) const noexcept {
        return records_ == proto::policy::AuditLevel::audit_all ||
               (records_ == proto::policy::AuditLevel::audit_writes &&
                procedure.readonly != proto::ReadOnly::allowed);
    }
    [[nodiscard]] const std::shared_ptr<const policy::Rights>& rights() const noexcept { return rights_; }

    struct Ruling {
        enum class Kind : std::uint8_t { pass, refuse, ask };
        Kind kind = Kind::refuse;
        // pass: the whole frame to send to the daemon instead of the client's; empty: send that as it is. Its header is
        //       the one that the reply will have, which may be another procedure's with the client's serial.
        // ask:  a call of our own to send. The client's is held here.
        ByteVector frame{};
        proto::net::Error error{};  // refuse: the payload of the error reply
        std::string log{};          // refuse: for the log: reason, role, file:line
        // For the record: of a refusal by the policy, and of a call that is allowed where records() says so or that opens
        // a stream. A look-up has it when its reply is judged.
        std::optional<Finding> finding{};
    };
    // Tells whether a call of that program, procedure and serial is open on the daemon's side.
    using IsUsed = std::function<bool(const rpc::Header&)>;

    // What a valid call is about, for the record of a refusal that is decided elsewhere: `allowed` is false.
    [[nodiscard]] Finding find(const proto::ProgramInfo& program, const proto::ProcedureInfo& procedure,
                               ByteView payload) const;

    // The refusal of a valid call of a procedure that reaches() does not let pass.
    [[nodiscard]] Ruling refuse_call(const proto::ProgramInfo& program, const proto::ProcedureInfo& procedure,
                                     ByteView payload) const;

    // Rules on a client's valid call on an open connection (never CONNECT_OPEN itself). Not while is_asking().
    [[nodiscard]] Ruling on_call(const rpc::Header& call, const proto::ProgramInfo& program,
                                 const proto::ProcedureInfo& procedure, MutableBytes payload,
                                 const IsUsed& is_used);

    // True while a call of the client is held. Nothing more of the client is to be looked at.
    [[nodiscard]] bool is_asking() const noexcept { return held_ != nullptr; }

    // True if this frame of the daemon (a reply or an event) has to come whole to on_frame(): the answer to a question
    // of our own, one that has to be filtered, or an event that may be about something hidden.
    [[nodiscard]] bool wants(const rpc::Header& header) const noexcept;

    struct Outcome {
        enum class Kind : std::uint8_t { forward, drop, resume };
        Kind kind = Kind::drop;
        ByteVector
            frame{};  // forward: the whole frame for the client, perhaps an error in place of the reply
        rpc::Header held{};       // resume: the header of the call that was held,
        ByteVector held_frame{};  //         the whole frame (empty if ruling is to ask once more),
        Ruling ruling{};          //         and what is to be done with it
        // forward: what was found about a look-up when its reply came, and what was done about that (for the log).
        std::optional<Finding> finding{};
        std::string log{};
    };
    // Takes a wanted frame: its header, and the payload, which may be changed in place.
    [[nodiscard]] Outcome on_frame(const rpc::Header& header, MutableBytes payload, const IsUsed& is_used);

    // Forgets the held call and all replies: the connection is lost.
    void forget_all() noexcept;

private:
    struct Held;
    struct Open;
    // What a reply is known by.
    struct Key {
        std::uint32_t program = 0, procedure = 0, serial = 0;
        bool operator==(const Key&) const = default;
    };
    struct Hash {
        std::size_t operator()(const Key& key) const noexcept {
            return (std::size_t{key.serial} << 32 | key.procedure) ^ std::size_t{key.program} << 16;
        }
    };
    [[nodiscard]] static Key key_of(const rpc::Header& header) noexcept {
        return {header.program, header.procedure, header.serial};
    }

    [[nodiscard]] bool find_idle() const noexcept;
    [[nodiscard]] Ruling judge_call(const rpc::Header& call, const proto::ProgramInfo& program,
                                    const proto::ProcedureInfo& procedure, ByteView payload,
                                    const IsUsed& is_used);
    [[nodiscard]] Ruling let_pass(Ruling ruling) const;
    void recall(const policy::Rights& rights, Claims& claims) const;
    [[nodiscard]] Ruling ask(const IsUsed& is_used);
    [[nodiscard]] Ruling decide(const Held& held, ByteView payload, const IsUsed& is_used);
    [[nodiscard]] Ruling watch(const Held& held, const policy::Decision& decision, ByteView payload,
                               const IsUsed& is_used);
    [[nodiscard]] Outcome on_answer(const rpc::Header& header, MutableBytes payload, const IsUsed& is_used);
    [[nodiscard]] Outcome on_reply(const rpc::Header& header, MutableBytes payload, Open& open);
    [[nodiscard]] Outcome on_event(const rpc::Header& header, MutableBytes payload) const;

    std::shared_ptr<const policy::Rights> rights_;
    bool is_idle_ = false;
    bool is_shadowed_ = false;
    proto::policy::AuditLevel records_ =
        proto::policy::AuditLevel::audit_none;  // the most that any grant wants
    Driver driver_ = Driver::qemu;
    Names* names_ = nullptr;
    std::uint32_t serial_;  // of the next question
    std::unique_ptr<Held> held_;
    std::unordered_map<Key, std::unique_ptr<Open>, Hash>
        open_;  // calls whose replies are wanted, by what was asked
};

}  // namespace virtgate::workerd::worker
