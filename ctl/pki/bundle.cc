// SPDX-License-Identifier: LGPL-2.1-or-later
// bundle - the directory with a key, its certificate and the authority's certificate.
#include "ctl/pki/bundle.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "ctl/files.h"
#include "libshared/base/path_fault.h"

namespace virtgate::ctl::pki {

namespace {

// A directory that vanishes unless it was given its place.
class Fresh {
public:
    explicit Fresh(std::string pattern) : path_(std::move(pattern)) {
        made_ = mkdtemp(path_.data()) != nullptr;
    }
    Fresh(const Fresh&) = delete;
    Fresh& operator=(const Fresh&) = delete;
    ~Fresh() {
        std::error_code ignored;
        if (made_) std::filesystem::remove_all(path_, ignored);
    }
    [[nodiscard]] bool made() const noexcept { return made_; }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    void keep() noexcept { made_ = false; }

private:
    std::string path_;
    bool made_ = false;
};

Done fill(const std::string& directory, const Bundle& bundle) {
    const auto path = [&](const std::string& name) { return fmt::format("{}/{}", directory, name); };
    // The key first: from then on the directory is worth something, and not readable by others.
    Done done = write_new_file(path(key_file(bundle.kind)), bundle.key, k_key_mode);
    if (done)
        done = write_new_file(path(certificate_file(bundle.kind)), bundle.certificate, k_certificate_mode);
    if (done) done = write_new_file(path(k_authority_file), bundle.authority, k_certificate_mode);
    return done ? sync_directory(directory) : done;
}

Done rename_with(const std::string& from, const std::string& to, unsigned flags) {
    if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0) return {};
    return path_fault(errno, "cannot make", to);
}

}  // namespace

std::string certificate_file(Kind kind) { return fmt::format("{}cert.pem", name_of(kind)); }
std::string key_file(Kind kind) { return fmt::format("{}key.pem", name_of(kind)); }

Done write_bundle(const std::string& parent, const std::string& name, const Bundle& bundle) {
    if (Done done = make_directory(parent, k_directory_mode); !done) return done;
    Fresh fresh{fmt::format("{}/.new.XXXXXX", parent)};  // short: the name may be as long as a name can be
    if (!fresh.made()) return path_fault(errno, "cannot make a directory in", parent);
    if (Done done = fill(fresh.path(), bundle); !done) return done;
    if (Done done = rename_with(fresh.path(), fmt::format("{}/{}", parent, name), RENAME_NOREPLACE); !done)
        return done;
    fresh.keep();
    return sync_directory(parent);
}

Done exchange_bundle(const std::string& parent, const std::string& name, const Bundle& bundle,
                     const std::string& aside) {
    Fresh fresh{fmt::format("{}/.new.XXXXXX", parent)};
    if (!fresh.made()) return path_fault(errno, "cannot make a directory in", parent);
    if (Done done = fill(fresh.path(), bundle); !done) return done;
    if (Done done = rename_with(fresh.path(), fmt::format("{}/{}", parent, name), RENAME_EXCHANGE); !done)
        return done;
    const std::string old = fresh.path();
    fresh.keep();  // it is the old one now, whatever happens
    if (Done done = sync_directory(parent); !done) return done;
    return move_directory(old, aside);
}

Done move_directory(const std::string& from, const std::string& to) {
    const std::string parent = to.substr(0, to.rfind('/'));
    for (const std::string& path : {parent.substr(0, parent.rfind('/')), parent})
        if (!path.empty())
            if (Done done = make_directory(path, k_directory_mode); !done) return done;
    if (Done done = rename_with(from, to, RENAME_NOREPLACE); !done) return done;
    return sync_directory(parent);
}

void remove_leavings(const std::string& parent) noexcept {
    std::error_code failure;
    std::vector<std::filesystem::path> left;
    for (std::filesystem::directory_iterator entry{parent, failure}, end; !failure && entry != end;
         entry.increment(failure))
        if (entry->path().filename().native().starts_with('.')) left.push_back(entry->path());
    for (const auto& path : left) std::filesystem::remove_all(path, failure);
}

}  // namespace virtgate::ctl::pki
