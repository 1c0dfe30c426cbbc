// SPDX-License-Identifier: LGPL-2.1-or-later
// leasers - keeps a leaser running for each lock space in etcd, and connects them with the locker.
//
// A leaser may end at any time: its lease lives on in etcd, and the locker tells the next one which it is.
//
// Twins: READY comes from a leaser, ADOPT goes to it, and to the locker by way of the owner
//        (proto/supervise.x).
//
// Trust:  a leaser reads what comes from the network. Anything but READY, once, and its end makes it start
//         anew.
// Owns:   the processes and their channels.
#pragma once

#include <memory>
#include <vector>

#include "libshared/rpc/control.h"
#include "libshared/spawn/ward.h"
#include "lockd/holder/settings.h"

namespace virtgate::lockd::holder {

class LeasersOwner {
public:
    virtual ~LeasersOwner() = default;
    // The leaser `index` is ready. If there is a locker, `connect()` is to be called for it.
    virtual void on_leaser_ready(unsigned index) noexcept = 0;
};

class Leasers : private spawn::WardOwner {
public:
    // `program`: absolute path of virtgate-leaser. `settings` outlives this object.
    Leasers(loop::Loop& loop, const Settings& settings, std::string program, LeasersOwner& owner);
    ~Leasers() override;
    Leasers(const Leasers&) = delete;
    Leasers& operator=(const Leasers&) = delete;

    void start() noexcept;
    [[nodiscard]] unsigned size() const noexcept { return static_cast<unsigned>(all_.size()); }
    // The locker's end of a new channel to the leaser `index`. Empty if that is not ready, or if there are no
    // descriptors.
    [[nodiscard]] UniqueFd connect(unsigned index) noexcept;

private:
    class One;
    [[nodiscard]] One& of(const spawn::Ward& ward) noexcept;
    Result<spawn::Launch> plan(spawn::Ward& ward) override;
    void on_started(spawn::Ward& ward, UniqueFd control) noexcept override;
    void on_ended(spawn::Ward& ward, const spawn::Exit& exit) noexcept override;

    loop::Loop& loop_;
    const Settings& settings_;
    const std::string program_;
    LeasersOwner& owner_;
    std::vector<std::unique_ptr<One>> all_;
};

}  // namespace virtgate::lockd::holder
