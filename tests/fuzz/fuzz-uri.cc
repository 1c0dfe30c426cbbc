// SPDX-License-Identifier: LGPL-2.1-or-later
// fuzz-uri - a URI is refused, or printed and read again as the same one.
#include <cstdint>

#include "libshared/base/result.h"
#include "libshared/client/uri.h"

using namespace virtgate;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(data, data + size);
    const auto uri = client::Uri::parse(text);
    if (!uri) {
        require(uri.error().cause == client::Cause::invalid && !uri.error().text.empty(),
                "refused without a reason");
        return 0;
    }
    const auto again = client::Uri::parse(uri->print());
    require(again.has_value() && *again == *uri, "another URI than was printed");
    // What a server is asked for has nothing of the way there in it; asking it again for that changes nothing.
    if (!uri->name && uri->driver != "remote") {
        const auto name = client::Uri::parse(uri->open_name());
        require(name.has_value() && name->host.empty() && name->user.empty() && !name->transport,
                "a name with a way in it");
        require(name->open_name() == uri->open_name(), "a name that is not final");
    }
    return 0;
}
