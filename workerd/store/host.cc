// SPDX-License-Identifier: LGPL-2.1-or-later
// host - what clients may know of the machine.
#include "workerd/store/host.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "workerd/store/xml.h"

namespace virtgate::workerd::store {

namespace {

std::string read_line(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

// The whole of a file of /proc, which is made anew for whoever reads it from the start.
std::istringstream read_again(int file) {
    constexpr std::size_t k_max = 1U << 20;
    std::string text(k_max, '\0');
    std::size_t size = 0;
    while (size < text.size()) {
        const ssize_t n = pread(file, text.data() + size, text.size() - size, static_cast<off_t>(size));
        if (n <= 0) break;
        size += static_cast<std::size_t>(n);
    }
    text.resize(size);
    return std::istringstream(text);
}

unsigned long number_in(const std::string& line) {
    return line.empty() ? 0 : std::strtoul(line.c_str(), nullptr, 10);
}

Host::Processors find_processors() {
    Host::Processors found;
    found.count = static_cast<unsigned>(std::max(sysconf(_SC_NPROCESSORS_ONLN), 1L));
    std::set<std::string> sockets, cores;
    for (unsigned i = 0; i < found.count; ++i) {
        const std::string at = fmt::format("/sys/devices/system/cpu/cpu{}/topology/", i);
        const std::string socket = read_line(at + "physical_package_id");
        sockets.insert(socket);
        cores.insert(socket + "/" + read_line(at + "core_id"));
    }
    const auto socket_count = static_cast<unsigned>(std::max<std::size_t>(sockets.size(), 1));
    const auto core_count = static_cast<unsigned>(std::max<std::size_t>(cores.size(), 1));
    // Machines that are not built evenly have one socket with all of it, as libvirt says it.
    if (core_count % socket_count == 0 && found.count % core_count == 0) {
        found.sockets = socket_count;
        found.cores = core_count / socket_count;
        found.threads = found.count / core_count;
    } else {
        found.cores = found.count;
    }
    std::ifstream cpuinfo("/proc/cpuinfo");
    for (std::string line; std::getline(cpuinfo, line);)
        if (line.starts_with("cpu MHz") && found.mhz == 0)
            found.mhz =
                static_cast<unsigned>(number_in(line.substr(std::min(line.find(':'), line.size() - 1) + 1)));
    return found;
}

}  // namespace

Host::Host()
    : boot_(read_line("/proc/sys/kernel/random/boot_id")),
      processors_(find_processors()),
      stat_(::open("/proc/stat", O_RDONLY | O_CLOEXEC)),
      meminfo_(::open("/proc/meminfo", O_RDONLY | O_CLOEXEC)) {
    utsname names{};
    if (uname(&names) == 0) {
        name_ = names.nodename;
        machine_ = names.machine;
    }
}

std::string Host::write_capabilities() const {
    return fmt::format(
        "<capabilities>\n  <host>\n    <cpu>\n      <arch>{}</arch>\n"
        "      <topology sockets='{}' dies='1' cores='{}' threads='{}'/>\n    </cpu>\n  </host>\n"
        "</capabilities>\n",
        escape_xml(machine_), processors_.sockets, processors_.cores, processors_.threads);
}

std::vector<Host::Figure> Host::memory() const {
    constexpr std::pair<std::string_view, std::string_view> k_names[] = {
        {"MemTotal:", "total"}, {"MemFree:", "free"}, {"Buffers:", "buffers"}, {"Cached:", "cached"}};
    std::vector<Figure> figures;
    std::istringstream text = read_again(meminfo_.get());
    for (std::string line; std::getline(text, line);)
        for (const auto& [theirs, ours] : k_names)
            if (line.starts_with(theirs))
                figures.push_back({std::string(ours), number_in(line.substr(theirs.size()))});
    return figures;
}

Answer<std::vector<Host::Figure>> Host::processor_times(int processor) const {
    const std::string wanted = processor < 0 ? "cpu" : fmt::format("cpu{}", processor);
    const auto tick = 1'000'000'000 / static_cast<std::uint64_t>(std::max(sysconf(_SC_CLK_TCK), 1L));
    std::istringstream text = read_again(stat_.get());
    for (std::string line; std::getline(text, line);) {
        std::istringstream words(line);
        std::string name;
        std::uint64_t user = 0, nice = 0, system = 0, idle = 0, waiting = 0, irq = 0, soft_irq = 0;
        words >> name >> user >> nice >> system >> idle >> waiting >> irq >> soft_irq;
        if (name != wanted) continue;
        return std::vector<Figure>{{"kernel", (system + irq + soft_irq) * tick},
                                   {"user", (user + nice) * tick},
                                   {"idle", idle * tick},
                                   {"iowait", waiting * tick}};
    }
    return refuse(is_bad(fmt::format("there is no processor {}", processor)));
}

}  // namespace virtgate::workerd::store
