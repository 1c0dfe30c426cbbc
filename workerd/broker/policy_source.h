// SPDX-License-Identifier: LGPL-2.1-or-later
// policy_source - the policy in force, and how it is replaced.
//
// Policy files are read by a short-lived child, virtgate-policy-compile, which writes the compiled table to a
// memory file. The broker seals that and decodes it. Any error keeps the table in force.
//
// Trust:  the files are the administrator's, the child is ours, and its output is decoded like any input.
// Limits: a compilation has k_patience; a compiled table at most k_table_max bytes.
// Owns:   the table and the child.
#pragma once

#include <memory>

#include "libshared/spawn/ward.h"
#include "policy/table.h"
#include "proto/config.h"

namespace virtgate::workerd::broker {

class PolicySource final : public spawn::WardOwner {
public:
    static constexpr Milliseconds k_patience{60'000};
    static constexpr std::size_t k_table_max = std::size_t{64} << 20;

    // `programs`: the directory of our executables. `config`: what the compiler is told. `on_compiled` gets whether the table was replaced, after
    // each compilation. Nothing is started yet.
    PolicySource(loop::Loop& loop, std::string programs, proto::config::PolicyCompilerConfig config,
                 loop::Target<bool> on_compiled);

    // Compiles the files. If a compilation is under way, another one follows it. Returns what compiled() will be when it has
    // ended.
    std::uint64_t compile() noexcept;

    // How many compilations have ended, whatever came of them.
    [[nodiscard]] std::uint64_t compiled() const noexcept { return compiled_; }

    // The table in force; lets nobody in before the first compilation.
    [[nodiscard]] const policy::Table& table() const noexcept { return table_; }

    // Its number: 0 before the first, and one more with each that comes into force.
    [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }

    // What the worker of `identity` has to know, of the table in force.
    [[nodiscard]] proto::policy::IdentityRights rights_of(std::string_view identity) const {
        return table_.rights_of(identity, generation_);
    }

    Result<spawn::Launch> plan(spawn::Ward& ward) override;
    void on_started(spawn::Ward& ward, UniqueFd control) noexcept override;
    void on_ended(spawn::Ward& ward, const spawn::Exit& exit) noexcept override;

private:
    void on_late() noexcept;
    [[nodiscard]] Result<policy::Table> read_result(const spawn::Exit& exit);

    const std::string programs_;
    const proto::config::PolicyCompilerConfig config_;
    const loop::Target<bool> on_compiled_;
    const Log log_{"policy"};
    policy::Table table_;
    std::uint64_t generation_ = 0;  // 0 before the first, and one more with each that comes into force
    std::uint64_t compiled_ = 0;
    UniqueFd result_;
    bool again_ = false;
    std::unique_ptr<loop::Timer> late_;
    spawn::Ward ward_;
};

}  // namespace virtgate::workerd::broker
