// SPDX-License-Identifier: LGPL-2.1-or-later
// test_cases - what a policy is meant to allow and to refuse.
#include "ctl/policy/test_cases.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <sstream>

#include "ctl/policy/explanation.h"
#include "libshared/base/fd.h"
#include "libshared/base/handle.h"
#include "libshared/config/tree.h"
#include "libshared/spawn/self.h"

namespace virtgate::ctl::policy {

namespace {

// As one would type it. A name with a blank in it needs the other form, a list.
std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> words;
    std::istringstream stream(text);
    for (std::string word; stream >> word;) words.push_back(word);
    return words;
}

constexpr std::string_view k_suffix = ".policytest.toml";

const config::Node* find(const config::Table& table, std::string_view key) {
    const auto entry = table.find(key);
    return entry == table.end() ? nullptr : &entry->second.node;
}

std::string text_of(const config::Node* node) {
    const auto* text = node != nullptr ? std::get_if<std::string>(&node->value) : nullptr;
    return text != nullptr ? *text : std::string{};
}

Result<bool> run_case(const config::Table& table, const virtgate::policy::Table& policy) {
    std::vector<std::string> words;
    const config::Node* call = find(table, "call");
    if (call == nullptr) return peer_fault("a case has no \"call\"");
    if (const auto* list = std::get_if<config::Array>(&call->value))
        for (const config::Node& node : *list) words.push_back(text_of(&node));
    else
        words = split(text_of(call));
    const Result<Request> request = parse_request(words);
    if (!request) return tl::unexpected(request.error());
    const auto* rule = policy.find(text_of(find(table, "identity")));
    if (rule == nullptr) return peer_fault("a case is about no identity of the policy");
    const std::string expected = text_of(find(table, "expect"));
    if (expected != "allow" && expected != "deny")
        return peer_fault("\"expect\" has to be \"allow\" or \"deny\"");
    const std::string listener = text_of(find(table, "listener"));
    return explain(*rule, listener.empty() ? "tls" : listener, *request).allowed == (expected == "allow");
}

Done run_file(const std::string& path, const virtgate::policy::Table& policy, TestRun& run) {
    const Result<std::string> text = read_text(path);
    if (!text) return tl::unexpected(text.error());
    const auto root = config::parse(*text, path);
    if (!root) return tl::unexpected(root.error());
    const config::Node* cases = find(*root, "case");
    const auto* list = cases != nullptr ? std::get_if<config::Array>(&cases->value) : nullptr;
    if (list == nullptr) return peer_fault(fmt::format("{}: there is no [[case]]", path));
    for (const config::Node& node : *list) {
        const auto* table = std::get_if<config::Table>(&node.value);
        if (table == nullptr) return peer_fault(config::complain(path, node.place, "write [[case]] instead"));
        const Result<bool> good = run_case(*table, policy);
        if (!good) return peer_fault(config::complain(path, node.place, good.error().text));
        ++run.cases;
        if (*good) continue;
        ++run.failed;
        run.text +=
            fmt::format("{}:{}: {} was expected\n", path, node.place.line, text_of(find(*table, "expect")));
    }
    return {};
}

}  // namespace

Result<std::string> read_text(const std::string& path) {
    const UniqueFd file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) return system_fault(errno, fmt::format("cannot read {}", path));
    const auto bytes = spawn::read_file(file.get(), config::k_file_max);
    if (!bytes) return tl::unexpected(bytes.error());
    return std::string(as_text(*bytes));
}

Result<TestRun> run_tests(const std::vector<std::string>& directories, const virtgate::policy::Table& table) {
    TestRun run;
    std::vector<std::string> paths;
    for (const std::string& path : directories) {
        const std::unique_ptr<DIR, FreeWith<closedir>> directory{opendir(path.c_str())};
        if (directory == nullptr) continue;
        while (const dirent* entry = readdir(directory.get()))
            if (std::string_view(entry->d_name).ends_with(k_suffix))
                paths.push_back(path + "/" + entry->d_name);
    }
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths)
        if (const Done done = run_file(path, table, run); !done) return tl::unexpected(done.error());
    return run;
}

}  // namespace virtgate::ctl::policy
