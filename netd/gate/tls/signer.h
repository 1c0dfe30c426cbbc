// SPDX-License-Identifier: LGPL-2.1-or-later
// signer - asks the keeper for the server's signature.
//
// The gate has no private key: it sends the transcript's hash, and the keeper builds and signs the content that
// TLS 1.3 prescribes around it (proto/keeper.x).
//
// Trust:  the keeper is trusted; its answers are still checked for form.
// Limits: one question at a time; the calling thread waits for the answer, at most k_answer_time. GnuTLS gives no
//         other choice: its signing callback is synchronous (which is why handshakes have a thread of their own).
// Owns:   the channel to the keeper.
#pragma once

#include "libshared/base/bytes.h"
#include "libshared/base/clock.h"
#include "libshared/base/fd.h"

namespace virtgate::netd::gate {

class Signer {
public:
    static constexpr Milliseconds k_answer_time{5000};

    // Uses `channel` (SOCK_SEQPACKET) from now on, in place of an earlier one.
    Done adopt(UniqueFd channel);

    // False while there is no keeper: no handshake can succeed then. Notices that a keeper has ended.
    [[nodiscard]] bool ready() noexcept;

    // The signature with the TLS SignatureScheme `scheme` for the server's CertificateVerify at `transcript_hash`.
    // Error: system's fault, if there is no keeper, or it refuses or does not answer; the channel is closed then
    // unless the keeper refused.
    [[nodiscard]] Result<ByteVector> ask_sign(std::uint16_t scheme, ByteView transcript_hash);

private:
    Result<ByteVector> exchange(std::uint16_t scheme, ByteView transcript_hash);
    UniqueFd channel_;
    std::uint32_t serial_ = 0;
};

}  // namespace virtgate::netd::gate
