// SPDX-License-Identifier: LGPL-2.1-or-later
// version - one version of a program: which member function handles which procedure.
//
//     service::Version& newest = service.serve(inventory::program());
//     newest.answer<&Inventory::get_item>(Procedure::get_item, store);    // in the loop: quick
//     newest.work<&Inventory::audit>(Procedure::audit, store);            // in a thread: slow
//     newest.send<&Inventory::export_items>(Procedure::export_items, store);      // opens a stream to the client
//     newest.receive<&Inventory::import_items>(Procedure::import_items, store);   // opens a stream from it
//
// Handlers take the caller and the arguments (left out if the procedure has none), and return an Answer:
//
//     Answer<inventory::GetItemRet> get_item(const Caller& caller, const inventory::GetItemArgs& arguments);
//
// send() wants an Answer<Source>, receive() an Answer<Sink>. Several versions may have the same handlers.
//
// Trust:  arguments are within the limits of their types; what they say is the client's.
// Limits: a procedure with "@priority high" that is slow has threads of its own. What a handler throws becomes an error of its
//         call: nothing leaves.
// Owns:   the handlers' bindings; the objects outlive the service.
#pragma once

#include <exception>
#include <memory>
#include <vector>

#include "libshared/server/program.h"
#include "libshared/server/workshop.h"
#include "libshared/service/answer.h"
#include "proto/program.h"

namespace virtgate::service {

class Service;

class Version {
public:
    enum class How : unsigned char { answer, work, send, receive };

    Version(Service& service, const proto::ProgramInfo& info);
    Version(const Version&) = delete;
    Version& operator=(const Version&) = delete;

    template <auto Method, class Object, class Procedure>
    void answer(Procedure procedure, Object& object) {
        bind<Method, How::answer>(procedure, object);
    }
    // Runs at the same time as other calls: `object` has to know that.
    template <auto Method, class Object, class Procedure>
    void work(Procedure procedure, Object& object) {
        bind<Method, How::work>(procedure, object);
    }
    template <auto Method, class Object, class Procedure>
    void send(Procedure procedure, Object& object) {
        bind<Method, How::send>(procedure, object);
    }
    template <auto Method, class Object, class Procedure>
    void receive(Procedure procedure, Object& object) {
        bind<Method, How::receive>(procedure, object);
    }

    [[nodiscard]] const proto::ProgramInfo& info() const noexcept { return info_; }
    // For what none of the above does: server::Program::serve().
    [[nodiscard]] server::Program& program() noexcept { return program_; }

private:
    friend class Service;
    struct Nothing {};
    struct Bound {
        virtual ~Bound() = default;
    };
    template <auto Method>
    struct Shape;
    template <class T, class R, class A, Answer<R> (T::*Method)(const Caller&, const A&)>
    struct Shape<Method> {
        using Result = R;
        using Arguments = A;
    };
    template <class T, class R, Answer<R> (T::*Method)(const Caller&)>
    struct Shape<Method> {
        using Result = R;
        using Arguments = Nothing;
    };
    template <auto Method, How how, class Object>
    struct Binding;

    template <auto Method, How how, class Object, class Procedure>
    void bind(Procedure procedure, Object& object);

    std::optional<rpc::Failure> judge(const server::Client& client, std::uint32_t procedure) noexcept;
    [[nodiscard]] server::Lane lane_of(std::uint32_t procedure) const noexcept;
    // These are the Service's.
    [[nodiscard]] const Caller& caller_of(const server::Client& client) const noexcept;
    [[nodiscard]] server::Workshop& workshop() const noexcept;
    void open_source(server::Client& client, server::Call call, Source source) const;
    void open_sink(server::Client& client, server::Call call, Sink sink) const;
    void open_flow(server::Client& client, server::Call call, Source source, Sink sink) const;

    Service& service_;
    const proto::ProgramInfo& info_;
    server::Program program_;
    std::vector<std::unique_ptr<Bound>> bound_;
};

template <auto Method, Version::How how, class Object>
struct Version::Binding final : Version::Bound {
    using Result = typename Shape<Method>::Result;
    using Arguments = typename Shape<Method>::Arguments;

    Binding(Version& in, Object& of, server::Lane fast) : version(in), object(of), lane(fast) {}

    static Answer<Result> run(Object& object, const Caller& caller, const Arguments& arguments) noexcept {
        try {
            if constexpr (std::is_same_v<Arguments, Nothing>)
                return (object.*Method)(caller);
            else
                return (object.*Method)(caller, arguments);
        } catch (const std::exception& error) {
            return refuse(error.what(), rpc::k_code_internal);
        } catch (...) {
            return refuse("an unknown error", rpc::k_code_internal);
        }
    }

    static void reply(server::Call& call, const Answer<Result>& result) noexcept {
        if (!result) return call.fail(result.error());
        if constexpr (std::is_void_v<Result>)
            call.reply();
        else
            call.reply(*result);
    }

    void call_with(server::Client& client, const Arguments& arguments, server::Call call) noexcept {
        const Caller& caller = version.caller_of(client);
        if constexpr (how == How::answer) {
            reply(call, run(object, caller, arguments));
        } else if constexpr (how == How::work) {
            version.workshop().run(
                [this, caller, arguments] { return run(object, caller, arguments); },
                [call = std::move(call)](Answer<Result> result) mutable noexcept { reply(call, result); },
                lane);
        } else {
            auto opened = run(object, caller, arguments);
            if (!opened) return call.fail(opened.error());
            if constexpr (how == How::send)
                version.open_source(client, std::move(call), std::move(*opened));
            else
                version.open_sink(client, std::move(call), std::move(*opened));
        }
    }
    void call_without(server::Client& client, server::Call call) noexcept {
        call_with(client, Arguments{}, std::move(call));
    }

    Version& version;
    Object& object;
    const server::Lane lane;
};

template <auto Method, Version::How how, class Object, class Procedure>
void Version::bind(Procedure procedure, Object& object) {
    using Made = Binding<Method, how, Object>;
    auto made = std::make_unique<Made>(*this, object, lane_of(static_cast<std::uint32_t>(procedure)));
    if constexpr (std::is_same_v<typename Made::Arguments, Nothing>)
        program_.serve<&Made::call_without>(procedure, *made);
    else
        program_.serve<&Made::call_with>(procedure, *made);
    bound_.push_back(std::move(made));
}

}  // namespace virtgate::service
