// SPDX-License-Identifier: LGPL-2.1-or-later
// ledger - the open calls and streams of one session.
#include "netd/gate/ledger.h"

#include <algorithm>

namespace virtgate::netd::gate {

CallKey key_of(const rpc::Header& header) noexcept {
    return {header.program, header.version, header.procedure, header.serial};
}

rpc::Header header_of(const CallKey& key) noexcept {
    return {.program = key.program,
            .version = key.version,
            .procedure = key.procedure,
            .type = rpc::Type::call,
            .serial = key.serial,
            .status = rpc::Status::ok};
}

void Ledger::add(const OpenCall& call) {
    calls_.push_back(call);
    if (call.procedure->stream != proto::Stream::none)
        streams_.push_back(
            {.key = call.key, .procedure = call.procedure, .sparse = call.sparse, .opening = true});
}

const OpenCall* Ledger::find_call(const CallKey& key) const noexcept {
    for (const OpenCall& call : calls_)
        if (call.key == key) return &call;
    return nullptr;
}

void Ledger::answer(const CallKey& key, bool good) noexcept {
    const auto at =
        std::find_if(calls_.begin(), calls_.end(), [&](const OpenCall& c) { return c.key == key; });
    if (at == calls_.end()) return;
    calls_.erase(at);
    OpenStream* const stream = find_stream(key);
    if (stream == nullptr || !stream->opening) return;
    if (good)
        stream->opening = false;
    else
        close_stream(key);
}

OpenStream* Ledger::find_stream(const CallKey& key) noexcept {
    for (OpenStream& stream : streams_)
        if (stream.key == key) return &stream;
    return nullptr;
}

const OpenStream* Ledger::find_stream(const CallKey& key) const noexcept {
    return const_cast<Ledger*>(this)->find_stream(key);
}

void Ledger::close_stream(const CallKey& key) noexcept {
    std::erase_if(streams_, [&](const OpenStream& s) { return s.key == key; });
}

void Ledger::clear() noexcept {
    calls_.clear();
    streams_.clear();
}

}  // namespace virtgate::netd::gate
