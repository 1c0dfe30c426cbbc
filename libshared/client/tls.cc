// SPDX-License-Identifier: LGPL-2.1-or-later
// tls - a server over TLS: the handshake, the byte, and the channel afterwards.
#include "libshared/client/tls.h"

#include <fmt/format.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <algorithm>
#include <cerrno>

#include "libshared/base/handle.h"
#include "libshared/client/tls_verify.h"

namespace virtgate::client {

struct TlsCredentials::Parts {
    std::unique_ptr<gnutls_certificate_credentials_st, FreeWith<gnutls_certificate_free_credentials>>
        credentials;
};

namespace {

constexpr const char* k_priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";
// What the server sends once it has accepted the client.
constexpr std::byte k_accepted{1};
constexpr unsigned k_bits_of_byte = 8;

using Session = std::unique_ptr<gnutls_session_int, FreeWith<gnutls_deinit>>;

tl::unexpected<Failure> unusable(const std::string& what, const std::string& path, int status) {
    return fail(Cause::invalid, fmt::format("cannot use {} {}: {}", what, path, gnutls_strerror(status)));
}

}  // namespace

TlsCredentials::TlsCredentials(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
TlsCredentials::TlsCredentials(TlsCredentials&&) noexcept = default;
TlsCredentials& TlsCredentials::operator=(TlsCredentials&&) noexcept = default;
TlsCredentials::~TlsCredentials() = default;

Result<TlsCredentials> TlsCredentials::load(const PkiPaths& paths, bool sane) {
    gnutls_certificate_credentials_t made = nullptr;
    if (const int status = gnutls_certificate_allocate_credentials(&made); status < 0)
        return fail(Cause::system, fmt::format("cannot set up TLS: {}", gnutls_strerror(status)));
    auto parts = std::make_unique<Parts>();
    parts->credentials.reset(made);
    int status = gnutls_certificate_set_x509_trust_file(made, paths.authorities.c_str(), GNUTLS_X509_FMT_PEM);
    if (status < 0) return unusable("the authorities in", paths.authorities, status);
    if (status == 0)
        return fail(Cause::invalid, fmt::format("there is no certificate in {}", paths.authorities));
    if (!paths.revoked.empty()) {
        status = gnutls_certificate_set_x509_crl_file(made, paths.revoked.c_str(), GNUTLS_X509_FMT_PEM);
        if (status < 0) return unusable("the revocation list", paths.revoked, status);
    }
    if (!paths.certificate.empty()) {
        status = gnutls_certificate_set_x509_key_file(made, paths.certificate.c_str(), paths.key.c_str(),
                                                      GNUTLS_X509_FMT_PEM);
        if (status < 0) return unusable("certificate and key", paths.certificate, status);
        if (sane)
            if (auto done = check_own_certificate(made, paths.certificate); !done)
                return tl::unexpected(done.error());
    }
    return TlsCredentials(std::move(parts));
}

class TlsChannel final : public Channel {
public:
    TlsChannel(UniqueFd socket, TlsCredentials credentials)
        : socket_(std::move(socket)), credentials_(std::move(credentials)) {}

    // Everything before the first byte of RPC.
    Done open(const TlsTerms& terms, const Deadline& deadline) {
        if (auto done = set_up(terms); !done) return done;
        const auto waiter = Waiter::make();
        if (!waiter) return tl::unexpected(waiter.error());
        if (auto done = shake_hands(*waiter, deadline); !done) return done;
        if (terms.verify)
            if (auto done = verify_server(session_.get(), terms.host); !done) return done;
        strength_ = static_cast<unsigned>(gnutls_cipher_get_key_size(gnutls_cipher_get(session_.get()))) *
                    k_bits_of_byte;
        return await_acceptance(*waiter, deadline);
    }

    [[nodiscard]] int fd() const noexcept override { return socket_.get(); }
    [[nodiscard]] bool is_secure() const noexcept override { return true; }
    [[nodiscard]] unsigned strength() const noexcept override { return strength_; }
    [[nodiscard]] bool has_buffered() const noexcept override {
        return gnutls_record_check_pending(session_.get()) > 0;
    }

    Result<Progress> read(MutableBytes buffer, std::vector<UniqueFd>&) override {
        while (true) {
            const ssize_t n = gnutls_record_recv(session_.get(), buffer.data(), buffer.size());
            if (n > 0) return Progress{Progress::Kind::moved, static_cast<std::size_t>(n)};
            if (n == 0) return Progress{Progress::Kind::ended};
            switch (n) {
                case GNUTLS_E_AGAIN: return Progress{Progress::Kind::blocked};
                case GNUTLS_E_INTERRUPTED: continue;
                // A server that just goes away.
                case GNUTLS_E_PREMATURE_TERMINATION:
                case GNUTLS_E_PULL_ERROR: return Progress{Progress::Kind::ended};
                default:
                    if (gnutls_error_is_fatal(static_cast<int>(n)) == 0) continue;
                    return fail(Cause::protocol, fmt::format("TLS: {}", describe(static_cast<int>(n))));
            }
        }
    }

    Result<Progress> write(ByteView bytes) override {
        // A record that was begun is finished without looking at the bytes again: GnuTLS has them.
        const bool again = begun_ > 0;
        const ssize_t n = again ? gnutls_record_send(session_.get(), nullptr, 0)
                                : gnutls_record_send(session_.get(), bytes.data(), bytes.size());
        if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) {
            begun_ = again ? begun_ : bytes.size();
            return Progress{Progress::Kind::blocked};
        }
        begun_ = 0;
        if (n > 0) return Progress{Progress::Kind::moved, static_cast<std::size_t>(n)};
        if (n == GNUTLS_E_PUSH_ERROR || n == GNUTLS_E_PREMATURE_TERMINATION)
            return Progress{Progress::Kind::ended};
        return fail(Cause::protocol, fmt::format("TLS: {}", gnutls_strerror(static_cast<int>(n))));
    }

private:
    Done set_up(const TlsTerms& terms) {
        gnutls_session_t made = nullptr;
        int status = gnutls_init(&made, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
        if (status < 0)
            return fail(Cause::system, fmt::format("cannot set up TLS: {}", gnutls_strerror(status)));
        session_.reset(made);
        const std::string priority = terms.priority.empty() ? k_priority : terms.priority;
        const char* wrong = nullptr;
        if (gnutls_priority_set_direct(made, priority.c_str(), &wrong) < 0)
            return fail(Cause::invalid, fmt::format("TLS priorities: unknown from here on: \"{}\"",
                                                    escape(wrong == nullptr ? "" : wrong)));
        status = gnutls_credentials_set(made, GNUTLS_CRD_CERTIFICATE, credentials_.parts_->credentials.get());
        if (status < 0)
            return fail(Cause::system, fmt::format("cannot set up TLS: {}", gnutls_strerror(status)));
        gnutls_transport_set_int(made, socket_.get());
        return {};
    }

    Done shake_hands(const Waiter& waiter, const Deadline& deadline) {
        while (true) {
            const int status = gnutls_handshake(session_.get());
            if (status == 0) return {};
            if (status == GNUTLS_E_AGAIN || status == GNUTLS_E_INTERRUPTED) {
                const Want want = gnutls_record_get_direction(session_.get()) == 0 ? Want::read : Want::write;
                if (auto done = waiter.wait(socket_.get(), want, deadline); !done)
                    return late(done.error(), "TLS handshake");
                continue;
            }
            if (gnutls_error_is_fatal(status) == 0) continue;
            const bool alien = status == GNUTLS_E_UNEXPECTED_PACKET_LENGTH ||
                               status == GNUTLS_E_UNSUPPORTED_VERSION_PACKET ||
                               status == GNUTLS_E_UNEXPECTED_PACKET || status == GNUTLS_E_RECORD_OVERFLOW;
            return fail({.cause = alien ? Cause::unreachable : Cause::untrusted,
                         .text = fmt::format("TLS handshake: {}{}", describe(status),
                                             alien ? ": the server does not speak TLS there" : ""),
                         .number = hung_up(status) ? ECONNRESET : 0});
        }
    }

    // With TLS 1.3 a client knows only by this byte whether the server has taken its certificate.
    Done await_acceptance(const Waiter& waiter, const Deadline& deadline) {
        std::byte answer{};
        while (true) {
            const ssize_t n = gnutls_record_recv(session_.get(), &answer, 1);
            if (n == 1) break;
            if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) {
                if (auto done = waiter.wait(socket_.get(), Want::read, deadline); !done)
                    return late(done.error(), "the server's word on our certificate");
                continue;
            }
            if (n < 0 && gnutls_error_is_fatal(static_cast<int>(n)) == 0) continue;
            const bool went = n == 0 || hung_up(n);
            const std::string how = went ? "it hung up" : describe(static_cast<int>(n));
            return fail({.cause = Cause::untrusted,
                         .text = fmt::format(
                             "the server did not accept {}: {}",
                             has_certificate() ? "our certificate" : "a client without a certificate", how),
                         .number = went ? ECONNRESET : 0});
        }
        if (answer != k_accepted)
            return fail(Cause::protocol,
                        "the server said something else than that it accepts our certificate");
        return {};
    }

    // A server that ends just now does that, too.
    static bool hung_up(ssize_t status) noexcept {
        return status == GNUTLS_E_PREMATURE_TERMINATION || status == GNUTLS_E_PULL_ERROR ||
               status == GNUTLS_E_PUSH_ERROR;
    }

    [[nodiscard]] bool has_certificate() const {
        return gnutls_certificate_client_get_request_status(session_.get()) != 0 &&
               gnutls_certificate_get_ours(session_.get()) != nullptr;
    }

    static tl::unexpected<Failure> late(Failure failure, std::string_view what) {
        failure.text = fmt::format("{}: {}", what, failure.text);
        return fail(std::move(failure));
    }

    [[nodiscard]] std::string describe(int status) const {
        if (status != GNUTLS_E_FATAL_ALERT_RECEIVED && status != GNUTLS_E_WARNING_ALERT_RECEIVED)
            return gnutls_strerror(status);
        const char* name = gnutls_alert_get_name(gnutls_alert_get(session_.get()));
        return fmt::format("the server says \"{}\"", name == nullptr ? "?" : name);
    }

    UniqueFd socket_;
    TlsCredentials credentials_;
    Session session_;
    std::size_t begun_ = 0;  // bytes of the record that GnuTLS has not sent yet
    unsigned strength_ = 0;
};

Result<std::unique_ptr<Channel>> make_tls_channel(UniqueFd socket, TlsCredentials credentials,
                                                  const TlsTerms& terms, const Deadline& deadline) {
    auto channel = std::make_unique<TlsChannel>(std::move(socket), std::move(credentials));
    if (auto done = channel->open(terms, deadline); !done) return tl::unexpected(done.error());
    return channel;
}

}  // namespace virtgate::client
