// SPDX-License-Identifier: LGPL-2.1-or-later
// fuzz-service - what workers that were taken over say to a program of others, on two connections: all that comes back answers a
// call, belongs to a stream that was opened, or is the program's event; and the program goes on.
//
// Input: steps of three bytes, what (low three bits) and whose (bit 3), a number, and the length of what follows. A step sends
// that as it is, or as the payload of a call, of a packet of a stream or of an event; or it reads, or hangs up.
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <set>
#include <stdexcept>

#include "libshared/service/service.h"
#include "proto/inventory.h"
#include "proto/remote.h"
#include "tests/fuzz/pump.h"

using namespace virtgate;
using namespace virtgate::proto::inventory;
using service::Answer;
using service::Caller;
using service::refuse;

namespace {

enum class Step : unsigned char { bytes, call, remote_call, stream, hole, event, read, hang_up };

// A handler of each kind.
class Things {
public:
    explicit Things(service::Service& service) : changed_(service, program(), Procedure::item_changed) {
        service::Version& newest = service.serve(program());
        newest.answer<&Things::list_items>(Procedure::list_items, *this);
        newest.work<&Things::get_item>(Procedure::get_item, *this);
        newest.answer<&Things::set_item>(Procedure::set_item, *this);
        newest.send<&Things::export_items>(Procedure::export_items, *this);
        newest.receive<&Things::import_items>(Procedure::import_items, *this);
        newest.answer<&Things::watch_items>(Procedure::watch_items, *this);
        newest.answer<&Things::unwatch_items>(Procedure::unwatch_items, *this);
        service.serve(v1::program()).answer<&Things::list_items>(v1::Procedure::list_items, *this);
    }

private:
    Answer<ItemList> list_items(const Caller& caller) { return ItemList{.items = {{caller.identity, "x"}}}; }
    // In a thread.
    Answer<Item> get_item(const Caller&, const ItemName& asked) {
        if (asked.name == "throw") throw std::runtime_error("thrown");
        return Item{asked.name, "found"};
    }
    Answer<void> set_item(const Caller& caller, const Item& item) {
        require(!caller.read_only, "a reader changes something");
        changed_.tell(ItemChangedMsg{.callback_id = 0, .changed = item});
        return {};
    }
    Answer<service::Source> export_items(const Caller&) {
        return [left = 3](MutableBytes room) mutable -> Answer<std::size_t> {
            if (left == 0) return refuse("in the middle");
            return --left == 0 ? 0 : room.size();
        };
    }
    Answer<service::Sink> import_items(const Caller& caller) {
        require(!caller.read_only, "a reader changes something");
        return service::Sink{.take = [size = std::size_t{0}](ByteView bytes) mutable -> Answer<void> {
                                 require(!bytes.empty(), "a piece of nothing");
                                 if ((size += bytes.size()) > 1000) return refuse("too long");
                                 return {};
                             },
                             .finish = {}};
    }
    Answer<WatchRet> watch_items(const Caller& caller) {
        const auto number = changed_.add(caller);
        if (!number) return tl::unexpected(number.error());
        return WatchRet{.callback_id = *number};
    }
    Answer<void> unwatch_items(const Caller& caller, const UnwatchArgs& arguments) {
        return changed_.remove(caller, arguments.callback_id);
    }

    service::Events changed_;
};

// A worker's end.
class Worker {
public:
    explicit Worker(UniqueFd socket) : socket_(std::move(socket)) {}

    void send(ByteView bytes) {
        static_cast<void>(::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
    }
    // Whether what came was well-formed, and of a kind that a program sends.
    void read() {
        std::array<std::byte, 65536> piece;
        for (ssize_t n; (n = recv(socket_.get(), piece.data(), piece.size(), MSG_DONTWAIT)) > 0;)
            came_.insert(came_.end(), piece.begin(), piece.begin() + n);
        std::size_t at = 0;
        while (came_.size() - at >= rpc::k_frame_min) {
            const std::size_t size = load_be32(came_.data() + at);
            require(size >= rpc::k_frame_min && size <= rpc::k_frame_max, "a frame of a wrong size");
            if (size > came_.size() - at) break;
            judge(rpc::read_header(came_.data() + at), size);
            at += size;
        }
        came_.erase(came_.begin(), came_.begin() + static_cast<std::ptrdiff_t>(at));
    }

private:
    static void judge(const rpc::Header& header, std::size_t size) {
        if (header.program == rpc::k_keepalive_program && header.type == rpc::Type::message)
            return require(size == rpc::k_frame_min, "a pong with something in it");
        switch (header.type) {
            case rpc::Type::reply: return require(header.status != rpc::Status::proceed, "half a reply");
            case rpc::Type::message:
                return require(header.program == k_program && header.version == k_version &&
                                   header.procedure == static_cast<std::uint32_t>(Procedure::item_changed),
                               "an event of somebody else");
            case rpc::Type::stream:
                return require(header.program == k_program && header.version == k_version &&
                                   (header.procedure == static_cast<std::uint32_t>(Procedure::export_items) ||
                                    header.procedure == static_cast<std::uint32_t>(Procedure::import_items)),
                               "a packet of no stream");
            default: require(false, "a frame of a type that nobody sends");
        }
    }

    UniqueFd socket_;
    ByteVector came_{};
};

std::pair<UniqueFd, UniqueFd> make_pair(int type) {
    int ends[2];
    require(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0, "no socket pair");
    return {UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

class Play {
public:
    Play() : Play(make_pair(SOCK_SEQPACKET)) {}

    void step(ByteView input) {
        const auto what = static_cast<unsigned char>(input[0]);
        const std::uint32_t number = static_cast<unsigned char>(input[1]);
        const ByteView rest = input.subspan(3);
        const unsigned whose = what >> 3U & 1U;
        std::unique_ptr<Worker>& worker = workers_[whose];
        if (!worker) worker = connect(whose == 1);
        // Few serials and versions, so that packets find their streams.
        rpc::Header header{.program = k_program,
                           .version = (what & 0x80U) != 0 ? 1U : k_version,
                           .procedure = number & 15U,
                           .serial = number >> 4U};
        switch (static_cast<Step>(what & 7U)) {
            case Step::bytes: worker->send(rest); break;
            case Step::call: worker->send(rpc::make_frame(header, rest)); break;
            case Step::remote_call:
                header.program = proto::remote::k_program;
                header.version = proto::remote::k_version;
                header.procedure = number;
                worker->send(rpc::make_frame(header, rest));
                break;
            case Step::stream:
                header.type = rpc::Type::stream;
                header.status = static_cast<rpc::Status>(what >> 4U & 3U);
                worker->send(rpc::make_frame(header, rest));
                break;
            case Step::hole:
                header.type = rpc::Type::stream_hole;
                header.status = rpc::Status::proceed;
                worker->send(rpc::make_frame(header, rest));
                break;
            case Step::event:
                header.type = static_cast<rpc::Type>(what >> 4U & 7U);
                worker->send(rpc::make_frame(header, rest));
                break;
            case Step::read: worker->read(); break;
            case Step::hang_up: worker.reset(); break;
        }
        turn();
    }
    void turn() {
        for (int i = 0; i < 3; ++i) {
            fuzz::pump(loop_);
            loop_.run();
        }
        require(!loop_.stopped(), "the program has ended");
    }
    // Whoever behaves is served still.
    void end() {
        for (auto& worker : workers_) {
            if (worker) worker->read();
            worker.reset();
        }
        turn();
        workers_[0] = connect(false);
        workers_[0]->send(rpc::make_keepalive(rpc::Keepalive::ping));
        turn();
        workers_[0]->read();
        workers_[0].reset();
        turn();
    }

private:
    explicit Play(std::pair<UniqueFd, UniqueFd> channel)
        : broker_(std::move(channel.first)),
          service_(loop_, make_config(), std::move(channel.second)),
          things_(service_) {}

    static proto::config::ServiceConfig make_config() {
        proto::config::ServiceConfig config;
        config.name = "inventory";
        config.uri = "inventory:///";
        config.threads = 1;
        return config;
    }
    // An open connection; the second one is for reading.
    std::unique_ptr<Worker> connect(bool read_only) {
        auto [ours, theirs] = make_pair(SOCK_STREAM);
        require(
            service_.attach(std::move(theirs), {.identity = "alice", .session = 9, .read_only = read_only})
                .has_value(),
            "a connection is not taken");
        auto worker = std::make_unique<Worker>(std::move(ours));
        const auto open = proto::encode(proto::remote::ConnectOpenArgs{.name = "inventory:///", .flags = 0});
        worker->send(rpc::make_frame(rpc::make_call(proto::remote::k_program, proto::remote::k_version,
                                                    proto::remote::Procedure::connect_open, 0),
                                     *open));
        return worker;
    }

    loop::FakeLoop loop_;
    UniqueFd broker_;
    service::Service service_;
    Things things_;
    std::unique_ptr<Worker> workers_[2];
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const bool is_quiet = [] {
        set_log_level(Level::error);
        set_log_sink([](Level, std::string_view) noexcept {});
        return true;
    }();
    static_cast<void>(is_quiet);
    ByteView input(reinterpret_cast<const std::byte*>(data), size);
    Play play;
    while (input.size() >= 3) {
        const std::size_t whole =
            std::min<std::size_t>(3 + static_cast<unsigned char>(input[2]), input.size());
        play.step(input.first(whole));
        input = input.subspan(whole);
    }
    play.end();
    return 0;
}
