// SPDX-License-Identifier: LGPL-2.1-or-later
// resolve - from what the files say to the compiled table.
#include "policy/resolve.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "policy/accounts.h"
#include "policy/bounds.h"
#include "policy/groups.h"
#include "policy/limits.h"
#include "policy/parse.h"
#include "policy/role_set.h"
#include "proto/programs.h"

namespace virtgate::policy {

namespace {

using proto::policy::Grant;
using proto::policy::IdentityRule;
using proto::policy::PolicyTable;

constexpr std::uint32_t k_format = 5;

constexpr std::size_t k_role_text_max = 1000;
// Bytes that a policy may take, and so many more for each binding that is written.
constexpr std::size_t k_room = std::size_t{16} << 20, k_room_each = 4096;
constexpr std::string_view k_and_so_on = ", ...";

class Resolver {
public:
    Resolver(const Source& source, Complaints& complaints)
        : source_(source), complaints_(complaints), roles_(source, complaints) {}

    PolicyTable run() {
        for (const IdentitySource& identity : source_.identities) add_identity(identity);
        for (const BindingSource& binding : source_.bindings) bind(binding);
        PolicyTable table{.format = k_format, .identities = {}, .shadowed = read_probation()};
        if (identities_.size() > proto::policy::k_identities_max)
            complaints_.error(source_.identities.back().name.at, "too many identities");
        else
            for (auto& [name, identity] : identities_) table.identities.push_back(finish(name, identity));
        if (complaints_.errors() == 0) warn_of_unused_roles();
        return table;
    }

private:
    struct Bound {
        const BindingSource* binding;
        const CompiledRole* role;
    };
    struct Identity {
        const IdentitySource* source;
        std::vector<Bound> bound{};
        bool is_named = false;  // by a binding, whatever is wrong with that
    };

    // Said at every compilation, so that nobody forgets it.
    proto::policy::Probation read_probation() {
        using proto::policy::Probation;
        const auto& global = source_.global;
        if (!global.shadow) return Probation::probation_nobody;
        complaints_.warning(*global.shadow,
                            global.is_open
                                ? "the policy is on probation: it refuses nothing to anybody that it knows"
                                : "the policy is on probation: it refuses nothing to local clients");
        return global.is_open ? Probation::probation_all : Probation::probation_local;
    }

    void add_identity(const IdentitySource& identity) {
        const auto [old, is_new] = identities_.emplace(identity.name.text, Identity{&identity});
        if (!is_new)
            complaints_.error(identity.name.at,
                              twice("identity", identity.name.text, old->second.source->name.at));
    }

    static std::string twice(std::string_view what, std::string_view name, const Place& first) {
        return fmt::format("the {} \"{}\" is defined already, in {}:{}", what, name, escape(first.file),
                           first.line);
    }

    void bind(const BindingSource& binding) {
        if (complaints_.is_full()) return;
        std::set<std::string_view> roles;
        for (const Text& role : binding.roles) {
            const CompiledRole* found = roles_.find(role.text);
            if (found == nullptr)
                complaints_.error(role.at, fmt::format("unknown role \"{}\"{}", escape(role.text),
                                                       did_you_mean(role.text, roles_.names())));
            else if (roles.insert(role.text).second)
                warn_of_missing_objects(binding, role, *found);
        }
        used_roles_.insert(roles.begin(), roles.end());
        std::set<std::string_view> names;
        for (const Text& name : binding.identities) {
            const auto identity = identities_.find(name.text);
            if (identity == identities_.end())
                complaints_.error(name.at, fmt::format("unknown identity \"{}\"{}", escape(name.text),
                                                       did_you_mean(name.text, names_of(identities_))));
            else if (names.insert(name.text).second) {
                identity->second.is_named = true;
                for (const std::string_view role : roles) {
                    const CompiledRole* found = roles_.find(role);
                    if (!has_room(binding, *found)) break;
                    identity->second.bound.push_back({&binding, found});
                }
            }
        }
    }

    // A binding of a thousand identities and a thousand roles is short, and becomes a million grants, each with copies of
    // its role and of the objects.
    bool has_room(const BindingSource& binding, const CompiledRole& role) {
        const std::size_t most = k_room + k_room_each * source_.bindings.size();
        const bool was_full = room_ > most;
        room_ += sizeof(Grant) +
                 sizeof(proto::policy::FlagRule) *
                     (role.grant.conditions.size() + role.grant.denied_flags.size()) +
                 sizeof(proto::policy::ObjectPattern) * (binding.objects.size() + binding.except.size());
        if (room_ > most && !was_full)
            complaints_.error(
                binding.at, fmt::format("more than {} MiB for what all bindings come to: every identity has "
                                        "a copy of each of its roles, with the objects",
                                        most >> 20));
        return room_ <= most;
    }

    // The commonest mistake, and the hardest to see: the role is right, and there is nothing to use it on.
    void warn_of_missing_objects(const BindingSource& binding, const Text& role,
                                 const CompiledRole& compiled) {
        if (binding.has_objects || compiled.is_built_in) return;
        for (std::size_t kind = 0; kind < k_kinds; ++kind)
            if ((compiled.acts_on >> kind & 1) != 0) {
                const std::string_view word = to_text(static_cast<ObjectKind>(kind));
                return complaints_.warning(
                    role.at,
                    fmt::format("the role \"{}\" acts on objects and the binding names none: add objects "
                                "= {{ {} = [\"glob:*\"] }}, or what is meant",
                                role.text, word));
            }
    }

    void warn_of_unused_roles() {
        for (const RoleSource& role : source_.roles)
            for (const Text& name : role.include) used_roles_.insert(name.text);
        for (const RoleSource& role : source_.roles)
            if (!used_roles_.contains(role.name.text))
                complaints_.warning(role.name.at, fmt::format("nobody has the role \"{}\"", role.name.text));
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
        for (const Bound& bound : identity.bound) rule.grants.push_back(grant_of(bound));
        std::sort(rule.grants.begin(), rule.grants.end(), [](const Grant& a, const Grant& b) {
            return std::tie(a.role, a.file, a.line) < std::tie(b.role, b.file, b.line);
        });
        if (rule.grants.size() > proto::policy::k_grants_max) {
            complaints_.error(at, fmt::format("the identity \"{}\" has too many bindings", name));
            rule.grants.clear();
        }
        const std::string* last = nullptr;
        for (const Grant& grant : rule.grants) {
            if (last != nullptr && *last == grant.role) continue;
            last = &grant.role;
            if (rule.role.size() < k_role_text_max - k_name_max)
                rule.role.append(rule.role.empty() ? "" : ", ").append(grant.role);
            else if (!rule.role.ends_with(k_and_so_on))
                rule.role += k_and_so_on;
        }
        for (const Bound& bound : identity.bound)
            if (!bound.binding->shadow) widen(rule.limits, bound.role->limits);
        for (const Bound& bound : identity.bound)
            if (!bound.binding->shadow) tighten(rule.limits, bound.binding->limits);
        tighten(rule.limits, source_.global.limits);
        if (!identity.is_named)
            complaints_.warning(at,
                                fmt::format("no binding names the identity \"{}\": it may do nothing", name));
        return rule;
    }

    static Grant grant_of(const Bound& bound) {
        const BindingSource& binding = *bound.binding;
        Grant grant = bound.role->grant;
        grant.file = binding.at.file;
        grant.line = binding.at.line;
        grant.everything = bound.role->is_built_in && !binding.has_objects && binding.except.empty();
        grant.objects = binding.objects;
        grant.except = binding.except;
        grant.shadow = binding.shadow;
        grant.keep = binding.keep;
        grant.listeners = binding.listeners;
        grant.not_before = binding.not_before;
        grant.not_after = binding.not_after;
        return grant;
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

    const Source& source_;
    Complaints& complaints_;
    const RoleSet roles_;
    std::set<std::string_view> used_roles_;
    std::size_t room_ = 0;
    std::map<std::string_view, Identity> identities_;
};

}  // namespace

PolicyTable resolve(const Source& source, Complaints& complaints) {
    const std::optional<Source> rest = cut_to_bounds(source, complaints);
    return Resolver(rest ? *rest : source, complaints).run();
}

}  // namespace virtgate::policy
