// SPDX-License-Identifier: LGPL-2.1-or-later
// tables - a module as schema words (proto/schema_layout.h).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "proto/xdrgen/model.h"

namespace virtgate::proto::xdrgen {

struct Tables {
    std::vector<std::uint32_t> words;
    std::string text;                       // NUL-terminated texts, one after the other
    std::map<TypeId, std::uint32_t> index;  // where the model's types are in the schema
    std::vector<TypeId> types;              // the reverse
};

// All versions of the module's program, newest first; none if it has no program.
[[nodiscard]] std::vector<const Program*> versions_of(const Module& module);

// The schema of `module`: its own types, and those of other modules that they or its program use.
[[nodiscard]] Tables make_tables(const Model& model, const Module& module);

// The contents of a .schema file.
[[nodiscard]] std::string make_schema_file(const Tables& tables);

}  // namespace virtgate::proto::xdrgen
