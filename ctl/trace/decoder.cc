// SPDX-License-Identifier: LGPL-2.1-or-later
// decoder - the bytes of one connection, in both directions, as records.
#include "ctl/trace/decoder.h"

#include <fmt/format.h>

#include "ctl/trace/secrets.h"
#include "libshared/rpc/error.h"
#include "proto/program.h"

namespace virtgate::ctl::trace {

namespace {

using rpc::Status;
using rpc::Type;

// More than any frame may announce.
constexpr std::uint32_t k_descriptors_max = 32;

bool has_descriptors(Type type) noexcept {
    return type == Type::call_with_fds || type == Type::reply_with_fds;
}

// Of a stream, data have the status "proceed"; what ends it has another one.
bool is_data(const rpc::Header& header) noexcept {
    return header.type == Type::stream && header.status == Status::proceed;
}

Record::Kind kind_of(const rpc::Header& header) noexcept {
    if (header.status == Status::error) return Record::Kind::error;
    switch (header.type) {
        case Type::call:
        case Type::call_with_fds: return Record::Kind::call;
        case Type::reply:
        case Type::reply_with_fds: return Record::Kind::reply;
        case Type::message: return Record::Kind::event;
        case Type::stream: return is_data(header) ? Record::Kind::data : Record::Kind::finish;
        case Type::stream_hole: return Record::Kind::hole;
    }
    return Record::Kind::lost;
}

std::uint64_t key_of(const rpc::Header& header) noexcept {
    return std::uint64_t{header.program} << 32 | header.serial;
}

}  // namespace

std::vector<Record> Decoder::take(From from, ByteView bytes, Instant now) {
    Side& side = from == From::client ? client_ : server_;
    std::vector<Record> records;
    ByteVector copy(bytes.begin(), bytes.end());
    MutableBytes rest(copy);
    while (!side.lost) {
        const std::size_t passed = std::min(side.passing, rest.size());
        side.passing -= passed;
        rest = rest.subspan(passed);
        const rpc::Cut cut = side.cutter.next(rest);
        switch (cut.kind) {
            case rpc::Cut::Kind::more: return records;
            // What is in a stream may be large, and is nobody's arguments.
            case rpc::Cut::Kind::header:
                is_data(cut.header) ? side.cutter.skip() : side.cutter.take_whole();
                continue;
            case rpc::Cut::Kind::piece: continue;
            case rpc::Cut::Kind::frame:
            case rpc::Cut::Kind::skipped:
                records.push_back(read(from, cut, now));
                side.passing = records.back().descriptors;
                continue;
            case rpc::Cut::Kind::flaw: break;
        }
        side.lost = true;
        Record lost;
        lost.from = from;
        lost.kind = Record::Kind::lost;
        lost.error = "this is no frame: what follows in this direction is not shown";
        records.push_back(std::move(lost));
    }
    return records;
}

Record Decoder::read(From from, const rpc::Cut& cut, Instant now) {
    Record record;
    record.from = from;
    record.kind = kind_of(cut.header);
    record.header = cut.header;
    record.size = cut.frame_size;
    record.payload = reflect::Json(nlohmann::detail::value_t::discarded);
    name(record);
    time(record, now);
    if (cut.kind == rpc::Cut::Kind::skipped) return record;
    ByteView payload = cut.bytes.subspan(rpc::k_frame_min);
    if (has_descriptors(cut.header.type) && payload.size() >= rpc::k_length_size) {
        const std::uint32_t count = load_be32(payload.data());
        record.descriptors = count <= k_descriptors_max ? count : 0;
        payload = payload.subspan(rpc::k_length_size);
    }
    read_payload(record, payload);
    return record;
}

void Decoder::name(Record& record) const {
    const auto& header = record.header;
    const auto* program = catalogue_.find_program(header.program, header.version);
    const auto* procedure = program != nullptr ? program->find(header.procedure) : nullptr;
    record.program =
        program != nullptr ? std::string(program->name) : fmt::format("0x{:08x}", header.program);
    record.procedure = procedure != nullptr ? std::string(procedure->name) : std::to_string(header.procedure);
}

void Decoder::time(Record& record, Instant now) {
    const auto& header = record.header;
    if (record.kind == Record::Kind::call && open_.size() < k_open_max) open_[key_of(header)] = now;
    const bool is_answer = header.type == Type::reply || header.type == Type::reply_with_fds;
    const auto call = is_answer ? open_.find(key_of(header)) : open_.end();
    if (call == open_.end()) return;
    record.took = std::chrono::duration_cast<std::chrono::microseconds>(now - call->second);
    open_.erase(call);
}

void Decoder::read_payload(Record& record, ByteView payload) const {
    switch (record.kind) {
        case Record::Kind::error:
            // Whoever ends a stream early may say no reason.
            record.error = payload.empty() ? "aborted" : rpc::read_error_text(payload);
            record.code = payload.empty() ? 0 : rpc::read_error_code(payload);
            return;
        case Record::Kind::hole:
            if (payload.size() >= sizeof(std::uint64_t)) record.size = load_be64(payload.data());
            return;
        case Record::Kind::call:
        case Record::Kind::reply:
        case Record::Kind::event: break;
        case Record::Kind::data:
        case Record::Kind::finish:
        case Record::Kind::lost: return;
    }
    const auto* program = catalogue_.find_program(record.header.program, record.header.version);
    const auto* procedure = program != nullptr ? program->find(record.header.procedure) : nullptr;
    if (procedure == nullptr) return;
    auto json = reflect::to_json(
        program->schema, record.kind == Record::Kind::reply ? procedure->ret : procedure->args, payload);
    if (!json) {
        record.error = fmt::format("what it carries breaks the schema at byte {}: {}", json.error().offset,
                                   proto::to_text(json.error().flaw));
        return;
    }
    record.payload = std::move(*json);
    hide_secrets(record.program, record.procedure, record.payload);
}

}  // namespace virtgate::ctl::trace
