// SPDX-License-Identifier: LGPL-2.1-or-later
// service - all of the exporter: its parent, the collection, and who reads it.
#include "netd/exporter/service.h"

#include "proto/codec.h"

namespace virtgate::netd::exporter {

namespace supervise = proto::supervise;
using proto::metrics::Source;
using supervise::PeerRole;

namespace {

constexpr http::Limits k_limits{};

constexpr std::string_view k_index =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><title>virtgate</title></head>\n"
    "<body><h1>virtgate</h1>\n<p><a href=\"/metrics\">Metrics</a>; their meaning: virtgate-metrics(7).</p>\n"
    "</body></html>\n";

rpc::Header make_message(supervise::Procedure procedure) noexcept {
    return rpc::make_message(supervise::k_program, supervise::k_version, procedure);
}

}  // namespace

Service::Service(loop::Loop& loop, UniqueFd parent, UniqueFd listener)
    : loop_(loop),
      collection_(loop, loop::to<&Service::on_missing>(*this)),
      server_(loop, std::move(listener), k_limits, loop::to<&Service::on_request>(*this)),
      parent_(loop, std::move(parent), 1, loop::to<&Service::on_parent>(*this),
              loop::to<&Service::on_parent_closed>(*this)) {}

Done Service::report_ready() { return parent_.send(make_message(supervise::Procedure::ready), {}); }

void Service::on_parent(rpc::Control::Message& message) noexcept {
    if (message.header == make_message(supervise::Procedure::adopt)) return serve_adopt(message);
    if (message.header == make_message(supervise::Procedure::serve)) return server_.start();
    if (message.header == make_message(supervise::Procedure::tune))
        if (const auto change = proto::decode<supervise::TuneArgs>(message.payload))
            return set_log_level(static_cast<Level>(change->log_level));
    log_.error("the supervisor sent something that an exporter does not know");
}

void Service::serve_adopt(rpc::Control::Message& message) {
    const auto adopt = proto::decode<supervise::AdoptArgs>(message.payload);
    if (!adopt || message.fds.count() != 1) return log_.error("a malformed ADOPT of the supervisor");
    switch (adopt->role) {
        case PeerRole::peer_steward: return collection_.adopt(Source::source_steward, message.fds.take(0));
        case PeerRole::peer_broker: return collection_.adopt(Source::source_broker, message.fds.take(0));
        case PeerRole::peer_supervisor:
            supervisor_ = std::make_unique<rpc::Control>(loop_, message.fds.take(0), 0,
                                                         loop::to<&Service::on_supervisor>(*this),
                                                         loop::to<&Service::on_supervisor_closed>(*this));
            // So that the first reader finds both.
            on_missing(Source::source_steward);
            return on_missing(Source::source_broker);
        default: break;
    }
    log_.error("ADOPT of a peer that an exporter does not have");
}

void Service::on_parent_closed(std::string_view) noexcept { loop_.stop(); }

void Service::on_supervisor(rpc::Control::Message&) noexcept {
    log_.error("the supervisor answers what nobody asked");
}

void Service::on_supervisor_closed(std::string_view) noexcept { supervisor_.reset(); }

void Service::on_missing(Source source) noexcept {
    if (!supervisor_) return;
    const auto payload = proto::encode(proto::metrics::ReachArgs{.source = source});
    require(payload.has_value(), "a source does not encode");
    const auto reach = rpc::make_message(proto::metrics::k_program, proto::metrics::k_version,
                                         proto::metrics::Procedure::reach);
    if (const auto sent = supervisor_->send(reach, *payload); !sent) log_.warning("{}", sent.error().text);
}

void Service::on_request(const http::Request& request) noexcept {
    if (request.path == "/") return server_.answer(request.ticket, 200, "text/html; charset=utf-8", k_index);
    if (request.path != "/metrics")
        return server_.answer(request.ticket, 404, "text/plain; charset=utf-8", "There is only /metrics.\n");
    collection_.collect([this, ticket = request.ticket, format = metrics::choose_format(request.accept)](
                            const metrics::Samples& samples) { show(ticket, format, samples); });
}

void Service::show(http::Ticket ticket, metrics::Format format, const metrics::Samples& samples) {
    // Our own numbers are of this moment.
    metrics::Tally all;
    all.add_all(samples);
    for (const int status : {200, 404}) {
        const auto found = server_.answered().find(status);
        all.add(metrics::Family::exporter_requests, {std::to_string(status)},
                found != server_.answered().end() ? found->second : 0);
    }
    server_.answer(ticket, 200, metrics::content_type(format), metrics::format(all.samples(), format));
}

}  // namespace virtgate::netd::exporter
