// SPDX-License-Identifier: LGPL-2.1-or-later
// test_cases - what a policy is meant to allow and to refuse.
#include "ctl/policy/test_cases.h"

#include <dirent.h>

#include <algorithm>
#include <array>
#include <memory>
#include <sstream>

#include "ctl/files.h"
#include "ctl/policy/options.h"
#include "ctl/policy/question.h"
#include "libshared/base/bytes.h"
#include "libshared/base/handle.h"
#include "libshared/base/suggest.h"
#include "libshared/config/tree.h"

namespace virtgate::ctl::policy {

namespace {

constexpr std::string_view k_call = "call", k_expect = "expect";
constexpr std::string_view k_allow = "allow", k_deny = "deny";

// The keys that describe the client.
struct ClientKey {
    std::string_view key;
    std::string ClientWords::*member;
};
constexpr std::array k_client_keys{
    ClientKey{"identity", &ClientWords::identity}, ClientKey{"subject", &ClientWords::subject},
    ClientKey{"sasl", &ClientWords::sasl},         ClientKey{"mechanism", &ClientWords::mechanism},
    ClientKey{"source", &ClientWords::source},     ClientKey{"listener", &ClientWords::listener},
    ClientKey{"tls", &ClientWords::tls},           ClientKey{"uid", &ClientWords::uid},
    ClientKey{"gid", &ClientWords::gid},
};

// A text, or a list of texts; a number counts as its digits.
Result<std::vector<std::string>> texts_of(const config::Entry& entry, std::string_view key) {
    std::vector<std::string> texts;
    const auto add = [&](const config::Node& node) {
        if (const auto* text = std::get_if<std::string>(&node.value)) texts.push_back(*text);
        if (const auto* number = std::get_if<std::int64_t>(&node.value))
            texts.push_back(std::to_string(*number));
    };
    const auto* list = std::get_if<config::Array>(&entry.node.value);
    if (list == nullptr)
        add(entry.node);
    else
        for (const config::Node& node : *list) add(node);
    if (texts.empty() || (list != nullptr && texts.size() != list->size()))
        return peer_fault(fmt::format("\"{}\" has to be a text or a list of texts", key));
    return texts;
}

// As one would type it. A name with a blank in it needs the other form, a list.
std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> words;
    std::istringstream stream(text);
    for (std::string word; stream >> word;) words.push_back(word);
    return words;
}

struct Case {
    ClientWords client{};
    std::vector<std::string> call{};
    std::string expected{};
};

Done read_key(const std::string& key, const config::Entry& entry, Case& made) {
    auto texts = texts_of(entry, key);
    if (!texts) return tl::unexpected(texts.error());
    if (key == k_call) {
        made.call = texts->size() == 1 ? split(texts->front()) : std::move(*texts);
        return {};
    }
    if (key == "san_dns") {
        made.client.san_dns = std::move(*texts);
        return {};
    }
    if (texts->size() != 1) return peer_fault(fmt::format("\"{}\" has to be one text", key));
    if (key == k_expect) {
        made.expected = texts->front();
        if (made.expected == k_allow || made.expected == k_deny) return {};
        return peer_fault("\"expect\" has to be \"allow\" or \"deny\"");
    }
    for (const ClientKey& each : k_client_keys)
        if (each.key == key) {
            made.client.*each.member = texts->front();
            return {};
        }
    std::vector<std::string_view> known{k_call, k_expect, "san_dns"};
    for (const ClientKey& each : k_client_keys) known.push_back(each.key);
    return peer_fault(
        fmt::format("unknown key \"{}\" of a case{}", escape(key, 64), did_you_mean(key, known)));
}

Result<Case> read_case(const config::Table& table) {
    Case made;
    for (const auto& [key, entry] : table)
        if (const Done done = read_key(key, entry, made); !done) return tl::unexpected(done.error());
    if (made.call.empty()) return peer_fault("a case has no \"call\"");
    if (made.expected.empty()) return peer_fault("a case has no \"expect\"");
    if (made.client.identity.empty() && !made.client.says_who())
        return peer_fault("a case says nothing about who calls: add \"identity\"");
    return made;
}

// Nothing if it is as expected.
Result<std::optional<FailedCase>> run_case(const Case& wanted, const Loaded& policy) {
    const Result<Request> request = parse_request(wanted.call);
    if (!request) return tl::unexpected(request.error());
    const auto who = make_who(wanted.client);
    if (!who) return tl::unexpected(who.error());
    const auto* rule = policy.table.find(wanted.client.identity);
    if (!wanted.client.identity.empty() && rule == nullptr)
        return peer_fault(no_identity(policy, wanted.client.identity));
    if (rule == nullptr) {
        const auto match = policy.table.match(*who);
        rule = match.other == nullptr ? match.rule : nullptr;
    }
    std::string reason = "no-identity";
    bool is_allowed = false;
    if (rule != nullptr) {
        const auto rights = rights_of(*rule, who->listener);
        const auto decision = judge(rights, *request);
        reason = to_text(decision.reason);
        is_allowed = decision.allowed;
        if (is_allowed && who->read_only && !is_for_readers(*request)) {
            reason = "read-only";
            is_allowed = false;
        }
    }
    if (is_allowed == (wanted.expected == k_allow)) return std::nullopt;
    return FailedCase{.identity = rule != nullptr ? rule->name : std::string{},
                      .call = request->describe(),
                      .expected = wanted.expected,
                      .reason = std::move(reason)};
}

Done run_file(const std::string& path, const Loaded& policy, TestRun& run) {
    const Result<std::string> text = read_file(path);
    if (!text) return tl::unexpected(text.error());
    const auto root = config::parse(*text, path);
    if (!root) return tl::unexpected(root.error());
    const auto cases = root->find("case");
    const auto* list = cases != root->end() ? std::get_if<config::Array>(&cases->second.node.value) : nullptr;
    if (list == nullptr) return peer_fault(fmt::format("{}: there is no [[case]]", path));
    for (const config::Node& node : *list) {
        const auto* table = std::get_if<config::Table>(&node.value);
        if (table == nullptr) return peer_fault(config::complain(path, node.place, "write [[case]] instead"));
        const Result<Case> wanted = read_case(*table);
        if (!wanted) return peer_fault(config::complain(path, node.place, wanted.error().text));
        auto failed = run_case(*wanted, policy);
        if (!failed) return peer_fault(config::complain(path, node.place, failed.error().text));
        ++run.cases;
        if (!*failed) continue;
        (*failed)->at = {path, node.place.line, node.place.column};
        run.failed.push_back(std::move(**failed));
    }
    return {};
}

}  // namespace

Result<TestRun> run_tests(const std::vector<std::string>& directories, const Loaded& policy) {
    TestRun run;
    std::vector<std::string> paths;
    for (const std::string& path : directories) {
        const std::unique_ptr<DIR, FreeWith<closedir>> directory{opendir(path.c_str())};
        if (directory == nullptr) continue;
        while (const dirent* entry = readdir(directory.get()))
            if (std::string_view(entry->d_name).ends_with(k_test_suffix))
                paths.push_back(path + "/" + entry->d_name);
    }
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths)
        if (const Done done = run_file(path, policy, run); !done) return tl::unexpected(done.error());
    return run;
}

}  // namespace virtgate::ctl::policy
