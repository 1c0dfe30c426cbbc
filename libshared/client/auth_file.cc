// SPDX-License-Identifier: LGPL-2.1-or-later
// auth_file - libvirt's auth.conf: which user name and password are for which server.
#include "libshared/client/auth_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <string.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "libshared/base/fd.h"

namespace virtgate::client {

namespace {

constexpr std::string_view k_blanks = " \t\r";

std::string_view trim(std::string_view text) {
    const std::size_t first = text.find_first_not_of(k_blanks);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(k_blanks) - first + 1);
}

// The value without its escapes; nothing if one of them is unknown.
std::optional<std::string> read_value(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\') {
            out += text[i];
            continue;
        }
        if (++i == text.size()) return std::nullopt;
        switch (text[i]) {
            case 's': out += ' '; break;
            case 't': out += '\t'; break;
            case 'n': out += '\n'; break;
            case 'r': out += '\r'; break;
            case '\\': out += '\\'; break;
            default: return std::nullopt;
        }
    }
    return out;
}

tl::unexpected<Failure> refuse(unsigned line, std::string_view what) {
    return fail(Cause::invalid, fmt::format("line {}: {}", line, what));
}

}  // namespace

Result<AuthFile> AuthFile::parse(std::string_view text) {
    if (text.size() > k_auth_file_max) return fail(Cause::invalid, "the file is too long");
    AuthFile file;
    Section* current = nullptr;
    for (unsigned number = 1; !text.empty(); ++number) {
        const std::string_view line = trim(text.substr(0, text.find('\n')));
        text.remove_prefix(std::min(
            text.size(), text.find('\n') == std::string_view::npos ? text.size() : text.find('\n') + 1));
        if (line.empty() || line.starts_with('#')) continue;
        if (line.find('\0') != std::string_view::npos) return refuse(number, "a NUL byte");
        if (line.starts_with('[')) {
            const std::string_view name = line.substr(1, line.size() - 2);
            if (!line.ends_with(']') || line.size() < 3 || name.find_first_of("[]") != std::string_view::npos)
                return refuse(number, "a section is [NAME]");
            current = &file.sections_[std::string(name)];
            continue;
        }
        const std::size_t equals = line.find('=');
        if (equals == std::string_view::npos || trim(line.substr(0, equals)).empty())
            return refuse(number, "expected NAME=VALUE, [SECTION] or # and a comment");
        if (current == nullptr) return refuse(number, "this stands before the first [SECTION]");
        auto value = read_value(trim(line.substr(equals + 1)));
        if (!value) return refuse(number, "\\ is followed by s, t, n, r or \\");
        (*current)[std::string(trim(line.substr(0, equals)))] = std::move(*value);
    }
    return file;
}

Result<AuthFile> AuthFile::load(const std::string& path) {
    const UniqueFd file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)};
    if (!file) return fail_system(errno, "cannot open " + path);
    std::string text;
    std::array<char, 4096> buffer;
    while (true) {
        const ssize_t n = ::read(file.get(), buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_system(errno, "cannot read " + path);
        if (n == 0 || text.size() > k_auth_file_max) break;
        text.append(buffer.data(), static_cast<std::size_t>(n));
    }
    auto parsed = parse(text);
    explicit_bzero(text.data(), text.size());
    explicit_bzero(buffer.data(), buffer.size());
    if (!parsed) parsed.error().text = fmt::format("{}: {}", path, parsed.error().text);
    return parsed;
}

const AuthFile::Section* AuthFile::section(std::string_view name) const {
    const auto found = sections_.find(name);
    return found == sections_.end() ? nullptr : &found->second;
}

Result<const AuthFile::Section*> AuthFile::find(std::string_view service, std::string_view host) const {
    for (const std::string_view of : {host, std::string_view("default")}) {
        const Section* const rule = section(fmt::format("auth-{}-{}", service, of));
        if (rule == nullptr) continue;
        const auto name = rule->find("credentials");
        if (name == rule->end())
            return fail(Cause::invalid, fmt::format("[auth-{}-{}] has no credentials=", service, of));
        const Section* const found = section("credentials-" + name->second);
        if (found == nullptr)
            return fail(Cause::invalid,
                        fmt::format("[auth-{}-{}] names credentials that are not there: \"{}\"", service, of,
                                    escape(name->second)));
        return found;
    }
    return nullptr;
}

void AuthFile::wipe() noexcept {
    for (auto& [name, section] : sections_)
        for (auto& [key, value] : section) explicit_bzero(value.data(), value.size());
}

}  // namespace virtgate::client
