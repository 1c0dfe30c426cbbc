// SPDX-License-Identifier: LGPL-2.1-or-later
// sasl_stage - virtgate-sasl in a process of its own, and clients of libsasl2 that log in to it.
#include "tests/unit/support/sasl_stage.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "libshared/rpc/error.h"
#include "libshared/rpc/header.h"
#include "netd/doorman/sasl/service.h"
#include "proto/codec.h"
#include "proto/net.h"
#include "proto/supervise.h"

namespace virtgate::test {

namespace {

namespace sasl = virtgate::netd::doorman::sasl;
namespace exchange = proto::exchange;
namespace supervise = proto::supervise;

constexpr int k_patience_ms = 10'000;

bool wait_readable(int fd, int ms = k_patience_ms) {
    pollfd polled{fd, POLLIN, 0};
    return poll(&polled, 1, ms) > 0;
}

template <class F>
sasl_callback_ft callback(F* function) {
    return reinterpret_cast<sasl_callback_ft>(reinterpret_cast<void (*)()>(function));
}

[[noreturn]] void serve(proto::config::SaslConfig config, UniqueFd parent) {
    auto library = sasl::Library::load(std::move(config));
    if (!library) {
        fmt::print(stderr, "{}\n", library.error().text);
        _exit(78);
    }
    const auto loop = loop::make_event_loop();
    {
        sasl::Service service(*loop, std::move(parent), **library, {});
        if (!service.report_ready()) _exit(71);
        loop->run();
    }
    _exit(0);
}

struct Packet {
    channel::Outcome outcome = channel::Outcome::blocked;
    rpc::Header header;
    ByteVector payload;
    UniqueFd fd;
};

Packet receive_packet(int socket) {
    static std::array<std::byte, channel::k_packet_max> buffer;
    Packet packet;
    if (!wait_readable(socket)) return packet;
    channel::ReceivedFds fds;
    std::size_t size = 0;
    packet.outcome = channel::receive_packet(socket, buffer, size, &fds, 1);
    if (packet.outcome != channel::Outcome::done) return packet;
    packet.header = rpc::read_header(buffer.data());
    packet.payload.assign(buffer.begin() + rpc::k_frame_min, buffer.begin() + static_cast<long>(size));
    if (fds.count() != 0) packet.fd = fds.take(0);
    return packet;
}

}  // namespace

Answer Visitor::call(std::uint32_t procedure, ByteView payload) {
    const auto header = rpc::make_call(exchange::k_program, exchange::k_version,
                                       static_cast<exchange::Procedure>(procedure), ++serial_);
    if (channel::send_packet(channel_.get(), rpc::make_frame(header, payload)) != channel::Outcome::done) {
        Answer answer;
        answer.outcome = channel::Outcome::closed;
        return answer;
    }
    return receive();
}

Answer Visitor::begin(const std::string& mechanism, const Token& data) {
    const auto payload = proto::encode(exchange::BeginArgs{mechanism, data});
    return call(1, *payload);
}

Answer Visitor::go_on(const Token& data) {
    const auto payload = proto::encode(exchange::GoOnArgs{data});
    return call(2, *payload);
}

Answer Visitor::receive() {
    Packet packet = receive_packet(channel_.get());
    Answer answer;
    answer.outcome = packet.outcome;
    if (packet.outcome != channel::Outcome::done) return answer;
    cr_assert_eq(packet.header.serial, serial_);
    cr_assert_eq(packet.header.type, rpc::Type::reply);
    if (packet.header.status == rpc::Status::error) {
        const auto error = proto::decode<proto::net::Error>(packet.payload);
        cr_assert(error.has_value());
        answer.refused = true;
        answer.code = error->code;
        answer.text = rpc::read_error_text(packet.payload);
        return answer;
    }
    auto result = proto::decode<exchange::ExchangeRet>(packet.payload);
    cr_assert(result.has_value());
    answer.result = std::move(*result);
    answer.clear = std::move(packet.fd);
    return answer;
}

userdb::User make_user(const std::string& name, const std::string& password, std::vector<userdb::Hash> hashes,
                       const std::string& digest_realm) {
    userdb::User user;
    user.name = name;
    user.changed = 1700000000;
    for (const userdb::Hash hash : hashes)
        user.verifiers.push_back(*userdb::make_verifier(hash, password, userdb::k_iterations_min));
    if (!digest_realm.empty()) user.digest = *userdb::make_digest_secret(name, digest_realm, password);
    return user;
}

std::string make_users() {
    using userdb::Hash;
    auto users = userdb::Users::make_new();
    users.set_iterations(userdb::k_iterations_min);
    users.put(
        make_user("alice", "open sesame", {Hash::sha1, Hash::sha256, Hash::sha512}, "host.example.org"));
    users.put(make_user("bob", "builder", {Hash::sha256}));
    return users.to_text();
}

double milliseconds_since(Instant start) {
    return std::chrono::duration<double, std::milli>(system_clock().now() - start).count();
}

proto::config::SaslConfig make_config(std::vector<std::string> mechanisms) {
    proto::config::SaslConfig config;
    config.log_level = 0;
    config.mechanisms = std::move(mechanisms);
    config.host_name = "host.example.org";
    config.min_layer = 56;
    config.exchange_timeout = 5000;
    config.exchanges = 128;
    return config;
}

SaslStage::SaslStage(proto::config::SaslConfig config, const std::string& users) {
    signal(SIGPIPE, SIG_IGN);
    std::string name = "/tmp/virtgate-test-sasl-XXXXXX";
    cr_assert(mkdtemp(name.data()) != nullptr);
    directory_ = name;
    if (!users.empty()) {
        config.users = directory_ + "/users";
        rewrite_users(users);
    }
    auto pair = make_channel_pair();
    cr_assert(pair.has_value());
    pid_ = fork();
    if (pid_ == 0) {
        pair->first.reset();
        set_log_level(getenv("VIRTGATE_TEST_LOG") != nullptr ? Level::debug : Level::error);
        serve(std::move(config), std::move(pair->second));
    }
    cr_assert_gt(pid_, 0);
    parent_ = std::move(pair->first);
    pair->second.reset();
    const Packet ready = receive_packet(parent_.get());
    cr_assert(ready.header ==
                  rpc::make_message(supervise::k_program, supervise::k_version, supervise::Procedure::ready),
              "virtgate-sasl does not start");
    auto doorman = make_channel_pair();
    const auto adopt = proto::encode(supervise::AdoptArgs{supervise::PeerRole::peer_doorman, 0});
    const auto header =
        rpc::make_message(supervise::k_program, supervise::k_version, supervise::Procedure::adopt);
    cr_assert_eq(channel::send_packet(parent_.get(), rpc::make_frame(header, *adopt),
                                      std::array{doorman->second.get()}),
                 channel::Outcome::done);
    doorman_ = std::move(doorman->first);
}

SaslStage::~SaslStage() {
    end();
    std::filesystem::remove_all(directory_);
}

bool SaslStage::end() {
    if (pid_ < 0) return true;
    parent_.reset();
    doorman_.reset();
    for (int i = 0; i < 500; ++i) {
        if (waitpid(pid_, nullptr, WNOHANG) == pid_) {
            pid_ = -1;
            return true;
        }
        usleep(10'000);
    }
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
    return false;
}

proto::sasl::MechanismsRet SaslStage::ask_mechanisms() {
    const auto header =
        rpc::make_call(proto::sasl::k_program, proto::sasl::k_version, proto::sasl::Procedure::mechanisms, 7);
    cr_assert_eq(channel::send_packet(doorman_.get(), rpc::make_frame(header, {})), channel::Outcome::done);
    const Packet packet = receive_packet(doorman_.get());
    cr_assert(packet.header == rpc::reply_to(header));
    auto result = proto::decode<proto::sasl::MechanismsRet>(packet.payload);
    cr_assert(result.has_value());
    return std::move(*result);
}

Visitor SaslStage::open(bool needs_layer, unsigned strength) {
    auto pair = make_channel_pair();
    cr_assert(pair.has_value());
    proto::sasl::ExchangeArgs terms;
    terms.exchange = ++exchange_;
    terms.needs_layer = needs_layer;
    terms.strength = needs_layer ? 0 : strength;
    terms.local = "127.0.0.1;16514";
    terms.remote = "127.0.0.1;40000";
    const auto payload = proto::encode(terms);
    const auto header =
        rpc::make_message(proto::sasl::k_program, proto::sasl::k_version, proto::sasl::Procedure::exchange);
    cr_assert_eq(channel::send_packet(doorman_.get(), rpc::make_frame(header, *payload),
                                      std::array{pair->second.get()}),
                 channel::Outcome::done);
    return Visitor{std::move(pair->first)};
}

void SaslStage::rewrite_users(const std::string& text) const {
    std::ofstream(directory_ + "/users.new") << text;
    std::filesystem::permissions(directory_ + "/users.new", std::filesystem::perms{0600});
    std::filesystem::rename(directory_ + "/users.new", directory_ + "/users");
}

std::size_t SaslStage::count_fds() const {
    const std::filesystem::directory_iterator all{fmt::format("/proc/{}/fd", pid_)};
    return static_cast<std::size_t>(std::distance(std::filesystem::begin(all), std::filesystem::end(all)));
}

std::size_t SaslStage::data_kib(pid_t pid) {
    std::ifstream file{fmt::format("/proc/{}/status", pid)};
    for (std::string word; file >> word;) {
        std::size_t kib = 0;
        if (word == "VmData:" && file >> kib) return kib;
    }
    return 0;
}

std::vector<pid_t> SaslStage::children() const {
    std::ifstream file{fmt::format("/proc/{0}/task/{0}/children", pid_)};
    return {std::istream_iterator<pid_t>{file}, {}};
}

bool SaslStage::wait_for_children(std::size_t count) const {
    for (int i = 0; i < 500; ++i) {
        if (children().size() == count) return true;
        usleep(10'000);
    }
    return false;
}

Client::Client(std::string user, std::string password, bool needs_layer, std::string realm)
    : user_(std::move(user)), realm_(std::move(realm)), secret_(sizeof(sasl_secret_t) + password.size()) {
    static const int initialised = sasl_client_init(nullptr);
    cr_assert_eq(initialised, SASL_OK);
    auto* secret = reinterpret_cast<sasl_secret_t*>(secret_.data());
    secret->len = password.size();
    std::copy(password.begin(), password.end(), secret->data);
    callbacks_ = {{SASL_CB_AUTHNAME, callback(&Client::on_name), this},
                  {SASL_CB_USER, callback(&Client::on_name), this},
                  {SASL_CB_PASS, callback(&Client::on_password), this},
                  {SASL_CB_GETREALM, callback(&Client::on_realm), this},
                  {SASL_CB_LIST_END, nullptr, nullptr}};
    cr_assert_eq(sasl_client_new("libvirt", "host.example.org", nullptr, nullptr, callbacks_.data(),
                                 SASL_SUCCESS_DATA, &connection_),
                 SASL_OK);
    sasl_security_properties_t properties{};
    properties.maxbufsize = 65536;
    if (needs_layer) {
        properties.min_ssf = 56;
        properties.max_ssf = 100000;
        properties.security_flags = SASL_SEC_NOANONYMOUS | SASL_SEC_NOPLAINTEXT;
    } else {
        const sasl_ssf_t external = 256;
        cr_assert_eq(sasl_setprop(connection_, SASL_SSF_EXTERNAL, &external), SASL_OK);
    }
    cr_assert_eq(sasl_setprop(connection_, SASL_SEC_PROPS, &properties), SASL_OK);
}

Client::~Client() { sasl_dispose(&connection_); }

int Client::on_name(void* self, int id, const char** value, unsigned* size) {
    const std::string& user = static_cast<Client*>(self)->user_;
    // Nobody wants to be somebody else.
    *value = id == SASL_CB_AUTHNAME ? user.c_str() : "";
    if (size != nullptr) *size = static_cast<unsigned>(std::string_view{*value}.size());
    return SASL_OK;
}

int Client::on_password(sasl_conn_t*, void* self, int, sasl_secret_t** secret) {
    *secret = reinterpret_cast<sasl_secret_t*>(static_cast<Client*>(self)->secret_.data());
    return SASL_OK;
}

int Client::on_realm(void* self, int, const char** available, const char** value) {
    const std::string& realm = static_cast<Client*>(self)->realm_;
    *value = !realm.empty() ? realm.c_str() : available != nullptr ? available[0] : "";
    return SASL_OK;
}

int Client::keep(int status, const char* out, unsigned size) {
    token_.reset();
    if (out != nullptr) {
        const ByteView bytes = as_bytes({out, size});
        token_.emplace(bytes.begin(), bytes.end());
    }
    return status;
}

int Client::start(const std::string& mechanism) {
    const char* out = nullptr;
    const char* chosen = nullptr;
    unsigned size = 0;
    const int status = sasl_client_start(connection_, mechanism.c_str(), nullptr, &out, &size, &chosen);
    return keep(status, out, size);
}

int Client::step(const Token& data) {
    const char* out = nullptr;
    unsigned size = 0;
    const std::string text{data ? as_text(*data) : std::string_view{}};
    const int status = sasl_client_step(connection_, data ? text.c_str() : nullptr,
                                        static_cast<unsigned>(text.size()), nullptr, &out, &size);
    return keep(status, out, size);
}

unsigned Client::strength() const {
    const void* value = nullptr;
    cr_assert_eq(sasl_getprop(connection_, SASL_SSF, &value), SASL_OK);
    return *static_cast<const sasl_ssf_t*>(value);
}

unsigned Client::max_piece() const {
    const void* value = nullptr;
    cr_assert_eq(sasl_getprop(connection_, SASL_MAXOUTBUF, &value), SASL_OK);
    return *static_cast<const unsigned*>(value);
}

std::string Client::encode(std::string_view clear) {
    const char* out = nullptr;
    unsigned size = 0;
    cr_assert_eq(sasl_encode(connection_, clear.data(), static_cast<unsigned>(clear.size()), &out, &size),
                 SASL_OK);
    return {out, size};
}

std::optional<std::string> Client::decode(std::string_view coded) {
    const char* out = nullptr;
    unsigned size = 0;
    if (sasl_decode(connection_, coded.data(), static_cast<unsigned>(coded.size()), &out, &size) != SASL_OK)
        return {};
    return out == nullptr ? std::string{} : std::string{out, size};
}

Login log_in(Visitor& visitor, Client& client, const std::string& mechanism) {
    Login login;
    int status = client.start(mechanism);
    if (status != SASL_OK && status != SASL_CONTINUE) return login;
    login.last = visitor.begin(mechanism, client.token());
    for (login.calls = 1; login.calls < 10; ++login.calls) {
        if (login.last.outcome != channel::Outcome::done || login.last.refused) return login;
        login.answers.push_back(login.last.result.data);
        if (login.last.result.complete && status == SASL_OK && !login.last.result.data) break;
        if (status != SASL_OK || login.last.result.data) status = client.step(login.last.result.data);
        if (status != SASL_OK && status != SASL_CONTINUE) return login;
        if (login.last.result.complete) break;
        login.last = visitor.go_on(client.token());
    }
    login.complete = status == SASL_OK && login.last.result.complete;
    return login;
}

}  // namespace virtgate::test
