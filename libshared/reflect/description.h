// SPDX-License-Identifier: LGPL-2.1-or-later
// description - types and procedures in words, and a JSON value to begin with.
//
// Pure; any thread. What is said comes from the .x files: it is not escaped.
#pragma once

#include <string>

#include "libshared/reflect/json.h"
#include "proto/program.h"

namespace virtgate::reflect {

// With an article, for a message: "a whole number from 1 to 64", "a UUID", "a Domain (object)", "a list of
// texts".
[[nodiscard]] std::string describe_type(const proto::Schema& schema, proto::TypeIndex type);

// A value that to_payload() takes: zeros, empty texts, null for optionals, one element in each list.
[[nodiscard]] Json make_template(const proto::Schema& schema, proto::TypeIndex type);

// All that is known of a procedure: for people, lines; for programs, an object (virtgate-call(1) has its
// members).
[[nodiscard]] std::string describe_procedure(const proto::ProgramInfo& program,
                                             const proto::ProcedureInfo& procedure);
[[nodiscard]] Json describe_procedure_json(const proto::ProgramInfo& program,
                                           const proto::ProcedureInfo& procedure);

}  // namespace virtgate::reflect
