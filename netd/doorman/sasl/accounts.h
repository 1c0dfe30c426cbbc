// SPDX-License-Identifier: LGPL-2.1-or-later
// accounts - what libsasl2 gets to check a user's password with.
//
// A plugin of libsasl2 (an "auxprop" plugin) inside this program. It reads the file of "virtgate passwd"
// anew for each question, so that a change of it works at once. A user whom nobody knows gets a decoy
// instead: verifiers that look like everybody's, with a salt that stays the same, and that no password
// fits. So the mechanism does for a stranger exactly what it does for somebody with a wrong password, fails
// in the same step and after the same work. With a database of Cyrus SASL it comes after that database's
// own plugin, and supplies a random password where that has found none.
//
// Trust:  names and passwords are the client's. The file is the administrator's.
// Limits: one per process; the file has at most userdb::k_file_max bytes.
// Owns:   nothing but its settings; secrets are wiped when libsasl2 has its copy.
#pragma once

#include <sasl/sasl.h>
#include <sasl/saslplug.h>

#include <string>

#include "libshared/base/log.h"
#include "libshared/userdb/users.h"

namespace virtgate::netd::doorman::sasl {

class Accounts {
public:
    static constexpr char k_plugin[] = "virtgate";

    // What the last question was about; for logs only.
    enum class Last : unsigned char { none, known, unknown };

    // `path`: of the file, empty if there is none. `realm`: what libsasl2 appends to names, empty if nothing.
    // `digest_realm`: what DIGEST-MD5 shows to clients. `cyrus`: a database of Cyrus SASL is asked first.
    Accounts(std::string path, std::string realm, std::string digest_realm, bool cyrus);

    // Registers the plugin; after sasl_server_init(), once. `this` has to stay where it is.
    Done register_plugin();

    // Can the file be read now? Error: says why not.
    [[nodiscard]] Done check_file() const;

    // Does `password` belong to `user`? As slow for one whom nobody knows.
    bool check_password(std::string_view user, std::string_view password);

    [[nodiscard]] Last last() const noexcept { return last_; }
    [[nodiscard]] const std::string& last_name() const noexcept { return last_name_; }

private:
    static int on_lookup(void* self, sasl_server_params_t* parameters, unsigned flags, const char* user,
                         unsigned size) noexcept;
    static int on_init(const sasl_utils_t* utils, int max_version, int* out_version,
                       sasl_auxprop_plug_t** plugin, const char* name) noexcept;
    int look_up(sasl_server_params_t& parameters, unsigned flags, std::string_view user);
    [[nodiscard]] userdb::Found find(std::string_view user);
    [[nodiscard]] Result<std::string> read_text() const;
    // The value of `property` for `found`, or empty if there is none of that name.
    [[nodiscard]] std::string value_of(std::string_view property, std::string_view mechanism,
                                       const userdb::Found& found) const;
    [[nodiscard]] std::string_view strip_realm(std::string_view user) const noexcept;

    std::string path_, realm_, digest_realm_;
    bool cyrus_;
    // For decoys when there is no file to take it from.
    userdb::Preamble preamble_;
    Last last_ = Last::none;
    std::string last_name_;
    Log log_;
    sasl_auxprop_plug_t plugin_{};
};

}  // namespace virtgate::netd::doorman::sasl
