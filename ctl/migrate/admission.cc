// SPDX-License-Identifier: LGPL-2.1-or-later
// admission - who gets in, and what has to be proved: the listeners and the policy.
//
// All alternatives are one identity: libvirt makes no difference between those whom it lets in, and a client that fitted two
// identities would be refused.
#include <arpa/inet.h>
#include <grp.h>
#include <netdb.h>

#include <charconv>

#include "ctl/migrate/draft.h"
#include "ctl/migrate/names.h"
#include "ctl/up/options.h"
#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"

namespace virtgate::ctl::migrate {

namespace {

constexpr std::string_view k_policy = "policy.d/50-libvirt.toml";
constexpr std::uint16_t k_tls_port = 16514, k_tcp_port = 16509;

// A port as libvirt has it: a number or the name of a service. 0: neither.
std::uint16_t port_of(const std::string& text) {
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error == std::errc{} && end == text.data() + text.size()) return port;
    const servent* service = getservbyname(text.c_str(), "tcp");  // one thread, and nobody keeps it
    return service == nullptr ? std::uint16_t{0} : ntohs(static_cast<std::uint16_t>(service->s_port));
}

bool is_numeric_address(const std::string& text) noexcept {
    unsigned char address[16];
    return inet_pton(AF_INET, text.c_str(), address) == 1 || inet_pton(AF_INET6, text.c_str(), address) == 1;
}

class Admission {
public:
    explicit Admission(Draft& draft) : draft_(draft) {}

    void run() {
        read_ways();
        if (draft_.has_network()) {
            plan_tls();
            plan_tcp();
        }
        plan_local();
        plan_people();
        if (uses_logins())
            draft_.leave("/etc/sasl2/libvirt.conf",
                         "mechanisms, database of users and keytab are there, not in this file: [sasl] "
                         "mechanisms, sasldb and keytab "
                         "of netd.toml, or \"virtgate passwd\" for users of virtgate's own");
        if (draft_.count_let_in() > 64)
            draft_.leave("",
                         "there are too many names for one identity; whoever fits two of them is refused: "
                         "\"virtgate policy explain\"");
    }

private:
    enum class Way { none, sasl, polkit };

    Way read_way(std::string_view key, std::string_view fallback) {
        const std::string name = draft_.text(key, fallback);
        if (name == "sasl") return Way::sasl;
        if (name == "polkit") return Way::polkit;
        if (name != "none")
            draft_.refuse(
                key,
                fmt::format("\"{}\" has to be \"none\", \"sasl\" or \"polkit\"{}", key,
                            did_you_mean(name, std::vector<std::string_view>{"none", "sasl", "polkit"})));
        return Way::none;
    }

    void read_ways() {
        tls_ = read_way("auth_tls", "none");
        tcp_ = read_way("auth_tcp", "sasl");
        local_ = read_way("auth_unix_rw", "polkit");
        local_readers_ = read_way("auth_unix_ro", "polkit");
        verifies_ = draft_.number("tls_no_verify_certificate").value_or(0) == 0;
        has_tcp_ = draft_.has_network() && draft_.number("listen_tcp").value_or(0) == 1 && tcp_ == Way::sasl;
    }

    [[nodiscard]] bool uses_logins() const noexcept {
        return has_tcp_ || local_ == Way::sasl || (draft_.has_network() && tls_ == Way::sasl);
    }

    // ---- TLS ----------------------------------------

    void plan_tls() {
        const std::string address = plan_addresses();
        const std::uint16_t port = plan_port("tls_port", "tls", k_tls_port);
        plan_socket_unit("virtgate-netd.socket", address, port, k_tls_port);
        const bool is_login = tls_ == Way::sasl;
        if (draft_.find("tls_no_verify_certificate") != nullptr) {
            if (verifies_)
                draft_.note("tls_no_verify_certificate", Outcome::unneeded, {},
                            "virtgate checks every certificate");
            else if (is_login)
                draft_.take("tls_no_verify_certificate", "netd.toml [tls] authentication",
                            "nobody is asked for a certificate");
            else
                draft_.leave("tls_no_verify_certificate",
                             "libvirt lets in everybody on the network with it, unknown certificates and "
                             "none included. virtgate "
                             "cannot: give the clients certificates of the authority in ca_file, or logins "
                             "(auth_tls = \"sasl\")");
        }
        if (is_login) draft_.netd.set_text("tls", "authentication", verifies_ ? "x509+sasl" : "sasl");
        if (tls_ == Way::polkit)
            draft_.leave("auth_tls",
                         "polkit knows no clients of the network, so nobody got in by TLS, and nobody does");
        else if (draft_.find("auth_tls") != nullptr)
            draft_.take("auth_tls", "netd.toml [tls] authentication");
        plan_files();
        plan_priority();
    }

    // The address of both listeners of the network; the one of TLS is the result.
    std::string plan_addresses() {
        std::string address = draft_.text("listen_addr");
        if (!address.empty() && address != "localhost" && !is_numeric_address(address)) {
            draft_.leave("listen_addr",
                         "virtgate looks up no names for it: write its numeric address into [tls] and [tcp] "
                         "of netd.toml; "
                         "until then it is this machine only");
            address = "localhost";
        } else if (!address.empty()) {
            draft_.take("listen_addr", "netd.toml [tls] address, [tcp] address");
        }
        if (!address.empty()) draft_.netd.set_text("tcp", "address", address);
        tcp_address_ = address;
        if (draft_.number("listen_tls") == 0) {
            address = "localhost";
            draft_.take("listen_tls", "netd.toml [tls] address",
                        "virtgate always has a listener for TLS; this one only this machine reaches. libvirt "
                        "ignores the key where "
                        "systemd has its sockets: if TLS was in use, take the address out");
        } else if (draft_.find("listen_tls") != nullptr) {
            draft_.note("listen_tls", Outcome::unneeded, {}, "virtgate always has a listener for TLS");
        }
        if (!address.empty()) draft_.netd.set_text("tls", "address", address);
        return address;
    }

    std::uint16_t plan_port(std::string_view key, std::string_view section, std::uint16_t usual) {
        if (draft_.find(key) == nullptr) return usual;
        const std::uint16_t port = port_of(draft_.text(key));
        if (port == 0) {
            draft_.refuse(
                key, fmt::format("\"{}\" has to be a port, or the name of a service of this machine", key));
            return usual;
        }
        draft_.netd.set(section, "port", fmt::format("{}", port));
        draft_.take(key, fmt::format("netd.toml [{}] port", section));
        return port;
    }

    // With units the address is theirs.
    void plan_socket_unit(const std::string& unit, const std::string& address, std::uint16_t port,
                          std::uint16_t usual) {
        if (!draft_.circumstances().has_units || (address.empty() && port == usual)) return;
        std::string lines = "[Socket]\nListenStream=\n";
        const auto listen = [&](std::string_view at) { lines += fmt::format("ListenStream={}\n", at); };
        if (address.empty()) {
            listen(fmt::format("{}", port));
        } else if (address == "localhost") {
            listen(fmt::format("127.0.0.1:{}", port));
            listen(fmt::format("[::1]:{}", port));
        } else {
            listen(address.find(':') == address.npos ? fmt::format("{}:{}", address, port)
                                                     : fmt::format("[{}]:{}", address, port));
        }
        draft_.units[unit] = lines;
    }

    // All three or none, as libvirt has it.
    void plan_files() {
        int count = 0;
        for (const char* key : {"key_file", "cert_file", "ca_file"})
            count += draft_.find(key) != nullptr ? 1 : 0;
        const bool has_list = draft_.find("crl_file") != nullptr;
        if (count == 0) {
            if (has_list)
                draft_.note("crl_file", Outcome::unneeded, {},
                            "libvirt ignores it without key_file, cert_file and ca_file");
            return;
        }
        if (count != 3)
            return draft_.refuse(draft_.find("cert_file") != nullptr  ? "cert_file"
                                 : draft_.find("key_file") != nullptr ? "key_file"
                                                                      : "ca_file",
                                 "\"key_file\", \"cert_file\" and \"ca_file\" have to be set together");
        plan_path("cert_file", "certificate");
        plan_path("ca_file", "ca");
        if (has_list) plan_path("crl_file", "crl");
        if (!draft_.circumstances().has_units) return plan_path("key_file", "key");
        draft_.leave(
            "key_file",
            fmt::format(
                "the unit gives the key to virtgate-netd, which cannot read root's files: mkdir -p -m 700 "
                "/etc/credstore && ln -s {} /etc/credstore/virtgate-serverkey.pem",
                draft_.text("key_file")));
    }

    void plan_path(std::string_view key, std::string_view name) {
        const std::string path = draft_.text(key);
        if (!path.starts_with('/')) return draft_.leave(key, "the path has to be absolute");
        draft_.netd.set_text("tls", name, path);
        draft_.take(key, fmt::format("netd.toml [tls] {}", name));
    }

    void plan_priority() {
        if (draft_.find("tls_priority") == nullptr) return;
        const std::string text = draft_.text("tls_priority");
        const bool lacks = text.find("-VERS-TLS1.3") != text.npos ||
                           (text.find("-VERS-ALL") != text.npos && text.find("+VERS-TLS1.3") == text.npos);
        if (lacks)
            return draft_.leave(
                "tls_priority",
                "it is without TLS 1.3, the only version that virtgate speaks: clients of before "
                "2019 need a newer GnuTLS");
        draft_.netd.set_text("tls", "priority", text);
        draft_.take("tls_priority", "netd.toml [tls] priority",
                    "TLS 1.3 is the only version, whatever it says");
    }

    // ---- TCP ----------------------------------------

    void plan_tcp() {
        const std::uint16_t port = plan_port("tcp_port", "tcp", k_tcp_port);
        const bool is_asked = draft_.number("listen_tcp").value_or(0) == 1;
        if (has_tcp_) {
            draft_.netd.set("tcp", "enabled", "true");
            draft_.take("listen_tcp", "netd.toml [tcp] enabled",
                        draft_.circumstances().has_units
                            ? "and \"systemctl enable --now virtgate-netd-tcp.socket\""
                            : "");
            if (draft_.find("auth_tcp") != nullptr)
                draft_.take("auth_tcp", "netd.toml [tcp] authentication", "\"sasl\", the only one");
            plan_socket_unit("virtgate-netd-tcp.socket", tcp_address_, port, k_tcp_port);
        } else if (is_asked) {
            draft_.leave(
                "listen_tcp",
                "virtgate has no listener without encryption for clients that need not log in: use TLS, or "
                "logins that encrypt (auth_tcp = \"sasl\")");
            if (draft_.find("auth_tcp") != nullptr) draft_.leave("auth_tcp", "see listen_tcp");
        } else {
            for (const char* key : {"listen_tcp", "auth_tcp"})
                if (draft_.find(key) != nullptr)
                    draft_.note(key, Outcome::unneeded, {}, "there is no listener for TCP");
        }
        if (const auto bits = draft_.number("tcp_min_ssf"); bits && *bits >= 56 && *bits <= 1024) {
            draft_.netd.set("tcp", "min_strength", fmt::format("{}", *bits));
            draft_.take("tcp_min_ssf", "netd.toml [tcp] min_strength");
        } else if (bits) {
            draft_.leave("tcp_min_ssf", "virtgate takes 56 to 1024 bits; it is the default now, 56");
        }
    }

    // ---- UNIX sockets ----------------------------------------

    void plan_local() {
        if (local_ == Way::sasl) draft_.netd.set_text("unix", "authentication", "sasl");
        if (draft_.find("auth_unix_rw") != nullptr && local_ != Way::polkit)
            draft_.take("auth_unix_rw", "netd.toml [unix] authentication");
        const std::string_view ways[] = {"none", "sasl", "polkit"};
        if (draft_.find("auth_unix_ro") != nullptr && local_readers_ != local_)
            draft_.leave(
                "auth_unix_ro",
                fmt::format("virtgate has one way for both of its sockets, here that of auth_unix_rw: \"{}\"",
                            ways[static_cast<std::size_t>(local_)]));
        else if (draft_.find("auth_unix_ro") != nullptr)
            draft_.take("auth_unix_ro", "netd.toml [unix] authentication");
        const std::string group = draft_.text("unix_sock_group");
        bool has_group = false;
        if (!group.empty()) {
            const auto known = draft_.circumstances().has_group;
            has_group = known != nullptr ? known(group) : is_group(group);
            if (has_group) {
                draft_.netd.set_text("unix", "group", group);
                draft_.take("unix_sock_group", "netd.toml [unix] group",
                            fmt::format("virtgate-workerd has to be in it, too, to reach libvirt's sockets: "
                                        "usermod -aG {} of its user",
                                        group));
            } else {
                draft_.leave("unix_sock_group", "this machine has no such group");
            }
        }
        const unsigned mode = plan_mode("unix_sock_rw_perms", "mode");
        const unsigned readers = plan_mode("unix_sock_ro_perms", "read_only_mode");
        plan_local_units(has_group ? group : "", mode, readers);
        plan_neighbours(has_group ? group : "", mode, readers);
    }

    // 0: not set, or not for virtgate.
    unsigned plan_mode(std::string_view key, std::string_view name) {
        if (draft_.find(key) == nullptr) return 0;
        const std::string text = draft_.text(key);
        const auto mode = static_cast<unsigned>(std::stoul(text, nullptr, 8));
        if ((mode & 0600) != 0600) {
            draft_.leave(key, "the socket's owner has to be able to read and write");
            return 0;
        }
        draft_.netd.set_text("unix", name, fmt::format("{:04o}", mode));
        draft_.take(key, fmt::format("netd.toml [unix] {}", name));
        return mode;
    }

    void plan_local_units(const std::string& group, unsigned mode, unsigned readers) {
        if (!draft_.circumstances().has_units) return;
        const auto plan = [&](const std::string& unit, unsigned bits) {
            if (bits == 0 && group.empty()) return;
            std::string lines = "[Socket]\n";
            if (bits != 0) lines += fmt::format("SocketMode={:04o}\n", bits);
            if (!group.empty()) lines += fmt::format("SocketGroup={}\n", group);
            draft_.units[unit] = lines;
        };
        plan("virtgate-netd-unix.socket", mode);
        plan("virtgate-netd-unix-ro.socket", readers);
    }

    // Those on this machine: whom the kernel shows.
    void plan_neighbours(const std::string& group, unsigned mode, unsigned readers) {
        if (local_ == Way::sasl) return;
        draft_.let_in("{ unix = { user = \"root\" } }", "root of this machine, at the UNIX socket");
        const std::string of_group = fmt::format("{{ unix = {{ group = {} }} }}", up::quote_toml(group));
        const bool is_group_in = !group.empty() && (mode & 0060) == 0060;
        if (local_ == Way::none) {
            if (is_group_in) draft_.let_in(of_group, "unix_sock_group, who could open the socket");
            if ((mode & 0006) == 0006)
                draft_.leave("unix_sock_rw_perms",
                             "everybody on this machine could do everything. A policy has no such word: name "
                             "their group in the identity, { unix = { group = \"users\" } }");
        } else {
            draft_.offer(group.empty() ? "{ unix = { group = \"libvirt\" } }" : of_group,
                         "if polkit let them in: its rules decided, and are not in libvirt's file");
            draft_.leave(
                "auth_unix_rw",
                fmt::format(
                    "polkit decided who of this machine gets in; here it is root. Name the others in {}: "
                    "a line is there, commented out",
                    k_policy));
        }
        if (local_readers_ != Way::sasl && (readers == 0 || (readers & 0006) == 0006)) draft_.had_readers();
    }

    // ---- who ----------------------------------------

    // What the conditions of a list are; `all` if there is none. `everybody`: the condition then.
    struct People {
        struct One {
            std::string condition, comment;
        };
        std::vector<One> ones;
        bool is_limited = false;
    };

    People read_people(std::string_view key, std::string_view everybody, std::string_view who,
                       Result<Condition> (&convert)(std::string_view)) {
        People people;
        const auto* list = draft_.texts(key);
        if (list == nullptr) {
            people.ones.push_back({std::string(everybody), std::string(who)});
            return people;
        }
        people.is_limited = true;
        std::string lost;
        std::size_t kept = 0;
        bool has_wildcard = false;
        for (const Text& text : *list) {
            const auto condition = convert(text.text);
            if (!condition) {
                lost += fmt::format("{}line {}, \"{}\": {}", lost.empty() ? "" : "; ", text.at.line,
                                    text.text, condition.error().text);
                continue;
            }
            has_wildcard = has_wildcard || condition->has_wildcard;
            ++kept;
            people.ones.push_back(
                {condition->toml, fmt::format("{}, line {}: {}", key, text.at.line, text.text)});
        }
        if (list->empty())
            draft_.take(key, k_policy, "an empty list lets in nobody, and nobody is in the policy");
        const bool is_subject = key == "tls_allowed_dn_list";
        if (kept != 0)
            draft_.take(key, k_policy,
                        !is_subject ? ""
                        : has_wildcard
                            ? "a wildcard stands for a part of one value here, never for a comma; parts that "
                              "are not named, "
                              "and their order, do not matter"
                            : "parts of a name that are not named, and their order, do not matter here");
        if (!lost.empty())
            draft_.leave(key,
                         fmt::format("left out, since no condition of a policy says the same: {}", lost));
        return people;
    }

    void plan_people() {
        const bool has_tls = draft_.has_network() && tls_ != Way::polkit && (verifies_ || tls_ == Way::sasl);
        const bool is_double = has_tls && verifies_ && tls_ == Way::sasl;
        People subjects, users;
        if (has_tls && verifies_)
            subjects = read_people("tls_allowed_dn_list", "{ CN = \"glob:*\" }",
                                   "every certificate of the authority", convert_subject);
        else if (draft_.find("tls_allowed_dn_list") != nullptr)
            draft_.note("tls_allowed_dn_list", Outcome::unneeded, {}, "nobody's certificate was checked");
        if (uses_logins())
            users = read_people("sasl_allowed_username_list", "\"glob:*\"", "everybody who can log in",
                                convert_user);
        else if (draft_.find("sasl_allowed_username_list") != nullptr)
            draft_.note("sasl_allowed_username_list", Outcome::unneeded, {}, "nobody logs in");
        if (is_double && subjects.is_limited) {
            for (const auto& subject : subjects.ones)
                for (const auto& user : users.ones)
                    draft_.let_in(
                        fmt::format("{{ x509 = {}, sasl = {} }}", subject.condition, user.condition),
                        fmt::format("{}; {}", subject.comment, user.comment));
            if (has_tcp_ || local_ == Way::sasl)
                draft_.leave(
                    "sasl_allowed_username_list",
                    "who logs in without a certificate, over TCP or at the UNIX socket, is not in the "
                    "policy: the same rule "
                    "would let him in over TLS with a certificate that is not in tls_allowed_dn_list");
            return;
        }
        // Where a login comes after a certificate, the listener asks for both already.
        if (!is_double)
            for (const auto& subject : subjects.ones)
                draft_.let_in(fmt::format("{{ x509 = {} }}", subject.condition), subject.comment);
        for (const auto& user : users.ones)
            draft_.let_in(fmt::format("{{ sasl = {} }}", user.condition), user.comment);
    }

    Draft& draft_;
    Way tls_ = Way::none, tcp_ = Way::none, local_ = Way::none, local_readers_ = Way::none;
    bool verifies_ = true, has_tcp_ = false;
    std::string tcp_address_;
};

}  // namespace

bool is_group(const std::string& name) { return getgrnam(name.c_str()) != nullptr; }

void plan_admission(Draft& draft) { Admission(draft).run(); }

}  // namespace virtgate::ctl::migrate
