// SPDX-License-Identifier: LGPL-2.1-or-later
// locker_rig - a locker with a holder that does what the test wants, and clients, in one fake loop.
#include "tests/unit/locker_rig.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "proto/codec.h"
#include "proto/supervise.h"

namespace virtgate::lockd::locker::test {

namespace holder = proto::holder;
namespace lock = proto::lock;
namespace supervise = proto::supervise;

Directory::Directory() {
    char name[] = "/tmp/test-locker-XXXXXX";
    cr_assert_not_null(mkdtemp(name));
    path_ = name;
}

Directory::~Directory() {
    std::error_code none;
    std::filesystem::remove_all(path_, none);
}

bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

void write_file(const std::string& path, std::string_view text) {
    const UniqueFd file{open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)};
    cr_assert(file && write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

bool is_free(const std::string& path) {
    const UniqueFd file{open(path.c_str(), O_RDWR | O_CLOEXEC)};
    if (!file) return true;
    struct flock wanted {};
    wanted.l_type = F_WRLCK;
    wanted.l_len = 1;
    return fcntl(file.get(), F_OFD_GETLK, &wanted) == 0 && wanted.l_type == F_UNLCK;
}

// --- the holder ---

UniqueFd Holder::connect() {
    auto pair = make_channel_pair();
    cr_assert(pair.has_value());
    waiting_.clear();
    is_closed = false;
    channel_ =
        std::make_unique<rpc::Control>(loop_, std::move(pair->first), 1, loop::to<&Holder::on_message>(*this),
                                       loop::to<&Holder::on_closed>(*this), 4096);
    return std::move(pair->second);
}

void Holder::send_serve() {
    cr_assert(
        channel_
            ->send(rpc::make_message(supervise::k_program, supervise::k_version, supervise::Procedure::serve),
                   {})
            .has_value());
}

void Holder::send_hand_over() {
    cr_assert(
        channel_
            ->send(rpc::make_message(holder::k_program, holder::k_version, holder::Procedure::hand_over), {})
            .has_value());
}

void Holder::on_message(rpc::Control::Message& message) noexcept {
    if (message.header.program == supervise::k_program) {
        ++ready;
        return;
    }
    Message one{message.header,
                {message.payload.begin(), message.payload.end()},
                message.fds.count() != 0 ? message.fds.take(0) : UniqueFd{}};
    if (mode == Mode::later)
        waiting_.push_back(std::move(one));
    else
        serve(one.header, one.payload, std::move(one.fd), mode == Mode::at_once);
}

bool Holder::answer_one(bool well) {
    if (waiting_.empty()) return false;
    Message one = std::move(waiting_.front());
    waiting_.erase(waiting_.begin());
    serve(one.header, one.payload, std::move(one.fd), well);
    return true;
}

// The rules of proto/holder.x, to the letter: a locker that breaks one fails the test.
void Holder::serve(const rpc::Header& header, const ByteVector& payload, UniqueFd fd, bool well) {
    const auto procedure = static_cast<holder::Procedure>(header.procedure);
    if (!well && procedure != holder::Procedure::restore) {
        static_cast<void>(channel_->send_error(header, rpc::k_code_operation_failed, "the journal is full"));
        return;
    }
    if (procedure == holder::Procedure::keep) {
        const auto arguments = proto::decode<holder::KeepArgs>(payload);
        cr_assert(arguments.has_value());
        auto record = proto::decode<proto::kept::Kept>(arguments->record);
        cr_assert(record.has_value(), "a record that cannot be read again");
        const auto found = things.find(arguments->slot);
        cr_assert_eq(found == things.end(), static_cast<bool>(fd),
                     "a descriptor belongs to a new slot and to no other");
        Thing& thing = things[arguments->slot];
        if (fd) thing.fd = std::move(fd);
        thing.record = std::move(*record);
    } else if (procedure == holder::Procedure::drop) {
        const auto arguments = proto::decode<holder::DropArgs>(payload);
        cr_assert(arguments.has_value());
        for (const Slot slot : arguments->slots) {
            cr_assert_eq(things.erase(slot), 1, "slot %u is dropped and was not kept", slot);
            dropped.push_back(slot);
        }
    } else {
        const auto arguments = proto::decode<holder::RestoreArgs>(payload);
        cr_assert(arguments.has_value());
        return restore(header, arguments->from);
    }
    static_cast<void>(channel_->send_reply(header, {}));
}

void Holder::restore(const rpc::Header& header, Slot from) {
    holder::RestoreRet ret;
    std::vector<int> fds;
    for (auto thing = things.lower_bound(from); thing != things.end() && fds.size() < 3; ++thing) {
        ret.things.push_back({.slot = thing->first, .record = *proto::encode(thing->second.record)});
        fds.push_back(thing->second.fd.get());
    }
    static_cast<void>(channel_->send_reply(header, *proto::encode(ret), fds));
}

// --- the rig ---

namespace {

std::int64_t some_time() noexcept { return 1'700'000'000; }

}  // namespace

Rig::Rig(bool fencing)
    : spaces(directory.at("spaces")),
      direct(directory.at("direct")),
      holder(loop),
      listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    for (const std::string& path : {spaces, direct}) cr_assert_eq(mkdir(path.c_str(), 0700), 0);
    config.users = {geteuid()};
    config.max_clients = 64;
    config.lock_spaces = {spaces};
    config.direct = {direct};
    config.fencing = fencing;
    sockaddr_un any{};
    any.sun_family = AF_UNIX;
    cr_assert_eq(bind(listener.get(), reinterpret_cast<sockaddr*>(&any), sizeof(sa_family_t)), 0);
    cr_assert_eq(::listen(listener.get(), 64), 0);
    name_size = sizeof name;
    cr_assert_eq(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&name), &name_size), 0);
    start();
}

Rig::~Rig() = default;

void Rig::start(bool held_back) {
    locker = std::make_unique<Locker>(loop, config, holder.connect(), some_time);
    locker->listen(UniqueFd{fcntl(listener.get(), F_DUPFD_CLOEXEC, 0)}, k_own_listener);
    locker->start();
    turn();
    if (!held_back) holder.send_serve();
    turn();
}

void Rig::crash() {
    locker.reset();
    holder.hang_up();
    turn();
}

bool Rig::hand_over() {
    holder.send_hand_over();
    turn();
    const bool ended = loop.stopped() && locker->status() == 0;
    crash();
    return ended;
}

void Rig::turn() {
    // What one part does may be for another one to hear of.
    for (int i = 0; i < 4; ++i) {
        virtgate::test::pump(loop);
        loop.run();
    }
}

// --- a client ---

Client::Client(Rig& rig) : rig_(rig), fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    cr_assert_eq(connect(fd_.get(), reinterpret_cast<const sockaddr*>(&rig.name), rig.name_size), 0);
    rig.turn();
}

template <class Arguments>
std::string Client::ask(lock::Procedure procedure, const Arguments& arguments) {
    const ByteVector frame = rpc::make_frame(
        rpc::make_call(lock::k_program, lock::k_version, procedure, serial_++), *proto::encode(arguments));
    send(fd_.get(), frame.data(), frame.size(), MSG_NOSIGNAL);
    rig_.turn();
    return answer();
}

std::string Client::answer() {
    rig_.turn();
    std::byte piece[8192];
    for (ssize_t n; (n = recv(fd_.get(), piece, sizeof piece, 0)) >= 0;) {
        if (n == 0) {
            is_at_end = true;
            break;
        }
        buffer_.insert(buffer_.end(), piece, piece + n);
    }
    if (buffer_.size() < 4 || buffer_.size() < load_be32(buffer_.data())) return {};
    const std::size_t size = load_be32(buffer_.data());
    const rpc::Header header = rpc::read_header(buffer_.data());
    const ByteVector payload(buffer_.begin() + rpc::k_frame_min,
                             buffer_.begin() + static_cast<std::ptrdiff_t>(size));
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(size));
    if (header.status == rpc::Status::ok) return "ok";
    return fmt::format("{}/{} {}", rpc::read_error_code(payload), load_be32(payload.data() + 4),
                       rpc::read_error_text(payload));
}

void Client::hang_up() {
    fd_.reset();
    rig_.turn();
}

std::string Client::register_owner(std::uint32_t process, std::uint32_t id, std::uint32_t flags) {
    lock::RegisterArgs arguments;
    arguments.owner.name = "guest";
    arguments.owner.id = id;
    arguments.owner.process_id = process;
    arguments.flags = flags;
    return ask(lock::Procedure::register_, arguments);
}
std::string Client::restrict(std::uint32_t flags) {
    return ask(lock::Procedure::restrict, lock::RestrictArgs{.flags = flags});
}
std::string Client::open_new(const std::string& path, std::uint32_t flags) {
    return ask(lock::Procedure::new_, lock::NewArgs{.path = path, .flags = flags});
}
std::string Client::open_space(const std::string& path) {
    return ask(lock::Procedure::create_lockspace, lock::CreateLockSpaceArgs{.path = path});
}
std::string Client::create(const std::string& path, const std::string& resource, std::uint32_t flags) {
    return ask(lock::Procedure::create_resource, lock::CreateResourceArgs{path, resource, flags});
}
std::string Client::remove(const std::string& path, const std::string& resource, std::uint32_t flags) {
    return ask(lock::Procedure::delete_resource, lock::DeleteResourceArgs{path, resource, flags});
}
std::string Client::acquire(const std::string& path, const std::string& resource, std::uint32_t flags) {
    return ask(lock::Procedure::acquire_resource, lock::AcquireResourceArgs{path, resource, flags});
}
std::string Client::release(const std::string& path, const std::string& resource, std::uint32_t flags) {
    return ask(lock::Procedure::release_resource, lock::ReleaseResourceArgs{path, resource, flags});
}

}  // namespace virtgate::lockd::locker::test
