// SPDX-License-Identifier: LGPL-2.1-or-later
// install - puts a server's certificate where virtgate-netd looks for it.
#include "ctl/pki/install.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <tuple>

#include "ctl/files.h"
#include "ctl/pki/places.h"

namespace virtgate::ctl::pki {

namespace {

constexpr mode_t k_install_mode = 0755;

// True if `path` has exactly this content, owner and mode.
bool is_there(const std::string& path, std::string_view text, const struct stat& like) {
    struct stat status {};
    if (lstat(path.c_str(), &status) < 0 || !S_ISREG(status.st_mode)) return false;
    if (status.st_uid != like.st_uid || status.st_gid != like.st_gid ||
        (status.st_mode & 07777) != like.st_mode)
        return false;
    const Result<std::string> present = read_file(path);
    return present && *present == text;
}

struct Copy {
    std::string name, text;
    struct stat like {};
};

}  // namespace

Result<std::vector<std::string>> install_server(const Store& store, const std::string& name,
                                                const InstallOrder& order) {
    const Files files = files_in(store.bundle_path(Kind::server, name), Kind::server);
    struct stat everybody {};
    everybody.st_uid = geteuid();
    everybody.st_gid = getegid();
    everybody.st_mode = k_certificate_mode;
    struct stat secret = everybody;
    secret.st_mode = k_key_mode;
    if (order.owner) std::tie(secret.st_uid, secret.st_gid) = *order.owner;
    // The authority first: what is in its name can be judged then.
    std::vector<std::pair<std::string, struct stat>> wanted{
        {files.ca, everybody}, {files.key, secret}, {files.certificate, everybody}};
    if (exists(store.crl_path())) wanted.emplace_back(store.crl_path(), everybody);
    std::vector<Copy> copies;
    for (const auto& [path, like] : wanted) {
        Result<std::string> text = read_file(path);
        if (!text) return tl::make_unexpected(text.error());
        copies.push_back({path.substr(path.rfind('/') + 1), std::move(*text), like});
    }
    const std::string authority = order.directory + "/" + copies.front().name;
    if (const Result<std::string> present = read_file(authority);
        present && *present != copies.front().text && !order.replace)
        return system_fault(EEXIST,
                            fmt::format("{} is another authority's: --replace takes its place, and then "
                                        "clients need certificates of the new one",
                                        authority));
    if (Done done = make_directory(order.directory, k_install_mode); !done)
        return tl::make_unexpected(done.error());
    std::vector<std::string> changed;
    for (const Copy& copy : copies) {
        std::string path = order.directory + "/" + copy.name;
        if (is_there(path, copy.text, copy.like)) continue;
        if (Done done = replace_file(path, copy.text, copy.like); !done)
            return tl::make_unexpected(done.error());
        changed.push_back(std::move(path));
    }
    if (Done done = sync_directory(order.directory); !done) return tl::make_unexpected(done.error());
    return changed;
}

}  // namespace virtgate::ctl::pki
