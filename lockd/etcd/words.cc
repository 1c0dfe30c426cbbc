// SPDX-License-Identifier: LGPL-2.1-or-later
// words - what etcd's JSON gateway is asked, and what it answers.
#include "lockd/etcd/words.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "lockd/etcd/base64.h"

namespace virtgate::lockd::etcd {

namespace {

using nlohmann::json;

json to_json(const Range& range) {
    json words{{"key", encode_base64(range.key)}};
    if (!range.end.empty()) words["range_end"] = encode_base64(range.end);
    return words;
}

json to_json(const Compare& compare) {
    json words = to_json(compare.range);
    const bool is_create = compare.of == Compare::Of::create_revision;
    words["target"] = is_create ? "CREATE" : "MOD";
    words["result"] = compare.is == Compare::Is::equal ? "EQUAL" : "GREATER";
    words[is_create ? "create_revision" : "mod_revision"] = std::to_string(compare.number);
    return words;
}

json to_json(const Operation& operation) {
    json words = to_json(operation.range);
    switch (operation.kind) {
        case Operation::Kind::range: return {{"request_range", words}};
        case Operation::Kind::remove: return {{"request_delete_range", words}};
        case Operation::Kind::put: break;
    }
    words["value"] = encode_base64(operation.value);
    if (operation.lease != 0) words["lease"] = std::to_string(operation.lease);
    return {{"request_put", words}};
}

template <class T>
json to_json(const std::vector<T>& all) {
    json words = json::array();
    for (const T& one : all) words.push_back(to_json(one));
    return words;
}

// Reads one object. Remembers that something was not as it has to be; what is missing is zero.
class Reader {
public:
    explicit Reader(const json& object, bool& ok) : object_(object), ok_(ok) {
        if (!object.is_object()) ok_ = false;
    }

    [[nodiscard]] const json* find(const char* name) const {
        if (!object_.is_object()) return nullptr;
        const auto found = object_.find(name);
        return found == object_.end() ? nullptr : &*found;
    }

    template <class T>
    [[nodiscard]] T number(const char* name) {
        const json* const value = find(name);
        if (value == nullptr) return 0;
        T number{};
        if (value->is_string()) {
            const auto& text = value->get_ref<const std::string&>();
            const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
            if (error == std::errc{} && rest == text.data() + text.size()) return number;
        }
        ok_ = false;
        return 0;
    }

    [[nodiscard]] bool flag(const char* name) {
        const json* const value = find(name);
        if (value == nullptr) return false;
        if (!value->is_boolean()) ok_ = false;
        return value->is_boolean() && value->get<bool>();
    }

    [[nodiscard]] std::string text(const char* name) {
        const json* const value = find(name);
        if (value == nullptr) return {};
        if (!value->is_string()) ok_ = false;
        return value->is_string() ? value->get<std::string>() : std::string{};
    }

    [[nodiscard]] std::string bytes(const char* name) {
        auto decoded = decode_base64(text(name));
        if (!decoded) ok_ = false;
        return decoded ? std::move(*decoded) : std::string{};
    }

    // The elements of a list; none if it is missing.
    [[nodiscard]] const json& list(const char* name) {
        static const json k_none = json::array();
        const json* const value = find(name);
        if (value == nullptr) return k_none;
        if (!value->is_array()) ok_ = false;
        return value->is_array() ? *value : k_none;
    }

private:
    const json& object_;
    bool& ok_;
};

KeyValue read_key(const json& object, bool& ok) {
    Reader reader(object, ok);
    return {.key = reader.bytes("key"),
            .value = reader.bytes("value"),
            .create_revision = reader.number<Revision>("create_revision"),
            .mod_revision = reader.number<Revision>("mod_revision"),
            .lease = reader.number<LeaseId>("lease")};
}

std::vector<KeyValue> read_keys(Reader& reader, bool& ok) {
    std::vector<KeyValue> keys;
    for (const json& one : reader.list("kvs")) keys.push_back(read_key(one, ok));
    return keys;
}

Revision read_revision(const Reader& reader, bool& ok) {
    const json* const header = reader.find("header");
    return header == nullptr ? 0 : Reader(*header, ok).number<Revision>("revision");
}

tl::unexpected<Error> not_understood() { return peer_fault("etcd's answer is not understood"); }

}  // namespace

Range all_beneath(const std::string& prefix) {
    Range range{.key = prefix, .end = prefix};
    // The first key after all of them. A prefix of ours ends with a slash, whose byte has a next one.
    range.end.back() = static_cast<char>(range.end.back() + 1);
    return range;
}

std::string write_grant(std::uint32_t ttl) { return json{{"TTL", std::to_string(ttl)}}.dump(); }

std::string write_keep_alive(LeaseId lease) { return json{{"ID", std::to_string(lease)}}.dump(); }

std::string write_range(const Range& range, std::uint32_t limit) {
    json words = to_json(range);
    if (limit != 0) words["limit"] = std::to_string(limit);
    return words.dump();
}

std::string write_transaction(const Transaction& transaction) {
    return json{{"compare", to_json(transaction.compares)},
                {"success", to_json(transaction.success)},
                {"failure", to_json(transaction.failure)}}
        .dump();
}

std::string write_watch(const Range& range, Revision from) {
    json words = to_json(range);
    words["start_revision"] = std::to_string(from);
    words["filters"] = json::array({"NOPUT"});
    return json{{"create_request", words}}.dump();
}

std::string write_authenticate(const std::string& user, const std::string& password) {
    return json{{"name", user}, {"password", password}}.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<Reply> read_reply(std::string_view text) {
    json words = json::parse(text, nullptr, false);
    bool ok = words.is_object();
    if (!ok) return not_understood();
    // The gateway wraps what is a stream: keepalive.
    if (words.contains("result")) words = json(words["result"]);
    Reader reader(words, ok);
    Reply reply;
    reply.revision = read_revision(reader, ok);
    reply.lease = reader.number<LeaseId>("ID");
    reply.ttl = reader.number<std::int64_t>("TTL");
    reply.succeeded = reader.flag("succeeded");
    reply.keys = read_keys(reader, ok);
    reply.more = reader.flag("more");
    reply.token = reader.text("token");
    for (const json& response : reader.list("responses")) {
        auto& result = reply.results.emplace_back();
        const json* const range = Reader(response, ok).find("response_range");
        if (range == nullptr) continue;
        Reader inner(*range, ok);
        result = read_keys(inner, ok);
    }
    if (!ok) return not_understood();
    return reply;
}

Result<Notice> read_notice(std::string_view text) {
    const json words = json::parse(text, nullptr, false);
    bool ok = words.is_object();
    Notice notice;
    const json* const result = ok ? Reader(words, ok).find("result") : nullptr;
    if (result == nullptr) return not_understood();
    Reader reader(*result, ok);
    notice.cancelled = reader.flag("canceled");
    notice.compacted = reader.number<Revision>("compact_revision");
    for (const json& one : reader.list("events")) {
        Reader event(one, ok);
        const json* const key = event.find("kv");
        if (event.text("type") == "DELETE" && key != nullptr) notice.deleted.push_back(read_key(*key, ok));
    }
    if (!ok) return not_understood();
    return notice;
}

Refusal read_refusal(std::string_view text, long http_status) {
    Refusal refusal{.code = 0, .text = fmt::format("HTTP status {}", http_status)};
    const json words = json::parse(text, nullptr, false);
    if (!words.is_object()) return refusal;
    // Newer gateways have "message" alone.
    for (const char* name : {"message", "error"})
        if (const auto found = words.find(name); found != words.end() && found->is_string())
            refusal.text = found->get<std::string>();
    if (const auto found = words.find("code"); found != words.end() && found->is_number_integer())
        refusal.code = found->get<int>();
    return refusal;
}

bool is_definite(const Refusal& refusal) noexcept {
    constexpr int k_invalid_argument = 3, k_permission_denied = 7, k_failed_precondition = 9;
    return refusal.code == k_invalid_argument || refusal.code == k_not_found ||
           refusal.code == k_permission_denied || refusal.code == k_failed_precondition ||
           refusal.code == k_unauthenticated;
}

}  // namespace virtgate::lockd::etcd
