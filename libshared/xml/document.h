// SPDX-License-Identifier: LGPL-2.1-or-later
// document - one XML document of a client.
//
// It has to be a document that libvirt cannot read in another way: UTF-8 and nothing else, without a document type,
// and so without entities, and with all prefixes declared. Comments and processing instructions are passed over: they
// are part of no text that libvirt reads.
//
// Trust:  the XML is the client's, and hostile. libxml2 parses it without network, files, converters of encodings,
//         entities, XInclude or a document type.
// Limits: k_xml_max bytes, k_xml_depth_max elements within each other, k_xml_nodes_max elements and attributes,
//         k_xml_attributes_max attributes of one element.
// Owns:   the tree; what accessors return lives as long as it does, unless it is a std::string.
#pragma once

#include <libxml/tree.h>

#include <memory>
#include <string>
#include <string_view>

#include "libshared/base/result.h"

namespace virtgate::xml {

// The largest descriptions of machines that tools write have some hundred elements and 64 KiB.
inline constexpr std::size_t k_xml_max = 1U << 20;
inline constexpr int k_xml_depth_max = 64;
inline constexpr int k_xml_nodes_max = 20'000;
inline constexpr std::size_t k_xml_attributes_max = 128;

// At least as many attributes and declarations of prefixes as any element of the text has. libxml2 compares each with
// each before anybody can stop it: with 100 000 it would be busy for a minute.
[[nodiscard]] std::size_t count_attributes(std::string_view xml) noexcept;

class XmlDocument {
public:
    // Error: peer's fault, what is wrong with it: "it is not well-formed".
    [[nodiscard]] static Result<XmlDocument> parse(std::string_view text);

    // The outermost element, never null.
    [[nodiscard]] const xmlNode* root() const noexcept;

private:
    struct Free {
        void operator()(xmlDoc* document) const noexcept { xmlFreeDoc(document); }
    };
    std::unique_ptr<xmlDoc, Free> document_;
};

// ---- elements ----------------------------------------

// The name without a prefix.
[[nodiscard]] std::string_view name_of(const xmlNode* element) noexcept;
[[nodiscard]] std::string_view name_of(const xmlAttr* attribute) noexcept;
// The namespace's URI and the prefix as it is written; empty without one.
[[nodiscard]] std::string_view namespace_of(const xmlNs* name_space) noexcept;
[[nodiscard]] std::string_view prefix_of(const xmlNs* name_space) noexcept;

// The element around this one; null at the outermost.
[[nodiscard]] const xmlNode* parent_of(const xmlNode* element) noexcept;
// The first element in it or after it, whatever its name, or of that name in any namespace; or null.
[[nodiscard]] const xmlNode* first_child(const xmlNode* element, std::string_view name = {}) noexcept;
[[nodiscard]] const xmlNode* next_sibling(const xmlNode* element, std::string_view name = {}) noexcept;

// The value of the attribute, in any namespace, as libvirt would find it; empty if there is none.
[[nodiscard]] std::string value_of(const xmlNode* element, std::string_view attribute);
[[nodiscard]] std::string value_of(const xmlAttr* attribute);
[[nodiscard]] bool has_attribute(const xmlNode* element, std::string_view attribute) noexcept;

// The text of the element itself, without that of elements in it.
[[nodiscard]] std::string text_of(const xmlNode* element);

}  // namespace virtgate::xml
