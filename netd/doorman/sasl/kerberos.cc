// SPDX-License-Identifier: LGPL-2.1-or-later
// kerberos - the realm that libsasl2 leaves off the names of Kerberos users.
#include "netd/doorman/sasl/kerberos.h"

#include <dlfcn.h>

#include <cstdint>
#include <memory>

#include "libshared/base/handle.h"

namespace virtgate::netd::doorman::sasl {

namespace {

struct Context;  // libkrb5's own

template <class Function>
Function* find(void* library, const char* name) noexcept {
    return reinterpret_cast<Function*>(dlsym(library, name));
}

}  // namespace

std::string find_default_realm() {
    // Four functions of an interface that has been stable for decades are not worth a dependency of the
    // build.
    const std::unique_ptr<void, FreeWith<dlclose>> library{dlopen("libkrb5.so.3", RTLD_LAZY | RTLD_NOLOAD)};
    if (!library) return {};
    const auto open = find<std::int32_t(Context**)>(library.get(), "krb5_init_context");
    const auto close = find<void(Context*)>(library.get(), "krb5_free_context");
    const auto get = find<std::int32_t(Context*, char**)>(library.get(), "krb5_get_default_realm");
    const auto free_realm = find<void(Context*, char*)>(library.get(), "krb5_free_default_realm");
    Context* context = nullptr;
    if (open == nullptr || close == nullptr || get == nullptr || free_realm == nullptr || open(&context) != 0)
        return {};
    std::string realm;
    if (char* text = nullptr; get(context, &text) == 0) {
        realm = text;
        free_realm(context, text);
    }
    close(context);
    return realm;
}

}  // namespace virtgate::netd::doorman::sasl
