// SPDX-License-Identifier: LGPL-2.1-or-later
// scrutiny_xml - calls with XML of a client whose role restricts it.
#include <criterion/criterion.h>

#include "tests/unit/scrutiny_rig.h"

using namespace virtgate;
using namespace virtgate::test;
using virtgate::test::set;

namespace {

// A role that may define and attach, on these machines, with what lies in /srv/vm.
Grant builder(std::string_view machines) {
    Grant grant = grant_of({"domain_define_xml", "domain_attach_device"});
    grant.xml = {{.forbid = {"hostdev"}, .paths = {"/srv/vm"}}};
    add(grant, ObjectKind::domain, machines);
    return grant;
}

ByteVector define(std::string_view devices) {
    return *proto::encode(remote::DomainDefineXmlArgs{.xml = "<domain><name>a</name><devices>" +
                                                             std::string(devices) + "</devices></domain>"});
}

ByteVector attach(std::string_view machine, std::string_view device) {
    return *proto::encode(
        remote::DomainAttachDeviceArgs{.domain = test::domain(machine), .xml = std::string(device)});
}

constexpr std::string_view k_good = "<disk><source file='/srv/vm/a'/></disk>";
constexpr std::string_view k_bad = "<disk><source file='/etc/shadow'/></disk>";

}  // namespace

Test(scrutiny_xml, is_read_before_it_is_judged) {
    Rig rig(test::rights({builder("*")}));
    cr_assert(!rig.scrutiny.is_idle());
    cr_assert(passes(rig.call("domain_define_xml", define(k_good))));
    const Ruling refused = rig.call("domain_define_xml", define(k_bad));
    cr_assert(is_denied(refused));
    cr_assert_eq(*refused.error.message,
                 "access denied: no role allows domain_define_xml: the XML names /etc/shadow");
    cr_assert_eq(refused.log, "domain_define_xml: constraint, role r at f.toml:3, the XML names /etc/shadow");
    cr_assert(refused.finding.has_value());
    cr_assert_eq(refused.finding->detail, "the XML names /etc/shadow");
    cr_assert(is_denied(rig.call("domain_define_xml", define("<hostdev/>"))));
    cr_assert(is_denied(rig.call("domain_define_xml", define("<disk"))));
}

Test(scrutiny_xml, and_the_machine_that_it_is_for_both_have_to_fit) {
    Grant grant = builder("mine");
    Rig rig(test::rights({grant}));
    cr_assert(passes(rig.call("domain_attach_device", attach("mine", k_good))));
    cr_assert(is_denied(rig.call("domain_attach_device", attach("mine", k_bad))));
    // The same error, whatever the XML is.
    const Ruling hidden = rig.call("domain_attach_device", attach("theirs", k_good));
    cr_assert_eq(hidden.error.code, 42);
    cr_assert(rig.call("domain_attach_device", attach("theirs", k_bad)).error == hidden.error);
    // A machine that may be any needs a grant about all.
    cr_assert(is_denied(rig.call("domain_define_xml", define(k_good))));
}

Test(scrutiny_xml, is_free_for_who_has_another_grant) {
    Grant free = builder("*");
    free.xml.clear();
    Rig rig(test::rights({builder("*"), free}));
    cr_assert(passes(rig.call("domain_define_xml", define(k_bad))));
}
