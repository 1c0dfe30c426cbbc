// SPDX-License-Identifier: LGPL-2.1-or-later
// resolve - from what the files say to the compiled table.
#include "policy/resolve.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "policy/accounts.h"
#include "policy/groups.h"

namespace virtgate::policy {

namespace {

using proto::policy::IdentityRule;
using proto::policy::PolicyTable;

constexpr std::uint32_t k_format = 2;
constexpr std::string_view k_built_in_role = "admin";

class Resolver {
public:
    Resolver(const Source& source, Complaints& complaints) : source_(source), complaints_(complaints) {
        roles_.emplace(k_built_in_role, &k_admin);
    }

    PolicyTable run() {
        for (const RoleSource& role : source_.roles) add_role(role);
        for (const IdentitySource& identity : source_.identities) add_identity(identity);
        for (const BindingSource& binding : source_.bindings) bind(binding);
        PolicyTable table{.format = k_format, .identities = {}};
        if (identities_.size() > proto::policy::k_identities_max)
            complaints_.error(source_.identities.back().name.at, "too many identities");
        else
            for (auto& [name, identity] : identities_) table.identities.push_back(finish(name, identity));
        return table;
    }

private:
    struct Identity {
        const IdentitySource* source;
        std::set<std::string_view> roles;
    };

    void add_role(const RoleSource& role) {
        const auto [old, is_new] = roles_.emplace(role.name.text, &role);
        if (!is_new)
            complaints_.error(role.name.at, old->second == &k_admin
                                                ? fmt::format("the role \"{}\" is built in", role.name.text)
                                                : twice("role", role.name.text, old->second->name.at));
        for (const Text& group : role.allow) {
            proto::who::Ceiling ignored;
            if (!add_group(group.text, ignored))
                complaints_.error(group.at,
                                  fmt::format("unknown procedure group \"{}\"{}", escape(group.text),
                                              did_you_mean(group.text, known_groups())));
        }
    }

    void add_identity(const IdentitySource& identity) {
        const auto [old, is_new] = identities_.emplace(identity.name.text, Identity{&identity, {}});
        if (!is_new)
            complaints_.error(identity.name.at,
                              twice("identity", identity.name.text, old->second.source->name.at));
    }

    static std::string twice(std::string_view what, std::string_view name, const Place& first) {
        return fmt::format("the {} \"{}\" is defined already, in {}:{}", what, name, escape(first.file),
                           first.line);
    }

    void bind(const BindingSource& binding) {
        for (const Text& role : binding.roles)
            if (!roles_.contains(role.text))
                complaints_.error(role.at, fmt::format("unknown role \"{}\"{}", escape(role.text),
                                                       did_you_mean(role.text, names_of(roles_))));
        for (const Text& name : binding.identities) {
            const auto identity = identities_.find(name.text);
            if (identity == identities_.end())
                complaints_.error(name.at, fmt::format("unknown identity \"{}\"{}", escape(name.text),
                                                       did_you_mean(name.text, names_of(identities_))));
            else
                for (const Text& role : binding.roles) identity->second.roles.insert(role.text);
        }
    }

    template <class Map>
    static std::vector<std::string_view> names_of(const Map& map) {
        std::vector<std::string_view> names;
        for (const auto& [name, ignored] : map) names.push_back(name);
        return names;
    }

    IdentityRule finish(std::string_view name, const Identity& identity) {
        const Place& at = identity.source->name.at;
        IdentityRule rule;
        rule.name = name;
        rule.file = at.file;
        rule.line = at.line;
        rule.all = look_up(identity.source->all);
        for (const TestSource& test : identity.source->any) rule.any.push_back(look_up(test));
        for (const std::string_view role : identity.roles) {
            rule.role += rule.role.empty() ? "" : ", ";
            rule.role += role;
            const auto known = roles_.find(role);
            if (known != roles_.end())
                for (const Text& group : known->second->allow)
                    static_cast<void>(add_group(group.text, rule.may));  // unknown ones were complained about
        }
        if (identity.roles.empty())
            complaints_.warning(at,
                                fmt::format("no binding names the identity \"{}\": it may do nothing", name));
        if (rule.role.size() > proto::who::k_text_max)
            complaints_.error(at, fmt::format("the identity \"{}\" has too many roles", name));
        return rule;
    }

    // The test of `source`, with numbers for the names in it.
    proto::policy::ClientTest look_up(const TestSource& source) {
        proto::policy::ClientTest test = source.test;
        if (source.user) {
            const auto uid = number_of(*source.user, "user", find_user(source.user->text));
            if (uid && test.local->uid && *test.local->uid != *uid)
                complaints_.error(source.user->at,
                                  fmt::format("nobody can match: the uid of \"{}\" is {}, not {}",
                                              escape(source.user->text), *uid, *test.local->uid));
            test.local->uid = uid;
        }
        if (source.group)
            if (const auto gid = number_of(*source.group, "group", find_group(source.group->text)))
                test.local->groups.push_back(*gid);
        return test;
    }

    std::optional<std::uint32_t> number_of(const Text& name, std::string_view kind,
                                           const Result<std::optional<std::uint32_t>>& found) {
        if (!found)
            complaints_.error(name.at, fmt::format("the {} \"{}\" cannot be looked up: {}", kind,
                                                   escape(name.text), found.error().text));
        else if (!*found)
            complaints_.error(name.at, fmt::format("there is no {} \"{}\"", kind, escape(name.text)));
        else
            return **found;
        return std::nullopt;
    }

    static inline const RoleSource k_admin{.name = {std::string(k_built_in_role), {}},
                                           .allow = {{"@admin", {}}}};

    const Source& source_;
    Complaints& complaints_;
    std::map<std::string_view, const RoleSource*> roles_;
    std::map<std::string_view, Identity> identities_;
};

}  // namespace

PolicyTable resolve(const Source& source, Complaints& complaints) {
    return Resolver(source, complaints).run();
}

}  // namespace virtgate::policy
