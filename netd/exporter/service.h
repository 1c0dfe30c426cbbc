// SPDX-License-Identifier: LGPL-2.1-or-later
// service - all of the exporter: its parent, the collection, and who reads it.
//
// Twin: netd/publication (proto/supervise.x, proto/metrics.x).
//
// Trust:  whoever may connect may read; requests are hostile (libshared/http).
// Owns:   the channels and the server.
#pragma once

#include "libshared/http/server.h"
#include "libshared/metrics/text.h"
#include "netd/exporter/collection.h"
#include "proto/supervise.h"

namespace virtgate::netd::exporter {

class Service {
public:
    // `parent`: the supervisor; when that is gone `loop` stops.
    Service(loop::Loop& loop, UniqueFd parent, UniqueFd listener);

    // Tells the supervisor that this process serves. Error: the channel is closed.
    Done report_ready();

private:
    void on_parent(rpc::Control::Message& message) noexcept;
    void on_parent_closed(std::string_view why) noexcept;
    void serve_adopt(rpc::Control::Message& message);
    void on_supervisor(rpc::Control::Message& message) noexcept;
    void on_supervisor_closed(std::string_view why) noexcept;
    void on_missing(proto::metrics::Source source) noexcept;
    void on_request(const http::Request& request) noexcept;
    void show(http::Ticket ticket, metrics::Format format, const metrics::Samples& samples);

    loop::Loop& loop_;
    Log log_{"exporter"};
    Collection collection_;
    http::Server server_;
    rpc::Control parent_;
    std::unique_ptr<rpc::Control> supervisor_;
};

}  // namespace virtgate::netd::exporter
