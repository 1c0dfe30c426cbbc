// SPDX-License-Identifier: LGPL-2.1-or-later
// xml_rule - does a description fit what a role says about XML?
#include "policy/xml_rule.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "libshared/base/bytes.h"

namespace virtgate::policy {

using proto::policy::XmlRule;
using Kind = XmlMisfit::Kind;

namespace {

struct Namespace {
    std::string_view prefix;
    std::string_view name;
};
constexpr std::array k_namespaces{
    Namespace{"qemu", "http://libvirt.org/schemas/domain/qemu/1.0"},
    Namespace{"lxc", "http://libvirt.org/schemas/domain/lxc/1.0"},
    Namespace{"bhyve", "http://libvirt.org/schemas/domain/bhyve/1.0"},
    Namespace{"xen", "http://libvirt.org/schemas/domain/xen/1.0"},
    Namespace{"vmware", "http://libvirt.org/schemas/domain/vmware/1.0"},
    Namespace{"ch", "http://libvirt.org/schemas/domain/ch/1.0"},
    Namespace{"dnsmasq", "http://libvirt.org/schemas/network/dnsmasq/1.0"},
    Namespace{"fs", "http://libvirt.org/schemas/storagepool/fs/1.0"},
    Namespace{"rbd", "http://libvirt.org/schemas/storagepool/rbd/1.0"},
};

// They hold nothing, and give nothing away that is worth a secret.
constexpr std::array<std::string_view, 4> k_harmless{"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"};

// Of a path that the host resolves in another way than it reads, nobody can say where it lies.
bool is_straight(std::string_view path) noexcept {
    if (!path.starts_with('/') || path.find("//") != path.npos) return false;
    while (!path.empty()) {
        path.remove_prefix(1);
        const std::string_view part = path.substr(0, path.find('/'));
        if (part == "." || part == "..") return false;
        path.remove_prefix(part.size());
    }
    return true;
}

bool lies_below(std::string_view path, std::string_view directory) noexcept {
    if (directory == "/") return true;
    return path.starts_with(directory) && (path.size() == directory.size() || path[directory.size()] == '/');
}

bool has_control(std::string_view text) noexcept {
    return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

bool is_name(std::string_view text) noexcept {
    const auto is_letter = [](unsigned char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
    };
    return !text.empty() && is_letter(static_cast<unsigned char>(text[0])) &&
           std::all_of(text.begin(), text.end(), [&](unsigned char c) {
               return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.';
           });
}

XmlMisfit find_misfit(const std::vector<std::string>& paths, const XmlPath& path) noexcept {
    const std::string_view text = path.text;
    if (!is_straight(text)) return {Kind::crooked, text};
    if (path.is_program) {
        if (std::find(paths.begin(), paths.end(), text) == paths.end()) return {Kind::program, text};
        return {};
    }
    if (std::find(k_harmless.begin(), k_harmless.end(), text) != k_harmless.end() || lies_in(text, paths))
        return {};
    return {Kind::path, text};
}

}  // namespace

XmlMisfit find_misfit(const XmlRule& rule, const XmlFacts* facts) noexcept {
    if (facts == nullptr) return {Kind::unread, {}};
    if (!facts->flaw.empty()) return {Kind::flaw, facts->flaw};
    for (const std::string& name : rule.forbid)
        if (std::binary_search(facts->elements.begin(), facts->elements.end(), name))
            return {Kind::element, name};
    if (rule.paths.empty()) return {};
    for (const XmlPath& path : facts->paths)
        if (const XmlMisfit misfit = find_misfit(rule.paths, path)) return misfit;
    if (!facts->power.empty()) return {Kind::power, facts->power};
    return {};
}

std::string describe(const XmlMisfit& misfit) {
    constexpr std::size_t k_shown_max = 200;
    const std::string what = escape(misfit.what, k_shown_max);
    switch (misfit.kind) {
        case Kind::none: break;
        case Kind::unread: return "nobody has looked at the XML";
        case Kind::flaw: return fmt::format("of the XML: {}", what);
        case Kind::element: return fmt::format("the XML has a <{}>", what);
        case Kind::crooked:
            return fmt::format("the XML names {}, which does not lead straight to its end", what);
        case Kind::path: return fmt::format("the XML names {}", what);
        case Kind::program: return fmt::format("the XML names the program {}", what);
        case Kind::power: return fmt::format("of the XML: {}", what);
    }
    return {};
}

std::string_view usual_prefix(std::string_view name_space) noexcept {
    for (const Namespace& each : k_namespaces)
        if (each.name == name_space) return each.prefix;
    return {};
}

const std::vector<std::string_view>& usual_prefixes() {
    static const std::vector<std::string_view> k_prefixes = [] {
        std::vector<std::string_view> prefixes;
        for (const Namespace& each : k_namespaces) prefixes.push_back(each.prefix);
        return prefixes;
    }();
    return k_prefixes;
}

const std::vector<std::string_view>& known_elements() {
    static const std::vector<std::string_view> k_elements{
        "acpi",        "audio",      "backend",       "backingStore",
        "blkiotune",   "bootloader", "bridge",        "channel",
        "commandline", "console",    "controller",    "crypto",
        "device",      "devices",    "disk",          "domain",
        "downscript",  "emulator",   "encryption",    "features",
        "filesystem",  "filterref",  "forward",       "graphics",
        "hostdev",     "hub",        "initrd",        "input",
        "interface",   "iommu",      "kernel",        "launchSecurity",
        "lease",       "listen",     "loader",        "log",
        "memballoon",  "memory",     "memoryBacking", "metadata",
        "mirror",      "network",    "nvram",         "options",
        "os",          "override",   "panic",         "parallel",
        "permissions", "pool",       "portForward",   "redirdev",
        "resource",    "rng",        "rom",           "script",
        "seclabel",    "secret",     "serial",        "shmem",
        "smartcard",   "sound",      "source",        "sysinfo",
        "target",      "tftp",       "tpm",           "video",
        "volume",      "vsock",      "watchdog"};
    return k_elements;
}

std::string_view flaw_of_xml_element(std::string_view name) noexcept {
    const auto colon = name.find(':');
    const bool is_good = is_name(name.substr(colon == name.npos ? 0 : colon + 1)) &&
                         (colon == name.npos || is_name(name.substr(0, colon)));
    return is_good ? std::string_view{} : "write ELEMENT, or PREFIX:ELEMENT";
}

std::string_view flaw_of_xml_path(std::string_view path) noexcept {
    if (path.empty()) return "an empty text means nothing";
    if (!path.starts_with('/')) return "a path begins with a slash";
    if (has_control(path)) return "control characters are in it";
    if (path != "/" && path.ends_with('/')) return "it ends with a slash";
    if (!is_straight(path)) return "a path leads straight to its end";
    return {};
}

bool lies_in(std::string_view path, const std::vector<std::string>& paths) noexcept {
    return std::any_of(paths.begin(), paths.end(),
                       [&](const std::string& each) { return lies_below(path, each); });
}

}  // namespace virtgate::policy
