// SPDX-License-Identifier: LGPL-2.1-or-later
// xml_rule - does a description fit what a role says about XML?
//
//     xml = { forbid = ["qemu:commandline", "hostdev"], paths = ["/srv/vm", "/usr/bin/qemu-system-x86_64"] }
//
// `forbid` names elements that must not be in it, `paths` says where everything has to lie that it names of the host:
// at one of these paths or below it. A program that the host would run (an emulator, a script) has to be one of them
// itself: a directory of images must not become a directory of programs. With `paths`, XML must not reach the host in
// other ways either, such as by the address of a PCI device.
//
// Nothing here reads XML. What is in a document is found by others, who say so in XmlFacts.
//
// Trust:  rules come from the policy compiler; facts are about what a client has written.
// Limits: those of proto/policy.x. Judging allocates nothing; time in proportion to rule times facts.
// Owns:   a fact owns its texts, a misfit none.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proto/policy.h"

namespace virtgate::policy {

// A file, device or directory of the host, as it is written.
struct XmlPath {
    std::string text{};
    bool is_program = false;  // the host runs it
    bool operator==(const XmlPath&) const = default;
};

// What a call's XML says, all of its documents together. What applications keep in <metadata> does not count.
struct XmlFacts {
    // The names of all elements: "hostdev". One of another namespace is in here with its own name alone, with its
    // prefix, and with the usual prefix of its namespace, "qemu:commandline". In order, each once.
    std::vector<std::string> elements{};
    std::vector<XmlPath> paths{};
    // Why nobody can say what the call describes: "it is not well-formed". Then it fits no rule.
    std::string flaw{};
    // What gives power over the host without naming a path of it: "<hostdev> is a device of the host". Then it fits
    // no rule with `paths`.
    std::string power{};
};

// Why something does not fit; false if it does.
struct XmlMisfit {
    enum class Kind : std::uint8_t {
        none,
        unread,   // nobody has looked at the XML
        flaw,     // as in XmlFacts
        element,  // it is forbidden
        crooked,  // a path that does not lead straight to its end
        path,     // it lies elsewhere
        program,  // it is not named itself
        power,    // as in XmlFacts
    };
    Kind kind = Kind::none;
    std::string_view what{};  // the element, the path, the flaw; of the facts or the rule
    explicit operator bool() const noexcept { return kind != Kind::none; }
};

// The first reason why XML with these facts does not fit the rule. Null: nobody has looked at it, and so it does not.
[[nodiscard]] XmlMisfit find_misfit(const proto::policy::XmlRule& rule, const XmlFacts* facts) noexcept;

// The same in words: "the XML names /etc/shadow". Empty if it fits.
[[nodiscard]] std::string describe(const XmlMisfit& misfit);

// The prefix that libvirt's documentation has for one of its namespaces ("qemu"), or empty.
[[nodiscard]] std::string_view usual_prefix(std::string_view name_space) noexcept;
// All of them.
[[nodiscard]] const std::vector<std::string_view>& usual_prefixes();

// Elements that somebody would want to forbid, for suggestions.
[[nodiscard]] const std::vector<std::string_view>& known_elements();

// What is wrong with an entry of `forbid` or `paths`; empty if nothing is.
[[nodiscard]] std::string_view flaw_of_xml_element(std::string_view name) noexcept;
[[nodiscard]] std::string_view flaw_of_xml_path(std::string_view path) noexcept;

// True if `path` is one of `paths` or lies below one. For complaints.
[[nodiscard]] bool lies_in(std::string_view path, const std::vector<std::string>& paths) noexcept;

}  // namespace virtgate::policy
