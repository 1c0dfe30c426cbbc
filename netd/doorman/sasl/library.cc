// SPDX-License-Identifier: LGPL-2.1-or-later
// library - libsasl2, loaded once, with all its settings from our configuration.
#include "netd/doorman/sasl/library.h"

#include <netdb.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "libshared/base/handle.h"
#include "libshared/base/path_fault.h"
#include "netd/doorman/sasl/ciphers.h"
#include "netd/doorman/sasl/conversation.h"
#include "netd/doorman/sasl/mechanisms.h"

namespace virtgate::netd::doorman::sasl {

namespace {

// libsasl2 asks for "plugin_list" with a context that is not ours, so the callbacks cannot rely on it.
const Library* g_library = nullptr;
bool g_in_exchange = false;

template <class Function>
sasl_callback_ft callback(Function* function) noexcept {
    return reinterpret_cast<sasl_callback_ft>(reinterpret_cast<void (*)()>(function));
}

// The machine's name as its domain's name servers know it, or as it calls itself.
std::string find_canonical_name(const std::string& host) {
    addrinfo hints{};
    hints.ai_flags = AI_CANONNAME;
    addrinfo* found = nullptr;
    if (getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return host;
    const std::unique_ptr<addrinfo, FreeWith<freeaddrinfo>> owner{found};
    const std::string_view name = found->ai_canonname != nullptr ? found->ai_canonname : "";
    return name.find('.') != std::string_view::npos ? std::string{name} : host;
}

// What Kerberos and DIGEST-MD5 call this server: with a domain where one can be found. The other mechanisms
// do not care, and must not wait for name servers.
std::string find_host_name(const std::vector<std::string>& mechanisms) {
    std::array<char, 256> name{};
    std::string host = gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
    const bool matters = std::any_of(mechanisms.begin(), mechanisms.end(),
                                     [](const std::string& each) { return find_mechanism(each)->has_layer; });
    if (matters && host.find('.') == std::string::npos) host = find_canonical_name(host);
    std::transform(host.begin(), host.end(), host.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return host;
}

std::string join(const std::vector<std::string>& words, std::string_view between) {
    std::string text;
    for (const std::string& word : words) {
        if (!text.empty()) text += between;
        text += word;
    }
    return text;
}

// What is wrong with the configuration, before libsasl2 sees it.
Done check(const proto::config::SaslConfig& config) {
    if (config.mechanisms.empty()) return system_fault(0, "no SASL mechanism is configured");
    if (!config.users.empty() && !config.sasldb.empty())
        return system_fault(0,
                            "passwords come from a file of virtgate users or from a sasldb, not from both");
    for (const std::string& name : config.mechanisms) {
        const Mechanism* mechanism = find_mechanism(name);
        if (mechanism == nullptr)
            return system_fault(0, fmt::format("there is no SASL mechanism \"{}\": virtgate knows {}",
                                               escape(name, 32), list_mechanisms()));
        if (mechanism->wants_password && config.users.empty() && config.sasldb.empty())
            return system_fault(0, fmt::format("{} needs a file of users or a sasldb", name));
        struct stat users {};
        if (mechanism->wants_password && !config.users.empty() && stat(config.users.c_str(), &users) == 0)
            if (auto done = check_owner(users, config.users, Secrecy::shared); !done) return done;
        if (name == "GSSAPI" && !config.keytab.empty()) {
            struct stat facts {};
            if (stat(config.keytab.c_str(), &facts) < 0 || access(config.keytab.c_str(), R_OK) < 0)
                return path_fault(errno, "cannot read the keytab", config.keytab);
            if (auto done = check_owner(facts, config.keytab, Secrecy::shared); !done) return done;
        }
    }
    return {};
}

}  // namespace

Result<std::unique_ptr<Library>> Library::load(proto::config::SaslConfig config) {
    if (auto good = check(config); !good) return tl::make_unexpected(std::move(good.error()));
    std::unique_ptr<Library> library{new Library(std::move(config))};
    if (auto done = library->start(); !done) return tl::make_unexpected(std::move(done.error()));
    return library;
}

Library::Library(proto::config::SaslConfig config)
    : config_(std::move(config)),
      host_(config_.host_name.empty() ? find_host_name(config_.mechanisms) : config_.host_name),
      mechanism_list_(join(config_.mechanisms, " ")),
      accounts_(config_.users, config_.realm, config_.realm.empty() ? host_ : config_.realm,
                !config_.sasldb.empty()) {
    std::size_t count = 0;
    const auto add = [&](unsigned long id, sasl_callback_ft function) {
        callbacks_[count++] = {id, function, nullptr};
    };
    add(SASL_CB_GETOPT, callback(&Library::on_getopt));
    add(SASL_CB_LOG, callback(&Library::on_log));
    add(SASL_CB_VERIFYFILE, callback(&Library::on_verify_file));
    add(SASL_CB_PROXY_POLICY, callback(&Library::on_authorize));
    // With a sasldb libsasl2 compares the password itself.
    if (config_.sasldb.empty()) add(SASL_CB_SERVER_USERDB_CHECKPASS, callback(&Library::on_check_password));
    callbacks_[count] = {SASL_CB_LIST_END, nullptr, nullptr};
}

Library::~Library() {
    if (started_) sasl_server_done();
    g_library = nullptr;
}

Done Library::start() {
    if (!config_.keytab.empty()) setenv("KRB5_KTNAME", ("FILE:" + config_.keytab).c_str(), 1);
    // Each exchange has fresh randomness of ours in it, so a replayed first message is of no use; and the
    // processes have no place to keep a common record in.
    setenv("KRB5RCACHENAME", "none:", 1);
    g_library = this;
    // Without a name libsasl2 looks for no file of settings.
    if (const int status = sasl_server_init(callbacks_.data(), nullptr); status != SASL_OK)
        return system_fault(
            0, fmt::format("libsasl2 does not start: {}", sasl_errstring(status, nullptr, nullptr)));
    started_ = true;
    load_old_ciphers();
    if (auto done = accounts_.register_plugin(); !done) return done;
    if (!config_.users.empty())
        if (const auto good = accounts_.check_file(); !good)
            log_.warning("{}: nobody can log in with a password (\"virtgate passwd\" makes users)",
                         good.error().text);
    return find_offers();
}

Done Library::find_offers() {
    for (const bool needs_layer : {false, true}) {
        proto::sasl::ExchangeArgs terms;
        terms.needs_layer = needs_layer;
        auto conversation = Conversation::open(*this, terms, "");
        if (!conversation) return tl::make_unexpected(std::move(conversation.error()));
        const std::string available = " " + conversation->list_mechanisms() + " ";
        for (const std::string& name : config_.mechanisms)
            if (available.find(" " + name + " ") != std::string::npos)
                (needs_layer ? with_layer_ : below_encryption_).push_back(name);
    }
    for (const std::string& name : config_.mechanisms)
        if (std::find(below_encryption_.begin(), below_encryption_.end(), name) == below_encryption_.end())
            log_.warning("{} cannot be offered: is the plugin {} of Cyrus SASL installed?", name,
                         find_mechanism(name)->plugin);
    return {};
}

unsigned Library::min_layer() const noexcept { return std::max(1U, config_.min_layer); }

void Library::enter_exchange() const noexcept { g_in_exchange = true; }

const char* Library::option(std::string_view name) const noexcept {
    if (name == "mech_list") return mechanism_list_.c_str();
    if (name == "auxprop_plugin") return config_.sasldb.empty() ? Accounts::k_plugin : "sasldb virtgate";
    if (name == "sasldb_path" && !config_.sasldb.empty()) return config_.sasldb.c_str();
    if (name == "pwcheck_method") return "auxprop";
    if (name == "auto_transition") return "no";
    // Up to "debug"; the levels above that write passwords into the log.
    if (name == "log_level") return log_level() == Level::debug ? "5" : "2";
    return nullptr;
}

int Library::on_getopt(void*, const char*, const char* option, const char** value, unsigned* size) noexcept {
    if (option == nullptr || value == nullptr || g_library == nullptr) return SASL_BADPARAM;
    *value = g_library->option(option);
    if (*value == nullptr) return SASL_FAIL;
    if (size != nullptr) *size = static_cast<unsigned>(std::string_view{*value}.size());
    return SASL_OK;
}

int Library::on_log(void*, int level, const char* message) noexcept {
    if (message == nullptr || level <= SASL_LOG_NONE || level > SASL_LOG_DEBUG) return SASL_OK;
    const Log log("libsasl2");
    try {
        const std::string text = escape(message, 512);
        if (level == SASL_LOG_ERR)
            g_in_exchange ? log.info("{}", text) : log.warning("{}", text);
        else
            log.debug("{}", text);
    } catch (...) {
        return SASL_NOMEM;
    }
    return SASL_OK;
}

int Library::on_verify_file(void*, const char* file, sasl_verify_type_t type) noexcept {
    if (type == SASL_VRFY_CONF) return SASL_CONTINUE;
    if (type != SASL_VRFY_PLUGIN || g_library == nullptr || file == nullptr) return SASL_OK;
    const proto::config::SaslConfig& config = g_library->config_;
    const bool wanted =
        std::any_of(config.mechanisms.begin(), config.mechanisms.end(),
                    [&](const std::string& name) { return is_plugin(file, find_mechanism(name)->plugin); });
    return wanted || (!config.sasldb.empty() && is_plugin(file, "libsasldb")) ? SASL_OK : SASL_CONTINUE;
}

// Whoever has logged in is himself and nobody else.
int Library::on_authorize(sasl_conn_t* connection, void*, const char* requested, unsigned requested_size,
                          const char* authenticated, unsigned authenticated_size, const char*, unsigned,
                          propctx*) noexcept {
    const std::string_view wanted{requested, requested_size}, is{authenticated, authenticated_size};
    if (wanted == is) return SASL_OK;
    sasl_seterror(connection, 0, "somebody who logged in as one user wants to be another");
    return SASL_BADAUTH;
}

int Library::on_check_password(sasl_conn_t*, void*, const char* user, const char* password, unsigned size,
                               propctx*) noexcept {
    if (g_library == nullptr || user == nullptr || password == nullptr) return SASL_BADPARAM;
    try {
        // Accounts remembers whom it was asked about; that is no part of what a Library promises to keep.
        return const_cast<Accounts&>(g_library->accounts_).check_password(user, {password, size})
                   ? SASL_OK
                   : SASL_BADAUTH;
    } catch (...) {
        return SASL_NOMEM;
    }
}

}  // namespace virtgate::netd::doorman::sasl
