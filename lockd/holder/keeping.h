// SPDX-License-Identifier: LGPL-2.1-or-later
// keeping - all that is kept: of each slot a record and a descriptor, here, in the journal and in the outer store.
//
//     free ──keep()──▶ storing ──outer store has it──▶ kept ──drop()──▶ dropping ──outer store has it──▶ free
//                        └── outer store did not take it ──▶ free
//
// In the order in which it is safe to be killed at any moment: keep() writes the record, then hands the descriptor on;
// drop() takes the record back, then the descriptor. What a next holder finds without a record was never acknowledged or
// is over, and what it finds without a descriptor was never acknowledged either. A slot is not free again before its old
// descriptor has left the outer store: or else that could be found with the new one's record.
//
// Trust:  whoever asks has been checked already: what is asked of a slot in the wrong state is our bug.
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
    enum class State : unsigned char { storing, kept, dropping };
    struct Thing {
        UniqueFd fd;
        ByteVector record;
        State state = State::kept;
        std::uint64_t ticket = 0;  // of what it waits for
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

    // Told when something that waited is over, by its ticket; and whether it was done.
    using OnSettled = loop::Target<std::uint64_t, bool>;

    Keeping(loop::Loop& loop, Journal journal, OnSettled on_settled);
    Keeping(const Keeping&) = delete;
    Keeping& operator=(const Keeping&) = delete;

    // Takes over what was found, with `entries` of the journal. Before anything else, once. Error: system's fault; the
    // journal does not take what it has to have, and nothing may be served.
    Result<Recovery> recover(std::vector<Journal::Entry> entries, std::vector<Found> found);

    // The state of `slot`; none: it is free.
    [[nodiscard]] std::optional<State> state(Slot slot) const noexcept;

    // Done, or a ticket of what on_settled() will tell. Error: system's fault, with a reason that clients may see;
    // nothing has changed.
    using Outcome = Result<std::optional<std::uint64_t>>;
    // Keeps `fd` with `record` in the free slot `slot`.
    Outcome keep(Slot slot, UniqueFd fd, ByteVector record);
    // Gives the kept slot `slot` another record.
    Done renew(Slot slot, ByteVector record);
    // Lets go of `slots`: kept ones, each named once.
    Outcome drop(const std::vector<Slot>& slots);

    // Nothing is on its way: each slot is free or kept.
    [[nodiscard]] bool is_settled() const noexcept { return unsettled_ == 0; }
    // By slot.
    [[nodiscard]] const std::map<Slot, Thing>& things() const noexcept { return things_; }
    [[nodiscard]] OuterStore& outer() noexcept { return outer_; }

private:
    void on_outer(std::uint64_t ticket, bool done) noexcept;
    void settle(std::uint64_t ticket, bool done);

    Journal journal_;
    const OnSettled on_settled_;
    OuterStore outer_;
    std::map<Slot, Thing> things_;
    std::map<std::uint64_t, std::vector<Slot>> waiting_;  // by ticket
    std::size_t unsettled_ = 0;
    std::uint64_t last_ticket_ = 0;
};

}  // namespace virtgate::lockd::holder
