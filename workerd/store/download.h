// SPDX-License-Identifier: LGPL-2.1-or-later
// download - the content of a volume, from the disk to a client's stream.
//
// While one piece is on its way, the next is read: at once if the kernel has all of it in memory (RWF_NOWAIT, which never waits for
// a disk), and in a thread if not. A client that asked for it gets holes as holes: however large the volume is, what is not
// there costs nothing.
//
// A volume that is replaced meanwhile (upload.h) is read to its end as it was.
//
// Limits: two pieces of k_stream_piece bytes.
// Owns:   the stream and the open file.
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "libshared/server/stream.h"
#include "workerd/store/house.h"

namespace virtgate::workerd::store {

class Download final : public server::StreamUser, public std::enable_shared_from_this<Download> {
public:
    struct Plan {
        Directory directory{};
        std::string name{};
        std::uint64_t offset = 0;
        std::uint64_t length = 0;  // 0: to the end
        bool is_sparse = false;
    };
    Download(House& house, Plan plan) : house_(house), plan_(std::move(plan)), at_(plan_.offset) {}
    ~Download() override;

    // Opens the file, answers the call, and has the stream from then on.
    static void begin(std::shared_ptr<Download> download, server::Call call) noexcept;

private:
    struct Piece {
        std::size_t size = 0;  // of what is in one of the rooms
        std::uint64_t hole = 0;
        std::uint64_t known = 0;  // where the data ends, to which this belongs
        [[nodiscard]] bool is_end() const noexcept { return size == 0 && hole == 0; }
    };
    void on_data(ByteView) noexcept override {}
    void on_hole(std::uint64_t) noexcept override {}
    void on_finish() noexcept override;
    void on_abort() noexcept override;
    void on_sent() noexcept override;
    void on_gone() noexcept override;

    [[nodiscard]] Answer<Piece> read_piece(MutableBytes room) const;
    [[nodiscard]] MutableBytes room(unsigned number);
    [[nodiscard]] bool read_at_once() noexcept;
    void read_next() noexcept;
    void on_read(Answer<Piece> piece) noexcept;
    void send(const Piece& piece) noexcept;
    void leave() noexcept;

    House& house_;
    const Plan plan_;
    std::uint64_t at_;         // where the next piece begins
    std::uint64_t end_ = 0;    // of what is read
    std::uint64_t known_ = 0;  // up to there is data, and no hole that has to be looked for
    UniqueFd file_;
    std::array<std::unique_ptr<std::byte[]>, 2> rooms_;  // one is sent while the other is read to
    unsigned next_ = 0;                                  // which one is read to
    std::unique_ptr<server::Stream> stream_;
    std::shared_ptr<Download> self_;  // while the stream is open
    std::optional<Piece> ready_;      // read, and not sent yet
    bool reads_ = false;              // a job is under way
    bool sends_ = false;              // on_sent() is due
    bool is_read_ = false;            // to the end
};

}  // namespace virtgate::workerd::store
