// SPDX-License-Identifier: LGPL-2.1-or-later
// overview - what etcd says of the keys of a lock space: all at first, then what is deleted.
//
//     listing ──all pages──▶ watching ──cut, too old──▶ watching, from where it was ──compacted──▶ listing
//
// Nobody's safety rests on this: a lease ends whether we look or not. It is how a lock that somebody broke is
// noticed.
//
// Owns:   the stream.
// Source: etcd 3.4: Range, Watch.
#pragma once

#include "lockd/etcd/cluster.h"
#include "lockd/etcd/keys.h"

namespace virtgate::lockd::etcd {

class OverviewUser {
public:
    virtual ~OverviewUser() = default;
    // A holder's key, as it was at the revision `at`.
    virtual void on_seen(const KeyValue& key, Revision at) noexcept = 0;
    // That was all.
    virtual void on_listed(Revision at) noexcept = 0;
    virtual void on_deleted(const KeyValue& key) noexcept = 0;
};

class Overview : private ClusterUser, private StreamUser {
public:
    Overview(loop::Loop& loop, Cluster& cluster, const Keys& keys, Milliseconds patience, OverviewUser& user);
    ~Overview() override;
    Overview(const Overview&) = delete;
    Overview& operator=(const Overview&) = delete;

    // From the beginning.
    void start();
    void stop() noexcept;

private:
    void ask() noexcept;
    void watch() noexcept;
    void on_time() noexcept;
    void on_answer(Ticket ticket, Answer answer) noexcept override;
    void on_line(std::string_view line) noexcept override;
    void on_stream_end(std::string_view reason) noexcept override;

    Cluster& cluster_;
    const Keys& keys_;
    const Milliseconds patience_;
    OverviewUser& user_;
    std::unique_ptr<loop::Timer> timer_;
    std::unique_ptr<Cluster::Stream> stream_;
    std::optional<Ticket> ticket_;
    std::string last_;  // key of the page before; empty: the first one
    Revision listed_at_ = 0;
    Revision next_ = 0;  // of the watch; 0: not listed yet
    std::uint64_t changes_ = 0;
};

}  // namespace virtgate::lockd::etcd
