// SPDX-License-Identifier: LGPL-2.1-or-later
// locker_calls - tests of the lock program's procedures: their checks in order, their errors, what they do to files.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "tests/unit/locker_rig.h"

using namespace virtgate;
using namespace virtgate::lockd::locker;
using namespace virtgate::lockd::locker::test;

namespace {

constexpr const char* k_restricted = "29/7 operation forbidden: lock manager connection has been restricted";
constexpr const char* k_no_owner =
    "55/7 Requested operation is not valid: lock owner details have not been registered";

std::string busy(const std::string& name) {
    return "87/51 resource busy: Lockspace resource '" + name + "' is locked";
}
std::string no_space(const std::string& path) {
    return "1/7 internal error: Lockspace for path " + path + " does not exist";
}

// Every procedure that has all of flags, owner and lock space, with a flag that none of them knows, or none.
std::vector<std::string> ask_all(Client& client, const std::string& path, std::uint32_t flags) {
    return {client.create(path, "r", flags), client.remove(path, "r", flags),
            client.acquire(path, "r", flags), client.release(path, "r", flags)};
}

void all_are(const std::vector<std::string>& answers, const std::string& expected) {
    for (std::size_t i = 0; i < answers.size(); ++i)
        cr_assert(answers[i] == expected, "number %zu: %s", i, answers[i].c_str());
}

bool begins(const std::string& text, std::string_view with) { return text.starts_with(with); }

}  // namespace

Test(locker_calls, checks_come_in_the_order_flags_restricted_owner_lock_space) {
    Rig rig;
    Client client(rig);
    for (const auto& answer : ask_all(client, "/no/such", 64))
        cr_assert(begins(answer, "8/7 unsupported flags (0x40)"));
    all_are(ask_all(client, "/no/such", 0), k_no_owner);
    all_are({client.restrict(), client.open_new(rig.spaces)}, k_no_owner);
    cr_assert(client.open_space("") == "ok", "it needs no owner");
    cr_assert(client.register_owner(k_nobody, 0) == k_no_owner, "an owner without an id is none");
    cr_assert(client.register_owner(k_nobody, 0, 1) == "8/7 unsupported flags (0x1) in REGISTER");
    cr_assert(client.register_owner(k_nobody) == "ok");
    all_are(ask_all(client, "/no/such", 0), no_space("/no/such"));
    cr_assert(begins(client.acquire("/no/such", "r", 4 | k_shared), "8/7 unsupported flags (0x4)"));
    cr_assert(client.acquire("/no/such", "r", k_auto | k_shared) == no_space("/no/such"));
    cr_assert(begins(client.release("/no/such", "r", k_shared), "8/7 unsupported flags (0x1)"));
    cr_assert(begins(client.restrict(1), "8/7 unsupported flags (0x1)"));
    cr_assert(client.restrict() == "ok");
    all_are(ask_all(client, "/no/such", 0), k_restricted);
    for (const auto& answer : ask_all(client, "/no/such", 64))
        cr_assert(begins(answer, "8/7 unsupported flags (0x40)"));
    all_are({client.restrict(), client.register_owner(k_nobody), client.register_owner(k_nobody, 0),
             client.open_new(""), client.open_space("")},
            k_restricted);
}

Test(locker_calls, the_last_owner_counts_until_the_connection_is_restricted) {
    Rig rig;
    Client client(rig), other(rig);
    cr_assert(client.register_owner(k_nobody) == "ok" && client.open_new(rig.spaces + "/s") == "ok");
    cr_assert(client.acquire(rig.spaces + "/s", "r", k_auto) == "ok");
    cr_assert(client.register_owner(k_nobody + 1) == "ok");
    cr_assert(client.release(rig.spaces + "/s", "r") ==
              fmt::format("1/51 internal error: owner {} does not hold the resource lock", k_nobody + 1));
    cr_assert(other.register_owner(k_nobody) == "ok");
    cr_assert(other.release(rig.spaces + "/s", "r") == "ok", "an owner may have several connections");
}

Test(locker_calls, lock_spaces_are_made_once_with_their_directories) {
    Rig rig;
    Client client(rig);
    const std::string path = rig.spaces + "/a/b/c";
    cr_assert(client.register_owner(k_nobody) == "ok");
    cr_assert(client.open_new("") ==
              "55/7 Requested operation is not valid: the default lockspace already exists");
    cr_assert(client.open_new(path) == "ok");
    struct stat about {};
    cr_assert(stat((rig.spaces + "/a").c_str(), &about) == 0 && (about.st_mode & 0777) == 0700);
    cr_assert(client.open_new(path) == "1/7 internal error: Lockspace for path " + path + " already exists");
    cr_assert(client.open_space(path) == "ok");
    cr_assert(client.open_space(rig.spaces) == "ok", "a configured directory may be one itself");
    cr_assert_eq(rig.holder.things.size(), 2);
}

Test(locker_calls, lock_spaces_are_beneath_configured_directories_only) {
    Rig rig;
    Client client(rig);
    for (const std::string& path :
         {std::string("/etc"), std::string("relative"), rig.spaces + "x", rig.direct})
        cr_assert(begins(client.open_space(path), "29/7 operation forbidden"), "%s", path.c_str());
    cr_assert(begins(client.open_space(rig.spaces + "/../direct/x"), "38/51 Unable to open lock space"));
    cr_assert(!exists(rig.direct + "/x"));
    cr_assert_eq(symlink(rig.direct.c_str(), (rig.spaces + "/link").c_str()), 0);
    for (const char* end : {"/link", "/link/x"}) {
        const std::string answer = client.open_space(rig.spaces + end);
        cr_assert(begins(answer, "38/51 ") && answer.find("symbolic link") != std::string::npos, "%s",
                  answer.c_str());
    }
    cr_assert(!exists(rig.direct + "/x"));
    write_file(rig.spaces + "/file");
    cr_assert(begins(client.open_space(rig.spaces + "/file"), "38/51 "));
    cr_assert(begins(client.open_space(rig.spaces + "/" + std::string(300, 'n')), "38/51 "));
    cr_assert(begins(client.open_space(rig.spaces + "/" + std::string(5000, 'n')), "38/51 "));
    cr_assert(rig.holder.things.empty());
}

Test(locker_calls, names_lead_nowhere_but_into_their_lock_space) {
    Rig rig;
    Client client(rig);
    const std::string path = rig.spaces + "/s";
    cr_assert(client.register_owner(k_nobody) == "ok" && client.open_space(path) == "ok");
    for (const std::string& name :
         {std::string(), std::string("."), std::string(".."), std::string("../x"), std::string("a/b"),
          rig.direct + "/x", std::string("/"), std::string(256, 'n'), std::string(4000, 'n')}) {
        const std::string part = name.substr(0, 20);
        cr_assert(begins(client.acquire(path, name, k_auto), "38/51 Unable to open resource"), "%s",
                  part.c_str());
        cr_assert(begins(client.create(path, name), "38/51 "), "%s", part.c_str());
        cr_assert(begins(client.remove(path, name), "38/51 "), "%s", part.c_str());
        cr_assert(begins(client.release(path, name), "87/51 "), "%s", part.c_str());
    }
    cr_assert(!exists(rig.spaces + "/x") && !exists(rig.direct + "/x"));
    cr_assert(client.acquire(path, std::string(255, 'n'), k_auto) == "ok");
    cr_assert_eq(symlink("/etc/passwd", (path + "/link").c_str()), 0);
    const std::string answer = client.acquire(path, "link");
    cr_assert(answer.find("a symbolic link is in the path") != std::string::npos, "%s", answer.c_str());
    cr_assert(begins(client.acquire(path, "link", k_auto), "38/51 "));
    cr_assert_eq(mkfifo((path + "/fifo").c_str(), 0600), 0);
    cr_assert(begins(client.acquire(path, "fifo"), "38/51 "));
    cr_assert_eq(mkdir((path + "/directory").c_str(), 0700), 0);
    cr_assert(begins(client.acquire(path, "directory"), "38/51 "));
    cr_assert(begins(client.remove(path, "directory"), "38/51 ") && exists(path + "/directory"));
}

Test(locker_calls, shared_and_exclusive) {
    Rig rig;
    Client one(rig), two(rig);
    const std::string path = rig.spaces + "/s";
    cr_assert(one.open_space(path) == "ok");
    cr_assert(one.register_owner(k_nobody) == "ok" && two.register_owner(k_nobody + 1) == "ok");
    cr_assert(one.create(path, "r") == "ok");
    cr_assert(one.acquire(path, "r") == "ok" && !is_free(path + "/r"));
    for (const std::uint32_t flags : {0U, k_shared, k_auto, k_auto | k_shared}) {
        cr_assert(two.acquire(path, "r", flags) == busy("r"));
        cr_assert(one.acquire(path, "r", flags) == busy("r"));
    }
    all_are({two.create(path, "r"), two.remove(path, "r")}, busy("r"));
    cr_assert(one.release(path, "r") == "ok" && is_free(path + "/r"));
    cr_assert(one.release(path, "r") == "87/51 resource busy: Lockspace resource 'r' is not locked");
    cr_assert(exists(path + "/r"), "it was not made for the lock");

    cr_assert(one.acquire(path, "r", k_shared) == "ok" && two.acquire(path, "r", k_shared) == "ok");
    cr_assert(two.acquire(path, "r", k_shared) == "ok", "once more for the same owner");
    cr_assert(one.acquire(path, "r") == busy("r"));
    cr_assert(one.release(path, "r") == "ok" && !is_free(path + "/r"));
    cr_assert(begins(one.release(path, "r"), "1/51 "));
    cr_assert(two.release(path, "r") == "ok" && !is_free(path + "/r"));
    cr_assert(two.release(path, "r") == "ok" && is_free(path + "/r"));
    cr_assert(one.remove(path, "r") == "ok" && !exists(path + "/r"));
    cr_assert(one.remove(path, "r") == "ok", "what is not there is removed");
    cr_assert_eq(rig.holder.things.size(), 1, "the lock space");
}

Test(locker_calls, what_was_made_for_a_lock_goes_with_it) {
    Rig rig;
    Client one(rig), two(rig);
    const std::string path = rig.spaces;
    cr_assert(one.open_space(path) == "ok");
    cr_assert(one.register_owner(k_nobody) == "ok" && two.register_owner(k_nobody + 1) == "ok");
    cr_assert(begins(one.acquire(path, "r"), "38/51 Unable to open resource"));
    cr_assert(one.acquire(path, "r", k_auto) == "ok");
    cr_assert(one.release(path, "r") == "ok" && !exists(path + "/r"));
    cr_assert(one.acquire(path, "r", k_auto | k_shared) == "ok" && two.acquire(path, "r", k_shared) == "ok");
    cr_assert(one.release(path, "r") == "ok" && exists(path + "/r"));
    cr_assert(two.release(path, "r") == "ok" && !exists(path + "/r"), "the flags of the first one count");
    // Another host has it, too.
    cr_assert(one.acquire(path, "r", k_auto | k_shared) == "ok");
    const UniqueFd elsewhere{open((path + "/r").c_str(), O_RDWR | O_CLOEXEC)};
    struct flock wanted {};
    wanted.l_type = F_RDLCK;
    wanted.l_len = 1;
    cr_assert_eq(fcntl(elsewhere.get(), F_OFD_SETLK, &wanted), 0);
    cr_assert(one.release(path, "r") == "ok" && exists(path + "/r"));
    cr_assert(one.acquire(path, "r", k_auto) == busy("r"), "and excludes ours");
    cr_assert(one.remove(path, "r") == busy("r"));
}

Test(locker_calls, what_has_content_is_never_removed) {
    Rig rig;
    Client client(rig);
    const std::string disk = rig.direct + "/disk";
    write_file(disk, "somebody's data");
    cr_assert(client.register_owner(k_nobody) == "ok");
    cr_assert(client.acquire("", disk, k_auto) == "ok" && client.release("", disk) == "ok" && exists(disk));
    cr_assert(begins(client.remove("", disk), "29/51 ") && exists(disk));
}

Test(locker_calls, direct_names_are_files_beneath_configured_directories) {
    Rig rig;
    Client client(rig);
    std::filesystem::create_directories(rig.direct + "/pool/deep");
    write_file(rig.direct + "/pool/deep/disk", "data");
    write_file(rig.directory.at("outside"), "data");
    cr_assert(client.register_owner(k_nobody) == "ok");
    cr_assert(client.acquire("", rig.direct + "/pool/deep/disk") == "ok");
    cr_assert(!is_free(rig.direct + "/pool/deep/disk"));
    cr_assert(client.acquire("", rig.direct + "/pool//deep/disk") == busy(rig.direct + "/pool//deep/disk"),
              "another spelling is the same file");
    for (const std::string& name :
         {std::string(), std::string("disk"), rig.directory.at("outside"), rig.direct, rig.direct + "/",
          rig.direct + "x/disk", std::string("/etc/passwd")})
        cr_assert(begins(client.acquire("", name), "29/51 operation forbidden"), "%s", name.c_str());
    for (const char* end :
         {"/../outside", "/pool/../../outside", "/pool/..", "/missing", "/pool/missing/x", "/pool"})
        cr_assert(begins(client.acquire("", rig.direct + end), "38/51 "), "%s", end);
    cr_assert_eq(symlink(rig.directory.at("outside").c_str(), (rig.direct + "/link").c_str()), 0);
    cr_assert_eq(symlink((rig.direct + "/pool").c_str(), (rig.direct + "/way").c_str()), 0);
    for (const char* end : {"/link", "/way/deep/disk"}) {
        const std::string answer = client.acquire("", rig.direct + end);
        cr_assert(answer.find("a symbolic link is in the path") != std::string::npos, "%s", answer.c_str());
    }
    cr_assert(is_free(rig.directory.at("outside")));
}

Test(locker_calls, the_file_that_is_locked_is_the_one_that_the_name_leads_to) {
    const Directory directory;
    const UniqueFd opened{open(directory.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    const FilePlace place{.directory = opened.get(), .name = "r", .path = directory.at("r"), .resource = "r"};
    // Another host takes and removes the file by the same rules, all the time.
    std::atomic<bool> is_over = false;
    std::thread other([&] {
        while (!is_over)
            if (auto taken = take_lock(place, false, true)) give_back(std::move(taken->file), place, true);
    });
    int taken_times = 0;
    for (int i = 0; i < 5'000; ++i) {
        auto taken = take_lock(place, false, true);
        if (!taken) continue;
        ++taken_times;
        struct stat there {};
        const bool is_there = stat(place.path.c_str(), &there) == 0;
        const bool is_same = is_there && there.st_ino == taken->inode;
        if (!is_same) is_over = true;
        if (!is_same) other.join();
        cr_assert(is_same, "after %d times the lock is on a file that nobody else would find", taken_times);
        give_back(std::move(taken->file), place, true);
    }
    is_over = true;
    other.join();
    cr_assert_gt(taken_times, 50);
}

Test(locker_calls, two_names_of_one_file_exclude_each_other) {
    Rig rig;
    Client client(rig);
    write_file(rig.direct + "/disk", "data");
    cr_assert_eq(link((rig.direct + "/disk").c_str(), (rig.direct + "/other").c_str()), 0);
    cr_assert(client.register_owner(k_nobody) == "ok");
    cr_assert(client.acquire("", rig.direct + "/disk") == "ok");
    cr_assert(client.acquire("", rig.direct + "/other") == busy(rig.direct + "/other"));
}

Test(locker_calls, a_lock_space_whose_directory_was_replaced_says_so) {
    Rig rig;
    Client client(rig);
    const std::string path = rig.spaces + "/s";
    cr_assert(client.register_owner(k_nobody) == "ok" && client.open_new(path) == "ok");
    cr_assert(client.acquire(path, "r", k_auto) == "ok");
    cr_assert_eq(rename(path.c_str(), (path + "-away").c_str()), 0);
    cr_assert_eq(mkdir(path.c_str(), 0700), 0);
    const std::string answer = client.acquire(path, "q", k_auto);
    cr_assert(answer.find("was removed or replaced") != std::string::npos, "%s", answer.c_str());
    cr_assert(client.acquire(path, "r", k_auto) == busy("r"), "nothing is granted twice");
    cr_assert(begins(client.open_new(path), "1/7 "), "it is there as long as something is held in it");
    cr_assert(client.release(path, "r") == "ok");
    cr_assert(is_free(path + "-away/r"));
    cr_assert(client.open_new(path) == "ok", "and can be made anew then");
    cr_assert(client.acquire(path, "q", k_auto) == "ok" && exists(path + "/q"));
    cr_assert_eq(rig.holder.things.size(), 2);
}

Test(locker_calls, many_calls_for_one_resource_wait_for_each_other) {
    Rig rig;
    Client first(rig);
    cr_assert(first.register_owner(k_nobody) == "ok" && first.open_space(rig.spaces) == "ok");
    std::vector<std::unique_ptr<Client>> others;
    for (int i = 0; i < 20; ++i) {
        others.push_back(std::make_unique<Client>(rig));
        cr_assert(others.back()->register_owner(k_nobody + 1) == "ok");
    }
    rig.holder.mode = Holder::Mode::stuck;
    cr_assert(first.acquire(rig.spaces, "r", k_auto).empty());
    for (auto& other : others) cr_assert(other->acquire(rig.spaces, "r", k_auto).empty());
    rig.holder.mode = Holder::Mode::at_once;
    cr_assert(first.answer() == "ok");
    for (auto& other : others) cr_assert(other->answer() == busy("r"));
}
