// SPDX-License-Identifier: LGPL-2.1-or-later
// xml_host - what a document of libvirt's says about the host.
#include "workerd/worker/xml_host.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>

#include "libshared/base/bytes.h"

namespace virtgate::workerd::worker {

using namespace xml;

namespace {

using policy::XmlFacts;

template <class Range>
bool is_one_of(std::string_view word, const Range& words) noexcept {
    return std::find(std::begin(words), std::end(words), word) != std::end(words);
}
bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) noexcept {
    return std::find(words.begin(), words.end(), word) != words.end();
}

bool is_blank(std::string_view text) noexcept { return text.find_first_not_of(" \t\r\n") == text.npos; }

bool has_control(std::string_view text) noexcept {
    return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

std::string_view parent_name(const xmlNode* element) noexcept {
    const xmlNode* parent = parent_of(element);
    return parent == nullptr ? std::string_view() : name_of(parent);
}

// The description of a machine, a network and so on: the document, or a machine in that of a snapshot or a cookie.
bool is_object(const xmlNode* element) noexcept {
    const xmlNode* parent = parent_of(element);
    return parent == nullptr ||
           (parent_of(parent) == nullptr && is_one_of(name_of(element), {"domain", "inactiveDomain"}));
}

bool is_plain(const xmlNode* element) noexcept { return element->ns == nullptr; }

// ---- what is no path of the host ----------------------------------------

// True for texts that may begin with a slash and are nothing that libvirt opens.
bool is_prose(const xmlNode* element) noexcept {
    const xmlNode* parent = parent_of(element);
    if (parent == nullptr || !is_plain(element)) return false;
    const std::string_view name = name_of(element), around = name_of(parent);
    // For people. Below other elements "name" may be anything.
    if (is_object(parent) && is_one_of(name, {"name", "title", "description"})) return true;
    // What the guest's kernel is told.
    if (around == "os" && name == "cmdline") return true;
    // A group of processes, in a tree of its own.
    if (around == "resource" && name == "partition") return true;
    // Measurements and certificates in Base64.
    return around == "launchSecurity";
}

bool is_foreign_path(const xmlNode* element, std::string_view attribute) {
    const std::string_view name = name_of(element), around = parent_name(element);
    // A name on the server that the disk is on.
    if (name == "source" && attribute == "name" && has_attribute(element, "protocol")) return true;
    // A name on the server that guests start from.
    if (around == "dhcp" && name == "bootp" && attribute == "file") return true;
    // libvirt says which terminal it has opened; it opens another next time, whatever it is told.
    if (name == "source" && attribute == "path" && parent_of(element) != nullptr)
        return value_of(parent_of(element), "type") == "pty";
    return attribute == "tty" && value_of(element, "type") == "pty";
}

// ---- what is always a path ----------------------------------------

constexpr std::array<std::string_view, 14> k_path_attributes{
    "file",  "dir",        "path",  "socket",  "template",  "logFile", "tap",
    "vhost", "rendernode", "evdev", "keyfile", "agentsock", "xauth",   "root"};

constexpr std::array<std::string_view, 10> k_path_elements{
    "kernel", "initrd", "dtb", "shim", "loader", "nvram", "emulator", "bootloader", "path", "database"};

// "dev" is a name of an interface in one place and a file in the other.
bool is_device_file(const xmlNode* element) {
    const std::string_view name = name_of(element), around = parent_name(element);
    if (around == "interface") return name == "source" && value_of(parent_of(element), "type") == "vdpa";
    if (is_one_of(name, {"source", "scratch"})) return true;
    const xmlNode* lists = parent_of(element) == nullptr ? nullptr : parent_of(parent_of(element));
    // Of a backup, a target is where it goes to; elsewhere, what the guest sees.
    return name == "target" && around == "disk" && lists != nullptr && parent_name(lists) == "domainbackup";
}

bool must_be_path(const xmlNode* element, std::string_view attribute) {
    if (is_one_of(attribute, k_path_attributes)) return true;
    if (attribute == "dev") return is_device_file(element);
    return name_of(element) == "source" && is_one_of(attribute, {"master", "slave"});
}

bool must_be_path(const xmlNode* element) {
    const std::string_view name = name_of(element), around = parent_name(element);
    return is_one_of(name, k_path_elements) || (around == "acpi" && name == "table") ||
           (around == "rng" && name == "backend" && value_of(element, "model") == "random");
}

bool is_program(const xmlNode* element) noexcept {
    return is_one_of(name_of(element), {"emulator", "bootloader"});
}
bool is_program(const xmlNode* element, std::string_view attribute) noexcept {
    return attribute == "path" && is_one_of(name_of(element), {"script", "downscript", "binary"});
}

// ---- reading ----------------------------------------

class HostReader {
public:
    HostReader(Images images, XmlFacts& facts) : images_(images), facts_(facts) {}

    // Recursion is as deep as the document, which has a limit.
    void visit(const xmlNode* element) {
        add_names(element);
        if (is_plain(element) && name_of(element) == "metadata" && parent_of(element) != nullptr &&
            is_object(parent_of(element)))
            return;
        if (element->ns != nullptr)
            power("<{}> is of another namespace than libvirt's own", name_of(element));
        for (const xmlAttr* attribute = element->properties; attribute != nullptr;
             attribute = attribute->next)
            read_attribute(element, attribute);
        read_text(element);
        find_power(element);
        for (const xmlNode* child = first_child(element); child != nullptr; child = next_sibling(child))
            visit(child);
    }

private:
    template <class... Words>
    void flaw(fmt::format_string<Words...> format, Words&&... words) {
        if (facts_.flaw.empty()) facts_.flaw = fmt::format(format, std::forward<Words>(words)...);
    }
    template <class... Words>
    void power(fmt::format_string<Words...> format, Words&&... words) {
        if (facts_.power.empty()) facts_.power = fmt::format(format, std::forward<Words>(words)...);
    }

    void add_names(const xmlNode* element) {
        const std::string name(name_of(element));
        facts_.elements.push_back(name);
        if (element->ns == nullptr) return;
        for (const std::string_view prefix :
             {prefix_of(element->ns), policy::usual_prefix(namespace_of(element->ns))})
            if (!prefix.empty()) facts_.elements.push_back(std::string(prefix) + ":" + name);
    }

    void read_attribute(const xmlNode* element, const xmlAttr* attribute) {
        const std::string_view name = name_of(attribute);
        std::string value = value_of(attribute);
        // A new line in a value is a new line in the files that libvirt writes for other programs.
        if (has_control(value)) flaw("{}/@{} has a control character in it", name_of(element), name);
        if (attribute->ns != nullptr)
            power("{}/@{} is of another namespace than libvirt's own", name_of(element), name);
        if (is_foreign_path(element, name)) return;
        const bool must = must_be_path(element, name);
        if (must && !value.starts_with('/'))
            power("{}/@{} is no path from the root: {}", name_of(element), name, escape(value, 64));
        if (must || trimmed(value).starts_with('/'))
            facts_.paths.push_back({must ? std::move(value) : trimmed(value), is_program(element, name)});
    }

    void read_text(const xmlNode* element) {
        std::string text = text_of(element);
        if (is_blank(text)) return;
        // libvirt reads what stands in an element together with what stands in the elements in it.
        if (first_child(element) != nullptr) flaw("text stands beside elements in <{}>", name_of(element));
        if (is_prose(element)) return;
        const bool must = must_be_path(element);
        if (must && !text.starts_with('/'))
            power("<{}> is no path from the root: {}", name_of(element), escape(text, 64));
        if (must || trimmed(text).starts_with('/'))
            facts_.paths.push_back({must ? std::move(text) : trimmed(text), is_program(element)});
    }

    static std::string trimmed(std::string_view text) {
        const auto first = text.find_first_not_of(" \t\r\n");
        if (first == text.npos) return {};
        return std::string(text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1));
    }

    // ---- what reaches the host without a path

    void find_power(const xmlNode* element) {
        const std::string_view name = name_of(element);
        if (name == "hostdev") power("<hostdev> is a device of the host");
        if (name == "seclabel") power("<seclabel> changes what the machine's process may do");
        if (name == "shmem") power("<shmem> is memory that processes of the host share");
        // The guest could put links into it, and then name them.
        if (name == "filesystem") power("<filesystem> lets the guest make links to any file");
        if (name == "bootloader_args") power("<bootloader_args> are for a program of the host");
        find_container(element);
        find_device(element);
        find_storage(element);
    }

    // A container has the host's kernel and, but for what it gets of its own, the host's files.
    void find_container(const xmlNode* element) {
        const std::string_view name = name_of(element);
        if ((is_one_of(name, {"domain", "inactiveDomain"}) &&
             is_one_of(value_of(element, "type"), {"lxc", "openvz", "vz", "parallels", "uml"})) ||
            (name == "type" && parent_name(element) == "os" && trimmed(text_of(element)) == "exe"))
            power("a container shares the host's files");
    }

    void find_device(const xmlNode* element) {
        const std::string_view name = name_of(element);
        const std::string type = value_of(element, "type");
        // In itself, not in a machine, it is one of the host.
        if (name == "device" && parent_of(element) == nullptr) power("<device> is a device of the host");
        if (name == "interface" && type == "hostdev")
            power("<interface type='hostdev'> is a device of the host");
        if (name == "forward" && value_of(element, "mode") == "hostdev")
            power("<forward mode='hostdev'> gives away devices of the host");
        if (name == "plug" && type == "hostdev-pci")
            power("<plug type='hostdev-pci'> is a device of the host");
        if (name == "backend" && parent_name(element) == "tpm" && type == "passthrough") {
            const xmlNode* device = first_child(element, "device");
            if (device == nullptr || !has_attribute(device, "path")) power("<tpm> is the host's");
        }
        if (name == "smartcard" && value_of(element, "mode") != "passthrough")
            power("<smartcard> is the host's");
        if (name == "audio" && !is_one_of(type, {"none", "spice", "dbus", "file"}))
            power("<audio type='{}'> is the host's", escape(type, 16));
        if (name == "audio" && type == "file" && !has_attribute(element, "path"))
            power("<audio type='file'> does not say which");
        if (name == "graphics" && is_one_of(type, {"sdl", "desktop"}))
            power("<graphics type='{}'> is the host's", type);
        const xmlNode* gl = name == "graphics" ? first_child(element, "gl") : nullptr;
        if ((name == "graphics" && type == "egl-headless" &&
             (gl == nullptr || !has_attribute(gl, "rendernode"))) ||
            (name == "gl" && value_of(element, "enable") == "yes" && !has_attribute(element, "rendernode")))
            power("<gl> takes any graphics device of the host");
    }

    void find_storage(const xmlNode* element) {
        const std::string_view name = name_of(element);
        const std::string type = value_of(element, "type");
        // Of all other kinds the host's devices are named in other ways, or somebody else decides what is in them,
        // links to any file among them.
        if (name == "pool" && parent_of(element) == nullptr && type != "dir")
            power("<pool type='{}'> is more than a directory", escape(type, 16));
        if (name == "mode" && parent_name(element) == "permissions") find_mode(trimmed(text_of(element)));
        if (name == "source" && (has_attribute(element, "pool") || has_attribute(element, "volume")))
            power("a disk of a pool does not say where it lies");
        if (is_one_of(name, {"disk", "backingStore", "mirror", "dataStore", "nvram"}) && !type.empty() &&
            !is_one_of(type, {"file", "block", "network", "vhostuser", "vhostvdpa"}))
            power("<{} type='{}'> does not name a file", name, escape(type, 16));
        if (is_one_of(name, {"loader", "nvram"}))
            for (const std::string_view attribute : {"format", "templateFormat"})
                if (const std::string format = value_of(element, attribute);
                    !format.empty() && format != "raw")
                    power("a firmware of format {} can name any file of the host", escape(format, 16));
        if (name == "dataStore") check_image(element, format_of(element, "format", "raw"), true);
        if (name == "disk") find_disk(element);
    }

    // Modes beyond those of ordinary files make programs of other users.
    void find_mode(std::string_view mode) {
        unsigned value = 0;
        const auto [end, error] = std::from_chars(mode.data(), mode.data() + mode.size(), value, 8);
        if (error != std::errc{} || end != mode.data() + mode.size() || value > 0777)
            power("<mode> {} is more than that of a file", escape(mode, 16));
    }

    void find_disk(const xmlNode* disk) {
        if (is_one_of(value_of(disk, "rawio"), {"yes"}) || value_of(disk, "sgio") == "unfiltered")
            power("<disk> sends the host's devices any command");
        const bool is_new = parent_of(disk) == nullptr || parent_name(disk) == "disks";
        if (is_new && images_ == Images::made) return;
        const xmlNode* parent = parent_of(disk);
        const bool is_backup = parent != nullptr && parent_name(parent) == "domainbackup";
        const bool has_image = first_child(disk, "source") != nullptr ||
                               (is_backup && (first_child(disk, "target") != nullptr ||
                                              first_child(disk, "scratch") != nullptr));
        // libvirt takes a machine's disk for raw, but not a file that is there instead of a new one.
        const std::string_view otherwise = is_new && images_ == Images::reused ? "" : "raw";
        if (has_image) check_image(disk, format_of(disk, "driver", otherwise), false);
    }

    // The format that the child says; `otherwise` if there is no such child, or no format in it; nothing if there are
    // two.
    static std::string format_of(const xmlNode* element, std::string_view child, std::string_view otherwise) {
        const xmlNode* found = first_child(element, child);
        if (found == nullptr) return std::string(otherwise);
        if (next_sibling(found, child) != nullptr) return {};
        const std::string format = value_of(found, "type");
        return format.empty() ? std::string(otherwise) : format;
    }

    // The header of an image may name another file below it, and libvirt goes there unless it is told what is below.
    void check_image(const xmlNode* image, std::string format, bool must_be_raw) {
        while (!is_one_of(format, {"raw", "luks"})) {
            if (must_be_raw || !is_one_of(format, {"qcow2", "qcow", "qed"}))
                return power("an image of format {} can name any file of the host",
                             format.empty() ? "that is not given" : escape(format, 16));
            const xmlNode* below = first_child(image, "backingStore");
            if (below == nullptr || next_sibling(below, "backingStore") != nullptr)
                return power("without <backingStore/> at its end an image can name any file of the host");
            if (!has_attribute(below, "type") && first_child(below) == nullptr) return;
            format = format_of(below, "format", "");
            image = below;
        }
    }

    const Images images_;
    XmlFacts& facts_;
};

}  // namespace

void add_host_facts(const XmlDocument& document, Images images, XmlFacts& facts) {
    HostReader(images, facts).visit(document.root());
    auto& names = facts.elements;
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
}

}  // namespace virtgate::workerd::worker
