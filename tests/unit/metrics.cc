// SPDX-License-Identifier: LGPL-2.1-or-later
// metrics - what is counted: the catalogue, sums, messages in parts, and the text that monitoring systems read.
#include <criterion/criterion.h>

#include <algorithm>
#include <string>

#include "libshared/base/fd.h"
#include "libshared/loop/fake_loop.h"
#include "libshared/metrics/asker.h"
#include "libshared/metrics/pages.h"
#include "libshared/metrics/text.h"
#include "proto/codec.h"
#include "tests/unit/pump.h"

using namespace virtgate;
using metrics::Family;
using metrics::Format;
namespace wire = proto::metrics;

namespace {

wire::Sample make(Family family, std::vector<std::string> labels, std::uint64_t value) {
    return {.family = static_cast<std::uint32_t>(family), .labels = std::move(labels), .value = value};
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }

}  // namespace

Test(metrics, names_are_as_the_formats_want_them) {
    for (const metrics::Entry& entry : metrics::catalogue()) {
        const std::string name(entry.name);
        cr_assert(name.starts_with("virtgate_"), "%s", name.c_str());
        cr_assert_eq(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_"), name.npos, "%s", name.c_str());
        cr_assert_not(name.ends_with("_total"), "%s", name.c_str());
        cr_assert(entry.unit.empty() || name.ends_with("_" + std::string(entry.unit)), "%s", name.c_str());
        cr_assert(entry.scale == 1 || entry.scale == 1000, "%s", name.c_str());
        cr_assert(entry.help.ends_with('.'), "%s", name.c_str());
        cr_assert_eq(entry.help.find_first_of("\\\n\t"), entry.help.npos, "%s", name.c_str());
        cr_assert_neq(entry.sources, 0, "%s", name.c_str());
    }
}

Test(metrics, open_metrics_has_heads_units_and_an_end) {
    metrics::Tally tally;
    tally.add(Family::build, {"1.0"}, 1);
    tally.add(Family::received_bytes, {"tls"}, 12345678901);
    tally.add(Family::process_cpu, {"gate"}, 1005);
    tally.add(Family::open_calls, {}, 3);
    const std::string text = metrics::format(tally.samples(), Format::open_metrics);
    cr_assert_str_eq(
        text.c_str(),
        "# TYPE virtgate_build info\n"
        "# HELP virtgate_build The version of virtgate that exports this; always 1.\n"
        "virtgate_build_info{version=\"1.0\"} 1\n"
        "# TYPE virtgate_received_bytes counter\n"
        "# UNIT virtgate_received_bytes bytes\n"
        "# HELP virtgate_received_bytes Bytes of clients in sessions, inside TLS.\n"
        "virtgate_received_bytes_total{listener=\"tls\"} 12345678901\n"
        "# TYPE virtgate_open_calls gauge\n"
        "# HELP virtgate_open_calls Calls now without an answer.\n"
        "virtgate_open_calls 3\n"
        "# TYPE virtgate_process_cpu_seconds counter\n"
        "# UNIT virtgate_process_cpu_seconds seconds\n"
        "# HELP virtgate_process_cpu_seconds CPU time of all processes of that kind, also of those that "
        "have ended.\n"
        "virtgate_process_cpu_seconds_total{process=\"gate\"} 1.005\n"
        "# EOF\n");
}

Test(metrics, the_older_format_names_counters_by_their_samples) {
    const auto text = metrics::format(
        {make(Family::build, {"1"}, 1), make(Family::logins, {"PLAIN", "ok"}, 2)}, Format::prometheus);
    cr_assert(has(text, "# TYPE virtgate_build_info gauge\nvirtgate_build_info{version=\"1\"} 1\n"));
    cr_assert(has(text,
                  "# TYPE virtgate_logins_total counter\n"
                  "virtgate_logins_total{mechanism=\"PLAIN\",result=\"ok\"} 2\n"));
    cr_assert_not(has(text, "EOF"));
}

Test(metrics, a_family_has_one_head) {
    const auto text = metrics::format({make(Family::sessions, {"a"}, 1), make(Family::sessions, {"b"}, 1)},
                                      Format::prometheus);
    const std::size_t first = text.find("# TYPE");
    cr_assert_neq(first, text.npos);
    cr_assert_eq(text.find("# TYPE", first + 1), text.npos);
}

Test(metrics, label_values_cannot_break_out) {
    const auto text = metrics::format(
        {make(Family::sessions, {"x\"} 9\nvirtgate_fake 1\\"}, 1), make(Family::sessions, {"\xff\xfe"}, 2),
         make(Family::sessions, {"M\xc3\xbcller \"die\\Mühle\""}, 3)},
        Format::open_metrics);
    // Two lines of head, three samples, and the end: no byte of a label has made another line.
    cr_assert_eq(std::count(text.begin(), text.end(), '\n'), 6);
    cr_assert_not(has(text, "\nvirtgate_fake"));
    cr_assert(has(text, "{identity=\"M\xc3\xbcller \\\"die\\\\Mühle\\\"\"} 3\n"), "%s", text.c_str());
    cr_assert_eq(text.find('\xff'), text.npos);
}

Test(metrics, the_client_chooses_the_format) {
    using metrics::choose_format;
    const auto is_open = [](std::string_view accept) {
        return choose_format(accept) == Format::open_metrics;
    };
    cr_assert_not(is_open(""));
    cr_assert_not(is_open("*/*"));
    cr_assert_not(is_open("text/html,application/xhtml+xml,*/*;q=0.8"));
    cr_assert(is_open("application/openmetrics-text"));
    cr_assert(is_open(
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
        "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"));
    cr_assert(is_open("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    cr_assert_not(is_open("application/openmetrics-text;version=2.0.0"));
    cr_assert_not(is_open("application/openmetrics-text;q=0"));
    cr_assert_not(is_open("application/openmetrics-text;q=0.1, text/plain"));
    cr_assert_not(is_open("application/openmetrics-text;q=99"));
    cr_assert_not(is_open(";;;,,,=;q=;,application/openmetrics-textual"));
}

Test(metrics, counters_stay_and_gauges_go) {
    metrics::Tally ended;
    const metrics::Samples samples{make(Family::client_calls, {"tls"}, 7), make(Family::open_calls, {}, 3)};
    ended.add_all(metrics::counters_of(samples));
    metrics::Tally now = ended;
    now.add(Family::client_calls, {"tls"}, 1);
    cr_assert_eq(now.value_of(Family::client_calls, {"tls"}), 8);
    cr_assert_eq(now.value_of(Family::open_calls, {}), 0);
    cr_assert_eq(now.size(), 1);
}

Test(metrics, of_several_ends_the_first_counts) {
    metrics::Tally all;
    all.add(make(Family::certificate_expiry, {"server"}, 2000));
    all.add(make(Family::certificate_expiry, {"server"}, 1000));
    all.add(make(Family::certificate_expiry, {"server"}, 3000));
    cr_assert_eq(all.value_of(Family::certificate_expiry, {"server"}), 1000);
}

Test(metrics, a_tally_is_bounded) {
    metrics::Tally tally;
    for (std::size_t i = 0; i < metrics::Tally::k_series_max + 10; ++i)
        tally.add(Family::sessions, {fmt::format("identity {}", i)}, 1);
    cr_assert_eq(tally.size(), metrics::Tally::k_series_max);
    tally.add(Family::sessions, {"identity 0"}, 1);
    cr_assert_eq(tally.value_of(Family::sessions, {"identity 0"}), 2);
}

Test(metrics, a_role_speaks_of_its_own_families) {
    cr_assert(metrics::is_of(make(Family::client_calls, {"tls"}, 1), metrics::source::gate));
    cr_assert_not(metrics::is_of(make(Family::client_calls, {"tls"}, 1), metrics::source::doorman));
    cr_assert_not(metrics::is_of(make(Family::client_calls, {}, 1), metrics::source::gate));
    cr_assert_not(metrics::is_of(make(Family::client_calls, {"tls", "more"}, 1), metrics::source::gate));
    cr_assert_not(metrics::is_of({.family = 255, .labels = {}, .value = 1}, 0xffff));
}

namespace {

// The serving end of a channel, and who asks over the other.
struct Pair {
    explicit Pair(metrics::Samples samples) {
        auto pair = make_channel_pair();
        cr_assert(pair.has_value());
        asking =
            std::make_unique<rpc::Control>(loop, std::move(pair->first), 0, loop::to<&Pair::on_answer>(*this),
                                           loop::to<&Pair::on_closed>(*this));
        serving = std::make_unique<rpc::Control>(loop, std::move(pair->second), 0,
                                                 loop::to<&Pair::on_question>(*this),
                                                 loop::to<&Pair::on_closed>(*this));
        pages.set(std::move(samples));
    }
    void on_question(rpc::Control::Message& message) noexcept {
        ++questions;
        const auto after = metrics::Pages::read_question(message);
        cr_assert(after.has_value());
        if (!is_silent) cr_assert(pages.answer(*serving, message.header, *after).has_value());
    }
    void on_answer(rpc::Control::Message& message) noexcept { cr_assert(asker.take(message)); }
    void on_closed(std::string_view) noexcept {}
    void ask() {
        asker.ask(*asking, [this](const metrics::Asker::Answer& got) {
            ++answers;
            answer = got;
        });
    }

    loop::FakeLoop loop;
    metrics::Pages pages;
    metrics::Asker asker{loop, metrics::source::broker};
    metrics::Asker::Answer answer;
    unsigned questions = 0, answers = 0;
    bool is_silent = false;
    std::unique_ptr<rpc::Control> asking, serving;
};

metrics::Samples many(std::size_t count) {
    metrics::Samples samples;
    for (std::size_t i = 0; i < count; ++i)
        samples.push_back(make(Family::sessions, {std::string(200, 'x') + std::to_string(i)}, i));
    return samples;
}

}  // namespace

Test(metrics, what_does_not_fit_a_message_comes_in_parts) {
    Pair pair(many(1000));
    pair.ask();
    test::pump(pair.loop);
    cr_assert_eq(pair.answers, 1);
    cr_assert(pair.answer.has_value());
    cr_assert_gt(pair.questions, 3);
    cr_assert_eq(pair.answer->size(), 1000);
    for (std::size_t i = 0; i < 1000; ++i) cr_assert_eq((*pair.answer)[i].value, i);
}

Test(metrics, who_asks_meanwhile_gets_the_same_answer) {
    Pair pair(many(1));
    pair.ask();
    pair.ask();
    test::pump(pair.loop);
    cr_assert_eq(pair.answers, 2);
    cr_assert_eq(pair.questions, 1);
}

Test(metrics, silence_has_a_deadline) {
    Pair pair(many(1));
    pair.is_silent = true;
    pair.ask();
    test::pump(pair.loop);
    cr_assert_eq(pair.answers, 0);
    pair.loop.advance(metrics::Asker::k_patience);
    cr_assert_eq(pair.answers, 1);
    cr_assert_not(pair.answer.has_value());
}

Test(metrics, what_another_role_counts_is_no_answer) {
    Pair pair({make(Family::client_calls, {"tls"}, 1)});
    pair.ask();
    test::pump(pair.loop);
    cr_assert_eq(pair.answers, 1);
    cr_assert_not(pair.answer.has_value());
}
