// SPDX-License-Identifier: LGPL-2.1-or-later
// upload - the content of a volume, from a client's stream to the disk.
#include "workerd/store/upload.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "libshared/server/client.h"
#include "workerd/store/qcow2.h"

namespace virtgate::workerd::store {

namespace {

// Of a mode, what a volume keeps that a client writes anew: nobody gets rights by executing what he wrote.
constexpr unsigned k_kept_mode = 0777;

}  // namespace

Upload::Upload(House& house, Plan plan)
    : house_(house),
      plan_(std::move(plan)),
      at_(plan_.offset),
      flushed_(plan_.offset),
      timer_(house.loop.timer(loop::to<&Upload::on_time>(*this))) {}

Upload::~Upload() = default;

void Upload::begin(std::shared_ptr<Upload> upload, server::Call call) noexcept {
    House& house = upload->house_;
    const Plan& plan = upload->plan_;
    const bool is_new = plan.starts_anew;
    house.swift.run(
        [directory = plan.writing.pool()->directory, name = plan.file, is_new, mode = plan.mode,
         offset = plan.offset]() -> Answer<UniqueFd> {
            const auto fail = [&](int number) {
                return refuse(system_failure(number, fmt::format("cannot open volume '{}'", name)));
            };
            UniqueFd file = open_file(directory->get(), name, O_RDWR | (is_new ? O_CREAT : 0),
                                      is_new ? mode & k_kept_mode : 0);
            struct stat status {};
            if (!file || fstat(file.get(), &status) < 0) return fail(errno);
            if (!is_new && offset > static_cast<std::uint64_t>(status.st_size))
                return refuse(
                    is_bad(fmt::format("offset {} is behind the end of volume '{}'", offset, name)));
            // Of a partial file, what is behind the place where it is gone on with was not finished either.
            if ((is_new || name.ends_with(k_partial)) &&
                ftruncate(file.get(), static_cast<off_t>(offset)) < 0)
                return fail(errno);
            return file;
        },
        [upload, call = std::move(call)](Answer<UniqueFd> file) mutable noexcept {
            if (!file) return call.fail(file.error());
            server::Client* const client = call.client();
            if (client == nullptr) return upload->leave(nullptr);
            upload->file_ = std::move(*file);
            upload->stream_ =
                std::make_unique<server::Stream>(*client, call.header(), upload->plan_.is_sparse, *upload);
            upload->self_ = upload;
            call.reply();
            upload->plan_.lease.watch(loop::to<&Upload::on_lost>(*upload));
            if (upload->plan_.lease.is_lost()) upload->on_lost();
        });
}

bool Upload::take_room(std::uint64_t length) noexcept {
    if (finishes_ || aborts_) return false;
    if (length <= plan_.end - at_) return true;
    const rpc::Failure failure = system_failure(ENOSPC, "cannot write to stream");
    leave(&failure);
    return false;
}

void Upload::on_data(ByteView bytes) noexcept {
    if (!take_room(bytes.size())) return;
    waiting().add(at_, bytes);
    at_ += bytes.size();
    write_next();
}

MutableBytes Upload::room() noexcept { return finishes_ || aborts_ ? MutableBytes{} : waiting().room(); }

void Upload::on_hole(std::uint64_t length) noexcept {
    if (!take_room(length)) return;
    waiting().add_hole(at_, length);
    at_ += length;
    write_next();
}

void Upload::on_finish() noexcept {
    finishes_ = true;
    write_next();
}

void Upload::on_abort() noexcept {
    aborts_ = true;
    give_up();
}

void Upload::on_gone() noexcept {
    aborts_ = true;
    give_up();
}

void Upload::on_lost() noexcept {
    // The last step looks itself.
    if (!stream_ || (finishes_ && writes_)) return;
    const auto self = shared_from_this();
    const rpc::Failure failure = has_lost_lock(plan_.volume);
    leave(&failure);
}

void Upload::write_next() noexcept {
    if (writes_) {
        if (waiting().is_full() && stream_) stream_->hold();
    } else if (waiting().is_empty()) {
        if (finishes_) complete();
    } else if (waiting().is_worth_it() || finishes_ || aborts_) {
        write();
    } else if (!timer_->running()) {
        timer_->start(k_pause);
    }
}

void Upload::on_time() noexcept {
    if (!writes_ && !waiting().is_empty()) write();
}

// What waits, in a thread.
void Upload::write() noexcept {
    const Batch& batch = waiting();
    writes_ = true;
    filled_ = 1 - filled_;
    timer_->stop();
    std::uint64_t stretch = 0;
    if (batch.end() - flushed_ >= k_stretch) stretch = batch.end() - std::exchange(flushed_, batch.end());
    house_.swift.run(
        [file = file_.get(), &batch, stretch,
         closing = Closing(house_.swift.is_closing(), plan_.lease.loss())]() -> Answer<void> {
            if (!batch.write(file, closing)) return refuse(system_failure(errno, "cannot write to volume"));
            // Only a beginning: that all of it has arrived, fsync() will say, and what went wrong.
            if (stretch != 0)
                static_cast<void>(sync_file_range(file, static_cast<off_t>(batch.end() - stretch),
                                                  static_cast<off_t>(stretch), SYNC_FILE_RANGE_WRITE));
            return {};
        },
        [self = shared_from_this()](Answer<void> written) noexcept { self->on_written(std::move(written)); });
    if (stream_) stream_->release();
}

void Upload::on_written(Answer<void> written) noexcept {
    writes_ = false;
    batches_[1 - filled_].clear();
    if (!written) return leave(&written.error());
    if (!stream_ || aborts_) return give_up();
    write_next();
}

// What the client sent is written: the rest, in a thread.
Answer<Volume> Upload::finish_file() {
    const int directory = plan_.writing.pool()->directory->get();
    const auto fail = [&] {
        return refuse(system_failure(errno, fmt::format("cannot finish volume '{}'", plan_.file)));
    };
    if (!plan_.target.empty()) {
        std::array<std::byte, qcow2::k_header_size> front{};
        const ssize_t n = pread(file_.get(), front.data(), front.size(), 0);
        const bool is_image =
            n > 0 && qcow2::read_header(ByteView(front).first(static_cast<std::size_t>(n))).has_value();
        if (!is_image && at_ < plan_.capacity &&
            ftruncate(file_.get(), static_cast<off_t>(plan_.capacity)) < 0)
            return fail();
        // What was there before keeps its mode, apart from bits that say with whose rights others execute it.
        struct stat before {};
        if (fstatat(directory, plan_.target.c_str(), &before, AT_SYMLINK_NOFOLLOW) == 0) {
            if (!S_ISREG(before.st_mode)) {
                errno = EINVAL;
                return fail();
            }
            if (fchmod(file_.get(), before.st_mode & k_kept_mode) < 0) return fail();
        }
    }
    if (fsync(file_.get()) < 0) return fail();
    if (plan_.lease.is_lost()) return refuse(has_lost_lock(plan_.volume));
    const std::string& name = plan_.target.empty() ? plan_.file : plan_.target;
    if (!plan_.target.empty()) replaced_ = open_file(directory, name, O_RDONLY);
    if (!plan_.target.empty() &&
        (renameat(directory, plan_.file.c_str(), directory, name.c_str()) < 0 || !sync_directory(directory)))
        return fail();
    auto volume = look_at(directory, name);
    if (!volume) return refuse(no_volume_named(name));
    return std::move(*volume);
}

void Upload::complete() noexcept {
    writes_ = true;
    house_.slow.run([self = shared_from_this()] { return self->finish_file(); },
                    [self = shared_from_this()](Answer<Volume> volume) noexcept {
                        self->writes_ = false;
                        if (!volume) return self->leave(&volume.error());
                        const PoolPtr pool = self->plan_.writing.pool();
                        const std::string name = volume->name;
                        self->plan_.writing.end();
                        self->plan_.lease.end();
                        self->house_.locks.linger(std::move(self->replaced_), self->house_.slow);
                        // Nothing is called the other name any more.
                        if (!self->plan_.target.empty()) pool->volumes.erase(self->plan_.file);
                        self->house_.note(pool, name, std::move(*volume));
                        if (self->stream_) self->stream_->confirm();
                        self->leave(nullptr);
                    });
}

// The client wants no more of it. What it has sent is written, so that it can be gone on with.
void Upload::give_up() noexcept {
    if (writes_) return;
    if (!waiting().is_empty()) return write_next();
    if (stream_) stream_->confirm();
    leave(nullptr);
}

// The end, for this reason if there is one. What was written of a whole volume is a volume, if it is anything at all.
void Upload::leave(const rpc::Failure* failure) noexcept {
    if (failure != nullptr && stream_) stream_->fail(*failure);
    aborts_ = true;
    if (failure != nullptr) waiting().clear();
    timer_->stop();
    if (writes_) return;  // comes back here
    stream_.reset();
    if (plan_.writing.pool()) {
        house_.slow.run(
            [self = shared_from_this()]() -> Answer<std::optional<Volume>> {
                const int directory = self->plan_.writing.pool()->directory->get();
                auto volume = look_at(directory, self->plan_.file);
                if (self->plan_.file.ends_with(k_partial) && volume && volume->physical == 0) {
                    unlinkat(directory, self->plan_.file.c_str(), 0);
                    volume.reset();
                }
                return volume;
            },
            [self = shared_from_this()](Answer<std::optional<Volume>> volume) noexcept {
                const PoolPtr pool = self->plan_.writing.pool();
                self->plan_.writing.end();
                self->plan_.lease.end();
                self->house_.note(pool, self->plan_.file, std::move(*volume));
            });
    }
    self_.reset();
}

}  // namespace virtgate::workerd::store
