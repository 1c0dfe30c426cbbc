// SPDX-License-Identifier: LGPL-2.1-or-later
// gates - all gates that there are, also those that drain, as one list of connections.
#include "netd/steward/gates.h"

#include <algorithm>
#include <iterator>
#include <limits>

namespace virtgate::netd::steward {

namespace control = proto::control;
using control::Procedure;

namespace {

template <class Arguments>
ByteVector encode_question(const Arguments& arguments) {
    auto payload = proto::encode(arguments);
    require(payload.has_value(), "a question that does not encode");
    return std::move(*payload);
}

// The answer to a question about connections after `after`; none if no gate could have given it.
std::optional<control::ConnectionsRet> read_page(ByteView payload, std::uint64_t after) {
    auto page = proto::decode<control::ConnectionsRet>(payload);
    if (!page) return std::nullopt;
    for (const control::Connection& row : page->connections) {
        if (row.id <= after || row.id >= Gates::k_start) return std::nullopt;
        after = row.id;
    }
    if (page->next != 0 && (page->connections.empty() || page->next != after)) return std::nullopt;
    return std::move(*page);
}

}  // namespace

// A gate that goes is noticed by its link, and cannot be forgotten from there.
void Gates::forget_closed() noexcept {
    const auto forget = [this](const Link& link) {
        if (!link.is_open()) ended_.add_all(link.last_counters());
        return !link.is_open();
    };
    std::erase_if(gates_, [&](const auto& one) { return forget(one.second->link); });
    std::erase_if(doormen_, [&](const auto& one) { return forget(*one.second); });
}

void Gates::adopt(std::uint32_t index, std::uint32_t serial, UniqueFd channel) {
    forget_closed();
    gates_[serial] = std::make_unique<Gate>(loop_, std::move(channel), index);
}

void Gates::adopt_doorman(std::uint32_t serial, UniqueFd channel) {
    forget_closed();
    doormen_[serial] = std::make_unique<Link>(loop_, std::move(channel), "doorman", metrics::source::doorman);
}

void Gates::read(std::function<void(metrics::Tally)> then) {
    forget_closed();
    struct Sum {
        metrics::Tally tally;
        std::size_t open = 0;
        std::function<void(metrics::Tally)> then;
    };
    const auto sum = std::make_shared<Sum>(
        Sum{.tally = ended_, .open = gates_.size() + doormen_.size() + 1, .then = std::move(then)});
    const auto on_answer = [sum](const metrics::Samples& samples) {
        sum->tally.add_all(samples);
        if (--sum->open == 0) sum->then(std::move(sum->tally));
    };
    for (const auto& [serial, gate] : gates_) gate->link.read(on_answer);
    for (const auto& [serial, doorman] : doormen_) doorman->read(on_answer);
    on_answer({});
}

Gates::Gate* Gates::find_gate(std::uint32_t serial) noexcept {
    const auto found = gates_.find(serial);
    return found != gates_.end() && found->second->link.is_open() ? found->second.get() : nullptr;
}

// Where a list goes on behind all connections of that gate; 0: nowhere.
std::uint64_t Gates::next_after(std::uint32_t serial) const noexcept {
    const auto next = gates_.upper_bound(serial);
    return next != gates_.end() ? next->first * k_start : 0;
}

void Gates::ask_page(std::uint32_t serial, std::uint64_t after, OnPage then) {
    Gate* const gate = find_gate(serial);
    if (gate == nullptr) return then(tl::unexpected(no_answer()));
    const auto on_answer = [this, serial, after, then = std::move(then)](Answer<ByteVector> answer) {
        if (!answer) return then(tl::unexpected(std::move(answer.error())));
        Gate* const asked = find_gate(serial);
        auto page = read_page(*answer, after);
        if (!page) {
            if (asked != nullptr) asked->link.distrust("it lists connections that it cannot have");
            return then(tl::unexpected(no_answer()));
        }
        for (control::Connection& row : page->connections) {
            row.id += serial * k_start;
            row.gate = asked != nullptr ? asked->index : 0;
        }
        then(std::move(*page));
    };
    gate->link.ask(Procedure::connections, encode_question(control::ConnectionsArgs{.after = after}),
                   Link::k_patience, on_answer);
}

void Gates::list(std::uint64_t after, std::function<void(control::ConnectionsRet)> then) {
    const auto first = gates_.lower_bound(static_cast<std::uint32_t>(
        std::min<std::uint64_t>(after / k_start, std::numeric_limits<std::uint32_t>::max())));
    if (first == gates_.end()) return then({});
    const std::uint32_t serial = first->first;
    const std::uint64_t local = after / k_start == serial ? after % k_start : 0;
    ask_page(serial, local, [this, serial, then = std::move(then)](Answer<control::ConnectionsRet> page) {
        control::ConnectionsRet ret;
        if (page) ret = std::move(*page);
        ret.next = ret.next != 0 ? serial * k_start + ret.next : next_after(serial);
        then(std::move(ret));
    });
}

// Each gate is asked at the same time as the others.
struct Gates::Survey {
    Connections rows;
    std::size_t open = 0;
    std::function<void(Connections)> then;
};

void Gates::survey(const std::shared_ptr<Survey>& survey, std::uint32_t serial, std::uint64_t after,
                   std::size_t left) {
    ask_page(serial, after, [=, this](Answer<control::ConnectionsRet> page) {
        const std::size_t count = page ? std::min(left, page->connections.size()) : 0;
        if (page)
            survey->rows.insert(
                survey->rows.end(), std::make_move_iterator(page->connections.begin()),
                std::make_move_iterator(page->connections.begin() + static_cast<std::ptrdiff_t>(count)));
        if (page && page->next != 0 && count < left)
            return this->survey(survey, serial, page->next, left - count);
        if (--survey->open != 0) return;
        std::sort(survey->rows.begin(), survey->rows.end(),
                  [](const auto& a, const auto& b) { return a.id < b.id; });
        survey->then(std::move(survey->rows));
    });
}

void Gates::list_all(std::function<void(Connections)> then) {
    if (gates_.empty()) return then({});
    const auto all =
        std::make_shared<Survey>(Survey{.rows = {}, .open = gates_.size(), .then = std::move(then)});
    std::vector<std::uint32_t> serials;
    for (const auto& [serial, gate] : gates_) serials.push_back(serial);
    for (const std::uint32_t serial : serials) survey(all, serial, 0, k_listed_max / serials.size());
}

void Gates::find(std::uint64_t id, std::function<void(std::optional<control::Connection>)> then) {
    if (id % k_start == 0 || find_gate(static_cast<std::uint32_t>(id / k_start)) == nullptr)
        return then(std::nullopt);
    list(id - 1, [id, then = std::move(then)](control::ConnectionsRet page) {
        if (page.connections.empty() || page.connections.front().id != id) return then(std::nullopt);
        then(std::move(page.connections.front()));
    });
}

void Gates::close(std::uint64_t id, std::string reason, std::function<void(Answer<bool>)> then) {
    Gate* const gate = id / k_start <= std::numeric_limits<std::uint32_t>::max()
                           ? find_gate(static_cast<std::uint32_t>(id / k_start))
                           : nullptr;
    if (gate == nullptr) return then(false);
    gate->link.ask(Procedure::close,
                   encode_question(control::CloseArgs{.id = id % k_start, .reason = std::move(reason)}),
                   Link::k_patience, [then = std::move(then)](Answer<ByteVector> answer) {
                       if (!answer) return then(tl::unexpected(std::move(answer.error())));
                       const auto ret = proto::decode<control::CloseRet>(*answer);
                       if (!ret) return then(tl::unexpected(no_answer()));
                       then(ret->found);
                   });
}

void Gates::count(std::function<void(control::Counters)> then) {
    if (gates_.empty()) return then({});
    struct Sum {
        control::Counters counters;
        std::size_t open = 0;
        std::function<void(control::Counters)> then;
    };
    const auto sum =
        std::make_shared<Sum>(Sum{.counters = {}, .open = gates_.size(), .then = std::move(then)});
    const auto on_answer = [sum](const Answer<ByteVector>& answer) {
        const auto one = answer ? proto::decode<control::Counters>(*answer) : tl::unexpected(xdr::Flaw{});
        if (one) {
            control::Counters& all = sum->counters;
            all.accepted += one->accepted;
            all.crowded += one->crowded;
            all.sessions += one->sessions;
            all.bytes_in += one->bytes_in;
            all.bytes_out += one->bytes_out;
            all.calls += one->calls;
            all.connections += one->connections;
            all.arrivals += one->arrivals;
            all.open_calls += one->open_calls;
            all.busy += one->open_calls != 0 ? 1 : 0;
            ++all.gates;
        }
        if (--sum->open == 0) sum->then(sum->counters);
    };
    std::vector<std::uint32_t> serials;
    for (const auto& [serial, gate] : gates_) serials.push_back(serial);
    for (const std::uint32_t serial : serials) {
        Gate* const gate = find_gate(serial);
        if (gate == nullptr)
            on_answer(tl::unexpected(no_answer()));
        else
            gate->link.ask(Procedure::counters, {}, Link::k_patience, on_answer);
    }
}

}  // namespace virtgate::netd::steward
