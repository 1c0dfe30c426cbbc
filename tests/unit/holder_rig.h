// SPDX-License-Identifier: LGPL-2.1-or-later
// holder_rig - what the tests of the lock daemon's holder share: a directory, a service manager, things to keep.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "libshared/loop/fake_loop.h"
#include "lockd/holder/journal.h"

namespace virtgate::test {

// A temporary directory.
class Scratch {
public:
    Scratch();
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

private:
    std::string path_;
};

// A boot that no machine has had.
[[nodiscard]] lockd::holder::BootId boot(unsigned char number = 1);

[[nodiscard]] ByteVector record(std::string_view text);
// A record of `size` bytes.
[[nodiscard]] ByteVector record(std::size_t size, char filling);

// The whole file, and its replacement.
[[nodiscard]] std::string slurp(const std::string& path);
void spill(const std::string& path, std::string_view text);

// A new file to keep, and which one a descriptor is of.
[[nodiscard]] UniqueFd make_file();
[[nodiscard]] ino_t inode_of(int fd);

// A service manager: takes notices at a socket that NOTIFY_SOCKET names, when it is told to.
class Manager {
public:
    explicit Manager(const Scratch& scratch);
    ~Manager();
    Manager(const Manager&) = delete;
    Manager& operator=(const Manager&) = delete;

    // Takes all that waits. Notices that ask for something else than descriptors are in `others`.
    void take();
    // As if nobody had ever listened; and again.
    void go_away();
    void come_back();

    std::multimap<std::string, UniqueFd> store{};  // by name
    std::vector<std::string> others{};
    // The order of FDSTORE and FDSTOREREMOVE: "+NAME", "-NAME".
    std::vector<std::string> history{};

private:
    const std::string path_;
    UniqueFd socket_;
};

// Fills the queue of the manager at NOTIFY_SOCKET, so that it takes no more before it has read.
void fill_queue();

}  // namespace virtgate::test
