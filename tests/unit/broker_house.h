// SPDX-License-Identifier: LGPL-2.1-or-later
// broker_house - what the tests of the broker share: clients, scripts in place of programs, and what was logged.
#pragma once

#include <string>
#include <string_view>

#include "libshared/base/bytes.h"
#include "proto/policy.h"
#include "proto/who.h"

namespace virtgate::test {

// Keeps what is logged from now on; and whether a line with `part` in it is among that.
void catch_logs();
[[nodiscard]] bool logged(std::string_view part);

// A temporary directory.
class Directory {
public:
    Directory();
    ~Directory();
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;
    [[nodiscard]] std::string operator/(std::string_view name) const {
        return std::string(path_) + "/" + std::string(name);
    }
    // Makes an executable shell script `name` of `text`. Returns its path.
    [[nodiscard]] std::string script(std::string_view name, std::string_view text) const;
    [[nodiscard]] std::string path() const { return path_; }

private:
    char path_[32] = "/tmp/virtgate-broker-XXXXXX";
};

// The id of the certificate of `name`; its serial number is the length of the name.
[[nodiscard]] proto::who::CertificateId certificate_id(std::string_view name);
// A client over TLS whose certificate says CN=`name`. It comes from "the CA".
[[nodiscard]] proto::who::Who client(std::string_view name);

// The rights of an identity that may do nothing, as the policy of `generation` has them.
[[nodiscard]] proto::policy::IdentityRights rights_of(std::string_view identity,
                                                      std::uint64_t generation = 1);

// True if the other end of `fd` was closed and nothing waits to be read.
[[nodiscard]] bool is_closed(int fd);

}  // namespace virtgate::test
