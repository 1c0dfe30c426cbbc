// SPDX-License-Identifier: LGPL-2.1-or-later
// names - what the objects of a daemon are called, as far as it is known without asking.
//
// A call names its object by uuid, rights go by the name. To ask the daemon for it costs a round trip for each call; a
// name that was asked for once is known here until libvirt says that it may have changed (names_link.h).
//
//     scrutiny                     names                                  daemon
//       | find(kind, uuid)           |                                      |
//       |---------------------------▶| not known                            |
//       | epoch() = 7                |                                      |
//       |---------------------------▶|                                      |
//       | lookup_by_uuid, on the client's own connection                    |
//       |------------------------------------------------------------------▶|
//       |◀------------------------------------------------- name, uuid -----|
//       | learn(kind, uuid, name, 7) |                                      |
//       |---------------------------▶| kept, unless the epoch is 8 by now:  |
//       |                            | something was renamed in between     |
//
// Replies on one connection and events on another have no order. The epoch does without one. libvirt announces a change
// after look-ups see it. So of an event and the question of an answer that is learnt:
//   event came before the question was sent   the look-up saw the change: the answer is good
//   between question and answer               the epoch has changed: the answer is not kept
//   after the answer                          the event drops the entry
//
// Whoever asks must not let a client find out by its clock what is hidden from it: a name is to be used only if the
// client may see the object. What it may not see has to be asked for each time, like what is not there.
//
// Trust:  what is learnt are answers of the daemon that this is about; never a client's word.
// Owns:   nothing; this is the interface, so that a test can play it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "policy/grant.h"

namespace virtgate::workerd::worker {

class Names {
public:
    // A span of time in which nothing was announced that could change a name.
    using Epoch = std::uint64_t;

    virtual ~Names() = default;

    // What the object with that uuid is called (policy::Object::name), if it is known. A view until the next call of
    // learn(), or until the loop goes on.
    [[nodiscard]] virtual std::optional<std::string_view> find(policy::ObjectKind kind,
                                                               const policy::Uuid& uuid) noexcept = 0;

    // The epoch that is now. To be taken when the daemon is asked for a name, not later.
    [[nodiscard]] virtual Epoch epoch() noexcept = 0;

    // Notes an answer of the daemon: the object is called `name`. `asked` is the epoch in which the question was sent.
    // Not kept, without a word, if that is over, or if nothing is kept of that kind.
    virtual void learn(policy::ObjectKind kind, const policy::Uuid& uuid, std::string_view name,
                       Epoch asked) = 0;
};

}  // namespace virtgate::workerd::worker
