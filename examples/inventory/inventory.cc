// SPDX-License-Identifier: LGPL-2.1-or-later
// inventory - serves inventory.x: started by virtgate-workerd, which programs.d tells of it.
#include "proto/inventory.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <mutex>
#include <sstream>
#include <thread>

#include "libshared/service/service.h"

using namespace virtgate;
using namespace virtgate::proto::inventory;
using service::Answer, service::Caller, service::refuse;

class Inventory {
public:
    explicit Inventory(service::Service& service)
        : file_(service.directories().at(0) + "/items"),
          changed_(service, program(), Procedure::item_changed) {
        std::ifstream file(file_);
        std::string name, tag;
        while (std::getline(file, name, '\t') && std::getline(file, tag)) items_[name] = tag;

        service::Version& newest = service.serve(program());
        newest.answer<&Inventory::list_items>(Procedure::list_items, *this);
        newest.answer<&Inventory::get_item>(Procedure::get_item, *this);
        newest.answer<&Inventory::set_item>(Procedure::set_item, *this);
        newest.answer<&Inventory::features>(Procedure::features, *this);
        newest.work<&Inventory::audit_items>(Procedure::audit_items, *this);
        newest.send<&Inventory::export_items>(Procedure::export_items, *this);
        newest.receive<&Inventory::import_items>(Procedure::import_items, *this);
        newest.answer<&Inventory::watch_items>(Procedure::watch_items, *this);
        newest.answer<&Inventory::unwatch_items>(Procedure::unwatch_items, *this);
        // Clients of the first version are served beside the others.
        service::Version& older = service.serve(v1::program());
        older.answer<&Inventory::list_items>(v1::Procedure::list_items, *this);
        older.answer<&Inventory::get_item>(v1::Procedure::get_item, *this);
        older.answer<&Inventory::set_item>(v1::Procedure::set_item, *this);
    }

private:
    Answer<ItemList> list_items(const Caller&) {
        ItemList list;
        for (const auto& [name, tag] : items_) list.items.push_back({name, tag});
        return list;
    }
    Answer<Item> get_item(const Caller&, const ItemName& asked) {
        const auto found = items_.find(asked.name);
        if (found == items_.end()) return refuse("there is no item called " + asked.name);
        return Item{found->first, found->second};
    }
    Answer<void> set_item(const Caller&, const Item& item) {
        if (item.tag.find('\n') != item.tag.npos)
            return refuse("a tag is one line", rpc::k_code_invalid_argument);
        if (!items_.contains(item.name) && items_.size() >= k_items_max)
            return refuse("there are too many items", rpc::k_code_resource_busy);
        {
            const std::lock_guard lock(mutex_);  // audit_items() runs in threads
            items_[item.name] = item.tag;
        }
        std::ofstream file(file_ + ".new");
        for (const auto& [name, tag] : items_) file << name << '\t' << tag << '\n';
        file.close();
        if (!file || std::rename((file_ + ".new").c_str(), file_.c_str()) != 0) return refuse("cannot write");
        changed_.tell(ItemChangedMsg{.callback_id = 0, .changed = item});
        return {};
    }
    Answer<FeaturesRet> features(const Caller&) { return FeaturesRet{.features = 1}; }

    Answer<AuditRet> audit_items(const Caller&, const AuditArgs& arguments) {
        const auto items = [this] {
            const std::lock_guard lock(mutex_);
            return items_;
        }();
        AuditRet ret;
        for (const auto& [name, tag] : items) {
            std::this_thread::sleep_for(std::chrono::milliseconds(arguments.pause));
            ret.untagged += tag.empty() ? 1 : 0;
        }
        return ret;
    }

    Answer<service::Source> export_items(const Caller&) {
        return [left = items_](MutableBytes room) mutable -> Answer<std::size_t> {
            if (left.empty()) return 0;  // that was all
            const std::string line = left.begin()->first + '\t' + left.begin()->second + '\n';
            left.erase(left.begin());
            std::copy_n(as_bytes(line).begin(), line.size(), room.begin());
            return line.size();
        };
    }
    Answer<service::Sink> import_items(const Caller& caller) {
        const auto text = std::make_shared<std::string>();
        return service::Sink{.take = [text](ByteView bytes) -> Answer<void> {
                                 if (text->size() + bytes.size() > k_import_max) return refuse("too long");
                                 text->append(as_text(bytes));
                                 return {};
                             },
                             .finish = [this, text, caller]() -> Answer<void> {
                                 std::istringstream lines(*text);
                                 std::string name, tag;
                                 while (std::getline(lines, name, '\t') && std::getline(lines, tag))
                                     if (auto set = set_item(caller, {name, tag}); !set) return set;
                                 return {};
                             }};
    }

    Answer<WatchRet> watch_items(const Caller& caller) {
        const auto number = changed_.add(caller);
        if (!number) return tl::unexpected(number.error());
        return WatchRet{.callback_id = *number};
    }
    Answer<void> unwatch_items(const Caller& caller, const UnwatchArgs& arguments) {
        return changed_.remove(caller, arguments.callback_id);
    }

    static constexpr std::size_t k_import_max = std::size_t{1} << 20;
    const std::string file_;
    service::Events changed_;
    std::mutex mutex_;
    std::map<std::string, std::string> items_;  // written in the loop only, and locked then
};

int main(int count, char** words) {
    return service::run(count, words, [](service::Service& service) -> Done {
        if (service.directories().empty()) return system_fault(0, "programs.d gives it no directory");
        static Inventory inventory(service);
        return {};
    });
}
