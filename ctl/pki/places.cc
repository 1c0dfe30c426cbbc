// SPDX-License-Identifier: LGPL-2.1-or-later
// places - where certificates are when nobody says where: ours, and libvirt's.
#include "ctl/pki/places.h"

#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include "config.h"

namespace virtgate::ctl::pki {

namespace {

std::string home() {
    if (const char* path = getenv("HOME"); path != nullptr && *path == '/') return path;
    const passwd* user = getpwuid(geteuid());
    return user != nullptr && user->pw_dir != nullptr ? user->pw_dir : "";
}

}  // namespace

bool exists(const std::string& path) { return !path.empty() && access(path.c_str(), F_OK) == 0; }

std::string default_directory() {
    if (geteuid() == 0) return VIRTGATE_SYSCONFDIR "/pki";
    if (const char* path = getenv("XDG_DATA_HOME"); path != nullptr && *path == '/')
        return fmt::format("{}/virtgate/pki", path);
    const std::string own = home();
    return own.empty() ? "" : own + "/.local/share/virtgate/pki";
}

std::string netd_directory() { return VIRTGATE_SYSCONFDIR "/tls"; }

Files files_in(const std::string& directory, Kind kind) {
    return {.ca = fmt::format("{}/{}", directory, k_authority_file),
            .crl = directory + "/cacrl.pem",
            .certificate = fmt::format("{}/{}", directory, certificate_file(kind)),
            .key = fmt::format("{}/{}", directory, key_file(kind))};
}

Files libvirt_files(Kind kind) {
    Files files{.ca = "/etc/pki/CA/cacert.pem",
                .crl = "/etc/pki/CA/cacrl.pem",
                .certificate = "/etc/pki/libvirt/" + certificate_file(kind),
                .key = "/etc/pki/libvirt/private/" + key_file(kind)};
    const std::string own = home();
    if (geteuid() == 0 || own.empty()) return files;
    const Files users = files_in(own + "/.pki/libvirt", kind);
    if (exists(users.ca)) files.ca = users.ca;
    if (exists(users.crl)) files.crl = users.crl;
    if (exists(users.certificate) && exists(users.key)) {
        files.certificate = users.certificate;
        files.key = users.key;
    }
    return files;
}

}  // namespace virtgate::ctl::pki
