// SPDX-License-Identifier: LGPL-2.1-or-later
// program_posts - the processes that serve programs of others.
#include "workerd/broker/program_posts.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "proto/codec.h"
#include "proto/service.h"
#include "proto/supervise.h"

namespace virtgate::workerd::broker {

namespace supervise = proto::supervise;

// One process: its channel, and who uses it.
class ProgramPosts::One final : public Post {
public:
    One(ProgramPosts& posts, Key key, const programs::Announced& program, std::optional<spawn::User> user)
        : Post(posts.loop_,
               {.name = key.second.empty() ? fmt::format("program-{}", key.first)
                                           : fmt::format("program-{}-{}", key.first, key.second),
                .program = program.executable,
                .user = std::move(user),
                .consequence = "its connections have ended",
                .queue_max = k_queue_max,
                .ready = rpc::make_message(supervise::k_program, supervise::k_version,
                                           supervise::Procedure::ready)},
               loop::to<&One::on_gone>(*this)),
          posts_(posts),
          key_(std::move(key)),
          program_(program),
          idle_(posts.loop_.timer(loop::to<&One::on_idle>(*this))) {
        start_process();
        idle_->start(k_idle);
    }

    Result<UniqueFd> connect(const std::string& identity, std::uint64_t session, bool read_only) {
        if (!is_up()) return system_fault(ECONNREFUSED, "the program's process does not run");
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
            return system_fault(errno, "no sockets for a connection to a program");
        UniqueFd ours{ends[0]}, theirs{ends[1]};
        const auto payload = proto::encode(
            proto::service::AttachArgs{.identity = identity, .read_only = read_only, .session = session});
        if (!payload) return system_fault(0, "the name of an identity does not encode");
        if (!send(proto::service::k_program, proto::service::k_version,
                  static_cast<std::uint32_t>(proto::service::Procedure::attach), *payload, theirs.get()))
            return system_fault(ECONNREFUSED, "the program's process does not read");
        sessions_.insert(session);
        idle_->stop();
        return ours;
    }

    void forget(std::uint64_t session) noexcept {
        if (sessions_.erase(session) != 0 && sessions_.empty() && !has_left_) idle_->start(k_idle);
    }
    void leave() noexcept {
        if (std::exchange(is_leaving_, true)) return;
        idle_->stop();
        stop();
    }
    [[nodiscard]] const Key& key() const noexcept { return key_; }
    [[nodiscard]] bool has_left() const noexcept { return has_left_; }

private:
    Result<ByteVector> make_config() const override {
        proto::config::ServiceConfig config = posts_.plan_.config;
        config.name = program_.name;
        config.uri = program_.uri;
        config.identity = key_.second;
        config.directories = program_.directories;
        config.threads = program_.threads;
        auto bytes = proto::encode(config);
        if (!bytes) return system_fault(0, "a program's configuration does not encode");
        return std::move(*bytes);
    }
    void on_idle() noexcept {
        if (sessions_.empty()) posts_.on_one_idle(*this);
    }
    void on_gone() noexcept {
        has_left_ = true;
        posts_.sweep_later();
    }

    ProgramPosts& posts_;
    const Key key_;
    const programs::Announced& program_;
    std::set<std::uint64_t> sessions_;
    std::unique_ptr<loop::Timer> idle_;
    bool is_leaving_ = false;
    bool has_left_ = false;
};

ProgramPosts::ProgramPosts(loop::Loop& loop, Plan plan, loop::Target<> on_stopped)
    : loop_(loop),
      plan_(std::move(plan)),
      on_stopped_(on_stopped),
      sweeper_(loop.timer(loop::to<&ProgramPosts::sweep>(*this))) {}

ProgramPosts::~ProgramPosts() = default;

Result<UniqueFd> ProgramPosts::connect(const std::string& name, const std::string& identity,
                                       std::uint64_t session, bool read_only) {
    const auto found = std::find_if(plan_.programs.begin(), plan_.programs.end(),
                                    [&](const programs::Announced& one) { return one.name == name; });
    if (found == plan_.programs.end() || stopping_)
        return system_fault(ECONNREFUSED, "there is no such program");
    const Key key{name, found->is_shared ? std::string() : identity};
    auto post = posts_.find(key);
    if (post == posts_.end()) {
        if (posts_.size() + leaving_.size() >= k_posts_max)
            return system_fault(EMFILE, "too many programs run for too many identities");
        const auto number = static_cast<std::size_t>(found - plan_.programs.begin());
        post = posts_.emplace(key, std::make_unique<One>(*this, key, *found, plan_.users.at(number))).first;
    }
    return post->second->connect(identity, session, read_only);
}

void ProgramPosts::on_departed(const std::vector<std::uint64_t>& sessions) noexcept {
    for (const auto& [key, post] : posts_)
        for (const std::uint64_t session : sessions) post->forget(session);
}

// Whoever comes while it ends gets a new one.
void ProgramPosts::on_one_idle(One& one) noexcept {
    const auto found = posts_.find(one.key());
    require(found != posts_.end() && found->second.get() == &one, "an idle program that nobody has");
    leaving_.push_back(std::move(found->second));
    posts_.erase(found);
    leaving_.back()->leave();
}

void ProgramPosts::sweep() noexcept {
    std::erase_if(leaving_, [](const auto& one) { return one->has_left(); });
    if (stopping_ && leaving_.empty()) on_stopped_();
}

void ProgramPosts::stop() noexcept {
    stopping_ = true;
    for (auto& [key, post] : posts_) leaving_.push_back(std::move(post));
    posts_.clear();
    if (leaving_.empty()) return on_stopped_();
    for (const auto& one : leaving_) one->leave();
}

}  // namespace virtgate::workerd::broker
