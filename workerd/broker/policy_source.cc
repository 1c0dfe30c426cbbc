// SPDX-License-Identifier: LGPL-2.1-or-later
// policy_source - the policy in force, and how it is replaced.
#include "workerd/broker/policy_source.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>

#include "libshared/spawn/self.h"
#include "proto/codec.h"
#include "proto/config.h"

namespace virtgate::workerd::broker {

namespace {

constexpr int k_seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
constexpr Milliseconds k_stop_patience{1000};

}  // namespace

PolicySource::PolicySource(loop::Loop& loop, std::string programs, proto::config::PolicyCompilerConfig config,
                           loop::Target<bool> on_compiled)
    : programs_(std::move(programs)),
      config_(std::move(config)),
      on_compiled_(on_compiled),
      late_(loop.timer(loop::to<&PolicySource::on_late>(*this))),
      ward_(loop, *this, "policy-compile", spawn::Ward::Restart::never) {}

std::uint64_t PolicySource::compile() noexcept {
    if (!ward_.is_idle()) {
        again_ = true;
        return compiled_ + 2;
    }
    late_->start(k_patience);
    // It may end before that returns, if there is no process for it.
    const std::uint64_t due = compiled_ + 1;
    ward_.start();
    return due;
}

Result<spawn::Launch> PolicySource::plan(spawn::Ward&) {
    result_ = UniqueFd{memfd_create("virtgate-policy", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    UniqueFd for_child{fcntl(result_.get(), F_DUPFD_CLOEXEC, 0)};
    if (!result_ || !for_child) return system_fault(errno, "cannot make a memory file for the policy");
    auto config = proto::encode(config_);
    if (!config) return system_fault(0, "the policy directories do not fit a configuration");
    spawn::Launch launch;
    launch.path = programs_ + "/virtgate-policy-compile";
    launch.config = std::move(*config);
    launch.extra.push_back(std::move(for_child));
    return launch;
}

void PolicySource::on_started(spawn::Ward&, UniqueFd) noexcept {}

void PolicySource::on_late() noexcept {
    log_.error("the compilation takes too long");
    ward_.stop(k_stop_patience);
}

Result<policy::Table> PolicySource::read_result(const spawn::Exit& exit) {
    if (!exit.success()) return system_fault(0, fmt::format("the compiler {}", describe(exit)));
    if (fcntl(result_.get(), F_ADD_SEALS, k_seals) < 0)
        return system_fault(errno, "the compiled policy cannot be sealed");
    const auto bytes = spawn::read_file(result_.get(), k_table_max);
    if (!bytes) return tl::unexpected(bytes.error());
    return policy::Table::decode(*bytes);
}

void PolicySource::on_ended(spawn::Ward&, const spawn::Exit& exit) noexcept {
    late_->stop();
    ++compiled_;
    auto table = read_result(exit);
    result_.reset();
    if (table) {
        table_ = std::move(*table);
        ++generation_;
        log_.info("{} identities in force (generation {})", table_.identities(), generation_);
    } else {
        log_.error("the policy was not changed: {}", table.error().text);
    }
    if (std::exchange(again_, false)) {
        compile();
        return;
    }
    on_compiled_(table.has_value());
}

}  // namespace virtgate::workerd::broker
