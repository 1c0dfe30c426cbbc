// SPDX-License-Identifier: LGPL-2.1-or-later
// document - one XML document of a client.
#include "libshared/xml/document.h"

#include <fmt/format.h>
#include <libxml/SAX2.h>
#include <libxml/parser.h>

#include <algorithm>

#include "libshared/base/bytes.h"

namespace virtgate::xml {

namespace {

constexpr std::string_view k_mark = "\xef\xbb\xbf";
constexpr std::string_view k_blanks = " \t\r\n";
constexpr std::string_view k_not_well_formed = "it is not well-formed";

struct FreeContext {
    void operator()(xmlParserCtxt* context) const noexcept { xmlFreeParserCtxt(context); }
};

// What stops the parser before it has read on.
struct Watch {
    int nodes = 0;
    std::string_view flaw{};
};

std::string_view as_view(const xmlChar* text) noexcept {
    return text == nullptr ? std::string_view() : std::string_view(reinterpret_cast<const char*>(text));
}

void stop(xmlParserCtxt* context, std::string_view flaw) noexcept {
    static_cast<Watch*>(context->_private)->flaw = flaw;
    xmlStopParser(context);
}

void on_document_type(void* context, const xmlChar*, const xmlChar*, const xmlChar*) noexcept {
    stop(static_cast<xmlParserCtxt*>(context), "it has a document type");
}

void on_element(void* with, const xmlChar* name, const xmlChar* prefix, const xmlChar* uri, int namespaces,
                const xmlChar** declared, int attributes, int defaulted, const xmlChar** values) noexcept {
    auto* context = static_cast<xmlParserCtxt*>(with);
    auto* watch = static_cast<Watch*>(context->_private);
    watch->nodes += 1 + namespaces + attributes;
    if (watch->nodes > k_xml_nodes_max) return stop(context, "it has too many elements");
    if (context->nodeNr >= k_xml_depth_max) return stop(context, "its elements are nested too deeply");
    xmlSAX2StartElementNs(context, name, prefix, uri, namespaces, declared, attributes, defaulted, values);
}

// True if the text says that it is UTF-8, or nothing about it. libxml2 must not look for a converter: those are
// modules that are loaded from files.
bool is_declared_utf8(std::string_view text) {
    constexpr std::string_view k_declaration = "<?xml", k_word = "encoding";
    if (!text.starts_with(k_declaration)) return true;
    const std::string_view declaration = text.substr(0, text.find("?>"));
    const auto found = declaration.find(k_word);
    if (found == declaration.npos) return true;
    if (declaration.find(k_word, found + 1) != declaration.npos) return false;
    std::string_view rest = declaration.substr(found + k_word.size());
    const auto skip_blanks = [&] {
        rest.remove_prefix(std::min(rest.find_first_not_of(k_blanks), rest.size()));
    };
    skip_blanks();
    if (!rest.starts_with('=')) return false;
    rest.remove_prefix(1);
    skip_blanks();
    if (rest.empty()) return false;
    const auto end = rest.find(rest[0], 1);
    return end != rest.npos && to_lower(rest.substr(1, end - 1)) == "utf-8";
}

// What the first bytes say. libxml2 guesses an encoding from them, and so does libvirt's.
std::string_view flaw_of_beginning(std::string_view text) {
    if (text.size() > k_xml_max) return "it is too large";
    if (text.find('\0') != text.npos) return k_not_well_formed;
    if (text.starts_with(k_mark)) text.remove_prefix(k_mark.size());
    const auto first = text.find_first_not_of(k_blanks);
    if (first == text.npos || text[first] != '<') return k_not_well_formed;
    if (!is_declared_utf8(text)) return "its encoding is not UTF-8";
    if (count_attributes(text) > k_xml_attributes_max) return "it has too many attributes";
    return {};
}

bool is_element(const xmlNode* node) noexcept { return node->type == XML_ELEMENT_NODE; }

// `node` or the first after it that is an element of that name.
const xmlNode* find(const xmlNode* node, std::string_view name) noexcept {
    while (node != nullptr && !(is_element(node) && (name.empty() || name_of(node) == name)))
        node = node->next;
    return node;
}

const xmlAttr* find_attribute(const xmlNode* element, std::string_view name) noexcept {
    const xmlAttr* attribute = element->properties;
    while (attribute != nullptr && name_of(attribute) != name) attribute = attribute->next;
    return attribute;
}

}  // namespace

// An attribute has an equals sign before a quotation mark, and none has a "<" in it.
std::size_t count_attributes(std::string_view xml) noexcept {
    std::size_t most = 0, here = 0;
    for (auto at = xml.find_first_of("<="); at != xml.npos; at = xml.find_first_of("<=", at + 1)) {
        if (xml[at] == '<') {
            here = 0;
            continue;
        }
        const auto next = xml.find_first_not_of(k_blanks, at + 1);
        if (next != xml.npos && (xml[next] == '\'' || xml[next] == '"')) most = std::max(most, ++here);
    }
    return most;
}

Result<XmlDocument> XmlDocument::parse(std::string_view text) {
    const auto refuse = [](std::string_view flaw) { return peer_fault(std::string(flaw)); };
    if (const std::string_view flaw = flaw_of_beginning(text); !flaw.empty()) return refuse(flaw);
    const std::unique_ptr<xmlParserCtxt, FreeContext> context(xmlNewParserCtxt());
    if (!context || context->sax == nullptr) return system_fault(0, "it cannot be read: no memory");
    Watch watch;
    context->_private = &watch;
    context->sax->internalSubset = on_document_type;
    context->sax->startElementNs = on_element;
    context->sax->comment = nullptr;
    context->sax->processingInstruction = nullptr;
    constexpr int k_options =
        XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NODICT | XML_PARSE_IGNORE_ENC;
    XmlDocument made;
    made.document_.reset(xmlCtxtReadMemory(context.get(), text.data(), static_cast<int>(text.size()), nullptr,
                                           "UTF-8", k_options));
    if (!watch.flaw.empty()) return refuse(watch.flaw);
    // A stopped parser may leave what it had read so far.
    if (!made.document_ || context->wellFormed == 0 || context->disableSAX != 0 ||
        made.document_->intSubset != nullptr || xmlDocGetRootElement(made.document_.get()) == nullptr)
        return refuse(k_not_well_formed);
    if (context->nsWellFormed == 0) return refuse("a prefix in it is not declared");
    return made;
}

const xmlNode* XmlDocument::root() const noexcept { return xmlDocGetRootElement(document_.get()); }

std::string_view name_of(const xmlNode* element) noexcept { return as_view(element->name); }
std::string_view name_of(const xmlAttr* attribute) noexcept { return as_view(attribute->name); }
std::string_view namespace_of(const xmlNs* name_space) noexcept {
    return name_space == nullptr ? std::string_view() : as_view(name_space->href);
}
std::string_view prefix_of(const xmlNs* name_space) noexcept {
    return name_space == nullptr ? std::string_view() : as_view(name_space->prefix);
}

const xmlNode* parent_of(const xmlNode* element) noexcept {
    return element->parent != nullptr && is_element(element->parent) ? element->parent : nullptr;
}

const xmlNode* first_child(const xmlNode* element, std::string_view name) noexcept {
    return find(element->children, name);
}

const xmlNode* next_sibling(const xmlNode* element, std::string_view name) noexcept {
    return find(element->next, name);
}

std::string value_of(const xmlAttr* attribute) {
    struct Free {
        void operator()(xmlChar* text) const noexcept { xmlFree(text); }
    };
    const std::unique_ptr<xmlChar, Free> text(xmlNodeListGetString(attribute->doc, attribute->children, 1));
    return std::string(as_view(text.get()));
}

std::string value_of(const xmlNode* element, std::string_view attribute) {
    const xmlAttr* found = find_attribute(element, attribute);
    return found == nullptr ? std::string() : value_of(found);
}

bool has_attribute(const xmlNode* element, std::string_view attribute) noexcept {
    return find_attribute(element, attribute) != nullptr;
}

std::string text_of(const xmlNode* element) {
    std::string text;
    for (const xmlNode* child = element->children; child != nullptr; child = child->next)
        if (child->type == XML_TEXT_NODE || child->type == XML_CDATA_SECTION_NODE)
            text += as_view(child->content);
    return text;
}

}  // namespace virtgate::xml
