// SPDX-License-Identifier: LGPL-2.1-or-later
// asker - procedures by name, with JSON for arguments and results.
#include "ctl/tools/asker.h"

#include <fmt/format.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>

namespace virtgate::ctl::tools {

namespace {

using Entry = reflect::Catalogue::Entry;

// Fewer than a server has for one client, more than a line of any length needs.
constexpr std::size_t k_calls_at_a_time = 64;

client::Procedure number_of(const Entry& entry) {
    return {entry.program->number, entry.program->version, entry.procedure->number};
}

client::Result<ByteVector> pack(const Entry& entry, const Json& arguments) {
    auto payload = reflect::to_payload(entry.program->schema, entry.procedure->args, arguments, "args");
    if (!payload) return client::fail(client::Cause::invalid, std::move(payload.error()));
    return std::move(*payload);
}

client::Result<Json> unpack(const Entry& entry, const client::Result<ByteVector>& reply) {
    if (!reply) return tl::unexpected(reply.error());
    auto json = reflect::to_json(entry.program->schema, entry.procedure->ret, *reply);
    if (!json)
        return client::fail(client::Cause::protocol,
                            fmt::format("the answer to {} cannot be read: {}", entry.procedure->name,
                                        proto::to_text(json.error().flaw)));
    return std::move(*json);
}

// What the callbacks of a batch fill in. They may run after the batch has been given up.
struct Batch {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<client::Result<Json>> results;
    std::size_t open = 0;
};

}  // namespace

client::Result<Entry> Asker::find(std::string_view procedure) const {
    auto entry = catalogue_.find(procedure);
    if (!entry) return client::fail(client::Cause::invalid, std::move(entry.error()));
    return *entry;
}

client::Result<Json> Asker::ask(std::string_view procedure, const Json& arguments,
                                const client::Deadline& deadline) {
    const auto entry = find(procedure);
    if (!entry) return tl::unexpected(entry.error());
    const auto payload = pack(*entry, arguments);
    if (!payload) return tl::unexpected(payload.error());
    // Descriptors that come with the reply are closed.
    std::vector<UniqueFd> received;
    return unpack(*entry, connection_.call(number_of(*entry), *payload,
                                           {.deadline = deadline, .fds = {}, .received = &received}));
}

std::vector<client::Result<Json>> Asker::ask_each(std::string_view procedure,
                                                  const std::vector<Json>& arguments,
                                                  const client::Deadline& deadline) {
    const auto batch = std::make_shared<Batch>();
    batch->results.assign(arguments.size(), client::fail(client::Cause::cancelled, "given up"));
    const auto entry = find(procedure);
    std::vector<client::CallId> calls;
    const std::stop_callback wake(deadline.stop, [&batch] {
        const std::lock_guard inside(batch->mutex);
        batch->changed.notify_all();
    });
    std::unique_lock lock(batch->mutex);
    const auto may_go_on = [&](std::size_t most) {
        const auto done = [&] { return batch->open <= most || deadline.stop.stop_requested(); };
        if (deadline.at == Instant::max())
            batch->changed.wait(lock, done);
        else if (!batch->changed.wait_until(lock, deadline.at, done))
            return false;
        return !deadline.stop.stop_requested();
    };
    for (std::size_t i = 0; i < arguments.size() && may_go_on(k_calls_at_a_time - 1); ++i) {
        const auto payload =
            entry ? pack(*entry, arguments[i]) : client::Result<ByteVector>(tl::unexpected(entry.error()));
        if (!payload) {
            batch->results[i] = tl::unexpected(payload.error());
            continue;
        }
        ++batch->open;
        lock.unlock();
        const auto started =
            connection_.start_call(number_of(*entry), *payload, deadline.at,
                                   [batch, i, of = *entry](client::Result<ByteVector> reply) {
                                       const std::lock_guard inside(batch->mutex);
                                       batch->results[i] = unpack(of, reply);
                                       --batch->open;
                                       batch->changed.notify_all();
                                   });
        lock.lock();
        if (started) {
            calls.push_back(*started);
            continue;
        }
        batch->results[i] = tl::unexpected(started.error());
        --batch->open;
    }
    if (may_go_on(0)) return std::move(batch->results);
    auto results = batch->results;
    lock.unlock();
    for (const client::CallId call : calls) connection_.cancel_call(call);
    return results;
}

client::Result<Asker::Streaming> Asker::open_stream(std::string_view procedure, const Json& arguments,
                                                    const client::Deadline& deadline) {
    const auto entry = find(procedure);
    if (!entry) return tl::unexpected(entry.error());
    const auto payload = pack(*entry, arguments);
    if (!payload) return tl::unexpected(payload.error());
    std::uint64_t flags = 0;
    if (const auto given = arguments.find("flags"); given != arguments.end() && given->is_number_integer())
        flags = given->get<std::uint64_t>();
    const bool sparse = (flags & entry->procedure->sparse_flag) != 0;
    auto opened = connection_.open_stream(number_of(*entry), *payload,
                                          sparse ? client::Streams::sparse : client::Streams::plain,
                                          {.deadline = deadline, .fds = {}, .received = nullptr});
    if (!opened) return tl::unexpected(opened.error());
    auto result = unpack(*entry, std::move(opened->value));
    if (!result) return tl::unexpected(result.error());
    return Streaming{std::move(*result), std::move(opened->stream)};
}

}  // namespace virtgate::ctl::tools
