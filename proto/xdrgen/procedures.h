// SPDX-License-Identifier: LGPL-2.1-or-later
// procedures - read the annotations of a procedure.
//
//   @acl OBJECT:PERMISSION [if TEST [or TEST]...]   what the caller needs; several are all needed
//   @acl none                                       nothing is needed
//   @aclfilter OBJECT:PERMISSION                    needed for each element of the returned list
//   @readonly yes | no | unless TEST [or TEST]...   whether a read-only connection may call it
//   @object PATH OBJECT IDENTITY...                 where the arguments (or the event) name an object
//   @returns PATH OBJECT IDENTITY...                where the reply names one
//   @key PATH OBJECT [IDENTITY...] as HOW           an argument that names an object indirectly
//   @stream read|write [sparse=BIT]                 the call opens a stream; read: the server sends
//   @fds [call=N|N..M] [reply=N|N..M]               descriptors that travel with it; 0..32
//   @event FAMILY ID|- legacy|callback              not a call but an event that clients registered for
//   @event none                                     the same without registration by id
//   @priority high        @unauthenticated          @driver NAME             @since VERSION
// TEST is "PATH has BITS", "PATH lacks BITS" or "PATH is VALUE".
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "proto/xdrgen/model.h"

namespace virtgate::proto::xdrgen {

class ProcedureReader {
public:
    using Evaluate = std::function<std::optional<Wide>(const Word&)>;

    // `internal`: acl and readonly are not required. `evaluate` knows the constants.
    ProcedureReader(const std::vector<Type>& types, Messages& messages, bool internal, Evaluate evaluate)
        : types_(types), messages_(messages), internal_(internal), evaluate_(std::move(evaluate)) {}

    // Reads `notes` into `procedure`, whose name, number, args and ret are known.
    void read(const Notes& notes, Procedure& procedure);

private:
    using Words = std::vector<Word>;

    void read_one(const Annotation& annotation, Procedure& procedure);
    void read_acl(const Annotation& annotation, Procedure& procedure);
    void read_filter(const Annotation& annotation, Procedure& procedure);
    void read_readonly(const Annotation& annotation, Procedure& procedure);
    void read_object(const Annotation& annotation, TypeId root, std::vector<ObjectPlace>& to);
    void read_stream(const Annotation& annotation, Procedure& procedure);
    void read_fds(const Annotation& annotation, Procedure& procedure);
    void read_event(const Annotation& annotation, Procedure& procedure);
    bool read_permission(const Word& word, Rule& rule);
    void read_tests(const Words& words, std::size_t from, Position at, TypeId root, std::vector<Test>& to);
    void complain(const Annotation& annotation, std::string_view text) {
        messages_.error(annotation.word.at, text);
    }

    const std::vector<Type>& types_;
    Messages& messages_;
    bool internal_;
    Evaluate evaluate_;
    bool has_acl_ = false;
    bool has_readonly_ = false;
};

}  // namespace virtgate::proto::xdrgen
