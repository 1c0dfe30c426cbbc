// SPDX-License-Identifier: LGPL-2.1-or-later
// handle - C objects owned by std::unique_ptr.
#pragma once

#include <memory>

namespace virtgate {

// A deleter that calls the library's own free function:
//   using TlsSession = std::unique_ptr<gnutls_session_int, FreeWith<gnutls_deinit>>;
// It has no state, so the pointer stays as small as a raw one.
template <auto Free>
struct FreeWith {
    template <class T>
    void operator()(T* object) const noexcept {
        Free(object);
    }
};

}  // namespace virtgate
