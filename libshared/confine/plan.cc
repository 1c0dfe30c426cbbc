// SPDX-License-Identifier: LGPL-2.1-or-later
// plan - what one kind of process keeps, as data, and the steps that take everything else from it.
#include "libshared/confine/plan.h"

#include <sysexits.h>
#include <unistd.h>

#include "config.h"
#include "libshared/confine/check.h"
#include "libshared/confine/memory.h"
#include "libshared/confine/privileges.h"
#include "libshared/confine/violations.h"

namespace virtgate::confine {

namespace {

#ifdef VIRTGATE_SANITIZERS
constexpr bool k_possible = false;
#else
constexpr bool k_possible = true;
#endif

bool write_all(std::string_view text) noexcept {
    while (!text.empty()) {
        const ssize_t n = write(STDOUT_FILENO, text.data(), text.size());
        if (n <= 0) return false;
        text.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
}

std::uint64_t bits_of(std::span<const unsigned> capabilities) noexcept {
    std::uint64_t bits = 0;
    for (const unsigned one : capabilities) bits |= std::uint64_t{1} << one;
    return bits;
}

}  // namespace

bool parse_mode(std::string_view text, Mode& mode) noexcept {
    constexpr std::string_view k_names[] = {"best-effort", "strict", "report", "off"};
    for (std::size_t i = 0; i < std::size(k_names); ++i) {
        if (text != k_names[i]) continue;
        mode = static_cast<Mode>(i);
        return true;
    }
    return false;
}

OnViolation on_violation(Mode mode) noexcept {
    return mode == Mode::report ? OnViolation::trap : OnViolation::kill;
}

Mode effective(Mode mode) noexcept { return k_possible ? mode : Mode::off; }

Confinement::Confinement(Plan plan, Mode mode)
    : plan_(std::move(plan)),
      mode_(effective(mode)),
      report_(mode == Mode::strict ? Demand::strict : Demand::best_effort) {}

Result<Confinement> Confinement::begin(Plan plan, Mode mode) {
    Confinement confinement(std::move(plan), mode);
    if (confinement.mode_ == Mode::off) {
        if (k_possible) Log{}.warning("{} is not confined: sandbox = \"off\"", confinement.plan_.process);
        return confinement;
    }
    if (auto done = confinement.prepare(); !done)
        return wrap(std::move(done.error()), fmt::format("{} cannot be confined", confinement.plan_.process));
    return confinement;
}

Done Confinement::prepare() {
    if (!plan_.descriptors.empty()) {
        if (auto done = check_descriptors(plan_.descriptors); !done) return done;
        report_.note_in_force(Layer::descriptors);
    }
    // Before the capabilities are dropped: new namespaces give others.
    auto root = leave();
    if (!root) return tl::unexpected(std::move(root.error()));
    if (auto done = drop_capabilities(plan_.capabilities, report_, plan_.passed_on); !done) return done;
    if (auto done = close_memory(report_); !done) return done;
    if (auto done = forbid_new_privileges(report_); !done) return done;
    // Compiling takes calls, and /proc is a file: both before they are gone.
    auto filter = Filter::make(plan_.rows, on_violation(mode_));
    if (!filter) return tl::unexpected(std::move(filter.error()));
    filter_ = std::move(*filter);
    auto self = open_self();
    if (!self) return tl::unexpected(std::move(self.error()));
    self_ = std::move(*self);
    if (auto done = restrict_paths(plan_.paths, report_); !done) return done;
    // After the last file.
    if (*root)
        if (auto done = (*root)->enter(report_); !done) return done;
    if (auto done = forbid_writable_code(report_); !done) return done;
    if (auto done = seal_image(report_); !done) return done;
    if (mode_ == Mode::report) return tell_violations();
    return {};
}

// Result: the way to an empty root directory, for who needs no other and can have it.
Result<std::optional<EmptyRoot>> Confinement::leave() {
    using Root = std::optional<EmptyRoot>;
    if (plan_.stays.empty()) {
        const auto has_left = leave_namespaces(report_);
        if (!has_left) return tl::unexpected(has_left.error());
        if (!*has_left || plan_.connects || !plan_.paths.paths.empty()) return Root();
        auto root = EmptyRoot::prepare();
        if (!root) return tl::unexpected(std::move(root.error()));
        return Root(std::move(*root));
    }
    if (plan_.starts_leavers) {
        const auto why_not = find_why_not_alone();
        if (!why_not) return tl::unexpected(why_not.error());
        if (!why_not->empty()) {
            if (auto done = report_.note_lack(Layer::namespaces, *why_not); !done)
                return tl::unexpected(std::move(done.error()));
            return Root();
        }
    }
    report_.note_unmeant(Layer::namespaces, std::string(plan_.stays));
    return Root();
}

Done Confinement::serve() {
    if (mode_ == Mode::off) return {};
    if (auto done = set_limits(plan_.limits, report_); !done) return done;
    if (auto done = filter_->load(report_); !done) return done;
    filter_.reset();
    const Meant meant{.uid = {},
                      .capabilities = bits_of(plan_.capabilities),
                      .passed_on = bits_of(plan_.passed_on),
                      .bounding_empty = report_.complete(Layer::bounding_set)};
    if (auto done = check_self(std::move(self_), meant); !done) return done;
    if (plan_.says_lacks) report_.say_lacks(Log{});
    return {};
}

bool confine(Plan plan, Mode mode) {
    auto confinement = Confinement::begin(std::move(plan), mode);
    Done done = confinement ? confinement->serve() : tl::unexpected(std::move(confinement.error()));
    if (!done) Log{}.error("{}", done.error().text);
    return done.has_value();
}

bool is_asked_to_show(int argc, char** argv, std::string_view argument) noexcept {
    return argc == 2 && argument == argv[1];
}

int show(Plan plan) {
    std::string rows;
    for (const auto& table : plan.rows)
        for (const Row& row : table)
            rows += fmt::format("{}\t{}\t{}\n", row.error == 0 ? "call" : "refused", row.call, row.reason);
    plan.descriptors.clear();
    auto confinement = Confinement::begin(std::move(plan), Mode::best_effort);
    if (!confinement) {
        Log{}.error("{}", confinement.error().text);
        return EX_OSERR;
    }
    if (const auto done = confinement->serve(); !done) {
        Log{}.error("{}", done.error().text);
        return EX_OSERR;
    }
    std::string layers;
    for (const Finding& one : confinement->report().findings())
        layers += fmt::format("layer\t{}\t{}\t{}\n", to_text(one.layer),
                              one.in_force ? "in force"
                              : one.meant  ? "missing"
                                           : "not meant",
                              one.detail);
    return write_all(layers + rows) ? EX_OK : EX_IOERR;
}

}  // namespace virtgate::confine
