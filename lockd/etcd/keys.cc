// SPDX-License-Identifier: LGPL-2.1-or-later
// keys - how locks are written down in etcd: a contract between all hosts of a lock space.
#include "lockd/etcd/keys.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "libshared/base/bytes.h"

namespace virtgate::lockd::etcd {

namespace {

constexpr std::size_t k_name_max = 255;
constexpr std::int64_t k_time_max = 253'402'300'799;  // the last second of the year 9999

std::string write_lease(LeaseId lease) { return fmt::format("{:016x}", lease); }

}  // namespace

std::string Keys::held(const std::string& name, bool shared, LeaseId lease) const {
    return prefix_ + "held/" + name + (shared ? "/s/" + write_lease(lease) : "/x");
}

Range Keys::holders(const std::string& name) const { return all_beneath(prefix_ + "held/" + name + "/"); }

Range Keys::all_held() const { return all_beneath(prefix_ + "held/"); }

std::string Keys::settle(LeaseId lease) const { return prefix_ + "settle/" + write_lease(lease); }

std::optional<Keys::Held> Keys::parse(const std::string& key) const {
    const std::string begin = prefix_ + "held/";
    if (!key.starts_with(begin)) return std::nullopt;
    const std::string rest = key.substr(begin.size());
    const std::size_t slash = rest.find('/');
    if (slash == std::string::npos) return std::nullopt;
    Held held{.name = rest.substr(0, slash), .shared = rest.compare(slash, 3, "/s/") == 0};
    if (!is_name(held.name) || (!held.shared && rest.substr(slash) != "/x")) return std::nullopt;
    return held;
}

bool is_name(const std::string& name) noexcept {
    return !name.empty() && name.size() <= k_name_max && name != "." && name != ".." &&
           name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

std::string write_holder(const Holder& holder) {
    return nlohmann::json{{"host", holder.host}, {"attempt", holder.attempt}, {"since", holder.since}}.dump(
        -1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Holder read_holder(const std::string& value) {
    Holder holder{.host = "somebody"};
    const auto words = nlohmann::json::parse(value, nullptr, false);
    if (!words.is_object()) return holder;
    const auto text = [&](const char* name, std::string& to) {
        if (const auto found = words.find(name); found != words.end() && found->is_string()) to = *found;
    };
    text("host", holder.host);
    text("attempt", holder.attempt);
    if (const auto found = words.find("since"); found != words.end() && found->is_number_integer())
        holder.since = *found;
    return holder;
}

std::string describe(const Holder& holder) {
    const std::string host = escape(holder.host);
    if (holder.since <= 0 || holder.since > k_time_max) return fmt::format("held by {}", host);
    // Not the C library's gmtime(): that reads a file.
    using namespace std::chrono;
    const sys_seconds moment{seconds{holder.since}};
    const auto day = floor<days>(moment);
    const year_month_day date{day};
    const hh_mm_ss time{moment - day};
    return fmt::format("held by {} since {:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC", host, int{date.year()},
                       unsigned{date.month()}, unsigned{date.day()}, time.hours().count(),
                       time.minutes().count(), time.seconds().count());
}

}  // namespace virtgate::lockd::etcd
