// SPDX-License-Identifier: LGPL-2.1-or-later
// xml_facts - XML in the arguments of calls, and documents that are made to be read in two ways.
#include "workerd/worker/xml_facts.h"

#include <fmt/format.h>

#include "proto/codec.h"
#include "proto/programs.h"
#include "proto/remote.h"
#include "tests/unit/xml_rig.h"

using namespace virtgate;
using namespace virtgate::xml;
using namespace virtgate::test;
namespace remote = proto::remote;

namespace {

std::string flaw_of(std::string_view xml) { return facts_of(xml).flaw; }

std::string repeat(std::string_view text, int times) {
    std::string all;
    for (int i = 0; i < times; ++i) all += text;
    return all;
}

template <class Args>
XmlFacts read(std::string_view name, const Args& args) {
    const auto* procedure = proto::remote_program().find(name);
    cr_assert_not_null(procedure);
    const auto bytes = proto::encode(args);
    cr_assert(bytes.has_value());
    return read_xml_facts(proto::remote_program(), *procedure, *bytes);
}

remote::TypedParam parameter(std::string field, std::string text) {
    return {std::move(field), remote::TypedParamValue::make_text(std::move(text))};
}

std::vector<std::byte> cookie(std::string_view text) {
    const ByteView bytes = as_bytes(text);
    return {bytes.begin(), bytes.end()};
}

const std::string k_good = machine("<disk><source file='/srv/vm/a'/></disk>");
const std::string k_bad = machine("<disk><source file='/etc/shadow'/></disk>");
constexpr std::string_view k_shadow = "the XML names /etc/shadow";
constexpr std::string_view k_hidden = "of the XML: nobody can see what the call describes";

}  // namespace

// ---- documents ----------------------------------------

Test(xml_document, has_no_document_type) {
    for (const std::string_view xml :
         {"<!DOCTYPE domain><domain/>", "<!DOCTYPE d [<!ENTITY e '/etc/shadow'>]><domain>&e;</domain>",
          "<?xml version='1.0'?><!DOCTYPE d SYSTEM 'file:///etc/passwd'><domain/>",
          "<!DOCTYPE d [<!ENTITY a 'x'><!ENTITY b '&a;&a;'>]><d>&b;</d>",
          "<!DOCTYPE d [<!ATTLIST disk type CDATA 'dir'>]><disk/>"})
        cr_expect_eq(flaw_of(xml), "it has a document type", "%s", std::string(xml).c_str());
    cr_assert_eq(flaw_of("<domain>&e;</domain>"), "it is not well-formed");
}

Test(xml_document, is_utf8_and_nothing_else) {
    cr_assert_eq(flaw_of("<?xml version='1.0' encoding='UTF-8'?><domain/>"), "");
    cr_assert_eq(flaw_of("<?xml version=\"1.0\" encoding = \"utf-8\" standalone='yes'?><domain/>"), "");
    cr_assert_eq(flaw_of("<?xml version='1.0'?><domain/>"), "");
    cr_assert_eq(flaw_of("\xef\xbb\xbf<domain/>"), "", "a mark says no more");
    cr_assert_eq(flaw_of("<domain><title>gr\xc3\xbc\xc3\x9f</title></domain>"), "");
    for (const std::string_view encoding :
         {"UTF-7", "UTF-16", "ISO-8859-1", "US-ASCII", "EBCDIC-US", "ISO-2022-CN-EXT", "UTF8", "HZ", ""})
        cr_expect_eq(flaw_of("<?xml version='1.0' encoding='" + std::string(encoding) + "'?><domain/>"),
                     "its encoding is not UTF-8", "%s", std::string(encoding).c_str());
    for (const std::string_view crooked :
         {"<?xml version='1.0' encoding='UTF-8' encoding='UTF-7'?><d/>", "<?xml encoding?><d/>",
          "<?xml encoding=", "<?xml encoding='UTF-7", "<?xml version='encoding=' encoding='UTF-7'?><d/>"})
        cr_expect_eq(flaw_of(crooked), "its encoding is not UTF-8", "%s", std::string(crooked).c_str());
    using namespace std::literals;
    for (const std::string_view other :
         {"\xff\xfe<\0d\0/\0>\0"sv, "\xfe\xff\0<\0d\0/\0>"sv, "<\0d\0/\0>\0"sv, "\0<\0d\0/\0>"sv,
          "\x4c\x6f\xa7\x94\x93"sv, "<d>\xff</d>"sv, "<d>\xc0\xaf</d>"sv, "<d>\xed\xa0\x80</d>"sv, "<d/>\0"sv,
          "<d a='\0'/>"sv, ""sv, " "sv, "d"sv})
        cr_expect_eq(flaw_of(other), "it is not well-formed");
}

Test(xml_document, is_well_formed) {
    for (const std::string_view xml :
         {"<d", "<d>", "<d></e>", "<d/><e/>", "<d a='1' a='2'/>", "<d a=1/>", "<d>&#0;</d>", "<d>&#x1;</d>",
          "<d>]]></d>", "<!-- -- --><d/>", "x<d/>", "<d/>x", " <?xml version='1.0'?><d/>", "<d><?xml x?></d>",
          "<d xmlns:a='urn:x' xmlns:b='urn:x' a:c='1' b:c='2'/>"})
        cr_expect_neq(flaw_of(xml), "", "%s", std::string(xml).c_str());
    cr_assert_eq(flaw_of("<d><qemu:commandline/></d>"), "a prefix in it is not declared");
    cr_assert_eq(flaw_of("<d q:a='1'/>"), "a prefix in it is not declared");
    cr_assert_eq(flaw_of("\n <d/>\n"), "");
    cr_assert_eq(flaw_of("<?pi x?><!-- c --><d/><!-- e -->"), "");
}

Test(xml_document, has_limits) {
    const auto nested = [](int depth) { return repeat("<a>", depth) + repeat("</a>", depth); };
    cr_assert_eq(flaw_of(nested(k_xml_depth_max)), "");
    cr_assert_eq(flaw_of(nested(k_xml_depth_max + 1)), "its elements are nested too deeply");
    cr_assert_eq(flaw_of(nested(100)), "its elements are nested too deeply");
    cr_assert_eq(flaw_of(repeat("<a>", 100'000)), "its elements are nested too deeply");
    cr_assert_eq(flaw_of("<d>" + repeat("<a/>", k_xml_nodes_max - 1) + "</d>"), "");
    cr_assert_eq(flaw_of("<d>" + repeat("<a/>", k_xml_nodes_max) + "</d>"), "it has too many elements");
    const auto attributes = [](std::size_t count, std::string_view around) {
        std::string many = "<d";
        for (std::size_t i = 0; i < count; ++i) many += fmt::format(" a{}{}", i, around);
        return many + "/>";
    };
    for (const std::string_view around : {"=''", "=\"\"", " = ''", "\n=\n'a'"}) {
        cr_assert_eq(flaw_of(attributes(k_xml_attributes_max, around)), "");
        cr_assert_eq(flaw_of(attributes(k_xml_attributes_max + 1, around)), "it has too many attributes");
    }
    cr_assert_eq(flaw_of(attributes(100'000, "=''")), "it has too many attributes");
    cr_assert_eq(flaw_of("<d>" + repeat("a='b' ", 100) + "<e>" + repeat("====", 100) + "</e></d>"),
                 "text stands beside elements in <d>");
    const std::string filler(k_xml_max - 7, 'x');
    cr_assert_eq(flaw_of("<d>" + filler + "</d>"), "");
    cr_assert_eq(flaw_of("<d>x" + filler + "</d>"), "it is too large");
    cr_assert_eq(flaw_of("<d a='" + std::string(k_xml_max - 20, 'x') + "'/>"), "");
}

Test(xml_document, does_not_mix_text_and_elements) {
    cr_assert_eq(flaw_of("<os><kernel><a>/etc</a>/shadow</kernel></os>"),
                 "text stands beside elements in <kernel>");
    cr_assert_eq(flaw_of("<os><kernel>/srv/vm/<a/>../etc</kernel></os>"),
                 "text stands beside elements in <kernel>");
    cr_assert_eq(flaw_of("<d><metadata>a<b/></metadata></d>"), "", "what applications keep is theirs");
    cr_assert_eq(flaw_of("<d>\n <a/>\n</d>"), "");
    cr_assert_eq(flaw_of("<txt value='a&#10;b'/>"), "txt/@value has a control character in it");
    cr_assert_eq(flaw_of("<txt value='a&#127;b'/>"), "txt/@value has a control character in it");
    cr_assert_eq(flaw_of("<txt value='a\nb'/>"), "", "a new line that is written as such is a blank");
}

// ---- arguments ----------------------------------------

Test(xml_facts, of_plain_arguments) {
    cr_assert_eq(misfit_of(read("domain_define_xml", remote::DomainDefineXmlArgs{.xml = k_good})), "");
    cr_assert_eq(misfit_of(read("domain_define_xml", remote::DomainDefineXmlArgs{.xml = k_bad})), k_shadow);
    cr_assert_eq(misfit_of(read("domain_define_xml", remote::DomainDefineXmlArgs{.xml = ""})),
                 "of the XML: it is not well-formed");
    // A call that takes no XML.
    cr_assert(read("domain_lookup_by_name", remote::DomainLookupByNameArgs{.name = "/etc"}).paths.empty());
}

Test(xml_facts, of_optional_arguments) {
    remote::DomainRestoreFlagsArgs restore{.from = "/srv/vm/saved", .destination_xml = {}, .flags = 0};
    cr_assert_eq(misfit_of(read("domain_restore_flags", restore)), k_hidden, "what is in the file decides");
    restore.destination_xml = k_good;
    cr_assert_eq(misfit_of(read("domain_restore_flags", restore)), "");
    restore.destination_xml = k_bad;
    cr_assert_eq(misfit_of(read("domain_restore_flags", restore)), k_shadow);
    cr_assert_eq(misfit_of(read("domain_restore", remote::DomainRestoreArgs{.from = "/srv/vm/saved"})),
                 k_hidden);
    remote::DomainSaveFlagsArgs save{.domain = {}, .to = "/srv/vm/saved", .destination_xml = {}, .flags = 0};
    cr_assert_eq(misfit_of(read("domain_save_flags", save)), "", "the machine stays what it is");
    save.destination_xml = k_bad;
    cr_assert_eq(misfit_of(read("domain_save_flags", save)), k_shadow);
}

Test(xml_facts, of_parameters) {
    remote::DomainMigratePrepare3ParamsArgs args;
    cr_assert_eq(misfit_of(read("domain_migrate_prepare3_params", args)), k_hidden);
    args.params = {parameter("migrate_uri", "tcp://h"), parameter("destination_xml", k_good)};
    cr_assert_eq(misfit_of(read("domain_migrate_prepare3_params", args)), "");
    args.params.push_back(parameter("persistent_xml", k_bad));
    cr_assert_eq(misfit_of(read("domain_migrate_prepare3_params", args)), k_shadow);
    // Whichever of two libvirt takes.
    args.params = {parameter("destination_xml", k_good), parameter("destination_xml", k_bad)};
    cr_assert_eq(misfit_of(read("domain_migrate_prepare3_params", args)), k_shadow);
    args.params = {parameter("destination_xml", k_bad), parameter("destination_xml", k_good)};
    cr_assert_eq(misfit_of(read("domain_migrate_prepare3_params", args)), k_shadow);
    args.params = {parameter("destination_xml", k_good)};
    args.params[0].value = remote::TypedParamValue::make_boolean(1);
    cr_assert_eq(misfit_of(read("domain_migrate_prepare3_params", args)),
                 "of the XML: a parameter with XML is no text");
    remote::DomainRestoreParamsArgs restore;
    restore.params = {parameter("file", "/srv/vm/saved"), parameter("dxml", k_bad)};
    cr_assert_eq(misfit_of(read("domain_restore_params", restore)), k_shadow);
}

Test(xml_facts, of_what_comes_with_a_machine) {
    using namespace std::literals;
    remote::DomainMigrateFinish3Args args;
    cr_assert_eq(misfit_of(read("domain_migrate_finish3", args)), "");
    // The machine that is kept comes in a cookie, with a NUL at its end.
    args.cookie_in = cookie("<qemu-migration><name>a</name>" + k_good + "</qemu-migration>\0"s);
    cr_assert_eq(misfit_of(read("domain_migrate_finish3", args)), "");
    args.cookie_in = cookie("<qemu-migration><name>a</name>" + k_bad + "</qemu-migration>\0"s);
    cr_assert_eq(misfit_of(read("domain_migrate_finish3", args)), k_shadow);
    args.cookie_in = cookie("<qemu-migration/>\0<x/>\0"sv);
    cr_assert_neq(misfit_of(read("domain_migrate_finish3", args)), "");
    args.cookie_in = cookie("\0"sv);
    cr_assert_eq(misfit_of(read("domain_migrate_finish3", args)), "");
    args.cookie_in = cookie("something else"sv);
    cr_assert_neq(misfit_of(read("domain_migrate_finish3", args)), "");
    cr_assert_eq(misfit_of(read("domain_migrate_prepare", remote::DomainMigratePrepareArgs{})), k_hidden);
}

Test(xml_facts, of_images_that_are_there_already) {
    remote::DomainSnapshotCreateXmlArgs args;
    args.xml =
        "<domainsnapshot><disks><disk name='vda'><source file='/srv/vm/s'/></disk></disks></domainsnapshot>";
    cr_assert_eq(misfit_of(read("domain_snapshot_create_xml", args)), "");
    args.flags = 0x20;
    cr_assert_neq(misfit_of(read("domain_snapshot_create_xml", args)), "");
    remote::DomainBlockCopyArgs copy;
    copy.destination_xml = "<disk type='file'><driver type='qcow2'/><source file='/srv/vm/c'/></disk>";
    cr_assert_eq(misfit_of(read("domain_block_copy", copy)), "");
    copy.flags = 2;
    cr_assert_neq(misfit_of(read("domain_block_copy", copy)), "");
    remote::DomainBackupBeginArgs backup;
    backup.backup_xml =
        "<domainbackup><disks><disk name='vda' type='file'><driver type='qcow2'/><target "
        "file='/srv/vm/b'/></disk></disks></domainbackup>";
    cr_assert_eq(misfit_of(read("domain_backup_begin", backup)), "");
    backup.flags = 1;
    cr_assert_neq(misfit_of(read("domain_backup_begin", backup)), "");
    backup.flags = 0;
    backup.checkpoint_xml = "<domaincheckpoint><disks><disk name='/etc/shadow'/></disks></domaincheckpoint>";
    cr_assert_eq(misfit_of(read("domain_backup_begin", backup)), k_shadow);
}

Test(xml_facts, of_programs_that_are_no_xml) {
    remote::ConnectGetDomainCapabilitiesArgs args;
    cr_assert_eq(misfit_of(read("connect_get_domain_capabilities", args)), "");
    args.emulator = "/usr/bin/qemu-system-x86_64";
    cr_assert_eq(misfit_of(read("connect_get_domain_capabilities", args)), "");
    args.emulator = "/srv/vm/evil";
    cr_assert_eq(misfit_of(read("connect_get_domain_capabilities", args)),
                 "the XML names the program /srv/vm/evil");
    args.emulator = "evil";
    cr_assert_neq(misfit_of(read("connect_get_domain_capabilities", args)), "");
}

Test(xml_facts, of_all_documents_together_have_a_limit) {
    const std::string half = "<d>" + std::string(k_xml_max / 2, 'x') + "</d>";
    remote::DomainMigratePrepare3ParamsArgs args;
    args.params = {parameter("destination_xml", half)};
    cr_assert_eq(misfit_of(read("domain_migrate_prepare3_params", args)), "");
    args.params.push_back(parameter("persistent_xml", half));
    cr_assert_eq(misfit_of(read("domain_migrate_prepare3_params", args)), "of the XML: it is too large");
}
