// SPDX-License-Identifier: LGPL-2.1-or-later
// xml_calls - which calls describe something in XML: the reviewed list.
//
// In it is every call whose XML libvirt keeps, or acts upon: what defines, creates, attaches, detaches, changes or
// moves an object, in the document itself or in a part of it. Beside these are calls that name a program of the host,
// which libvirt runs to ask what it can do, and calls that describe something where nobody can see it: in a file of
// the host, or in another format than XML.
//
// Not in it, because they only compute, or what they take never comes to anything that is run:
//   connect_compare_cpu, connect_baseline_cpu   compare descriptions of processors
//   connect_find_storage_pool_sources           names a server to look at
//   domain_set_metadata, network_set_metadata   put XML of applications into <metadata>
//   domain_migrate_perform, _confirm*, and the cookies of domain_migrate_perform*   carry no description to this host
//
// Source: libvirt's documentation of these calls, and the fields in proto/remote.x. A test compares both: a string
//         with "xml" in its name that is in neither list is a mistake.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "proto/program.h"

namespace virtgate::policy {

// An argument with XML in it, or what counts like one.
struct XmlArgument {
    enum class Form : std::uint8_t {
        text,       // the field is a string, perhaps an optional one
        parameter,  // a typed parameter of that name, in the field "params"
        cookie,  // opaque bytes from another daemon, with a machine that moves: XML, perhaps a NUL at its end
        program,  // an optional string: a program of the host
        hidden,   // no argument: the description is elsewhere, and nobody can say what is in it
    };
    std::string_view procedure;  // of the program remote; of others with the program: "qemu.domain_attach"
    std::string_view field;
    Form form = Form::text;
    // Without it, libvirt takes a description from where nobody has looked at it.
    bool is_needed = false;
    // The call makes the images that it names, unless "flags" has this bit: then those that are there are used. 0: it
    // uses images.
    std::uint64_t reuses = 0;
};

// What of the procedure's arguments is XML; empty if it takes none.
[[nodiscard]] std::span<const XmlArgument> xml_arguments(const proto::ProgramInfo& program,
                                                         const proto::ProcedureInfo& procedure) noexcept;

// True if a grant with a rule about XML only allows the procedure when its XML fits.
[[nodiscard]] inline bool takes_xml(const proto::ProgramInfo& program,
                                    const proto::ProcedureInfo& procedure) noexcept {
    return !xml_arguments(program, procedure).empty();
}

}  // namespace virtgate::policy
