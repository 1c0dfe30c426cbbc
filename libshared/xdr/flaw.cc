// SPDX-License-Identifier: LGPL-2.1-or-later
// flaw - the words for each flaw.
#include "libshared/xdr/flaw.h"

namespace virtgate::xdr {

std::string_view to_text(Flaw flaw) noexcept {
    switch (flaw) {
        case Flaw::none: return "no flaw";
        case Flaw::truncated: return "payload ends too early";
        case Flaw::trailing_bytes: return "payload has bytes after its end";
        case Flaw::string_too_long: return "string longer than its limit";
        case Flaw::array_too_long: return "array longer than its limit";
        case Flaw::nul_in_string: return "NUL byte in a string";
        case Flaw::control_in_name: return "control byte in a name";
        case Flaw::out_of_range: return "number outside its range";
        case Flaw::product_too_large: return "product of two numbers above its limit";
        case Flaw::lengths_differ: return "arrays of different length";
        case Flaw::bad_union: return "unknown union arm";
        case Flaw::bad_enum: return "unknown enumeration value";
        case Flaw::no_room: return "value does not fit its buffer";
        case Flaw::bad_schema: return "no such type";
    }
    return "unknown flaw";
}

}  // namespace virtgate::xdr
