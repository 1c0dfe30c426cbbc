// SPDX-License-Identifier: LGPL-2.1-or-later
// administration - who has sessions, told to an administrator; what one changes: sessions, the policy, the log.
#include "workerd/broker/administration.h"

#include <unistd.h>

#include <ctime>

#include "config.h"
#include "libshared/base/bytes.h"
#include "libshared/base/log.h"
#include "libshared/rpc/error.h"
#include "proto/codec.h"

namespace virtgate::workerd::broker {

namespace sessions = proto::sessions;

namespace {

const Log k_admin_log{"administration"};

// Of a row, without its names.
constexpr std::size_t k_row = 128;

}  // namespace

Administration::Administration(Crew& crew, PolicySource& policy, LogDesk& log_desk, const Settings& settings)
    : crew_(crew), policy_(policy), log_desk_(log_desk), settings_(settings), since_(std::time(nullptr)) {}

void Administration::note_policy(bool accepted) noexcept {
    policy_refused_ = !accepted;
    if (accepted) policy_since_ = std::time(nullptr);
}

void Administration::serve(rpc::Control& control, const rpc::Control::Message& message,
                           const std::string& who) {
    const rpc::Header& call = message.header;
    const auto is = [&](sessions::Procedure procedure) {
        return call == rpc::make_call(sessions::k_program, sessions::k_version, procedure, call.serial);
    };
    const auto reply = [&](const auto& ret) {
        const auto payload = proto::encode(ret, rpc::Control::k_payload_max);
        require(payload.has_value(), "an answer about sessions that does not fit its message");
        if (const auto sent = control.send_reply(call, *payload); !sent)
            k_admin_log.warning("{}", sent.error().text);
    };
    const auto refuse = [&](int code, std::string_view text) {
        if (const auto sent = control.send_error(call, code, text); !sent)
            k_admin_log.warning("{}", sent.error().text);
    };
    if (is(sessions::Procedure::state) && message.payload.empty()) return reply(describe());
    if (is(sessions::Procedure::list))
        if (const auto arguments = proto::decode<sessions::SessionsArgs>(message.payload))
            return reply(list(arguments->after));
    if (is(sessions::Procedure::workers))
        if (const auto arguments = proto::decode<sessions::WorkersArgs>(message.payload))
            return reply(list_workers(arguments->after));
    if (is(sessions::Procedure::finish))
        if (const auto arguments = proto::decode<sessions::FinishArgs>(message.payload)) {
            if (arguments->sessions.empty() && arguments->identity.empty())
                return refuse(rpc::k_code_invalid_argument, "neither sessions nor an identity are named");
            if (!is_plain_text(arguments->reason))
                return refuse(rpc::k_code_invalid_argument, "the reason has to be plain text");
            sessions::FinishRet ret{.sessions = crew_.finish(*arguments)};
            k_admin_log.info(
                "{} ends {} sessions{}", who, ret.sessions.size(),
                arguments->reason.empty() ? "" : fmt::format(": \"{}\"", escape(arguments->reason)));
            return reply(ret);
        }
    if (is(sessions::Procedure::reload) && message.payload.empty()) {
        k_admin_log.info("{} has the policy read again", who);
        return reply(sessions::ReloadRet{.compiled = policy_.compile()});
    }
    if (is(sessions::Procedure::log) && message.payload.empty()) return reply(log_desk_.describe());
    if (is(sessions::Procedure::change_log))
        if (const auto arguments = proto::decode<sessions::ChangeLogArgs>(message.payload)) {
            if (const auto done = log_desk_.change(*arguments); !done)
                return refuse(done.error().fault == Fault::peer ? rpc::k_code_invalid_argument
                                                                : rpc::k_code_operation_failed,
                              done.error().text);
            k_admin_log.info("{} changed what is logged", who);
            if (const auto sent = control.send_reply(call, {}); !sent)
                k_admin_log.warning("{}", sent.error().text);
            return;
        }
    refuse(rpc::k_code_rpc, "that is not known here");
}

sessions::SessionsRet Administration::list(std::uint64_t after) const {
    sessions::SessionsRet ret{.sessions = {}, .last = true};
    std::size_t size = 0;
    for (const sessions::ListedSession* row : crew_.list(after)) {
        ret.last = ret.sessions.size() < sessions::k_rows_max && size < k_page;
        if (!ret.last) break;
        size +=
            k_row + row->identity.size() + row->source.size() + row->certificate.size() + row->login.size();
        ret.sessions.push_back(*row);
    }
    return ret;
}

sessions::WorkersRet Administration::list_workers(const std::string& after) const {
    sessions::WorkersRet ret{.workers = {}, .last = true};
    std::size_t size = 0;
    for (sessions::ListedWorker& row : crew_.list_workers(after)) {
        ret.last = ret.workers.size() < sessions::k_rows_max && size < k_page;
        if (!ret.last) break;
        size += k_row + row.identity.size();
        ret.workers.push_back(std::move(row));
    }
    return ret;
}

sessions::BrokerRet Administration::describe() const {
    return {.version = VIRTGATE_VERSION,
            .pid = static_cast<std::uint32_t>(getpid()),
            .since = since_,
            .policy = policy_.generation(),
            .policy_since = policy_since_,
            .policy_refused = policy_refused_,
            .identities = static_cast<std::uint32_t>(policy_.table().identities()),
            .sessions = static_cast<std::uint32_t>(crew_.sessions()),
            .sessions_max = static_cast<std::uint32_t>(settings_.sessions_max),
            .opened = opened_,
            .refused = refused_,
            .crashes = crew_.crashes(),
            .workers = static_cast<std::uint32_t>(crew_.workers()),
            .lockd_socket = settings_.lockd_socket,
            .compiled = policy_.compiled()};
}

}  // namespace virtgate::workerd::broker
