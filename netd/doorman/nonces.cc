// SPDX-License-Identifier: LGPL-2.1-or-later
// nonces - random values that one gate may use as a TLS server's random, each once.
#include "netd/doorman/nonces.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>

namespace virtgate::netd::doorman {

Result<std::vector<Nonces::Nonce>> Nonces::hand_out(std::size_t count) {
    std::vector<Nonce> fresh(count);
    for (Nonce& nonce : fresh) {
        // Up to 256 bytes come whole and without an interruption (getrandom(2)).
        if (getrandom(nonce.data(), nonce.size(), 0) != static_cast<ssize_t>(nonce.size()))
            return system_fault(
                errno, "there are no random numbers: the kernel does not give any, so nobody can come in");
        live_.insert(nonce);
        order_.push_back(nonce);
    }
    for (; order_.size() > k_kept; order_.pop_front()) live_.erase(order_.front());
    return fresh;
}

bool Nonces::spend(ByteView random) {
    Nonce nonce;
    if (random.size() != nonce.size()) return false;
    std::copy(random.begin(), random.end(), nonce.begin());
    return live_.erase(nonce) == 1;
}

}  // namespace virtgate::netd::doorman
