// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - the users of a file, for people and for programs.
#include "ctl/passwd/listing.h"

#include <fmt/format.h>
#include <algorithm>
#include <nlohmann/json.hpp>

namespace virtgate::ctl::passwd {

using Json = nlohmann::ordered_json;

std::vector<std::string> list_mechanisms(const userdb::User& user) {
    std::vector<std::string> names;
    for (const userdb::Verifier& verifier : user.verifiers)
        names.emplace_back(userdb::mechanism_of(verifier.hash));
    // A password that comes in clear text is checked with a verifier too.
    names.emplace_back("PLAIN");
    if (user.digest) names.emplace_back("DIGEST-MD5");
    return names;
}

std::string list_text(const userdb::Users& users) {
    std::size_t width = 4;
    for (const auto& [name, user] : users.all()) width = std::max(width, name.size());
    std::string text = fmt::format("{:{}}  {:20}  {}\n", "NAME", width, "CHANGED", "CAN LOG IN WITH");
    for (const auto& [name, user] : users.all()) {
        text += fmt::format("{:{}}  {:20}  {}", name, width, userdb::format_time(user.changed),
                            fmt::join(list_mechanisms(user), ", "));
        if (user.digest) text += fmt::format(" (realm {})", user.digest->realm);
        text += "\n";
    }
    return text;
}

std::string list_json(const userdb::Users& users) {
    Json list = Json::array();
    for (const auto& [name, user] : users.all()) {
        std::uint32_t iterations = ~0U;
        for (const userdb::Verifier& verifier : user.verifiers)
            iterations = std::min(iterations, verifier.iterations);
        list.push_back({{"name", name},
                        {"mechanisms", list_mechanisms(user)},
                        {"realm", user.digest ? Json(user.digest->realm) : Json(nullptr)},
                        {"iterations", iterations},
                        {"changed", userdb::format_time(user.changed)}});
    }
    return Json{{"users", list}}.dump(2) + "\n";
}

}  // namespace virtgate::ctl::passwd
