// SPDX-License-Identifier: LGPL-2.1-or-later
// ciphers - the ciphers of DIGEST-MD5's security layer, loaded while code may still be loaded.
#pragma once

namespace virtgate::netd::doorman::sasl {

// Loads what OpenSSL keeps in a module of its own for ciphers as old as RC4. Without it libsasl2's plugin asks for that in
// an exchange, which may not map code. Does nothing where no plugin uses OpenSSL.
void load_old_ciphers() noexcept;

}  // namespace virtgate::netd::doorman::sasl
