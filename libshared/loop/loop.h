// SPDX-License-Identifier: LGPL-2.1-or-later
// loop - waiting for descriptors, time and signals.
//
// One Loop belongs to one thread. What is called back is named by a Target: an object and one of its noexcept
// methods, bound with to<&Class::method>(object). The handles (Watch, Timer) live inside that object and unregister
// in their destructors, so a destroyed object can never be called.
//
// Limits: no call here throws after construction; a Loop that cannot be made, or that cannot register a
//         descriptor, is out of memory or descriptors before anything was served: panic().
// Source: the only users of libevent are event_loop.cc; tests use fake_loop.h.
#pragma once

#include <memory>

#include "libshared/base/clock.h"

namespace virtgate::loop {

// What a descriptor is waited for, and what it is ready for. A set of bits.
enum class Want : unsigned char { nothing = 0, read = 1, write = 2, both = 3 };

[[nodiscard]] constexpr Want operator|(Want a, Want b) noexcept {
    return static_cast<Want>(static_cast<unsigned char>(a) | static_cast<unsigned char>(b));
}
[[nodiscard]] constexpr bool has(Want set, Want bit) noexcept {
    return (static_cast<unsigned char>(set) & static_cast<unsigned char>(bit)) != 0;
}

// An object and a method of it, without ownership and without allocation.
template <class... A>
struct Target {
    void* object = nullptr;
    void (*call)(void*, A...) noexcept = nullptr;
    void operator()(A... arguments) const noexcept { call(object, arguments...); }
};

namespace detail {
template <auto Method>
struct Bind;
template <class T, class... A, void (T::*Method)(A...) noexcept>
struct Bind<Method> {
    static Target<A...> to(T& object) noexcept {
        return {&object,
                [](void* self, A... arguments) noexcept { (static_cast<T*>(self)->*Method)(arguments...); }};
    }
};
}  // namespace detail

// The target that calls object.Method(arguments...). The method has to be noexcept.
template <auto Method, class T>
[[nodiscard]] auto to(T& object) noexcept {
    return detail::Bind<Method>::to(object);
}

// A registered descriptor. Level-triggered. The descriptor must stay open as long as the Watch lives.
class Watch {
public:
    virtual ~Watch() = default;
    // Waits for these from now on. Calling it again with the same set costs nothing.
    virtual void set(Want want) noexcept = 0;
    // Calls the target once in the next turn with `ready`, whether the descriptor is ready or not: for data that
    // was read from the descriptor already and waits in a buffer above it.
    virtual void wake(Want ready) noexcept = 0;
};

// A timer that fires once per start().
class Timer {
public:
    virtual ~Timer() = default;
    // Fires `delay` from now; a timer that is running starts again.
    virtual void start(Milliseconds delay) noexcept = 0;
    virtual void stop() noexcept = 0;
    [[nodiscard]] virtual bool running() const noexcept = 0;
};

class Loop {
public:
    virtual ~Loop() = default;
    // Calls `target` with what `fd` is ready for, as long as the returned handle lives. `fd` is borrowed.
    [[nodiscard]] virtual std::unique_ptr<Watch> watch(int fd, Want want, Target<Want> target) = 0;
    // A stopped timer.
    [[nodiscard]] virtual std::unique_ptr<Timer> timer(Target<> target) = 0;
    // Calls `target` in the loop (not in the signal handler) when the process got the signal `number`.
    [[nodiscard]] virtual std::unique_ptr<Watch> signal(int number, Target<Want> target) = 0;
    [[nodiscard]] virtual const Clock& clock() const noexcept = 0;
    // Serves until stop() is called.
    virtual void run() noexcept = 0;
    // Makes run() return after the current callback. Only from the loop's own thread.
    virtual void stop() noexcept = 0;
};

// A loop on epoll through libevent. Panics if the system has no descriptor left for it.
[[nodiscard]] std::unique_ptr<Loop> make_event_loop();

}  // namespace virtgate::loop
