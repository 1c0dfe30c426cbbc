// SPDX-License-Identifier: LGPL-2.1-or-later
// up - "virtgate up": the whole suite on one machine, without systemd and without root.
#include "ctl/up/up.h"

#include <algorithm>
#include <csignal>
#include <ctime>

#include "ctl/pki/throwaway.h"
#include "ctl/programs.h"
#include "ctl/up/configuration.h"
#include "ctl/up/console.h"
#include "ctl/up/places.h"
#include "ctl/up/suite.h"
#include "libshared/spawn/exit.h"
#include "libshared/spawn/self.h"

namespace virtgate::ctl::up {

namespace {

const Log k_log{"up"};

Done prepare_pki(const Options& options, const Places& places) {
    const Result<pki::Throwaway> pki =
        pki::ensure_throwaway(places.pki, options.key_type, std::time(nullptr));
    if (!pki) return tl::make_unexpected(pki.error());
    if (pki->made)
        k_log.info("made an authority, a server and a client certificate in {}; they are valid for 30 days",
                   places.pki);
    else if (pki->key_type != options.key_type)
        k_log.warning(
            "the certificates in {} exist already, with keys of type {}; remove the directory to get others",
            places.pki, pki::name_of(pki->key_type));
    return {};
}

Result<Configuration> prepare_configuration(const Options& options, const Places& places) {
    Result<Configuration> configuration = write_configuration(options, places);
    if (configuration)
        for (const std::string& path : configuration->kept)
            k_log.info("{} was edited and is kept as it is; the options of the command line do not change it",
                       path);
    return configuration;
}

int fail(const Error& error, int status) {
    k_log.error("{}", error.text);
    return spawn::status_of(error, status);
}

}  // namespace

// In this order nothing is started that could not work, and nothing is written before the directory is ours.
int run(const Options& options) {
    log_for_people();
    set_log_level(options.log_level);
    // A client of the demo's output that goes away must not end the suite without its clean-up.
    std::signal(SIGPIPE, SIG_IGN);
    // Of each lock that lockd holds there is a descriptor here, too; and lockd and its children inherit the limit.
    spawn::raise_descriptor_limit();

    const Places places{options.directory};
    const Result<UniqueFd> lock = occupy(places);
    if (!lock) return fail(lock.error(), spawn::k_exit_system);
    const Result<std::string> programs = find_programs();
    if (!programs) return fail(programs.error(), spawn::k_exit_system);
    if (const Done done = prepare_pki(options, places); !done)
        return fail(done.error(), spawn::k_exit_config);
    const Result<Configuration> configuration = prepare_configuration(options, places);
    if (!configuration) return fail(configuration.error(), spawn::k_exit_config);
    Result<NotifySocket> notices = NotifySocket::make(places.notify_socket);
    if (!notices) return fail(notices.error(), spawn::k_exit_system);

    const std::unique_ptr<loop::Loop> loop = loop::make_event_loop();
    const std::vector<std::string>& kept = configuration->kept;
    Suite suite{*loop,
                {.options = options,
                 .places = places,
                 .programs = *programs,
                 .notices = std::move(*notices),
                 .netd_edited = std::find(kept.begin(), kept.end(), places.netd_toml) != kept.end()}};
    return suite.run();
}

}  // namespace virtgate::ctl::up
