// SPDX-License-Identifier: LGPL-2.1-or-later
// load - the command line of virtgate-load: puts one load on one libvirt server and prints one JSON line.
//
// Exit status: 0 measured, 1 the load failed (the reason is on standard error), 2 wrong usage.
#include <fmt/format.h>
#include <getopt.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "tests/bench/tasks.h"

namespace {

using namespace virtgate;
using namespace virtgate::bench;

constexpr std::string_view k_usage =
    "usage: virtgate-load {calls|connects|idle|upload|download} TARGET [option]...\n"
    "TARGET is unix:PATH or tls:ADDRESS:PORT:PKIDIR (cacert.pem, clientcert.pem, clientkey.pem).\n"
    "  --uri URI           text of CONNECT_OPEN (test:///default)\n"
    "  --connections N     at the same time, in each thread (1)\n"
    "  --depth N           calls in flight on each connection (1)\n"
    "  --threads N         for connects (1)\n"
    "  --seconds S         length of the measured window (1)\n"
    "  --warm-up S         the same load before it, not measured (0.1)\n"
    "  --domain NAME       calls: DOMAIN_GET_XML_DESC of it instead of CONNECT_GET_LIB_VERSION\n"
    "  --coalesce          calls: send all calls that one read made ready in one write\n"
    "  --keepalive         ask the server for keepalive\n"
    "  --pool P --volume V --key K --bytes N   upload, download: the volume and its size\n"
    "  --watch PID         report this process' CPU time too; may be repeated\n";

enum Option : int {
    k_uri = 256,
    k_connections,
    k_depth,
    k_threads,
    k_seconds,
    k_warm_up,
    k_domain,
    k_coalesce,
    k_keepalive,
    k_pool,
    k_volume,
    k_key,
    k_bytes,
    k_watch
};

constexpr std::array<option, 15> k_options{{{"uri", required_argument, nullptr, k_uri},
                                            {"connections", required_argument, nullptr, k_connections},
                                            {"depth", required_argument, nullptr, k_depth},
                                            {"threads", required_argument, nullptr, k_threads},
                                            {"seconds", required_argument, nullptr, k_seconds},
                                            {"warm-up", required_argument, nullptr, k_warm_up},
                                            {"domain", required_argument, nullptr, k_domain},
                                            {"coalesce", no_argument, nullptr, k_coalesce},
                                            {"keepalive", no_argument, nullptr, k_keepalive},
                                            {"pool", required_argument, nullptr, k_pool},
                                            {"volume", required_argument, nullptr, k_volume},
                                            {"key", required_argument, nullptr, k_key},
                                            {"bytes", required_argument, nullptr, k_bytes},
                                            {"watch", required_argument, nullptr, k_watch},
                                            {nullptr, 0, nullptr, 0}}};

std::size_t to_count(const char* text) { return std::strtoul(text, nullptr, 10); }

// False: an unknown option.
bool take_option(int name, Load& load) {
    switch (name) {
        case k_uri: load.options.uri = optarg; return true;
        case k_connections: load.connections = to_count(optarg); return true;
        case k_depth: load.depth = to_count(optarg); return true;
        case k_threads: load.threads = to_count(optarg); return true;
        case k_seconds: load.seconds = std::strtod(optarg, nullptr); return true;
        case k_warm_up: load.warm_up = std::strtod(optarg, nullptr); return true;
        case k_domain: load.domain = optarg; return true;
        case k_coalesce: load.options.coalesce = true; return true;
        case k_keepalive: load.options.keepalive = true; return true;
        case k_pool: load.pool = optarg; return true;
        case k_volume: load.volume = optarg; return true;
        case k_key: load.key = optarg; return true;
        case k_bytes: load.bytes = to_count(optarg); return true;
        case k_watch: load.watched.push_back(static_cast<pid_t>(to_count(optarg))); return true;
        default: return false;
    }
}

Result<std::string> run(std::string_view mode, const Target& target, Load& load) {
    if (mode == "calls") return run_calls(target, load);
    if (mode == "connects") return run_connects(target, load);
    if (mode == "idle") return run_idle(target, load);
    load.upload = mode == "upload";
    return run_stream(target, load);
}

bool is_mode(std::string_view mode) {
    constexpr std::array<std::string_view, 5> modes{"calls", "connects", "idle", "upload", "download"};
    return std::find(modes.begin(), modes.end(), mode) != modes.end();
}

}  // namespace

int main(int argc, char** argv) {
    Load load;
    load.options.uri = "test:///default";
    bool good = true;
    for (int name; (name = ::getopt_long(argc, argv, "", k_options.data(), nullptr)) != -1;)
        good = good && take_option(name, load);
    good = good && argc - optind == 2 && is_mode(argv[optind]) && load.connections > 0 && load.threads > 0 &&
           load.depth > 0 && load.depth <= k_calls_max;
    if (!good) {
        fmt::print(stderr, "{}", k_usage);
        return 2;
    }
    // One descriptor for each connection; the hard limit is the caller's business.
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
    auto target = parse_target(argv[optind + 1]);
    auto report = target ? run(argv[optind], *target, load) : tl::unexpected(target.error());
    if (!report) {
        fmt::print(stderr, "virtgate-load: {}\n", report.error().text);
        return 1;
    }
    fmt::print("{}\n", *report);
    return 0;
}
