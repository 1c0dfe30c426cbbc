// SPDX-License-Identifier: LGPL-2.1-or-later
// ctl_sandbox - what "virtgate sandbox" makes of what programs say, of what a kernel has and of who runs.
#include <criterion/criterion.h>

#include <nlohmann/json.hpp>
#include <string>

#include "ctl/sandbox/listing.h"

using namespace virtgate;
using namespace virtgate::ctl::sandbox;
using confine::Layer;

namespace {

const Machine k_new{.kernel = "Linux 9.9",
                    .library = "libseccomp 9.9",
                    .landlock = 9,
                    .writable_code = true,
                    .sealed_memory = true};
// That of Debian 12.
const Machine k_old{.kernel = "Linux 6.1", .library = "libseccomp 2.5.4", .landlock = 2};
// Whose administrator has switched something off.
const Machine k_forbidding{.kernel = "Linux 9.9",
                           .library = "libseccomp 9.9",
                           .landlock = 9,
                           .writable_code = true,
                           .sealed_memory = true,
                           .not_alone = "user namespaces are forbidden here"};

constexpr Layer k_layers[] = {
    Layer::capabilities,  Layer::bounding_set, Layer::dumpable, Layer::no_new_privileges,
    Layer::files,         Layer::tcp,          Layer::scope,    Layer::writable_code,
    Layer::sealed_memory, Layer::limits,       Layer::filter,   Layer::namespaces};

// Of a program that has everything.
Statement make_whole() {
    Statement statement{.process = "gate", .findings = {}, .calls = {}};
    for (const Layer layer : k_layers) statement.findings.push_back({layer, true, {}});
    statement.calls = {{"write", "log lines", false},
                       {"read", "channels", false},
                       {"read", "an eventfd", false},
                       {"clone3", "the C library then takes clone", true}};
    return statement;
}

Statement make_without(Layer layer, const char* why) {
    Statement statement = make_whole();
    for (auto& finding : statement.findings)
        if (finding.layer == layer) finding = {layer, false, why};
    return statement;
}

Running make_running() {
    Running one{.pid = 7, .name = "gate-0", .status = {}};
    one.status.no_new_privileges = 1;
    one.status.seccomp_mode = 2;
    one.status.filters = 3;
    one.status.bounding = 0x1ff;
    return one;
}

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

Test(sandbox, a_statement_is_read) {
    const auto statement = parse_statement("gate",
                                           "layer\tfiles\tin force\tABI 7\n"
                                           "<4>confined as far as possible here\n"
                                           "layer\tfiles\tmissing\tno truncate\n"
                                           "layer\tlimits\tin force\t\n"
                                           "layer\tnamespaces\tnot meant\tit starts others\n"
                                           "call\tread\tchannels, eventfd\n"
                                           "call\tread\tchannels, eventfd\n"
                                           "refused\tclone3\tits flags are out of sight\n");
    cr_assert(statement.has_value(), "%s", statement ? "" : statement.error().text.c_str());
    cr_assert_eq(statement->findings.size(), 4);
    cr_assert_eq(statement->findings[0].detail, "ABI 7");
    cr_assert_eq(static_cast<int>(state_of(*statement, Layer::files)), static_cast<int>(State::partly));
    cr_assert_eq(static_cast<int>(state_of(*statement, Layer::limits)), static_cast<int>(State::whole));
    cr_assert_eq(static_cast<int>(state_of(*statement, Layer::tcp)), static_cast<int>(State::none));
    cr_assert_eq(static_cast<int>(state_of(*statement, Layer::namespaces)), static_cast<int>(State::unmeant));
    cr_assert_eq(statement->calls.size(), 2);
    cr_assert_eq(statement->calls[0].reason, "channels, eventfd");
    cr_assert(!statement->calls[0].refused && statement->calls[1].refused);
}

Test(sandbox, what_no_program_says_is_an_error) {
    for (const char* text :
         {"layer\tfiles\n", "layer\tfiles\tperhaps\t\n", "layer\tno such layer\tin force\t\n",
          "call\t\treason\n", "call\n", "gibberish\n", "\n", "Usage: virtgate-gate\n"})
        cr_assert(!parse_statement("gate", text), "%s", text);
}

Test(sandbox, what_a_program_says_cannot_move_the_cursor) {
    const auto statement = parse_statement("gate", "call\tread\t\x1b[2J\n");
    cr_assert(statement && !has(statement->calls[0].reason, "\x1b"));
}

Test(sandbox, complete_is_all_that_this_kernel_could_do) {
    cr_assert((Findings{k_new, {make_whole()}, {make_running()}}.is_complete()));
    for (const Layer layer : k_layers)
        cr_assert((!Findings{k_new, {make_whole(), make_without(layer, "why")}, {}}.is_complete()), "%s",
                  std::string(confine::to_text(layer)).c_str());
    // What the kernel does not have is no fault of anybody here.
    for (const Layer layer :
         {Layer::files, Layer::tcp, Layer::scope, Layer::writable_code, Layer::sealed_memory})
        cr_assert((Findings{k_old, {make_without(layer, "the kernel has none")}, {}}.is_complete()));
    cr_assert((Findings{k_forbidding, {make_without(Layer::namespaces, "forbidden")}, {}}.is_complete()));
    // Nor is what a program is to do without.
    Statement statement = make_whole();
    for (auto& finding : statement.findings)
        if (finding.layer == Layer::namespaces)
            finding = {Layer::namespaces, false, "it starts others", false};
    cr_assert((Findings{k_new, {statement}, {}}.is_complete()));
    cr_assert((!Findings{k_old, {make_without(Layer::filter, "why")}, {}}.is_complete()));
    cr_assert((!Findings{k_new, {Statement{"gate", {}, {}}}, {}}.is_complete()));
}

Test(sandbox, a_process_that_runs_without_a_filter_is_missing_something) {
    Running open = make_running();
    open.status.seccomp_mode = 0;
    cr_assert((!Findings{k_new, {make_whole()}, {make_running(), open}}.is_complete()));
    open = make_running();
    open.status.no_new_privileges = 0;
    cr_assert((!Findings{k_new, {make_whole()}, {open}}.is_complete()));
}

Test(sandbox, lacks_are_what_is_newer_than_the_kernel) {
    cr_assert(find_lacks(k_new).empty());
    cr_assert_eq(find_lacks(k_old).size(), 5);
    cr_assert_eq(find_lacks(Machine{}).size(), 6);
    cr_assert(!offers(k_old, Layer::files) && offers(k_old, Layer::filter) && offers(k_new, Layer::files));
}

Test(sandbox, the_table_says_what_is_missing_and_why) {
    Statement half = make_whole();
    half.findings.push_back({Layer::files, false, "no truncate"});
    const std::string text =
        list_findings({k_old, {make_without(Layer::tcp, "no TCP there"), half}, {make_running()}});
    cr_assert(has(text, "Linux 6.1, libseccomp 2.5.4, Landlock ABI 2\nThis kernel lacks: "));
    cr_assert(has(text, "TCP: no TCP there (gate)"));
    cr_assert(has(text, "files: no truncate (gate)"));
    cr_assert(has(text, "partly"));
    cr_assert(has(text, "gate-0   "));
    cr_assert(has(text, "1ff"));
    const std::string good = list_findings({k_new, {make_whole()}, {}});
    cr_assert(has(good, "Landlock ABI 9\nThis kernel has all that virtgate makes use of.\n"));
    cr_assert(!has(good, "Not in force"));
}

Test(sandbox, calls_are_listed_by_name_with_their_reasons) {
    cr_assert_eq(list_calls({make_whole()}),
                 "gate: 2 system calls\n"
                 "  clone3  refused: the C library then takes clone\n"
                 "  read    channels\n"
                 "  read    an eventfd\n"
                 "  write   log lines\n");
}

Test(sandbox, json_says_the_same) {
    using Json = nlohmann::json;
    const Json all = Json::parse(to_json({k_old, {make_without(Layer::tcp, "no TCP")}, {make_running()}}));
    cr_assert_eq(all["complete"], true);
    cr_assert_eq(all["lacks"].size(), 5);
    const Json& layers = all["programs"][0]["layers"];
    cr_assert_eq(layers.size(), std::size(k_layers));
    for (const Json& layer : layers) cr_assert_eq(layer["in_force"], layer["name"] != "TCP");
    cr_assert_eq(layers[6]["missing"], "no TCP");
    cr_assert_eq(layers[6]["offered"], false);
    cr_assert_eq(all["programs"][0]["refused"][0]["name"], "clone3");
    cr_assert_eq(all["running"][0]["capabilities_bounding"], "00000000000001ff");
    cr_assert_eq(all["running"][0]["confined"], true);
    cr_assert_eq(Json::parse(calls_to_json({make_whole()}))["gate"]["calls"].size(), 3);
}

Test(sandbox, names_of_processes) {
    cr_assert_eq(name_in("virtgate: gate-0   "), "gate-0");
    cr_assert_eq(name_in("/usr/libexec/virtgate/virtgate-netd"), "netd");
    cr_assert_eq(name_in("virtgate-workerd"), "workerd");
    for (const char* other : {"virtgate", "/usr/bin/virtgate", "virtgate-load", "sh", "", "/",
                              "notvirtgate: gate", "virtgate-netd --config x"})
        cr_assert(name_in(other).empty(), "%s", other);
    cr_assert(!has(name_in("virtgate: \x1b[2Jgate"), "\x1b"));
}
