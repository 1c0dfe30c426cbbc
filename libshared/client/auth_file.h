// SPDX-License-Identifier: LGPL-2.1-or-later
// auth_file - libvirt's auth.conf: which user name and password are for which server.
//
//     [credentials-work]            a set of answers under a name
//     authname=alice
//     password=secret
//     [auth-libvirt-host.example]   which of them the service "libvirt" of that host gets
//     credentials=work
//     [auth-libvirt-default]        every other host
//     credentials=work
//
// Trust:  the file is the user's. What it says goes to the server that its section names, and to no other.
// Limits: k_auth_file_max bytes. A line is a section, a key with its value, a comment (#) or empty; a key
//         that is given twice has its last value, and sections of one name are one.
// Owns:   passwords are in memory as long as the AuthFile; wipe() is called at its end.
// Source: the key file format of GLib, of which values without lists, locales and escapes other than \s \t \n
//         \r \\ are used by libvirt.
#pragma once

#include <map>
#include <optional>

#include "libshared/client/failure.h"

namespace virtgate::client {

constexpr std::size_t k_auth_file_max = 1048576;

class AuthFile {
public:
    using Section = std::map<std::string, std::string, std::less<>>;

    // `text` is all of a file. Error: Cause::invalid, with the line.
    [[nodiscard]] static Result<AuthFile> parse(std::string_view text);
    // Error: Cause::system if it cannot be read; otherwise parse()'s, with the path.
    [[nodiscard]] static Result<AuthFile> load(const std::string& path);

    AuthFile() = default;
    AuthFile(AuthFile&&) noexcept = default;
    AuthFile& operator=(AuthFile&&) noexcept = default;
    ~AuthFile() { wipe(); }

    // The credentials for `service` ("libvirt") of `host`, or for its default; null if the file has none.
    // Error: Cause::invalid, if it names credentials that are not there.
    [[nodiscard]] Result<const Section*> find(std::string_view service, std::string_view host) const;

    // The section of that name, or null.
    [[nodiscard]] const Section* section(std::string_view name) const;

private:
    void wipe() noexcept;
    std::map<std::string, Section, std::less<>> sections_;
};

}  // namespace virtgate::client
