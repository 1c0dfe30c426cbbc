// SPDX-License-Identifier: LGPL-2.1-or-later
// connection - TLS 1.3 on one client socket, in steps that never wait.
#include "netd/gate/tls/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace virtgate::netd::gate {

namespace {

// Shared by all connections of a thread; only used within one call.
struct ThreadBuffers {
    std::array<std::byte, Connection::k_read_max> in;
    ByteVector out;
};

ThreadBuffers& buffers() {
    static thread_local std::unique_ptr<ThreadBuffers> t_buffers = std::make_unique<ThreadBuffers>();
    return *t_buffers;
}

}  // namespace

Result<std::unique_ptr<TlsConnection>> TlsConnection::make(const Credentials& credentials, UniqueFd socket,
                                                           const Random& random, Ask ask) {
    auto made = std::unique_ptr<TlsConnection>(new TlsConnection(std::move(socket)));
    gnutls_session_t session;
    // No tickets: a resumed session would come without a proof that the client holds its key. And libvirt's clients
    // take the tickets that would come in front of the confirmation byte for an error.
    int code = gnutls_init(&session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS);
    if (code < 0) return system_fault(0, fmt::format("cannot start TLS: {}", gnutls_strerror(code)));
    made->session_.reset(session);
    const gnutls_datum_t nonce{reinterpret_cast<unsigned char*>(const_cast<std::byte*>(random.data())),
                               static_cast<unsigned>(random.size())};
    code = gnutls_priority_set(session, credentials.priority());
    if (code >= 0) code = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials.get());
    if (code >= 0) code = gnutls_handshake_set_random(session, &nonce);
    if (code < 0) return system_fault(0, fmt::format("cannot prepare TLS: {}", gnutls_strerror(code)));
    gnutls_certificate_server_set_request(session,
                                          ask == Ask::certificate ? GNUTLS_CERT_REQUEST : GNUTLS_CERT_IGNORE);
    gnutls_handshake_set_max_packet_length(session, Transcript::k_transcript_max);
    gnutls_handshake_set_timeout(session, 0);  // deadlines are the loop's
    gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_ANY, GNUTLS_HOOK_PRE, on_message);
    gnutls_session_set_ptr(session, made.get());
    gnutls_transport_set_ptr(session, made.get());
    gnutls_transport_set_pull_function(session, pull);
    gnutls_transport_set_push_function(session, push);
    return made;
}

TlsConnection::~TlsConnection() = default;

// Gives GnuTLS what it asks for out of the turn's buffer, and fills that buffer from the socket once.
ssize_t TlsConnection::pull(void* self, void* into, std::size_t size) noexcept {
    auto& c = *static_cast<TlsConnection*>(self);
    if (c.raw_.empty() && c.may_read_) {
        c.may_read_ = false;
        auto& in = buffers().in;
        // With what the last turn left: a stream whose records came out of step gets back into it.
        const std::size_t wanted = in.size() - std::min(c.saved_.size(), in.size() / 2);
        const ssize_t n = recv(c.socket_.get(), in.data(), wanted, MSG_DONTWAIT);
        if (n > 0)
            c.raw_ = ByteView(in).first(static_cast<std::size_t>(n));
        else if (n == 0)
            c.ended_ = true;
        else if (errno != EAGAIN && errno != EINTR)
            c.error_ = errno;
    }
    if (c.raw_.empty()) {
        if (c.ended_) return 0;
        gnutls_transport_set_errno(c.session_.get(), c.error_ != 0 ? c.error_ : EAGAIN);
        return -1;
    }
    const std::size_t n = std::min(size, c.raw_.size());
    std::memcpy(into, c.raw_.data(), n);
    c.raw_ = c.raw_.subspan(n);
    return static_cast<ssize_t>(n);
}

// Collects records; write_out() sends them. So GnuTLS never sees a full socket.
ssize_t TlsConnection::push(void* self, const void* bytes, std::size_t size) noexcept {
    auto& c = *static_cast<TlsConnection*>(self);
    try {
        auto& out = buffers().out;
        const auto* begin = static_cast<const std::byte*>(bytes);
        out.insert(out.end(), begin, begin + size);
    } catch (...) {
        gnutls_transport_set_errno(c.session_.get(), ENOMEM);
        return -1;
    }
    return static_cast<ssize_t>(size);
}

int TlsConnection::on_message(gnutls_session_t session, unsigned type, unsigned, unsigned incoming,
                              const gnutls_datum_t* body) noexcept {
    auto& c = *static_cast<TlsConnection*>(gnutls_session_get_ptr(session));
    try {
        const ByteView bytes(reinterpret_cast<const std::byte*>(body->data), body->size);
        if (c.transcript_.add(type, incoming != 0, bytes)) return 0;
        c.too_long_ = true;
    } catch (...) {
        return GNUTLS_E_MEMORY_ERROR;
    }
    return GNUTLS_E_HANDSHAKE_TOO_LARGE;
}

ByteVector TlsConnection::transcript_hash() const {
    return transcript_.hash(static_cast<int>(gnutls_prf_hash_get(session_.get())));
}

void TlsConnection::begin_turn() noexcept {
    raw_ = saved_;
    may_read_ = true;
    buffers().out.clear();
}

void TlsConnection::end_turn() {
    // What GnuTLS did not take stays here; the thread's buffer belongs to the next connection.
    if (raw_.empty()) {
        if (!saved_.empty()) saved_ = ByteVector{};
    } else {
        saved_ = ByteVector(raw_.begin(), raw_.end());
    }
    raw_ = {};
}

Step TlsConnection::fail(std::string_view why) noexcept {
    why_ = why;
    return Step::failed;
}

Step TlsConnection::handshake() {
    if (has_output()) {
        if (const Step step = flush(); step != Step::done) return step;
    }
    begin_turn();
    const SigningContext* before = set_signing_context(this);
    const int code = gnutls_handshake(session_.get());
    set_signing_context(before);
    end_turn();
    const Step sent = write_out(buffers().out);
    if (code == GNUTLS_E_SUCCESS) {
        // What follows (key updates) belongs to no transcript.
        gnutls_handshake_set_hook_function(session_.get(), GNUTLS_HANDSHAKE_ANY, GNUTLS_HOOK_PRE, nullptr);
        return sent == Step::want_write ? Step::done : sent;
    }
    if (sent == Step::failed) return sent;
    if (code == GNUTLS_E_AGAIN || code == GNUTLS_E_INTERRUPTED)
        return sent == Step::want_write ? sent : Step::want_read;
    if (code == GNUTLS_E_PREMATURE_TERMINATION || ended_) return Step::closed;
    if (too_long_) return fail("the handshake is too long");
    return fail(gnutls_strerror(code));
}

// Reads a part of one record, or all of it. done: there may be more.
Step TlsConnection::read_record(MutableBytes into, std::size_t& size) {
    for (;;) {
        const ssize_t n = gnutls_record_recv(session_.get(), into.data() + size, into.size() - size);
        if (n > 0) {
            size += static_cast<std::size_t>(n);
            return Step::done;
        }
        if (n == 0 || n == GNUTLS_E_PREMATURE_TERMINATION) return Step::closed;
        if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) return Step::want_read;
        if (n == GNUTLS_E_REHANDSHAKE) return fail("the peer asked for another handshake");
        if (gnutls_error_is_fatal(static_cast<int>(n)) != 0)
            return fail(gnutls_strerror(static_cast<int>(n)));
    }
}

Step TlsConnection::receive(MutableBytes into, std::size_t& size) {
    size = 0;
    begin_turn();
    Step step = Step::done;
    while (step == Step::done && into.size() - size >= k_record_max) step = read_record(into, size);
    end_turn();
    // GnuTLS answers a key update by itself.
    if (!buffers().out.empty() && write_out(buffers().out) == Step::failed) return Step::failed;
    return step;
}

Step TlsConnection::receive_some(MutableBytes into, std::size_t& size) {
    size = 0;
    begin_turn();
    const Step step = read_record(into, size);
    end_turn();
    if (!buffers().out.empty() && write_out(buffers().out) == Step::failed) return Step::failed;
    return step;
}

// A record of which only a part was asked for waits inside GnuTLS.
bool TlsConnection::has_input() const noexcept {
    return !saved_.empty() || gnutls_record_check_pending(session_.get()) != 0;
}

unsigned TlsConnection::strength() const noexcept {
    constexpr unsigned k_bits_of_a_byte = 8;
    return static_cast<unsigned>(gnutls_cipher_get_key_size(gnutls_cipher_get(session_.get()))) *
           k_bits_of_a_byte;
}

void TlsConnection::begin_records() noexcept { buffers().out.clear(); }

Step TlsConnection::add_records(ByteView bytes) {
    while (!bytes.empty()) {
        const ssize_t n =
            gnutls_record_send(session_.get(), bytes.data(), std::min(bytes.size(), k_record_max));
        if (n < 0) return fail(gnutls_strerror(static_cast<int>(n)));
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return Step::done;
}

Step TlsConnection::send_records() {
    const Step step = write_out(buffers().out);
    return step == Step::want_write ? Step::done : step;
}

// Sends records behind those that wait already; keeps what the kernel does not take.
Step TlsConnection::write_out(ByteView bytes) {
    if (!waiting_.empty()) {
        waiting_.add(bytes);
        return Step::want_write;
    }
    const Step step = write(bytes);
    if (step == Step::want_write) waiting_.add(bytes);
    return step;
}

// Sends what the kernel takes, and removes that from the front of `bytes`.
Step TlsConnection::write(ByteView& bytes) noexcept {
    while (!bytes.empty()) {
        const ssize_t n = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN && errno != ENOBUFS) return fail("the connection was lost");
        if (n < 0) return Step::want_write;
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return Step::done;
}

Step TlsConnection::flush() {
    ByteView bytes = waiting_.bytes();
    const Step step = write(bytes);
    waiting_.take(waiting_.size() - bytes.size());
    return step;
}

void TlsConnection::bye() noexcept {
    buffers().out.clear();
    static_cast<void>(gnutls_bye(session_.get(), GNUTLS_SHUT_WR));
    static_cast<void>(write_out(buffers().out));
}

}  // namespace virtgate::netd::gate
