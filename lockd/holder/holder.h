// SPDX-License-Identifier: LGPL-2.1-or-later
// holder - the lock daemon but for its clients: keeps what has to outlive a locker, and lockers running.
//
//     serving ──reload()──▶ handing over ──the locker ended──▶ flushing ──▶ (executes itself) ── it fails ──▶ serving
//        └───── stop() ───▶ handing over ──the locker ended──▶ flushing ──▶ (the loop stops)
//
// A locker that dies is started again and gets back all that it kept: its queue is read to the end before the next one gets
// one of its own. An upgrade and a reload are the same: the locker
// hands over its clients as well, and this process executes its executable, which may be another one by now, in place.
// So is a stop, since nobody says whether a start follows: what is kept stays with the service manager, which closes it
// if none does.
//
// Trust:  no byte of a client comes here. What a locker says is judged by its Desk; one that breaks the rules is killed.
// Limits: a locker has k_start_patience to become ready and k_hand_over_patience to hand over, and is killed then.
// Owns:   the locker, the listeners, all that is kept.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libshared/channel/local_listener.h"
#include "libshared/spawn/ward.h"
#include "lockd/holder/desk.h"
#include "lockd/holder/inheritance.h"
#include "lockd/holder/intake.h"
#include "lockd/holder/keeping.h"
#include "lockd/holder/leasers.h"
#include "lockd/holder/settings.h"

namespace virtgate::lockd::holder {

class Holder final : public spawn::WardOwner,
                     public Desk::Owner,
                     public Intake::Owner,
                     public LeasersOwner {
public:
    static constexpr Milliseconds k_start_patience{30'000};
    static constexpr Milliseconds k_hand_over_patience{5'000};
    static constexpr Milliseconds k_stop_patience{3'000};
    static constexpr Milliseconds k_flush_patience{5'000};

    struct Setup {
        Settings settings{};
        std::string settings_file{};
        std::string program{};  // absolute path of this executable, as it was when it started
        std::string locker{};   // the same of virtgate-locker
        std::string leaser{};   // and of virtgate-leaser
        char* const* argv = nullptr;
        channel::LocalListener own{}, libvirt{};  // the second one may be empty
        // These are new: the manager has not got them yet.
        bool opened_own = false, opened_libvirt = false;
        bool confined = false;
        std::vector<std::string> reach{};  // see Inheritance
    };
    Holder(loop::Loop& loop, Setup setup, Journal journal);
    ~Holder() override;

    // Takes over what was found; see Keeping::recover(). Says what became of it. Error: system's fault.
    Done recover(std::vector<Journal::Entry> entries, Inheritance& inheritance);

    // Starts the locker.
    void start() noexcept;
    // Goes on as the executable that is there now, with the settings that are there now. If those are wrong, nothing
    // happens.
    void reload() noexcept;
    // Ends; a second call does not wait for the locker. The loop stops then.
    void stop() noexcept;

    // For the exit status of the program, after the loop stopped.
    [[nodiscard]] int status() const noexcept { return status_; }
    [[nodiscard]] const Keeping& keeping() const noexcept { return keeping_; }

private:
    enum class Goal : unsigned char { serve, exec, end };

    Result<spawn::Launch> plan(spawn::Ward& ward) override;
    void on_started(spawn::Ward& ward, UniqueFd control) noexcept override;
    void on_ended(spawn::Ward& ward, const spawn::Exit& exit) noexcept override;
    void on_ready() noexcept override;
    void on_broken(std::string_view why) noexcept override;
    void on_hung_up() noexcept override;
    void on_leaser_ready(unsigned index) noexcept override;
    void on_granted() noexcept override;
    void on_drained() noexcept override;
    void on_settled() noexcept;
    void on_impatient() noexcept;
    void on_flushed() noexcept;

    void end_locker() noexcept;
    void kill_locker() noexcept;
    void open_queue() noexcept;
    void open_desk() noexcept;
    void drain_next();
    void flush_when_drained() noexcept;
    void flush() noexcept;
    void exec() noexcept;
    void leave_listeners();
    [[nodiscard]] Done judge_new_settings() const;

    loop::Loop& loop_;
    Setup setup_;
    const Log log_{"holder"};
    Goal goal_ = Goal::serve;
    int status_ = 0;
    bool was_ready_ = false;  // a locker of this process once was
    Keeping keeping_;
    std::unique_ptr<Desk> desk_;
    std::vector<UniqueFd> queues_;   // of lockers before; they come before that of the next one
    std::unique_ptr<Intake> intake_;  // of the locker that runs, or of one before it
    UniqueFd writing_;                // the end of its queue that the locker gets, when the manager has the other one
    std::unique_ptr<loop::Timer> impatience_;
    spawn::Ward ward_;
    std::unique_ptr<Leasers> leasers_;
};

}  // namespace virtgate::lockd::holder
