// SPDX-License-Identifier: LGPL-2.1-or-later
// fuzz-auth-file - auth.conf is refused with a line, or can be searched.
#include <cstdint>

#include "libshared/base/result.h"
#include "libshared/client/auth_file.h"

using namespace virtgate;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(data, data + size);
    const auto file = client::AuthFile::parse(text);
    if (!file) {
        require(!file.error().text.empty(), "refused without a reason");
        return 0;
    }
    const auto found = file->find("libvirt", "host");
    require(!found || *found == nullptr || file->section("auth-libvirt-host") != nullptr ||
                file->section("auth-libvirt-default") != nullptr,
            "credentials out of nowhere");
    return 0;
}
