// SPDX-License-Identifier: LGPL-2.1-or-later
// holder_rig - what the tests of the lock daemon's holder share.
#include "tests/unit/holder_rig.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "libshared/spawn/notify.h"

namespace virtgate::test {

Scratch::Scratch() {
    std::string name = "/tmp/virtgate-holder-XXXXXX";
    cr_assert_not_null(mkdtemp(name.data()));
    path_ = name;
}

Scratch::~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

lockd::holder::BootId boot(unsigned char number) {
    lockd::holder::BootId id{};
    id.fill(std::byte{number});
    return id;
}

ByteVector record(std::string_view text) {
    const ByteView bytes = as_bytes(text);
    return {bytes.begin(), bytes.end()};
}

ByteVector record(std::size_t size, char filling) {
    return ByteVector(size, static_cast<std::byte>(filling));
}

std::string slurp(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    cr_assert(file.good(), "%s", path.c_str());
    return {std::istreambuf_iterator<char>(file), {}};
}

void spill(const std::string& path, std::string_view text) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(text.data(), static_cast<std::streamsize>(text.size()));
    cr_assert(file.good(), "%s", path.c_str());
}

UniqueFd make_file() {
    UniqueFd file{memfd_create("kept", MFD_CLOEXEC)};
    cr_assert(static_cast<bool>(file));
    return file;
}

ino_t inode_of(int fd) {
    struct stat about {};
    cr_assert_eq(fstat(fd, &about), 0);
    return about.st_ino;
}

Manager::Manager(const Scratch& scratch) : path_(scratch / "notify.sock") {
    come_back();
    setenv("NOTIFY_SOCKET", path_.c_str(), 1);
}

Manager::~Manager() { unsetenv("NOTIFY_SOCKET"); }

void Manager::go_away() {
    socket_.reset();
    unlink(path_.c_str());
}

void Manager::come_back() {
    socket_ = UniqueFd{socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    cr_assert_lt(path_.size(), sizeof address.sun_path);
    std::memcpy(address.sun_path, path_.c_str(), path_.size());
    cr_assert_eq(bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
}

void Manager::take() {
    for (;;) {
        std::array<char, 4096> text;
        alignas(cmsghdr) std::array<char, 256> control{};
        iovec part{text.data(), text.size()};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const ssize_t n = recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
        if (n < 0) return;
        UniqueFd fd;
        if (const cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr && head->cmsg_type == SCM_RIGHTS) {
            int number = -1;
            std::memcpy(&number, CMSG_DATA(head), sizeof number);
            fd = UniqueFd{number};
        }
        const std::string notice(text.data(), static_cast<std::size_t>(n));
        const std::size_t at = notice.find("FDNAME=");
        const std::string name =
            at == notice.npos ? "" : notice.substr(at + 7, notice.find('\n', at) - at - 7);
        if (notice.starts_with("FDSTORE=1\n")) {
            cr_assert(static_cast<bool>(fd) && notice.ends_with("\nFDPOLL=0"), "%s", notice.c_str());
            store.emplace(name, std::move(fd));
            history.push_back("+" + name);
        } else if (notice.starts_with("FDSTOREREMOVE=1\n")) {
            store.erase(name);
            history.push_back("-" + name);
        } else {
            others.push_back(notice);
        }
    }
}

void fill_queue() {
    const auto socket = spawn::connect_notify();
    cr_assert(socket.has_value() && *socket);
    for (int i = 0; i < 10'000; ++i) {
        const auto sent = spawn::send_notice(socket->get(), "X_FILLING=1");
        cr_assert(sent.has_value());
        if (!*sent) return;
    }
    cr_assert(false, "the queue has no end");
}

}  // namespace virtgate::test
