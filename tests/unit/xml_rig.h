// SPDX-License-Identifier: LGPL-2.1-or-later
// xml_rig - documents and what is found in them, in few words.
#pragma once

#include <criterion/criterion.h>

#include <string>
#include <string_view>
#include <vector>

#include "workerd/worker/xml_host.h"

namespace virtgate::test {

using namespace virtgate::workerd::worker;
using namespace virtgate::xml;
using policy::XmlFacts;
using policy::XmlMisfit;
using proto::policy::XmlRule;

// What is in the document, with its flaw if it cannot be read.
inline XmlFacts facts_of(std::string_view xml, Images images = Images::used) {
    XmlFacts facts;
    const auto document = XmlDocument::parse(xml);
    if (document)
        add_host_facts(*document, images, facts);
    else
        facts.flaw = document.error().text;
    return facts;
}

// A machine with these devices, and one with this in its <os>.
inline std::string machine(std::string_view devices) {
    return "<domain type='kvm'><name>web-1</name><os><type>hvm</type></os><devices>" + std::string(devices) +
           "</devices></domain>";
}
inline std::string booting(std::string_view os) {
    return "<domain type='kvm'><name>web-1</name><os><type>hvm</type>" + std::string(os) + "</os></domain>";
}

// Why it does not fit a role that may use /srv/vm and what machines are usually made of; empty if it does.
inline std::string misfit_of(const XmlFacts& facts) {
    static const XmlRule k_rule{.forbid = {},
                                .paths = {"/srv/vm", "/usr/share/OVMF", "/usr/bin/qemu-system-x86_64",
                                          "/var/lib/libvirt/qemu/nvram"}};
    return describe(find_misfit(k_rule, &facts));
}
inline std::string misfit_of(std::string_view xml, Images images = Images::used) {
    return misfit_of(facts_of(xml, images));
}

inline void expect_fits(std::string_view xml, Images images = Images::used) {
    const std::string misfit = misfit_of(xml, images);
    cr_expect(misfit.empty(), "%s\n%s", misfit.c_str(), std::string(xml.substr(0, 2000)).c_str());
}

// That it does not fit, with a reason that has `why` in it.
inline void expect_refused(std::string_view xml, std::string_view why, Images images = Images::used) {
    const std::string misfit = misfit_of(xml, images);
    cr_expect(misfit.find(why) != misfit.npos && !misfit.empty(), "got: %s\nwanted: %s\n%s", misfit.c_str(),
              std::string(why).c_str(), std::string(xml.substr(0, 2000)).c_str());
}

}  // namespace virtgate::test
