// SPDX-License-Identifier: LGPL-2.1-or-later
// secrets - what nobody should see in a trace: passwords, values of secrets, what a login says.
#include "ctl/trace/secrets.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "libshared/base/bytes.h"

namespace virtgate::ctl::trace {

using reflect::Json;

namespace {

// Of these all arguments and results are hidden: what matters in them has no name, or is a program of its own.
constexpr std::string_view k_silent[] = {
    "remote.auth_sasl_start",
    "remote.auth_sasl_step",
    "remote.secret_set_value",
    "remote.secret_get_value",
    "remote.domain_set_user_password",
    "remote.domain_set_launch_security_state",
    "qemu.domain_monitor_command_with_files",
    "remote.domain_send_key",  // somebody types
    "qemu.domain_agent_command",
    "qemu.domain_monitor_command",
};

// Of fields and parameters with one of these in their names, the value is.
constexpr std::string_view k_words[] = {"password", "passwd", "secret", "cookie"};

bool is_secret_name(std::string_view name) {
    const std::string lower = to_lower(name);
    return std::any_of(std::begin(k_words), std::end(k_words),
                       [&](std::string_view word) { return lower.find(word) != lower.npos; });
}

// passwd="…" of a graphics device in XML, with either kind of quotes.
void hide_in_text(std::string& text) {
    constexpr std::string_view k_attribute = "passwd";
    for (std::size_t at = 0; (at = text.find(k_attribute, at)) != text.npos;) {
        at += k_attribute.size();
        std::size_t quote = text.find_first_not_of(" \t\r\n", at);
        if (quote == text.npos || text[quote] != '=') continue;
        quote = text.find_first_not_of(" \t\r\n", quote + 1);
        if (quote == text.npos || (text[quote] != '"' && text[quote] != '\'')) continue;
        const std::size_t end = std::min(text.find(text[quote], quote + 1), text.size());
        text.replace(quote + 1, end - quote - 1, k_hidden);
        at = quote + 1 + k_hidden.size();
    }
}

void hide_in(Json& value) {
    if (value.is_string()) return hide_in_text(value.get_ref<std::string&>());
    if (value.is_array())
        for (Json& one : value) hide_in(one);
    if (!value.is_object()) return;
    // A typed parameter has its name in "field".
    const auto field = value.find("field");
    const bool is_secret_parameter =
        field != value.end() && field->is_string() && is_secret_name(field->get_ref<const std::string&>());
    for (auto& [name, member] : value.items()) {
        const bool is_secret = is_secret_name(name) || (is_secret_parameter && name == "value");
        // Objects have names of their own: a secret's UUID is none.
        if (is_secret && !member.is_object() && !member.is_null() && !member.is_boolean())
            member = std::string(k_hidden);
        else
            hide_in(member);
    }
}

}  // namespace

void hide_secrets(std::string_view program, std::string_view procedure, Json& payload) {
    const std::string name = std::string(program) + "." + std::string(procedure);
    if (std::find(std::begin(k_silent), std::end(k_silent), name) != std::end(k_silent)) {
        payload = std::string(k_hidden);
        return;
    }
    hide_in(payload);
}

}  // namespace virtgate::ctl::trace
