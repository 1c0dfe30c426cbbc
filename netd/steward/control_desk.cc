// SPDX-License-Identifier: LGPL-2.1-or-later
// control_desk - the control program, served to virtgate's own tools.
#include "netd/steward/control_desk.h"

#include "libshared/server/client.h"

namespace virtgate::netd::steward {

namespace control = proto::control;
using control::Procedure;

namespace {

// A call can be moved, but not copied, as what waits for an answer has to be.
std::shared_ptr<server::Call> share(server::Call call) {
    return std::make_shared<server::Call>(std::move(call));
}

template <class Arguments>
ByteVector encode_arguments(const Arguments& arguments) {
    auto payload = proto::encode(arguments);
    require(payload.has_value(), "arguments that were decoded and do not encode");
    return std::move(*payload);
}

}  // namespace

std::string describe(const server::Client& client) {
    return fmt::format("user {} (process {})", client.peer().uid, client.peer().pid);
}

ControlDesk::ControlDesk(Gates& gates, Supervisor& supervisor)
    : gates_(gates), supervisor_(supervisor), program_(control::k_program, control::k_version) {
    program_.serve<&ControlDesk::connections>(Procedure::connections, *this);
    program_.serve<&ControlDesk::close>(Procedure::close, *this);
    program_.serve<&ControlDesk::counters>(Procedure::counters, *this);
    program_.serve<&ControlDesk::state>(Procedure::state, *this);
    program_.serve<&ControlDesk::change>(Procedure::change, *this);
    program_.serve<&ControlDesk::reload>(Procedure::reload, *this);
    program_.serve<&ControlDesk::drain>(Procedure::drain, *this);
    program_.serve<&ControlDesk::resume>(Procedure::resume, *this);
}

void ControlDesk::connections(Client&, const control::ConnectionsArgs& arguments, Call call) noexcept {
    gates_.list(arguments.after,
                [call = share(std::move(call))](const control::ConnectionsRet& page) { call->reply(page); });
}

void ControlDesk::close(Client& client, const control::CloseArgs& arguments, Call call) noexcept {
    log_.info("{} closes connection {}{}", describe(client), arguments.id,
              arguments.reason.empty() ? "" : fmt::format(": \"{}\"", escape(arguments.reason)));
    gates_.close(arguments.id, arguments.reason, [call = share(std::move(call))](const Answer<bool>& found) {
        if (!found) return call->fail(found.error());
        call->reply(control::CloseRet{.found = *found});
    });
}

void ControlDesk::counters(Client&, Call call) noexcept {
    gates_.count(
        [call = share(std::move(call))](const control::Counters& counters) { call->reply(counters); });
}

void ControlDesk::state(Client&, Call call) noexcept {
    supervisor_.ask(Procedure::state, {}, Link::k_patience,
                    [call = share(std::move(call))](const Answer<ByteVector>& answer) {
                        if (!answer) return call->fail(answer.error());
                        const auto state = proto::decode<control::StateRet>(*answer);
                        if (!state) return call->fail(no_answer());
                        call->reply(*state);
                    });
}

void ControlDesk::pass_on(Procedure procedure, ByteView payload, Call call) {
    supervisor_.ask(procedure, payload, Link::k_long_patience,
                    [call = share(std::move(call))](const Answer<ByteVector>& answer) {
                        if (!answer) return call->fail(answer.error());
                        call->reply();
                    });
}

void ControlDesk::change(Client& client, const control::ChangeArgs& arguments, Call call) noexcept {
    log_.info("{} changes what is logged, or how many clients there may be", describe(client));
    pass_on(Procedure::change, encode_arguments(arguments), std::move(call));
}

void ControlDesk::reload(Client& client, Call call) noexcept {
    log_.info("{} has the configuration read anew", describe(client));
    pass_on(Procedure::reload, {}, std::move(call));
}

void ControlDesk::drain(Client& client, const control::DrainArgs& arguments, Call call) noexcept {
    log_.info("{} has nobody let in any more", describe(client));
    pass_on(Procedure::drain, encode_arguments(arguments), std::move(call));
}

void ControlDesk::resume(Client& client, Call call) noexcept {
    log_.info("{} has clients let in again", describe(client));
    pass_on(Procedure::resume, {}, std::move(call));
}

}  // namespace virtgate::netd::steward
