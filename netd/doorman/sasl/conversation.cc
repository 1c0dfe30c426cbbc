// SPDX-License-Identifier: LGPL-2.1-or-later
// conversation - libsasl2's side of one client's login, and its security layer afterwards.
#include "netd/doorman/sasl/conversation.h"

#include <algorithm>

#include "netd/doorman/sasl/kerberos.h"
#include "netd/doorman/sasl/library.h"
#include "proto/door.h"

namespace virtgate::netd::doorman::sasl {

namespace {

constexpr char k_service[] = "libvirt";
constexpr std::string_view k_gssapi = "GSSAPI";
constexpr unsigned k_buffer = 65536;
// The largest strength that a client's mechanism may claim: libvirt's own number for "any".
constexpr unsigned k_strength_max = 100000;
// A client that takes less at a time would only cost time.
constexpr unsigned k_piece_min = 512;

const char* c_text(const std::string& text) noexcept { return text.empty() ? nullptr : text.c_str(); }

const char* data_of(const Conversation::Token& token) noexcept {
    if (!token) return nullptr;
    return token->empty() ? "" : reinterpret_cast<const char*>(token->data());
}
unsigned size_of(const Conversation::Token& token) noexcept {
    return token ? static_cast<unsigned>(token->size()) : 0;
}

}  // namespace

Result<Conversation> Conversation::open(const Library& library, const proto::sasl::ExchangeArgs& terms,
                                        std::string mechanism) {
    Conversation conversation{library, terms.needs_layer, std::move(mechanism)};
    // Kerberos users have a realm, which the configured one must not take the place of.
    const char* realm = conversation.mechanism_ == k_gssapi ? nullptr : c_text(library.config().realm);
    sasl_conn_t* made = nullptr;
    const auto make = [&](const char* local, const char* remote) {
        return sasl_server_new(k_service, library.host().c_str(), realm, local, remote, nullptr,
                               SASL_SUCCESS_DATA, &made);
    };
    int status = make(c_text(terms.local), c_text(terms.remote));
    // An address with a scope that means nothing here. No mechanism that we have needs them.
    if (status != SASL_OK) status = make(nullptr, nullptr);
    if (status != SASL_OK)
        return system_fault(
            0, fmt::format("libsasl2 makes no connection: {}", sasl_errstring(status, nullptr, nullptr)));
    conversation.connection_.reset(made);
    if (auto done = conversation.set_terms(terms.strength); !done)
        return tl::make_unexpected(std::move(done.error()));
    return conversation;
}

Done Conversation::set_terms(unsigned strength) {
    sasl_security_properties_t properties{};
    properties.maxbufsize = k_buffer;
    properties.security_flags = SASL_SEC_NOANONYMOUS;
    int status = SASL_OK;
    if (needs_layer_) {
        properties.min_ssf = library_->min_layer();
        properties.max_ssf = k_strength_max;
        properties.security_flags |= SASL_SEC_NOPLAINTEXT;
    } else {
        const sasl_ssf_t external = strength;
        status = sasl_setprop(connection_.get(), SASL_SSF_EXTERNAL, &external);
    }
    if (status == SASL_OK) status = sasl_setprop(connection_.get(), SASL_SEC_PROPS, &properties);
    if (status == SASL_OK) return {};
    return system_fault(
        0, fmt::format("libsasl2 refuses our properties: {}", sasl_errstring(status, nullptr, nullptr)));
}

std::string Conversation::list_mechanisms() {
    const char* list = nullptr;
    const int status = sasl_listmech(connection_.get(), nullptr, "", " ", "", &list, nullptr, nullptr);
    return status == SASL_OK && list != nullptr ? list : "";
}

Result<Conversation::Step> Conversation::start(const Token& data) {
    const auto& offered = library_->offered(needs_layer_);
    if (std::find(offered.begin(), offered.end(), mechanism_) == offered.end())
        return peer_fault(fmt::format("the mechanism '{}' was not offered", escape(mechanism_, 64)));
    const char* out = nullptr;
    unsigned size = 0;
    const int status =
        sasl_server_start(connection_.get(), mechanism_.c_str(), data_of(data), size_of(data), &out, &size);
    return conclude(status, out, size);
}

Result<Conversation::Step> Conversation::go_on(const Token& data) {
    const char* out = nullptr;
    unsigned size = 0;
    const int status = sasl_server_step(connection_.get(), data_of(data), size_of(data), &out, &size);
    return conclude(status, out, size);
}

Result<Conversation::Step> Conversation::conclude(int status, const char* out, unsigned size) {
    if (status != SASL_OK && status != SASL_CONTINUE) return tl::make_unexpected(describe(status));
    if (size > proto::door::k_token_max) return peer_fault("libsasl2 has more to say than a token may have");
    Step step{status == SASL_OK, {}};
    if (out != nullptr) {
        const ByteView bytes = as_bytes({out, size});
        step.data.emplace(bytes.begin(), bytes.end());
    }
    if (step.complete)
        if (auto done = read_outcome(); !done) return tl::make_unexpected(std::move(done.error()));
    return step;
}

Done Conversation::read_outcome() {
    const void* value = nullptr;
    if (sasl_getprop(connection_.get(), SASL_USERNAME, &value) != SASL_OK || value == nullptr)
        return peer_fault(fmt::format("{} has authenticated nobody", mechanism_));
    name_ = static_cast<const char*>(value);
    if (mechanism_ == k_gssapi && name_.find('@') == std::string::npos) {
        const std::string realm = find_default_realm();
        if (realm.empty()) return peer_fault(fmt::format("the realm of {} is not known", escape(name_, 64)));
        name_ += "@" + realm;
    }
    if (name_.empty() || name_.size() > proto::who::k_text_max || !is_plain_text(name_))
        return peer_fault(fmt::format("'{}' cannot be a user's name", escape(name_, 64)));
    if (sasl_getprop(connection_.get(), SASL_SSF, &value) != SASL_OK || value == nullptr)
        return peer_fault("the strength of the security layer is not known");
    strength_ = *static_cast<const sasl_ssf_t*>(value);
    if (!needs_layer_) {
        if (strength_ != 0) return peer_fault("a security layer that nobody asked for");
        return {};
    }
    if (strength_ < library_->min_layer())
        return peer_fault(
            fmt::format("a security layer of {} bits where {} are needed", strength_, library_->min_layer()));
    if (sasl_getprop(connection_.get(), SASL_MAXOUTBUF, &value) != SASL_OK || value == nullptr)
        return peer_fault("the client's buffer size is not known");
    max_piece_ = std::min(*static_cast<const unsigned*>(value), k_buffer);
    if (max_piece_ < k_piece_min)
        return peer_fault(fmt::format("a buffer of {} bytes is too small", max_piece_));
    return {};
}

Error Conversation::describe(int status) const {
    const std::string detail = escape(sasl_errdetail(connection_.get()));
    const Accounts& accounts = library_->accounts();
    const bool about_password = status == SASL_BADAUTH || status == SASL_NOUSER;
    if (about_password && accounts.last() != Accounts::Last::none)
        return {Fault::peer, 0,
                fmt::format("{} '{}' ({})",
                            accounts.last() == Accounts::Last::known ? "refused" : "there is no user",
                            escape(accounts.last_name(), 128), detail)};
    return {Fault::peer, 0, fmt::format("{}: {}", mechanism_, detail)};
}

Result<std::string_view> Conversation::encode(std::string_view clear) {
    const char* out = nullptr;
    unsigned size = 0;
    const int status =
        sasl_encode(connection_.get(), clear.data(), static_cast<unsigned>(clear.size()), &out, &size);
    if (status != SASL_OK)
        return peer_fault(fmt::format("cannot encode: {}", sasl_errstring(status, nullptr, nullptr)));
    return std::string_view{out, size};
}

Result<std::string_view> Conversation::decode(std::string_view coded) {
    const char* out = nullptr;
    unsigned size = 0;
    const int status =
        sasl_decode(connection_.get(), coded.data(), static_cast<unsigned>(coded.size()), &out, &size);
    if (status != SASL_OK)
        return peer_fault(fmt::format("what the client sends cannot be decoded: {}",
                                      sasl_errstring(status, nullptr, nullptr)));
    return out == nullptr ? std::string_view{} : std::string_view{out, size};
}

}  // namespace virtgate::netd::doorman::sasl
