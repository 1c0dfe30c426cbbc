// SPDX-License-Identifier: LGPL-2.1-or-later
// broker_crew - the workers of a broker: started, told, stopped.
//
// Workers are shell scripts here: what they get and say is what the real ones would.
#include <criterion/criterion.h>
#include <sys/socket.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "libshared/channel/local_listener.h"
#include "libshared/loop/fake_loop.h"
#include "proto/codec.h"
#include "proto/programs.h"
#include "tests/unit/broker_house.h"
#include "tests/unit/pump.h"
#include "workerd/broker/crew.h"

using namespace virtgate;
using namespace virtgate::test;
using namespace virtgate::workerd::broker;

namespace {

struct Team final : Crew::Book {
    explicit Team(const std::string& program, proto::config::WorkerConfig config = {})
        : crew(loop, Crew::Plan{.program = program, .user = std::nullopt, .config = std::move(config)}, *this,
               loop::to<&Team::on_stopped>(*this)) {
        catch_logs();
    }
    Result<UniqueFd> serve(std::uint64_t number, const std::string& identity = "alice") {
        return crew.serve(rights_of(identity), {.session = number, .client = client(identity)});
    }
    void on_stopped() noexcept { stopped = true; }

    UniqueFd open_channel(std::uint64_t, const std::string& identity) noexcept override {
        channels.push_back(identity);
        auto pair = make_channel_pair();
        return has_auditor && pair ? std::move(pair->first) : UniqueFd{};
    }
    void on_serving(std::uint64_t worker, const proto::policy::IdentityRights& rights,
                    const proto::work::ServeArgs& session, bool) noexcept override {
        served.push_back({worker, rights.identity, session.session});
    }
    Result<UniqueFd> connect_program(const std::string&, const std::string&, std::uint64_t, bool) override {
        return virtgate::system_fault(ECONNREFUSED, "no program");
    }
    Result<UniqueFd> connect_store(const std::string&, std::uint64_t, bool) override {
        return system_fault(ECONNREFUSED, "there is no store");
    }
    void on_departed(std::vector<std::uint64_t> sessions) noexcept override {
        departed.insert(departed.end(), sessions.begin(), sessions.end());
    }

    loop::FakeLoop loop;
    bool stopped = false, has_auditor = false;
    std::vector<std::string> channels{};  // asked for, by identity
    struct Serving {
        std::uint64_t worker;
        std::string identity;
        std::uint64_t session;
        bool operator==(const Serving&) const = default;
    };
    std::vector<Serving> served{};
    std::vector<std::uint64_t> departed{};
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
// A shell function: waits for a packet on the control channel, and writes it to a file.
constexpr std::string_view k_next =
    "next() { until dd bs=65536 count=1 <&4 2>/dev/null >$1 && test -s $1; do sleep 0.02; done; }\n";

constexpr std::string_view k_session_1 = "\\000\\000\\000\\001\\000\\000\\000\\000\\000\\000\\000\\001";
constexpr std::string_view k_session_9 = "\\000\\000\\000\\001\\000\\000\\000\\000\\000\\000\\000\\011";

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

Test(crew, keeps_the_book_of_workers_and_sessions) {
    const Directory directory;
    Team team(directory.script("worker", say(2, k_session_1) + "sleep 0.3; exit 3"));
    cr_assert(team.serve(1).has_value());
    cr_assert(team.serve(2, "bob").has_value());
    cr_assert(team.serve(3).has_value());
    cr_assert((team.served == std::vector<Team::Serving>{{1, "alice", 1}, {2, "bob", 2}, {1, "alice", 3}}));
    cr_assert((team.channels == std::vector<std::string>{"alice", "bob"}));
    // One ended by itself, the others with their workers; bob's said that it had ended what it never had.
    cr_assert(pump_until(team.loop, [&] { return team.departed.size() == 3; }));
    std::sort(team.departed.begin(), team.departed.end());
    cr_assert((team.departed == std::vector<std::uint64_t>{1, 2, 3}));
    // Another process is another worker.
    cr_assert(team.serve(4).has_value());
    cr_assert((team.served.back() == Team::Serving{3, "alice", 4}));
}

Test(crew, gives_workers_the_way_to_a_new_auditor) {
    const Directory directory;
    Team team(directory.script("worker", std::string(k_next) + "cd " + directory.path() +
                                             "\nnext one; next two; next three\n" + say(2, k_session_1) +
                                             "exec sleep 100"));
    cr_assert(team.serve(1).has_value());  // there is no auditor yet
    team.has_auditor = true;
    team.crew.renew_auditor();
    cr_assert(pump_until(team.loop, [] { return logged("session 1 ended"); }));
    std::vector<std::uint32_t> procedures;
    for (const char* name : {"one", "two", "three"}) {
        std::ifstream file(directory / name);
        const std::string message((std::istreambuf_iterator<char>(file)), {});
        procedures.push_back(rpc::read_header(as_bytes(message).data()).procedure);
    }
    cr_assert((procedures == std::vector<std::uint32_t>{5, 1, 6}), "rights, a session, the auditor");
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

Test(crew, counts_crashes_of_workers_that_served_somebody) {
    const Directory directory;
    Team team(directory.script("worker", "sleep 0.1; kill -SEGV $$"));
    const auto serve_and_die = [&](std::uint64_t number, const std::string& identity) {
        team.loop.advance(Crew::k_pause_max);
        cr_assert(team.serve(number, identity).has_value());
        cr_assert(pump_until(team.loop, [&] { return team.crew.sessions() == 0; }));
    };
    serve_and_die(1, "alice");
    cr_assert_eq(team.crew.refused_for("alice").count(), 0);
    serve_and_die(2, "alice");
    cr_assert_eq(team.crew.refused_for("alice"), Crashes::k_refusal_min);
    cr_assert(logged("was killed by SIGSEGV; 1 sessions are lost"));
    cr_assert(logged("it crashed too often: alice gets no session for 30 s"));
    serve_and_die(3, "bob");
    cr_assert_eq(team.crew.refused_for("bob").count(), 0);
    // The workers of one identity come and go; what they did is remembered.
    team.loop.advance(Crashes::k_refusal_min);
    cr_assert_eq(team.crew.refused_for("alice").count(), 0);
    serve_and_die(4, "alice");
    cr_assert_eq(team.crew.refused_for("alice"), 2 * Crashes::k_refusal_min);
}

Test(crew, counts_neither_ends_nor_kills_as_crashes) {
    for (const char* end : {"exit 71", "kill -KILL $$"}) {
        const Directory directory;
        Team team(directory.script("worker", std::string("sleep 0.1; ") + end));
        for (std::uint64_t number = 1; number < 4; ++number) {
            team.loop.advance(Crew::k_pause_max);
            cr_assert(team.serve(number).has_value());
            cr_assert(pump_until(team.loop, [&] { return team.crew.sessions() == 0; }));
        }
        cr_assert_eq(team.crew.refused_for("alice").count(), 0, "%s", end);
    }
}

Test(crew, counts_what_a_worker_was_stopped_for) {
    const Directory directory;
    Team team(directory.script("worker", "sleep 0.1; " + say(1, "") + "exec sleep 100"));
    for (std::uint64_t number = 1; number < 3; ++number) {
        team.loop.advance(Crew::k_pause_max);
        cr_assert(team.serve(number).has_value());
        cr_assert(pump_until(team.loop, [&] { return team.crew.sessions() == 0; }));
    }
    cr_assert_gt(team.crew.refused_for("alice").count(), 0);
}

Test(crashes, that_are_near_to_each_other_cost_more_and_more) {
    FakeClock clock;
    Crashes crashes(clock);
    cr_assert_eq(crashes.add("alice").count(), 0);
    clock.advance(Crashes::k_window);
    for (const int seconds : {30, 60, 120, 240, 480, 600, 600}) {
        cr_assert_eq(crashes.add("alice"), std::chrono::seconds(seconds));
        cr_assert_eq(crashes.refused_for("alice"), std::chrono::seconds(seconds));
        clock.advance(std::chrono::seconds(seconds) - Milliseconds(1));
        cr_assert_eq(crashes.refused_for("alice").count(), 1);
        clock.advance(Milliseconds(1));
        cr_assert_eq(crashes.refused_for("alice").count(), 0);
        clock.advance(Crashes::k_window);  // on probation up to and with this moment
    }
}

Test(crashes, that_are_far_from_each_other_cost_nothing) {
    FakeClock clock;
    Crashes crashes(clock);
    for (int i = 0; i < 5; ++i) {
        cr_assert_eq(crashes.add("alice").count(), 0);
        cr_assert_eq(crashes.add("bob " + std::to_string(i)).count(), 0, "one's crashes are not another's");
        clock.advance(Crashes::k_window + Milliseconds(1));
    }
}

Test(crashes, are_forgotten_after_a_quiet_time) {
    FakeClock clock;
    Crashes crashes(clock);
    cr_assert_eq(crashes.add("alice").count(), 0);
    cr_assert_eq(crashes.add("alice"), Crashes::k_refusal_min);
    // What it cost before is remembered behind the window, and not for ever.
    clock.advance(Crashes::k_refusal_min + Crashes::k_window + Milliseconds(1));
    cr_assert_eq(crashes.add("alice").count(), 0);
    cr_assert_eq(crashes.add("alice"), 2 * Crashes::k_refusal_min);
    clock.advance(2 * Crashes::k_refusal_min + Crashes::k_refusal_max + Milliseconds(1));
    cr_assert_eq(crashes.add("alice").count(), 0);
    cr_assert_eq(crashes.add("alice"), Crashes::k_refusal_min);
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

Test(crew, has_the_sessions_of_a_revoked_certificate_ended) {
    const Directory directory;
    // It takes the rights and the two sessions, keeps what comes then, and says that the first has ended.
    const std::string next =
        "next() { until dd bs=65536 count=1 <&4 2>/dev/null >$1 && test -s $1; do "
        "sleep 0.02; done; }\n";
    Team team(directory.script("worker", std::string(k_next) + "cd " + directory.path() +
                                             "\nnext rights; next one; next two; next end\n" +
                                             say(2, k_session_1) + "exec sleep 100"));
    cr_assert(team.crew.serve(rights_of("a"), {.session = 1, .client = client("alice")}).has_value());
    cr_assert(team.crew.serve(rights_of("a"), {.session = 2, .client = client("bob")}).has_value());
    std::vector revoked{certificate_id("carol"), certificate_id("alice")};
    cr_assert_eq(team.crew.end_revoked(revoked), 1);
    cr_assert_eq(team.crew.end_revoked(revoked), 0, "the same sessions are ended twice");
    cr_assert(logged("worker a: session 1 ends: the certificate 5 of its client is revoked"));
    cr_assert(!logged("session 2 ends"));
    cr_assert(pump_until(team.loop, [] { return logged("session 1 ended"); }));
    std::ifstream file(directory / "end");
    const std::string message((std::istreambuf_iterator<char>(file)), {});
    const auto end = proto::decode<proto::work::EndArgs>(as_bytes(message).subspan(rpc::k_frame_min));
    cr_assert(end.has_value());
    cr_assert((end->sessions == std::vector<std::uint64_t>{1}));
    cr_assert_eq(end->reason, "the certificate of this session has been revoked");
    // An authority takes all that come from it along.
    revoked = {certificate_id("the CA")};
    cr_assert_eq(team.crew.end_revoked(revoked), 1);
    cr_assert(logged("session 2 ends: the certificate 6 that its client's comes from is revoked"));
}

Test(crew, stops_a_worker_that_does_not_end_what_it_has_to) {
    const Directory directory;
    Team team(directory.script("worker", "exec sleep 100"));
    cr_assert(team.serve(1).has_value());
    const std::vector revoked{certificate_id("alice")};
    cr_assert_eq(team.crew.end_revoked(revoked), 1);
    team.loop.advance(Crew::k_end_patience / 2);
    // The second one has its own time.
    cr_assert(team.crew.serve(rights_of("alice"), {.session = 2, .client = client("bob")}).has_value());
    const std::vector later{certificate_id("bob")};
    cr_assert_eq(team.crew.end_revoked(later), 1);
    team.loop.advance(Crew::k_end_patience / 2 - Milliseconds{1});
    pump(team.loop);
    cr_assert_eq(team.crew.sessions(), 2);
    team.loop.advance(Milliseconds{1});
    cr_assert(logged("it does not end the sessions that it has to; it is stopped"));
    cr_assert(pump_until(team.loop, [&] { return team.crew.sessions() == 0; }));
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

// A row with a socket for readers and one without; the worker asks for each of the three.
Test(crew, gives_who_only_reads_no_connection_that_writes) {
    const Directory directory;
    const std::string path = directory.path();
    std::vector<channel::LocalListener> listeners;
    std::string text = std::string(k_next) + "cd " + path + "\nnext rights; next session\n";
    for (const std::string name : {"all", "readers", "other"}) {
        auto listener = channel::LocalListener::open(
            directory / name, {.type = SOCK_STREAM, .mode = 0600, .backlog = 5, .group = std::nullopt});
        cr_assert(listener.has_value());
        listeners.push_back(std::move(*listener));
        const auto frame = rpc::make_frame(
            rpc::make_call(proto::work::k_program, proto::work::k_version, proto::work::Procedure::connect,
                           1),
            *proto::encode(proto::work::ConnectArgs{.socket = directory / name, .session = 0}));
        std::ofstream(directory / ("ask-" + name), std::ios::binary)
            .write(reinterpret_cast<const char*>(frame.data()), static_cast<std::streamsize>(frame.size()));
        text += fmt::format("cat ask-{0} >&4; next got-{0}\n", name);
    }
    proto::config::WorkerConfig config;
    config.upstreams = {
        {.uri = "a:///", .socket = directory / "all", .read_only_socket = directory / "readers"},
        {.uri = "b:///", .socket = directory / "other", .read_only_socket = {}}};
    Team team(directory.script("worker", text + say(2, k_session_1) + "exec sleep 100"), config);
    // The error number is the last word of the answer; -1: there is none yet.
    const auto answer = [&](const std::string& name) {
        std::ifstream file(directory / ("got-" + name));
        const std::string frame((std::istreambuf_iterator<char>(file)), {});
        return frame.size() != rpc::k_frame_min + 4 ? -1 : static_cast<int>(frame.back());
    };
    for (const bool writes : {false, true}) {
        auto rights = rights_of(writes ? "writer" : "reader");
        const proto::ProgramInfo& remote = proto::remote_program();
        proto::who::ProgramCeiling may{.program = remote.number, .version = remote.version, .procedures = {}};
        for (const proto::ProcedureInfo& procedure : remote.procedures())
            if (writes || procedure.readonly == proto::ReadOnly::allowed) {
                may.procedures.resize(std::max<std::size_t>(may.procedures.size(), procedure.number / 8 + 1));
                may.procedures[procedure.number / 8] |= std::byte{1} << (procedure.number % 8);
            }
        proto::policy::Grant grant;
        grant.may.programs = {may};
        rights.grants = {grant};
        cr_assert(team.crew.serve(rights, {.session = 1, .client = client(rights.identity)}).has_value());
        cr_assert(pump_until(team.loop, [&] { return answer("other") != -1 && team.crew.sessions() == 0; }));
        cr_assert_eq(answer("all"), writes ? 0 : EACCES);
        cr_assert_eq(answer("readers"), 0);
        cr_assert_eq(answer("other"), 0);
        cr_assert_eq(team.crew.workers(), writes ? 2 : 1, "a question is no reason to end a worker");
        for (const char* name : {"all", "readers", "other"})
            std::filesystem::remove(directory / (std::string("got-") + name));
    }
}

Test(crew, tells_a_worker_its_rights_before_its_sessions_and_when_they_change) {
    const Directory directory;
    Team team(directory.script("worker", std::string(k_next) + "cd " + directory.path() +
                                             "\nnext one; next two; next three; next four\n" +
                                             say(2, k_session_1) + "exec sleep 100"));
    const auto serve = [&](std::uint64_t number, std::uint64_t generation) {
        return team.crew.serve(rights_of("a", generation), {.session = number, .client = client("a")});
    };
    cr_assert(serve(1, 1).has_value());
    cr_assert(serve(2, 1).has_value());
    team.crew.renew_rights([](const std::string& identity) { return rights_of(identity, 2); });
    cr_assert(pump_until(team.loop, [] { return logged("session 1 ended"); }));
    std::vector<std::uint32_t> procedures;
    for (const char* name : {"one", "two", "three", "four"}) {
        std::ifstream file(directory / name);
        const std::string message((std::istreambuf_iterator<char>(file)), {});
        procedures.push_back(rpc::read_header(as_bytes(message).data()).procedure);
    }
    cr_assert((procedures == std::vector<std::uint32_t>{5, 1, 1, 5}), "RIGHTS, SERVE, SERVE, RIGHTS");
}
