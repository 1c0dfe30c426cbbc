// SPDX-License-Identifier: LGPL-2.1-or-later
// open_calls - what a session waits for.
//
// The tables are flat and searched from the front: the oldest call is the likeliest to be answered next, and
// a client rarely has more than a few dozen open.
#include "workerd/worker/open_calls.h"

#include "libshared/base/result.h"

namespace virtgate::workerd::worker {

rpc::Header OpenCalls::Entry::header() const noexcept {
    return {.program = program, .version = version, .procedure = procedure, .serial = serial};
}

void OpenCalls::add(const rpc::Header& call, bool opens_stream, Fds fds, std::optional<std::uint32_t> asked,
                    Record record) {
    require(!full(), "more open calls than there is room for");
    calls_.push_back({call.program, call.version, call.procedure, call.serial, opens_stream, fds,
                      asked.value_or(call.procedure), record});
    opening_ += opens_stream ? 1 : 0;
    count();
}

OpenCalls::~OpenCalls() {
    calls_.clear();
    streams_.clear();
    opening_ = 0;
    count();
}

void OpenCalls::count() noexcept {
    if (usage_ == nullptr) return;
    const Usage now{calls_.size(), opening_ + streams_.size()};
    usage_->calls += now.calls - counted_.calls;
    usage_->streams += now.streams - counted_.streams;
    counted_ = now;
}

// The one that end_call() would end.
const OpenCalls::Entry* OpenCalls::find(const rpc::Header& reply) const noexcept {
    const auto call =
        std::find_if(calls_.begin(), calls_.end(), [&](const Entry& entry) { return entry.is(reply); });
    return call == calls_.end() ? nullptr : &*call;
}

std::optional<OpenCalls::Record> OpenCalls::end_call(const rpc::Header& reply) {
    const auto named = [&](const Entry& entry) { return entry.is(reply); };
    const auto call = std::find_if(calls_.begin(), calls_.end(), named);
    if (call == calls_.end()) {
        const auto stream = std::find_if(streams_.begin(), streams_.end(), named);
        if (reply.status != rpc::Status::error || stream == streams_.end()) return std::nullopt;
        streams_.erase(stream);
        count();
        return Record{};
    }
    if (call->opens_stream) {
        --opening_;
        if (reply.status == rpc::Status::ok) streams_.push_back(*call);
    }
    const Record record = call->record;
    calls_.erase(call);
    count();
    return record;
}

bool OpenCalls::has_stream(const rpc::Header& packet) const noexcept {
    const auto named = [&](const Entry& entry) { return entry.is(packet); };
    if (std::any_of(streams_.begin(), streams_.end(), named)) return true;
    return opening_ != 0 && std::any_of(calls_.begin(), calls_.end(), [&](const Entry& call) {
               return call.opens_stream && call.is(packet);
           });
}

void OpenCalls::end_stream(const rpc::Header& packet) noexcept {
    const auto stream =
        std::find_if(streams_.begin(), streams_.end(), [&](const Entry& entry) { return entry.is(packet); });
    if (stream != streams_.end()) {
        streams_.erase(stream);
    } else {
        // Its error may overtake the reply that opens it.
        const auto call = std::find_if(calls_.begin(), calls_.end(), [&](const Entry& entry) {
            return entry.opens_stream && entry.is(packet);
        });
        if (call == calls_.end()) return;
        call->opens_stream = false;
        --opening_;
    }
    count();
}

}  // namespace virtgate::workerd::worker
