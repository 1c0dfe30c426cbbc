// SPDX-License-Identifier: LGPL-2.1-or-later
// program - the procedures of one program in one version, each with its handler.
//
// A daemon writes, once:
//
//     Program program{lock::k_program, lock::k_version};
//     program.serve<&Locker::acquire>(Procedure::acquire_resource, locker);
//
// where the handler takes the client, the arguments (a generated type; left out if there are none) and the call:
//
//     void acquire(Client& client, const lock::AcquireResourceArgs& arguments, Call call) noexcept;
//
// Trust:  arguments come from a client, decoded and within the limits of their type, with no byte left over; nothing else
//         is known of them.
// Owns:   nothing: the objects of the handlers outlive the program.
#pragma once

#include <optional>
#include <type_traits>
#include <vector>

#include "libshared/server/call.h"
#include "libshared/xdr/reader.h"

namespace virtgate::server {

class Client;

class Program {
public:
    Program(std::uint32_t number, std::uint32_t version) noexcept : number_(number), version_(version) {}

    // From now on `procedure` is Method of `object`. Once for each procedure.
    template <auto Method, class Object, class Procedure>
    void serve(Procedure procedure, Object& object) {
        add(static_cast<std::uint32_t>(procedure), &object, &Bind<Method>::invoke);
    }

    [[nodiscard]] std::uint32_t number() const noexcept { return number_; }
    [[nodiscard]] std::uint32_t version() const noexcept { return version_; }
    [[nodiscard]] bool has(std::uint32_t procedure) const noexcept;

    // Asks Method of `object` about each call before it is looked at any further, whether its procedure is served or not:
    //
    //     std::optional<rpc::Failure> judge(const Client& client, std::uint32_t procedure) noexcept;
    //
    // What it returns is the answer to the call.
    template <auto Method, class Object>
    void judge_by(Object& object) {
        judge_object_ = &object;
        judge_ = [](void* judge, const Client& client, std::uint32_t procedure) noexcept {
            return (static_cast<Object*>(judge)->*Method)(client, procedure);
        };
    }
    [[nodiscard]] std::optional<rpc::Failure> judge(const Client& client,
                                                    std::uint32_t procedure) const noexcept {
        return judge_ != nullptr ? judge_(judge_object_, client, procedure) : std::nullopt;
    }

    // Decodes `payload` and calls the handler of `procedure`, which is there. False, and `call` untouched, if the payload
    // is not the arguments of that procedure.
    [[nodiscard]] bool invoke(std::uint32_t procedure, Client& client, ByteView payload,
                              Call& call) const noexcept;

private:
    using Invoke = bool (*)(void* object, Client& client, ByteView payload, Call& call) noexcept;
    struct Entry {
        void* object = nullptr;
        Invoke invoke = nullptr;
    };
    void add(std::uint32_t procedure, void* object, Invoke invoke);

    template <auto Method>
    struct Bind;
    template <class T, class Arguments, void (T::*Method)(Client&, const Arguments&, Call) noexcept>
    struct Bind<Method> {
        static bool invoke(void* object, Client& client, ByteView payload, Call& call) noexcept {
            xdr::Reader reader(payload);
            Arguments arguments;
            arguments.decode(reader);
            if (reader.close() != xdr::Flaw::none) return false;
            (static_cast<T*>(object)->*Method)(client, arguments, std::move(call));
            return true;
        }
    };
    template <class T, void (T::*Method)(Client&, Call) noexcept>
    struct Bind<Method> {
        static bool invoke(void* object, Client& client, ByteView payload, Call& call) noexcept {
            if (!payload.empty()) return false;
            (static_cast<T*>(object)->*Method)(client, std::move(call));
            return true;
        }
    };

    std::uint32_t number_, version_;
    std::optional<rpc::Failure> (*judge_)(void*, const Client&, std::uint32_t) noexcept = nullptr;
    void* judge_object_ = nullptr;
    std::vector<Entry> entries_;  // by number of procedure; an empty one is not served
};

}  // namespace virtgate::server
