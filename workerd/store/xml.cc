// SPDX-License-Identifier: LGPL-2.1-or-later
// xml - the descriptions of pools and volumes, read from clients and written for them.
#include "workerd/store/xml.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <limits>

#include "libshared/xml/document.h"
#include "workerd/store/places.h"

namespace virtgate::workerd::store {

namespace {

using xml::first_child;
using xml::name_of;
using xml::next_sibling;
using xml::text_of;
using xml::value_of;

constexpr std::uint64_t k_size_max = std::numeric_limits<std::int64_t>::max();

std::string trim(std::string text) {
    constexpr std::string_view k_blanks = " \t\r\n";
    text.erase(std::min(text.find_last_not_of(k_blanks) + 1, text.size()));
    text.erase(0, std::min(text.find_first_not_of(k_blanks), text.size()));
    return text;
}

template <class Number>
std::optional<Number> read_number(std::string_view text, int base = 10) noexcept {
    Number number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return number;
}

// "K", "KiB", "KB", … of libvirt's scaled integers; no value for an unknown one.
std::optional<std::uint64_t> scale_of(std::string_view unit) {
    if (unit.empty() || unit == "b" || unit == "byte" || unit == "bytes") return 1;
    constexpr std::string_view k_letters = "kmgtpe";
    const std::string lower = to_lower(unit);
    const auto power = k_letters.find(lower[0]);
    if (power == k_letters.npos) return std::nullopt;
    const std::string_view rest = std::string_view(lower).substr(1);
    if (rest != "" && rest != "b" && rest != "ib") return std::nullopt;
    const std::uint64_t base = rest == "b" ? 1000 : 1024;
    std::uint64_t scale = 1;
    for (std::size_t i = 0; i <= power; ++i) scale *= base;
    return scale;
}

// No value in the result if the element is not there.
Answer<std::optional<std::uint64_t>> read_size(const xmlNode* parent, std::string_view name) {
    const xmlNode* const element = first_child(parent, name);
    if (element == nullptr) return std::optional<std::uint64_t>{};
    const auto number = read_number<std::uint64_t>(trim(text_of(element)));
    const auto scale = scale_of(value_of(element, "unit"));
    if (!number || !scale) return refuse(is_bad_xml(fmt::format("malformed element {}", name)));
    if (*number > k_size_max / *scale)
        return refuse(is_bad_xml(fmt::format("the value of element {} is too large", name)));
    return *number * *scale;
}

// The mode, or `otherwise`. Owners would have to be given to files, which this process has no right for; -1 is nobody's.
Answer<unsigned> read_permissions(const xmlNode* target, unsigned otherwise) {
    const xmlNode* const permissions = target == nullptr ? nullptr : first_child(target, "permissions");
    if (permissions == nullptr) return otherwise;
    const xmlNode* const mode = first_child(permissions, "mode");
    if (mode == nullptr) return otherwise;
    const auto number = read_number<unsigned>(trim(text_of(mode)), 8);
    if (!number || (*number & ~0777U) != 0) return refuse(is_bad_xml("malformed octal mode"));
    return *number;
}

Answer<xml::XmlDocument> parse(std::string_view text, std::string_view root) {
    auto document = xml::XmlDocument::parse(text);
    if (!document)
        return refuse(is_bad_xml(fmt::format("the document is refused: {}", document.error().text)));
    if (name_of(document->root()) != root)
        return refuse(is_bad_xml(fmt::format("unexpected root element <{}>, expecting <{}>",
                                             escape(name_of(document->root()), 64), root)));
    return std::move(*document);
}

Answer<std::string> read_name(const xmlNode* root) {
    const xmlNode* const element = first_child(root, "name");
    std::string name = element == nullptr ? std::string() : text_of(element);
    if (const auto flaw = flaw_of_name(name); !flaw.empty()) return refuse(is_bad_xml(std::string(flaw)));
    return name;
}

std::string text_at(const xmlNode* parent, std::string_view name) {
    const xmlNode* const element = parent == nullptr ? nullptr : first_child(parent, name);
    return element == nullptr ? std::string() : trim(text_of(element));
}

std::string write_permissions(std::string_view indent, unsigned mode, uid_t uid, gid_t gid) {
    return fmt::format(
        "{0}<permissions>\n{0}  <mode>0{1:o}</mode>\n{0}  <owner>{2}</owner>\n{0}  <group>{3}</group>\n"
        "{0}</permissions>\n",
        indent, mode, uid, gid);
}

std::string write_time(std::string_view name, const timespec& time) {
    return fmt::format("      <{0}>{1}.{2:09}</{0}>\n", name, static_cast<long long>(time.tv_sec),
                       static_cast<long>(time.tv_nsec));
}

}  // namespace

std::optional<Uuid> read_uuid(std::string_view text) noexcept {
    std::string digits;
    for (const char c : text)
        if (c != '-') digits += c;
    Uuid uuid{};
    if (digits.size() != 2 * uuid.size()) return std::nullopt;
    for (std::size_t i = 0; i < uuid.size(); ++i) {
        const auto byte = read_number<unsigned char>(std::string_view(digits).substr(2 * i, 2), 16);
        if (!byte) return std::nullopt;
        uuid.at(i) = static_cast<std::byte>(*byte);
    }
    return uuid;
}

std::string escape_xml(std::string_view text) {
    std::string escaped;
    for (const char c : text) {
        switch (c) {
            case '&': escaped += "&amp;"; break;
            case '<': escaped += "&lt;"; break;
            case '>': escaped += "&gt;"; break;
            case '\'': escaped += "&apos;"; break;
            case '"': escaped += "&quot;"; break;
            default: escaped += c;
        }
    }
    return escaped;
}

Answer<PoolDescription> read_pool(std::string_view text) {
    const auto document = parse(text, "pool");
    if (!document) return refuse(document.error());
    const xmlNode* const root = document->root();
    if (const std::string type = value_of(root, "type"); type != "dir")
        return refuse(
            is_not_offered(fmt::format("the store has pools of type 'dir', not '{}'", escape(type, 64))));
    if (const xmlNode* const source = first_child(root, "source");
        source != nullptr && first_child(source) != nullptr)
        return refuse(is_not_offered("a pool of the store has no source"));
    PoolDescription pool;
    auto name = read_name(root);
    if (!name) return refuse(name.error());
    pool.name = std::move(*name);
    if (const std::string uuid = text_at(root, "uuid"); !uuid.empty()) {
        pool.uuid = read_uuid(uuid);
        if (!pool.uuid) return refuse(is_bad_xml("malformed uuid element"));
    }
    const xmlNode* const target = first_child(root, "target");
    pool.path = text_at(target, "path");
    if (pool.path.empty()) return refuse(is_bad_xml("missing storage pool target path"));
    const auto mode = read_permissions(target, pool.mode);
    if (!mode) return refuse(mode.error());
    pool.mode = *mode;
    return pool;
}

Answer<VolumeDescription> read_volume(std::string_view text, bool is_copy) {
    const auto document = parse(text, "volume");
    if (!document) return refuse(document.error());
    const xmlNode* const root = document->root();
    if (const std::string type = value_of(root, "type"); !type.empty() && type != "file")
        return refuse(
            is_not_offered(fmt::format("the store has volumes of type 'file', not '{}'", escape(type, 64))));
    VolumeDescription volume;
    auto name = read_name(root);
    if (!name) return refuse(name.error());
    volume.name = std::move(*name);
    if (volume.name.ends_with(k_partial))
        return refuse(is_bad_xml("the name is that of an interrupted upload"));
    auto capacity = read_size(root, "capacity");
    if (!capacity) return refuse(capacity.error());
    if (!*capacity && !is_copy) return refuse(is_bad_xml("missing capacity element"));
    volume.capacity = capacity->value_or(0);
    auto allocation = read_size(root, "allocation");
    if (!allocation) return refuse(allocation.error());
    volume.allocation = *allocation;
    const xmlNode* const backing = first_child(root, "backingStore");
    if (backing != nullptr && !text_at(backing, "path").empty())
        return refuse(is_not_offered("a volume of the store has no backing store"));
    const xmlNode* const target = first_child(root, "target");
    if (target == nullptr) return volume;
    if (first_child(target, "encryption") != nullptr)
        return refuse(is_not_offered("volumes of the store are not encrypted"));
    if (const xmlNode* const format = first_child(target, "format"); format != nullptr) {
        const std::string type = value_of(format, "type");
        if (type == "qcow2")
            volume.format = Format::qcow2;
        else if (!type.empty() && type != "raw")
            return refuse(is_not_offered(
                fmt::format("the store has the formats raw and qcow2, not '{}'", escape(type, 64))));
    }
    if (const std::string compat = text_at(target, "compat");
        volume.format == Format::qcow2 && !compat.empty() && compat != "1.1")
        return refuse(is_not_offered("images of the store have compat 1.1"));
    const auto mode = read_permissions(target, volume.mode);
    if (!mode) return refuse(mode.error());
    volume.mode = *mode;
    return volume;
}

std::string write_pool(const PoolFacts& pool) {
    return fmt::format(
        "<pool type='dir'>\n  <name>{}</name>\n  <uuid>{}</uuid>\n"
        "  <capacity unit='bytes'>{}</capacity>\n  <allocation unit='bytes'>{}</allocation>\n"
        "  <available unit='bytes'>{}</available>\n  <source>\n  </source>\n  <target>\n"
        "    <path>{}</path>\n{}  </target>\n</pool>\n",
        escape_xml(pool.name), to_text(pool.uuid), pool.space.capacity, pool.space.allocation,
        pool.space.available, escape_xml(pool.path),
        write_permissions("    ", pool.mode, pool.uid, pool.gid));
}

std::string write_volume(const Volume& volume, std::string_view path) {
    const std::string file = escape_xml(fmt::format("{}/{}", path, volume.name));
    std::string text = fmt::format(
        "<volume type='file'>\n  <name>{}</name>\n  <key>{}</key>\n"
        "  <capacity unit='bytes'>{}</capacity>\n  <allocation unit='bytes'>{}</allocation>\n"
        "  <physical unit='bytes'>{}</physical>\n  <target>\n    <path>{}</path>\n    <format type='{}'/>\n",
        escape_xml(volume.name), file, volume.capacity, volume.allocation, volume.physical, file,
        to_text(volume.format));
    text += write_permissions("    ", volume.mode, volume.uid, volume.gid);
    text += "    <timestamps>\n" + write_time("atime", volume.read) + write_time("mtime", volume.written) +
            write_time("ctime", volume.changed) + "    </timestamps>\n";
    if (!volume.compat.empty()) text += fmt::format("    <compat>{}</compat>\n", volume.compat);
    return text + "  </target>\n</volume>\n";
}

}  // namespace virtgate::workerd::store
