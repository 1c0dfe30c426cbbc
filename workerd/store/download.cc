// SPDX-License-Identifier: LGPL-2.1-or-later
// download - the content of a volume, from the disk to a client's stream.
#include "workerd/store/download.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "libshared/server/client.h"

namespace virtgate::workerd::store {

Download::~Download() = default;

void Download::begin(std::shared_ptr<Download> download, server::Call call) noexcept {
    struct Opened {
        UniqueFd file;
        std::uint64_t size = 0;
    };
    House& house = download->house_;
    house.swift.run(
        [plan = download->plan_]() -> Answer<Opened> {
            Opened opened{.file = open_file(plan.directory->get(), plan.name, O_RDONLY)};
            struct stat status {};
            if (!opened.file || fstat(opened.file.get(), &status) < 0)
                return refuse(system_failure(errno, fmt::format("cannot open volume '{}'", plan.name)));
            opened.size = static_cast<std::uint64_t>(status.st_size);
            if (plan.offset > opened.size)
                return refuse(is_bad(
                    fmt::format("offset {} is behind the end of volume '{}'", plan.offset, plan.name)));
            return opened;
        },
        [download, call = std::move(call)](Answer<Opened> opened) mutable noexcept {
            if (!opened) return call.fail(opened.error());
            server::Client* const client = call.client();
            if (client == nullptr) return;
            const std::uint64_t left = opened->size - download->at_;
            const std::uint64_t length = download->plan_.length;
            download->end_ = download->at_ + (length == 0 ? left : std::min(left, length));
            download->file_ = std::move(opened->file);
            if (!download->plan_.is_sparse) download->known_ = download->end_;
            download->stream_ = std::make_unique<server::Stream>(*client, call.header(), false, *download);
            download->self_ = download;
            call.reply();
            download->read_next();
        });
}

// In a thread. The last one is empty.
Answer<Download::Piece> Download::read_piece(MutableBytes room) const {
    const auto fail = [&] {
        return refuse(system_failure(errno, fmt::format("cannot read volume '{}'", plan_.name)));
    };
    std::uint64_t end = end_;
    if (plan_.is_sparse && at_ < end) {
        const off_t data = lseek(file_.get(), static_cast<off_t>(at_), SEEK_DATA);
        if (data < 0 && errno != ENXIO) return fail();
        const std::uint64_t from = data < 0 ? end : std::min(static_cast<std::uint64_t>(data), end);
        if (from > at_) return Piece{.hole = from - at_};
        const off_t hole = lseek(file_.get(), data, SEEK_HOLE);
        if (hole < 0) return fail();
        end = std::min(end, static_cast<std::uint64_t>(hole));
    }
    room = room.first(std::min<std::uint64_t>(room.size(), end - at_));
    std::size_t size = 0;
    while (size < room.size()) {
        const ssize_t n =
            pread(file_.get(), room.data() + size, room.size() - size, static_cast<off_t>(at_ + size));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail();
        if (n == 0) break;  // it became shorter
        size += static_cast<std::size_t>(n);
    }
    return Piece{.size = size, .known = end};
}

MutableBytes Download::room(unsigned number) {
    if (!rooms_[number]) rooms_[number] = std::make_unique_for_overwrite<std::byte[]>(server::k_stream_piece);
    return {rooms_[number].get(), server::k_stream_piece};
}

// False if a thread has to.
bool Download::read_at_once() noexcept {
    const std::size_t wanted =
        std::min<std::uint64_t>(server::k_stream_piece, known_ - std::min(at_, known_));
    if (wanted == 0) return false;
    const iovec into{room(next_).data(), wanted};
    const ssize_t n = preadv2(file_.get(), &into, 1, static_cast<off_t>(at_), RWF_NOWAIT);
    if (n != static_cast<ssize_t>(wanted)) return false;
    on_read(Piece{.size = wanted, .known = known_});
    return true;
}

void Download::read_next() noexcept {
    if (reads_ || ready_ || is_read_ || !stream_ || read_at_once()) return;
    reads_ = true;
    house_.swift.run(
        [self = shared_from_this(), into = room(next_)] { return self->read_piece(into); },
        [self = shared_from_this()](Answer<Piece> piece) noexcept { self->on_read(std::move(piece)); });
}

void Download::on_read(Answer<Piece> piece) noexcept {
    reads_ = false;
    if (!stream_) return;
    if (!piece) {
        stream_->fail(piece.error());
        return leave();
    }
    at_ += piece->size + piece->hole;
    known_ = std::max(known_, piece->known);
    is_read_ = piece->is_end();
    next_ = 1 - next_;
    if (sends_)
        ready_ = *piece;
    else
        send(*piece);
    read_next();
}

// What was read last.
void Download::send(const Piece& piece) noexcept {
    if (piece.is_end()) return stream_->send_end();
    sends_ = true;
    if (piece.hole != 0)
        stream_->send_hole(piece.hole);
    else
        stream_->lend(room(1 - next_).first(piece.size));
}

void Download::on_sent() noexcept {
    sends_ = false;
    if (const auto piece = std::exchange(ready_, std::nullopt)) send(*piece);
    read_next();
}

void Download::on_finish() noexcept {
    stream_->confirm();
    leave();
}

void Download::on_abort() noexcept {
    stream_->confirm();
    leave();
}

void Download::on_gone() noexcept { leave(); }

void Download::leave() noexcept {
    stream_.reset();
    ready_.reset();
    self_.reset();  // a job that is under way has its own
}

}  // namespace virtgate::workerd::store
