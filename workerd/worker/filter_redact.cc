// SPDX-License-Identifier: LGPL-2.1-or-later
// filter_redact - XML of domains without the secrets that libvirt adds for "secure" descriptions.
#include "workerd/worker/filter_redact.h"

#include <libxml/parser.h>
#include <libxml/tree.h>

#include <algorithm>
#include <iterator>
#include <memory>

#include "libshared/xdr/reader.h"
#include "libshared/xdr/writer.h"
#include "libshared/xml/document.h"

namespace virtgate::workerd::worker {

using namespace xml;

namespace {

constexpr std::uint32_t k_string_max = 4 << 20;  // string_max of remote.x
// What applications keep in <metadata> may be anything; so many are not yet slow.
constexpr std::size_t k_attributes_max = 1024;

template <auto Free>
struct FreeWith {
    void operator()(auto* p) const noexcept { Free(p); }
};
using Context = std::unique_ptr<xmlParserCtxt, FreeWith<xmlFreeParserCtxt>>;
using Document = std::unique_ptr<xmlDoc, FreeWith<xmlFreeDoc>>;
using Buffer = std::unique_ptr<xmlBuffer, FreeWith<xmlBufferFree>>;

constexpr std::string_view k_of_domain = "domain:read_secure";
constexpr std::string_view k_of_secret = "secret:read_secure";
using enum Secrets::Where;

struct Row {
    std::string_view procedure;
    Secrets secrets;
};
constexpr Row k_rows[] = {
    {"domain_get_xml_desc", {in_xml, k_of_domain}},
    {"domain_snapshot_get_xml_desc", {in_xml, k_of_domain}},
    {"domain_checkpoint_get_xml_desc", {in_xml, k_of_domain}},
    {"domain_save_image_get_xml_desc", {in_xml, k_of_domain}},
    {"domain_managed_save_get_xml_desc", {in_xml, k_of_domain}},
    // The value is all of the reply.
    {"secret_get_value", {in_use, k_of_secret}},
    // From this description another host starts the domain: without the password its screen would have none.
    {"domain_migrate_begin3", {in_use, k_of_domain}},
    {"domain_migrate_begin3_params", {in_use, k_of_domain}},
};

std::string_view text_of(const xmlChar* text) noexcept {
    return text == nullptr ? std::string_view() : std::string_view(reinterpret_cast<const char*>(text));
}

// libvirt writes no document type, and one is the way to entities: end the parser before it has read on.
void stop_at_document_type(void* context, const xmlChar*, const xmlChar*, const xmlChar*) noexcept {
    xmlStopParser(static_cast<xmlParserCtxt*>(context));
}

Document parse(std::string_view xml) {
    Context context(xmlNewParserCtxt());
    if (!context || context->sax == nullptr) return nullptr;
    context->sax->internalSubset = stop_at_document_type;
    constexpr int k_options = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NODICT;
    Document document(xmlCtxtReadMemory(context.get(), xml.data(), static_cast<int>(xml.size()), nullptr,
                                        "UTF-8", k_options));
    // A stopped parser may leave what it had read so far.
    if (!document || context->wellFormed == 0 || context->disableSAX != 0 || document->intSubset != nullptr)
        return nullptr;
    return document;
}

bool is_element(const xmlNode* node, std::string_view name) noexcept {
    return node != nullptr && node->type == XML_ELEMENT_NODE && text_of(node->name) == name;
}

// Takes the attributes of that name away, in any namespace.
bool drop_attributes(xmlNode* node, std::string_view name) noexcept {
    bool changed = false;
    for (xmlAttr *attribute = node->properties, *next = nullptr; attribute != nullptr; attribute = next) {
        next = attribute->next;
        if (text_of(attribute->name) == name) {
            xmlRemoveProp(attribute);
            changed = true;
        }
    }
    return changed;
}

// Takes an element away, and the white space before it, so that no empty line is left.
void drop_element(xmlNode* node) noexcept {
    xmlNode* before = node->prev;
    if (before != nullptr && xmlIsBlankNode(before) == 1) {
        xmlUnlinkNode(before);
        xmlFreeNode(before);
    }
    xmlUnlinkNode(node);
    xmlFreeNode(node);
}

// The next node in the order of the document; of the children of `node` none if `skip`.
xmlNode* next_of(xmlNode* node, bool skip) noexcept {
    if (!skip && node->type == XML_ELEMENT_NODE && node->children != nullptr) return node->children;
    while (node != nullptr && node->next == nullptr) node = node->parent;
    return node == nullptr || node->type == XML_DOCUMENT_NODE ? nullptr : node->next;
}

// One walk without recursion. What is in <metadata> belongs to applications; libvirt shows it to every
// reader.
bool strip(xmlNode* root) noexcept {
    bool changed = false;
    for (xmlNode* node = root; node != nullptr;) {
        if (is_element(node, "graphics")) changed |= drop_attributes(node, "passwd");
        const bool is_secret = is_element(node, "cookies") && is_element(node->parent, "source");
        xmlNode* next = next_of(node, is_secret || is_element(node, "metadata"));
        if (is_secret) {
            drop_element(node);
            changed = true;
        }
        node = next;
    }
    return changed;
}

std::optional<std::string> write(xmlDoc* document) {
    Buffer buffer(xmlBufferCreate());
    if (!buffer || xmlNodeDump(buffer.get(), document, xmlDocGetRootElement(document), 0, 0) < 0)
        return std::nullopt;
    return std::string(text_of(xmlBufferContent(buffer.get())));
}

}  // namespace

Secrets secrets_of(const proto::ProgramInfo& program, const proto::ProcedureInfo& procedure) noexcept {
    if (program.name != "remote") return {};
    const Row* row = std::find_if(std::begin(k_rows), std::end(k_rows),
                                  [&](const Row& each) { return each.procedure == procedure.name; });
    return row == std::end(k_rows) ? Secrets{} : row->secrets;
}

std::optional<std::string> redact(std::string_view xml) {
    if (xml.size() > k_string_max || count_attributes(xml) > k_attributes_max) return std::nullopt;
    const Document document = parse(xml);
    if (!document) return std::nullopt;
    xmlNode* root = xmlDocGetRootElement(document.get());
    if (root == nullptr) return std::nullopt;
    if (!strip(root)) return std::string(xml);
    auto text = write(document.get());
    // libvirt's texts end with a line; some callers print them as they are.
    if (text && xml.ends_with('\n') && !text->ends_with('\n')) *text += '\n';
    return text;
}

std::optional<ByteView> redact_reply(ByteView reply, ByteVector& made) {
    xdr::Reader reader(reply);
    const std::string_view xml = reader.string(k_string_max);
    if (reader.close() != xdr::Flaw::none) return std::nullopt;
    const auto text = redact(xml);
    if (!text) return std::nullopt;
    if (*text == xml) return reply;
    made.clear();
    xdr::Writer writer(made, k_string_max + 8);
    writer.string(*text, k_string_max);
    if (!writer.ok()) return std::nullopt;
    return made;
}

}  // namespace virtgate::workerd::worker
