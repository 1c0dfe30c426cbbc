// SPDX-License-Identifier: LGPL-2.1-or-later
// probe - a connection to a server as libvirt's client makes it, up to the byte by which the server accepts.
#include "ctl/pki/probe.h"

#include <gnutls/gnutls.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "ctl/pki/facts.h"
#include "ctl/pki/transport.h"
#include "libshared/base/bytes.h"

namespace virtgate::ctl::pki {

namespace {

using Session = std::unique_ptr<gnutls_session_int, FreeWith<gnutls_deinit>>;
using Credentials = std::unique_ptr<std::remove_pointer_t<gnutls_certificate_credentials_t>,
                                    FreeWith<gnutls_certificate_free_credentials>>;

constexpr char k_accepted = 1;  // the one byte with which libvirt and virtgate answer a good certificate
constexpr unsigned char k_handshake_record = 0x16, k_alert_record = 0x15;

// One connection, from the handshake to the byte.
class Probe {
public:
    Probe(Report& report, const Target& target, const Trust& trust, const Identity& identity, std::time_t now)
        : report_(report),
          target_(target),
          trust_(trust),
          identity_(identity),
          now_(now),
          where_(target.say()) {}

    void run();

private:
    bool connect();
    bool prepare();
    bool shake_hands();
    void examine_peer();
    void await_byte();

    void explain_connect(const Error& error);
    void explain_handshake(int outcome);
    void explain_foreign();
    void explain_alert();
    void explain_refusal(const std::string& what);
    // Who we said that we are, for a remedy.
    [[nodiscard]] std::string say_identity() const;

    Report& report_;
    const Target& target_;
    const Trust& trust_;
    const Identity& identity_;
    std::time_t now_;
    std::string where_;
    std::unique_ptr<Transport> transport_;
    Credentials credentials_;
    Session session_;
};

void Probe::run() {
    if (!connect() || !prepare() || !shake_hands()) return;
    examine_peer();
    await_byte();
    // Best effort: the server closes anyway.
    gnutls_bye(session_.get(), GNUTLS_SHUT_WR);
}

bool Probe::connect() {
    Result<UniqueFd> socket = connect_to(target_.host, target_.port, target_.patience);
    if (!socket) {
        explain_connect(socket.error());
        return false;
    }
    transport_ =
        std::make_unique<Transport>(std::move(*socket), std::chrono::steady_clock::now() + target_.patience);
    return true;
}

void Probe::explain_connect(const Error& error) {
    if (error.fault == Fault::system)
        return report_.refuse("unknown_host", where_,
                              fmt::format("the name cannot be resolved: {}", error.text),
                              "Is it spelt correctly? \"getent hosts NAME\" asks the same way.");
    if (error.number == ECONNREFUSED)
        return report_.refuse("connection_refused", where_,
                              "the host is there, but nothing listens on this port",
                              "Does virtgate-netd (or libvirt's TLS socket) run there, and on this port and "
                              "address? \"ss -ltn\" on the server shows it.");
    report_.refuse(error.number == ETIMEDOUT ? "no_answer" : "unreachable", where_,
                   fmt::format("cannot connect: {}", std::strerror(error.number)),
                   "Is the address right, the machine up, and the port open in the firewalls between?");
}

// No SNI, as in libvirt's client. The certificate of the server is examined afterwards, by ourselves.
bool Probe::prepare() {
    gnutls_certificate_credentials_t credentials = nullptr;
    int outcome = gnutls_certificate_allocate_credentials(&credentials);
    credentials_.reset(credentials);
    std::vector<gnutls_x509_crt_t> chain;
    for (const Certificate& certificate : identity_.chain) chain.push_back(certificate.get());
    if (outcome >= 0 && !chain.empty())
        outcome = gnutls_certificate_set_x509_key(credentials, chain.data(), static_cast<int>(chain.size()),
                                                  identity_.key.get());
    gnutls_session_t session = nullptr;
    if (outcome >= 0) outcome = gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);
    session_.reset(session);
    if (outcome >= 0) outcome = gnutls_priority_set_direct(session, target_.priority.c_str(), nullptr);
    if (outcome >= 0) outcome = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
    if (outcome < 0) {
        report_.refuse("setup", where_, fmt::format("cannot begin TLS: {}", gnutls_strerror(outcome)),
                       outcome == GNUTLS_E_INVALID_REQUEST ? "Is the value of --priority right?"
                                                           : "See the findings above.");
        return false;
    }
    transport_->carry(session);
    return true;
}

bool Probe::shake_hands() {
    int outcome = 0;
    do outcome = gnutls_handshake(session_.get());
    while (outcome < 0 && !transport_->late() && gnutls_error_is_fatal(outcome) == 0);
    if (outcome >= 0) return true;
    explain_handshake(outcome);
    return false;
}

void Probe::explain_handshake(int outcome) {
    const std::string& head = transport_->head();
    const bool speaks_tls = !head.empty() && (static_cast<unsigned char>(head[0]) == k_handshake_record ||
                                              static_cast<unsigned char>(head[0]) == k_alert_record);
    if (outcome == GNUTLS_E_FATAL_ALERT_RECEIVED && speaks_tls) return explain_alert();
    if (!speaks_tls) return explain_foreign();
    if (transport_->late())
        return report_.refuse("no_answer", where_, "the server stopped in the middle of the TLS handshake",
                              "It may be overloaded; its log may say why.");
    if (outcome == GNUTLS_E_UNSUPPORTED_VERSION_PACKET || outcome == GNUTLS_E_NO_CIPHER_SUITES)
        return report_.refuse(
            "tls_version", where_,
            fmt::format("the two sides have no TLS version or algorithm in common: {}",
                        gnutls_strerror(outcome)),
            "virtgate speaks TLS 1.3 only: update the older side, or its \"tls_priority\".");
    if (outcome == GNUTLS_E_KEY_USAGE_VIOLATION) {
        // GnuTLS gives up before we could look; the certificate tells what it is that it does not like.
        const std::size_t before = report_.count(Level::problem);
        examine_peer();
        if (report_.count(Level::problem) > before) return;
    }
    if (transport_->closed())
        return explain_refusal("the server closed the connection in the middle of the TLS handshake");
    report_.refuse("handshake", where_, fmt::format("the TLS handshake failed: {}", gnutls_strerror(outcome)),
                   "The server's log may say more.");
}

// What answers when it is no TLS: the usual neighbours of the port.
void Probe::explain_foreign() {
    const std::string& head = transport_->head();
    const std::string remedy =
        "TLS is usually on port 16514; libvirt's 16509 is plain TCP (\"qemu+tcp\"), which has no "
        "certificates.";
    if (head.starts_with("SSH-"))
        return report_.refuse("not_tls", where_, "this is an SSH server, which does not speak TLS", remedy);
    if (head.starts_with("HTTP/"))
        return report_.refuse("not_tls", where_, "this is a web server without TLS", remedy);
    if (!head.empty())
        return report_.refuse(
            "not_tls", where_,
            fmt::format("what answers does not speak TLS; it begins with \"{}\"", escape(head, 32)), remedy);
    if (transport_->late())
        return report_.refuse(
            "not_tls", where_,
            "the connection is accepted, but nothing answers when TLS begins: it is not a TLS "
            "port, or something between swallows it",
            remedy);
    report_.refuse(
        "not_tls", where_,
        "the connection is closed as soon as TLS begins: it is not a TLS port, or the server has no "
        "room for more clients",
        remedy + " The server's log says if it is full.");
}

std::string Probe::say_identity() const {
    if (identity_.chain.empty()) return "Without a certificate of a client nobody is let in: give one.";
    const Facts facts = read_facts(identity_.chain.front().get());
    return fmt::format("Shown was {}, issued by {}.", facts.subject, facts.issuer);
}

// Alerts are what a server says of our certificate; virtgate and libvirt mostly say nothing and close.
void Probe::explain_alert() {
    const gnutls_alert_description_t alert = gnutls_alert_get(session_.get());
    const char* name = gnutls_alert_get_name(alert);
    const std::string said =
        fmt::format("the server ends it with the alert \"{}\"", name != nullptr ? name : "?");
    const auto refuse = [&](std::string_view code, const std::string& why) {
        report_.refuse(code, where_, fmt::format("{}: {}", said, why),
                       say_identity() + " The server's log says which rule failed.");
    };
    switch (alert) {
        case GNUTLS_A_PROTOCOL_VERSION:
        case GNUTLS_A_INSUFFICIENT_SECURITY:
            return report_.refuse(
                "tls_version", where_, said + ": the TLS versions do not fit",
                "virtgate speaks TLS 1.3 only: update the older side, or its \"tls_priority\".");
        case GNUTLS_A_HANDSHAKE_FAILURE:
            return report_.refuse("tls_version", where_,
                                  said + ": no TLS version or algorithm in common, or no certificate",
                                  "Compare \"tls_priority\" on both sides. " + say_identity());
        case GNUTLS_A_UNKNOWN_CA:
            return refuse("client_refused", "it does not know the authority of our certificate");
        case GNUTLS_A_CERTIFICATE_EXPIRED:
            return refuse("client_refused",
                          "it says that our certificate is not valid now; compare the clocks");
        case GNUTLS_A_CERTIFICATE_REVOKED: return refuse("client_refused", "our certificate was revoked");
        case GNUTLS_A_CERTIFICATE_REQUIRED:
            return refuse("client_refused", "it wants a certificate of the client");
        default: return refuse("client_refused", "it does not accept our certificate");
    }
}

void Probe::explain_refusal(const std::string& what) {
    // A client sends no certificate when the server asks for those of other authorities.
    if (!identity_.chain.empty() && gnutls_certificate_client_get_request_status(session_.get()) != 0 &&
        gnutls_certificate_get_ours(session_.get()) == nullptr)
        return report_.refuse(
            "certificate_not_wanted", where_,
            what +
                ". It had asked for a certificate of other authorities than the one that has issued ours, so "
                "that (as by libvirt) none was sent",
            say_identity() + " Use a certificate of the authority that the server trusts.");
    report_.refuse("client_refused", where_,
                   what + ": it does not accept our certificate, or its policy knows nobody with this name",
                   say_identity() +
                       " The server's log says which rule failed; for virtgate see "
                       "virtgate-policy(5).");
}

void Probe::examine_peer() {
    const char* version = gnutls_protocol_get_name(gnutls_protocol_get_version(session_.get()));
    if (gnutls_protocol_get_version(session_.get()) < GNUTLS_TLS1_2)
        report_.warn("tls_version", where_, fmt::format("the server speaks {} only", version),
                     "Newer libraries refuse that: update the server.");
    unsigned count = 0;
    const gnutls_datum_t* raw = gnutls_certificate_get_peers(session_.get(), &count);
    std::vector<Certificate> chain;
    for (unsigned i = 0; raw != nullptr && i < std::min(count, k_chain_max); ++i) {
        gnutls_x509_crt_t certificate = nullptr;
        if (gnutls_x509_crt_init(&certificate) < 0) break;
        chain.emplace_back(certificate);
        if (gnutls_x509_crt_import(certificate, &raw[i], GNUTLS_X509_FMT_DER) < 0)
            return report_.refuse("malformed", where_, "the server's certificate cannot be read",
                                  "On the server: issue another with \"virtgate pki server\".");
    }
    if (chain.empty())
        return report_.refuse("malformed", where_, "the server has shown no certificate",
                              "It needs one: \"virtgate pki server\".");
    const Exhibit exhibit{where_, true, Kind::server};
    examine_chain(report_, exhibit, chain, now_);
    examine_trust(report_, exhibit, chain, trust_);
    examine_name(report_, exhibit, chain.front(), target_.name);
}

// With TLS 1.3 our side of the handshake ends before the server has looked at our certificate: only this byte
// tells that it was accepted.
void Probe::await_byte() {
    std::array<char, 16> bytes{};
    ssize_t n = 0;
    do n = gnutls_record_recv(session_.get(), bytes.data(), bytes.size());
    while (n < 0 && !transport_->late() && gnutls_error_is_fatal(static_cast<int>(n)) == 0);
    if (n == 1 && bytes[0] == k_accepted) {
        const char* version = gnutls_protocol_get_name(gnutls_protocol_get_version(session_.get()));
        return report_.good(where_, fmt::format("the server accepts the client ({})", version));
    }
    if (n > 0)
        return report_.refuse(
            "not_libvirt", where_,
            fmt::format("it speaks TLS, but not libvirt's protocol: it begins with \"{}\"",
                        escape(std::string_view{bytes.data(), static_cast<std::size_t>(n)})),
            "Is the port right? libvirt's is 16514.");
    if (n == GNUTLS_E_FATAL_ALERT_RECEIVED) return explain_alert();
    if (transport_->late())
        return report_.refuse("no_confirmation", where_,
                              "TLS works, but the server does not say that it accepts the client",
                              "Is it a libvirt or virtgate port? If it is, the server hangs: see its log.");
    explain_refusal("the server closed the connection after the TLS handshake");
}

}  // namespace

std::string Target::say() const {
    return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                               : fmt::format("[{}]:{}", host, port);
}

void probe(Report& report, const Target& target, const Trust& trust, const Identity& identity,
           std::time_t now) {
    Probe{report, target, trust, identity, now}.run();
}

}  // namespace virtgate::ctl::pki
