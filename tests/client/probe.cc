// SPDX-License-Identifier: LGPL-2.1-or-later
// probe - does what a system test asks of libshared/client, and says how it went.
//
//   client-probe URI COMMAND [ARGUMENT…]
//     list                names of all domains, one a line
//     lookup NAME         the id of a domain
//     threads N CALLS     N threads that make so many calls each; prints how many were good
//     upload POOL VOLUME FILE     download POOL VOLUME FILE     abort POOL VOLUME
//     events              defines, starts, stops a domain and prints the events of its life
//     beside POOL VOLUME  makes calls while a download is not read; prints how many were good
//   VIRTGATE_USER and VIRTGATE_PASSWORD answer a login, VIRTGATE_DEADLINE bounds it (milliseconds).
//
// A failure is one line, "CAUSE CODE: TEXT", and exit status 1.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "libshared/client/connection.h"
#include "proto/remote_client.h"

using namespace virtgate;
namespace remote = proto::remote;

namespace {

constexpr Milliseconds k_patience{30000};

client::CallOptions soon() {
    return {.deadline = client::Deadline::in(k_patience), .fds = {}, .received = nullptr};
}

int tell(const client::Failure& failure) {
    fmt::print("{} {}: {}\n", client::to_text(failure.cause), failure.remote.code, failure.text);
    return 1;
}

int list(client::Connection& connection) {
    const auto all = connection.remote().connect_list_all_domains({.need_results = 1, .flags = 0}, soon());
    if (!all) return tell(all.error());
    for (const auto& domain : all->domains) fmt::print("{}\n", domain.name);
    return 0;
}

int look_up(client::Connection& connection, const std::string& name) {
    const auto found = connection.remote().domain_lookup_by_name({.name = name}, soon());
    if (!found) return tell(found.error());
    fmt::print("{}\n", found->domain.id);
    return 0;
}

int run_threads(client::Connection& connection, int threads, int calls) {
    std::atomic<int> good = 0;
    std::vector<std::thread> running;
    for (int t = 0; t < threads; ++t)
        running.emplace_back([&connection, &good, calls] {
            for (int i = 0; i < calls; ++i) {
                if (i % 2 == 0)
                    good += connection.remote().connect_get_lib_version(soon()) ? 1 : 0;
                else
                    good += connection.remote().domain_lookup_by_name({.name = "test"}, soon()) ? 1 : 0;
            }
        });
    for (std::thread& thread : running) thread.join();
    fmt::print("{}\n", good.load());
    return 0;
}

client::Result<remote::StorageVol> find_volume(client::Connection& connection, const std::string& pool,
                                               const std::string& name) {
    const auto in = connection.remote().storage_pool_lookup_by_name({.name = pool}, soon());
    if (!in) return tl::unexpected(in.error());
    auto found = connection.remote().storage_vol_lookup_by_name({.pool = in->pool, .name = name}, soon());
    if (!found) return tl::unexpected(found.error());
    return found->volume;
}

int upload(client::Connection& connection, const remote::StorageVol& volume, const char* path) {
    auto stream = connection.remote().storage_vol_upload(
        {.volume = volume, .offset = 0, .length = 0, .flags = 0}, soon());
    if (!stream) return tell(stream.error());
    const UniqueFd file{open(path, O_RDONLY | O_CLOEXEC)};
    const auto done = stream->send_all(
        [&file](MutableBytes buffer) -> client::Result<std::size_t> {
            const ssize_t n = read(file.get(), buffer.data(), buffer.size());
            if (n < 0) return client::fail_system(errno, "cannot read the file");
            return static_cast<std::size_t>(n);
        },
        client::Deadline::in(k_patience));
    return done ? 0 : tell(done.error());
}

int download(client::Connection& connection, const remote::StorageVol& volume, const char* path) {
    auto stream = connection.remote().storage_vol_download(
        {.volume = volume, .offset = 0, .length = 0, .flags = remote::k_storage_vol_download_sparse_stream},
        soon());
    if (!stream) return tell(stream.error());
    const UniqueFd file{open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
    std::uint64_t size = 0, holes = 0;
    const auto done = stream->receive_all(
        [&](ByteView piece) -> client::Done {
            if (pwrite(file.get(), piece.data(), piece.size(), static_cast<off_t>(size)) !=
                static_cast<ssize_t>(piece.size()))
                return client::fail_system(errno, "cannot write the file");
            size += piece.size();
            return {};
        },
        [&](std::uint64_t length) -> client::Done {
            size += length;
            ++holes;
            return {};
        },
        client::Deadline::in(k_patience));
    if (!done) return tell(done.error());
    if (ftruncate(file.get(), static_cast<off_t>(size)) < 0) return 2;
    fmt::print("{} bytes, {}\n", size, holes > 0 ? "with holes" : "without holes");
    return 0;
}

int abort_download(client::Connection& connection, const remote::StorageVol& volume) {
    auto stream = connection.remote().storage_vol_download(
        {.volume = volume, .offset = 0, .length = 0, .flags = 0}, soon());
    if (!stream) return tell(stream.error());
    if (const auto done = stream->abort(client::Deadline::in(k_patience)); !done) return tell(done.error());
    return list(connection);
}

int call_beside(client::Connection& connection, const remote::StorageVol& volume) {
    auto stream = connection.remote().storage_vol_download(
        {.volume = volume, .offset = 0, .length = 0, .flags = 0}, soon());
    if (!stream) return tell(stream.error());
    int good = 0;
    for (int i = 0; i < 50; ++i) good += connection.remote().connect_get_lib_version(soon()) ? 1 : 0;
    std::uint64_t size = 0;
    const auto done = stream->receive_all(
        [&size](ByteView piece) -> client::Done {
            size += piece.size();
            return {};
        },
        {}, client::Deadline::in(k_patience));
    if (!done) return tell(done.error());
    fmt::print("{} calls, {} bytes\n", good, size);
    return 0;
}

int watch_events(client::Connection& connection) {
    std::mutex mutex;
    std::condition_variable came;
    std::vector<int> seen;
    auto subscription = connection.remote().on_domain_event_callback_lifecycle(
        [&](const remote::DomainEventCallbackLifecycleMsg& message) {
            const std::lock_guard lock(mutex);
            seen.push_back(message.msg.event);
            came.notify_all();
        },
        {}, soon());
    if (!subscription) return tell(subscription.error());
    const std::string xml =
        "<domain type='test'><name>watched</name><memory>8192</memory><os><type>hvm</type></os></domain>";
    const auto defined = connection.remote().domain_define_xml({.xml = xml}, soon());
    if (!defined) return tell(defined.error());
    if (const auto done = connection.remote().domain_create({.domain = defined->domain}, soon()); !done)
        return tell(done.error());
    if (const auto done = connection.remote().domain_destroy({.domain = defined->domain}, soon()); !done)
        return tell(done.error());
    if (const auto done = connection.remote().domain_undefine({.domain = defined->domain}, soon()); !done)
        return tell(done.error());
    std::unique_lock lock(mutex);
    came.wait_for(lock, k_patience, [&] { return seen.size() >= 4; });
    fmt::print("{}\n", fmt::join(seen, " "));
    lock.unlock();
    const auto done = subscription->cancel(client::Deadline::in(k_patience));
    return done ? 0 : tell(done.error());
}

int run(client::Connection& connection, const std::string& command, char** words, int count) {
    if (command == "list") return list(connection);
    if (command == "lookup" && count == 1) return look_up(connection, words[0]);
    if (command == "threads" && count == 2) return run_threads(connection, atoi(words[0]), atoi(words[1]));
    if (command == "events") return watch_events(connection);
    if (count < 2) return 2;
    const auto volume = find_volume(connection, words[0], words[1]);
    if (!volume) return tell(volume.error());
    if (command == "upload" && count == 3) return upload(connection, *volume, words[2]);
    if (command == "download" && count == 3) return download(connection, *volume, words[2]);
    if (command == "abort") return abort_download(connection, *volume);
    if (command == "beside") return call_beside(connection, *volume);
    return 2;
}

}  // namespace

int main(int count, char** words) {
    if (count < 3) return 2;
    client::Options options;
    options.service = client::Service::thread;
    const char* limit = getenv("VIRTGATE_DEADLINE");
    options.deadline = client::Deadline::in(limit == nullptr ? k_patience : Milliseconds{atoi(limit)});
    options.answerer = [](const client::Question& question) -> std::optional<std::string> {
        const char* answer = question.what == client::Ask::name       ? getenv("VIRTGATE_USER")
                             : question.what == client::Ask::password ? getenv("VIRTGATE_PASSWORD")
                                                                      : nullptr;
        return answer == nullptr ? std::nullopt : std::optional<std::string>(answer);
    };
    auto connection = client::Connection::open(words[1], options);
    if (!connection) return tell(connection.error());
    return run(*connection, words[2], words + 3, count - 3);
}
