// SPDX-License-Identifier: LGPL-2.1-or-later
// filter_errors - what libvirt says of an object that does not exist, word for word.
#include "workerd/worker/filter_errors.h"

#include <strings.h>

#include <fmt/format.h>

#include <string_view>

#include "libshared/base/bytes.h"

namespace virtgate::workerd::worker {

namespace {

constexpr std::size_t k_detail_max = 1023;  // libvirt formats the detail into a buffer of 1024 bytes
constexpr int k_test_domain = 12;           // VIR_FROM_TEST: the test driver says everything itself

// By Shape: the error's code, the domain of the driver that serves it beside qemu, and the words for it.
struct Words {
    int code;
    int domain;
    std::string_view title;
    std::string_view thing;
};
// Ports, snapshots and checkpoints are missed as what they belong to, which is looked for first.
constexpr Words k_words[] = {
    {42, 10, "Domain not found", "domain"},
    {43, 19, "Network not found", "network"},
    {49, 18, "Storage pool not found", "storage pool"},
    {50, 18, "Storage volume not found", "storage vol"},
    {66, 30, "Secret not found", "secret"},
    {53, 22, "Node device not found", "node device"},
    {57, 26, "Interface not found", "interface"},
    {62, 33, "Network filter not found", "nwfilter"},
    {101, 33, "Network filter binding not found", "nwfilter binding"},
    {43, 19, "Network not found", "network"},
    {42, 10, "Domain not found", "domain"},
    {42, 10, "Domain not found", "domain"},
};

const Words& words_of(Shape shape) noexcept { return k_words[static_cast<std::size_t>(shape)]; }

int domain_of(Driver driver, Shape shape) noexcept {
    constexpr int k_lxc_domain = 17;
    if (driver == Driver::test) return k_test_domain;
    const bool is_domain = kind_of(shape) == policy::ObjectKind::domain;
    return driver == Driver::lxc && is_domain ? k_lxc_domain : words_of(shape).domain;
}

// An error as libvirt fills it in: the template, its argument, and both together.
proto::net::Error error_of(Driver driver, Shape shape, std::string detail) {
    const Words& words = words_of(shape);
    proto::net::Error error;
    error.code = words.code;
    error.domain = domain_of(driver, shape);
    error.level = 2;
    error.int1 = error.int2 = -1;
    if (detail.empty()) {
        error.message = error.str1 = std::string(words.title);
        return error;
    }
    if (detail.size() > k_detail_max) detail.resize(k_detail_max);
    error.message = std::string(words.title) + ": " + detail;
    error.str1 = std::string(words.title) + ": %s";
    error.str2 = std::move(detail);
    return error;
}

// What libvirt makes of a path before it searches: slashes are not repeated (two at the start mean something
// of their own) and do not end it. What looks like a URL is left alone.
std::string tidy_path(std::string_view path) {
    if (path.find("://") != std::string_view::npos) return std::string(path);
    std::string tidy;
    std::size_t from = 0;
    if (path.starts_with("//") && !path.starts_with("///")) {
        tidy = "//";
        from = 2;
    }
    for (; from < path.size(); ++from)
        if (path[from] != '/' || tidy.empty() || tidy.back() != '/') tidy += path[from];
    if (tidy.size() > 1 && tidy.back() == '/' && tidy != "//") tidy.pop_back();
    return tidy;
}

std::string matching(std::string_view thing, std::string_view what, std::string_view text) {
    return fmt::format("no {} with matching {} '{}'", thing, what, text);
}

std::string by_path(std::string_view thing, std::string_view what, std::string_view path, bool tidies) {
    const std::string tidy = tidies ? tidy_path(path) : std::string(path);
    return tidy == path ? matching(thing, what, path) : matching(thing, what, path) + " (" + tidy + ")";
}

// The daemon fails without having set an error.
proto::net::Error unset_error() {
    proto::net::Error error;
    error.code = 1;
    error.level = 2;
    error.message = "An error occurred, but the cause is unknown";
    return error;
}

}  // namespace

Driver driver_of(std::string_view type) noexcept {
    const auto is = [&](std::string_view word) {
        return type.size() == word.size() && strncasecmp(type.data(), word.data(), word.size()) == 0;
    };
    return is("test") ? Driver::test : is("lxc") ? Driver::lxc : Driver::qemu;
}

proto::net::Error not_found(Driver driver, Shape shape, By by, std::string_view text) {
    const std::string_view thing = words_of(shape).thing;
    const bool test = driver == Driver::test;
    const auto error = [&](std::string detail) { return error_of(driver, shape, std::move(detail)); };
    // The test driver's look-ups of domains say no more than the code.
    if (shape == Shape::domain && test) return error("");
    if (shape == Shape::domain && driver == Driver::lxc)
        return error(by == By::id ? fmt::format("No domain with matching id {}", text)
                                  : fmt::format("No domain with matching {} '{}'",
                                                by == By::uuid ? "uuid" : "name", text));
    switch (by) {
        case By::id: return error(fmt::format("no {} with matching id {}", thing, text));
        case By::uuid: return error(matching(thing, "uuid", text));
        case By::name:
            if (shape == Shape::interface && !test)
                return error(fmt::format("couldn't find interface named '{}'", text));
            return error(matching(thing, "name", text));
        case By::key:
            return error(test ? matching(thing, "key", text)
                              : fmt::format("no {} with matching key {}", thing, text));
        case By::path: return error(by_path(thing, "path", text, !test));
        case By::target_path: return error(by_path(thing, "target path", text, true));
        case By::mac:
            return error(test ? matching(thing, "mac", text)
                              : fmt::format("couldn't find interface with MAC address '{}'", text));
        case By::usage: return error(matching(thing, "usage", text));
        // The daemon finds none and forgets to say so.
        case By::wwn: return unset_error();
        case By::port_device: return error(fmt::format("no nwfilter binding for port dev '{}'", text));
    }
    return unset_error();
}

proto::net::Error not_there(Driver driver, Shape shape, const Named& named, bool has_pool) {
    const std::string_view thing = words_of(shape).thing;
    const std::string uuid = named.object.uuid ? to_text(*named.object.uuid) : std::string();
    switch (shape) {
        case Shape::network:
        case Shape::port:
        case Shape::pool:
            if (driver == Driver::test)
                return error_of(driver, shape, matching(thing, "name", named.object.name));
            [[fallthrough]];
        case Shape::domain:
        case Shape::snapshot:
        case Shape::checkpoint:
            return error_of(
                driver, shape,
                fmt::format("no {} with matching uuid '{}' ({})", thing, uuid, named.object.name));
        // A volume's own key does not matter; its pool is looked for by name.
        case Shape::volume:
            return has_pool ? not_found(driver, shape, By::name, named.own_name)
                            : not_found(driver, Shape::pool, By::name, named.pool);
        case Shape::secret:
        case Shape::nwfilter: return not_found(driver, shape, By::uuid, uuid);
        case Shape::binding: return not_found(driver, shape, By::port_device, named.detail);
        case Shape::nodedev:
        case Shape::interface: return not_found(driver, shape, By::name, named.object.name);
    }
    return unset_error();
}

std::string to_text(const policy::Uuid& uuid) {
    std::string hex = to_hex(uuid);
    for (const std::size_t at : {8U, 13U, 18U, 23U}) hex.insert(at, 1, '-');
    return hex;
}

}  // namespace virtgate::workerd::worker
