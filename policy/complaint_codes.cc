// SPDX-License-Identifier: LGPL-2.1-or-later
// complaint_codes - a word for each kind of mistake in a policy.
#include "policy/complaint_codes.h"

#include <algorithm>
#include <array>

#include "policy/glob.h"

namespace virtgate::policy {

namespace {

constexpr std::array k_codes{
    // Files.
    ComplaintCode{"file-skipped", "passed over: *"},
    ComplaintCode{"file-unsafe", "*it belongs neither to root nor to the user that reads it"},
    ComplaintCode{"file-unsafe", "*its group or others may write to it"},
    ComplaintCode{"file-unsafe", "it is a link out of its directory"},
    ComplaintCode{"file-unreadable", "cannot be read: *"},
    ComplaintCode{"file-unreadable", "cannot read the directory: *"},
    ComplaintCode{"file-unreadable", "not used: "},
    ComplaintCode{"file-unreadable", "it is not a file"},
    ComplaintCode{"file-unreadable", "it is larger than *"},
    ComplaintCode{"file-unreadable", "it changed while it was read"},
    ComplaintCode{"no-files", "there is no policy file: *"},
    // Form.
    ComplaintCode{"version", "\"version = 1\" is missing"},
    ComplaintCode{"version", "only version 1 of policy files is known"},
    ComplaintCode{"unknown-key", "unknown key *"},
    ComplaintCode{"bad-name", "\"*\" is no name: *"},
    ComplaintCode{"bad-form", "write [*] instead"},
    ComplaintCode{"missing-key", "the binding has no *"},
    ComplaintCode{"empty", "the group \"*\" is empty"},
    ComplaintCode{"empty", "the role \"*\" allows nothing"},
    ComplaintCode{"empty", "\"xml\" forbids nothing: *"},
    ComplaintCode{"empty", "\"xml\" forbids nothing: *"},
    ComplaintCode{"too-many", "more than *"},
    ComplaintCode{"too-many", "too many *"},
    ComplaintCode{"too-many", "the * has too many *"},
    ComplaintCode{"too-many", "the * includes others more than *"},
    ComplaintCode{"too-many", "the * has more than *"},
    // Names that nothing has.
    ComplaintCode{"unknown-role", "unknown role *"},
    ComplaintCode{"unknown-identity", "unknown identity *"},
    ComplaintCode{"unknown-group", "unknown procedure group *"},
    ComplaintCode{"unknown-listener", "unknown listener *"},
    ComplaintCode{"unknown-attribute", "unknown attribute *"},
    ComplaintCode{"unknown-mechanism", "unknown mechanism *"},
    ComplaintCode{"unknown-flag", "unknown flag *"},
    ComplaintCode{"unknown-element", "libvirt has no prefix *"},
    ComplaintCode{"unknown-element", "* is an uncommon name for an element*"},
    ComplaintCode{"unknown-permission", "libvirt has no permission *"},
    ComplaintCode{"unknown-permission", "nothing is redacted for *"},
    ComplaintCode{"unknown-procedure", "there is no call *"},
    ComplaintCode{"unknown-procedure", "* has no call *"},
    ComplaintCode{"unknown-procedure", "* has no event *"},
    ComplaintCode{"unknown-procedure", "* begins with no program: *"},
    ComplaintCode{"unknown-element", "libvirt has no prefix *"},
    ComplaintCode{"unknown-element", "\"*\" is an uncommon name for an element*"},
    ComplaintCode{"unknown-account", "there is no user *"},
    ComplaintCode{"unknown-account", "there is no group *"},
    ComplaintCode{"unknown-account", "the * cannot be looked up: *"},
    // Names that there are too often.
    ComplaintCode{"defined-twice", "the * is defined already, in *"},
    ComplaintCode{"built-in", "the * is built in"},
    ComplaintCode{"circle", "the role \"*\" includes itself"},
    ComplaintCode{"circle", "the group \"*\" contains itself"},
    // Words of roles.
    ComplaintCode{"bad-word", "\"*\" is no permission*"},
    ComplaintCode{"bad-word", "\"*\" has to be flag:PROCEDURE:FLAG"},
    ComplaintCode{"bad-word", "flags are allowed with their procedure: *"},
    ComplaintCode{"bad-word", "only flags can be required: *"},
    ComplaintCode{"denied-for-good", "* can be allowed to nobody"},
    ComplaintCode{"passthrough", "* passes on anything: *"},
    // Who a client is.
    ComplaintCode{"everybody", "*would match everybody*"},
    ComplaintCode{"everybody", "* has no conditions"},
    ComplaintCode{"nobody", "nobody can match: *"},
    ComplaintCode{"bad-value", "\"mechanism\" says how \"sasl\" was proved: *"},
    ComplaintCode{"bad-pattern", "an empty pattern matches nothing"},
    ComplaintCode{"bad-pattern", "an empty text matches nothing"},
    ComplaintCode{"bad-pattern", "character sets are not supported in patterns"},
    ComplaintCode{"bad-pattern", "the text is too long"},
    ComplaintCode{"bad-pattern", "the text contains a control character, *"},
    ComplaintCode{"bad-address", "\"*\" is no address, *"},
    ComplaintCode{"bad-address", "write an IPv4 address as such, *"},
    ComplaintCode{"bad-address", "the number behind the \"/\" has to be *"},
    ComplaintCode{"bad-address", "the address has bits behind its prefix: *"},
    // Objects and conditions of bindings.
    ComplaintCode{"bad-pattern", "\"*\" is no *: *"},
    ComplaintCode{"no-objects", "there are no objects from which this could be an exception"},
    ComplaintCode{"no-objects", "the role \"*\" acts on objects and the binding names none: *"},
    ComplaintCode{"bad-value", "this is before \"not_before\""},
    ComplaintCode{"bad-value", "no setting is a date or a time"},
    ComplaintCode{"bad-value", "\"*\" has to be *"},
    // What works, and is perhaps not meant.
    ComplaintCode{"powerful", "role \"*\" is root-equivalent: *"},
    ComplaintCode{"unused", "nobody has the role *"},
    ComplaintCode{"unused", "no role uses the group *"},
    ComplaintCode{"unbound", "no binding names the identity *"},
    ComplaintCode{"no-effect", "* has no flags: this changes nothing"},
    ComplaintCode{"no-effect", "this changes nothing: the role *"},
    ComplaintCode{"no-effect", "* lies outside of what an included role is restricted to: *"},
    ComplaintCode{"no-effect", "this changes nothing: *"},
    ComplaintCode{"no-effect", "\"*\" lies outside of what an included role is restricted to: *"},
    ComplaintCode{"probation", "the policy is on probation: *"},
};

}  // namespace

std::span<const ComplaintCode> complaint_codes() noexcept { return k_codes; }

std::string_view code_of(std::string_view text) noexcept {
    const auto row = std::find_if(k_codes.begin(), k_codes.end(), [&](const ComplaintCode& each) {
        return matches_glob(each.pattern, text);
    });
    return row == k_codes.end() ? std::string_view{} : row->code;
}

}  // namespace virtgate::policy
