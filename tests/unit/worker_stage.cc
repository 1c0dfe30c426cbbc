// SPDX-License-Identifier: LGPL-2.1-or-later
// worker_stage - one session of a worker between a client and a daemon that a test plays.
#include "tests/unit/worker_stage.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "proto/programs.h"
#include "tests/unit/pump.h"

namespace virtgate::test {

namespace {

// The first frame in `bytes`, which it leaves; nothing if it is not complete.
std::optional<Frame> cut(ByteVector& bytes) {
    if (bytes.size() < rpc::k_frame_min || bytes.size() < load_be32(bytes.data())) return std::nullopt;
    const auto size = static_cast<std::ptrdiff_t>(load_be32(bytes.data()));
    Frame frame{rpc::read_header(bytes.data()),
                ByteVector(bytes.begin() + rpc::k_frame_min, bytes.begin() + size)};
    bytes.erase(bytes.begin(), bytes.begin() + size);
    return frame;
}

template <class T>
ByteVector encoded(const T& value) {
    auto bytes = proto::encode(value);
    cr_assert(bytes.has_value());
    return *bytes;
}

}  // namespace

rpc::Header call_header(Procedure procedure, std::uint32_t serial) {
    return {.program = proto::remote::k_program,
            .version = proto::remote::k_version,
            .procedure = static_cast<std::uint32_t>(procedure),
            .type = rpc::Type::call,
            .serial = serial};
}

rpc::Header with(rpc::Header header, rpc::Type type, rpc::Status status) {
    header.type = type;
    header.status = status;
    return header;
}

ByteVector open_args(std::optional<std::string> uri, std::uint32_t flags) {
    return encoded(proto::remote::ConnectOpenArgs{.name = std::move(uri), .flags = flags});
}

ByteVector lookup_args(std::string_view name) {
    return encoded(proto::remote::DomainLookupByNameArgs{.name = std::string(name)});
}

ByteVector console_args() { return encoded(proto::remote::DomainOpenConsoleArgs{}); }

ByteVector filled(std::size_t size) {
    ByteVector bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + (i >> 8));
    return bytes;
}

ByteVector words(std::initializer_list<std::uint32_t> values) {
    ByteVector bytes(4 * values.size());
    std::byte* at = bytes.data();
    for (const std::uint32_t value : values) {
        store_be32(at, value);
        at += 4;
    }
    return bytes;
}

void append(ByteVector& to, ByteView from) { to.insert(to.end(), from.begin(), from.end()); }

rpc::Header lookup(std::uint32_t serial) { return call_header(Procedure::domain_lookup_by_name, serial); }

namespace {

proto::who::Ceiling all_procedures() {
    proto::who::Ceiling all;
    for (const auto* program : {&proto::remote_program(), &proto::qemu_program(), &proto::lxc_program()})
        all.programs.push_back({.program = program->number,
                                .version = program->version,
                                .procedures = ByteVector(64, std::byte{0xff})});
    return all;
}

}  // namespace

UniqueFd Stage::listen_at(const std::string& path) const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    UniqueFd listener{socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    cr_assert_eq(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    cr_assert_eq(listen(listener.get(), 4), 0);
    return listener;
}

std::shared_ptr<const policy::Rights> only(std::string_view procedure) {
    proto::policy::Grant grant;
    grant.role = "narrow";
    grant.everything = true;
    const auto& remote = proto::remote_program();
    ByteVector bits(64);
    for (const std::string_view name : {procedure, std::string_view("connect_open")})
        bits[remote.find(name)->number / 8] |= std::byte{1} << (remote.find(name)->number % 8);
    grant.may.programs.push_back({.program = remote.number, .version = remote.version, .procedures = bits});
    proto::policy::IdentityRights rights{.generation = 1, .identity = "alice", .grants = {}, .limits = {}};
    rights.grants.push_back(std::move(grant));
    return std::make_shared<const policy::Rights>(std::move(rights));
}

std::shared_ptr<const policy::Rights> everything() {
    proto::policy::Grant grant;
    grant.role = "admin";
    grant.everything = true;
    grant.may = all_procedures();
    proto::policy::IdentityRights rights{.generation = 1, .identity = "alice", .grants = {}, .limits = {}};
    rights.grants.push_back(std::move(grant));
    return std::make_shared<const policy::Rights>(std::move(rights));
}

Stage::Stage(const Client& client) {
    char name[] = "/tmp/virtgate-stage-XXXXXX";
    cr_assert(mkdtemp(name) != nullptr);
    directory_ = name;
    const std::string path = directory_ + "/up", path_ro = directory_ + "/up-ro";
    listener_ = listen_at(path);
    reader_listener_ = listen_at(path_ro);

    using namespace workerd::worker;
    uris_ = std::make_unique<UriTable>(
        std::vector<UriRow>{{"test:///default", directory_ + "/absent", {}},
                            {"test:///default", path, path_ro},
                            {"test:///absent", directory_ + "/absent", directory_ + "/absent-ro"}},
        "test:///default");
    scratch_ = std::make_unique<Scratch>();
    names_ = std::make_unique<NamesDirectory>(loop, *scratch_, connector_, Milliseconds{30'000});
    home_ = std::make_unique<Home>(
        Home{loop, *uris_, *scratch_, connector_, Milliseconds{30'000}, budget, witness, *names_, counts});
    auto pair = make_channel_pair();
    cr_assert(pair.has_value());
    client_ = std::move(pair->first);
    Client whom = client;
    if (!whom.rights) whom.rights = everything();
    session_ = std::make_unique<Session>(*home_, k_number, std::move(whom), std::move(pair->second),
                                         loop::to<&Stage::on_ended>(*this));
}

Stage::~Stage() {
    unlink((directory_ + "/up").c_str());
    unlink((directory_ + "/up-ro").c_str());
    rmdir(directory_.c_str());
}

void Stage::on_ended(std::uint64_t number) noexcept {
    cr_assert_eq(number, k_number);
    session_.reset();
}

void Stage::pump() { test::pump(loop); }

void Stage::send(ByteView packet) { cr_assert(try_send(packet)); }

bool Stage::try_send(ByteView packet) {
    return channel::send_packet(client_.get(), packet) == channel::Outcome::done;
}

std::optional<ByteVector> Stage::packet() {
    ByteVector buffer(channel::k_packet_max);
    std::size_t size = 0;
    if (channel::receive_packet(client_.get(), buffer, size) != channel::Outcome::done) return std::nullopt;
    buffer.resize(size);
    return buffer;
}

Frame Stage::frame() {
    for (;;) {
        if (auto frame = cut(came_)) return std::move(*frame);
        pump();
        const auto more = packet();
        cr_assert(more.has_value(), "no frame comes to the client");
        came_.insert(came_.end(), more->begin(), more->end());
    }
}

bool Stage::is_quiet() {
    pump();
    return came_.empty() && !packet().has_value();
}

void Stage::accept() {
    cr_assert(is_connected(), "no connection comes to the daemon");
    daemon_ = UniqueFd{accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
    reader_ = !daemon_;
    if (reader_)
        daemon_ = UniqueFd{accept4(reader_listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
    cr_assert(static_cast<bool>(daemon_));
    asked_.clear();
}

bool Stage::is_connected() {
    pump();
    pollfd both[]{{listener_.get(), POLLIN, 0}, {reader_listener_.get(), POLLIN, 0}};
    return poll(both, 2, 0) > 0;
}

ByteVector Stage::read_all() {
    ByteVector all = std::move(asked_);
    asked_.clear();
    for (;;) {
        pump();
        std::byte buffer[65536];
        const ssize_t n = recv(daemon_.get(), buffer, sizeof buffer, 0);
        if (n <= 0) return all;
        all.insert(all.end(), buffer, buffer + n);
    }
}

Frame Stage::asked() {
    asked_ = read_all();
    auto frame = cut(asked_);
    cr_assert(frame.has_value(), "no frame comes to the daemon");
    return std::move(*frame);
}

void Stage::answer(const rpc::Header& header, ByteView payload) {
    const ByteVector frame = rpc::make_frame(header, payload);
    cr_assert_eq(write(frame), frame.size());
}

std::size_t Stage::write(ByteView bytes) {
    const ssize_t n = ::send(daemon_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    return n < 0 ? 0 : static_cast<std::size_t>(n);
}

void Stage::open(std::optional<std::string> uri, std::uint32_t flags) {
    send(call_header(Procedure::connect_open, 1), open_args(std::move(uri), flags));
    accept();
    const Frame list = asked();
    answer(with(list.header, rpc::Type::reply), encoded(proto::remote::AuthListRet{}));
    const Frame open = asked();
    answer(with(open.header, rpc::Type::reply));
    const Frame reply = frame();
    cr_assert_eq(reply.header.serial, 1);
    cr_assert_eq(reply.header.status, rpc::Status::ok);
}

std::string error_text(const Frame& frame) {
    cr_assert_eq(frame.header.status, rpc::Status::error);
    return rpc::read_error_text(frame.payload);
}

int error_code(const Frame& frame) {
    cr_assert_eq(frame.header.status, rpc::Status::error);
    return static_cast<int>(load_be32(frame.payload.data()));
}

void expect_refusal(Stage& stage, std::uint32_t serial, int code, std::string_view text) {
    const Frame reply = stage.frame();
    cr_assert_eq(reply.header.type, rpc::Type::reply);
    cr_assert_eq(reply.header.serial, serial);
    cr_assert_eq(error_code(reply), code);
    cr_assert_eq(error_text(reply), text);
}

}  // namespace virtgate::test
