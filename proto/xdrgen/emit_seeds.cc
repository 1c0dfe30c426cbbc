// SPDX-License-Identifier: LGPL-2.1-or-later
// emit_seeds - one small valid payload for each shape of type, for the fuzzers to start from.
//
// A seed is four bytes of the module's name, two bytes of the type's number, and the payload: every optional present,
// one element in every array, short texts, every integer at its minimum or 1.
#include <algorithm>
#include <set>

#include "proto/xdrgen/emit.h"

namespace virtgate::proto::xdrgen {

namespace {

class SeedWriter {
public:
    explicit SeedWriter(const Model& model) : model_(model) {}

    // The payload, and in `shape` what kinds it is made of.
    std::string run(TypeId id, std::string& shape) {
        out_.clear();
        shape_.clear();
        write(id);
        shape = shape_;
        return out_;
    }

private:
    void word(std::uint64_t value) {
        for (const int shift : {24, 16, 8, 0}) out_ += static_cast<char>(value >> shift & 0xff);
    }

    void write(TypeId id) {
        const Type& type = model_.types[id];
        shape_ += static_cast<char>('a' + static_cast<int>(type.kind));
        switch (type.kind) {
            case Kind::i64:
            case Kind::u64:
            case Kind::f64: word(0); return word(type.ranged ? static_cast<std::uint64_t>(type.minimum) : 1);
            case Kind::enumeration:
                return word(type.members.empty() ? 0
                                                 : static_cast<std::uint64_t>(type.members.front().value));
            case Kind::fixed_opaque: out_ += std::string((type.bound + 3) / 4 * 4, '\0'); return;
            case Kind::opaque:
            case Kind::string:
            case Kind::name: {
                const std::uint32_t size = std::min(type.bound, 5U);
                word(size);
                out_ += std::string("vm-07").substr(0, size) + std::string((4 - size % 4) % 4, '\0');
                return;
            }
            case Kind::structure:
                for (const Field& field : type.fields) write(field.type);
                return;
            case Kind::choice: {
                const Arm& arm = type.arms.front();
                word(arm.cases.empty() ? 0 : static_cast<std::uint64_t>(arm.cases.front()));
                if (arm.field.type != k_void) write(arm.field.type);
                return;
            }
            case Kind::optional:
            case Kind::array: word(1); return write(type.element);
            case Kind::fixed_array:
                for (std::uint32_t i = 0; i < type.bound; ++i) write(type.element);
                return;
            default: return word(type.ranged ? static_cast<std::uint64_t>(type.minimum) : 1);
        }
    }

    const Model& model_;
    std::string out_;
    std::string shape_;
};

}  // namespace

std::vector<std::pair<std::string, std::string>> emit_seeds(const Model& model, const Module& module,
                                                            const Tables& tables) {
    std::vector<std::pair<std::string, std::string>> seeds;
    std::set<std::string> shapes;
    SeedWriter writer(model);
    for (std::uint32_t i = 0; i < tables.types.size(); ++i) {
        const Type& type = model.types[tables.types[i]];
        if (type.kind != Kind::structure && type.kind != Kind::choice) continue;
        std::string shape;
        const std::string payload = writer.run(tables.types[i], shape);
        if (!shapes.insert(shape).second) continue;
        std::string seed = module.name.substr(0, 4);
        seed.resize(4, '\0');
        seed += static_cast<char>(i >> 8);
        seed += static_cast<char>(i & 0xff);
        seeds.emplace_back(module.name + "-" + type.name, seed + payload);
    }
    return seeds;
}

}  // namespace virtgate::proto::xdrgen
