// SPDX-License-Identifier: LGPL-2.1-or-later
// keeping - all that is kept: of each slot a record and a descriptor, here, in the journal and in the outer store.
//
// Changes come in batches, and what asked for them stays where it is (queue.h) until all of a batch is done:
//
//     settled ──apply(): journal, then outer store──▶ under way ──outer store has all──▶ settled: on_settled()
//
// A holder may be killed at any moment of that. The next one recovers what it finds, and does the whole batch once more:
// each change says what its slot is then, whatever it was before, so that doing it twice is as good as once. Whatever is
// found without its other half is of such a batch, or is over.
//
// Trust:  whoever asks has been checked already.
// Limits: k_slots_max slots; the journal bounds the bytes.
// Owns:   the descriptors.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lockd/holder/journal.h"
#include "lockd/holder/outer_store.h"

namespace virtgate::lockd::holder {

class Keeping {
public:
    struct Thing {
        UniqueFd fd;
        ByteVector record;
    };
    // What a holder before this one kept, as far as it is known.
    struct Found {
        Slot slot = 0;
        UniqueFd fd;
        // Where there is a better source than the journal.
        std::optional<ByteVector> record{};
    };
    // What became of it.
    struct Recovery {
        std::size_t kept = 0;
        std::size_t without_record = 0;      // descriptors that nobody knows: closed
        std::size_t without_descriptor = 0;  // records of what is gone: dropped
    };
    // What becomes of a slot. Without a record: nothing is kept there any more. With a descriptor: that one, with the
    // record, whatever was there. With a record alone: what is kept there gets it.
    struct Change {
        std::optional<ByteVector> record{};
        UniqueFd fd{};
    };
    using Changes = std::map<Slot, Change>;

    // `on_settled` comes from the loop alone.
    Keeping(loop::Loop& loop, Journal journal, loop::Target<> on_settled);
    Keeping(const Keeping&) = delete;
    Keeping& operator=(const Keeping&) = delete;

    // Takes over what was found, with `entries` of the journal. Before anything else, once. Error: system's fault; the
    // journal does not take what it has to have, and nothing may be served.
    Result<Recovery> recover(std::vector<Journal::Entry> entries, std::vector<Found> found);

    // Does `changes`. When it returns they have been done here, and if it is settled, in the outer store, too; otherwise
    // on_settled() follows. Only when it is settled. Error: system's fault; the journal did not take all of it, and nothing
    // has changed here: to be tried again.
    Done apply(Changes changes);

    // The outer store has got everything.
    [[nodiscard]] bool is_settled() const noexcept { return outer_.is_idle(); }
    [[nodiscard]] bool has(Slot slot) const noexcept { return things_.contains(slot); }
    // By slot.
    [[nodiscard]] const std::map<Slot, Thing>& things() const noexcept { return things_; }
    [[nodiscard]] OuterStore& outer() noexcept { return outer_; }
    // Makes sure that the journal can take `bytes`. Error: system's fault, with a reason.
    Done reserve(std::size_t bytes) { return journal_.reserve(bytes); }

private:
    Journal journal_;
    OuterStore outer_;
    std::map<Slot, Thing> things_;
    Sparse stale_;
};

}  // namespace virtgate::lockd::holder
