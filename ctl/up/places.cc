// SPDX-License-Identifier: LGPL-2.1-or-later
// places - what lies where in the directory of "virtgate up".
#include "ctl/up/places.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "ctl/files.h"
#include "libshared/base/path_fault.h"

namespace virtgate::ctl::up {

namespace {

// Others may pass through: started as root, the suite's processes have users of their own. What is secret has
// a mode of its own.
constexpr mode_t k_open_mode = 0755;

}  // namespace

Places::Places(const std::string& root)
    : directory(root),
      pki(root + "/pki"),
      pki_client(root + "/pki/client"),
      etc(root + "/etc"),
      netd_toml(root + "/etc/netd.toml"),
      workerd_toml(root + "/etc/workerd.toml"),
      lockd_toml(root + "/etc/lockd.toml"),
      policy_directory(root + "/etc/policy.d"),
      policy_file(root + "/etc/policy.d/10-local.toml"),
      programs_directory(root + "/etc/programs.d"),
      run(root + "/run"),
      broker_socket(root + "/run/broker.sock"),
      notify_socket(root + "/run/notify.sock"),
      local_socket(root + "/run/virtgate-sock"),
      admin_socket(root + "/run/admin-sock"),
      users(root + "/etc/users"),
      restart_toml(root + "/run/netd.toml"),
      lock_socket(root + "/run/lockd.sock"),
      lock_state(root + "/run/lockd"),
      lock_spaces(root + "/lockspaces"),
      pools(root + "/pools"),
      default_pool(root + "/pools/default"),
      store_state(root + "/store"),
      audit_file(root + "/audit.jsonl"),
      ready(root + "/ready") {}

Result<UniqueFd> occupy(const Places& places) {
    constexpr std::size_t k_most = sizeof(sockaddr_un::sun_path) - 1;
    constexpr std::string_view k_read_only = "-ro";  // the other UNIX socket has that behind its name
    const std::size_t longest = places.local_socket.size() + k_read_only.size();
    if (longest > k_most)
        return system_fault(0, fmt::format("the path {} is {} bytes too long for the sockets in it; choose a "
                                           "directory with a shorter path",
                                           places.directory, longest - k_most));
    for (const std::string* path :
         {&places.directory, &places.etc, &places.policy_directory, &places.programs_directory, &places.run,
          &places.lock_spaces, &places.pools})
        if (Done done = make_directory(*path, k_open_mode); !done) return tl::make_unexpected(done.error());

    // The directory itself is locked: there is no lock file to be left behind, and the kernel unlocks at our
    // death.
    UniqueFd lock{open(places.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!lock) return path_fault(errno, "cannot open", places.directory);
    if (flock(lock.get(), LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return taken(fmt::format("another \"virtgate up\" runs in {}", places.directory));
        return path_fault(errno, "cannot lock", places.directory);
    }
    if (unlink(places.ready.c_str()) < 0 && errno != ENOENT)
        return path_fault(errno, "cannot remove", places.ready);
    return lock;
}

}  // namespace virtgate::ctl::up
