// SPDX-License-Identifier: LGPL-2.1-or-later
// ciphers - the ciphers of DIGEST-MD5's security layer, loaded while code may still be loaded.
#include "netd/doorman/sasl/ciphers.h"

#include <dlfcn.h>

namespace virtgate::netd::doorman::sasl {

void load_old_ciphers() noexcept {
    // Source: OSSL_PROVIDER(3), OpenSSL 3. One stable function of a library that only a plugin links. Its handle is not
    // given back: what it has loaded has to stay.
    void* const library = dlopen("libcrypto.so.3", RTLD_LAZY | RTLD_NOLOAD);
    if (library == nullptr) return;
    using Load = void*(void* context, const char* name);
    const auto load = reinterpret_cast<Load*>(dlsym(library, "OSSL_PROVIDER_load"));
    if (load == nullptr) return;
    // Both: with one loaded by name, the other one is not loaded by itself any more.
    static_cast<void>(load(nullptr, "default"));
    static_cast<void>(load(nullptr, "legacy"));
}

}  // namespace virtgate::netd::doorman::sasl
