// SPDX-License-Identifier: LGPL-2.1-or-later
// pool - one pool: a directory, and the volumes that were in it when somebody looked.
//
// Trust:  what is known of the volumes was true when they were looked at; whoever opens one looks again.
// Owns:   while it is active, its directory; jobs may hold that for longer.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "workerd/store/places.h"
#include "workerd/store/volume.h"

namespace virtgate::workerd::store {

struct Pool {
    std::string name{};
    Uuid uuid{};
    std::string path{};    // as Places::check() returned it
    unsigned mode = 0711;  // of the directory, if it has to be made
    bool persistent = true;
    bool autostart = false;
    Directory directory{};  // null: it is not active
    Volumes volumes{};
    // What is under way: while something is, the pool's state does not change otherwise.
    unsigned jobs = 0;
    std::map<std::string, std::string, std::less<>> writers{};  // by volume: what is done to it
    // While somebody looks what there is: the volumes that changed meanwhile.
    std::optional<std::set<std::string>> noted{};

    [[nodiscard]] bool is_active() const noexcept { return directory != nullptr; }
    [[nodiscard]] std::string path_of(std::string_view volume) const {
        return path + "/" + std::string(volume);
    }
};

using PoolPtr = std::shared_ptr<Pool>;

// Says that a volume is written, as long as it lives; for one at a time.
class Writing {
public:
    Writing() noexcept = default;
    Writing(PoolPtr pool, std::string volume, std::string what)
        : pool_(std::move(pool)), volume_(std::move(volume)) {
        pool_->writers.emplace(volume_, std::move(what));
        ++pool_->jobs;
    }
    Writing(Writing&& other) noexcept = default;
    Writing& operator=(Writing&& other) noexcept {
        end();
        pool_ = std::move(other.pool_);
        volume_ = std::move(other.volume_);
        return *this;
    }
    Writing(const Writing&) = delete;
    Writing& operator=(const Writing&) = delete;
    ~Writing() { end(); }

    // Null: it says nothing.
    [[nodiscard]] const PoolPtr& pool() const noexcept { return pool_; }
    [[nodiscard]] const std::string& volume() const noexcept { return volume_; }
    void end() noexcept {
        if (!pool_) return;
        pool_->writers.erase(volume_);
        --pool_->jobs;
        pool_.reset();
    }

private:
    PoolPtr pool_;
    std::string volume_;
};

}  // namespace virtgate::workerd::store
