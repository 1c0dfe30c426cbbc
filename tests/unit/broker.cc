// SPDX-License-Identifier: LGPL-2.1-or-later
// broker - settings, the entrance, and admission by policy.
//
// Workers and the policy compiler are shell scripts here: what they get and say is what the real ones would.
#include "workerd/broker/broker.h"

#include <criterion/criterion.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "libshared/loop/fake_loop.h"
#include "libshared/rpc/error.h"
#include "proto/broker.h"
#include "proto/codec.h"
#include "tests/unit/broker_house.h"
#include "tests/unit/pump.h"

using namespace virtgate;
using namespace virtgate::test;
using namespace virtgate::workerd::broker;

namespace {

UniqueFd connect_to(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    UniqueFd fd{socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fd.reset();
    return fd;
}

constexpr rpc::Header k_revoke =
    rpc::make_call(proto::broker::k_program, proto::broker::k_version, proto::broker::Procedure::revoke, 6);
constexpr rpc::Header k_open_session{.program = proto::broker::k_program,
                                     .version = proto::broker::k_version,
                                     .procedure = 1,
                                     .type = rpc::Type::call,
                                     .serial = 5};

void ask(int doorman, const rpc::Header& header, ByteView payload) {
    cr_assert_eq(channel::send_packet(doorman, rpc::make_frame(header, payload)), channel::Outcome::done);
}

void ask_open_session(int doorman, std::string_view name) {
    ask(doorman, k_open_session, *proto::encode(client(name)));
}

struct Reply {
    rpc::Header header{};
    ByteVector payload{};
    UniqueFd session{};
    [[nodiscard]] int code() const { return static_cast<int>(load_be32(payload.data())); }
};

// The next reply to doorman, after everything that can happen has happened.
std::optional<Reply> reply_to(loop::FakeLoop& loop, int doorman) {
    pump(loop);
    std::array<std::byte, channel::k_packet_max> buffer;
    std::size_t size = 0;
    channel::ReceivedFds fds;
    if (channel::receive_packet(doorman, buffer, size, &fds, 1) != channel::Outcome::done)
        return std::nullopt;
    Reply reply{
        .header = rpc::read_header(buffer.data()),
        .payload = ByteVector(buffer.begin() + rpc::k_frame_min, buffer.begin() + static_cast<long>(size))};
    if (fds.count() != 0) reply.session = fds.take(0);
    return reply;
}

// Admits everybody but "mallory".
class Porter final : public Admission {
public:
    tl::expected<Granted, Refused> serve_open_session(const proto::who::Who& who) override {
        if (who.certificate->subject.front().value == "mallory")
            return tl::unexpected(Refused{88, "access denied"});
        auto pair = make_channel_pair();
        kept_ = std::move(pair->first);
        Granted granted{.grant = {}, .session = std::move(pair->second)};
        granted.grant.session = 9;
        granted.grant.identity = "alice";
        return granted;
    }
    proto::broker::RevokeRet serve_revoke(const proto::broker::RevokeArgs& args) override {
        return {.sessions = static_cast<std::uint32_t>(args.certificates.size())};
    }
    UniqueFd kept_;
};

std::unique_ptr<Entrance> enter(loop::Loop& loop, const std::string& path, Admission& admission,
                                std::vector<uid_t> allowed = {geteuid()}) {
    auto listener = Entrance::listen(path, std::nullopt);
    cr_assert(listener.has_value(), "%s", listener.has_value() ? "" : listener.error().text.c_str());
    return std::make_unique<Entrance>(loop, std::move(*listener), std::move(allowed), admission);
}

std::string settings_complaint(std::string_view text) {
    const auto settings = parse_settings(text, "workerd.toml");
    return settings ? "" : settings.error().text;
}

}  // namespace

// ---- settings ----------------------------------------

Test(settings, have_defaults_that_serve_libvirt) {
    const auto settings = parse_settings("", "workerd.toml");
    cr_assert(settings.has_value(), "%s", settings.has_value() ? "" : settings.error().text.c_str());
    cr_assert_eq(settings->default_uri, "qemu:///system");
    cr_assert_eq(settings->upstream_timeout.count(), 30'000);
    cr_assert_eq(settings->allowed_uids.front(), geteuid());
    cr_assert_eq(settings->policy_directories.size(), 2);
    cr_assert_eq(settings->policy_directories[0], "/usr/lib/virtgate/policy.d");
    cr_assert_eq(settings->upstreams.front().uri, "qemu:///system");
    cr_assert_eq(settings->upstreams[0].socket, "/run/libvirt/virtqemud-sock");
    cr_assert_eq(settings->upstreams[1].socket, "/run/libvirt/libvirt-sock");
    cr_assert_eq(settings->upstreams[1].read_only_socket, "/run/libvirt/libvirt-sock-ro");
}

Test(settings, take_what_the_file_says) {
    const auto settings = parse_settings(
        "log_level = 'debug'\nupstream_timeout = 2.5\n[broker]\nsocket = '/x/broker.sock'\nallowed_user = "
        "'root'\n"
        "[policy]\ndirectories = ['/p']\n[[upstream]]\nuri = 'test:///default'\nsocket = '/x/s'\n",
        "workerd.toml");
    cr_assert(settings.has_value(), "%s", settings.has_value() ? "" : settings.error().text.c_str());
    cr_assert_eq(settings->log.level, Level::debug);
    cr_assert_eq(settings->upstream_timeout.count(), 2500);
    cr_assert_eq(settings->socket, "/x/broker.sock");
    cr_assert_eq(settings->allowed_uids.back(), 0);
    cr_assert((settings->policy_directories == std::vector<std::string>{"/p"}));
    cr_assert_eq(settings->upstreams.size(), 1);
    cr_assert_eq(settings->default_uri, "test:///default", "the only upstream is the default");
}

Test(settings, bound_sessions) {
    const auto defaults = parse_settings("", "workerd.toml");
    cr_assert_eq(defaults->sessions_max, 16'384);
    cr_assert_eq(defaults->sessions_per_identity_max, 4'096);
    const auto settings =
        parse_settings("[limits]\nsessions = 7\nsessions_per_identity = 3\n", "workerd.toml");
    cr_assert_eq(settings->sessions_max, 7);
    cr_assert_eq(settings->sessions_per_identity_max, 3);
    cr_assert_eq(settings_complaint("[limits]\nsessions = 0\nsesions_per_identity = 1\n"),
                 "workerd.toml:2:12: error: \"sessions\" has to be between 1 and 1000000\n"
                 "workerd.toml:3:1: error: unknown key \"sesions_per_identity\" in [limits] (did you mean "
                 "\"sessions_per_identity\"?)");
}

Test(settings, report_every_mistake_with_its_place) {
    cr_assert_eq(
        settings_complaint(
            "log_level = 'loud'\n[broker]\nsocket = 'x'\n[[upstream]]\nuri = 'x'\nsockt = '/x'\n"),
        "workerd.toml:1:13: error: \"log_level\" has to be \"debug\", \"info\", \"warning\" or \"error\"\n"
        "workerd.toml:3:10: error: \"socket\" has to be an absolute path\n"
        "workerd.toml:4:1: error: \"socket\" is missing\n"
        "workerd.toml:5:7: error: \"uri\" has to be a libvirt URI such as qemu:///system\n"
        "workerd.toml:6:1: error: unknown key \"sockt\" in [upstream] (did you mean \"socket\"?)");
    cr_assert_eq(
        settings_complaint("default_uri = 'lxc:///'\n[[upstream]]\nuri = 'test:///default'\nsocket = '/x'\n"),
        "workerd.toml:1:15: error: \"default_uri\" has no [[upstream]]");
    cr_assert_eq(settings_complaint("[broker]\nallowed_user = 'no-such-user-here'\n"),
                 "workerd.toml:2:16: error: there is no user \"no-such-user-here\"");
    cr_assert_eq(settings_complaint("[policy]\ndirectories = ['policy.d']\n"),
                 "workerd.toml:2:15: error: a directory has to be an absolute path");
}

Test(settings, know_libvirts_sockets) {
    const auto rows = default_uris("/run/libvirt");
    cr_assert_leq(rows.size(), proto::config::k_upstreams_max);
    for (const UpstreamRow& row : rows) {
        cr_assert(row.socket.starts_with("/run/libvirt/") && row.socket.ends_with("-sock"));
        cr_assert_eq(row.read_only_socket, row.socket + "-ro");
    }
    const auto test =
        std::find_if(rows.begin(), rows.end(), [](const auto& row) { return row.uri == "test:///default"; });
    cr_assert(test != rows.end());
    cr_assert_eq(test->socket, "/run/libvirt/libvirt-sock");
}

// ---- entrance ----------------------------------------

Test(entrance, is_for_owner_and_group_and_goes_away) {
    loop::FakeLoop loop;
    const Directory directory;
    Porter porter;
    auto entrance = enter(loop, directory / "s", porter);
    struct stat status {};
    cr_assert_eq(lstat((directory / "s").c_str(), &status), 0);
    cr_assert_eq(status.st_mode & 07777, 0660);
    entrance.reset();
    cr_assert_neq(lstat((directory / "s").c_str(), &status), 0);
}

Test(entrance, replaces_a_dead_socket_only) {
    loop::FakeLoop loop;
    const Directory directory;
    Porter porter;
    auto first = enter(loop, directory / "s", porter);
    const auto second = Entrance::listen(directory / "s", std::nullopt);
    cr_assert(!second.has_value());
    cr_assert(second.error().text.find("is served by ") != std::string::npos);
    // As after a crash: the name stays, nobody listens.
    std::filesystem::rename(directory / "s", directory / "dead");
    first.reset();
    const auto third = enter(loop, directory / "dead", porter);
    cr_assert(static_cast<bool>(connect_to(directory / "dead")));
    std::ofstream(directory / "file") << "x";
    cr_assert(!Entrance::listen(directory / "file", std::nullopt).has_value());
    cr_assert(std::filesystem::is_regular_file(directory / "file"));
}

Test(entrance, leaves_a_socket_of_somebody_else) {
    loop::FakeLoop loop;
    const Directory directory;
    Porter porter;
    auto entrance = enter(loop, directory / "s", porter);
    std::filesystem::remove(directory / "s");
    std::ofstream(directory / "s") << "not ours";
    entrance.reset();
    cr_assert(std::filesystem::exists(directory / "s"));
}

Test(entrance, serves_allowed_users_only) {
    catch_logs();
    loop::FakeLoop loop;
    const Directory directory;
    Porter porter;
    const auto entrance = enter(loop, directory / "s", porter, {geteuid() + 1});
    const UniqueFd doorman = connect_to(directory / "s");
    pump(loop);
    cr_assert(is_closed(doorman.get()));
    cr_assert(logged("may not ask for sessions"));
}

Test(entrance, bounds_its_doormen) {
    loop::FakeLoop loop;
    const Directory directory;
    Porter porter;
    const auto entrance = enter(loop, directory / "s", porter);
    std::vector<UniqueFd> doormen;
    for (std::size_t i = 0; i < Entrance::k_doormen_max; ++i) {
        doormen.push_back(connect_to(directory / "s"));
        pump(loop);
    }
    const UniqueFd extra = connect_to(directory / "s");
    pump(loop);
    cr_assert(is_closed(extra.get()));
    doormen.pop_back();
    pump(loop);
    const UniqueFd next = connect_to(directory / "s");
    ask_open_session(next.get(), "alice");
    cr_assert(reply_to(loop, next.get()).has_value());
}

Test(entrance, hands_out_sessions_and_refusals) {
    loop::FakeLoop loop;
    const Directory directory;
    Porter porter;
    const auto entrance = enter(loop, directory / "s", porter);
    const UniqueFd doorman = connect_to(directory / "s");
    ask_open_session(doorman.get(), "alice");
    auto granted = reply_to(loop, doorman.get());
    cr_assert(granted->header == rpc::reply_to(k_open_session));
    const auto grant = proto::decode<proto::who::SessionGrant>(granted->payload);
    cr_assert_eq(grant->session, 9);
    cr_assert_eq(send(granted->session.get(), "x", 1, 0), 1);
    char byte = 0;
    cr_assert_eq(recv(porter.kept_.get(), &byte, 1, 0), 1);
    cr_assert_eq(byte, 'x');
    ask_open_session(doorman.get(), "mallory");
    const auto refused = reply_to(loop, doorman.get());
    cr_assert(refused->header == rpc::reply_to(k_open_session, rpc::Status::error));
    cr_assert_eq(refused->code(), 88);
    cr_assert(!refused->session);
}

Test(entrance, answers_what_it_does_not_understand) {
    loop::FakeLoop loop;
    const Directory directory;
    Porter porter;
    const auto entrance = enter(loop, directory / "s", porter);
    const UniqueFd doorman = connect_to(directory / "s");
    rpc::Header wrong = k_open_session;
    wrong.procedure = 3;
    ask(doorman.get(), wrong, {});
    cr_assert_eq(reply_to(loop, doorman.get())->code(), rpc::k_code_rpc);
    for (const rpc::Header& call : {k_open_session, k_revoke}) {
        ask(doorman.get(), call, as_bytes("junk"));
        cr_assert_eq(reply_to(loop, doorman.get())->code(), rpc::k_code_rpc);
    }
    ask_open_session(doorman.get(), "alice");
    cr_assert_eq(reply_to(loop, doorman.get())->header.status, rpc::Status::ok);
}

Test(entrance, passes_on_what_is_revoked) {
    loop::FakeLoop loop;
    const Directory directory;
    Porter porter;
    const auto entrance = enter(loop, directory / "s", porter);
    const UniqueFd doorman = connect_to(directory / "s");
    ask(doorman.get(), k_revoke,
        *proto::encode(
            proto::broker::RevokeArgs{.certificates = {certificate_id("alice"), certificate_id("bob")}}));
    const auto reply = reply_to(loop, doorman.get());
    cr_assert(reply->header == rpc::reply_to(k_revoke));
    cr_assert_eq(proto::decode<proto::broker::RevokeRet>(reply->payload)->sessions, 2);
}

// ---- broker ----------------------------------------

namespace {

// A broker whose compiler gives out what lies in the file "table", and whose workers sleep.
struct House {
    static constexpr std::size_t k_sessions_max = 5;
    static constexpr std::size_t k_sessions_per_identity_max = 3;
    explicit House(bool check_only = false) {
        catch_logs();
        static_cast<void>(
            directory.script("virtgate-policy-compile", "cat " + directory.path() + "/table >&5"));
        static_cast<void>(directory.script("virtgate-worker", "exec sleep 100"));
        Settings settings;
        settings.sessions_max = k_sessions_max;
        settings.sessions_per_identity_max = k_sessions_per_identity_max;
        settings.socket = directory / "s";
        settings.allowed_uids = {geteuid()};
        settings.policy_directories = {"/p"};
        set_table({{"alice", "alice"}, {"bob", "bob"}, {"robert", "bob"}});
        broker = std::make_unique<Broker>(loop, std::move(settings), directory.path(), check_only);
    }
    // Pairs of an identity and the CN that it has.
    void set_table(const std::vector<std::pair<std::string, std::string>>& rows) const {
        proto::policy::PolicyTable table{.format = 5, .identities = {}};
        for (const auto& [name, cn] : rows) {
            proto::policy::IdentityRule rule;
            rule.name = name;
            rule.file = "10.toml";
            rule.line = 3;
            rule.all.certificate.emplace().subject = {
                {.attribute = "CN", .value = {.kind = proto::policy::MatchKind::match_exact, .pattern = cn}}};
            table.identities.push_back(std::move(rule));
        }
        const auto bytes = proto::encode(table);
        std::ofstream(directory / "table") << as_text(*bytes);
    }
    void start() {
        cr_assert(broker->listen({}).has_value());
        broker->start();
        cr_assert(pump_until(loop, [] { return logged("broker: serves"); }));
        doorman = connect_to(directory / "s");
    }
    Reply open(std::string_view name) { return open(client(name)); }
    Reply open(const proto::who::Who& who) {
        ask(doorman.get(), k_open_session, *proto::encode(who));
        auto reply = reply_to(loop, doorman.get());
        cr_assert(reply.has_value());
        return std::move(*reply);
    }

    Directory directory;
    loop::FakeLoop loop;
    std::unique_ptr<Broker> broker;
    UniqueFd doorman;
};

}  // namespace

Test(broker, admits_whom_exactly_one_identity_fits) {
    House house;
    house.start();
    const Reply alice = house.open("alice");
    const auto grant = proto::decode<proto::who::SessionGrant>(alice.payload);
    cr_assert(grant.has_value());
    cr_assert_eq(grant->identity, "alice");
    cr_assert_eq(grant->session, 1);
    cr_assert(static_cast<bool>(alice.session));
    cr_assert(logged("session 1: \"CN=alice\" from 192.0.2.7 port 4711 (tls) is alice (10.toml:3)"));
    const Reply again = house.open("alice");
    cr_assert_eq(proto::decode<proto::who::SessionGrant>(again.payload)->session, 2);
}

Test(broker, refuses_the_unknown_and_the_ambiguous) {
    House house;
    house.start();
    const Reply mallory = house.open("mal\"lory");
    cr_assert_eq(mallory.code(), rpc::k_code_access_denied);
    cr_assert(!mallory.session);
    cr_assert(logged(
        "refused \"CN=mal\\x22lory\" from 192.0.2.7 port 4711 (tls): no identity of the policy matches"));
    cr_assert_eq(house.open("bob").code(), rpc::k_code_access_denied);
    cr_assert(logged("both bob (10.toml:3) and robert (10.toml:3) match"));
}

Test(broker, bounds_the_sessions_of_one_identity_and_of_all) {
    House house;
    house.set_table({{"alice", "alice"}, {"bob", "bob"}});
    house.start();
    std::vector<Reply> sessions;
    const auto open = [&](const char* name) {
        sessions.push_back(house.open(name));
        return sessions.back().header.status == rpc::Status::ok;
    };
    for (std::size_t i = 0; i < House::k_sessions_per_identity_max; ++i) cr_assert(open("alice"));
    cr_assert(!open("alice"));
    cr_assert_eq(sessions.back().code(), rpc::k_code_resource_busy);
    cr_assert_eq(rpc::read_error_text(sessions.back().payload),
                 "too many sessions of alice: the limit sessions_per_identity is 3");
    cr_assert(logged("who is alice: too many sessions of alice"));
    cr_assert(open("bob"));
    cr_assert(open("bob"));
    cr_assert(!open("bob"));
    cr_assert_eq(rpc::read_error_text(sessions.back().payload), "too many sessions: the limit sessions is 5");
}

Test(broker, ends_sessions_of_revoked_certificates_and_remembers_nothing) {
    House house;
    house.start();
    cr_assert_eq(house.open("alice").header.status, rpc::Status::ok);
    const auto revoke = [&](std::string_view name) {
        ask(house.doorman.get(), k_revoke,
            *proto::encode(proto::broker::RevokeArgs{.certificates = {certificate_id(name)}}));
        return proto::decode<proto::broker::RevokeRet>(reply_to(house.loop, house.doorman.get())->payload)
            ->sessions;
    };
    cr_assert_eq(revoke("bob"), 0);
    cr_assert_eq(revoke("alice"), 1);
    cr_assert_eq(house.open("alice").header.status, rpc::Status::ok, "the broker remembers certificates");
    cr_assert_eq(revoke("the CA"), 1, "a session that ends already was counted again");
}

Test(broker, says_what_was_presented) {
    House house;
    house.start();
    proto::who::Who who = client("x");
    who.login = {.mechanism = "SCRAM-SHA-256", .name = "al\nice"};
    static_cast<void>(house.open(who));
    cr_assert(logged(
        "refused \"CN=x\", \"al\\x0aice\" by SCRAM-SHA-256 from 192.0.2.7 port 4711 (tls): no identity"));
    who = {};
    who.local.emplace();
    who.local->uid = 1000;
    who.local->pid = 4711;
    who.listener = "unix-ro";
    static_cast<void>(house.open(who));
    cr_assert(logged("refused uid 1000 pid 4711 (unix-ro): no identity of the policy matches"));
    who.local.reset();
    static_cast<void>(house.open(who));
    cr_assert(logged("refused a client that proved nothing (unix-ro)"));
}

Test(broker, takes_a_new_policy_only_if_it_is_good) {
    House house;
    house.start();
    house.set_table({{"carol", "carol"}});
    house.broker->reload();
    cr_assert(pump_until(house.loop, [] { return logged("policy: 1 identities in force"); }));
    cr_assert_eq(house.open("carol").header.status, rpc::Status::ok);
    cr_assert_eq(house.open("alice").code(), rpc::k_code_access_denied);
    std::ofstream(house.directory / "table") << "junk";
    house.broker->reload();
    cr_assert(pump_until(house.loop, [] { return logged("the policy was not changed"); }));
    cr_assert_eq(house.open("carol").header.status, rpc::Status::ok);
}

Test(broker, refuses_everybody_until_there_is_a_policy) {
    House house;
    std::filesystem::remove(house.directory / "table");
    house.start();
    cr_assert(logged("there is no policy that could be used: everybody is refused"));
    cr_assert_eq(house.open("alice").code(), rpc::k_code_access_denied);
    house.set_table({{"alice", "alice"}});
    house.broker->reload();
    cr_assert(pump_until(house.loop, [] { return logged("policy: 1 identities in force"); }));
    cr_assert_eq(house.open("alice").header.status, rpc::Status::ok);
}

Test(broker, only_checks_when_it_is_told_so) {
    House house(true);
    house.broker->start();
    cr_assert(pump_until(house.loop, [] { return logged("identities in force"); }));
    cr_assert_eq(house.broker->status(), 0);
    cr_assert(!connect_to(house.directory / "s"));
}
