// SPDX-License-Identifier: LGPL-2.1-or-later
// broker - settings, the entrance, the crew of workers, and admission by policy.
//
// Workers and the policy compiler are shell scripts here: what they get and say is what the real ones would.
#include "workerd/broker/broker.h"

#include <criterion/criterion.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "libshared/loop/fake_loop.h"
#include "libshared/rpc/error.h"
#include "proto/broker.h"
#include "proto/codec.h"
#include "tests/unit/pump.h"

using namespace virtgate;
using namespace virtgate::test;
using namespace virtgate::workerd::broker;

namespace {

std::vector<std::string> g_lines;  // what was logged

void catch_logs() {
    set_log_level(Level::debug);
    set_log_sink([](Level, std::string_view line) noexcept { g_lines.emplace_back(line); });
}

bool logged(std::string_view part) {
    return std::any_of(g_lines.begin(), g_lines.end(),
                       [&](const auto& line) { return line.find(part) != line.npos; });
}

class Directory {
public:
    Directory() { cr_assert_not_null(mkdtemp(path_)); }
    ~Directory() { std::filesystem::remove_all(path_); }
    [[nodiscard]] std::string operator/(std::string_view name) const {
        return std::string(path_) + "/" + std::string(name);
    }
    // An executable shell script.
    [[nodiscard]] std::string script(std::string_view name, std::string_view text) const {
        std::ofstream(*this / name) << "#!/bin/sh\n" << text << "\n";
        cr_assert_eq(chmod((*this / name).c_str(), 0755), 0);
        return *this / name;
    }
    [[nodiscard]] std::string path() const { return path_; }

private:
    char path_[32] = "/tmp/virtgate-broker-XXXXXX";
};

proto::who::Who client(std::string_view name) {
    proto::who::Who who;
    who.method = proto::who::AuthMethod::auth_x509;
    who.subject = {{.attribute = "CN", .value = std::string(name)}};
    who.subject_text = fmt::format("CN={}", name);
    who.source = "192.0.2.7";
    who.source_port = 4711;
    who.listener = "tls";
    return who;
}

UniqueFd connect_to(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    UniqueFd fd{socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fd.reset();
    return fd;
}

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

bool is_closed(int fd) {
    std::byte byte;
    return recv(fd, &byte, 1, 0) == 0;
}

// Admits everybody but "mallory".
class Porter final : public Admission {
public:
    tl::expected<Granted, Refused> serve_open_session(const proto::who::Who& who) override {
        if (who.subject.front().value == "mallory") return tl::unexpected(Refused{88, "access denied"});
        auto pair = make_channel_pair();
        kept_ = std::move(pair->first);
        return Granted{.grant = {.session = 9, .identity = "alice", .may = {}},
                       .session = std::move(pair->second)};
    }
    UniqueFd kept_;
};

std::unique_ptr<Entrance> enter(loop::Loop& loop, const std::string& path, Admission& admission,
                                std::vector<uid_t> allowed = {geteuid()}) {
    auto entrance = Entrance::open(loop, path, std::nullopt, std::move(allowed), admission);
    cr_assert(entrance.has_value(), "%s", entrance.has_value() ? "" : entrance.error().text.c_str());
    return std::move(*entrance);
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
    cr_assert_eq(settings->log_level, Level::debug);
    cr_assert_eq(settings->upstream_timeout.count(), 2500);
    cr_assert_eq(settings->socket, "/x/broker.sock");
    cr_assert_eq(settings->allowed_uids.back(), 0);
    cr_assert((settings->policy_directories == std::vector<std::string>{"/p"}));
    cr_assert_eq(settings->upstreams.size(), 1);
    cr_assert_eq(settings->default_uri, "test:///default", "the only upstream is the default");
}

Test(settings, report_every_mistake_with_its_place) {
    cr_assert_eq(settings_complaint(
                     "log_level = 'loud'\n[broker]\nsocket = 'x'\n[[upstream]]\nuri = 'x'\nsockt = '/x'\n"),
                 "workerd.toml:1:13: error: \"log_level\" has to be debug, info, warning or error\n"
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
    const auto second = Entrance::open(loop, directory / "s", std::nullopt, {geteuid()}, porter);
    cr_assert(!second.has_value());
    cr_assert(second.error().text.find("served by another process") != std::string::npos);
    // As after a crash: the name stays, nobody listens.
    std::filesystem::rename(directory / "s", directory / "dead");
    first.reset();
    const auto third = enter(loop, directory / "dead", porter);
    cr_assert(static_cast<bool>(connect_to(directory / "dead")));
    std::ofstream(directory / "file") << "x";
    cr_assert(!Entrance::open(loop, directory / "file", std::nullopt, {geteuid()}, porter).has_value());
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
    wrong.procedure = 2;
    ask(doorman.get(), wrong, {});
    cr_assert_eq(reply_to(loop, doorman.get())->code(), rpc::k_code_rpc);
    ask(doorman.get(), k_open_session, as_bytes("junk"));
    cr_assert_eq(reply_to(loop, doorman.get())->code(), rpc::k_code_rpc);
    ask_open_session(doorman.get(), "alice");
    cr_assert_eq(reply_to(loop, doorman.get())->header.status, rpc::Status::ok);
}

// ---- crew ----------------------------------------

namespace {

struct Team {
    explicit Team(const std::string& program)
        : crew(loop, Crew::Plan{.program = program, .user = std::nullopt, .config = {}},
               loop::to<&Team::on_stopped>(*this)) {
        catch_logs();
    }
    Result<UniqueFd> serve(std::uint64_t number, const std::string& identity = "alice") {
        return crew.serve(identity, {.session = number, .client = client(identity), .may = {}});
    }
    void on_stopped() noexcept { stopped = true; }

    loop::FakeLoop loop;
    bool stopped = false;
    Crew crew;
};

// A shell script that speaks on the control channel: one message of the work program.
std::string say(int procedure, std::string_view payload) {
    const std::size_t size = rpc::k_frame_min + payload.size() / 4;
    return fmt::format(
        "printf '\\000\\000\\000\\{:03o}\\126\\107\\000\\005\\000\\000\\000\\001\\000\\000\\000\\{:03o}"
        "\\000\\000\\000\\002\\000\\000\\000\\001\\000\\000\\000\\000{}' >&4\n",
        size, procedure, payload);
}
constexpr std::string_view k_session_1 = "\\000\\000\\000\\000\\000\\000\\000\\001";
constexpr std::string_view k_session_9 = "\\000\\000\\000\\000\\000\\000\\000\\011";

}  // namespace

Test(crew, starts_one_worker_for_each_identity) {
    const Directory directory;
    Team team(directory.script("worker", "exec sleep 100"));
    for (const char* identity : {"alice", "bob", "alice"})
        cr_assert(team.serve(team.crew.sessions() + 1, identity).has_value());
    cr_assert_eq(team.crew.workers(), 2);
    cr_assert_eq(team.crew.sessions(), 3);
    team.crew.stop();
    cr_assert(!team.serve(4).has_value());
    cr_assert(pump_until(team.loop, [&] { return team.stopped; }));
}

Test(crew, loses_the_sessions_of_a_worker_that_dies) {
    const Directory directory;
    Team team(directory.script("worker", "sleep 0.3; exit 3"));
    auto session = team.serve(1);
    cr_assert(session.has_value());
    cr_assert(pump_until(team.loop,
                         [&] { return logged("worker alice: ended with status 3; 1 sessions are lost"); }));
    cr_assert_eq(team.crew.sessions(), 0);
    cr_assert(is_closed(session->get()), "the gate does not see the end");
}

Test(crew, pauses_between_workers_that_die_soon) {
    const Directory directory;
    Team team(directory.script("worker", "sleep 0.2; exit 3"));
    const auto serve_and_die = [&](std::uint64_t number) {
        cr_assert(team.serve(number).has_value());
        cr_assert(pump_until(team.loop, [&] { return team.crew.sessions() == 0; }));
    };
    serve_and_die(1);
    serve_and_die(2);  // the first time there is no pause
    cr_assert(!team.serve(3).has_value());
    team.loop.advance(Crew::k_pause_min);
    serve_and_die(4);
    team.loop.advance(Crew::k_pause_min);
    cr_assert(!team.serve(5).has_value());
    team.loop.advance(Crew::k_pause_min);
    serve_and_die(6);
}

Test(crew, hears_that_sessions_end_and_sends_idle_workers_home) {
    const Directory directory;
    Team team(directory.script("worker", say(3, "") + say(2, k_session_1) + "exec sleep 100"));
    cr_assert(team.serve(1).has_value());
    cr_assert(pump_until(team.loop, [&] { return logged("session 1 ended"); }));
    cr_assert(logged("worker alice: serves"));
    team.loop.advance(Crew::k_idle - Milliseconds{1});
    cr_assert_eq(team.crew.workers(), 1);
    team.loop.advance(Milliseconds{1});
    cr_assert_eq(team.crew.workers(), 0);
    // A client that comes now gets another worker.
    cr_assert(team.serve(2).has_value());
    team.crew.stop();
    cr_assert(pump_until(team.loop, [&] { return team.stopped; }));
    cr_assert(!logged("sessions are lost"));
}

Test(crew, keeps_a_worker_that_has_sessions) {
    const Directory directory;
    Team team(directory.script("worker", "exec sleep 100"));
    cr_assert(team.serve(1).has_value());
    team.loop.advance(10 * Crew::k_idle);
    cr_assert_eq(team.crew.workers(), 1);
    cr_assert_eq(team.crew.sessions(), 1);
}

Test(crew, stops_a_worker_that_says_what_it_must_not) {
    const std::string wrongs[] = {say(2, k_session_9), say(1, ""), say(2, ""), "printf junk >&4\n"};
    for (const std::string& wrong : wrongs) {
        const Directory directory;
        Team team(directory.script("worker", wrong + "exec sleep 100"));
        cr_assert(team.serve(1).has_value());
        cr_assert(pump_until(team.loop, [&] { return team.crew.sessions() == 0; }), "%s", wrong.c_str());
    }
}

Test(crew, says_when_a_worker_cannot_be_started) {
    Team team("/nonexistent/virtgate-worker");
    const auto session = team.serve(1);
    cr_assert(!session.has_value());
    cr_assert_eq(session.error().text, "the worker of this identity cannot be started");
    team.crew.stop();
    cr_assert(pump_until(team.loop, [&] { return team.stopped; }));
}

Test(crew, kills_what_does_not_end) {
    const Directory directory;
    Team team(directory.script("worker", "trap '' TERM\n" + say(3, "") + "while :; do sleep 1; done"));
    cr_assert(team.serve(1).has_value());
    cr_assert(pump_until(team.loop, [] { return logged("worker alice: serves"); }));
    team.crew.stop();
    pump(team.loop);
    cr_assert(!team.stopped);
    team.loop.advance(Crew::k_stop_patience);
    cr_assert(pump_until(team.loop, [&] { return team.stopped; }));
}

// ---- broker ----------------------------------------

namespace {

// A broker whose compiler gives out what lies in the file "table", and whose workers sleep.
struct House {
    explicit House(bool check_only = false) {
        catch_logs();
        static_cast<void>(
            directory.script("virtgate-policy-compile", "cat " + directory.path() + "/table >&5"));
        static_cast<void>(directory.script("virtgate-worker", "exec sleep 100"));
        Settings settings;
        settings.socket = directory / "s";
        settings.allowed_uids = {geteuid()};
        settings.policy_directories = {"/p"};
        set_table({{"alice", "alice"}, {"bob", "bob"}, {"robert", "bob"}});
        broker = std::make_unique<Broker>(loop, std::move(settings), directory.path(), check_only);
    }
    // Pairs of an identity and the CN that it has.
    void set_table(const std::vector<std::pair<std::string, std::string>>& rows) const {
        proto::policy::PolicyTable table{.format = 1, .identities = {}};
        for (const auto& [name, cn] : rows) {
            proto::policy::IdentityRule rule;
            rule.name = name;
            rule.file = "10.toml";
            rule.line = 3;
            rule.subject = {
                {.attribute = "CN", .kind = proto::policy::MatchKind::match_exact, .pattern = cn}};
            rule.may.programs = {{.program = 5, .version = 1, .procedures = {std::byte{2}}}};
            table.identities.push_back(std::move(rule));
        }
        const auto bytes = proto::encode(table);
        std::ofstream(directory / "table") << as_text(*bytes);
    }
    void start() {
        broker->start();
        cr_assert(pump_until(loop, [] { return logged("broker: serves"); }));
        doorman = connect_to(directory / "s");
    }
    Reply open(std::string_view name) {
        ask_open_session(doorman.get(), name);
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
    cr_assert_eq(grant->may.programs.size(), 1);
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

Test(broker, does_not_serve_without_a_policy) {
    House house;
    std::filesystem::remove(house.directory / "table");
    house.broker->start();
    cr_assert(pump_until(house.loop, [] { return logged("the policy was not changed"); }));
    pump(house.loop);
    cr_assert_eq(house.broker->status(), spawn::k_exit_config);
    cr_assert(!connect_to(house.directory / "s"));
}

Test(broker, only_checks_when_it_is_told_so) {
    House house(true);
    house.broker->start();
    cr_assert(pump_until(house.loop, [] { return logged("identities in force"); }));
    cr_assert_eq(house.broker->status(), 0);
    cr_assert(!connect_to(house.directory / "s"));
}
