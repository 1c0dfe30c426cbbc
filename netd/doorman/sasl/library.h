// SPDX-License-Identifier: LGPL-2.1-or-later
// library - libsasl2, loaded once, with all its settings from our configuration.
//
// Every setting that libsasl2 asks for is answered here, so that no file of /etc/sasl2 has a say, and only
// the plugins that the configured mechanisms need are loaded.
//
// Trust:  the configuration is the administrator's. What plugins log may quote a client; it is escaped.
// Limits: one per process, for its whole life.
// Owns:   libsasl2's global state.
#pragma once

#include <sasl/sasl.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "netd/doorman/sasl/accounts.h"
#include "proto/config.h"

namespace virtgate::netd::doorman::sasl {

class Library {
public:
    // Error: system's fault: a mechanism that virtgate does not know or that has nothing to check passwords
    // with, a keytab that cannot be read, or libsasl2 does not start. Changes the environment of the
    // process, for Kerberos.
    static Result<std::unique_ptr<Library>> load(proto::config::SaslConfig config);
    ~Library();
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;

    // Configured and available mechanisms, best first: for clients whose connection is encrypted or local,
    // and for those whose mechanism has to encrypt it.
    [[nodiscard]] const std::vector<std::string>& offered(bool needs_layer) const noexcept {
        return needs_layer ? with_layer_ : below_encryption_;
    }
    [[nodiscard]] const proto::config::SaslConfig& config() const noexcept { return config_; }
    [[nodiscard]] const std::string& host() const noexcept { return host_; }
    [[nodiscard]] const Accounts& accounts() const noexcept { return accounts_; }
    // Bits that a security layer has to have at least: what is configured, and never 0.
    [[nodiscard]] unsigned min_layer() const noexcept;

    // From now on this process serves a client: what libsasl2 complains about is the client's fault.
    void enter_exchange() const noexcept;

private:
    explicit Library(proto::config::SaslConfig config);
    Done start();
    Done find_offers();
    static int on_getopt(void*, const char* plugin, const char* option, const char** value,
                         unsigned* size) noexcept;
    static int on_log(void*, int level, const char* message) noexcept;
    static int on_verify_file(void*, const char* file, sasl_verify_type_t type) noexcept;
    static int on_authorize(sasl_conn_t* connection, void*, const char* requested, unsigned requested_size,
                            const char* authenticated, unsigned authenticated_size, const char* realm,
                            unsigned realm_size, propctx* properties) noexcept;
    static int on_check_password(sasl_conn_t*, void*, const char* user, const char* password, unsigned size,
                                 propctx*) noexcept;
    [[nodiscard]] const char* option(std::string_view name) const noexcept;

    proto::config::SaslConfig config_;
    std::string host_;
    std::string mechanism_list_;
    Accounts accounts_;
    std::array<sasl_callback_t, 7> callbacks_{};
    std::vector<std::string> below_encryption_, with_layer_;
    Log log_{"libsasl2"};
    bool started_ = false;
};

}  // namespace virtgate::netd::doorman::sasl
