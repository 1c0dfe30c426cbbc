// SPDX-License-Identifier: LGPL-2.1-or-later
// store_post - the store's process, as the broker sees it.
#include "workerd/broker/store_post.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "proto/codec.h"
#include "proto/store.h"
#include "proto/supervise.h"

namespace virtgate::workerd::broker {

StorePost::StorePost(loop::Loop& loop, Plan plan, loop::Target<> on_stopped)
    : loop_(loop), plan_(std::move(plan)), on_stopped_(on_stopped), ward_(loop, *this, "store") {}

void StorePost::start() noexcept {
    if (is_configured()) ward_.start();
}

void StorePost::stop() noexcept {
    stopping_ = true;
    const bool was_running = ward_.is_running();
    control_.reset();
    ward_.stop(k_stop_patience);
    if (!was_running && ward_.is_idle()) on_stopped_();
}

Result<spawn::Launch> StorePost::plan(spawn::Ward&) {
    auto config = proto::encode(plan_.config);
    if (!config) return system_fault(0, "the store's configuration does not encode");
    spawn::Launch launch;
    launch.path = plan_.program;
    launch.config = std::move(*config);
    launch.control = true;
    launch.user = plan_.user;
    return launch;
}

void StorePost::on_started(spawn::Ward&, UniqueFd control) noexcept {
    control_ =
        std::make_unique<rpc::Control>(loop_, std::move(control), 0, loop::to<&StorePost::on_message>(*this),
                                       loop::to<&StorePost::on_closed>(*this), k_queue_max);
}

void StorePost::on_ended(spawn::Ward&, const spawn::Exit& exit) noexcept {
    control_.reset();
    if (stopping_) return on_stopped_();
    log_.error("{}; its connections have ended", describe(exit));
}

void StorePost::on_message(rpc::Control::Message& message) noexcept {
    if (message.header == rpc::make_message(proto::supervise::k_program, proto::supervise::k_version,
                                            proto::supervise::Procedure::ready, message.header.serial) &&
        message.payload.empty())
        return log_.debug("serves");
    log_.error("it sent a message that is not known here; it is stopped");
    on_closed({});
}

// One that cannot be spoken to is replaced.
void StorePost::on_closed(std::string_view) noexcept {
    control_.reset();
    if (stopping_ || !ward_.is_running()) return;
    log_.error("the channel to it broke");
    kill(ward_.pid(), SIGKILL);
}

Result<UniqueFd> StorePost::connect(const std::string& identity, bool read_only) {
    if (!control_) return system_fault(ECONNREFUSED, "the store does not run");
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
        return system_fault(errno, "no sockets for a connection to the store");
    UniqueFd ours{ends[0]}, theirs{ends[1]};
    const auto payload =
        proto::encode(proto::store::AttachArgs{.identity = identity, .read_only = read_only});
    if (!payload) return system_fault(0, "the name of an identity does not encode");
    const int end = theirs.get();
    const auto sent =
        control_->send(rpc::make_message(proto::store::k_program, proto::store::k_version,
                                         proto::store::Procedure::attach, control_->next_serial()),
                       *payload, {&end, 1});
    if (!sent) {
        log_.error("it does not read: {}", sent.error().text);
        on_closed({});
        return system_fault(ECONNREFUSED, "the store does not read");
    }
    return ours;
}

void make_store_directories(const proto::config::StoreConfig& config,
                            const std::optional<spawn::User>& user) {
    constexpr mode_t k_of_pools = 0711, k_of_state = 0700;
    const auto make = [&](const std::string& path, mode_t mode) {
        if (mkdir(path.c_str(), mode) < 0) {
            if (errno != EEXIST) Log{"store"}.warning("cannot make {}: {}", path, std::strerror(errno));
            return;
        }
        // The mask of this process is narrower.
        if (chmod(path.c_str(), mode) < 0 || (user && chown(path.c_str(), user->uid, user->gid) < 0))
            Log{"store"}.warning("{} does not get its owner: {}", path, std::strerror(errno));
    };
    if (config.directories.empty()) return;
    for (const std::string& directory : config.directories) make(directory, k_of_pools);
    make(config.state_directory, k_of_state);
}

}  // namespace virtgate::workerd::broker
