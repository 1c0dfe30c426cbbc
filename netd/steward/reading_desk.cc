// SPDX-License-Identifier: LGPL-2.1-or-later
// reading_desk - the exporter's channel: what gates, doormen and supervisor have counted, and nothing else.
#include "netd/steward/reading_desk.h"

namespace virtgate::netd::steward {

void ReadingDesk::adopt(UniqueFd channel) {
    ++turn_;
    is_busy_ = false;
    channel_ = std::make_unique<rpc::Control>(loop_, std::move(channel), 0,
                                              loop::to<&ReadingDesk::on_message>(*this),
                                              loop::to<&ReadingDesk::on_closed>(*this));
}

void ReadingDesk::on_closed(std::string_view why) noexcept {
    log_.debug("its channel is closed: {}", why);
    ++turn_;
    channel_.reset();
}

void ReadingDesk::on_message(rpc::Control::Message& message) noexcept {
    const auto after = metrics::Pages::read_question(message);
    if (!after || is_busy_) {
        log_.error("it asked for something else than what is counted; nothing more is heard of it");
        ++turn_;
        return channel_.reset();
    }
    if (*after != 0) return answer(message.header, *after);
    is_busy_ = true;
    collect(message.header);
}

void ReadingDesk::collect(const rpc::Header& call) {
    gates_.read([this, call, turn = ++turn_](metrics::Tally tally) {
        const auto finish = [this, call, turn, tally = std::move(tally)](const metrics::Samples& samples) {
            if (turn != turn_) return;
            metrics::Tally all = tally;
            all.add_all(samples);
            pages_.set(all.samples());
            is_busy_ = false;
            answer(call, 0);
        };
        if (!supervisor_) return finish({});
        supervisor_->read(finish);
    });
}

void ReadingDesk::answer(const rpc::Header& call, std::uint32_t after) {
    if (const auto sent = pages_.answer(*channel_, call, after); !sent) log_.warning("{}", sent.error().text);
}

}  // namespace virtgate::netd::steward
