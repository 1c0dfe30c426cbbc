// SPDX-License-Identifier: LGPL-2.1-or-later
// attributes - the names by which a policy speaks of the parts of a certificate's subject.
#include "policy/attributes.h"

#include <algorithm>
#include <array>

namespace virtgate::policy {

namespace {

struct Alias {
    std::string_view name, canonical;
};

// RFC 4514 and RFC 4519 names, and the one for mail addresses that most tools use.
constexpr std::array k_aliases{
    Alias{"CN", "CN"},
    Alias{"O", "O"},
    Alias{"OU", "OU"},
    Alias{"C", "C"},
    Alias{"ST", "ST"},
    Alias{"L", "L"},
    Alias{"DC", "DC"},
    Alias{"UID", "UID"},
    Alias{"emailAddress", "EMAIL"},
    Alias{"EMAIL", "EMAIL"},
    Alias{"street", "street"},
    Alias{"title", "title"},
    Alias{"serialNumber", "serialNumber"},
    Alias{"givenName", "givenName"},
    Alias{"surName", "surName"},
    Alias{"name", "name"},
    Alias{"pseudonym", "pseudonym"},
    Alias{"description", "description"},
};

bool is_oid(std::string_view text) noexcept {
    return text.size() > 2 && text.find('.') != text.npos &&
           text.find_first_not_of("0123456789.") == text.npos && text.front() != '.' && text.back() != '.' &&
           text.find("..") == text.npos;
}

}  // namespace

std::string_view canonical_attribute(std::string_view name) noexcept {
    const auto alias = std::find_if(k_aliases.begin(), k_aliases.end(),
                                    [&](const Alias& each) { return each.name == name; });
    if (alias != k_aliases.end()) return alias->canonical;
    return is_oid(name) ? name : std::string_view{};
}

const std::vector<std::string_view>& known_attributes() {
    static const std::vector<std::string_view> k_names = [] {
        std::vector<std::string_view> names;
        for (const Alias& alias : k_aliases) names.push_back(alias.name);
        return names;
    }();
    return k_names;
}

}  // namespace virtgate::policy
