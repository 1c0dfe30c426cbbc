// SPDX-License-Identifier: LGPL-2.1-or-later
// steward - gates that answer, lie, or keep quiet; an exporter that was taken over; and what virt-admin's parameters mean.
#include <criterion/criterion.h>

#include "netd/steward/gates.h"
#include "netd/steward/parameters.h"
#include "netd/steward/reading_desk.h"
#include "tests/unit/pump.h"

namespace virtgate::netd::steward {

namespace {

namespace control = proto::control;

// A gate's end of the channel, which answers as `page` says.
class ScriptedGate {
public:
    using Page = std::function<std::optional<control::ConnectionsRet>(std::uint64_t after)>;

    ScriptedGate(loop::Loop& loop, Gates& gates, std::uint32_t index, std::uint32_t serial, Page page)
        : page_(std::move(page)) {
        auto pair = make_channel_pair();
        cr_assert(pair.has_value());
        control_ = std::make_unique<rpc::Control>(loop, std::move(pair->first), 0,
                                                  loop::to<&ScriptedGate::on_message>(*this),
                                                  loop::to<&ScriptedGate::on_closed>(*this));
        gates.adopt(index, serial, std::move(pair->second));
    }
    bool is_closed = false;
    unsigned questions = 0;
    std::uint64_t closed = 0;

private:
    void on_message(rpc::Control::Message& message) noexcept {
        ++questions;
        if (message.header.program != control::k_program) return;  // of what is counted it says nothing
        const auto reply = [&](const auto& ret) {
            cr_assert(control_->send_reply(message.header, *proto::encode(ret)).has_value());
        };
        if (message.header.procedure == static_cast<std::uint32_t>(control::Procedure::close)) {
            closed = proto::decode<control::CloseArgs>(message.payload)->id;
            return reply(control::CloseRet{.found = closed == 1});
        }
        if (message.header.procedure == static_cast<std::uint32_t>(control::Procedure::counters)) {
            control::Counters counters;
            counters.connections = 3;
            counters.gates = 1000;
            return reply(counters);
        }
        if (const auto page = page_(proto::decode<control::ConnectionsArgs>(message.payload)->after))
            reply(*page);
    }
    void on_closed(std::string_view) noexcept { is_closed = true; }

    Page page_;
    std::unique_ptr<rpc::Control> control_;
};

control::ConnectionsRet page_of(std::initializer_list<std::uint64_t> ids, std::uint64_t next = 0) {
    control::ConnectionsRet page;
    for (const std::uint64_t id : ids) {
        control::Connection row;
        row.id = id;
        page.connections.push_back(row);
    }
    page.next = next;
    return page;
}

// Two connections on two pages.
std::optional<control::ConnectionsRet> honest(std::uint64_t after) {
    if (after == 0) return page_of({1}, 1);
    return after < 4 ? page_of({4}) : page_of({});
}

std::vector<std::uint64_t> list_all(loop::FakeLoop& loop, Gates& gates) {
    std::optional<std::vector<std::uint64_t>> ids;
    gates.list_all([&](const Gates::Connections& all) {
        ids.emplace();
        for (const auto& one : all) ids->push_back(one.id);
    });
    for (int i = 0; i < 4 && !ids; ++i) {
        test::pump(loop);
        if (!ids) loop.advance(Link::k_patience);
    }
    cr_assert(ids.has_value());
    return *ids;
}

}  // namespace

Test(steward, makes_one_list_of_all_gates) {
    loop::FakeLoop loop;
    Gates gates(loop);
    cr_assert(list_all(loop, gates).empty());
    ScriptedGate one(loop, gates, 0, 1, honest), two(loop, gates, 1, 5, honest);
    const std::vector<std::uint64_t> expected{1'000'000'001, 1'000'000'004, 5'000'000'001, 5'000'000'004};
    cr_assert(list_all(loop, gates) == expected);
    // Page by page, from one gate to the next.
    std::vector<std::uint64_t> listed;
    for (std::uint64_t after = 0;;) {
        std::optional<control::ConnectionsRet> page;
        gates.list(after, [&](control::ConnectionsRet ret) { page = std::move(ret); });
        test::pump(loop);
        cr_assert(page.has_value());
        for (const auto& row : page->connections) listed.push_back(row.id);
        if (page->next == 0) break;
        cr_assert_gt(page->next, after);
        after = page->next;
    }
    cr_assert(listed == expected);
}

Test(steward, finds_and_closes_a_connection_at_its_gate_alone) {
    loop::FakeLoop loop;
    Gates gates(loop);
    ScriptedGate one(loop, gates, 0, 1, honest), two(loop, gates, 1, 2, honest);
    std::optional<bool> found, closed, none;
    gates.find(2'000'000'004, [&](const auto& connection) { found = connection && connection->gate == 1; });
    gates.close(2'000'000'001, "why", [&](const Answer<bool>& answer) { closed = *answer; });
    gates.close(3'000'000'001, "why", [&](const Answer<bool>& answer) { none = *answer; });
    test::pump(loop);
    cr_assert(found == true && closed == true && none == false);
    cr_assert(one.questions == 0 && two.closed == 1);
    for (const std::uint64_t id : {0UL, 1UL, 2'000'000'000UL, 2'000'000'003UL, ~0UL}) {
        std::optional<bool> is_there;
        gates.find(id, [&](const auto& connection) { is_there = connection.has_value(); });
        test::pump(loop);
        cr_assert(is_there == false);
    }
}

Test(steward, hears_nothing_more_of_a_gate_that_lists_what_it_cannot_have) {
    const ScriptedGate::Page lies[] = {
        [](std::uint64_t) {
            return std::optional(page_of({4, 3}));
        },                                                                      // out of order
        [](std::uint64_t) { return std::optional(page_of({0})); },              // no number
        [](std::uint64_t) { return std::optional(page_of({5'000'000'001})); },  // another gate's
        [](std::uint64_t) { return std::optional(page_of({7}, 9)); },           // goes on elsewhere
        [](std::uint64_t) { return std::optional(page_of({}, 1)); },            // goes on without an end
        [](std::uint64_t after) {
            return std::optional(page_of({1, 2}, after == 0 ? 2 : 0));
        },  // repeats itself
    };
    for (const auto& lie : lies) {
        loop::FakeLoop loop;
        Gates gates(loop);
        ScriptedGate liar(loop, gates, 0, 1, lie), other(loop, gates, 1, 2, honest);
        const auto ids = list_all(loop, gates);
        cr_assert(std::count_if(ids.begin(), ids.end(), [](auto id) { return id / Gates::k_start == 2; }) ==
                  2);
        test::pump(loop);
        cr_assert(liar.is_closed && !other.is_closed);
    }
}

Test(steward, gives_each_gate_its_share_of_a_list) {
    loop::FakeLoop loop;
    Gates gates(loop);
    const auto endless = [](std::uint64_t after) {
        control::ConnectionsRet page;
        for (std::size_t i = 0; i < control::k_connections_max; ++i) {
            control::Connection row;
            row.id = ++after;
            page.connections.push_back(row);
        }
        page.next = after;
        return std::optional(page);
    };
    ScriptedGate liar(loop, gates, 0, 1, endless), other(loop, gates, 1, 2, honest);
    const auto ids = list_all(loop, gates);
    cr_assert_eq(ids.size(), Gates::k_listed_max / 2 + 2);
}

Test(steward, goes_on_without_a_gate_that_keeps_quiet) {
    loop::FakeLoop loop;
    Gates gates(loop);
    ScriptedGate quiet(loop, gates, 0, 1, [](std::uint64_t) { return std::nullopt; }),
        other(loop, gates, 1, 2, honest);
    cr_assert_eq(list_all(loop, gates).size(), 2);
    std::optional<control::Counters> sum;
    gates.count([&](const control::Counters& counters) { sum = counters; });
    test::pump(loop);
    cr_assert(sum && sum->connections == 6 && sum->gates == 2, "a gate does not count for others");
}

namespace {

// The exporter's end of its channel, which says what it likes.
struct ScriptedExporter {
    ScriptedExporter(loop::Loop& loop, ReadingDesk& desk) {
        auto pair = make_channel_pair();
        cr_assert(pair.has_value());
        control = std::make_unique<rpc::Control>(loop, std::move(pair->first), 0,
                                                 loop::to<&ScriptedExporter::on_message>(*this),
                                                 loop::to<&ScriptedExporter::on_closed>(*this));
        desk.adopt(std::move(pair->second));
    }
    void say(const rpc::Header& header, ByteView payload = {}) {
        cr_assert(control->send(header, payload).has_value());
    }
    void on_message(rpc::Control::Message&) noexcept { ++answers; }
    void on_closed(std::string_view) noexcept { is_closed = true; }

    std::unique_ptr<rpc::Control> control;
    unsigned answers = 0;
    bool is_closed = false;
};

rpc::Header read_call(std::uint32_t serial) {
    namespace wire = proto::metrics;
    return rpc::make_call(wire::k_program, wire::k_version, wire::Procedure::read, serial);
}

}  // namespace

Test(steward_reading, lets_nobody_administer_who_may_read) {
    namespace wire = proto::metrics;
    const auto order = [](control::Procedure procedure) {
        return rpc::make_call(control::k_program, control::k_version, procedure, 1);
    };
    ByteVector close = *proto::encode(control::CloseArgs{.id = 1, .reason = "taken over"});
    const std::pair<rpc::Header, ByteVector> attacks[] = {
        {order(control::Procedure::close), close},
        {order(control::Procedure::connections), *proto::encode(control::ConnectionsArgs{})},
        {order(control::Procedure::state), {}},
        {order(control::Procedure::drain), *proto::encode(control::DrainArgs{})},
        {order(control::Procedure::resume), {}},
        {order(control::Procedure::reload), {}},
        {rpc::make_call(wire::k_program, wire::k_version, wire::Procedure::open, 1), {}},
        {rpc::make_message(wire::k_program, wire::k_version, wire::Procedure::last),
         *proto::encode(wire::ReadRet{.samples = {}, .last = true})},
        {read_call(1), close},
        {read_call(1), {}},
    };
    for (const auto& [header, payload] : attacks) {
        loop::FakeLoop loop;
        Gates gates(loop);
        ScriptedGate gate(loop, gates, 0, 1, honest);
        const std::unique_ptr<Link> nobody;
        ReadingDesk desk(loop, gates, nobody);
        ScriptedExporter exporter(loop, desk);
        exporter.say(header, payload);
        test::pump(loop);
        cr_expect(exporter.is_closed && exporter.answers == 0, "program 0x%x, procedure %d", header.program,
                  header.procedure);
        cr_expect(gate.questions == 0 && gate.closed == 0);
        cr_expect(list_all(loop, gates).size() == 2, "the steward goes on");
    }
}

Test(steward_reading, answers_one_question_at_a_time) {
    loop::FakeLoop loop;
    Gates gates(loop);
    const std::unique_ptr<Link> nobody;
    ReadingDesk desk(loop, gates, nobody);
    const auto question = *proto::encode(proto::metrics::ReadArgs{});
    {
        ScriptedExporter exporter(loop, desk);
        for (std::uint32_t serial = 1; serial <= 3; ++serial) {
            exporter.say(read_call(serial), question);
            test::pump(loop);
            cr_assert_eq(exporter.answers, serial);
        }
        // Behind all that there is: the end of a list, and no more.
        exporter.say(read_call(4), *proto::encode(proto::metrics::ReadArgs{.after = 0xffffffff}));
        test::pump(loop);
        cr_assert(exporter.answers == 4 && !exporter.is_closed);
    }
    ScriptedGate quiet(loop, gates, 0, 1, honest);
    ScriptedExporter hasty(loop, desk);
    hasty.say(read_call(1), question);
    hasty.say(read_call(2), question);
    test::pump(loop);
    cr_expect(hasty.is_closed, "a question while another is answered is a breach");
}

Test(steward_parameters, set_limits) {
    const control::ClientBounds bounds{.connections = 10, .arrivals = 5};
    const auto both =
        change_bounds(bounds, {make_uint("nclients_max", 7), make_uint("nclients_unauth_max", 3)});
    cr_assert(both && both->connections == 7 && both->arrivals == 3);
    const auto one = change_bounds(bounds, {make_uint("nclients_max", 7)});
    cr_assert(one && one->connections == 7 && one->arrivals == 5);
    cr_assert(!change_bounds(bounds, {make_uint("nclients", 7)}));
    cr_assert(!change_bounds(bounds, {make_int("nclients_max", 7)}));
    cr_assert(!change_bounds(bounds, {make_uint("nclients_max", 7), make_uint("nclients_max", 7)}));
}

Test(steward_parameters, set_the_level_and_not_the_place_of_the_log) {
    cr_assert(read_level("1:stderr", "2:stderr") == 0U);
    cr_assert(read_level("4:journald 4:file:/x", "2:file:/x 2:journald") == 3U);
    for (const char* const text : {"1:journald", "", "5:stderr", "0:stderr", "x", "1", "1:stderr 1:stderr"})
        cr_assert(!read_level(text, "2:stderr"), "%s", text);
    cr_assert(!read_level("1:journald 2:file:/x", "2:file:/x 2:journald"));
}

Test(steward_parameters, number_versions_as_libvirt_does) {
    cr_assert_eq(number_of_version("1.2.3"), 1'002'003);
    cr_assert_eq(number_of_version("0.10.0-rc1"), 10'000);
    cr_assert_eq(number_of_version(""), 0);
}

}  // namespace virtgate::netd::steward
