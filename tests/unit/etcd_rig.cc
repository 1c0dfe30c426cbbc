// SPDX-License-Identifier: LGPL-2.1-or-later
// etcd_rig - an etcd of a test's own, which answers or not as the test says, and a leaser that asks it.
#include "tests/unit/etcd_rig.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "libshared/rpc/error.h"
#include "lockd/etcd/base64.h"
#include "proto/codec.h"
#include "proto/supervise.h"

namespace virtgate::test {

using lockd::etcd::decode_base64;
using lockd::etcd::encode_base64;
using nlohmann::json;
using proto::lease::Procedure;

namespace {

std::string bytes_of(const json& object, const char* name) {
    return object.contains(name) ? decode_base64(object[name].get<std::string>()).value() : std::string{};
}

std::uint64_t number_of(const json& object, const char* name) {
    return object.contains(name) ? std::stoull(object[name].get<std::string>()) : 0;
}

bool is_within(const std::string& key, const json& range) {
    const std::string begin = bytes_of(range, "key"), end = bytes_of(range, "range_end");
    return end.empty() ? key == begin : key >= begin && key < end;
}

std::array<UniqueFd, 2> make_channel() {
    int ends[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    return {UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

std::vector<std::byte> to_bytes(const std::string& text) {
    const ByteView bytes = as_bytes(text);
    return {bytes.begin(), bytes.end()};
}

}  // namespace

// One HTTP connection: requests one after the other; a watch takes it for good.
class FakeEtcd::Connection {
public:
    Connection(FakeEtcd& etcd, UniqueFd fd)
        : etcd_(etcd),
          fd_(std::move(fd)),
          watch_(etcd.loop_.watch(fd_.get(), loop::Want::read, loop::to<&Connection::on_readable>(*this))) {}

    [[nodiscard]] bool is_closed() const noexcept { return !fd_; }
    [[nodiscard]] bool is_watch() const noexcept { return is_watch_; }
    void close() noexcept {
        watch_.reset();
        fd_.reset();
    }
    void say(const std::string& text) {
        if (fd_) cr_assert_eq(send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL), ssize_t(text.size()));
    }
    void answer(int status, const json& reply) {
        const std::string text = reply.dump();
        say(fmt::format("HTTP/1.1 {} X\r\nContent-Length: {}\r\n\r\n{}", status, text.size(), text));
    }
    void say_chunk(const std::string& line) { say(fmt::format("{:x}\r\n{}\n\r\n", line.size() + 1, line)); }

private:
    void on_readable(loop::Want) noexcept {
        std::array<char, 65'536> buffer;
        const ssize_t n = recv(fd_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (n <= 0 || etcd_.is_gone) return close();
        input_.append(buffer.data(), static_cast<std::size_t>(n));
        while (serve_one() && fd_) {
        }
    }

    bool serve_one() {
        const std::size_t end = input_.find("\r\n\r\n");
        if (end == std::string::npos) return false;
        const std::string head = input_.substr(0, end);
        const std::size_t at = head.find("Content-Length: ");
        const std::size_t size = std::stoul(head.substr(at + 16));
        if (input_.size() < end + 4 + size) return false;
        const json body = json::parse(input_.substr(end + 4, size));
        input_.erase(0, end + 4 + size);
        const std::string path = head.substr(5, head.find(' ', 5) - 5);
        int status = 200;
        if (!etcd_.token.empty() && path != "/v3/auth/authenticate" &&
            head.find("Authorization: " + etcd_.token) == std::string::npos) {
            answer(401, {{"message", "etcdserver: invalid auth token"}, {"code", 16}});
            return true;
        }
        if (path == "/v3/watch") {
            is_watch_ = true;
            say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            say_chunk(json{{"result", {{"created", true}}}}.dump());
            return false;
        }
        Fate fate = Fate::answered;
        if (path == "/v3/kv/txn") {
            ++etcd_.transactions;
            if (!etcd_.fates.empty()) {
                fate = etcd_.fates.front();
                etcd_.fates.pop_front();
            }
        }
        if (fate == Fate::late) etcd_.late_.push_back(body);
        if (fate == Fate::late || fate == Fate::lost) return close(), false;
        if (fate == Fate::twice) static_cast<void>(etcd_.serve(path, body, status));
        const json reply = etcd_.serve(path, body, status);
        if (fate == Fate::held_back) return etcd_.held_back_.emplace_back(this, reply), true;
        if (fate == Fate::lost_answer) return close(), false;
        if (fate == Fate::unavailable)
            answer(503, {{"message", "etcdserver: request timed out"}, {"code", 14}});
        else
            answer(status, reply);
        return true;
    }

    FakeEtcd& etcd_;
    UniqueFd fd_;
    std::unique_ptr<loop::Watch> watch_;
    std::string input_;
    bool is_watch_ = false;
};

FakeEtcd::FakeEtcd(loop::FakeLoop& loop)
    : loop_(loop), listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert_eq(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    cr_assert_eq(listen(listener_.get(), 16), 0);
    watch_ = loop.watch(listener_.get(), loop::Want::read, loop::to<&FakeEtcd::on_connection>(*this));
}

FakeEtcd::~FakeEtcd() = default;

std::string FakeEtcd::url() const {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    cr_assert_eq(getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    return fmt::format("http://127.0.0.1:{}", ntohs(address.sin_port));
}

void FakeEtcd::on_connection(loop::Want) noexcept {
    UniqueFd fd{accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
    if (fd && !is_gone) connections_.push_back(std::make_unique<Connection>(*this, std::move(fd)));
}

json FakeEtcd::serve(const std::string& path, const json& body, int& status) {
    const json header{{"revision", std::to_string(revision)}};
    if (path == "/v3/auth/authenticate") {
        ++logins;
        return {{"header", header}, {"token", token}};
    }
    if (path == "/v3/lease/grant") {
        leases[++next_lease_] = ttl;
        return {{"header", header}, {"ID", std::to_string(next_lease_)}, {"TTL", std::to_string(ttl)}};
    }
    if (path == "/v3/lease/keepalive") {
        ++keep_alives;
        json result{{"header", header}, {"ID", body["ID"]}};
        if (const auto found = leases.find(number_of(body, "ID")); found != leases.end())
            result["TTL"] = std::to_string(found->second);
        return {{"result", result}};
    }
    if (path == "/v3/kv/txn") return transact(body, status);
    cr_assert_eq(path, "/v3/kv/range");
    json reply = range(body);
    reply["header"] = header;
    return reply;
}

bool FakeEtcd::holds(const json& compare) const {
    const char* name = compare["target"] == "CREATE" ? "create_revision" : "mod_revision";
    const std::uint64_t wanted = number_of(compare, name);
    const auto judge = [&](std::uint64_t number) {
        return compare["result"] == "EQUAL" ? number == wanted : number > wanted;
    };
    bool any = false, all = true;
    for (const auto& [key, entry] : keys) {
        if (!is_within(key, compare)) continue;
        any = true;
        all = all && judge(name[0] == 'c' ? entry.created : entry.modified);
    }
    return any ? all : judge(0);
}

json FakeEtcd::range(const json& body) const {
    json found = json::array();
    for (const auto& [key, entry] : keys)
        if (is_within(key, body))
            found.push_back({{"key", encode_base64(key)},
                             {"value", encode_base64(entry.value)},
                             {"create_revision", std::to_string(entry.created)},
                             {"mod_revision", std::to_string(entry.modified)},
                             {"lease", std::to_string(entry.lease)}});
    const std::uint64_t limit = number_of(body, "limit");
    const bool more = limit != 0 && found.size() > limit;
    if (more) found.erase(found.begin() + static_cast<json::difference_type>(limit), found.end());
    return {{"kvs", found}, {"more", more}};
}

json FakeEtcd::transact(const json& body, int& status) {
    const json& compares = body["compare"];
    const bool ok =
        std::all_of(compares.begin(), compares.end(), [&](const json& one) { return holds(one); });
    json responses = json::array();
    ++revision;
    for (const json& operation : body[ok ? "success" : "failure"]) {
        if (operation.contains("request_put")) {
            const json& put = operation["request_put"];
            const std::uint64_t lease = number_of(put, "lease");
            if (lease != 0 && !leases.contains(lease)) {
                status = 404;
                return {{"message", "etcdserver: requested lease not found"}, {"code", 5}};
            }
            Entry& entry = keys[bytes_of(put, "key")];
            if (entry.created == 0) entry.created = revision;
            entry.value = bytes_of(put, "value");
            entry.modified = revision;
            entry.lease = lease;
            responses.push_back({{"response_put", json::object()}});
        } else if (operation.contains("request_range")) {
            responses.push_back({{"response_range", range(operation["request_range"])}});
        } else {
            for (const auto& [key, entry] : std::map(keys))
                if (is_within(key, operation["request_delete_range"])) erase(key);
            responses.push_back({{"response_delete_range", json::object()}});
        }
    }
    json reply{{"header", {{"revision", std::to_string(revision)}}}, {"responses", responses}};
    if (ok) reply["succeeded"] = true;
    return reply;
}

void FakeEtcd::announce(const json& result) {
    for (const auto& one : connections_)
        if (one->is_watch()) one->say_chunk(json{{"result", result}}.dump());
}

void FakeEtcd::erase(const std::string& key) {
    if (keys.erase(key) == 0) return;
    ++revision;
    announce({{"events",
               json::array(
                   {{{"type", "DELETE"},
                     {"kv", {{"key", encode_base64(key)}, {"mod_revision", std::to_string(revision)}}}}})}});
}

void FakeEtcd::compact() { announce({{"canceled", true}, {"compact_revision", std::to_string(revision)}}); }

void FakeEtcd::end_lease(std::uint64_t id) {
    leases.erase(id);
    for (const auto& [key, entry] : std::map(keys))
        if (entry.lease == id) erase(key);
}

void FakeEtcd::do_late() {
    int status = 200;
    for (const json& body : std::exchange(late_, {})) static_cast<void>(transact(body, status));
}

void FakeEtcd::answer_held_back() {
    for (auto& [connection, reply] : std::exchange(held_back_, {})) connection->answer(200, reply);
}

// --- the leaser ---

LeaserRig::LeaserRig() {
    config.prefix = "/p/";
    config.host = "here";
    config.ttl = 30;
    config.timeout = 1'000;
    config.endpoints = {etcd.url()};
    restart();
}

void LeaserRig::restart() {
    leaser_.reset();
    auto ends = make_channel();
    parent_ =
        std::make_unique<rpc::Control>(loop, std::move(ends[0]), 0, loop::to<&LeaserRig::on_message>(*this),
                                       loop::to<&LeaserRig::on_closed>(*this));
    std::vector<lockd::etcd::Endpoint> endpoints;
    for (const auto& url : config.endpoints) endpoints.push_back({.url = url});
    leaser_ =
        std::make_unique<lockd::etcd::Leaser>(loop, loop.clock(), config, endpoints, std::move(ends[1]));
    cr_assert(leaser_->start().has_value());
    connect();
}

void LeaserRig::connect() {
    namespace supervise = proto::supervise;
    auto ends = make_channel();
    const int fd = ends[1].get();
    const auto payload =
        proto::encode(supervise::AdoptArgs{.role = supervise::PeerRole::peer_locker, .index = 0});
    const auto adopt =
        rpc::make_message(supervise::k_program, supervise::k_version, supervise::Procedure::adopt);
    cr_assert(parent_->send(adopt, *payload, std::span(&fd, 1)).has_value());
    locker_ =
        std::make_unique<rpc::Control>(loop, std::move(ends[0]), 0, loop::to<&LeaserRig::on_message>(*this),
                                       loop::to<&LeaserRig::on_closed>(*this));
    answers_.clear();
    state = {};
    settle();
}

void LeaserRig::on_message(rpc::Control::Message& message) noexcept {
    namespace lease = proto::lease;
    if (message.header.program != lease::k_program) return;
    if (message.header.type == rpc::Type::reply) {
        Heard& heard = answers_[message.header.serial];
        heard.ok = message.header.status == rpc::Status::ok;
        if (!heard.ok) {
            heard.code = rpc::read_error_code(message.payload);
            heard.text = rpc::read_error_text(message.payload);
        } else if (takes_[message.header.serial]) {
            heard.taken = proto::decode<lease::TakeRet>(message.payload).value();
        }
    } else if (static_cast<Procedure>(message.header.procedure) == Procedure::state) {
        state = proto::decode<lease::StateArgs>(message.payload).value();
    } else {
        const auto args = proto::decode<lease::LostArgs>(message.payload).value();
        lost.insert(lost.end(), args.lost.begin(), args.lost.end());
    }
}

template <class Arguments>
std::uint32_t LeaserRig::call(Procedure procedure, const Arguments& arguments) {
    const auto header =
        rpc::make_call(proto::lease::k_program, proto::lease::k_version, procedure, locker_->next_serial());
    takes_[header.serial] = procedure == Procedure::take;
    cr_assert(locker_->send(header, proto::encode(arguments).value()).has_value());
    settle();
    return header.serial;
}

void LeaserRig::resume(std::uint64_t lease, std::vector<proto::lease::Leased> held) {
    const auto payload =
        proto::encode(proto::lease::ResumeArgs{.lease = lease, .held = std::move(held), .last = true});
    const auto header =
        rpc::make_message(proto::lease::k_program, proto::lease::k_version, Procedure::resume);
    cr_assert(locker_->send(header, *payload).has_value());
    settle();
}

std::uint32_t LeaserRig::take(const std::string& name, bool shared, bool create) {
    return call(Procedure::take,
                proto::lease::TakeArgs{.name = to_bytes(name), .shared = shared, .create = create});
}

std::uint32_t LeaserRig::let_go(const std::string& name, const proto::lease::TakeRet& taken, bool shared) {
    return call(Procedure::let_go,
                proto::lease::Leased{
                    .name = to_bytes(name), .shared = shared, .lease = taken.lease, .token = taken.token});
}

std::uint32_t LeaserRig::make(const std::string& name) {
    return call(Procedure::create, proto::lease::NameArgs{.name = to_bytes(name)});
}

std::uint32_t LeaserRig::remove(const std::string& name) {
    return call(Procedure::remove, proto::lease::NameArgs{.name = to_bytes(name)});
}

bool LeaserRig::is_answered(std::uint32_t serial) {
    settle();
    return answers_.contains(serial);
}

LeaserRig::Heard LeaserRig::answer(std::uint32_t serial) {
    cr_assert(pump_until(loop, [&] { return answers_.contains(serial); }), "no answer");
    return answers_[serial];
}

LeaserRig::Heard LeaserRig::take_now(const std::string& name, bool shared, bool create) {
    return answer(take(name, shared, create));
}

void LeaserRig::pass(Milliseconds time) {
    constexpr Milliseconds k_step{50};
    for (; time > Milliseconds{0}; time -= k_step) {
        loop.advance(std::min(k_step, time));
        settle();
        rest_a_moment();
        settle();
    }
}

}  // namespace virtgate::test
