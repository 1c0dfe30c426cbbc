// SPDX-License-Identifier: LGPL-2.1-or-later
// inventory-client - what one can do with inventory.x.
//
//   inventory-client URI list | get NAME | set NAME TAG | audit MILLISECONDS | export | import | watch COUNT
//   inventory-client URI old-list | old-set NAME TAG      as a client of the first version does it
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "libshared/client/connection.h"
#include "proto/inventory_client.h"

using namespace virtgate;
using namespace virtgate::proto;

namespace {

int report(const client::Failure& failure) {
    fmt::print(stderr, "inventory-client: {}\n", failure.text);
    return 1;
}

template <class List>
int print(const List& list) {
    if (!list) return report(list.error());
    for (const auto& item : list->items) fmt::print("{:20} {}\n", item.name, item.tag);
    return 0;
}

// One line for each change; they come while this thread waits in serve().
int watch(client::Connection& connection, const inventory::Client<client::Caller>& program, int count) {
    const auto subscription = program.on_item_changed([&count](const inventory::ItemChangedMsg& message) {
        fmt::print("{} is now {}\n", message.changed.name, message.changed.tag);
        --count;
    });
    if (!subscription) return report(subscription.error());
    fmt::print("watching\n");
    std::fflush(stdout);
    while (count > 0)
        if (const auto served = connection.serve({}); !served) return report(served.error());
    return 0;
}

int copy_out(const inventory::Client<client::Caller>& program) {
    auto stream = program.export_items();
    if (!stream) return report(stream.error());
    const auto done = stream->receive_all([](ByteView bytes) -> client::Done {
        std::fwrite(bytes.data(), 1, bytes.size(), stdout);
        return {};
    });
    return done ? 0 : report(done.error());
}

int copy_in(const inventory::Client<client::Caller>& program) {
    auto stream = program.import_items();
    if (!stream) return report(stream.error());
    const auto done = stream->send_all([](MutableBytes room) -> client::Result<std::size_t> {
        return std::fread(room.data(), 1, room.size(), stdin);
    });
    return done ? 0 : report(done.error());
}

int run(const std::string& uri, const std::string& order, const std::string& name, const std::string& tag) {
    auto connection = client::Connection::open(uri);
    if (!connection) return report(connection.error());
    const auto program = connection->program<inventory::Client>();
    const auto old = connection->program<inventory::v1::Client>();
    if (order == "list") return print(program.list_items());
    if (order == "old-list") return print(old.list_items());
    if (order == "export") return copy_out(program);
    if (order == "import") return copy_in(program);
    if (order == "watch") return watch(*connection, program, std::atoi(name.c_str()));
    if (order == "get") {
        const auto item = program.get_item({.name = name});
        return item ? (fmt::print("{}\n", item->tag), 0) : report(item.error());
    }
    if (order == "set" || order == "old-set") {
        const auto set = order == "set" ? program.set_item({name, tag}) : old.set_item({name, tag});
        return set ? 0 : report(set.error());
    }
    if (order == "audit") {
        const auto audit =
            program.audit_items({.pause = static_cast<std::uint32_t>(std::atoi(name.c_str()))});
        return audit ? (fmt::print("{} items have no tag\n", audit->untagged), 0) : report(audit.error());
    }
    fmt::print(stderr, "inventory-client: there is no order \"{}\"\n", order);
    return 2;
}

}  // namespace

int main(int count, char** words) {
    if (count < 3) return 2;
    return run(words[1], words[2], count > 3 ? words[3] : "", count > 4 ? words[4] : "");
}
