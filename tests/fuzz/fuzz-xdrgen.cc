// SPDX-License-Identifier: LGPL-2.1-or-later
// fuzz-xdrgen - any text as an .x file: errors or output, nothing else; and whatever compiles is a sound schema.
#include <cstdint>
#include <string>
#include <string_view>

#include "libshared/base/bytes.h"
#include "libshared/base/result.h"
#include "proto/program.h"
#include "proto/schema.h"
#include "proto/xdrgen/checker.h"
#include "proto/xdrgen/emit.h"
#include "proto/xdrgen/lexer.h"
#include "proto/xdrgen/parser.h"

using namespace virtgate;
using namespace virtgate::proto::xdrgen;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string source(reinterpret_cast<const char*>(data), size);
    Messages messages;
    Checker checker(messages);
    const std::uint32_t file = messages.add_file("t.x");
    checker.add(parse(split(source, file, messages), "t", messages));
    if (messages.any()) {
        require(!messages.text().empty(), "an error without a message");
        return 0;
    }
    const Model& model = checker.model();
    const Module& module = model.modules.back();
    const Tables tables = make_tables(model, module);
    // Output grows with the square of what a type list can nest; big ones are left to the compiler.
    if (tables.types.size() < 400) {
        require(!emit_header(model, module, tables).empty(), "no header");
        require(!emit_source(model, module, tables).empty(), "no source");
        require(!emit_oracle(model, module, tables).empty(), "no oracle");
    }
    const std::string bytes = make_schema_file(tables);
    const auto schema = proto::Schema::load(as_bytes(bytes));
    require(schema.has_value() || schema.error().find("depth") != std::string::npos,
            "xdrgen writes a wrong schema");
    return 0;
}
