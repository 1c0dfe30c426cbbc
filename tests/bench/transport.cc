// SPDX-License-Identifier: LGPL-2.1-or-later
// transport - one non-blocking connection of the load generator, over a UNIX socket or TLS.
#include "tests/bench/transport.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace virtgate::bench {

namespace {

constexpr std::size_t k_buffer_size = 64 * 1024;
constexpr std::size_t k_record_max = 16384;

// Cipher text of the connection that is being read now; always used up before the next one is read.
thread_local std::array<std::byte, k_buffer_size> t_cipher;
thread_local std::array<std::byte, k_record_max> t_clear;

Result<TlsCredentials> load_credentials(const std::string& directory) {
    gnutls_certificate_credentials_t raw = nullptr;
    if (gnutls_certificate_allocate_credentials(&raw) != 0)
        return system_fault(0, "no memory for TLS credentials");
    TlsCredentials credentials(raw);
    const std::string ca = directory + "/cacert.pem";
    const std::string cert = directory + "/clientcert.pem";
    const std::string key = directory + "/clientkey.pem";
    if (gnutls_certificate_set_x509_trust_file(raw, ca.c_str(), GNUTLS_X509_FMT_PEM) < 1)
        return system_fault(0, fmt::format("cannot read {}", ca));
    const int rc = gnutls_certificate_set_x509_key_file(raw, cert.c_str(), key.c_str(), GNUTLS_X509_FMT_PEM);
    if (rc < 0) return system_fault(0, fmt::format("cannot read {}: {}", cert, gnutls_strerror(rc)));
    return credentials;
}

Result<UniqueFd> connect_unix(const std::string& path) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (!fd || path.size() >= sizeof address.sun_path)
        return system_fault(errno, fmt::format("no socket for {}", path));
    std::memcpy(address.sun_path, path.data(), path.size());
    // Blocking: a UNIX socket's connect() has no progress to wait for, it only waits for room in the backlog.
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return system_fault(errno, fmt::format("connect to {}", path));
    if (auto done = set_nonblocking(fd.get(), true); !done) return tl::unexpected(done.error());
    return fd;
}

Result<UniqueFd> connect_tcp(const Target& target) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return system_fault(errno, "no TCP socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(target.port));
    if (::inet_pton(AF_INET, target.host.c_str(), &address.sin_addr) != 1)
        return system_fault(0, fmt::format("{} is no IPv4 address", target.host));
    const int on = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
        errno != EINPROGRESS)
        return system_fault(errno, fmt::format("connect to {} port {}", target.host, target.port));
    return fd;
}

}  // namespace

Result<Target> parse_target(std::string_view text) {
    Target target;
    if (text.starts_with("unix:")) {
        target.socket = text.substr(5);
        return target;
    }
    const auto host_end = text.find(':', 4);
    const auto port_end = host_end == std::string_view::npos ? host_end : text.find(':', host_end + 1);
    if (!text.starts_with("tls:") || port_end == std::string_view::npos)
        return system_fault(0, "a target is unix:PATH or tls:ADDRESS:PORT:PKIDIR");
    target.host = text.substr(4, host_end - 4);
    const std::string_view port = text.substr(host_end + 1, port_end - host_end - 1);
    if (std::from_chars(port.data(), port.data() + port.size(), target.port).ptr != port.data() + port.size())
        return system_fault(0, fmt::format("{} is no port", port));
    auto credentials = load_credentials(std::string(text.substr(port_end + 1)));
    if (!credentials) return tl::unexpected(credentials.error());
    target.credentials = std::move(*credentials);
    return target;
}

Done Transport::start(const Target& target) {
    auto fd = target.socket.empty() ? connect_tcp(target) : connect_unix(target.socket);
    if (!fd) return tl::unexpected(fd.error());
    fd_ = std::move(*fd);
    if (!target.credentials) return {};
    gnutls_session_t raw = nullptr;
    if (gnutls_init(&raw, GNUTLS_CLIENT) != 0) return system_fault(0, "no memory for a TLS session");
    tls_.reset(raw);
    gnutls_set_default_priority(raw);
    gnutls_credentials_set(raw, GNUTLS_CRD_CERTIFICATE, target.credentials.get());
    // As libvirt's clients do: no server name is sent, but the certificate has to bear it.
    gnutls_session_set_verify_cert(raw, target.host.c_str(), 0);
    gnutls_handshake_set_timeout(raw, 0);
    gnutls_transport_set_int(raw, fd_.get());
    gnutls_transport_set_ptr2(raw, this, reinterpret_cast<void*>(static_cast<std::intptr_t>(fd_.get())));
    gnutls_transport_set_pull_function(raw, pull);
    return {};
}

Transport::Step Transport::handshake() {
    if (!tls_) return Step::done;
    in_ = {};
    if (!fill()) return Step::failed;
    if (!shaken_) {
        const int rc = gnutls_handshake(tls_.get());
        if (rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED) return Step::again;
        if (rc != GNUTLS_E_SUCCESS) return Step::failed;
        shaken_ = true;
    }
    std::byte confirmation{};
    const ssize_t got = gnutls_record_recv(tls_.get(), &confirmation, 1);
    if (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED) return Step::again;
    return got == 1 && confirmation == std::byte{1} ? Step::done : Step::failed;
}

ssize_t Transport::pull(gnutls_transport_ptr_t self, void* data, size_t size) noexcept {
    auto* transport = static_cast<Transport*>(self);
    if (transport->in_.empty()) {
        gnutls_transport_set_errno(transport->tls_.get(), EAGAIN);
        return -1;
    }
    const std::size_t count = std::min(size, transport->in_.size());
    std::memcpy(data, transport->in_.data(), count);
    transport->in_ = transport->in_.subspan(count);
    return static_cast<ssize_t>(count);
}

bool Transport::fill() {
    const ssize_t got = ::recv(fd_.get(), t_cipher.data(), t_cipher.size(), 0);
    if (got > 0) {
        in_ = ByteView(t_cipher.data(), static_cast<std::size_t>(got));
        return true;
    }
    in_ = {};
    return got < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN);
}

ByteView Transport::next_piece() {
    if (!tls_) return std::exchange(in_, {});
    for (;;) {
        const ssize_t got = gnutls_record_recv(tls_.get(), t_clear.data(), t_clear.size());
        if (got > 0) return {t_clear.data(), static_cast<std::size_t>(got)};
        if (got == GNUTLS_E_INTERRUPTED ||
            (got < 0 && got != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(static_cast<int>(got))))
            continue;
        broken_ = got != GNUTLS_E_AGAIN;
        return {};
    }
}

ssize_t Transport::write_some(ByteView bytes) {
    if (!tls_) return ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    // After E_AGAIN, GnuTLS wants to be called without data and then reports the length of the kept record.
    const ssize_t sent =
        record_pending_ ? gnutls_record_send(tls_.get(), nullptr, 0)
                        : gnutls_record_send(tls_.get(), bytes.data(), std::min(bytes.size(), k_record_max));
    record_pending_ = sent == GNUTLS_E_AGAIN || sent == GNUTLS_E_INTERRUPTED;
    if (sent < 0) errno = record_pending_ ? EAGAIN : EPIPE;
    return sent;
}

bool Transport::send(ByteView bytes) {
    while (pending() == 0 && !bytes.empty()) {
        const ssize_t sent = write_some(bytes);
        if (sent < 0) {
            if (errno != EAGAIN) return false;
            break;
        }
        bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
    queue(bytes);
    return true;
}

void Transport::queue(ByteView bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }

bool Transport::flush() {
    while (pending() > 0) {
        const ssize_t sent = write_some(ByteView(out_).subspan(out_at_));
        if (sent < 0) return errno == EAGAIN;
        out_at_ += static_cast<std::size_t>(sent);
    }
    out_.clear();
    out_at_ = 0;
    return true;
}

}  // namespace virtgate::bench
