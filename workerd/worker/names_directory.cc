// SPDX-License-Identifier: LGPL-2.1-or-later
// names_directory - the links that keep names true, one for each way to a daemon that sessions use.
#include "workerd/worker/names_directory.h"

#include <algorithm>
#include <iterator>

namespace virtgate::workerd::worker {

std::shared_ptr<NamesLink> NamesDirectory::use(NamesLink::Way way) {
    if (!announces_all(way.uri)) return nullptr;
    std::erase_if(links_, [](const auto& link) { return link.expired(); });
    for (const auto& each : links_)
        if (auto link = each.lock(); link && link->way() == way) return link;
    auto link = std::make_shared<NamesLink>(loop_, scratch_, connector_, timeout_, std::move(way));
    links_.push_back(link);
    return link;
}

std::size_t NamesDirectory::size() const noexcept {
    return static_cast<std::size_t>(
        std::count_if(links_.begin(), links_.end(), [](const auto& link) { return !link.expired(); }));
}

bool announces_all(std::string_view uri) noexcept {
    constexpr std::string_view k_drivers[] = {"qemu:", "lxc:", "network:", "storage:", "secret:"};
    return uri == "test:///default" ||
           std::any_of(std::begin(k_drivers), std::end(k_drivers),
                       [&](std::string_view driver) { return uri.starts_with(driver); });
}

}  // namespace virtgate::workerd::worker
