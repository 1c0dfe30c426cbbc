// SPDX-License-Identifier: LGPL-2.1-or-later
// xdrgen - compile .x files into C++ codecs and schemas.
//
//   xdrgen [--out DIR] [--layout DIR] [--recode DIR] [--oracle DIR] [--seeds DIR] FILE.x
//     --out     NAME.h, NAME.cc and NAME.schema; of a program that clients call also NAME_client.h
//     --layout  NAME.layout, for the comparison with proto/golden
//     --recode  NAME-recode.cc, for tests and fuzzers
//     --oracle  NAME.x and NAME-table.h, for rpcgen
//     --seeds   NAME-TYPE files, for fuzz-schema
// Imported files are looked for beside FILE.x. Without an option the file is only checked.
// Exit status: 0, 1 after errors in the file, 2 after a wrong call or an unwritable file.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "proto/xdrgen/checker.h"
#include "proto/xdrgen/emit.h"
#include "proto/xdrgen/emit_client.h"
#include "proto/xdrgen/lexer.h"
#include "proto/xdrgen/parser.h"

namespace virtgate::proto::xdrgen {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t k_file_max = std::size_t{16} << 20;

// Reads files and what they import, each once.
class Loader {
public:
    Loader(Messages& messages, Checker& checker) : messages_(messages), checker_(checker) {}

    bool load(const fs::path& path, const Position* from) {
        const std::string name = path.stem().string();
        if (!seen_.insert(name).second) return true;
        std::ifstream in(path, std::ios::binary);
        std::string source{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
        const std::uint32_t file = from == nullptr || in ? messages_.add_file(path.string()) : from->file;
        if (!in.is_open() || in.bad() || source.size() > k_file_max) {
            messages_.error(from != nullptr ? *from : Position{file, 0, 0},
                            fmt::format("cannot read {}", path.string()));
            return false;
        }
        const File parsed = parse(split(source, file, messages_), name, messages_);
        bool good = true;
        for (const Word& import : parsed.imports)
            good = load(path.parent_path() / import.text, &import.at) && good;
        if (good) checker_.add(parsed);
        return good;
    }

private:
    Messages& messages_;
    Checker& checker_;
    std::set<std::string> seen_;
};

// False, after a message, if the file cannot be written.
bool write_file(const fs::path& path, const std::string& text) {
    std::error_code ignored;
    fs::create_directories(path.parent_path(), ignored);
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out << text;
    out.flush();
    if (!out) fmt::print(stderr, "xdrgen: cannot write {}\n", path.string());
    return static_cast<bool>(out);
}

struct Options {
    fs::path input, out, layout, recode, oracle, seeds;
};

bool read_options(int count, char** arguments, Options& options) {
    for (int i = 1; i < count; ++i) {
        const std::string_view word = arguments[i];
        fs::path* to = word == "--out"      ? &options.out
                       : word == "--layout" ? &options.layout
                       : word == "--recode" ? &options.recode
                       : word == "--oracle" ? &options.oracle
                       : word == "--seeds"  ? &options.seeds
                                            : nullptr;
        if (to != nullptr) {
            if (++i == count) return false;
            *to = arguments[i];
        } else if (word.starts_with('-') || !options.input.empty()) {
            return false;
        } else {
            options.input = word;
        }
    }
    return !options.input.empty();
}

bool write_all(const Options& options, const Model& model) {
    const Module& module = model.modules.back();
    const Tables tables = make_tables(model, module);
    bool good = true;
    if (!options.out.empty()) {
        good = write_file(options.out / (module.name + ".h"), emit_header(model, module, tables)) && good;
        good = write_file(options.out / (module.name + ".cc"), emit_source(model, module, tables)) && good;
        good = write_file(options.out / (module.name + ".schema"), make_schema_file(tables)) && good;
        if (has_client(module))
            good = write_file(options.out / (module.name + "_client.h"), emit_client(model, module)) && good;
    }
    if (!options.layout.empty())
        good = write_file(options.layout / (module.name + ".layout"), emit_layout(model, module)) && good;
    if (!options.recode.empty())
        good =
            write_file(options.recode / (module.name + "-recode.cc"), emit_recode(model, module, tables)) &&
            good;
    if (!options.oracle.empty()) {
        good = write_file(options.oracle / (module.name + ".x"), emit_oracle(model, module, tables)) && good;
        good = write_file(options.oracle / (module.name + "-table.h"),
                          emit_oracle_table(model, module, tables)) &&
               good;
    }
    if (!options.seeds.empty())
        for (const auto& [name, contents] : emit_seeds(model, module, tables))
            good = write_file(options.seeds / name, contents) && good;
    return good;
}

int run(int count, char** arguments) {
    Options options;
    if (!read_options(count, arguments, options)) {
        fmt::print(
            stderr,
            "usage: xdrgen [--out DIR] [--layout DIR] [--recode DIR] [--oracle DIR] [--seeds DIR] FILE.x\n");
        return 2;
    }
    Messages messages;
    Checker checker(messages);
    Loader(messages, checker).load(options.input, nullptr);
    if (messages.any()) {
        fmt::print(stderr, "{}", messages.text());
        return 1;
    }
    return write_all(options, checker.model()) ? 0 : 2;
}

}  // namespace

}  // namespace virtgate::proto::xdrgen

int main(int count, char** arguments) { return virtgate::proto::xdrgen::run(count, arguments); }
