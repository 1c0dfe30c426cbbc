// SPDX-License-Identifier: LGPL-2.1-or-later
// keys - every setting of libvirt's daemons: its type, who reads it, and what becomes of it where nothing has to be converted.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "ctl/migrate/source.h"

namespace virtgate::ctl::migrate {

// What becomes of a setting.
enum class Outcome : unsigned char {
    taken,     // it is in one of the files
    unneeded,  // virtgate does it always, never, or otherwise
    stays,     // it is about what libvirt's daemon goes on doing, and stays in its file
    open,      // somebody has to decide or do something
};
[[nodiscard]] std::string_view word_for(Outcome outcome) noexcept;

enum class Type : unsigned char { flag, number, count, text, mode, texts };

struct Key {
    std::string_view name;
    Type type;
    bool of_network;              // only libvirtd and virtproxyd have it
    std::optional<Outcome> fate;  // empty: `convert` of the plan decides
    std::string_view why;         // for `fate`
};

[[nodiscard]] std::span<const Key> keys() noexcept;
[[nodiscard]] const Key* find_key(std::string_view name) noexcept;

// What is wrong with the type of `entry`'s value, as libvirt would find; empty: nothing.
[[nodiscard]] std::string flaw_of(const Key& key, const Entry& entry);

}  // namespace virtgate::ctl::migrate
