// SPDX-License-Identifier: LGPL-2.1-or-later
// moment - moments as a person writes them, and as records have them.
#include "ctl/audit/moment.h"

#include <fmt/format.h>

#include <charconv>
#include <ctime>

namespace virtgate::ctl::audit {

namespace {

using std::chrono::microseconds;
using std::chrono::seconds;

// Takes what it recognises from the front of a text. After the first mistake nothing is taken any more.
class Scanner {
public:
    explicit Scanner(std::string_view text) : text_(text) {}

    // Exactly `digits` digits, as a number from `least` to `most`.
    int number(std::size_t digits, int least, int most) {
        int value = 0;
        if (!good_ || text_.size() < digits) return fail();
        for (const char c : text_.substr(0, digits)) {
            if (c < '0' || c > '9') return fail();
            value = 10 * value + (c - '0');
        }
        text_.remove_prefix(digits);
        return value < least || value > most ? fail() : value;
    }

    // One of `choices`; NUL if something else is there.
    char one_of(std::string_view choices) {
        if (!good_ || text_.empty() || choices.find(text_.front()) == std::string_view::npos) {
            fail();
            return '\0';
        }
        const char c = text_.front();
        text_.remove_prefix(1);
        return c;
    }

    // A dot and digits, if they are there: parts of a second.
    microseconds fraction() {
        if (!good_ || !text_.starts_with('.')) return {};
        text_.remove_prefix(1);
        std::int64_t value = 0, weight = 100'000;
        if (text_.empty() || text_.front() < '0' || text_.front() > '9') fail();
        for (; !text_.empty() && text_.front() >= '0' && text_.front() <= '9'; text_.remove_prefix(1)) {
            value += weight * (text_.front() - '0');
            weight /= 10;
        }
        return microseconds{value};
    }

    [[nodiscard]] bool at_end() const { return text_.empty(); }
    [[nodiscard]] bool finished() const { return good_ && text_.empty(); }
    [[nodiscard]] bool good() const { return good_; }

private:
    int fail() {
        good_ = false;
        return 0;
    }
    std::string_view text_;
    bool good_ = true;
};

struct Date {
    int year = 0, month = 0, day = 0;
};

Date scan_date(Scanner& scanner) {
    Date date;
    date.year = scanner.number(4, 1970, 9999);
    scanner.one_of("-");
    date.month = scanner.number(2, 1, 12);
    scanner.one_of("-");
    date.day = scanner.number(2, 1, 31);
    return date;
}

bool exists(const Date& date) {
    return std::chrono::year_month_day{std::chrono::year{date.year},
                                       std::chrono::month{static_cast<unsigned>(date.month)},
                                       std::chrono::day{static_cast<unsigned>(date.day)}}
        .ok();
}

struct TimeOfDay {
    int hour = 0, minute = 0, second = 0;
};

// The seconds may be missing unless `strict`. A leap second counts as the one behind it.
TimeOfDay scan_time(Scanner& scanner, bool strict) {
    TimeOfDay time;
    time.hour = scanner.number(2, 0, 23);
    scanner.one_of(":");
    time.minute = scanner.number(2, 0, 59);
    if (!strict && scanner.at_end()) return time;
    scanner.one_of(":");
    time.second = scanner.number(2, 0, 60);
    return time;
}

// A moment in this machine's time zone. The hour that a clock change repeats means the first of both, or the second: the
// C library's choice.
std::optional<Moment> in_zone(const Date& date, const TimeOfDay& time) {
    std::tm fields{};
    fields.tm_year = date.year - 1900;
    fields.tm_mon = date.month - 1;
    fields.tm_mday = date.day;
    fields.tm_hour = time.hour;
    fields.tm_min = time.minute;
    fields.tm_sec = time.second;
    fields.tm_isdst = -1;
    const std::time_t at = std::mktime(&fields);
    if (at == -1) return {};
    return Moment{seconds{at}};
}

std::tm local_fields(Moment moment) {
    const std::time_t at = std::chrono::floor<seconds>(moment).time_since_epoch().count();
    std::tm fields{};
    static_cast<void>(localtime_r(&at, &fields));
    return fields;
}

// "2h": how long ago.
std::optional<seconds> parse_age(std::string_view text) {
    std::int64_t count = 0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), count);
    // A hundred years and more are a mistake, and would not fit.
    constexpr std::int64_t k_most = std::int64_t{100} * 366 * 86'400;
    if (status != std::errc{} || end != text.data() + text.size() - 1 || count < 0 || count > k_most)
        return {};
    const std::int64_t unit = *end == 's'   ? 1
                              : *end == 'm' ? 60
                              : *end == 'h' ? 3'600
                              : *end == 'd' ? 86'400
                              : *end == 'w' ? 604'800
                                            : 0;
    if (unit == 0 || count > k_most / unit) return {};
    return seconds{count * unit};
}

std::optional<Moment> parse_local(std::string_view text, Moment now) {
    const std::tm today = local_fields(now);
    Scanner time_alone(text);
    const TimeOfDay time = scan_time(time_alone, false);
    if (time_alone.finished()) return in_zone({today.tm_year + 1900, today.tm_mon + 1, today.tm_mday}, time);
    Scanner scanner(text);
    const Date date = scan_date(scanner);
    if (!scanner.good() || !exists(date)) return {};
    if (scanner.finished()) return in_zone(date, {});
    scanner.one_of(" T");
    const TimeOfDay then = scan_time(scanner, false);
    return scanner.finished() ? in_zone(date, then) : std::nullopt;
}

}  // namespace

std::optional<Moment> parse_rfc3339(std::string_view text) {
    Scanner scanner(text);
    const Date date = scan_date(scanner);
    scanner.one_of("Tt ");
    const TimeOfDay time = scan_time(scanner, true);
    const microseconds fraction = scanner.fraction();
    const char zone = scanner.one_of("Zz+-");
    std::int64_t east = 0;  // minutes
    if (zone == '+' || zone == '-') {
        const int hours = scanner.number(2, 0, 23);
        scanner.one_of(":");
        east = (60 * hours + scanner.number(2, 0, 59)) * (zone == '+' ? 1 : -1);
    }
    if (!scanner.finished() || !exists(date)) return {};
    const std::chrono::sys_days day{std::chrono::year{date.year} / date.month / date.day};
    return Moment{day} + std::chrono::hours{time.hour} + std::chrono::minutes{time.minute - east} +
           seconds{time.second} + fraction;
}

Result<Moment> parse_moment(std::string_view text, Moment now) {
    if (const auto moment = parse_rfc3339(text)) return *moment;
    if (!text.empty())
        if (const auto age = parse_age(text)) return now - *age;
    if (const auto moment = parse_local(text, now)) return *moment;
    return peer_fault(
        "a time is like 2024-11-21T14:02:11Z, \"2024-11-21 14:02\", 14:02 (today), or 90s, 15m, 2h, 7d, 4w "
        "(ago)");
}

std::string format_moment(Moment moment, Moment now) {
    const std::tm at = local_fields(moment), today = local_fields(now);
    const std::string time = fmt::format("{:02}:{:02}:{:02}", at.tm_hour, at.tm_min, at.tm_sec);
    if (at.tm_year == today.tm_year && at.tm_yday == today.tm_yday) return time;
    return fmt::format("{:04}-{:02}-{:02} {}", at.tm_year + 1900, at.tm_mon + 1, at.tm_mday, time);
}

Moment current_moment() noexcept {
    return std::chrono::floor<microseconds>(std::chrono::system_clock::now());
}

}  // namespace virtgate::ctl::audit
