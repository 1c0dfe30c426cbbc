// SPDX-License-Identifier: LGPL-2.1-or-later
// leaser - the process that has one lock space in etcd, as a whole: its parts, its parent, the locker.
//
//     waiting ──RESUME──▶ connecting ──lease──▶ settling ──▶ looking through ──▶ alive ◀──▶ late
//                            ▲                                                     └─ gone ─┐
//                            └──────────────────────────────────────────────────────────────┘
//
// A locker that comes instead of an earlier one says what it holds; all else that our lease holds is let go.
// Without a locker the lease is kept alive all the same: the next one is on its way.
//
// Twins: lockd/locker/etcd_space (proto/lease.x), lockd/holder/leasers (proto/supervise.x).
//
// Trust:  the parent is believed, and so is the locker. See cluster.h for etcd.
// Owns:   the channels, and all parts.
#pragma once

#include "libshared/rpc/control.h"
#include "lockd/etcd/holds.h"
#include "lockd/etcd/overview.h"
#include "proto/config.h"
#include "proto/lease.h"

namespace virtgate::lockd::etcd {

class Leaser : private LeaseUser, private HoldsUser, private OverviewUser, private ClusterUser {
public:
    // For an operation, in requests.
    static constexpr int k_requests = 3;

    // Speaks with its parent over `channel`. `clock`: libshared/base/boot_clock.h. `endpoints`: those of
    // `config`, with their addresses.
    Leaser(loop::Loop& loop, const Clock& clock, const proto::config::LeaserConfig& config,
           std::vector<Endpoint> endpoints, UniqueFd channel);
    ~Leaser() override;
    Leaser(const Leaser&) = delete;
    Leaser& operator=(const Leaser&) = delete;

    // Tells the parent that it is ready. `loop` is stopped when the parent is gone.
    [[nodiscard]] Done start();

private:
    void on_parent_message(rpc::Control::Message& message) noexcept;
    void on_parent_closed(std::string_view reason) noexcept;
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view reason) noexcept;
    [[nodiscard]] bool serve(const rpc::Control::Message& message);
    [[nodiscard]] bool serve_resume(const rpc::Control::Message& message);
    [[nodiscard]] bool begin(Task task, const rpc::Header& call);
    void drop_locker() noexcept;

    void on_found() noexcept override;
    void on_renewed() noexcept override;
    void on_late(const std::string& reason) noexcept override;
    void on_gone() noexcept override;
    void on_verdict(std::uint32_t serial, const Task& task, Verdict verdict, Revision token,
                    const std::string& reason) noexcept override;
    void on_seen(const KeyValue& key, Revision at) noexcept override;
    void on_listed(Revision at) noexcept override;
    void on_deleted(const KeyValue& key) noexcept override;
    void on_answer(Ticket ticket, Answer answer) noexcept override;
    void settle() noexcept;

    void tell_state();
    void tell_lost(const HeldByName& lost, std::string_view reason);
    void send(const rpc::Header& header, ByteView payload);

    loop::Loop& loop_;
    const proto::config::LeaserConfig config_;
    const Keys keys_;
    Cluster cluster_;
    Lease lease_;
    Place place_;
    Holds holds_;
    Overview overview_;
    rpc::Control parent_;
    std::unique_ptr<rpc::Control> locker_;
    std::unique_ptr<loop::Timer> retry_;
    std::optional<Ticket> settling_;
    bool resumed_ = false;     // the locker has said all that it holds
    bool is_through_ = false;  // so has etcd
    HeldByName resuming_;
    std::map<std::uint32_t, rpc::Header> calls_;  // of the locker, by our own serial
    std::uint32_t next_serial_ = 1;
};

}  // namespace virtgate::lockd::etcd
