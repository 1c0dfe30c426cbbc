// SPDX-License-Identifier: LGPL-2.1-or-later
// emit - what xdrgen writes for a module. Each function returns the whole text of one file.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "proto/xdrgen/model.h"
#include "proto/xdrgen/tables.h"

namespace virtgate::proto::xdrgen {

// NAME.h: constants, types, procedure numbers, access to the schema.
[[nodiscard]] std::string emit_header(const Model& model, const Module& module, const Tables& tables);

// NAME.cc: the codecs and the schema's words.
[[nodiscard]] std::string emit_source(const Model& model, const Module& module, const Tables& tables);

// NAME-recode.cc: for each type a function that decodes and encodes again (for fuzzing and tests).
[[nodiscard]] std::string emit_recode(const Model& model, const Module& module, const Tables& tables);

// NAME.layout: every type flattened with offsets and bounds, every procedure with its number and annotations.
[[nodiscard]] std::string emit_layout(const Model& model, const Module& module);

// NAME.x for rpcgen: the same types as plain RFC 4506 with names that are safe in C.
[[nodiscard]] std::string emit_oracle(const Model& model, const Module& module, const Tables& tables);

// A C table of the types of emit_oracle() in the schema's numbering: what the oracle's runner compiles.
[[nodiscard]] std::string emit_oracle_table(const Model& model, const Module& module, const Tables& tables);

// Seeds for fuzz-schema: file names and contents.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> emit_seeds(const Model& model,
                                                                          const Module& module,
                                                                          const Tables& tables);

// How a type is written in C++ within the namespace of `module`.
[[nodiscard]] std::string cxx_type(const Model& model, const Module& module, TypeId type);

// `name` as a C++ identifier: a word of C++ gets an underscore.
[[nodiscard]] std::string cxx_name(const std::string& name);

// True if values of this enumeration, structure or union type have a name of their own in C++.
[[nodiscard]] bool is_named(const Type& type);

// The name of arm number `arm` of a union: its field's, or "nothing".
[[nodiscard]] std::string arm_name(const Type& type, std::size_t arm);

}  // namespace virtgate::proto::xdrgen
