// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command lines of what speaks to servers: call, list, ping, events, console, upload, download.
#include "ctl/tools/command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "config.h"
#include "ctl/tools/call.h"
#include "ctl/tools/console.h"
#include "ctl/tools/events.h"
#include "ctl/tools/list.h"
#include "ctl/tools/outcome.h"
#include "ctl/tools/ping.h"
#include "ctl/tools/transfer.h"

namespace virtgate::ctl::tools {

namespace {

constexpr char k_call_footer[] =
    "Example, from a name to what is known of a machine:\n"
    "  virtgate call domain_lookup_by_name '{\"name\": \"web\"}' | virtgate call domain_get_info -\n"
    "See virtgate-call(1).";
constexpr char k_transfer_footer[] = "See virtgate-upload(1).";

class ToolsCommand final : public Command {
public:
    explicit ToolsCommand(CLI::App& app);
    [[nodiscard]] bool parsed() const override;
    [[nodiscard]] int run() const override;

private:
    static void add_target(CLI::App& app, Target& target);
    void add_call(CLI::App& app);
    void add_list(CLI::App& app);
    void add_ping(CLI::App& app);
    void add_events(CLI::App& app);
    void add_console(CLI::App& app);
    void add_transfer(CLI::App& app, TransferOrder& order);
    void add_upload(CLI::App& app);
    void add_download(CLI::App& app);

    CLI::App *call_ = nullptr, *list_ = nullptr, *ping_ = nullptr, *events_ = nullptr, *console_ = nullptr,
             *upload_ = nullptr, *download_ = nullptr;
    CallOrder call_order_;
    ListOrder list_order_;
    PingOrder ping_order_;
    EventsOrder events_order_;
    bool list_types_ = false;
    double interval_ = 1;
    ConsoleOrder console_order_;
    TransferOrder upload_order_, download_order_;
    std::string offset_, length_;
};

void ToolsCommand::add_target(CLI::App& app, Target& target) {
    app.add_option("-c,--connect", target.uri, "URI of the server, or an alias of libvirt.conf")
        ->type_name("URI");
    app.add_flag("-r,--readonly", target.read_only, "ask for a connection that can only read");
    app.add_option("--connect-timeout", target.seconds,
                   fmt::format("how long to wait for the connection (default: {})", k_connect_seconds))
        ->type_name("SECONDS")
        ->check(CLI::Range(1U, 86400U));
}

void ToolsCommand::add_call(CLI::App& app) {
    call_ = app.add_subcommand("call", "call any procedure, with JSON in and out");
    call_->footer(k_call_footer);
    add_target(*call_, call_order_.target);
    call_->add_option("PROCEDURE", call_order_.name,
                      "PROGRAM.PROCEDURE; the program is remote if it is left out");
    call_->add_option("ARGUMENTS", call_order_.arguments,
                      "JSON, or @FILE, or - for standard input (default: {})");
    CLI::Option* list =
        call_->add_flag("--list", call_order_.listing, "show what can be called, of one program or of all");
    call_->add_flag("--describe", call_order_.describing, "show arguments, result and rights of a procedure")
        ->excludes(list);
    call_->add_flag("--json", call_order_.json,
                    "with --list and --describe: as JSON; else results and errors in one line");
    CLI::Option* socket = call_
                              ->add_option("--socket", call_order_.socket,
                                           "a UNIX socket instead of a URI, without login and open")
                              ->type_name("PATH");
    call_->get_option("--connect")->excludes(socket);
    call_->add_flag("--raw", call_order_.raw, "neither log in nor open a driver first");
    call_->add_option("--schema", call_order_.schemas, "add the program of a .schema file; may be repeated")
        ->type_name("FILE")
        ->allow_extra_args(false);
    call_
        ->add_option("--programs", call_order_.programs,
                     "the programs of the files in this directory (default: " VIRTGATE_SYSCONFDIR
                     "/programs.d)")
        ->type_name("DIR");
    call_
        ->add_option("--stream", call_order_.stream,
                     "where the data of a stream go or come from; - for standard output or input")
        ->type_name("FILE");
    call_
        ->add_option("--timeout", call_order_.seconds,
                     "how long to wait for the answer (default: as long as it takes)")
        ->type_name("SECONDS");
}

void ToolsCommand::add_list(CLI::App& app) {
    list_ = app.add_subcommand("list", "show what there is at a server: domains, networks, pools and more");
    list_->footer("See virtgate-list(1).");
    add_target(*list_, list_order_.target);
    list_
        ->add_option("KIND", list_order_.kind,
                     fmt::format("{} (default: domains)", fmt::join(list_kinds(), ", ")))
        ->check(CLI::IsMember(list_kinds()));
    list_->add_option("POOL", list_order_.pool, "of volumes: only those of this pool");
    list_->add_flag("--json", list_order_.json, "as JSON");
}

void ToolsCommand::add_ping(CLI::App& app) {
    ping_ = app.add_subcommand("ping", "measure how long a call takes to a server and back");
    ping_->footer("See virtgate-list(1).");
    add_target(*ping_, ping_order_.target);
    ping_->add_option("-n,--count", ping_order_.count, "how many calls; 0: until ^C (default: 4)")
        ->type_name("N");
    ping_->add_option("-i,--interval", interval_, "time from call to call (default: 1)")
        ->type_name("SECONDS")
        ->check(CLI::Range(0.0, 86400.0));
    ping_->add_option("--timeout", ping_order_.seconds, "how long to wait for an answer (default: 10)")
        ->type_name("SECONDS")
        ->check(CLI::Range(1U, 86400U));
    ping_->add_flag("--json", ping_order_.json, "as lines of JSON");
}

void ToolsCommand::add_events(CLI::App& app) {
    events_ = app.add_subcommand("events", "show what happens at a server, as it happens");
    events_->footer("See virtgate-events(1).");
    add_target(*events_, events_order_.target);
    events_
        ->add_option("--type", events_order_.types,
                     "only events of this type, such as lifecycle or network; may be repeated")
        ->type_name("TYPE")
        ->delimiter(',')
        ->allow_extra_args(false);
    events_->add_option("--domain", events_order_.domain, "only events of this domain: its name or UUID")
        ->type_name("DOMAIN");
    events_->add_option("--count", events_order_.count, "end after so many events")->type_name("N");
    events_->add_flag("--reconnect", events_order_.reconnect,
                      "go on when the connection was lost: connect again, for as long as it takes");
    events_->add_flag("--list-types", list_types_, "show the types of events");
    events_->add_flag("--json", events_order_.json, "as lines of JSON");
}

void ToolsCommand::add_console(CLI::App& app) {
    console_ = app.add_subcommand("console", "use the console of a domain on this terminal");
    console_->footer("See virtgate-console(1).");
    add_target(*console_, console_order_.target);
    console_->add_option("DOMAIN", console_order_.domain, "name, UUID or number of the domain")->required();
    console_
        ->add_option("--devname", console_order_.device,
                     "alias of the console, serial or parallel port (default: the first)")
        ->type_name("NAME");
    console_
        ->add_option("-e,--escape", console_order_.escape,
                     "key that disconnects; none: no key does (default: ^])")
        ->type_name("KEY");
    console_->add_flag("--force", console_order_.force, "disconnect whoever has the console now");
    console_->add_flag("--safe", console_order_.safe, "only if the server can keep others from it meanwhile");
    console_
        ->add_option("--linger", console_order_.linger,
                     "end after so long without output, once an input that is no terminal has ended; 0: do "
                     "not (default: 2)")
        ->type_name("SECONDS")
        ->check(CLI::Range(0U, 86400U));
}

void ToolsCommand::add_transfer(CLI::App& app, TransferOrder& order) {
    app.footer(k_transfer_footer);
    add_target(app, order.target);
    app.add_option("VOLUME", order.volume, "POOL/VOLUME")->required();
    app.add_option("FILE", order.file, "the file here; - for standard input or output")->required();
    app.add_option("--offset", offset_, "first byte of the volume (default: 0)")->type_name("BYTES");
    app.add_option("--length", length_, "how many bytes (default: all)")->type_name("BYTES");
    app.add_flag("--sparse", order.sparse, "do not send what is a hole");
    app.add_flag("--resume", order.resume, "go on where an interrupted one has ended");
    app.add_flag("--json", order.json, "say at the end how much it was, as JSON");
}

void ToolsCommand::add_upload(CLI::App& app) {
    upload_ = app.add_subcommand("upload", "send a file into a storage volume");
    add_transfer(*upload_, upload_order_);
    upload_->add_flag("--checksum", upload_order_.checksum, "read it back, compare, and show its SHA-256");
    upload_->add_flag("--create", upload_order_.create, "make the volume if it is not there");
}

void ToolsCommand::add_download(CLI::App& app) {
    download_ = app.add_subcommand("download", "fetch a storage volume into a file");
    add_transfer(*download_, download_order_);
    download_->add_flag("--checksum", download_order_.checksum, "show the SHA-256 of what has arrived");
}

ToolsCommand::ToolsCommand(CLI::App& app) {
    add_call(app);
    add_list(app);
    add_ping(app);
    add_events(app);
    add_console(app);
    add_upload(app);
    add_download(app);
}

bool ToolsCommand::parsed() const {
    for (const CLI::App* one : {call_, list_, ping_, events_, console_, upload_, download_})
        if (one->parsed()) return true;
    return false;
}

int ToolsCommand::run() const {
    if (call_->parsed()) return run_call(call_order_);
    if (list_->parsed()) {
        if (!list_order_.pool.empty() && list_order_.kind != "volumes")
            return say(fmt::format("{} are in no pool", list_order_.kind), spawn::k_exit_usage);
        return run_list(list_order_);
    }
    if (ping_->parsed()) {
        PingOrder order = ping_order_;
        order.interval = static_cast<unsigned>(interval_ * 1000);
        return run_ping(order);
    }
    if (events_->parsed() && list_types_) {
        fmt::print("{}", list_event_types(events_order_.json));
        return 0;
    }
    if (events_->parsed()) return run_events(events_order_);
    if (console_->parsed()) return run_console(console_order_);
    TransferOrder order = upload_->parsed() ? upload_order_ : download_order_;
    if (!offset_.empty() && !parse_size(offset_, order.offset))
        return say("--offset: a number of bytes, or with K, M, G or T", spawn::k_exit_usage);
    if (!length_.empty() && (!parse_size(length_, order.length) || order.length == 0))
        return say("--length: a number of bytes, or with K, M, G or T", spawn::k_exit_usage);
    return upload_->parsed() ? run_upload(order) : run_download(order);
}

}  // namespace

std::unique_ptr<Command> add_command(CLI::App& app) { return std::make_unique<ToolsCommand>(app); }

}  // namespace virtgate::ctl::tools
