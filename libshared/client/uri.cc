// SPDX-License-Identifier: LGPL-2.1-or-later
// uri - libvirt's connection URIs: which server, how to reach it, and what to ask it for.
#include "libshared/client/uri.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>

#include "libshared/base/suggest.h"

namespace virtgate::client {

namespace {

constexpr std::array<std::string_view, 7> k_transports{"unix", "tls",    "tcp",    "ssh",
                                                       "ext",  "libssh", "libssh2"};
constexpr std::array<std::string_view, 3> k_proxies{"auto", "netcat", "native"};
constexpr std::array<std::string_view, 3> k_modes{"auto", "legacy", "direct"};

// Which of `words` it is, without regard to case.
template <class E, std::size_t N>
std::optional<E> find_word(const std::array<std::string_view, N>& words, std::string_view text) {
    const auto found = std::find(words.begin(), words.end(), to_lower(text));
    if (found == words.end()) return std::nullopt;
    return static_cast<E>(found - words.begin());
}

bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

int hex_value(char c) noexcept {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

tl::unexpected<Failure> refuse(std::string_view what, std::string_view text) {
    return fail(Cause::invalid, fmt::format("URI: {}: \"{}\"", what, escape(text)));
}

// The text with its %XX as the bytes that they stand for.
Result<std::string> decode_percent(std::string_view text, std::string_view what) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
        const int low = high >= 0 ? hex_value(text[i + 2]) : -1;
        if (low < 0) return refuse(fmt::format("% without two hexadecimal digits in the {}", what), text);
        out += static_cast<char>(high * 16 + low);
        i += 2;
    }
    for (const char c : out)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            return refuse(fmt::format("a control character in the {}", what), text);
    return out;
}

// All bytes but letters, digits, "-._~" and those of `also` as %XX.
std::string encode_percent(std::string_view text, std::string_view also) {
    std::string out;
    for (const char c : text) {
        const bool plain = is_letter(c) || is_digit(c) ||
                           std::string_view("-._~").find(c) != std::string_view::npos ||
                           also.find(c) != std::string_view::npos;
        if (plain)
            out += c;
        else
            out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return out;
}

// Cuts off and returns what stands before the first of `marks`; all of it if there is none, and the mark
// stays.
std::string_view cut_before(std::string_view& text, std::string_view marks) {
    const std::string_view front = text.substr(0, text.find_first_of(marks));
    text.remove_prefix(front.size());
    return front;
}

Result<bool> read_switch(std::string_view value, std::string_view name) {
    int number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc{} || end != value.data() + value.size())
        return refuse(fmt::format("{} wants a number, 0 or 1", name), value);
    return number != 0;
}

// Reads one parameter into its place. False if it is not one of ours. All texts are decoded already.
class ParameterReader {
public:
    explicit ParameterReader(Uri& uri) : uri_(uri) {}

    Result<bool> read(std::string_view written, std::string value) {
        const std::string name = to_lower(written);
        if (name == "argv") {
            uri_.argv.push_back(std::move(value));
            return true;
        }
        if (is_known(name)) {
            if (std::find(seen_.begin(), seen_.end(), name) != seen_.end())
                return refuse("a parameter is given twice", name);
            seen_.push_back(name);
        }
        if (name == "name") {
            uri_.name = std::move(value);
            return true;
        }
        for (const auto& [known, place] : k_texts) {
            if (name != known) continue;
            uri_.*place = std::move(value);
            return true;
        }
        for (const auto& [known, place] : k_switches) {
            if (name != known) continue;
            const auto on = read_switch(value, known);
            if (!on) return tl::unexpected(on.error());
            uri_.*place = *on;
            return true;
        }
        return read_choice(name, value);
    }

    struct Text {
        std::string_view name;
        std::string Uri::*place;
    };
    struct Switch {
        std::string_view name;
        bool Uri::*place;
    };
    static constexpr std::array k_texts{
        Text{"socket", &Uri::socket},
        Text{"command", &Uri::command},
        Text{"auth", &Uri::auth},
        Text{"authfile", &Uri::authfile},
        Text{"netcat", &Uri::netcat},
        Text{"keyfile", &Uri::keyfile},
        Text{"known_hosts", &Uri::known_hosts},
        Text{"known_hosts_verify", &Uri::known_hosts_verify},
        Text{"sshauth", &Uri::sshauth},
        Text{"pkipath", &Uri::pkipath},
        Text{"tls_priority", &Uri::tls_priority},
    };
    static constexpr std::array k_switches{
        Switch{"no_verify", &Uri::no_verify},
        Switch{"no_sanity", &Uri::no_sanity},
        Switch{"no_tty", &Uri::no_tty},
    };

private:
    static bool is_known(std::string_view name) {
        const auto named = [name](const auto& row) { return row.name == name; };
        return name == "name" || name == "proxy" || name == "mode" ||
               std::any_of(k_texts.begin(), k_texts.end(), named) ||
               std::any_of(k_switches.begin(), k_switches.end(), named);
    }

    Result<bool> read_choice(std::string_view name, std::string_view value) {
        if (name == "proxy") {
            uri_.proxy = find_word<Proxy>(k_proxies, value);
            if (!uri_.proxy) return refuse("proxy is auto, netcat or native, not", value);
            return true;
        }
        if (name == "mode") {
            const auto mode = find_word<Mode>(k_modes, value);
            if (!mode) return refuse("mode is auto, legacy or direct, not", value);
            uri_.mode = *mode;
            return true;
        }
        return false;
    }

    Uri& uri_;
    std::vector<std::string> seen_;
};

Done read_scheme(std::string_view scheme, Uri& uri) {
    const std::size_t plus = scheme.find('+');
    uri.driver = scheme.substr(0, plus);
    const auto allowed = [](char c) { return is_letter(c) || is_digit(c) || c == '-' || c == '.'; };
    if (uri.driver.empty() || !is_letter(uri.driver.front()) ||
        !std::all_of(uri.driver.begin(), uri.driver.end(), allowed))
        return refuse("it begins with the name of a driver and \":\", such as qemu:, not", scheme);
    if (plus == std::string_view::npos) return {};
    const std::string_view word = scheme.substr(plus + 1);
    uri.transport = find_word<Transport>(k_transports, word);
    if (!uri.transport) return refuse("unknown transport" + did_you_mean(to_lower(word), k_transports), word);
    return {};
}

Done read_port(std::string_view text, Uri& uri) {
    if (text.empty()) return {};
    unsigned number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size() || number == 0 || number > 65535)
        return refuse("a port is a number from 1 to 65535, not", text);
    uri.port = static_cast<std::uint16_t>(number);
    return {};
}

// user@host:port, with an IPv6 address in brackets.
Done read_authority(std::string_view text, Uri& uri) {
    if (const std::size_t at = text.rfind('@'); at != std::string_view::npos) {
        auto user = decode_percent(text.substr(0, at), "user");
        if (!user) return tl::unexpected(user.error());
        if (user->empty()) return refuse("nothing before the @", text);
        uri.user = std::move(*user);
        text.remove_prefix(at + 1);
    }
    std::string_view host, port;
    if (text.starts_with('[')) {
        const std::size_t close = text.find(']');
        if (close == std::string_view::npos) return refuse("an address without its closing bracket", text);
        host = text.substr(1, close - 1);
        port = text.substr(close + 1);
        if (host.find(':') == std::string_view::npos)
            return refuse("brackets are for IPv6 addresses, not", host);
        if (!port.empty() && !port.starts_with(':'))
            return refuse("a colon is missing before the port", text);
    } else {
        const std::size_t colon = text.find(':');
        host = text.substr(0, colon);
        port = colon == std::string_view::npos ? std::string_view{} : text.substr(colon);
        if (port.find(':', 1) != std::string_view::npos)
            return refuse("an IPv6 address needs brackets", text);
    }
    if (!port.empty()) port.remove_prefix(1);
    auto name = decode_percent(host, "host");
    if (!name) return tl::unexpected(name.error());
    // It becomes a word of a command line, and text in messages.
    if (name->starts_with('-') || name->find_first_of(" \"'/\\[]") != std::string::npos)
        return refuse("not a host", host);
    uri.host = std::move(*name);
    return read_port(port, uri);
}

Done read_query(std::string_view text, Uri& uri) {
    ParameterReader reader(uri);
    while (!text.empty()) {
        const std::string_view one = cut_before(text, "&;");
        if (!text.empty()) text.remove_prefix(1);
        if (one.empty()) continue;
        const std::size_t equals = one.find('=');
        auto name = decode_percent(one.substr(0, equals), "name of a parameter");
        if (!name) return tl::unexpected(name.error());
        if (name->empty()) return refuse("a parameter without a name", one);
        auto value = equals == std::string_view::npos ? Result<std::string>{}
                                                      : decode_percent(one.substr(equals + 1), *name);
        if (!value) return tl::unexpected(value.error());
        const auto known = reader.read(*name, *value);
        if (!known) return tl::unexpected(known.error());
        if (!*known) uri.rest.push_back({std::move(*name), std::move(*value)});
    }
    return {};
}

// What is wrong with the whole, where each part is right.
Done check_whole(const Uri& uri) {
    if (uri.how() == Transport::unix_socket && !uri.host.empty())
        return refuse("a UNIX socket has no host", uri.host);
    if (uri.transport == Transport::ext && uri.command.empty())
        return fail(Cause::invalid, "URI: the transport ext needs command=");
    if (!uri.netcat.empty() && uri.proxy == Proxy::native)
        return fail(Cause::invalid, "URI: netcat= and proxy=native exclude each other");
    const std::string auth = to_lower(uri.auth);
    if (!auth.empty() && auth != "sasl" && auth != "polkit" &&
        (!auth.starts_with("sasl.") || auth.size() == 5))
        return refuse("auth is sasl, sasl.MECHANISM or polkit, not", uri.auth);
    if (uri.known_hosts_verify != "" && uri.known_hosts_verify != "normal" &&
        uri.known_hosts_verify != "auto" && uri.known_hosts_verify != "ignore")
        return refuse("known_hosts_verify is normal, auto or ignore, not", uri.known_hosts_verify);
    return {};
}

std::string print_query(const std::vector<Uri::Parameter>& parameters) {
    std::string out;
    for (const Uri::Parameter& one : parameters)
        out += fmt::format("{}{}={}", out.empty() ? "?" : "&", encode_percent(one.name, "/:"),
                           encode_percent(one.value, "/:,+@"));
    return out;
}

constexpr std::string_view k_path_plain = "/:,+@!$'()*=";

}  // namespace

std::string_view to_text(Transport transport) noexcept {
    return k_transports[static_cast<std::size_t>(transport)];
}
std::string_view to_text(Proxy proxy) noexcept { return k_proxies[static_cast<std::size_t>(proxy)]; }
std::string_view to_text(Mode mode) noexcept { return k_modes[static_cast<std::size_t>(mode)]; }

Result<Uri> Uri::parse(std::string_view text) {
    if (text.size() > k_uri_max) return fail(Cause::invalid, "URI: it is too long");
    Uri uri;
    std::string_view left = text;
    const std::string_view scheme = cut_before(left, ":/?#");
    if (!left.starts_with(':')) return refuse("no driver, such as qemu:, at its beginning", text);
    left.remove_prefix(1);
    if (auto done = read_scheme(scheme, uri); !done) return tl::unexpected(done.error());
    if (left.starts_with("//")) {
        left.remove_prefix(2);
        if (auto done = read_authority(cut_before(left, "/?#"), uri); !done)
            return tl::unexpected(done.error());
    }
    auto path = decode_percent(cut_before(left, "?#"), "path");
    if (!path) return tl::unexpected(path.error());
    if (!path->empty() && !path->starts_with('/')) return refuse("a path begins with /, not", *path);
    uri.path = std::move(*path);
    if (left.starts_with('?')) {
        left.remove_prefix(1);
        if (auto done = read_query(cut_before(left, "#"), uri); !done) return tl::unexpected(done.error());
    }
    if (!left.empty()) return refuse("there is no place for a fragment", left);
    if (auto done = check_whole(uri); !done) return tl::unexpected(done.error());
    return uri;
}

std::string Uri::print() const {
    std::string out = driver;
    if (transport) out += fmt::format("+{}", to_text(*transport));
    out += "://";
    if (!user.empty()) out += encode_percent(user, "") + "@";
    if (host.find(':') != std::string::npos)
        out += fmt::format("[{}]", encode_percent(host, ":"));
    else
        out += encode_percent(host, "");
    if (port != 0) out += fmt::format(":{}", port);
    out += encode_percent(path, k_path_plain);

    std::vector<Parameter> all;
    if (name) all.push_back({"name", *name});
    for (const auto& [word, place] : ParameterReader::k_texts)
        if (!(this->*place).empty()) all.push_back({std::string(word), this->*place});
    for (const std::string& argument : argv) all.push_back({"argv", argument});
    if (proxy) all.push_back({"proxy", std::string(to_text(*proxy))});
    if (mode != Mode::automatic) all.push_back({"mode", std::string(to_text(mode))});
    for (const auto& [word, place] : ParameterReader::k_switches)
        if (this->*place) all.push_back({std::string(word), "1"});
    all.insert(all.end(), rest.begin(), rest.end());
    return out + print_query(all);
}

Transport Uri::how() const noexcept {
    if (transport) return *transport;
    return host.empty() ? Transport::unix_socket : Transport::tls;
}

std::uint16_t Uri::effective_port() const noexcept {
    if (port != 0) return port;
    switch (how()) {
        case Transport::tls: return k_port_tls;
        case Transport::tcp: return k_port_tcp;
        default: return 0;
    }
}

std::string Uri::effective_host() const { return host.empty() ? "localhost" : host; }

std::string Uri::open_name() const {
    if (name) return *name;
    if (driver == "remote") return {};
    return fmt::format("{}://{}{}", driver, encode_percent(path, k_path_plain), print_query(rest));
}

bool Uri::wants_session(bool is_root) const noexcept {
    return !is_root && (path == "/session" || (driver == "test" && transport));
}

}  // namespace virtgate::client
