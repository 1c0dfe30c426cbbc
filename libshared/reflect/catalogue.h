// SPDX-License-Identifier: LGPL-2.1-or-later
// catalogue - the programs and procedures that can be named: libvirt's, and those of .schema files.
//
// Owns: the schemas that it loaded. What it hands out lives as long as it does.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "libshared/base/bytes.h"
#include "proto/program.h"

namespace virtgate::reflect {

class Catalogue {
public:
    // libvirt's programs.
    Catalogue();

    // Adds the program of an installed .schema file; it comes before others of the same name. Error: one
    // sentence.
    [[nodiscard]] tl::expected<void, std::string> add_file(const std::string& path);

    [[nodiscard]] const std::vector<const proto::ProgramInfo*>& programs() const noexcept {
        return programs_;
    }

    // The same from what is in such a file; `name` is for the error.
    [[nodiscard]] tl::expected<void, std::string> add_schema(ByteView bytes, const std::string& name);

    // The program of that name, or what is wrong with it and what was probably meant.
    [[nodiscard]] tl::expected<const proto::ProgramInfo*, std::string> find_program(
        std::string_view name) const;
    // By number and version, or null.
    [[nodiscard]] const proto::ProgramInfo* find_program(std::uint32_t number,
                                                         std::uint32_t version) const noexcept;

    struct Entry {
        const proto::ProgramInfo* program;
        const proto::ProcedureInfo* procedure;
    };
    // "PROGRAM.PROCEDURE", where the procedure is a name or a number; without a program it is "remote".
    [[nodiscard]] tl::expected<Entry, std::string> find(std::string_view name) const;

private:
    struct Loaded {
        explicit Loaded(proto::Schema of) : schema(std::move(of)) {}
        proto::Schema schema;
        std::vector<std::unique_ptr<proto::ProgramInfo>> versions{};  // newest first
    };
    std::vector<std::unique_ptr<Loaded>> loaded_;
    std::vector<const proto::ProgramInfo*> programs_;
};

}  // namespace virtgate::reflect
