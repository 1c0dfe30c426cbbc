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

UniqueFd Holder::connect(bool opens) {
    auto pair = make_channel_pair();
    cr_assert(pair.has_value());
    is_closed = false;
    channel_ =
        std::make_unique<rpc::Control>(loop_, std::move(pair->first), 0, loop::to<&Holder::on_message>(*this),
                                       loop::to<&Holder::on_closed>(*this), 4096);
    if (opens) open_queue();
    return std::move(pair->second);
}

void Holder::open_queue() {
    watch_.reset();
    int ends[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    reading_ = UniqueFd{ends[0]};
    writing_ = UniqueFd{ends[1]};
    serial_ = 0;
    watch_ = loop_.watch(ends[0], loop::Want::read, loop::to<&Holder::on_queue>(*this));
    const auto payload = proto::encode(holder::QueueArgs{.things_max = things_max, .grant = grant()});
    cr_assert(channel_
                  ->send(rpc::make_message(holder::k_program, holder::k_version, holder::Procedure::queue),
                         *payload, std::span(&ends[1], 1))
                  .has_value());
    switch_to(mode_);
}

void Holder::hang_up() {
    channel_.reset();
    on_queue(loop::Want::read);
}

holder::GrantArgs Holder::grant() const {
    constexpr std::uint64_t k_much = 1U << 30;
    if (mode_ == Mode::refusing) return {.bytes = 0, .more = false};
    return {.bytes = k_much, .more = true};
}

void Holder::tell_grant() {
    if (!channel_ || !reading_) return;
    cr_assert(channel_
                  ->send(rpc::make_message(holder::k_program, holder::k_version, holder::Procedure::grant),
                         *proto::encode(grant()))
                  .has_value());
}

// Packets of one byte are the test's own: they fill the queue.
void Holder::switch_to(Mode mode) {
    const bool grants = (mode == Mode::refusing) != (mode_ == Mode::refusing);
    mode_ = mode;
    if (grants) tell_grant();
    if (!reading_) return;
    if (mode == Mode::stuck) {
        watch_->set(loop::Want::nothing);
        const char byte = 0;
        while (send(writing_.get(), &byte, 1, MSG_NOSIGNAL) == 1) continue;
    } else {
        on_queue(loop::Want::read);
        watch_->set(loop::Want::read);
    }
    // What was told is heard.
    virtgate::test::pump(static_cast<loop::FakeLoop&>(loop_));
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
    const auto arguments = proto::decode<holder::RestoreArgs>(message.payload);
    cr_assert(arguments.has_value() &&
              message.header.procedure == static_cast<std::uint32_t>(holder::Procedure::restore));
    restore(message.header, arguments->from);
}

void Holder::break_queue() {
    watch_->set(loop::Want::nothing);
    cr_assert_eq(shutdown(reading_.get(), SHUT_RDWR), 0);
}

void Holder::on_queue(loop::Want) noexcept {
    std::vector<std::byte> buffer(channel::k_packet_max);
    for (;;) {
        std::size_t size = 0;
        channel::ReceivedFds fds;
        if (!reading_ ||
            channel::receive_packet(reading_.get(), buffer, size, &fds, 1) != channel::Outcome::done)
            return;
        if (size == 1) continue;
        cr_assert(size >= rpc::k_frame_min && load_be32(buffer.data()) == size);
        take(rpc::read_header(buffer.data()),
             ByteView(buffer).subspan(rpc::k_frame_min, size - rpc::k_frame_min),
             fds.count() != 0 ? fds.take(0) : UniqueFd{});
    }
}

// The rules of proto/holder.x, to the letter: a locker that breaks one fails the test.
void Holder::take(const rpc::Header& header, ByteView payload, UniqueFd fd) {
    const auto procedure = static_cast<holder::Procedure>(header.procedure);
    cr_assert(header == rpc::make_message(holder::k_program, holder::k_version, procedure, ++serial_));
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
        cr_assert_leq(things.size(), things_max);
        return;
    }
    const auto arguments = proto::decode<holder::DropArgs>(payload);
    cr_assert(procedure == holder::Procedure::drop && arguments.has_value() && !fd);
    for (const Slot slot : arguments->slots) {
        cr_assert_eq(things.erase(slot), 1, "slot %u is dropped and was not kept", slot);
        dropped.push_back(slot);
    }
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
    config.locks_per_identity = 1'024;
    sockaddr_un any{};
    any.sun_family = AF_UNIX;
    cr_assert_eq(bind(listener.get(), reinterpret_cast<sockaddr*>(&any), sizeof(sa_family_t)), 0);
    cr_assert_eq(::listen(listener.get(), 64), 0);
    name_size = sizeof name;
    cr_assert_eq(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&name), &name_size), 0);
    start();
}

Rig::~Rig() = default;

void Rig::start(bool held_back, bool opens) {
    locker = std::make_unique<Locker>(loop, config, holder.connect(opens), some_time);
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
