// SPDX-License-Identifier: LGPL-2.1-or-later
// etcd_rig - an etcd of a test's own, which answers or not as the test says, and a leaser that asks it.
//
// The server is real as far as HTTP goes, and in the loop of the test: nothing happens by itself. Of time
// only deadlines of our own pass with the loop's clock; libcurl's do not.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "libshared/base/fd.h"
#include "lockd/etcd/leaser.h"
#include "tests/unit/pump.h"

namespace virtgate::test {

// What becomes of a transaction.
enum class Fate : unsigned char {
    answered,
    lost_answer,  // done, and the connection is cut
    lost,         // the connection is cut
    late,         // the connection is cut, and it is done when the test says so
    unavailable,  // refused in a way that leaves open whether it was done; it was
    twice,        // done two times, as if who carries it had sent it again
    held_back,    // done, and answered when the test says so
};

class FakeEtcd {
public:
    explicit FakeEtcd(loop::FakeLoop& loop);
    ~FakeEtcd();

    [[nodiscard]] std::string url() const;

    struct Entry {
        std::string value{};
        std::uint64_t created = 0, modified = 0, lease = 0;
    };
    std::map<std::string, Entry> keys;
    std::uint64_t revision = 1;
    std::map<std::uint64_t, int> leases;  // id: time to live
    int ttl = 30;
    bool is_gone = false;    // every connection is cut
    std::deque<Fate> fates;  // of the next transactions; answered when empty
    unsigned keep_alives = 0, transactions = 0, logins = 0;
    std::string token;  // not empty: what a request has to come with

    // Does what was late; answers what was held back.
    void do_late();
    void answer_held_back();
    void end_lease(std::uint64_t id);
    void erase(const std::string& key);
    // History is forgotten: all watches end.
    void compact();

private:
    class Connection;
    void on_connection(loop::Want) noexcept;
    [[nodiscard]] nlohmann::json serve(const std::string& path, const nlohmann::json& body, int& status);
    [[nodiscard]] nlohmann::json transact(const nlohmann::json& body, int& status);
    [[nodiscard]] bool holds(const nlohmann::json& compare) const;
    [[nodiscard]] nlohmann::json range(const nlohmann::json& body) const;
    void announce(const nlohmann::json& result);

    loop::FakeLoop& loop_;
    UniqueFd listener_;
    std::unique_ptr<loop::Watch> watch_;
    std::vector<std::unique_ptr<Connection>> connections_;
    std::vector<nlohmann::json> late_;
    std::vector<std::pair<Connection*, nlohmann::json>> held_back_;
    std::uint64_t next_lease_ = 100;
};

// A leaser, its parent and its locker.
class LeaserRig {
public:
    LeaserRig();

    // What the locker says, and what it hears.
    void resume(std::uint64_t lease, std::vector<proto::lease::Leased> held = {});
    std::uint32_t take(const std::string& name, bool shared = false, bool create = true);
    std::uint32_t let_go(const std::string& name, const proto::lease::TakeRet& taken, bool shared = false);
    std::uint32_t make(const std::string& name);
    std::uint32_t remove(const std::string& name);
    struct Heard {
        bool ok = false;
        int code = 0;
        std::string text{};
        proto::lease::TakeRet taken{};
    };
    [[nodiscard]] bool is_answered(std::uint32_t serial);
    // The answer has to come.
    [[nodiscard]] Heard answer(std::uint32_t serial);
    [[nodiscard]] Heard take_now(const std::string& name, bool shared = false, bool create = true);
    [[nodiscard]] bool alive() const { return state.phase == proto::lease::LeasePhase::lease_alive; }
    // Lets time pass in small steps, so that what waits for an answer can have it.
    void pass(Milliseconds time);
    void settle() { pump(loop); }
    // A new locker instead of the one before.
    void connect();
    // A new leaser, with the locker's word for what it holds.
    void restart();

    loop::FakeLoop loop;
    FakeEtcd etcd{loop};
    proto::config::LeaserConfig config{};
    proto::lease::StateArgs state{};
    std::vector<proto::lease::Leased> lost;

private:
    template <class Arguments>
    std::uint32_t call(proto::lease::Procedure procedure, const Arguments& arguments);
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view) noexcept {}

    std::unique_ptr<rpc::Control> parent_, locker_;
    std::unique_ptr<lockd::etcd::Leaser> leaser_;
    std::map<std::uint32_t, Heard> answers_;
    std::map<std::uint32_t, bool> takes_;  // which serials are of TAKE
};

}  // namespace virtgate::test
