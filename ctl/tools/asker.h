// SPDX-License-Identifier: LGPL-2.1-or-later
// asker - procedures by name, with JSON for arguments and results (libshared/reflect/json.h).
//
// Owns: nothing; the connection and the catalogue have to live as long.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "libshared/client/connection.h"
#include "libshared/reflect/catalogue.h"
#include "libshared/reflect/json.h"

namespace virtgate::ctl::tools {

using reflect::Json;

class Asker {
public:
    Asker(client::Connection& connection, const reflect::Catalogue& catalogue)
        : connection_(connection), catalogue_(catalogue) {}

    // Error: the call's; Cause::invalid, if the arguments are not the procedure's.
    [[nodiscard]] client::Result<Json> ask(std::string_view procedure, const Json& arguments,
                                           const client::Deadline& deadline = {});

    // Many at a time, so that a far server is waited for once; the results in the order of the arguments.
    [[nodiscard]] std::vector<client::Result<Json>> ask_each(std::string_view procedure,
                                                             const std::vector<Json>& arguments,
                                                             const client::Deadline& deadline = {});

    struct Streaming {
        Json result;
        client::Stream stream;
    };
    // The stream has holes if the flags among the arguments ask for them.
    [[nodiscard]] client::Result<Streaming> open_stream(std::string_view procedure, const Json& arguments,
                                                        const client::Deadline& deadline = {});

    [[nodiscard]] const reflect::Catalogue& catalogue() const noexcept { return catalogue_; }
    [[nodiscard]] client::Connection& connection() const noexcept { return connection_; }

private:
    [[nodiscard]] client::Result<reflect::Catalogue::Entry> find(std::string_view procedure) const;
    client::Connection& connection_;
    const reflect::Catalogue& catalogue_;
};

}  // namespace virtgate::ctl::tools
