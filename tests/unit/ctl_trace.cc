// SPDX-License-Identifier: LGPL-2.1-or-later
// ctl_trace - bytes of both directions as records and lines; what is hidden in them; a relay between two sockets.
#include <criterion/criterion.h>
#include <sys/socket.h>

#include <nlohmann/json.hpp>

#include "ctl/trace/decoder.h"
#include "ctl/trace/line.h"
#include "ctl/trace/secrets.h"
#include "libshared/rpc/error.h"
#include "proto/program.h"
#include "proto/programs.h"

using namespace virtgate;
using namespace virtgate::ctl::trace;
using reflect::Json;

namespace {

const reflect::Catalogue k_catalogue;

struct Rig {
    Decoder decoder{k_catalogue};
    Instant now{};

    std::vector<Record> take(From from, const ByteVector& bytes, Milliseconds later = Milliseconds{0}) {
        now += later;
        return decoder.take(from, bytes, now);
    }
};

// A frame of `procedure` of libvirt's main program, with that payload.
ByteVector frame(std::string_view procedure, rpc::Type type, std::uint32_t serial, ByteView payload,
                 rpc::Status status = rpc::Status::ok) {
    const auto found = k_catalogue.find(procedure);
    cr_assert(found.has_value());
    return rpc::make_frame({.program = found->program->number,
                            .version = found->program->version,
                            .procedure = found->procedure->number,
                            .type = type,
                            .serial = serial,
                            .status = status},
                           payload);
}

ByteVector arguments(std::string_view procedure, std::string_view json) {
    const auto found = k_catalogue.find(procedure);
    const auto payload =
        reflect::to_payload(found->program->schema, found->procedure->args, *reflect::parse(json), "args");
    cr_assert(payload.has_value(), "%s", payload ? "" : payload.error().c_str());
    return *payload;
}

std::string hidden(std::string_view procedure, std::string_view json) {
    Json value = *reflect::parse(json);
    hide_secrets("remote", procedure, value);
    return value.dump();
}

}  // namespace

Test(trace_decoder, call_and_reply_and_how_long_it_took) {
    Rig rig;
    const ByteVector call = frame("connect_get_lib_version", rpc::Type::call, 4, {});
    ByteVector both = frame("domain_lookup_by_name", rpc::Type::call, 5,
                            arguments("domain_lookup_by_name", R"({"name": "web"})"));
    both.insert(both.end(), call.begin(), call.end());
    const auto calls = rig.take(From::client, both);
    cr_assert_eq(calls.size(), 2);
    cr_assert(calls[0].kind == Record::Kind::call && calls[0].program == "remote");
    cr_assert(calls[0].procedure == "domain_lookup_by_name" &&
              calls[0].payload.dump() == R"({"name":"web"})");
    const auto replies = rig.take(
        From::server, frame("connect_get_lib_version", rpc::Type::reply, 4, ByteVector(8)), Milliseconds{7});
    cr_assert_eq(replies.size(), 1);
    cr_assert(replies[0].kind == Record::Kind::reply && replies[0].took == std::chrono::microseconds{7000});
    cr_assert(replies[0].payload.dump().ends_with(":0}"));
    const auto errors =
        rig.take(From::server, frame("domain_lookup_by_name", rpc::Type::reply, 5,
                                     rpc::make_error_payload(42, "no \x1b such"), rpc::Status::error));
    cr_assert(errors[0].kind == Record::Kind::error && errors[0].code == 42 && errors[0].took.has_value());
    const std::string line = line_text(errors[0], 3, Moment{}, false);
    cr_assert(line.ends_with(" 3 < error remote.domain_lookup_by_name #5 7.00ms no \\x1b such (code 42)\n"),
              "%s", line.c_str());
}

Test(trace_decoder, takes_frames_in_any_pieces) {
    Rig rig;
    const ByteVector call = frame("domain_lookup_by_name", rpc::Type::call, 5,
                                  arguments("domain_lookup_by_name", R"({"name": "web"})"));
    std::size_t found = 0;
    for (const std::byte one : call) found += rig.take(From::client, {one}).size();
    cr_assert_eq(found, 1);
}

Test(trace_decoder, streams_are_sizes) {
    Rig rig;
    const auto data = rig.take(From::client, frame("storage_vol_upload", rpc::Type::stream, 6,
                                                   ByteVector(1000), rpc::Status::proceed));
    cr_assert(data.size() == 1 && data[0].kind == Record::Kind::data && data[0].payload.is_discarded());
    cr_assert(line_text(data[0], 1, Moment{}, false)
                  .ends_with(" 1 > data remote.storage_vol_upload #6 1028 bytes\n"));
    const auto hole = rig.take(
        From::client,
        frame("storage_vol_upload", rpc::Type::stream_hole, 6,
              ByteVector{std::byte{}, std::byte{}, std::byte{}, std::byte{1}, std::byte{}, std::byte{},
                         std::byte{}, std::byte{}, std::byte{}, std::byte{}, std::byte{}, std::byte{}}));
    cr_assert(hole[0].kind == Record::Kind::hole && hole[0].size == std::size_t{1} << 32);
    const auto finish = rig.take(From::client, frame("storage_vol_upload", rpc::Type::stream, 6, {}));
    cr_assert(finish[0].kind == Record::Kind::finish);
    const auto abort =
        rig.take(From::client, frame("storage_vol_upload", rpc::Type::stream, 6, {}, rpc::Status::error));
    cr_assert(abort[0].kind == Record::Kind::error && abort[0].error == "aborted");
}

// Two descriptors, each with a byte of its own behind the frame.
Test(trace_decoder, bytes_that_carry_descriptors_are_in_no_frame) {
    Rig rig;
    ByteVector payload{std::byte{}, std::byte{}, std::byte{}, std::byte{2}};
    const ByteVector given = arguments("domain_lookup_by_name", R"({"name": "web"})");
    payload.insert(payload.end(), given.begin(), given.end());
    ByteVector bytes = frame("domain_lookup_by_name", rpc::Type::call_with_fds, 7, payload);
    bytes.push_back(std::byte{});
    const auto first = rig.take(From::client, bytes);
    cr_assert(first.size() == 1 && first[0].descriptors == 2 && first[0].payload["name"] == "web");
    ByteVector rest{std::byte{}};
    const ByteVector next = frame("connect_get_lib_version", rpc::Type::call, 8, {});
    rest.insert(rest.end(), next.begin(), next.end());
    cr_assert(rig.take(From::client, rest).at(0).procedure == "connect_get_lib_version");
}

Test(trace_decoder, what_cannot_be_read_is_said) {
    Rig rig;
    const auto broken = rig.take(
        From::client, frame("domain_lookup_by_name", rpc::Type::call, 1, ByteVector(3, std::byte{0xff})));
    cr_assert(broken[0].payload.is_discarded() && !broken[0].error.empty());
    const auto strange = rig.take(
        From::client, rpc::make_frame({.program = 0x1234, .version = 1, .procedure = 9}, ByteVector(4)));
    cr_assert(strange[0].program == "0x00001234" && strange[0].procedure == "9");
    cr_assert(line_text(strange[0], 1, Moment{}, false).ends_with("call 0x00001234.9 #0 32 bytes\n"));
    const auto lost = rig.take(From::client, ByteVector(64, std::byte{0xff}));
    cr_assert(lost.size() == 1 && lost[0].kind == Record::Kind::lost);
    cr_assert(rig.take(From::client, frame("connect_get_lib_version", rpc::Type::call, 2, {})).empty());
    cr_assert_eq(
        rig.take(From::server, frame("connect_get_lib_version", rpc::Type::reply, 2, ByteVector(8))).size(),
        1);
}

Test(trace_secrets, are_not_shown) {
    const char* all[] = {"auth_sasl_start", "auth_sasl_step", "secret_set_value", "secret_get_value",
                         "domain_set_user_password"};
    for (const char* one : all)
        cr_assert(hidden(one, R"({"value": "hunter2"})") == "\"(hidden)\"", "%s", one);
    cr_assert(hidden("x", R"({"new_password": "hunter2", "name": "web"})") ==
              R"js({"new_password":"(hidden)","name":"web"})js");
    cr_assert(
        hidden("x", R"({"params": [{"field": "auth-password", "type": "string", "value": "hunter2"}]})") ==
        R"js({"params":[{"field":"auth-password","type":"string","value":"(hidden)"}]})js");
    cr_assert(hidden("x", R"({"xml": "<graphics passwd='a>b' port='1'/><x passwd = \"c\"/>"})") ==
              R"js({"xml":"<graphics passwd='(hidden)' port='1'/><x passwd = \"(hidden)\"/>"})js");
    cr_assert(hidden("x", R"({"xml": "<graphics passwd='cut off"})") ==
              R"js({"xml":"<graphics passwd='(hidden)"})js");
    cr_assert(hidden("x", R"({"xml": "passwd is a word"})") == R"({"xml":"passwd is a word"})");
    // An object that is called so is no secret itself.
    cr_assert(hidden("x", R"({"secret": {"usage_id": "disk"}, "need_results": 1})") ==
              R"({"secret":{"usage_id":"disk"},"need_results":1})");
}

// The procedures that are hidden as a whole exist under these names, or the table hides nothing.
Test(trace_secrets, names_are_those_of_the_schema) {
    for (const char* one :
         {"remote.auth_sasl_start", "remote.auth_sasl_step", "remote.secret_set_value",
          "remote.secret_get_value", "remote.domain_set_user_password", "remote.domain_send_key",
          "remote.domain_set_launch_security_state", "qemu.domain_agent_command",
          "qemu.domain_monitor_command", "qemu.domain_monitor_command_with_files"}) {
        cr_assert(k_catalogue.find(one).has_value(), "%s", one);
        Json value = *reflect::parse(R"({"value": "hunter2"})");
        const std::string_view name = one;
        hide_secrets(name.substr(0, name.find('.')), name.substr(name.find('.') + 1), value);
        cr_assert(value == "(hidden)", "%s", one);
    }
}

Test(trace_line, long_ones_are_cut_for_people) {
    Rig rig;
    const std::string text = R"({"name": ")" + std::string(1000, 'x') + R"("})";
    const auto record = rig.take(From::client, frame("domain_lookup_by_name", rpc::Type::call, 5,
                                                     arguments("domain_lookup_by_name", text)))[0];
    const std::string cut = line_text(record, 1, Moment{}, false);
    cr_assert(cut.size() < 600 && cut.ends_with("x... (611 more)\n"), "%s", cut.c_str());
    cr_assert(line_text(record, 1, Moment{}, true).size() > 1000);
    const auto json = nlohmann::json::parse(line_json(record, 2, Moment{}));
    cr_assert(json["payload"]["name"].get<std::string>().size() == 1000);
    cr_assert(json["time"] == "1970-01-01T00:00:00.000000Z" && json["connection"] == 2 &&
              json["from"] == "client" && json["what"] == "call" && json["serial"] == 5 &&
              json["program"] == "remote");
    cr_assert(note_text("connected", 1, Moment{}).ends_with(" 1 - connected\n"));
}
