// SPDX-License-Identifier: LGPL-2.1-or-later
// etcd_words - base64, JSON of etcd's gateway, keys and URLs: the pure parts of a leaser.
#include <criterion/criterion.h>

#include <nlohmann/json.hpp>

#include "lockd/etcd/base64.h"
#include "lockd/etcd/keys.h"
#include "lockd/etcd/url.h"

using namespace virtgate;
using namespace virtgate::lockd::etcd;

Test(base64, is_that_of_the_rfc) {
    const std::pair<const char*, const char*> pairs[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
    for (const auto& [bytes, text] : pairs) {
        cr_assert_eq(encode_base64(bytes), text);
        cr_assert_eq(decode_base64(text).value(), bytes);
    }
}

Test(base64, gives_every_byte_back) {
    std::string all;
    for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
    for (std::size_t cut = 0; cut < 4; ++cut)
        cr_assert_eq(decode_base64(encode_base64(all.substr(cut))).value(), all.substr(cut));
}

Test(base64, refuses_what_it_would_not_write) {
    for (const char* text :
         {"Z", "Zg", "Zg=", "Zg===", "====", "Zh==", "Zm9=", "Zm9v=", "Z m9", "Zm9v\n", "Zm-_", "=Zg="})
        cr_assert(!decode_base64(text), "%s", text);
}

Test(words, of_a_transaction_are_those_that_etcd_reads) {
    const Transaction transaction{
        .compares = {{.range = {.key = "a", .end = "b"}},
                     {.range = {.key = "c"},
                      .of = Compare::Of::mod_revision,
                      .is = Compare::Is::greater,
                      .number = 7}},
        .success = {{.kind = Operation::Kind::put, .range = {.key = "k"}, .value = "v", .lease = 9}},
        .failure = {{.range = {.key = "k", .end = "l"}},
                    {.kind = Operation::Kind::remove, .range = {.key = "k"}}}};
    const auto expected = nlohmann::json::parse(R"({
        "compare": [{"key": "YQ==", "range_end": "Yg==", "target": "CREATE", "result": "EQUAL", "create_revision": "0"},
                    {"key": "Yw==", "target": "MOD", "result": "GREATER", "mod_revision": "7"}],
        "success": [{"request_put": {"key": "aw==", "value": "dg==", "lease": "9"}}],
        "failure": [{"request_range": {"key": "aw==", "range_end": "bA=="}}, {"request_delete_range": {"key": "aw=="}}]})");
    cr_assert_eq(nlohmann::json::parse(write_transaction(transaction)), expected);
}

// As etcd 3.4.23 wrote them.
Test(words, of_answers_are_understood) {
    const auto failed = read_reply(
        R"({"header":{"revision":"2"},"responses":[{"response_range":{"header":{"revision":"2"},"kvs":[{"key":"cC9yL3g=",)"
        R"("create_revision":"2","mod_revision":"3","version":"1","value":"aGVsbG8=","lease":"1234567890123456789"}],"count":"1"}}]})");
    cr_assert(failed.has_value() && !failed->succeeded && failed->revision == 2);
    const KeyValue& key = failed->results.at(0).at(0);
    cr_assert(key.key == "p/r/x" && key.value == "hello" && key.create_revision == 2 &&
              key.mod_revision == 3);
    cr_assert_eq(key.lease, 1234567890123456789ULL);
    const auto alive = read_reply(R"({"result":{"header":{"revision":"1"},"ID":"77","TTL":"30"}})");
    cr_assert(alive->lease == 77 && alive->ttl == 30);
    const auto gone = read_reply(R"({"result":{"header":{"revision":"1"},"ID":"77"}})");
    cr_assert(gone->lease == 77 && gone->ttl == 0);
    const auto notice = read_notice(
        R"({"result":{"header":{"revision":"5"},"events":[{"type":"DELETE","kv":{"key":"cC9yL3g=","mod_revision":"5"}},)"
        R"({"kv":{"key":"cC9yL3g=","mod_revision":"4"}}]}})");
    cr_assert(notice->deleted.size() == 1 && notice->deleted[0].key == "p/r/x" &&
              notice->deleted[0].mod_revision == 5);
    cr_assert_eq(read_notice(R"({"result":{"canceled":true,"compact_revision":"4"}})")->compacted, 4);
}

Test(words, that_are_not_those_of_etcd_are_refused) {
    for (const char* text :
         {"", "[]", "1", "{", "nonsense", R"({"header":7})", R"({"header":{"revision":2}})",
          R"({"header":{"revision":"-2"}})", R"({"header":{"revision":"2x"}})", R"({"succeeded":"yes"})",
          R"({"kvs":{}})", R"({"kvs":[1]})", R"({"kvs":[{"key":"Z"}]})", R"({"responses":[[]]})",
          R"({"responses":[{"response_range":[]}]})", R"({"TTL":"99999999999999999999"})",
          R"({"ID":"18446744073709551616"})", R"({"result":[]})"})
        cr_assert(!read_reply(text), "%s", text);
    for (const char* text :
         {"", "{}", R"({"error":{}})", R"({"result":1})", R"({"result":{"events":[{"type":7}]}})",
          R"({"result":{"events":[{"type":"DELETE","kv":{"key":"*"}}]}})"})
        cr_assert(!read_notice(text), "%s", text);
}

Test(words, of_a_refusal_say_whether_anything_was_done) {
    const auto refused = [](int code) {
        return read_refusal(fmt::format(R"({{"error":"e","message":"m","code":{}}})", code), 400);
    };
    cr_assert_eq(refused(5).text, "e");
    for (const int code : {3, 5, 7, 9, 16}) cr_assert(is_definite(refused(code)), "%d", code);
    for (const int code : {0, 1, 2, 4, 8, 10, 11, 13, 14, 15})
        cr_assert(!is_definite(refused(code)), "%d", code);
    cr_assert(!is_definite(read_refusal("Not Found\n", 404)) &&
              read_refusal("<html>", 502).text == "HTTP status 502");
}

Test(keys, of_one_resource_are_in_its_range_and_others_are_not) {
    const Keys keys("/p/");
    const Range range = keys.holders("disk");
    const auto is_in = [&](const std::string& key) { return key >= range.key && key < range.end; };
    cr_assert(is_in(keys.held("disk", false, 1)) && is_in(keys.held("disk", true, ~0ULL)));
    for (const char* other : {"disk0", "disk-", "dis", "disk.x", "e"})
        cr_assert(!is_in(keys.held(other, false, 1)) && !is_in(keys.held(other, true, 1)), "%s", other);
    cr_assert(!is_in(keys.made("disk")) && !is_in(keys.settle(1)));
    cr_assert_neq(keys.held("disk", true, 1), keys.held("disk", true, 2));
}

Test(keys, are_read_as_they_were_written) {
    const Keys keys("/p/");
    for (const bool shared : {false, true}) {
        const auto held = keys.parse(keys.held("a.b c", shared, 7));
        cr_assert(held && held->name == "a.b c" && held->shared == shared);
    }
    for (const char* key : {"", "/p/held/", "/p/held/a", "/p/held//x", "/p/held/../x", "/p/held/a/y",
                            "/p/made/a", "/q/held/a/x"})
        cr_assert(!keys.parse(key), "%s", key);
}

Test(keys, say_who_holds_it_whatever_stands_there) {
    const Holder written{.host = "h\n\xff", .attempt = "a", .since = 1'700'000'000};
    cr_assert_eq(read_holder(write_holder(written)).attempt, "a");
    cr_assert_eq(describe({.host = "one", .since = 1'700'000'000}),
                 "held by one since 2023-11-14 22:13:20 UTC");
    cr_assert_eq(describe(read_holder("no json")), "held by somebody");
    cr_assert_eq(describe(read_holder(R"({"host":"a\nb","since":-1})")), "held by a\\x0ab");
    cr_assert_eq(describe(read_holder(R"({"host":7,"since":99999999999999})")), "held by somebody");
}

Test(url, is_a_server_and_nothing_more) {
    const auto v6 = parse_url("https://[::1]:2379");
    cr_assert(v6 && v6->host == "::1" && v6->port == 2379 && v6->is_numeric);
    const auto name = parse_url("http://etcd-1.example:80");
    cr_assert(name && name->host == "etcd-1.example" && !name->is_numeric);
    cr_assert(parse_url("http://127.0.0.1:1")->is_numeric);
    for (const char* url : {"", "http://", "http://h", "http://h:", "http://h:0", "http://h:65536",
                            "http://h:1/", "http://h:1x", "ftp://h:1", "http://:1", "http://u@h:1",
                            "http://h h:1", "http://[x]:1", "http://::1:1", "http://h:1:2", "http://[h:1"})
        cr_assert(!parse_url(url), "%s", url);
}
