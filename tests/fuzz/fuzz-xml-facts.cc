// SPDX-License-Identifier: LGPL-2.1-or-later
// fuzz-xml-facts - any bytes as a document: facts or a flaw, always the same, and no way to hide a disk.
//
// Input: one byte that says what is done with images, then the document, which is also read as a part of a machine.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "libshared/base/result.h"
#include "libshared/xml/document.h"
#include "workerd/worker/xml_host.h"

using namespace virtgate;
using namespace virtgate::workerd::worker;

namespace {

policy::XmlFacts read(std::string_view text, Images images) {
    policy::XmlFacts facts;
    const auto document = xml::XmlDocument::parse(text);
    if (document)
        add_host_facts(*document, images, facts);
    else
        facts.flaw = document.error().text;
    return facts;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const auto images = static_cast<Images>(data[0] % 3);
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    const policy::XmlFacts facts = read(text, images), again = read(text, images);
    require(facts.elements == again.elements && facts.paths == again.paths && facts.flaw == again.flaw &&
                facts.power == again.power,
            "a document is read in two ways");
    require(std::is_sorted(facts.elements.begin(), facts.elements.end()), "elements are in no order");
    require(!facts.flaw.empty() || !facts.elements.empty(), "a document without elements");
    require(facts.paths.size() <= static_cast<std::size_t>(xml::k_xml_nodes_max),
            "more paths than places for them");
    // Whatever stands before a disk, the disk is found, or nobody can say what is there.
    std::string wrapped("<domain><devices>");
    wrapped.append(text).append("<disk><source file='/etc/shadow'/></disk></devices></domain>");
    const policy::XmlFacts all = read(wrapped, images);
    require(find_misfit({.forbid = {}, .paths = {"/nowhere"}}, &all) &&
                find_misfit({.forbid = {"disk"}, .paths = {}}, &all),
            "a disk was overlooked");
    return 0;
}
