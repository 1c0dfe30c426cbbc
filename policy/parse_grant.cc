// SPDX-License-Identifier: LGPL-2.1-or-later
// parse_grant - read the [group.NAME], [role.NAME], [[binding]] and [global] of a policy file.
#include "policy/parse_grant.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <ctime>

#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "policy/glob.h"
#include "policy/limits.h"
#include "policy/migrate_uri.h"
#include "policy/touch.h"
#include "policy/xml_rule.h"

namespace virtgate::policy {

using proto::policy::AuditLevel;
using proto::policy::LimitSet;
using proto::policy::ObjectPattern;
using proto::policy::PatternKind;

namespace {

constexpr std::string_view k_glob_prefix = "glob:";
constexpr std::string_view k_uuid_prefix = "uuid:";
constexpr std::string_view k_except = "except";

const std::vector<std::string_view> k_modes{"enforce", "shadow"};
const std::vector<std::string_view> k_audit{"none", "denied", "writes", "all"};
const std::vector<std::string_view> k_listeners{"tls", "tcp", "unix", "unix-ro", "local"};
const std::vector<std::string_view> k_redactions{"domain:read_secure"};

std::vector<std::string_view> kind_words() {
    std::vector<std::string_view> words;
    for (std::size_t i = 0; i < k_kinds; ++i) words.push_back(to_text(static_cast<ObjectKind>(i)));
    return words;
}

bool has_uuid(ObjectKind kind) noexcept {
    return kind == ObjectKind::domain || kind == ObjectKind::network || kind == ObjectKind::pool ||
           kind == ObjectKind::secret || kind == ObjectKind::nwfilter;
}

class GrantParser {
public:
    explicit GrantParser(TreeReader& reader) : reader_(reader) {}

    std::vector<Text> texts(const config::Table& table, std::string_view key) {
        const config::Entry* entry = TreeReader::find(table, key);
        return entry == nullptr ? std::vector<Text>{} : reader_.read_texts(*entry, key);
    }

    const config::Table* sub_table(const config::Table& table, std::string_view key) {
        const config::Entry* entry = TreeReader::find(table, key);
        if (entry == nullptr) return nullptr;
        const auto* found = std::get_if<config::Table>(&entry->node.value);
        if (found == nullptr)
            reader_.complain(entry->node.place, fmt::format("\"{}\" has to be a table", key));
        return found;
    }

    bool read_bool(const config::Table& table, std::string_view key) {
        const config::Entry* entry = TreeReader::find(table, key);
        if (entry == nullptr) return false;
        const auto* value = std::get_if<bool>(&entry->node.value);
        if (value == nullptr)
            reader_.complain(entry->node.place, fmt::format("\"{}\" has to be true or false", key));
        return value != nullptr && *value;
    }

    void read_limits(const config::Table& table, LimitSet& limits) {
        const config::Table* found = sub_table(table, "limits");
        if (found == nullptr) return;
        std::vector<std::string_view> known;
        for (const LimitWord& word : limit_words()) known.push_back(word.name);
        reader_.refuse_others(*found, known, " of limits");
        for (const LimitWord& word : limit_words())
            if (const config::Entry* entry = TreeReader::find(*found, word.name)) {
                const auto* number = std::get_if<std::int64_t>(&entry->node.value);
                const auto* text = std::get_if<std::string>(&entry->node.value);
                std::optional<std::uint64_t> value;
                if (number != nullptr && *number >= 0) value = static_cast<std::uint64_t>(*number);
                if (text != nullptr) value = parse_amount(*text, word.unit);
                if (!value)
                    reader_.complain(entry->node.place,
                                     fmt::format("\"{}\" has to be {}", word.name, describe(word.unit)));
                limits.*word.member = value;
            }
    }

    std::optional<XmlSource> read_xml(const config::Table& table) {
        const config::Table* xml = sub_table(table, "xml");
        if (xml == nullptr) return std::nullopt;
        const config::Place& place = TreeReader::find(table, "xml")->node.place;
        reader_.refuse_others(*xml, {"forbid", "paths"}, " of xml");
        XmlSource made{
            .forbid = texts(*xml, "forbid"), .paths = texts(*xml, "paths"), .at = reader_.at(place)};
        if (TreeReader::find(*xml, "forbid") == nullptr && TreeReader::find(*xml, "paths") == nullptr)
            reader_.complain(place, "\"xml\" forbids nothing: write \"forbid\", \"paths\" or both");
        if (made.forbid.size() > proto::policy::k_xml_elements_max ||
            made.paths.size() > proto::policy::k_xml_paths_max)
            reader_.complain(place, "too many elements or paths");
        for (const Text& element : made.forbid) check_element(element);
        for (const Text& path : made.paths) {
            std::string_view flaw = flaw_of_xml_path(path.text);
            if (path.text.size() > proto::who::k_text_max) flaw = "it is too long";
            if (!flaw.empty())
                reader_.complain({path.at.line, path.at.column},
                                 fmt::format("\"{}\" is no path: {}", escape(path.text, 64), flaw));
        }
        return made;
    }

    void read_objects(const config::Table& table, BindingSource& binding) {
        if (const config::Table* objects = sub_table(table, "objects")) {
            binding.has_objects = true;
            std::vector<std::string_view> known = kind_words();
            known.push_back(k_except);
            reader_.refuse_others(*objects, known, " of objects");
            read_kinds(*objects, binding.objects);
            if (const config::Entry* except = TreeReader::find(*objects, k_except))
                read_except(*except, binding);
        }
        if (const config::Entry* except = TreeReader::find(table, k_except)) read_except(*except, binding);
    }

    void read_when(const config::Table& table, BindingSource& binding) {
        const config::Table* when = sub_table(table, "when");
        if (when == nullptr) return;
        reader_.refuse_others(*when, {"listener", "not_before", "not_after"}, " of when");
        for (const Text& word : texts(*when, "listener")) {
            if (std::find(k_listeners.begin(), k_listeners.end(), word.text) == k_listeners.end())
                reader_.complain({word.at.line, word.at.column},
                                 fmt::format("unknown listener \"{}\"{}", escape(word.text),
                                             did_you_mean(word.text, k_listeners)));
            else if (word.text == "local")
                binding.listeners.insert(binding.listeners.end(), {"unix", "unix-ro"});
            else
                binding.listeners.push_back(word.text);
        }
        if (binding.listeners.size() > proto::policy::k_listeners_max)
            reader_.complain(TreeReader::find(*when, "listener")->node.place, "too many listeners");
        binding.not_before = read_time(*when, "not_before", false);
        binding.not_after = read_time(*when, "not_after", true);
        if (binding.not_before && binding.not_after && *binding.not_before > *binding.not_after)
            reader_.complain(TreeReader::find(*when, "not_after")->node.place,
                             "this is before \"not_before\"");
    }

    TreeReader& reader() noexcept { return reader_; }

private:
    // An element that libvirt does not know is not in any XML, and a misspelt one would forbid nothing.
    void check_element(const Text& element) {
        const config::Place place{element.at.line, element.at.column};
        const std::string_view text = element.text;
        const auto colon = text.find(':');
        const std::string_view flaw = flaw_of_xml_element(text);
        const auto& prefixes = usual_prefixes();
        if (!flaw.empty() || text.size() > proto::who::k_text_max)
            reader_.complain(place, fmt::format("\"{}\" is no element: {}", escape(text, 64),
                                                flaw.empty() ? "it is too long" : flaw));
        else if (colon != text.npos &&
                 std::find(prefixes.begin(), prefixes.end(), text.substr(0, colon)) == prefixes.end())
            reader_.complain(place, fmt::format("libvirt has no prefix \"{}\"{}", text.substr(0, colon),
                                                did_you_mean(text.substr(0, colon), prefixes)));
        const auto& known = known_elements();
        const std::string_view name = colon == text.npos ? text : text.substr(colon + 1);
        const std::string meant = did_you_mean(name, known);
        if (flaw.empty() && std::find(known.begin(), known.end(), name) == known.end() && !meant.empty())
            reader_.warn(place, fmt::format("\"{}\" is an uncommon name for an element{}", name, meant));
    }

    // "2026-12-31", its first or its last second, or "2026-12-31T18:00:00Z".
    std::optional<std::int64_t> read_time(const config::Table& table, std::string_view key, bool is_end) {
        const config::Entry* entry = TreeReader::find(table, key);
        if (entry == nullptr) return std::nullopt;
        const auto* text = std::get_if<std::string>(&entry->node.value);
        std::tm time{};
        const char* end = text != nullptr ? strptime(text->c_str(), "%Y-%m-%d", &time) : nullptr;
        if (end != nullptr && *end == '\0' && is_end) {
            time.tm_hour = 23;
            time.tm_min = time.tm_sec = 59;
        } else if (end != nullptr && *end != '\0') {
            end = strptime(text->c_str(), "%Y-%m-%dT%H:%M:%SZ", &time);
        }
        // The 31st of November would otherwise be the 1st of December.
        const std::tm wanted = time;
        const std::int64_t seconds = timegm(&time);
        if (end != nullptr && *end == '\0' && time.tm_mday == wanted.tm_mday && time.tm_mon == wanted.tm_mon)
            return seconds;
        reader_.complain(
            entry->node.place,
            fmt::format("\"{}\" has to be a date, \"2026-12-31\", or a time, \"2026-12-31T18:00:00Z\"", key));
        return std::nullopt;
    }

    void read_kinds(const config::Table& table, std::vector<ObjectPattern>& patterns) {
        for (const auto& [key, entry] : table) {
            const auto kind = parse_kind(key);
            if (!kind) continue;
            for (const Text& text : reader_.read_texts(entry, key)) add(*kind, text, patterns);
        }
        if (patterns.size() > proto::policy::k_patterns_max && !table.empty())
            reader_.complain(table.begin()->second.key,
                             fmt::format("more than {} objects", proto::policy::k_patterns_max));
    }

    // A list is about all kinds that the binding names, a table says which.
    void read_except(const config::Entry& entry, BindingSource& binding) {
        if (const auto* table = std::get_if<config::Table>(&entry.node.value)) {
            reader_.refuse_others(*table, kind_words(), " of except");
            return read_kinds(*table, binding.except);
        }
        const std::vector<Text> texts = reader_.read_texts(entry, k_except);
        KindMask kinds = 0;
        for (const ObjectPattern& pattern : binding.objects)
            kinds |= bit(static_cast<ObjectKind>(pattern.kind));
        if (kinds == 0)
            return reader_.complain(entry.node.place,
                                    "there are no objects from which this could be an exception");
        for (std::size_t i = 0; i < k_kinds; ++i) {
            const auto kind = static_cast<ObjectKind>(i);
            if ((kinds & bit(kind)) == 0) continue;
            for (const Text& text : texts) {
                // One text for several kinds: it is only for those that can have such a name.
                const bool is_path = text.text.starts_with('/');
                const bool is_uuid = text.text.starts_with(k_uuid_prefix);
                const bool suits =
                    std::popcount(kinds) == 1 ||
                    (is_path == (kind == ObjectKind::path || kind == ObjectKind::lock) &&
                     kind != ObjectKind::migrate_uri && (!is_uuid || has_uuid(kind)) &&
                     ((text.text.find('/') != text.text.npos) == (kind == ObjectKind::volume || is_path)));
                if (suits) add(kind, text, binding.except);
            }
        }
    }

    void add(ObjectKind kind, const Text& text, std::vector<ObjectPattern>& patterns) {
        ObjectPattern pattern{static_cast<proto::policy::ObjectKind>(kind), PatternKind::pattern_exact,
                              text.text};
        std::string_view flaw;
        if (text.text.starts_with(k_uuid_prefix)) {
            pattern.how = PatternKind::pattern_uuid;
            pattern.text = digits_of(text.text.substr(k_uuid_prefix.size()));
            if (!has_uuid(kind))
                flaw = "objects of this kind have no UUID";
            else if (pattern.text.size() != 32)
                flaw = "a UUID has 32 hexadecimal digits";
        } else if (text.text.starts_with(k_glob_prefix)) {
            pattern.how = PatternKind::pattern_glob;
            pattern.text = text.text.substr(k_glob_prefix.size());
            flaw = flaw_of_glob(pattern.text);
            if (flaw.empty() && kind == ObjectKind::volume && pattern.text != "*" &&
                pattern.text.find('/') == pattern.text.npos)
                flaw = "write POOL/VOLUME; each may be a pattern";
        } else {
            flaw = flaw_of_name(kind, text.text);
        }
        if (pattern.text.size() > proto::who::k_text_max) flaw = "it is too long";
        if (!flaw.empty())
            return reader_.complain(
                {text.at.line, text.at.column},
                fmt::format("\"{}\" is no {}: {}", escape(text.text, 64), to_text(kind), flaw));
        patterns.push_back(std::move(pattern));
    }

    static std::string_view flaw_of_name(ObjectKind kind, std::string_view name) {
        const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
        if (name.empty()) return "an empty text matches nothing";
        if (std::any_of(name.begin(), name.end(), is_control)) return "no name has control characters";
        if (kind == ObjectKind::migrate_uri) return flaw_of_migrate_uri(name);
        if (kind == ObjectKind::path || kind == ObjectKind::lock)
            return name.starts_with('/') && name.find("/../") == name.npos && name.find("//") == name.npos
                       ? std::string_view{}
                       : "a path begins with a slash and leads straight to its end";
        if (kind == ObjectKind::volume && name.find('/') == name.npos) return "write POOL/VOLUME";
        if (name.find('*') != name.npos) return "a pattern begins with \"glob:\"";
        return {};
    }

    static std::string digits_of(std::string_view uuid) {
        std::string digits;
        for (const char c : uuid) {
            if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))
                digits += c;
            else if (c >= 'A' && c <= 'F')
                digits += static_cast<char>(c - 'A' + 'a');
            else if (c != '-')
                return {};
        }
        return digits;
    }

    TreeReader& reader_;
};

}  // namespace

GroupSource parse_group(const Text& name, const config::Table& table, TreeReader& reader) {
    reader.refuse_others(table, {"procedures"}, " of a group");
    GroupSource group{.name = name, .procedures = GrantParser(reader).texts(table, "procedures")};
    if (TreeReader::find(table, "procedures") == nullptr)
        reader.complain({name.at.line, name.at.column}, fmt::format("the group \"{}\" is empty", name.text));
    return group;
}

RoleSource parse_role(const Text& name, const config::Table& table, TreeReader& reader) {
    reader.refuse_others(table, {"include", "allow", "deny", "require", "redact", "limits", "audit", "xml"},
                         " of a role");
    GrantParser parser(reader);
    RoleSource role{.name = name};
    role.include = parser.texts(table, "include");
    role.allow = parser.texts(table, "allow");
    role.deny = parser.texts(table, "deny");
    role.require = parser.texts(table, "require");
    role.redact = parser.texts(table, "redact");
    const auto is_there = [&](std::string_view key) { return TreeReader::find(table, key) != nullptr; };
    if (!is_there("allow") && !is_there("include") && !is_there("deny"))
        reader.complain({name.at.line, name.at.column},
                        fmt::format("the role \"{}\" allows nothing", name.text));
    for (const Text& word : role.redact)
        if (std::find(k_redactions.begin(), k_redactions.end(), word.text) == k_redactions.end())
            reader.complain({word.at.line, word.at.column},
                            fmt::format("nothing is redacted for \"{}\"{}", escape(word.text),
                                        did_you_mean(word.text, k_redactions)));
    parser.read_limits(table, role.limits);
    if (const config::Entry* audit = TreeReader::find(table, "audit"))
        if (const auto word = reader.read_text(*audit, "audit")) {
            const auto found = std::find(k_audit.begin(), k_audit.end(), word->text);
            if (found == k_audit.end())
                reader.complain(audit->node.place,
                                fmt::format("\"audit\" has to be none, denied, writes or all{}",
                                            did_you_mean(word->text, k_audit)));
            else
                role.audit = static_cast<AuditLevel>(found - k_audit.begin());
        }
    role.xml = parser.read_xml(table);
    return role;
}

BindingSource parse_binding(const config::Place& place, const config::Table& table, TreeReader& reader) {
    reader.refuse_others(table, {"identity", "role", "objects", "except", "limits", "when", "shadow", "keep"},
                         " of a binding");
    GrantParser parser(reader);
    BindingSource binding{.at = reader.at(place)};
    for (const std::string_view key : {"identity", "role"})
        if (TreeReader::find(table, key) == nullptr)
            reader.complain(place, fmt::format("the binding has no \"{}\"", key));
    binding.identities = parser.texts(table, "identity");
    binding.roles = parser.texts(table, "role");
    parser.read_objects(table, binding);
    parser.read_limits(table, binding.limits);
    parser.read_when(table, binding);
    binding.shadow = parser.read_bool(table, "shadow");
    binding.keep = parser.read_bool(table, "keep");
    return binding;
}

void parse_global(const config::Table& table, TreeReader& reader, GlobalSource& global) {
    reader.refuse_others(table, {"allow_monitor_commands", "i_know_this_is_open", "limits", "mode"},
                         " of global");
    GrantParser parser(reader);
    if (parser.read_bool(table, "allow_monitor_commands")) global.allow_monitor_commands = true;
    if (parser.read_bool(table, "i_know_this_is_open")) global.is_open = true;
    if (const config::Entry* mode = TreeReader::find(table, "mode"))
        if (const auto word = reader.read_text(*mode, "mode")) {
            const auto found = std::find(k_modes.begin(), k_modes.end(), word->text);
            if (found == k_modes.end())
                reader.complain(mode->node.place, fmt::format("\"mode\" has to be enforce or shadow{}",
                                                              did_you_mean(word->text, k_modes)));
            else if (found != k_modes.begin())
                global.shadow = word->at;
        }
    LimitSet limits;
    parser.read_limits(table, limits);
    tighten(global.limits, limits);
}

}  // namespace virtgate::policy
