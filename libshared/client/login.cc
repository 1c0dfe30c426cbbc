// SPDX-License-Identifier: LGPL-2.1-or-later
// login - proving to a server who we are, before anything else is asked of it.
#include "libshared/client/login.h"

#include <fmt/format.h>

#include <algorithm>

#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "proto/remote.h"

namespace virtgate::client {

namespace remote = proto::remote;

namespace {

// More than any mechanism needs.
constexpr int k_steps_max = 64;

template <class Value, class Arguments>
Result<Value> call(Core& core, remote::Procedure procedure, const Arguments& arguments,
                   const Deadline& deadline) {
    Request request{.program = remote::k_program,
                    .version = remote::k_version,
                    .procedure = static_cast<std::uint32_t>(procedure),
                    .payload = {},
                    .fds = {},
                    .opens_stream = false,
                    .sparse = false,
                    .link = {},
                    .on_reply = {}};
    if constexpr (!std::is_same_v<Arguments, std::monostate>) {
        auto payload = proto::encode(arguments);
        if (!payload) return fail(Cause::invalid, "the login's data are too long");
        request.payload = std::move(*payload);
    }
    auto reply = core.call(std::move(request), deadline);
    if (!reply) {
        if (reply.error().is(rpc::k_code_auth_failed)) reply.error().cause = Cause::denied;
        return tl::unexpected(reply.error());
    }
    auto value = proto::decode<Value>(reply->payload);
    if (!value) return fail(Cause::protocol, "the server's answer to the login cannot be read");
    return std::move(*value);
}

// No buffer at all and an empty one are told apart by `nil`.
template <class Message>
void put(Message& message, const SaslLogin::Token& token) {
    message.nil = token ? 0 : 1;
    if (token) message.data = std::string(as_text(*token));
}

template <class Message>
SaslLogin::Token get(const Message& message) {
    if (message.nil != 0) return std::nullopt;
    const ByteView bytes = as_bytes(message.data);
    return ByteVector(bytes.begin(), bytes.end());
}

Result<Answerer> make_answerer(const Uri& uri, const Options& options) {
    const Environment environment = options.environment ? *options.environment : Environment::of_process();
    const std::string path = find_auth_file(uri.authfile, environment);
    if (path.empty()) return options.answerer;
    auto file = AuthFile::load(path);
    if (!file) return tl::unexpected(file.error());
    // Found out now, with its reason, rather than as a missing answer.
    if (const auto found = file->find("libvirt", uri.effective_host()); !found)
        return fail(Cause::invalid, fmt::format("{}: {}", path, found.error().text));
    return answer_from(std::move(*file), options.answerer);
}

Done log_in_with_sasl(Core& core, const Uri& uri, const std::string& mechanism, const Options& options) {
    auto answerer = make_answerer(uri, options);
    if (!answerer) return tl::unexpected(answerer.error());
    auto login = SaslLogin::make(*core.channel(), uri.effective_host(), std::move(*answerer));
    if (!login) return tl::unexpected(login.error());
    const Deadline& deadline = options.deadline;
    const auto offer =
        call<remote::AuthSaslInitRet>(core, remote::Procedure::auth_sasl_init, std::monostate{}, deadline);
    if (!offer) return tl::unexpected(offer.error());
    auto begun = login->start(offer->mechanisms, mechanism);
    if (!begun) return tl::unexpected(begun.error());

    remote::AuthSaslStartArgs first;
    first.mechanism = begun->mechanism;
    put(first, begun->token);
    auto answer = call<remote::AuthSaslStartRet>(core, remote::Procedure::auth_sasl_start, first, deadline);
    if (!answer) return tl::unexpected(answer.error());
    bool complete = answer->complete != 0;
    SaslLogin::Token token = get(*answer);
    for (int n = 0; !complete || !login->is_complete(); ++n) {
        if (n == k_steps_max) return fail(Cause::denied, "the login does not come to an end");
        remote::AuthSaslStepArgs next;
        if (!login->is_complete()) {
            auto mine = login->step(token);
            if (!mine) return tl::unexpected(mine.error());
            put(next, *mine);
        } else {
            next.nil = 1;
        }
        // The server's last words may be for this side only.
        if (complete) break;
        auto reply = call<remote::AuthSaslStepRet>(core, remote::Procedure::auth_sasl_step, next, deadline);
        if (!reply) return tl::unexpected(reply.error());
        complete = reply->complete != 0;
        token = get(*reply);
    }
    if (!login->is_complete())
        return fail(Cause::denied, "the server says that the login is complete, and it is not");
    return core.change_channel(
        [&](std::unique_ptr<Channel> channel) { return login->protect(std::move(channel)); });
}

}  // namespace

Done log_in(Core& core, const Uri& uri, const Options& options) {
    const Deadline& deadline = options.deadline;
    const auto list =
        call<remote::AuthListRet>(core, remote::Procedure::auth_list, std::monostate{}, deadline);
    if (!list) {
        // A server that is so old that it has no logins.
        if (list.error().is(rpc::k_code_no_support)) return {};
        return tl::unexpected(list.error());
    }
    if (list->types.empty()) return {};
    remote::AuthType type = list->types.front();
    const std::string wanted = to_lower(uri.auth);
    if (!wanted.empty()) {
        type = wanted == "polkit" ? remote::AuthType::polkit : remote::AuthType::sasl;
        if (std::find(list->types.begin(), list->types.end(), type) == list->types.end())
            return fail(Cause::denied, fmt::format("the server does not offer auth={}", wanted));
    }
    switch (type) {
        case remote::AuthType::none: return {};
        case remote::AuthType::sasl:
            return log_in_with_sasl(core, uri, wanted.size() > 5 ? uri.auth.substr(5) : std::string(),
                                    options);
        case remote::AuthType::polkit: {
            const auto done =
                call<remote::AuthPolkitRet>(core, remote::Procedure::auth_polkit, std::monostate{}, deadline);
            if (!done) return tl::unexpected(done.error());
            if (done->complete == 0) return fail(Cause::denied, "polkit has not let us in");
            return {};
        }
    }
    return fail(Cause::unsupported,
                fmt::format("the server wants an unknown kind of login, {}", static_cast<int>(type)));
}

}  // namespace virtgate::client
