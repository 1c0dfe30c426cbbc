// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - what a store has issued, for people and for programs.
#pragma once

#include <ctime>
#include <string>

#include "ctl/pki/store.h"

namespace virtgate::ctl::pki {

// A table with one line for each certificate, or JSON. Replaced certificates and revoked ones that have
// expired too are left out unless `all`. Error: system's fault, a file of the store cannot be read.
Result<std::string> list_store(const Store& store, std::time_t now, bool all, bool json);

}  // namespace virtgate::ctl::pki
