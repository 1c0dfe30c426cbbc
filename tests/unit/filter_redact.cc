// SPDX-License-Identifier: LGPL-2.1-or-later
// filter_redact - XML without secrets, and hostile XML.
#include "workerd/worker/filter_redact.h"

#include <criterion/criterion.h>

#include <string>

#include "proto/codec.h"
#include "proto/programs.h"
#include "proto/remote.h"

using namespace virtgate;
using namespace virtgate::workerd::worker;

namespace {

void expect(std::string_view xml, std::string_view redacted) {
    const auto text = redact(xml);
    cr_assert(text.has_value(), "%s", std::string(xml).c_str());
    cr_assert_eq(*text, redacted, "%s", text->c_str());
}

void expect_refused(std::string_view xml) {
    cr_assert(!redact(xml).has_value(), "%s", std::string(xml.substr(0, 100)).c_str());
}

std::string repeat(std::string_view text, int times) {
    std::string all;
    for (int i = 0; i < times; ++i) all += text;
    return all;
}

}  // namespace

Test(redact, takes_passwords_of_screens) {
    expect(
        "<domain><devices><graphics type='vnc' passwd='hunter2' "
        "passwdValidTo='2030-01-01T00:00:00'/></devices>"
        "</domain>\n",
        "<domain><devices><graphics type=\"vnc\" "
        "passwdValidTo=\"2030-01-01T00:00:00\"/></devices></domain>\n");
    expect(
        "<domain><devices><graphics passwd=''/><graphics type='spice' passwd='a&amp;b'/></devices></domain>",
        "<domain><devices><graphics/><graphics type=\"spice\"/></devices></domain>");
}

Test(redact, takes_cookies_of_disks) {
    expect(
        "<domain>\n  <disk>\n    <source protocol='https'>\n      <host name='h'/>\n      <cookies>\n"
        "        <cookie name='c'>sikrit</cookie>\n      </cookies>\n    </source>\n  </disk>\n</domain>\n",
        "<domain>\n  <disk>\n    <source protocol=\"https\">\n      <host name=\"h\"/>\n    </source>\n  "
        "</disk>\n"
        "</domain>\n");
    expect("<domain><source><cookies/><cookies><x/></cookies><ssl/></source></domain>",
           "<domain><source><ssl/></source></domain>");
}

Test(redact, finds_descriptions_inside_of_others) {
    expect(
        "<domainsnapshot><domain><graphics passwd='x'/></domain><inactiveDomain><graphics passwd='y'/>"
        "</inactiveDomain></domainsnapshot>",
        "<domainsnapshot><domain><graphics/></domain><inactiveDomain><graphics/></inactiveDomain>"
        "</domainsnapshot>");
}

Test(redact, changes_nothing_without_secrets) {
    for (const std::string_view xml :
         {"<domain type='test'>\n  <name>a</name>\n</domain>\n", "<domain/>",
          "<?xml version='1.0'?><domain/>",
          "<domain><metadata><app:graphics xmlns:app='urn:a' passwd='theirs'/><graphics passwd='theirs'/>"
          "</metadata></domain>",
          "<domain><passwd>x</passwd><cookies>no disk's</cookies></domain>",
          "<domain><title>gr\xc3\xbc\xc3\x9f &lt;graphics passwd='x'/&gt;</title></domain>"})
        expect(xml, xml);
}

Test(redact, keeps_everything_else) {
    expect(
        "<domain xmlns:q='urn:q'><title>gr\xc3\xbc\xc3\x9f &lt;&amp;&gt;</title><q:x q:a='&quot;&#10;'/>"
        "<graphics passwd='x' q:passwd='y'/><metadata><graphics passwd='theirs'/></metadata></domain>",
        "<domain xmlns:q=\"urn:q\"><title>gr\xc3\xbc\xc3\x9f &lt;&amp;&gt;</title><q:x q:a=\"&quot;&#10;\"/>"
        "<graphics/><metadata><graphics passwd=\"theirs\"/></metadata></domain>");
}

Test(redact, refuses_what_is_not_well_formed) {
    for (const std::string_view xml :
         {"", " ", "domain", "<domain>", "<domain><graphics passwd='x'></domain>", "<domain/><domain/>",
          "<domain a='1' a='2'/>", "<domain>\xff</domain>", "<domain>&unknown;</domain>",
          "<domain>\x01</domain>"})
        expect_refused(xml);
}

Test(redact, refuses_document_types_and_entities) {
    expect_refused("<!DOCTYPE domain><domain/>");
    expect_refused("<!DOCTYPE domain SYSTEM 'file:///etc/passwd'><domain/>");
    expect_refused("<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><d>&e;</d>");
    std::string bomb = "<!DOCTYPE d [<!ENTITY a 'aaaaaaaaaa'>";
    for (char c = 'b'; c <= 'z'; ++c)
        bomb += std::string("<!ENTITY ") + c + " '" + repeat(std::string("&") + char(c - 1) + ";", 10) + "'>";
    expect_refused(bomb + "]><d>&z;</d>");
    expect_refused("<!-- first --><!DOCTYPE d [<!ATTLIST graphics passwd CDATA 'x'>]><d><graphics/></d>");
}

Test(redact, is_bounded_in_depth_and_size, .timeout = 60) {
    expect_refused(repeat("<a>", 100000) + repeat("</a>", 100000));
    const std::string deep = repeat("<a>", 200) + "<graphics passwd='x'/>" + repeat("</a>", 200);
    expect(deep, repeat("<a>", 200) + "<graphics/>" + repeat("</a>", 200));
    expect_refused("<a>" + std::string(4 << 20, 'x') + "</a>");
    // libxml2 compares each attribute of an element with each.
    std::string many = "<a";
    for (int i = 0; i < 100'000; ++i) many += " a" + std::to_string(i) + "=''";
    expect_refused(many + "/>");
    const std::string wide = repeat("<graphics passwd='x'/>", 100000);
    expect("<a>" + wide + "</a>", "<a>" + repeat("<graphics/>", 100000) + "</a>");
}

Test(redact, rewrites_replies) {
    const auto reply_of = [](std::string xml) {
        return proto::encode(proto::remote::DomainGetXmlDescRet{std::move(xml)}).value();
    };
    ByteVector made;
    const ByteVector secret = reply_of("<domain><graphics passwd='xy'/></domain>");
    const auto redacted = redact_reply(secret, made);
    cr_assert(redacted.has_value());
    const auto value = proto::decode<proto::remote::DomainGetXmlDescRet>(*redacted);
    cr_assert_eq(value->xml, "<domain><graphics/></domain>");
    const ByteVector plain = reply_of("<domain><graphics/></domain>");
    cr_assert_eq(redact_reply(plain, made)->data(), plain.data());
    cr_assert(!redact_reply(ByteView(plain).first(plain.size() - 4), made).has_value());
    cr_assert(!redact_reply(reply_of("<domain>"), made).has_value());
    cr_assert(!redact_reply({}, made).has_value());
}

// Every call that libvirt guards with a "secure" permission, and every reply with a domain's description.
Test(redact, knows_all_replies_with_secrets) {
    int xml = 0;
    for (const proto::ProcedureInfo& info : proto::remote_program().procedures()) {
        const Secrets secrets = secrets_of(proto::remote_program(), info);
        const bool has = secrets.where != Secrets::Where::nowhere;
        const std::string name(info.name);
        bool guarded = false;
        for (const proto::Rule& rule : info.rules) guarded |= rule.permission == "read_secure";
        const bool describes = info.name.starts_with("domain_") && info.name.ends_with("get_xml_desc") &&
                               info.name != "domain_backup_get_xml_desc";  // libvirt has no secrets in that
        if (guarded || describes || info.name.starts_with("domain_migrate_begin"))
            cr_assert(has, "%s", name.c_str());
        else
            cr_assert(!has, "%s", name.c_str());
        if (has)
            cr_assert_eq(secrets.permission,
                         name.starts_with("secret") ? "secret:read_secure" : "domain:read_secure");
        if (secrets.where != Secrets::Where::in_xml) continue;
        ++xml;
        // The reply is one string.
        const std::uint32_t* row =
            proto::remote_program().schema.row(proto::layout::Section::types, info.ret);
        cr_assert_eq(row[4], 1U, "%s", name.c_str());
    }
    cr_assert_eq(xml, 5);
    cr_assert_eq(secrets_of(proto::qemu_program(), *proto::qemu_program().find(1U)).where,
                 Secrets::Where::nowhere);
}
