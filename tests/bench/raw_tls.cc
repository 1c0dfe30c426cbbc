// SPDX-License-Identifier: LGPL-2.1-or-later
// raw_tls - what GnuTLS alone moves in one direction on this machine: the yard-stick for streams.
//
//   virtgate-raw-tls PKIDIR BYTES       PKIDIR has servercert.pem and serverkey.pem
//
// One thread writes records of 16 KiB over TCP on the loopback address, another one reads them; TLS 1.3 with
// GnuTLS's own choices, as virtgate's. Prints one line of JSON, with the CPU time of each side by itself.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstdlib>
#include <ctime>
#include <memory>
#include <thread>
#include <vector>

#include "libshared/base/fd.h"
#include "libshared/base/handle.h"
#include "tests/bench/meter.h"

namespace {

using namespace virtgate;

using Credentials = std::unique_ptr<std::remove_pointer_t<gnutls_certificate_credentials_t>,
                                    FreeWith<gnutls_certificate_free_credentials>>;
using Session = std::unique_ptr<gnutls_session_int, FreeWith<gnutls_deinit>>;

Credentials make_credentials() {
    gnutls_certificate_credentials_t raw = nullptr;
    require(gnutls_certificate_allocate_credentials(&raw) == 0, "no credentials");
    return Credentials(raw);
}

Session shake_hands(unsigned role, const Credentials& credentials, int socket) {
    gnutls_session_t raw = nullptr;
    require(gnutls_init(&raw, role) == 0, "no session");
    Session session(raw);
    require(gnutls_set_default_priority(raw) == 0, "no priority");
    require(gnutls_credentials_set(raw, GNUTLS_CRD_CERTIFICATE, credentials.get()) == 0, "no credentials");
    gnutls_transport_set_int(raw, socket);
    int status = 0;
    do {
        status = gnutls_handshake(raw);
    } while (status < 0 && gnutls_error_is_fatal(status) == 0);
    require(status == 0, "the handshake failed");
    return session;
}

// Of this thread, in nanoseconds.
std::uint64_t read_own_cpu() noexcept {
    timespec used{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return static_cast<std::uint64_t>(used.tv_sec) * 1000000000U + static_cast<std::uint64_t>(used.tv_nsec);
}

// Two ends of a TCP connection.
void connect(UniqueFd& one, UniqueFd& other) {
    const UniqueFd listener{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    require(bind(listener.get(), any, size) == 0 && listen(listener.get(), 1) == 0 &&
                getsockname(listener.get(), any, &size) == 0,
            "no listener");
    one = UniqueFd{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    require(::connect(one.get(), any, size) == 0, "no connection");
    other = UniqueFd{accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
    require(static_cast<bool>(other), "no connection");
    const int on = 1;
    setsockopt(one.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

}  // namespace

int main(int count, char** words) {
    if (count != 3) return 2;
    const std::string directory = words[1];
    const std::uint64_t bytes = std::strtoull(words[2], nullptr, 10);
    const Credentials server = make_credentials(), client = make_credentials();
    require(gnutls_certificate_set_x509_key_file(server.get(), (directory + "/servercert.pem").c_str(),
                                                 (directory + "/serverkey.pem").c_str(),
                                                 GNUTLS_X509_FMT_PEM) == 0,
            "no certificate there");
    UniqueFd one, other;
    connect(one, other);
    std::uint64_t sender = 0;
    std::thread writer([&] {
        const Session session = shake_hands(GNUTLS_SERVER, server, other.get());
        const std::vector<char> record(16384, 0x5a);
        const std::uint64_t before = read_own_cpu();
        for (std::uint64_t left = bytes; left > 0;) {
            const ssize_t n = gnutls_record_send(session.get(), record.data(),
                                                 std::min<std::uint64_t>(left, record.size()));
            require(n > 0, "cannot send");
            left -= static_cast<std::uint64_t>(n);
        }
        sender = read_own_cpu() - before;
    });
    const Session session = shake_hands(GNUTLS_CLIENT, client, one.get());
    std::vector<char> buffer(16384);
    bench::Window window({});
    window.start();
    const std::uint64_t before = read_own_cpu();
    for (std::uint64_t left = bytes; left > 0;) {
        const ssize_t n = gnutls_record_recv(session.get(), buffer.data(), buffer.size());
        if (n < 0 && gnutls_error_is_fatal(static_cast<int>(n)) == 0) continue;
        require(n > 0, "cannot receive");
        left -= std::min<std::uint64_t>(left, static_cast<std::uint64_t>(n));
    }
    window.stop();
    const std::uint64_t receiver = read_own_cpu() - before;
    writer.join();
    fmt::print(
        "{{\"mode\": \"raw\", \"cipher\": \"{}\", \"rate\": {:.1f}, \"sender_cpu_ns\": {}, "
        "\"receiver_cpu_ns\": {}, {}}}\n",
        gnutls_cipher_get_name(gnutls_cipher_get(session.get())),
        static_cast<double>(bytes) / 1e6 / window.seconds(), sender, receiver, window.to_json());
    return 0;
}
