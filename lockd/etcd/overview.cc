// SPDX-License-Identifier: LGPL-2.1-or-later
// overview - what etcd says of the keys of a lock space: all at first, then what is deleted.
#include "lockd/etcd/overview.h"

#include <algorithm>

#include "libshared/base/bytes.h"
#include "libshared/base/log.h"

namespace virtgate::lockd::etcd {

namespace {

constexpr std::uint32_t k_page = 1'000;
// A stream of a server that was stopped says nothing, and ends not: another server is asked as soon as
// anything else says that this one does not answer, and after this time in any case.
constexpr Milliseconds k_stream_max{60'000};
constexpr Milliseconds k_look{1'000};

}  // namespace

Overview::Overview(loop::Loop& loop, Cluster& cluster, const Keys& keys, Milliseconds patience,
                   OverviewUser& user)
    : cluster_(cluster),
      keys_(keys),
      patience_(patience),
      user_(user),
      timer_(loop.timer(loop::to<&Overview::on_time>(*this))) {}

Overview::~Overview() { cluster_.forget(*this); }

void Overview::start() {
    stop();
    ask();
    timer_->start(k_look);
}

void Overview::stop() noexcept {
    timer_->stop();
    stream_.reset();
    ticket_.reset();
    last_.clear();
    next_ = 0;
}

void Overview::ask() noexcept {
    Range range = keys_.all_held();
    if (!last_.empty()) range.key = last_ + '\0';
    ticket_ = cluster_.ask({.path = "/v3/kv/range",
                            .body = write_range(range, k_page),
                            .repeat = Cluster::Repeat::harmless,
                            .timeout = patience_},
                           *this);
}

void Overview::on_answer(Ticket ticket, Answer answer) noexcept {
    if (ticket_ != ticket) return;
    ticket_.reset();
    if (answer.outcome != Outcome::answered) return;  // asked again in time
    if (last_.empty()) listed_at_ = answer.reply.revision;
    for (const KeyValue& key : answer.reply.keys) user_.on_seen(key, answer.reply.revision);
    if (answer.reply.more && !answer.reply.keys.empty()) {
        last_ = answer.reply.keys.back().key;
        return ask();
    }
    next_ = listed_at_ + 1;
    last_.clear();
    watch();
    user_.on_listed(listed_at_);
}

void Overview::watch() noexcept {
    changes_ = cluster_.changes();
    stream_ = cluster_.stream("/v3/watch", write_watch(keys_.all_held(), next_), k_stream_max, *this);
}

void Overview::on_time() noexcept {
    timer_->start(k_look);
    if (next_ == 0 && !ticket_) return ask();
    if (next_ != 0 && (!stream_ || changes_ != cluster_.changes())) watch();
}

void Overview::on_line(std::string_view line) noexcept {
    const auto notice = read_notice(line);
    if (!notice) {
        Log{}.warning("a watch is not understood: {}", notice.error().text);
        return stream_.reset();
    }
    if (notice->compacted != 0) {
        // What happened meanwhile is forgotten: only all of it can say what is left.
        Log{}.info("the watch begins anew: etcd has compacted its history");
        return start();
    }
    if (notice->cancelled) return stream_.reset();
    // The revision of the store may be ahead of what was told yet.
    for (const KeyValue& key : notice->deleted) {
        next_ = std::max(next_, key.mod_revision + 1);
        user_.on_deleted(key);
    }
}

// Its time is over, as a rule; or the server is gone.
void Overview::on_stream_end(std::string_view reason) noexcept {
    Log{}.debug("the watch ended: {}", escape(reason));
    stream_.reset();
}

}  // namespace virtgate::lockd::etcd
