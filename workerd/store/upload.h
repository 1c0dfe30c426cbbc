// SPDX-License-Identifier: LGPL-2.1-or-later
// upload - the content of a volume, from a client's stream to the disk.
//
// There are two kinds, by what the client asks for:
//
//   whole    from offset 0 on, without a length or with one that is not less than the capacity. It is written to
//            NAME.virtgate-partial beside the volume. When the client has finished, that is brought to the disk and gets the
//            volume's name: at every moment there is the old content or the new one under that name. What is behind the end
//            of the new content of a raw volume, up to its capacity, is zeros.
//            An upload that does not come to its end leaves what it has written under the partial name: a volume of its own
//            that is listed, and can be gone on with or deleted.
//   part     any other offset or length: written where it belongs, in place. Interrupted, it has written a part of the part.
//
// An upload to NAME.virtgate-partial goes on with it: at an offset that is not behind its end, until the client finishes.
//
// All the time NAME is locked, for either kind: so it is not in use when it gets its new content, and who would use it hears
// of the upload at once. When that lock is lost the upload ends, as if the client had gone.
//
// What arrives is collected (batch.h) while a thread writes what arrived before; when that is full, the client is not read.
// From a client that sends little, nothing waits longer than k_pause. While the rest is still coming, what was written sets out for
// the disk: so the end of a large upload waits for little, and other files' writes do not wait for all of it.
// All that goes wrong, up to the last rename, is the answer to the client's finish.
//
// Trust:  the bytes are a client's, and more than the volume can have are refused.
// Owns:   the stream, the open file, what waits to be written.
#pragma once

#include <array>
#include <memory>

#include "libshared/server/stream.h"
#include "workerd/store/batch.h"
#include "workerd/store/house.h"

namespace virtgate::workerd::store {

class Upload final : public server::StreamUser, public std::enable_shared_from_this<Upload> {
public:
    static constexpr Milliseconds k_pause{20};
    // As much is written before it is sent on to the disk.
    static constexpr std::uint64_t k_stretch = 8U << 20;

    struct Plan {
        Writing writing{};                  // for the volume that is changed
        Lease lease{};                      // on it: the partial file is nobody's disk
        std::string volume{};               // its name
        std::string file{};                 // what is written to
        std::string target{};               // what it is called afterwards; empty: it stays
        std::uint64_t offset = 0, end = 0;  // where it begins, and what it must not go beyond
        std::uint64_t capacity = 0;         // that a raw volume keeps; 0: as long as what was sent
        unsigned mode = 0600;               // of a new file
        bool starts_anew = false;           // what is in the file is not wanted
        bool is_sparse = false;
    };
    Upload(House& house, Plan plan);
    ~Upload() override;

    // Opens the file, answers the call, and has the stream from then on.
    static void begin(std::shared_ptr<Upload> upload, server::Call call) noexcept;

private:
    void on_data(ByteView bytes) noexcept override;
    [[nodiscard]] MutableBytes room() noexcept override;
    void on_hole(std::uint64_t length) noexcept override;
    void on_finish() noexcept override;
    void on_abort() noexcept override;
    void on_sent() noexcept override {}
    void on_gone() noexcept override;

    [[nodiscard]] bool take_room(std::uint64_t length) noexcept;
    void on_lost() noexcept;
    void on_time() noexcept;
    void write_next() noexcept;
    void write() noexcept;
    [[nodiscard]] Batch& waiting() noexcept { return batches_[filled_]; }
    void on_written(Answer<void> written) noexcept;
    void complete() noexcept;
    void give_up() noexcept;
    void leave(const rpc::Failure* failure) noexcept;
    [[nodiscard]] Answer<Volume> finish_file();

    House& house_;
    Plan plan_;
    std::uint64_t at_;              // where the next byte belongs
    std::uint64_t flushed_;         // what is before it has set out for the disk
    std::array<Batch, 2> batches_;  // one is filled, the other one is being written, or is empty
    unsigned filled_ = 0;
    std::unique_ptr<loop::Timer> timer_;
    UniqueFd file_;
    UniqueFd replaced_;  // what had the volume's name before
    std::unique_ptr<server::Stream> stream_;
    std::shared_ptr<Upload> self_;  // while the stream is open or a job is under way
    bool writes_ = false;           // a job is under way
    bool finishes_ = false;         // the client has finished
    bool aborts_ = false;           // it gave up, or is gone
};

}  // namespace virtgate::workerd::store
