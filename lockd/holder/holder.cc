// SPDX-License-Identifier: LGPL-2.1-or-later
// holder - the lock daemon but for its clients: keeps what has to outlive a locker, and lockers running.
#include "lockd/holder/holder.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "lockd/holder/reload_signals.h"
#include "proto/codec.h"

namespace virtgate::lockd::holder {

namespace {

// For the loop, channels, pipes, the journal, and what waits for the service manager.
constexpr std::size_t k_descriptors_reserved = 256;

std::size_t find_things_max() noexcept {
    rlimit limit{};
    const std::size_t descriptors =
        getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<std::size_t>(limit.rlim_cur) : 0;
    const std::size_t left = descriptors > k_descriptors_reserved ? descriptors - k_descriptors_reserved : 1;
    return std::min<std::size_t>(left, proto::holder::k_slots_max);
}

// What is not configured is /dev/null. Error: system's fault.
Result<UniqueFd> copy_or_null(const channel::LocalListener& listener) {
    UniqueFd fd{listener ? fcntl(listener.get(), F_DUPFD_CLOEXEC, 0) : open("/dev/null", O_RDWR | O_CLOEXEC)};
    if (!fd) return system_fault(errno, "no descriptor for the locker");
    return fd;
}

bool lies_beneath(const std::string& path, const std::vector<std::string>& directories) {
    return std::any_of(directories.begin(), directories.end(), [&](const std::string& directory) {
        return path == directory || directory == "/" || path.starts_with(directory + "/");
    });
}

}  // namespace

Holder::Holder(loop::Loop& loop, Setup setup, Journal journal)
    : loop_(loop),
      setup_(std::move(setup)),
      keeping_(loop, std::move(journal), loop::to<&Holder::on_settled>(*this)),
      impatience_(loop.timer(loop::to<&Holder::on_impatient>(*this))),
      ward_(loop, *this, "locker"),
      leasers_(std::make_unique<Leasers>(loop, setup_.settings, setup_.leaser, *this)) {}

Holder::~Holder() = default;

Done Holder::recover(std::vector<Journal::Entry> entries, Inheritance& inheritance) {
    const auto recovery = keeping_.recover(std::move(entries), std::move(inheritance.things));
    if (!recovery) return tl::unexpected<Error>(recovery.error());
    for (const std::string& name : inheritance.strangers) {
        log_.warning("the service manager passed a descriptor \"{}\" that nobody here knows; it is closed",
                     escape(name));
        keeping_.outer().remove(name);
    }
    queues_ = std::move(inheritance.queues);
    if (!keeping_.outer().is_there())
        log_.warning("no service manager keeps descriptors: all locks are lost if this process dies");
    leave_listeners();
    if (recovery->kept != 0) log_.info("{} locks and connections are kept from before", recovery->kept);
    // Normal after a death in the middle of something; many of them are not.
    if (recovery->without_record != 0)
        log_.warning("{} descriptors without a record are closed", recovery->without_record);
    if (recovery->without_descriptor != 0)
        log_.warning(
            "{} records without a descriptor are dropped: what they stood for is lost, or was not "
            "acknowledged",
            recovery->without_descriptor);
    return {};
}

// Clients that come while no holder runs wait there, instead of being refused.
void Holder::leave_listeners() {
    const auto leave = [&](const channel::LocalListener& listener, std::string_view socket) {
        const std::string name = fmt::format("{}{}", k_kept_prefix, socket);
        // There may be one of another path, from before the settings changed.
        keeping_.outer().remove(name);
        keeping_.outer().keep(name, listener.get());
    };
    if (setup_.opened_own) leave(setup_.own, k_own);
    if (setup_.opened_libvirt) leave(setup_.libvirt, k_libvirt);
}

void Holder::start() noexcept {
    if (!intake_) drain_next();
    ward_.start();
    leasers_->start();
}

// --- the locker ---

Result<spawn::Launch> Holder::plan(spawn::Ward&) {
    auto config = proto::encode(make_locker_config(setup_.settings));
    if (!config) return system_fault(0, "the locker's configuration does not encode");
    spawn::Launch launch;
    launch.path = setup_.locker;
    launch.config = std::move(*config);
    launch.control = true;
    for (const channel::LocalListener* listener : {&setup_.own, &setup_.libvirt}) {
        auto fd = copy_or_null(*listener);
        if (!fd) return tl::unexpected(std::move(fd.error()));
        launch.extra.push_back(std::move(*fd));
    }
    return launch;
}

void Holder::on_started(spawn::Ward&, UniqueFd control) noexcept {
    desk_ = std::make_unique<Desk>(loop_, keeping_, std::move(control), *this);
    open_queue();
}

// --- what lockers say ---

// The next one of those that are left from before.
void Holder::drain_next() {
    if (queues_.empty()) return;
    UniqueFd queue = std::move(queues_.front());
    queues_.erase(queues_.begin());
    intake_ = std::make_unique<Intake>(loop_, keeping_, Queue(std::move(queue)), *this);
    intake_->finish();
}

// For the locker that runs, when all that was said before it is done.
void Holder::open_queue() noexcept {
    if (!desk_ || intake_ || goal_ == Goal::end) return;
    auto queue = Queue::make();
    if (!queue) {
        log_.error("the locker is ended: {}", queue.error().text);
        return kill_locker();
    }
    writing_ = std::move(queue->writing);
    intake_ = std::make_unique<Intake>(loop_, keeping_, std::move(queue->reading), find_things_max(), *this);
    // From now on it outlives this process: before that nobody may write to it.
    keeping_.outer().keep(k_queue, intake_->queue());
    open_desk();
}

void Holder::open_desk() noexcept {
    if (!desk_ || !writing_ || !keeping_.is_settled()) return;
    desk_->open({.things_max = static_cast<std::uint32_t>(intake_->things_max()), .grant = intake_->grant()},
                writing_.get());
    writing_.reset();
    if (!desk_->is_ready()) impatience_->start(k_start_patience);
}

void Holder::on_granted() noexcept {
    if (desk_ && intake_) desk_->tell_grant(intake_->grant());
}

void Holder::on_settled() noexcept {
    if (intake_) intake_->on_settled();
    open_desk();
}

void Holder::on_drained() noexcept {
    intake_.reset();
    // It is empty, and nobody can write to it. Of several, the others are here, and are drained at once.
    if (queues_.empty()) keeping_.outer().remove(k_queue);
    drain_next();
    if (intake_) return;
    if (goal_ != Goal::serve && !desk_) return flush();
    open_queue();
}

// --- the locker ---

void Holder::on_ready() noexcept {
    impatience_->stop();
    for (unsigned index = 0; index < leasers_->size(); ++index) on_leaser_ready(index);
    desk_->tell_serve();
    if (was_ready_)
        return log_.info("a new locker serves; {} locks and connections were kept", keeping_.things().size());
    was_ready_ = true;
    keeping_.outer().tell(fmt::format("READY=1\nSTATUS=Locks at {}", setup_.settings.socket));
}

void Holder::on_leaser_ready(unsigned index) noexcept {
    if (!desk_ || !desk_->is_ready()) return;
    if (const UniqueFd channel = leasers_->connect(index)) desk_->tell_adopt(index, channel.get());
}

// What it said up to now counts; what is kept, the next one gets.
void Holder::on_broken(std::string_view why) noexcept {
    log_.error("the locker is not listened to any more: {}", why);
    kill_locker();
}

// The last thing of a process that ends; how it did is told then. When it hands over it has the time that it has.
void Holder::on_hung_up() noexcept {
    if (goal_ == Goal::serve) impatience_->start(k_stop_patience);
}

void Holder::kill_locker() noexcept {
    if (ward_.is_running()) kill(ward_.pid(), SIGKILL);
}

void Holder::on_impatient() noexcept {
    if (!desk_) {
        log_.error("what a locker kept is not all with the service manager; the next one will go on with it");
        return flush();
    }
    const bool starts = desk_ && !desk_->is_ready();
    log_.error("the locker does not {} in time; it is killed", starts ? "become ready"
                                                               : goal_ == Goal::serve
                                                                   ? "end"
                                                                   : "hand over its clients");
    kill_locker();
}

void Holder::on_ended(spawn::Ward&, const spawn::Exit& exit) noexcept {
    impatience_->stop();
    desk_.reset();
    writing_.reset();
    if (intake_) intake_->finish();
    if (goal_ != Goal::serve) {
        if (!exit.success())
            log_.error("the locker {}: clients that it had not kept are lost", describe(exit));
        return flush_when_drained();
    }
    // A configuration that it refuses it will refuse again.
    if (!was_ready_ && exit.is_for_administrator()) {
        status_ = exit.number;
        goal_ = Goal::end;
        ward_.stop(k_stop_patience);
        loop_.stop();
    }
}

// --- handing over ---

void Holder::reload() noexcept {
    if (goal_ != Goal::serve) return;
    if (const auto good = judge_new_settings(); !good) {
        log_.error("nothing is reloaded, the old settings stay: {}", good.error().text);
        return;
    }
    log_.info("reloading");
    goal_ = Goal::exec;
    keeping_.outer().tell("RELOADING=1");
    end_locker();
}

void Holder::stop() noexcept {
    if (goal_ == Goal::end) return loop_.stop();
    goal_ = Goal::end;
    keeping_.outer().tell("STOPPING=1");
    end_locker();
}

// Error: system's fault; what is wrong with the settings in the file.
Done Holder::judge_new_settings() const {
    const auto settings = load_settings(setup_.settings_file);
    if (!settings) return tl::unexpected<Error>(settings.error());
    if (settings->etcd != setup_.settings.etcd)
        return system_fault(0, "\"etcd\" can change in a restart only");
    if (settings->state_directory != setup_.settings.state_directory)
        return system_fault(0, "\"state_directory\" can change in a restart only");
    if (!setup_.confined) return {};
    for (const auto* directories : {&settings->lock_spaces, &settings->direct})
        for (const std::string& directory : *directories)
            if (!lies_beneath(directory, setup_.reach))
                return system_fault(
                    0, fmt::format("{} is new, and this process has confined itself to the directories "
                                   "that it knew; that takes a restart, which keeps all locks",
                                   directory));
    return {};
}

void Holder::end_locker() noexcept {
    ward_.set_restart(spawn::Ward::Restart::never);
    if (!ward_.is_running()) {
        ward_.stop(k_stop_patience);  // it rests, or has never run
        return flush_when_drained();
    }
    // Without anybody who keeps them, there is no use in collecting them.
    const bool collects = goal_ == Goal::exec || keeping_.outer().is_there();
    if (collects && desk_->is_ready()) {
        impatience_->start(k_hand_over_patience);
        return desk_->tell_hand_over();
    }
    // One that is not ready has no clients but those that are kept.
    ward_.stop(k_stop_patience);
}

void Holder::flush_when_drained() noexcept {
    if (!intake_) return flush();
    impatience_->start(k_flush_patience);
}

void Holder::flush() noexcept {
    impatience_->stop();
    keeping_.outer().flush(k_flush_patience, loop::to<&Holder::on_flushed>(*this));
}

void Holder::on_flushed() noexcept {
    if (goal_ == Goal::exec)
        exec();
    else
        loop_.stop();
}

void Holder::exec() noexcept {
    Legacy legacy{.confined = setup_.confined,
                  .reach = setup_.reach,
                  .sockets = {},
                  .queues = {},
                  .things = keeping_.things()};
    if (intake_) legacy.queues.push_back(intake_->queue());
    for (const UniqueFd& queue : queues_) legacy.queues.push_back(queue.get());
    if (setup_.own) legacy.sockets.push_back({k_own, setup_.own.get(), setup_.own.path()});
    if (setup_.libvirt) legacy.sockets.push_back({k_libvirt, setup_.libvirt.get(), setup_.libvirt.path()});
    block_reload_signals();
    // They end with this: the next ones go on with their leases.
    leasers_ = std::make_unique<Leasers>(loop_, setup_.settings, setup_.leaser, *this);
    const Error error = leave_to_next(legacy, setup_.program, setup_.argv);
    unblock_reload_signals();
    log_.error("nothing is reloaded: {}", error.text);
    goal_ = Goal::serve;
    was_ready_ = false;  // so that the end of the reload is told
    ward_.set_restart(spawn::Ward::Restart::always);
    start();
}

}  // namespace virtgate::lockd::holder
