// SPDX-License-Identifier: LGPL-2.1-or-later
// words - what annotations may say.
#include "proto/xdrgen/words.h"

#include <algorithm>
#include <map>
#include <utility>

namespace virtgate::proto::xdrgen {

namespace {

using Words = std::vector<std::string_view>;

// Object, and its permissions separated by spaces.
constexpr std::pair<std::string_view, std::string_view> k_permissions[] = {
    {"connect",
     "getattr read write search_domains search_networks search_storage_pools search_node_devices "
     "search_interfaces search_secrets search_nwfilters search_nwfilter_bindings "
     "detect_storage_pools pm_control interface_transaction"},
    {"domain",
     "getattr read write read_secure start stop reset save delete migrate checkpoint snapshot "
     "suspend hibernate core_dump pm_control init_control inject_nmi send_input send_signal "
     "fs_trim fs_freeze block_read block_write mem_read open_graphics open_device screenshot "
     "open_namespace set_time set_password"},
    {"interface", "getattr read write save delete start stop"},
    {"network", "getattr read write save delete start stop search_ports"},
    {"network_port", "getattr read write create delete"},
    {"node_device", "getattr read write start stop detach delete"},
    {"nwfilter", "getattr read write save delete"},
    {"nwfilter_binding", "getattr read create delete"},
    {"secret", "getattr read write read_secure save delete"},
    {"storage_pool", "getattr read write save delete start stop refresh search_storage_vols format"},
    {"storage_vol", "getattr read create delete format resize data_read data_write"},
};

Words split_words(std::string_view text) {
    Words words;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(' '), text.size());
        words.push_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return words;
}

const std::map<std::string_view, Words>& permissions() {
    static const std::map<std::string_view, Words> k_map = [] {
        std::map<std::string_view, Words> map;
        for (const auto& [object, words] : k_permissions) map.emplace(object, split_words(words));
        return map;
    }();
    return k_map;
}

bool has(const Words& words, std::string_view word) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

bool is_vowel(char c) { return has({"a", "e", "i", "o", "u", "y"}, std::string_view(&c, 1)); }

bool is_count_word(std::string_view word) {
    static const Words k_words{"n",      "num",   "number",   "max",    "maximum", "count",
                               "counts", "len",   "length",   "size",   "sizes",   "limit",
                               "limits", "total", "quantity", "entries"};
    if (has(k_words, word) || word.starts_with("max") || word.starts_with("num")) return true;
    if (word == "account" || word == "discount") return false;
    return word.ends_with("count") || word.ends_with("len") || word.ends_with("length") ||
           word.ends_with("size") || word.ends_with("limit");
}

}  // namespace

const Words& known_objects() {
    static const Words k_objects = [] {
        Words names;
        for (const auto& [name, words] : permissions()) names.push_back(name);
        return names;
    }();
    return k_objects;
}

const Words& known_permissions(std::string_view object) {
    static const Words k_empty;
    const auto found = permissions().find(object);
    return found == permissions().end() ? k_empty : found->second;
}

const Words& known_places() {
    static const Words k_places = [] {
        Words names = known_objects();
        names.push_back("domain_snapshot");
        names.push_back("domain_checkpoint");
        return names;
    }();
    return k_places;
}

const Words& known_drivers() {
    static const Words k_drivers{"hypervisor", "storage",  "network", "nodedev",
                                 "interface",  "nwfilter", "secret"};
    return k_drivers;
}

const Words& known_families() {
    static const Words k_families{"domain",      "network", "storage_pool",
                                  "node_device", "secret",  "qemu_monitor"};
    return k_families;
}

const Words& known_hows() {
    static const Words k_hows{"lookup", "plain",          "xml", "destination", "migration_parameters",
                              "image",  "image_parameter"};
    return k_hows;
}

bool is_cxx_word(std::string_view name) {
    static const Words k_words{
        "alignas",     "alignof",   "and",        "and_eq",    "asm",      "auto",         "bitand",
        "bitor",       "bool",      "break",      "case",      "catch",    "char",         "char8_t",
        "char16_t",    "char32_t",  "class",      "compl",     "concept",  "const",        "consteval",
        "constexpr",   "constinit", "const_cast", "continue",  "co_await", "co_return",    "co_yield",
        "decltype",    "default",   "delete",     "do",        "double",   "dynamic_cast", "else",
        "enum",        "explicit",  "export",     "extern",    "false",    "float",        "for",
        "friend",      "goto",      "if",         "inline",    "int",      "long",         "mutable",
        "namespace",   "new",       "noexcept",   "not",       "not_eq",   "nullptr",      "operator",
        "or",          "or_eq",     "private",    "protected", "public",   "register",     "reinterpret_cast",
        "requires",    "return",    "short",      "signed",    "sizeof",   "static",       "static_assert",
        "static_cast", "struct",    "switch",     "template",  "this",     "thread_local", "throw",
        "true",        "try",       "typedef",    "typeid",    "typename", "union",        "unsigned",
        "using",       "virtual",   "void",       "volatile",  "wchar_t",  "while",        "xor",
        "xor_eq"};
    return has(k_words, name);
}

bool is_count_like(std::string_view name) {
    bool first = true;
    while (!name.empty()) {
        const std::size_t end = std::min(name.find('_'), name.size());
        const std::string_view word = name.substr(0, end);
        if (is_count_word(word)) return true;
        if (first && word.size() > 2 && word[0] == 'n' && (!is_vowel(word[1]) || word.back() == 's'))
            return true;
        first = false;
        name.remove_prefix(std::min(end + 1, name.size()));
    }
    return false;
}

}  // namespace virtgate::proto::xdrgen
