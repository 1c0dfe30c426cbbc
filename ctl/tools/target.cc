// SPDX-License-Identifier: LGPL-2.1-or-later
// target - which server a command speaks to, and the connection to it.
#include "ctl/tools/target.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>

#include "ctl/passwd/prompt.h"
#include "ctl/tools/outcome.h"

namespace virtgate::ctl::tools {

namespace {

constexpr char k_machines_conf[] = "/etc/libvirt/libvirt.conf";

// Words of libvirt's configuration files: names, texts in quotes, "=", brackets and commas.
class ConfReader {
public:
    explicit ConfReader(std::string_view text) : rest_(text) {}

    // The next word, empty at the end; a text keeps its opening quote, so that it is not taken for a name.
    std::string next() {
        skip_blanks();
        if (rest_.empty()) return {};
        const char first = rest_.front();
        if (first == '"' || first == '\'') {
            const std::size_t end = rest_.find(first, 1);
            if (end == rest_.npos || rest_.substr(0, end).find('\n') != rest_.npos) return take(1);
            std::string word = "\"" + std::string(rest_.substr(1, end - 1));
            rest_.remove_prefix(end + 1);
            return word;
        }
        if (std::string_view("=[],").find(first) != std::string_view::npos) return take(1);
        return take(std::max<std::size_t>(1, std::min(rest_.find_first_of(" \t\r\n=[],#\"'"), rest_.size())));
    }

    [[nodiscard]] int line() const { return line_; }

private:
    std::string take(std::size_t size) {
        std::string word(rest_.substr(0, size));
        rest_.remove_prefix(size);
        return word;
    }

    void skip_blanks() {
        while (!rest_.empty()) {
            if (rest_.front() == '#') rest_.remove_prefix(std::min(rest_.find('\n'), rest_.size()));
            if (rest_.empty() || std::string_view(" \t\r\n").find(rest_.front()) == std::string_view::npos)
                return;
            line_ += rest_.front() == '\n' ? 1 : 0;
            rest_.remove_prefix(1);
        }
    }

    std::string_view rest_;
    int line_ = 1;
};

bool is_text(const std::string& word) { return word.size() >= 1 && word.front() == '"'; }

std::string read_variable(const char* name) {
    const char* value = secure_getenv(name);
    return value == nullptr ? std::string() : std::string(value);
}

// What a login asks that auth.conf does not have: asked on the terminal, if there is one.
std::optional<std::string> answer(const client::Question& question) {
    const bool is_secret = question.what == client::Ask::password;
    if (!is_secret && question.what != client::Ask::name) return std::nullopt;
    const UniqueFd terminal{::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)};
    if (!terminal) return std::nullopt;
    const SignalsLetThrough through;
    const std::string host = escape(question.host);
    if (is_secret) {
        auto word = passwd::ask(terminal.get(), fmt::format("Password for {}", host));
        return word ? std::optional<std::string>(std::move(*word)) : std::nullopt;
    }
    const std::string prompt = fmt::format("User name at {}: ", host);
    if (write(terminal.get(), prompt.data(), prompt.size()) < 0) return std::nullopt;
    auto word = passwd::read_line(terminal.get());
    return word ? std::optional<std::string>(std::move(*word)) : std::nullopt;
}

client::Options options_for(const Target& target, const std::stop_token& stop) {
    client::Options options;
    options.read_only = target.read_only;
    options.service = client::Service::thread;
    options.deadline = client::Deadline::in(Milliseconds{1000} * target.seconds);
    options.deadline.stop = stop;
    options.answerer = answer;
    return options;
}

}  // namespace

client::Result<ClientConf> ClientConf::parse(std::string_view text) {
    ConfReader reader(text);
    ClientConf conf;
    const auto wrong = [&] {
        return client::fail(client::Cause::invalid,
                            fmt::format("libvirt.conf, line {}: this is no setting", reader.line()));
    };
    for (std::string name = reader.next(); !name.empty(); name = reader.next()) {
        if (is_text(name) || reader.next() != "=") return wrong();
        std::vector<std::string> values;
        std::string word = reader.next();
        if (word == "[") {
            for (word = reader.next(); word != "]"; word = reader.next()) {
                if (word.empty()) return wrong();
                if (word != ",") values.push_back(word);
            }
        } else {
            values.push_back(word);
        }
        if (name != "uri_default" && name != "uri_aliases") continue;
        for (const std::string& value : values) {
            if (!is_text(value)) return wrong();
            const std::size_t equals = value.find('=');
            if (name == "uri_default")
                conf.uri_default = value.substr(1);
            else if (equals == value.npos)
                return wrong();
            else
                conf.aliases.emplace_back(value.substr(1, equals - 1), value.substr(equals + 1));
        }
    }
    return conf;
}

client::Result<ClientConf> load_conf(const client::Environment& environment) {
    const std::string path =
        environment.is_root ? std::string(k_machines_conf) : environment.config_directory + "/libvirt.conf";
    std::ifstream file(path);
    if (!file) return ClientConf{};
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    return ClientConf::parse(text);
}

client::Result<client::Uri> find_uri(const Target& target, const client::Environment& environment) {
    const auto conf = load_conf(environment);
    if (!conf) return tl::unexpected(conf.error());
    std::string text = target.uri;
    for (const char* variable : {"VIRTGATE_URI", "LIBVIRT_DEFAULT_URI"})
        if (text.empty()) text = read_variable(variable);
    if (text.empty()) text = conf->uri_default;
    for (const auto& [name, uri] : conf->aliases) {
        if (text != name) continue;
        text = uri;
        break;
    }
    if (text.empty()) {
        // No name is asked for: the server opens what it likes best.
        client::Uri uri;
        uri.driver = "remote";
        uri.transport = client::Transport::unix_socket;
        uri.path = environment.is_root ? "/system" : "/session";
        uri.name = "";
        return uri;
    }
    return client::Uri::parse(text);
}

client::Result<client::Connection> open(const Target& target, const std::stop_token& stop, bool raw) {
    const client::Environment environment = client::Environment::of_process();
    const auto uri = find_uri(target, environment);
    if (!uri) return tl::unexpected(uri.error());
    const client::Options options = options_for(target, stop);
    if (!raw) return client::Connection::open(*uri, options);
    auto channel = client::connect(*uri, options.read_only, environment, options.deadline);
    if (!channel) return tl::unexpected(channel.error());
    return client::Connection::attach(std::move(*channel), options);
}

client::Result<client::Connection> open_for_long(const Target& target, const std::stop_token& stop,
                                                 std::function<void(const client::Change&)> on_change) {
    const auto uri = find_uri(target, client::Environment::of_process());
    if (!uri) return tl::unexpected(uri.error());
    client::Options options = options_for(target, stop);
    // Nobody may be there any more when it is asked again, in the library's thread: what was said holds.
    using Answers = std::map<std::pair<client::Ask, std::string>, std::optional<std::string>>;
    options.answerer = [said = std::make_shared<Answers>()](const client::Question& question) {
        const auto [entry, is_new] = said->try_emplace({question.what, question.host + question.prompt});
        if (is_new) entry->second = answer(question);
        return entry->second;
    };
    options.reconnect.emplace();
    options.reconnect->per_try = Milliseconds{1000} * target.seconds;
    options.reconnect->stop = stop;
    options.reconnect->on_change = std::move(on_change);
    return client::Connection::open(*uri, options);
}

client::Result<client::Connection> open_socket(const std::string& path, const Target& target,
                                               const std::stop_token& stop) {
    const client::Options options = options_for(target, stop);
    auto channel = client::connect_unix(path, options.deadline);
    if (!channel) return tl::unexpected(channel.error());
    return client::Connection::attach(std::move(*channel), options);
}

}  // namespace virtgate::ctl::tools
