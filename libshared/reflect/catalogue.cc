// SPDX-License-Identifier: LGPL-2.1-or-later
// catalogue - the programs and procedures that can be named: libvirt's, and those of .schema files.
#include "libshared/reflect/catalogue.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>

#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "proto/programs.h"

namespace virtgate::reflect {

Catalogue::Catalogue() {
    const auto all = proto::all_programs();
    programs_.assign(all.begin(), all.end());
}

tl::expected<void, std::string> Catalogue::add_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return tl::make_unexpected(fmt::format("cannot read {}", path));
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    return add_schema(as_bytes(text), path);
}

tl::expected<void, std::string> Catalogue::add_schema(ByteView bytes, const std::string& name) {
    auto schema = proto::Schema::load(bytes);
    if (!schema) return tl::make_unexpected(fmt::format("{}: {}", name, schema.error()));
    auto loaded = std::make_unique<Loaded>(std::move(*schema));
    for (std::uint32_t row = 0; row < loaded->schema.count(proto::layout::Section::programs); ++row)
        loaded->versions.push_back(std::make_unique<proto::ProgramInfo>(loaded->schema, row));
    if (loaded->versions.empty() || loaded->versions.front()->procedures().empty())
        return tl::make_unexpected(fmt::format("{}: there is no program in it", name));
    // By name the newest is found first.
    for (auto version = loaded->versions.rbegin(); version != loaded->versions.rend(); ++version)
        programs_.insert(programs_.begin(), version->get());
    loaded_.push_back(std::move(loaded));
    return {};
}

tl::expected<const proto::ProgramInfo*, std::string> Catalogue::find_program(std::string_view name) const {
    std::vector<std::string_view> names;
    for (const proto::ProgramInfo* program : programs_) {
        if (program->name == name) return program;
        names.push_back(program->name);
    }
    return tl::make_unexpected(
        fmt::format("there is no program \"{}\"{}", escape(name), did_you_mean(name, names)));
}

const proto::ProgramInfo* Catalogue::find_program(std::uint32_t number,
                                                  std::uint32_t version) const noexcept {
    const auto found =
        std::find_if(programs_.begin(), programs_.end(), [&](const proto::ProgramInfo* program) {
            return program->number == number && program->version == version;
        });
    return found == programs_.end() ? nullptr : *found;
}

tl::expected<Catalogue::Entry, std::string> Catalogue::find(std::string_view name) const {
    const std::size_t dot = name.find('.');
    const auto program = find_program(dot == name.npos ? std::string_view("remote") : name.substr(0, dot));
    if (!program) return tl::make_unexpected(program.error());
    const std::string_view wanted = dot == name.npos ? name : name.substr(dot + 1);
    std::uint32_t number = 0;
    const char* const end = wanted.data() + wanted.size();
    const auto [at, error] = std::from_chars(wanted.data(), end, number);
    const bool is_number = error == std::errc{} && at == end;
    const proto::ProcedureInfo* found = is_number ? (*program)->find(number) : (*program)->find(wanted);
    if (found != nullptr) return Entry{*program, found};
    std::vector<std::string_view> names;
    for (const proto::ProcedureInfo& one : (*program)->procedures()) names.push_back(one.name);
    return tl::make_unexpected(fmt::format("the program {} has no procedure \"{}\"{}", (*program)->name,
                                           escape(wanted), did_you_mean(wanted, names)));
}

}  // namespace virtgate::reflect
