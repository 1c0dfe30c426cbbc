// SPDX-License-Identifier: LGPL-2.1-or-later
// tables - a module as schema words.
#include "proto/xdrgen/tables.h"

#include <fmt/format.h>
#include <algorithm>
#include <set>

namespace virtgate::proto::xdrgen {

namespace {

using layout::Section;

class Builder {
public:
    Builder(const Model& model, const Module& module) : model_(model), module_(module) {}

    Tables run() {
        (void)text("");  // offset 0 is the empty text
        collect();
        for (const TypeId id : tables_.types) write_type(model_.types[id]);
        for (const Program* program : versions_of(module_)) write_program(*program);
        join();
        return std::move(tables_);
    }

private:
    std::vector<std::uint32_t>& rows(Section section) { return sections_[static_cast<std::size_t>(section)]; }

    [[nodiscard]] std::uint32_t count(Section section) {
        const auto at = static_cast<std::size_t>(section);
        return static_cast<std::uint32_t>(sections_[at].size() / layout::k_row_words[at]);
    }

    std::uint32_t text(const std::string& value) {
        const auto known = texts_.find(value);
        if (known != texts_.end()) return known->second;
        const auto offset = static_cast<std::uint32_t>(tables_.text.size());
        tables_.text += value;
        tables_.text += '\0';
        texts_.emplace(value, offset);
        return offset;
    }

    std::uint32_t index(TypeId id) const { return id == k_void ? layout::k_none : tables_.index.at(id); }

    // Everything that the module's types and procedures need, in ascending order: parts before wholes.
    void collect() {
        std::set<TypeId> wanted;
        const auto want = [&](auto&& self, TypeId id) -> void {
            if (id == k_void || !wanted.insert(id).second) return;
            const Type& type = model_.types[id];
            self(self, type.element);
            for (const Field& field : type.fields) self(self, field.type);
            for (const Arm& arm : type.arms) self(self, arm.field.type);
        };
        for (const TypeId id : module_.types) want(want, id);
        for (const Program* program : versions_of(module_))
            for (const Procedure& procedure : program->procedures) {
                want(want, procedure.args);
                want(want, procedure.ret);
            }
        tables_.types.assign(wanted.begin(), wanted.end());
        for (std::size_t i = 0; i < tables_.types.size(); ++i)
            tables_.index[tables_.types[i]] = static_cast<std::uint32_t>(i);
    }

    void write_type(const Type& type) {
        std::uint32_t p[4] = {0, 0, 0, 0};
        std::uint32_t flags = type.plain ? layout::k_plain : 0;
        switch (type.kind) {
            case Kind::i32:
            case Kind::u32:
            case Kind::i64:
            case Kind::u64:
                if (type.ranged) {
                    flags |= layout::k_ranged;
                    split(static_cast<std::uint64_t>(type.minimum), p[0], p[1]);
                    split(static_cast<std::uint64_t>(type.maximum), p[2], p[3]);
                }
                break;
            case Kind::enumeration:
                flags |= type.closed ? layout::k_closed : 0;
                p[0] = count(Section::members);
                p[1] = static_cast<std::uint32_t>(type.members.size());
                for (const Member& member : type.members)
                    append(Section::members, {static_cast<std::uint32_t>(member.value), text(member.name)});
                break;
            case Kind::fixed_opaque:
            case Kind::opaque:
            case Kind::string:
            case Kind::name: p[0] = type.bound; break;
            case Kind::structure: write_structure(type, p); break;
            case Kind::choice: flags |= write_choice(type, p); break;
            case Kind::optional:
            case Kind::array:
            case Kind::fixed_array:
                p[0] = index(type.element);
                p[1] = type.bound;
                break;
            case Kind::f32:
            case Kind::f64:
            case Kind::boolean:
            case Kind::character:
            case Kind::u8:
            case Kind::i16:
            case Kind::u16: break;
        }
        append(Section::types, {static_cast<std::uint32_t>(type.kind) | flags, type.least, type.most, p[0],
                                p[1], p[2], p[3], text(type.name)});
    }

    void write_structure(const Type& type, std::uint32_t (&p)[4]) {
        std::map<std::size_t, std::uint32_t> marks;
        const auto mark = [&](std::size_t field) {
            const auto next = static_cast<std::uint32_t>(marks.size() + 1);
            return marks.emplace(field, next).first->second;
        };
        p[2] = count(Section::relations);
        p[3] = static_cast<std::uint32_t>(type.relations.size());
        for (const Relation& relation : type.relations) {
            std::uint32_t high = 0, low = 0;
            split(relation.maximum, high, low);
            const std::uint32_t a = mark(relation.a), b = mark(relation.b);
            append(Section::relations,
                   {static_cast<std::uint32_t>(relation.kind), a, b,
                    width(type.fields[relation.a]) | width(type.fields[relation.b]) << 8, high, low});
        }
        p[0] = count(Section::fields);
        p[1] = static_cast<std::uint32_t>(type.fields.size());
        for (std::size_t i = 0; i < type.fields.size(); ++i) {
            const Field& field = type.fields[i];
            const std::uint32_t flags = (field.is_flags ? layout::k_field_flags : 0) |
                                        (field.is_quantity ? layout::k_field_quantity : 0);
            const auto marked = marks.find(i);
            append(Section::fields, {index(field.type) | (marked == marks.end() ? 0 : marked->second << 24),
                                     text(field.name), flags});
        }
    }

    // The bytes in which a factor travels: an integer itself, or the count of an array.
    [[nodiscard]] std::uint32_t width(const Field& field) const {
        const Kind kind = model_.types[field.type].kind;
        return kind == Kind::i64 || kind == Kind::u64 ? 8 : 4;
    }

    std::uint32_t write_choice(const Type& type, std::uint32_t (&p)[4]) {
        p[0] = index(type.fields.front().type);
        p[1] = count(Section::arms);
        p[3] = layout::k_no_default;
        bool dense = true;
        for (const Arm& arm : type.arms) {
            if (arm.cases.empty()) p[3] = index(arm.field.type);
            for (const Wide value : arm.cases) {
                append(Section::arms,
                       {static_cast<std::uint32_t>(value), index(arm.field.type), text(arm.field.name)});
                const std::uint32_t first = rows(Section::arms)[std::size_t{p[1]} * 3];
                dense = dense && static_cast<std::uint32_t>(value) == first + p[2];
                ++p[2];
            }
        }
        return dense && p[2] != 0 ? layout::k_dense : 0;
    }

    // Appends the tests' rows; returns the number of the first one.
    std::uint32_t write_tests(const std::vector<Test>& tests) {
        const std::uint32_t first = count(Section::tests);
        for (const Test& test : tests) {
            std::uint32_t high = 0, low = 0;
            split(test.value, high, low);
            append(Section::tests, {text(test.path), static_cast<std::uint32_t>(test.kind), high, low,
                                    count(Section::steps), static_cast<std::uint32_t>(test.steps.size())});
            for (const std::uint32_t step : test.steps) append(Section::steps, {step});
        }
        return first;
    }

    std::uint32_t write_rules(const std::vector<Rule>& rules) {
        std::vector<std::uint32_t> firsts;
        for (const Rule& rule : rules) firsts.push_back(write_tests(rule.tests));
        const std::uint32_t first = count(Section::rules);
        for (std::size_t i = 0; i < rules.size(); ++i)
            append(Section::rules, {text(rules[i].object), text(rules[i].permission), firsts[i],
                                    static_cast<std::uint32_t>(rules[i].tests.size())});
        return first;
    }

    std::uint32_t write_objects(const std::vector<ObjectPlace>& objects) {
        const std::uint32_t first = count(Section::objects);
        for (const ObjectPlace& object : objects) {
            const std::uint32_t flags =
                (object.list ? layout::k_object_list : 0) | (object.nullable ? layout::k_object_nullable : 0);
            append(Section::objects,
                   {text(object.path), text(object.object), text(object.identity), text(object.how), flags,
                    count(Section::steps), static_cast<std::uint32_t>(object.steps.size())});
            for (const std::uint32_t step : object.steps) append(Section::steps, {step});
        }
        return first;
    }

    void write_program(const Program& program) {
        append(Section::programs,
               {program.number, program.version, text(program.name), count(Section::procedures),
                static_cast<std::uint32_t>(program.procedures.size())});
        for (const Procedure& procedure : program.procedures) write_procedure(program, procedure);
    }

    void write_procedure(const Program& program, const Procedure& procedure) {
        std::vector<std::uint32_t> row(layout::k_row_words[static_cast<std::size_t>(Section::procedures)]);
        const auto set = [&](layout::Column column, std::uint32_t value) {
            row[static_cast<std::size_t>(column)] = value;
        };
        const auto most = [&](TypeId id) { return id == k_void ? 0 : model_.types[id].most; };
        const auto size = [](const auto& list) { return static_cast<std::uint32_t>(list.size()); };
        using enum layout::Column;
        set(number, procedure.number);
        set(name, text(procedure.name));
        set(kind, procedure.is_event ? 1 : 0);
        set(args, index(procedure.args));
        set(ret, index(procedure.ret));
        set(args_most, most(procedure.args));
        set(ret_most, most(procedure.ret));
        set(stream, procedure.stream);
        set(sparse, procedure.sparse);
        set(fds, procedure.fds[0] | procedure.fds[1] << 8 | procedure.fds[2] << 16 | procedure.fds[3] << 24);
        set(flags, (procedure.before_auth ? layout::k_before_auth : 0) |
                       (procedure.high_priority ? layout::k_high_priority : 0) |
                       (program.internal ? layout::k_internal : 0));
        set(readonly, procedure.readonly);
        set(readonly_tests, write_tests(procedure.readonly_tests));
        set(readonly_test_count, size(procedure.readonly_tests));
        set(rules, write_rules(procedure.rules));
        set(rule_count, size(procedure.rules));
        set(filters, write_rules(procedure.filters));
        set(filter_count, size(procedure.filters));
        set(objects, write_objects(procedure.objects));
        set(object_count, size(procedure.objects));
        set(returns, write_objects(procedure.returns));
        set(return_count, size(procedure.returns));
        set(keys, write_objects(procedure.keys));
        set(key_count, size(procedure.keys));
        set(event_family, text(procedure.event_family));
        set(event_id, procedure.event_id);
        set(event_style, procedure.event_style);
        set(driver, text(procedure.driver));
        set(since, text(procedure.since));
        set(prose, text(procedure.prose.empty() ? std::string() : procedure.prose.front()));
        append(Section::procedures, row);
    }

    static void split(std::uint64_t value, std::uint32_t& high, std::uint32_t& low) {
        high = static_cast<std::uint32_t>(value >> 32);
        low = static_cast<std::uint32_t>(value);
    }

    void append(Section section, const std::vector<std::uint32_t>& row) {
        rows(section).insert(rows(section).end(), row.begin(), row.end());
    }

    void join() {
        auto& words = tables_.words;
        words.assign(layout::k_header_words, 0);
        words[0] = layout::k_magic;
        words[1] = layout::k_format;
        for (std::uint32_t i = 0; i < layout::k_sections; ++i) {
            words[4 + 2 * i] = static_cast<std::uint32_t>(words.size());
            words[5 + 2 * i] = count(static_cast<Section>(i));
            words.insert(words.end(), sections_[i].begin(), sections_[i].end());
        }
        words[2] = static_cast<std::uint32_t>(words.size());
        words[3] = static_cast<std::uint32_t>(tables_.text.size());
    }

    const Model& model_;
    const Module& module_;
    Tables tables_;
    std::map<std::string, std::uint32_t> texts_;
    std::vector<std::uint32_t> sections_[layout::k_sections];
};

}  // namespace

std::vector<const Program*> versions_of(const Module& module) {
    std::vector<const Program*> versions;
    if (module.program) versions.push_back(&*module.program);
    for (const Program& older : module.older) versions.push_back(&older);
    return versions;
}

Tables make_tables(const Model& model, const Module& module) { return Builder(model, module).run(); }

std::string make_schema_file(const Tables& tables) {
    std::string out;
    for (const std::uint32_t word : tables.words)
        for (const int shift : {24, 16, 8, 0}) out += static_cast<char>(word >> shift & 0xff);
    out += tables.text;
    std::uint64_t sum = 0xcbf29ce484222325;  // FNV-1a
    for (const char c : out) sum = (sum ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(sum >> shift & 0xff);
    return out;
}

}  // namespace virtgate::proto::xdrgen
