// SPDX-License-Identifier: LGPL-2.1-or-later
// filter_redact - XML of domains without the secrets that libvirt adds for "secure" descriptions.
//
// For identities with `redact`: whatever flag the call had, the reply looks as if libvirt had not been asked
// for secrets. These are the passwords of screens, and the cookies for disks on web servers.
//
// Source: what libvirt 9.0.0 leaves out without VIR_DOMAIN_XML_SECURE (and its like for snapshots,
//         checkpoints and saved images), as observed.
// Trust:  the XML is the daemon's, but parts of it are what somebody wrote into a description. libxml2 parses
//         it without network, files, entities or a document type; a document with one is refused.
// Limits: a string of libvirt's protocol, 4 MiB; libxml2's own for depth (256) and names; 1024 attributes. Text without
//         secrets is passed on as it is, byte for byte.
// Owns:   nothing; results are values.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "libshared/base/bytes.h"
#include "proto/program.h"

namespace virtgate::workerd::worker {

// Which secrets a reply of the procedure may have in it.
struct Secrets {
    enum class Where : std::uint8_t {
        nowhere,
        in_xml,  // the reply is one string of XML: redact_reply()
        in_use,  // the reply is of no use without them: refuse the call to identities with `redact`
    };
    Where where = Where::nowhere;
    std::string_view permission{};  // that guards them, for policy::Rights::redacts(): "domain:read_secure"
};
[[nodiscard]] Secrets secrets_of(const proto::ProgramInfo& program,
                                 const proto::ProcedureInfo& procedure) noexcept;

// A domain's description, or a document that contains some, without secrets. Nothing if it is not
// well-formed, has a document type or is larger than the limits: then nobody can say what is in it, and it
// must not be sent.
[[nodiscard]] std::optional<std::string> redact(std::string_view xml);

// The same for the payload of a reply with secrets in_xml. `made` gets the new payload if there is one to
// make; the result is that or `reply`.
[[nodiscard]] std::optional<ByteView> redact_reply(ByteView reply, ByteVector& made);

}  // namespace virtgate::workerd::worker
