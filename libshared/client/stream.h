// SPDX-License-Identifier: LGPL-2.1-or-later
// stream - a file, a console or a screen shot that travels in pieces, beside calls and other streams.
//
// A stream is opened by a call (connection.h) and ends in one of three ways: finish() after all was read or
// written, abort(), or an error of the server. finish() and abort() wait for the server's word: what went
// wrong late, such as a full disk that was noticed at the last byte, is told there. A Stream that is
// destroyed before is aborted without waiting.
//
// Threads: one may read while another one writes. finish() and abort() may come from any.
// Limits:  see Limits (options.h), and "A slow reader" in README.md.
// Owns:    its place in the connection, which it keeps in memory; the connection may end before it.
#pragma once

#include <functional>
#include <memory>

#include "libshared/client/failure.h"
#include "libshared/client/wait.h"

namespace virtgate::client {

class Core;
struct StreamState;

class Stream {
public:
    // What a read() brought.
    struct Piece {
        enum class Kind : unsigned char {
            data,     // `size` bytes
            hole,     // `size` zero bytes that did not travel; at most 2^63 - 1
            end,      // nothing more will come; the stream is still to be finished
            blocked,  // of try_read(): nothing now
        };
        Kind kind = Kind::data;
        std::uint64_t size = 0;
    };

    Stream() = default;  // of no connection: only to be assigned to
    Stream(Stream&& other) noexcept = default;
    Stream& operator=(Stream&& other) noexcept;
    ~Stream() { forget(); }

    // Waits for the next piece. What came before an error can still be read; then each read says the error.
    [[nodiscard]] Result<Piece> read(MutableBytes buffer, const Deadline& deadline = {});
    // The same without waiting.
    [[nodiscard]] Result<Piece> try_read(MutableBytes buffer);

    // Queues all of `bytes`, and waits while too much is queued. A good result does not mean that the server
    // has it.
    [[nodiscard]] Done write(ByteView bytes, const Deadline& deadline = {});
    // Queues as much as there is room for, and says how much: 0 if there is none.
    [[nodiscard]] Result<std::size_t> try_write(ByteView bytes);

    // Skips `length` bytes (1 to 2^63 - 1). Error: Cause::invalid, if the stream was not opened for holes.
    [[nodiscard]] Done write_hole(std::uint64_t length, const Deadline& deadline = {});

    // Calls `handler` as a callback (options.h, Service) when one of `want` can be done without waiting,
    // again and again as long as that is so. Want::nothing ends it. The handler may do anything with the
    // stream but destroy it.
    void watch(Want want, std::function<void(Want)> handler);

    // All was read or written: waits for the server's word that it has come to a good end. Error: the
    // stream's, whenever it happened.
    [[nodiscard]] Done finish(const Deadline& deadline = {});
    // Gives up what was not sent, and waits until the server has ended the stream too. Error: the stream's,
    // if it failed before.
    [[nodiscard]] Done abort(const Deadline& deadline = {});

    // Reads to the end into `sink`, which gets data and, if `hole` is given, the lengths of holes (else zero
    // bytes), then finishes. A failure of either is handed back, after the stream was aborted. `deadline` is
    // for all of it.
    using Sink = std::function<Done(ByteView)>;
    using HoleSink = std::function<Done(std::uint64_t)>;
    [[nodiscard]] Done receive_all(const Sink& sink, const HoleSink& hole = {},
                                   const Deadline& deadline = {});

    // Writes what `source` puts into the buffer (how much; 0 at the end), then finishes. In the same way.
    using Source = std::function<Result<std::size_t>(MutableBytes)>;
    [[nodiscard]] Done send_all(const Source& source, const Deadline& deadline = {});

private:
    friend class Connection;
    Stream(std::shared_ptr<Core> core, std::shared_ptr<StreamState> state)
        : core_(std::move(core)), state_(std::move(state)) {}
    void forget() noexcept;

    std::shared_ptr<Core> core_;
    std::shared_ptr<StreamState> state_;
};

}  // namespace virtgate::client
