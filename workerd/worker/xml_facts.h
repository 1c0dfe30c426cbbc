// SPDX-License-Identifier: LGPL-2.1-or-later
// xml_facts - what is in the XML of a client's call, for rules about XML.
//
// Which arguments are XML says policy/xml_calls.h, what counts in them xml_host.h.
//
// The name and the uuid of what a document describes are no facts, and a grant about some objects only covers no such
// call, although libvirt goes by both of them. With the uuid of a hidden object and a name of the client's own,
// libvirt's error says what the hidden one is called. Drivers differ in what they do when the two belong to different
// objects. And a description is not the last word: a machine that comes may be given another name, a device or a
// secret has none.
//
// Trust:  the call has passed validate(); what its XML says is the client's.
// Limits: k_xml_max bytes for all documents of one call together, and those of libshared/xml.
// Owns:   nothing; facts are values.
#pragma once

#include "libshared/base/bytes.h"
#include "policy/xml_rule.h"
#include "proto/program.h"

namespace virtgate::workerd::worker {

// The facts about a call with these arguments. Of a procedure that takes no XML: nothing.
[[nodiscard]] policy::XmlFacts read_xml_facts(const proto::ProgramInfo& program,
                                              const proto::ProcedureInfo& procedure, ByteView args);

}  // namespace virtgate::workerd::worker
