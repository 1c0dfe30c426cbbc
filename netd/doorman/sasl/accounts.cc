// SPDX-License-Identifier: LGPL-2.1-or-later
// accounts - what libsasl2 gets to check a user's password with.
#include "netd/doorman/sasl/accounts.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "libshared/base/fd.h"
#include "libshared/base/path_fault.h"
#include "libshared/spawn/self.h"
#include "netd/doorman/sasl/mechanisms.h"

namespace virtgate::netd::doorman::sasl {

namespace {

// libsasl2 gives its plugins no context when they are made.
Accounts* g_accounts = nullptr;

// A property's name has a "*" in front when it belongs to the one who logs in, not to the one he wants to be.
constexpr std::string_view k_verifier = "*authPassword";
constexpr std::string_view k_digest_secret = "*cmusaslsecretDIGEST-MD5";
constexpr std::string_view k_password = "*userPassword";

std::string_view mechanism_in_use(sasl_conn_t* connection) noexcept {
    const void* name = nullptr;
    if (sasl_getprop(connection, SASL_MECHNAME, &name) != SASL_OK || name == nullptr) return {};
    return static_cast<const char*>(name);
}

std::string random_text() { return userdb::to_base64(userdb::random_bytes(24)); }

}  // namespace

Accounts::Accounts(std::string path, std::string realm, std::string digest_realm, bool cyrus)
    : path_(std::move(path)),
      realm_(std::move(realm)),
      digest_realm_(std::move(digest_realm)),
      cyrus_(cyrus),
      preamble_(userdb::make_preamble()) {}

Done Accounts::register_plugin() {
    g_accounts = this;
    plugin_.glob_context = this;
    plugin_.auxprop_lookup = &Accounts::on_lookup;
    plugin_.name = const_cast<char*>(k_plugin);  // libsasl2 does not write to it
    const int status = sasl_auxprop_add_plugin(k_plugin, &Accounts::on_init);
    if (status != SASL_OK)
        return system_fault(
            0, fmt::format("libsasl2 does not take our users: {}", sasl_errstring(status, nullptr, nullptr)));
    return {};
}

int Accounts::on_init(const sasl_utils_t*, int max_version, int* out_version, sasl_auxprop_plug_t** plugin,
                      const char*) noexcept {
    if (max_version < SASL_AUXPROP_PLUG_VERSION) return SASL_BADVERS;
    *out_version = SASL_AUXPROP_PLUG_VERSION;
    *plugin = &g_accounts->plugin_;
    return SASL_OK;
}

int Accounts::on_lookup(void* self, sasl_server_params_t* parameters, unsigned flags, const char* user,
                        unsigned size) noexcept {
    try {
        return static_cast<Accounts*>(self)->look_up(*parameters, flags, {user, size});
    } catch (...) {
        return SASL_NOMEM;
    }
}

Result<std::string> Accounts::read_text() const {
    const UniqueFd file{open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)};
    struct stat status {};
    if (!file || fstat(file.get(), &status) < 0)
        return system_fault(errno, fmt::format("cannot read {}", path_));
    if (!S_ISREG(status.st_mode)) return system_fault(0, fmt::format("{} is no regular file", path_));
    // In this process's namespace of users nobody sees whose it is: that was judged at the start. The mode can be seen.
    status.st_uid = 0;
    if (auto done = check_owner(status, path_, Secrecy::shared); !done)
        return tl::make_unexpected(std::move(done.error()));
    auto bytes = spawn::read_file(file.get(), userdb::k_file_max);
    if (!bytes) return wrap(std::move(bytes.error()), path_);
    std::string text{as_text(*bytes)};
    userdb::wipe(*bytes);
    return text;
}

Done Accounts::check_file() const {
    // By the name, before this process confines itself: later it can only read.
    struct stat facts {};
    if (stat(path_.c_str(), &facts) < 0) return path_fault(errno, "cannot read the users in", path_);
    auto text = read_text();
    if (!text) return tl::make_unexpected(std::move(text.error()));
    auto users = userdb::Users::parse(*text);
    userdb::wipe(*text);
    if (!users) return wrap(std::move(users.error()), path_);
    return {};
}

std::string_view Accounts::strip_realm(std::string_view user) const noexcept {
    const std::size_t at = user.rfind('@');
    const bool ours = !realm_.empty() && at != std::string_view::npos && user.substr(at + 1) == realm_;
    return ours ? user.substr(0, at) : user;
}

// What cannot be read or understood counts as "nobody": for the client that is like any other failure.
userdb::Found Accounts::find(std::string_view user) {
    const std::string_view name = strip_realm(user);
    last_name_ = user;
    last_ = Last::unknown;
    userdb::Found nobody{preamble_, {}};
    if (path_.empty()) return nobody;
    auto text = read_text();
    if (!text) {
        log_.error("{}", text.error().text);
        return nobody;
    }
    // A name that cannot be in the file is looked for under one that is not.
    auto found = userdb::look_up(*text, userdb::check_name(name) ? name : std::string_view{"-"});
    userdb::wipe(*text);
    if (!found) {
        log_.error("{}: {}", path_, found.error().text);
        return nobody;
    }
    if (found->user) last_ = Last::known;
    return std::move(*found);
}

std::string Accounts::value_of(std::string_view property, std::string_view mechanism,
                               const userdb::Found& found) const {
    if (cyrus_) return property == k_password ? random_text() : std::string{};
    if (property == k_verifier) {
        const Mechanism* wanted = find_mechanism(mechanism);
        if (wanted == nullptr || !wanted->hash) return {};
        const userdb::Verifier* stored = found.user ? found.user->find(*wanted->hash) : nullptr;
        if (stored != nullptr) return userdb::to_text(*stored);
        // Also for a user who has no verifier of this kind: he is not to be told from a stranger.
        return userdb::to_text(userdb::make_decoy(*wanted->hash, found.preamble.key, strip_realm(last_name_),
                                                  found.preamble.iterations));
    }
    if (property == k_digest_secret) {
        const auto stored = found.user ? found.user->digest : std::nullopt;
        if (stored && stored->realm == digest_realm_) return std::string{as_text(stored->secret)};
        return std::string{as_text(userdb::random_bytes(stored ? stored->secret.size() : 16))};
    }
    return {};
}

int Accounts::look_up(sasl_server_params_t& parameters, unsigned flags, std::string_view user) {
    // Nothing is known about the one whom somebody wants to be, since he can only be himself.
    if ((flags & SASL_AUXPROP_AUTHZID) != 0) return SASL_OK;
    const sasl_utils_t& utils = *parameters.utils;
    const propval* wanted = utils.prop_get(parameters.propctx);
    if (wanted == nullptr) return SASL_NOMEM;
    const std::string_view mechanism = mechanism_in_use(utils.conn);
    std::optional<userdb::Found> found;
    for (; wanted->name != nullptr; ++wanted) {
        const std::string_view property = wanted->name;
        if (property != k_verifier && property != k_digest_secret && property != k_password) continue;
        if (wanted->values != nullptr && wanted->values[0] != nullptr) {  // Cyrus' database has it
            last_name_ = user;
            last_ = Last::known;
            continue;
        }
        if (!found) found = find(user);
        std::string value = value_of(property, mechanism, *found);
        if (value.empty()) continue;
        const int status =
            utils.prop_set(parameters.propctx, wanted->name, value.data(), static_cast<int>(value.size()));
        userdb::wipe(value);
        if (status != SASL_OK) return status;
    }
    return SASL_OK;
}

bool Accounts::check_password(std::string_view user, std::string_view password) {
    const userdb::Found found = find(user);
    const userdb::Verifier* stored = nullptr;
    if (found.user) stored = found.user->find(userdb::Hash::sha256);
    if (found.user && stored == nullptr) stored = &found.user->verifiers.front();
    const userdb::Verifier decoy = userdb::make_decoy(userdb::Hash::sha256, found.preamble.key,
                                                      strip_realm(user), found.preamble.iterations);
    const auto good = userdb::fits(stored != nullptr ? *stored : decoy, password);
    if (!good) log_.error("{}", good.error().text);
    return good && *good && stored != nullptr;
}

}  // namespace virtgate::netd::doorman::sasl
