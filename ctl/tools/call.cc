// SPDX-License-Identifier: LGPL-2.1-or-later
// call - any procedure of any program, with JSON in and out.
#include "ctl/tools/call.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "config.h"
#include "ctl/tools/asker.h"
#include "ctl/tools/outcome.h"
#include "ctl/tools/table.h"
#include "libshared/programs/programs.h"
#include "libshared/reflect/description.h"

namespace virtgate::ctl::tools {

namespace {

using Entry = reflect::Catalogue::Entry;

// More than the largest payload takes as JSON.
constexpr std::size_t k_input_max = std::size_t{256} << 20;

// Programs of daemons with a socket of their own. Source: libvirt's documentation of its daemons.
constexpr std::array<std::pair<std::string_view, std::string_view>, 3> k_own_sockets{
    {{"admin", "/var/run/libvirt/libvirt-admin-sock"},
     {"lock", "/var/run/libvirt/virtlockd-sock"},
     {"log", "/var/run/libvirt/virtlogd-sock"}}};

client::Result<std::string> read_all(int fd, const std::string& name) {
    std::string text;
    std::array<char, 65536> buffer;
    while (text.size() <= k_input_max) {
        const ssize_t size = read(fd, buffer.data(), buffer.size());
        if (size == 0) return text;
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return client::fail_system(errno, fmt::format("cannot read {}", name));
        text.append(buffer.data(), static_cast<std::size_t>(size));
    }
    return client::fail(client::Cause::invalid, fmt::format("{} is too long", name));
}

client::Result<Json> read_arguments(const std::string& given) {
    client::Result<std::string> text(given.empty() ? "{}" : given);
    if (given == "-") {
        text = read_all(STDIN_FILENO, "standard input");
    } else if (given.starts_with('@')) {
        const std::string path = given.substr(1);
        const UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
        if (!file) return client::fail_system(errno, fmt::format("cannot open {}", path));
        text = read_all(file.get(), path);
    }
    if (!text) return tl::unexpected(text.error());
    auto json = reflect::parse(*text);
    if (!json) return client::fail(client::Cause::invalid, "the arguments are " + json.error());
    return std::move(*json);
}

// For programs that read what went wrong.
int fail_as(const client::Failure& failure, bool line) {
    if (!line) return fail_with(failure);
    Json error = {{"cause", client::to_text(failure.cause)}, {"message", failure.text}};
    if (failure.cause == client::Cause::remote) {
        error["code"] = failure.remote.code;
        error["domain"] = failure.remote.domain;
        error["level"] = failure.remote.level;
    }
    fmt::print(stderr, "{}\n", reflect::print({{"error", error}}, reflect::Layout::line));
    return exit_status(failure);
}

int list_procedures(const CallOrder& order, const reflect::Catalogue& catalogue) {
    std::vector<const proto::ProgramInfo*> programs = catalogue.programs();
    if (!order.name.empty()) {
        const auto one = catalogue.find_program(order.name);
        if (!one) return say(one.error(), spawn::k_exit_usage);
        programs = {*one};
    }
    if (order.json) {
        Json list = Json::array();
        for (const proto::ProgramInfo* program : programs)
            for (const proto::ProcedureInfo& one : program->procedures())
                if (one.kind == proto::ProcedureInfo::Kind::call)
                    list.push_back({{"program", program->name},
                                    {"procedure", one.name},
                                    {"number", one.number},
                                    {"description", one.prose}});
        fmt::print("{}\n", reflect::print({{"procedures", list}}, reflect::Layout::indented));
        return 0;
    }
    for (const proto::ProgramInfo* program : programs)
        for (const proto::ProcedureInfo& one : program->procedures())
            if (one.kind == proto::ProcedureInfo::Kind::call)
                fmt::print("{:<52}  {}\n", fmt::format("{}.{}", program->name, one.name), one.prose);
    return 0;
}

// Where the procedures of this program are served: through a URI, or at a socket without login and OPEN.
client::Result<client::Connection> connect_for(const CallOrder& order, const Entry& entry, Signals& signals) {
    std::string socket = order.socket;
    for (const auto& [program, path] : k_own_sockets)
        if (socket.empty() && order.target.uri.empty() && entry.program->name == program) socket = path;
    if (socket.empty()) return open(order.target, signals.token(), order.raw);
    return open_socket(socket, order.target, signals.token());
}

client::Done open_administration(Asker& asker, const client::Deadline& deadline) {
    const auto opened = asker.ask("admin.connect_open", {{"flags", 0}}, deadline);
    if (!opened) return tl::unexpected(opened.error());
    return {};
}

client::Done write_all(int fd, ByteView bytes) {
    while (!bytes.empty()) {
        const ssize_t size = write(fd, bytes.data(), bytes.size());
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return client::fail_system(errno, "cannot write what the stream brings");
        bytes = bytes.subspan(static_cast<std::size_t>(size));
    }
    return {};
}

client::Done carry(client::Stream& stream, const proto::ProcedureInfo& procedure, const std::string& path,
                   const client::Deadline& deadline) {
    const bool reads = procedure.stream == proto::Stream::read;
    const int flags = reads ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY;
    UniqueFd file;
    if (path != "-") file = UniqueFd{::open(path.c_str(), flags | O_CLOEXEC, 0666)};
    if (path != "-" && !file) return client::fail_system(errno, fmt::format("cannot open {}", path));
    const int fd = path != "-" ? file.get() : reads ? STDOUT_FILENO : STDIN_FILENO;
    if (reads) return stream.receive_all([fd](ByteView bytes) { return write_all(fd, bytes); }, {}, deadline);
    return stream.send_all(
        [&](MutableBytes buffer) {
            return read_some(fd, buffer, path == "-" ? "standard input" : path, deadline);
        },
        deadline);
}

// What cannot be called, or not like this; empty if it can.
std::string obstacle(const CallOrder& order, const Entry& entry) {
    const std::string name = fmt::format("{}.{}", entry.program->name, entry.procedure->name);
    if (entry.procedure->kind == proto::ProcedureInfo::Kind::event)
        return fmt::format("{} is an event, which the server sends: see \"virtgate events\"", name);
    if (entry.procedure->fds_call_min > 0)
        return fmt::format("{} takes file descriptors of the caller, which a command line has none of", name);
    const bool streams = entry.procedure->stream != proto::Stream::none;
    if (streams && order.stream.empty())
        return fmt::format("{} opens a stream: say with --stream where the data {}", name,
                           entry.procedure->stream == proto::Stream::read ? "go" : "come from");
    if (!streams && !order.stream.empty()) return fmt::format("{} opens no stream", name);
    if (streams && order.stream == "-" && order.arguments == "-" &&
        entry.procedure->stream == proto::Stream::write)
        return "standard input cannot be both, the arguments and the stream";
    return {};
}

int call(const CallOrder& order, const reflect::Catalogue& catalogue, const Entry& entry) {
    if (const std::string text = obstacle(order, entry); !text.empty()) return say(text, spawn::k_exit_usage);
    const auto arguments = read_arguments(order.arguments);
    if (!arguments) return fail_as(arguments.error(), order.json);
    // Mistakes are found before anybody is connected to.
    const auto payload =
        reflect::to_payload(entry.program->schema, entry.procedure->args, *arguments, "args");
    if (!payload) return fail_as({.cause = client::Cause::invalid, .text = payload.error()}, order.json);

    Signals signals;
    auto connection = connect_for(order, entry, signals);
    if (!connection) return fail_as(connection.error(), order.json);
    client::Deadline deadline;
    if (order.seconds > 0) deadline = client::Deadline::in(Milliseconds{1000} * order.seconds);
    deadline.stop = signals.token();
    Asker asker(*connection, catalogue);
    const std::string name = fmt::format("{}.{}", entry.program->name, entry.procedure->name);
    const bool is_opening = entry.procedure->name == "connect_open";
    if (entry.program->name == "admin" && !order.raw && !is_opening)
        if (const auto done = open_administration(asker, deadline); !done)
            return fail_as(done.error(), order.json);

    const reflect::Layout layout = order.json ? reflect::Layout::line : reflect::Layout::indented;
    if (entry.procedure->stream == proto::Stream::none) {
        const auto result = asker.ask(name, *arguments, deadline);
        if (!result) return fail_as(result.error(), order.json);
        // Without a result there is something all the same for a program that reads JSON.
        fmt::print("{}\n", result->is_null() ? "{}" : reflect::print(*result, layout));
        return 0;
    }
    auto streaming = asker.open_stream(name, *arguments, deadline);
    if (!streaming) return fail_as(streaming.error(), order.json);
    if (const auto done = carry(streaming->stream, *entry.procedure, order.stream, deadline); !done)
        return fail_as(done.error(), order.json);
    if (!streaming->result.is_null())
        fmt::print(order.stream == "-" ? stderr : stdout, "{}\n", reflect::print(streaming->result, layout));
    return 0;
}

// Adds the programs of others that this machine serves. What is wrong with them; it keeps nobody from calling libvirt's.
std::string add_announced(const std::string& directory, reflect::Catalogue& catalogue) {
    const auto programs = programs::read_programs(directory);
    if (!programs) return programs.error().text;
    for (const programs::Announced& one : *programs)
        if (const auto added = catalogue.add_schema(one.schema, one.file); !added) return added.error();
    return {};
}

}  // namespace

int run_call(const CallOrder& order) {
    reflect::Catalogue catalogue;
    const bool is_default = order.programs.empty();
    const std::string missing =
        add_announced(is_default ? VIRTGATE_SYSCONFDIR "/programs.d" : order.programs, catalogue);
    if (!is_default && !missing.empty()) return say(missing, spawn::k_exit_usage);
    for (const std::string& path : order.schemas)
        if (const auto added = catalogue.add_file(path); !added)
            return say(added.error(), spawn::k_exit_usage);
    if (order.listing) {
        if (!missing.empty()) fmt::print(stderr, "virtgate call: not listed: {}\n", missing);
        return list_procedures(order, catalogue);
    }
    if (order.name.empty()) return say("which procedure? See \"virtgate call --list\"", spawn::k_exit_usage);
    const auto entry = catalogue.find(order.name);
    if (!entry)
        return say(missing.empty() ? entry.error() : fmt::format("{}; {}", entry.error(), missing),
                   spawn::k_exit_usage);
    if (!order.describing) return call(order, catalogue, *entry);
    if (order.json)
        fmt::print("{}\n",
                   reflect::print(reflect::describe_procedure_json(*entry->program, *entry->procedure),
                                  reflect::Layout::indented));
    else
        fmt::print("{}", reflect::describe_procedure(*entry->program, *entry->procedure));
    return 0;
}

}  // namespace virtgate::ctl::tools
