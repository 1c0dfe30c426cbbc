// SPDX-License-Identifier: LGPL-2.1-or-later
// tasks - the loads: calls in flight, new connections, idle connections, one volume stream.
#include "tests/bench/tasks.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <thread>

#include "tests/bench/meter.h"

namespace virtgate::bench {

namespace {

constexpr std::uint64_t k_second = 1000000000;
constexpr std::uint64_t k_patience = 60 * k_second;  // for anything that is not measured itself

std::uint64_t in_seconds(double seconds) { return now_ns() + static_cast<std::uint64_t>(seconds * 1e9); }

// Keeps the first reason why something went wrong.
class Checked : public Task {
public:
    void on_reply(Client&, const Header&, ByteView, std::uint64_t) override {}
    void on_closed(Client&, const std::string& reason) override { complain(reason); }
    void complain(const std::string& reason) {
        if (complaint.empty()) complaint = reason;
    }
    std::string complaint;
};

class CallsTask final : public Checked {
public:
    CallsTask(Loop& loop, const Load& load) : loop_(loop), load_(load) {}

    void on_ready(Client& client) override {
        clients_.push_back(&client);
        if (clients_.size() < load_.connections) return;
        if (load_.domain.empty()) return begin(Call::connect_get_lib_version, {});
        clients_.front()->ask(Call::domain_lookup_by_name, Payload().text(load_.domain).view());
    }

    void on_reply(Client& client, const Header& header, ByteView payload, std::uint64_t since) override {
        // The reply to the look-up is the very structure that names the domain in the call to measure.
        if (header.procedure == static_cast<std::uint32_t>(Call::domain_lookup_by_name))
            return begin(Call::domain_get_xml_desc, Payload().raw(payload).u32(0).view());
        if (recording) latencies.push_back(now_ns() - since);
        if (--in_flight_; !draining)
            ask(client);
        else if (in_flight_ == 0)
            loop_.stop();
    }

    void on_closed(Client& client, const std::string& reason) override {
        Checked::on_closed(client, reason);
        loop_.stop();
    }

    [[nodiscard]] bool is_running() const noexcept { return running_; }
    [[nodiscard]] bool is_quiet() const noexcept { return in_flight_ == 0; }
    std::vector<std::uint64_t> latencies;
    bool recording = false;
    bool draining = false;

private:
    void begin(Call call, ByteView arguments) {
        call_ = call;
        arguments_.assign(arguments.begin(), arguments.end());
        running_ = true;
        for (Client* client : clients_)
            for (std::size_t i = 0; i < load_.depth; ++i) ask(*client);
        loop_.stop();
    }

    void ask(Client& client) {
        ++in_flight_;
        client.ask(call_, arguments_);
    }

    Loop& loop_;
    const Load& load_;
    std::vector<Client*> clients_;
    Call call_ = Call::none;
    ByteVector arguments_;
    std::size_t in_flight_ = 0;
    bool running_ = false;
};

class ConnectsTask final : public Checked {
public:
    explicit ConnectsTask(Loop& loop) : loop_(loop) {}

    void on_ready(Client& client) override { client.finish(); }

    void on_closed(Client& client, const std::string& reason) override {
        Checked::on_closed(client, reason);
        if (recording && reason.empty()) latencies.push_back(now_ns() - client.started());
        if (draining || !complaint.empty()) return;
        if (auto added = loop_.add(*this); !added) complain(added.error().text);
    }

    std::vector<std::uint64_t> latencies;
    bool recording = false;
    bool draining = false;

private:
    Loop& loop_;
};

class IdleTask final : public Checked {
public:
    IdleTask(Loop& loop, std::size_t wanted) : loop_(loop), wanted_(wanted) {}

    // A few handshakes at a time: this is set-up, and the server's backlog is not what is measured.
    void begin() {
        for (std::size_t i = 0; i < 16; ++i) add_next();
    }

    void on_ready(Client&) override {
        if (++ready_ == wanted_) loop_.stop();
        add_next();
    }

    void on_closed(Client& client, const std::string& reason) override {
        Checked::on_closed(client, reason.empty() ? "closed" : reason);
        ++lost_;
        if (!is_complete()) loop_.stop();
    }

    [[nodiscard]] bool is_complete() const noexcept { return ready_ == wanted_; }
    [[nodiscard]] std::size_t lost() const noexcept { return lost_; }

private:
    void add_next() {
        if (added_ >= wanted_) return;
        ++added_;
        if (auto done = loop_.add(*this); !done) {
            complain(done.error().text);
            loop_.stop();
        }
    }

    Loop& loop_;
    std::size_t wanted_;
    std::size_t added_ = 0;
    std::size_t ready_ = 0;
    std::size_t lost_ = 0;
};

class StreamTask;

// Those that begin together, and what each has moved when the first one ends.
struct Herd {
    explicit Herd(std::vector<pid_t> watched) : window(std::move(watched)) {}
    std::vector<std::unique_ptr<StreamTask>> tasks;
    std::size_t ready = 0, ended = 0;
    Window window;
    double share = 1;
};

class StreamTask final : public Checked {
public:
    StreamTask(Loop& loop, const Load& load, Herd& herd)
        : loop_(loop),
          load_(load),
          herd_(herd),
          call_(load.upload ? Call::storage_vol_upload : Call::storage_vol_download) {}

    void on_ready(Client& client) override {
        client_ = &client;
        if (++herd_.ready < herd_.tasks.size()) return;
        herd_.window.start();
        for (const auto& task : herd_.tasks) task->begin();
    }

    void begin() {
        client_->ask(call_, Payload()
                                .text(load_.pool)
                                .text(load_.volume)
                                .text(load_.key)
                                .u64(0)
                                .u64(load_.bytes)
                                .u32(0)
                                .view());
    }

    void on_reply(Client& client, const Header& header, ByteView, std::uint64_t) override {
        serial_ = header.serial;
        if (load_.upload)
            block_ = make_stream_frame(Status::more, ByteVector(k_stream_payload, std::byte{0x5a}));
        client.want_writable(load_.upload);
    }

    void on_writable(Client& client) override {
        while (moved < load_.bytes && client.is_clear()) {
            const std::uint64_t left = load_.bytes - moved;
            if (left < k_stream_payload)
                block_ = make_stream_frame(Status::more, ByteVector(left, std::byte{0x5a}));
            client.send(block_);
            moved += std::min<std::uint64_t>(left, k_stream_payload);
        }
        if (moved == load_.bytes) {
            client.want_writable(false);
            client.send(make_stream_frame(Status::ok, {}));
        }
    }

    void on_stream(Client& client, const Header& header, ByteView payload) override {
        moved += payload.size();
        if (header.status == Status::more && payload.empty())
            return client.send(make_stream_frame(Status::ok, {}));
        if (header.status == Status::more) return;
        if (header.status == Status::error) complain(read_error(payload));
        finished = true;
        if (herd_.ended++ == 0) note_share();
        if (herd_.ended == herd_.tasks.size()) herd_.window.stop();
        client.finish();
    }

    void on_closed(Client& client, const std::string& reason) override {
        Checked::on_closed(client, reason);
        if (!complaint.empty() || herd_.ended == herd_.tasks.size()) loop_.stop();
    }

    std::uint64_t moved = 0;
    bool finished = false;

private:
    void note_share() {
        std::uint64_t least = moved;
        for (const auto& task : herd_.tasks) least = std::min(least, task->moved);
        herd_.share = static_cast<double>(moved) / static_cast<double>(std::max<std::uint64_t>(least, 1));
    }

    [[nodiscard]] ByteVector make_stream_frame(Status status, ByteView payload) const {
        return make_frame({.procedure = static_cast<std::uint32_t>(call_),
                           .kind = Kind::stream,
                           .serial = serial_,
                           .status = status},
                          payload);
    }

    Loop& loop_;
    const Load& load_;
    Herd& herd_;
    Client* client_ = nullptr;
    Call call_;
    std::uint32_t serial_ = 0;
    ByteVector block_;  // the frame that an upload sends again and again
};

Done connect_all(Loop& loop, Task& task, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
        if (auto added = loop.add(task); !added) return added;
    return {};
}

}  // namespace

Result<std::string> run_calls(const Target& target, const Load& load) {
    Loop loop(target, load.options);
    CallsTask task(loop, load);
    task.latencies.reserve(1u << 20);
    if (auto done = connect_all(loop, task, load.connections); !done) return tl::unexpected(done.error());
    loop.run(now_ns() + k_patience);
    Window window(load.watched);
    if (task.is_running() && task.complaint.empty()) {
        loop.run(in_seconds(load.warm_up));
        task.recording = true;
        window.start();
        loop.run(in_seconds(load.seconds));
        window.stop();
        task.recording = false;
    }
    if (!task.complaint.empty() || !task.is_running())
        return peer_fault(task.complaint.empty() ? "no connection in time" : task.complaint);
    task.draining = true;
    loop.run(in_seconds(5));
    if (!task.is_quiet()) return peer_fault("a call was never answered");
    return fmt::format("{{\"mode\": \"calls\", \"connections\": {}, \"depth\": {}, {}, {}}}",
                       load.connections, load.depth, summarise(task.latencies, window.seconds()),
                       window.to_json());
}

Result<std::string> run_connects(const Target& target, const Load& load) {
    std::vector<std::unique_ptr<Loop>> loops;
    std::vector<std::unique_ptr<ConnectsTask>> tasks;
    for (std::size_t i = 0; i < load.threads; ++i) {
        loops.push_back(std::make_unique<Loop>(target, load.options));
        tasks.push_back(std::make_unique<ConnectsTask>(*loops.back()));
        if (auto done = connect_all(*loops.back(), *tasks.back(), load.connections); !done)
            return tl::unexpected(done.error());
    }
    const std::uint64_t warm = in_seconds(load.warm_up);
    const std::uint64_t end = warm + static_cast<std::uint64_t>(load.seconds * 1e9);
    // The first thread's window is everybody's: they all switch at the same two moments.
    Window window(load.watched);
    auto serve = [&](std::size_t i) {
        loops[i]->run(warm);
        tasks[i]->recording = true;
        if (i == 0) window.start();
        loops[i]->run(end);
        if (i == 0) window.stop();
        tasks[i]->recording = false;
        tasks[i]->draining = true;
        loops[i]->run(in_seconds(5));
    };
    std::vector<std::thread> others;
    for (std::size_t i = 1; i < load.threads; ++i) others.emplace_back(serve, i);
    serve(0);
    for (std::thread& other : others) other.join();
    std::vector<std::uint64_t> latencies;
    for (const auto& task : tasks) {
        if (!task->complaint.empty()) return peer_fault(task->complaint);
        latencies.insert(latencies.end(), task->latencies.begin(), task->latencies.end());
    }
    return fmt::format("{{\"mode\": \"connects\", \"parallel\": {}, {}, {}}}",
                       load.threads * load.connections, summarise(latencies, window.seconds()),
                       window.to_json());
}

Result<std::string> run_idle(const Target& target, const Load& load) {
    Loop loop(target, load.options);
    IdleTask task(loop, load.connections);
    task.begin();
    loop.run(now_ns() + k_patience);
    if (!task.is_complete())
        return peer_fault(task.complaint.empty() ? "not connected in time" : task.complaint);
    fmt::print("{{\"ready\": {}}}\n", load.connections);
    std::fflush(stdout);
    loop.watch_end(STDIN_FILENO);
    loop.run(now_ns() + 3600 * k_second);
    if (task.lost() > 0)
        return peer_fault(fmt::format("{} connections lost: {}", task.lost(), task.complaint));
    return fmt::format("{{\"mode\": \"idle\", \"connections\": {}}}", load.connections);
}

Result<std::string> run_stream(const Target& target, const Load& load) {
    Loop loop(target, load.options);
    Herd herd(load.watched);
    for (std::size_t i = 0; i < load.connections; ++i)
        herd.tasks.push_back(std::make_unique<StreamTask>(loop, load, herd));
    for (const auto& task : herd.tasks)
        if (auto added = loop.add(*task); !added) return tl::unexpected(added.error());
    loop.run(now_ns() + k_patience);
    for (const auto& task : herd.tasks) {
        if (!task->finished || !task->complaint.empty())
            return peer_fault(task->complaint.empty() ? "the stream never ended" : task->complaint);
        if (task->moved != load.bytes)
            return peer_fault(fmt::format("the stream carried {} bytes, not {}", task->moved, load.bytes));
    }
    const double rate = static_cast<double>(load.bytes * load.connections) / 1e6 / herd.window.seconds();
    return fmt::format("{{\"mode\": \"stream\", \"bytes\": {}, \"rate\": {:.1f}, \"share\": {:.3f}, {}}}",
                       load.bytes * load.connections, rate, herd.share, herd.window.to_json());
}

}  // namespace virtgate::bench
