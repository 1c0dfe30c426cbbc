// SPDX-License-Identifier: LGPL-2.1-or-later
// failure - why something that was asked of a server did not happen.
#include "libshared/client/failure.h"

#include <fmt/format.h>

#include <cstring>

#include "libshared/rpc/error.h"
#include "libshared/xdr/reader.h"

namespace virtgate::client {

namespace {

constexpr std::uint32_t k_text_max = 4194304;
// What is shown of it in one line.
constexpr std::size_t k_shown_max = 1024;
constexpr std::size_t k_uuid_size = 16;
// A server that lacks a procedure says it in words only.
constexpr std::string_view k_unknown_procedure = "unknown procedure";

std::string take_text(xdr::Reader& reader) {
    return reader.boolean() ? std::string(as_text(reader.opaque(k_text_max))) : std::string();
}

// The objects that an error may name are not sent by any known server; they are passed over.
void skip_object(xdr::Reader& reader, bool has_id) {
    if (!reader.boolean()) return;
    static_cast<void>(reader.opaque(k_text_max));
    std::byte uuid[k_uuid_size];
    reader.fixed_opaque(uuid);
    if (has_id) static_cast<void>(reader.i32());
}

}  // namespace

std::string_view to_text(Cause cause) noexcept {
    switch (cause) {
        case Cause::remote: return "remote";
        case Cause::invalid: return "invalid";
        case Cause::unsupported: return "unsupported";
        case Cause::system: return "system";
        case Cause::unreachable: return "unreachable";
        case Cause::untrusted: return "untrusted";
        case Cause::denied: return "denied";
        case Cause::protocol: return "protocol";
        case Cause::closed: return "closed";
        case Cause::timeout: return "timeout";
        case Cause::cancelled: return "cancelled";
        case Cause::busy: return "busy";
    }
    return "unknown";
}

tl::unexpected<Failure> fail(Cause cause, std::string text) {
    return tl::unexpected<Failure>(Failure{.cause = cause, .text = std::move(text)});
}

tl::unexpected<Failure> fail_system(int number, std::string text) {
    char buffer[128];
    if (number != 0) text += fmt::format(": {}", strerror_r(number, buffer, sizeof buffer));
    return tl::unexpected<Failure>(
        Failure{.cause = Cause::system, .text = std::move(text), .number = number});
}

tl::unexpected<Failure> fail(Failure failure) { return tl::unexpected<Failure>(std::move(failure)); }

Failure read_remote_error(ByteView payload) {
    xdr::Reader reader(payload);
    RemoteError error;
    error.code = reader.i32();
    error.domain = reader.i32();
    error.message = take_text(reader);
    error.level = reader.i32();
    skip_object(reader, true);
    error.str1 = take_text(reader);
    error.str2 = take_text(reader);
    error.str3 = take_text(reader);
    error.int1 = reader.i32();
    error.int2 = reader.i32();
    skip_object(reader, false);
    if (!reader.ok())
        return {.cause = Cause::protocol, .text = "the server sent an error that cannot be read"};
    if (error.code == rpc::k_code_rpc && error.message.starts_with(k_unknown_procedure))
        error.code = rpc::k_code_no_support;
    std::string text = error.message.empty() ? fmt::format("error {} without a text", error.code)
                                             : escape(error.message, k_shown_max);
    return {.cause = Cause::remote, .text = std::move(text), .remote = std::move(error)};
}

}  // namespace virtgate::client
