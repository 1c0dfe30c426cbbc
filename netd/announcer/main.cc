// SPDX-License-Identifier: LGPL-2.1-or-later
// virtgate-announcer - publishes the listener for TLS in multicast DNS, through avahi-daemon.
//
// Trust: connects to the system bus before it is confined, and to nothing afterwards. It has no client, no key, no file.
#include "libshared/fdmap.h"
#include "libshared/rpc/control.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"
#include "netd/announcer/confinement.h"
#include "netd/announcer/publisher.h"
#include "proto/codec.h"
#include "proto/supervise.h"

namespace {

using namespace virtgate;
namespace supervise = proto::supervise;

int fail(const Error& error, int status) {
    Log().error("{}", error.text);
    return status;
}

// The supervisor, who has little to say here, and whose end is ours.
class Parent {
public:
    explicit Parent(loop::Loop& loop)
        : loop_(loop),
          control_(loop, UniqueFd(fdmap::k_control), 0, loop::to<&Parent::on_message>(*this),
                   loop::to<&Parent::on_closed>(*this)) {}

    Done report_ready() {
        return control_.send(
            rpc::make_message(supervise::k_program, supervise::k_version, supervise::Procedure::ready), {});
    }

private:
    void on_message(rpc::Control::Message& message) noexcept {
        if (message.header ==
            rpc::make_message(supervise::k_program, supervise::k_version, supervise::Procedure::tune))
            if (const auto change = proto::decode<supervise::TuneArgs>(message.payload))
                return set_log_level(static_cast<Level>(change->log_level));
        Log().error("the supervisor sent something that an announcer does not know");
    }
    void on_closed(std::string_view) noexcept { loop_.stop(); }

    loop::Loop& loop_;
    rpc::Control control_;
};

}  // namespace

int main(int argc, char** argv) {
    if (confine::is_asked_to_show(argc, argv)) return confine::show(netd::announcer::make_plan());
    if (const auto done = spawn::close_to_others(); !done) return fail(done.error(), spawn::k_exit_system);
    const auto config = spawn::read_config<proto::config::AnnouncerConfig>(fdmap::k_config);
    if (!config) return fail(config.error(), spawn::k_exit_system);
    set_log_level(static_cast<Level>(config->log_level));

    const auto loop = loop::make_event_loop();
    Parent parent(*loop);
    netd::announcer::Publisher publisher(*loop, *config);
    if (const auto done = publisher.connect(); !done) {
        publisher.complain(done.error().text);
        return spawn::k_exit_unavailable;
    }
    if (!confine::confine(netd::announcer::make_plan(), static_cast<confine::Mode>(config->sandbox)))
        return spawn::k_exit_system;
    if (const auto done = parent.report_ready(); !done) return fail(done.error(), spawn::k_exit_system);
    loop->run();
    return publisher.status();
}
