// SPDX-License-Identifier: LGPL-2.1-or-later
// auditor_support - messages to an auditor, and what it wrote.
#include "tests/unit/auditor_support.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "libshared/base/fd.h"
#include "proto/remote.h"

namespace virtgate::test {

namespace audit = proto::audit;

namespace {

Moment g_time{std::chrono::microseconds{1'732'197'731'031'337}};

}  // namespace

Moment test_time() noexcept { return g_time; }
void set_time(Moment moment) noexcept { g_time = moment; }

audit::ArrivalArgs arrival(std::uint64_t session, std::uint64_t worker) {
    audit::ArrivalArgs args;
    args.session = session;
    args.worker = worker;
    args.client.certificate.emplace();
    args.client.certificate->subject_text = "CN=alice,O=Acme";
    args.client.certificate->fingerprint.fill(std::byte{0xab});
    args.client.source = "192.0.2.7";
    args.client.source_port = 40'123;
    args.client.listener = "tls";
    args.identity = "alice";
    args.place = {.role = "operator", .file = "20-bindings.toml", .line = 3};
    args.generation = 4;
    return args;
}

audit::DecisionArgs allowed(std::uint64_t session, std::uint64_t call) {
    audit::DecisionArgs args;
    args.session = session;
    args.call = call;
    args.generation = 4;
    args.program = proto::remote::k_program;
    args.version = proto::remote::k_version;
    args.procedure = static_cast<std::uint32_t>(proto::remote::Procedure::domain_destroy);
    args.serial = 9;
    args.verdict = audit::AuditVerdict::verdict_allowed;
    args.objects.push_back({.kind = proto::policy::ObjectKind::object_domain,
                            .name = "db-1",
                            .uuid = std::vector<std::byte>(16, std::byte{0x5a}),
                            .known = true});
    args.place = audit::RulePlace{.role = "operator", .file = "20-bindings.toml", .line = 12};
    args.duration = 17;
    return args;
}

audit::DecisionArgs refused(std::uint64_t session, std::uint64_t call) {
    audit::DecisionArgs args = allowed(session, call);
    args.verdict = audit::AuditVerdict::verdict_refused;
    args.reason = audit::AuditReason::reason_object;
    return args;
}

audit::OutcomeArgs outcome(std::uint64_t session, std::uint64_t call, std::int32_t error) {
    return {.session = session, .call = call, .answered = true, .error = error, .duration = 1'234};
}

std::vector<std::string> Collector::values(std::string_view kind, const char* key) const {
    std::vector<std::string> found;
    for (const Record& record : records) {
        if (record.json.at("record").get_ref<const std::string&>() != kind) continue;
        const auto value = record.json.find(key);
        found.push_back(value == record.json.end() ? "-"
                        : value->is_string()       ? value->get<std::string>()
                                                   : value->dump());
    }
    return found;
}

Fields read_entry(std::string_view entry) {
    Fields fields;
    while (!entry.empty()) {
        const std::size_t end = entry.find_first_of("=\n");
        cr_assert_neq(end, std::string_view::npos, "a field without a value");
        const std::string name{entry.substr(0, end)};
        cr_assert_eq(name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"), std::string::npos,
                     "a field has the name %s", name.c_str());
        cr_assert(!name.empty() && name.size() <= 64 && name[0] != '_');
        const bool is_binary = entry[end] == '\n';
        entry.remove_prefix(end + 1);
        std::uint64_t size = entry.find('\n');
        if (is_binary) {
            cr_assert_geq(entry.size(), sizeof size);
            std::memcpy(&size, entry.data(), sizeof size);  // this machine is little-endian, like the journal
            entry.remove_prefix(sizeof size);
        }
        cr_assert_lt(size, entry.size(), "a value without an end");
        cr_assert_eq(entry[size], '\n');
        fields.emplace_back(name, entry.substr(0, size));
        entry.remove_prefix(size + 1);
    }
    return fields;
}

std::string field(const Fields& fields, std::string_view name) {
    std::vector<std::string> found;
    for (const auto& [key, value] : fields)
        if (key == name) found.push_back(value);
    cr_assert_eq(found.size(), 1, "%zu fields %s", found.size(), std::string{name}.c_str());
    return found.front();
}

const std::vector<std::string>& attacks() {
    static const std::vector<std::string> k_attacks{
        "db\nMESSAGE=root allowed everything",
        "db\nPRIORITY=0\n",
        "db\"},\"verdict\":\"allowed",
        "db\"}\n{\"time\":\"2024-11-21T14:02:11Z\",\"record\":\"call\",\"verdict\":\"allowed\"}",
        "db\x1b[2K\x1b[1Aalice allowed",
        "db\r\x08\x7f\x01",
        "db\xff\xfe\x80 not UTF-8",
        "db\xc3",
        "db\xed\xa0\x80 half a pair",
        "db\xc2\x9b 2K",            // CSI in C1
        "db\xe2\x80\xa8next line",  // U+2028
        "db\xe2\x80\xae"
        "desufer",  // U+202E
        "db\xe2\x81\xa6hidden\xe2\x81\xa9",
        "db: allowed, role admin at 1.toml:1",
        "db\\u000aMESSAGE=x",
        "db\t%s%n{}",
    };
    return k_attacks;
}

Scratch::Scratch() {
    char name[] = "/tmp/virtgate-auditor-XXXXXX";
    cr_assert_not_null(mkdtemp(name));
    directory_ = name;
}

Scratch::~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
}

std::string read_text(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    cr_assert(file.good(), "cannot read %s", path.c_str());
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

std::vector<Json> read_records(const std::string& path) {
    std::vector<Json> records;
    std::istringstream lines(read_text(path));
    for (std::string line; std::getline(lines, line);) {
        records.push_back(Json::parse(line, nullptr, false));
        cr_assert(records.back().is_object(), "not a record: %s", line.c_str());
    }
    return records;
}

FakeJournal::FakeJournal(std::string path) : path_(std::move(path)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    cr_assert_lt(path_.size(), sizeof address.sun_path);
    std::memcpy(address.sun_path, path_.data(), path_.size());
    socket_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    cr_assert_eq(bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
}

FakeJournal::~FakeJournal() {
    close(socket_);
    unlink(path_.c_str());
}

std::string FakeJournal::next() {
    static std::array<char, 1U << 20> buffer;
    iovec part{buffer.data(), buffer.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t size = recvmsg(socket_, &message, MSG_CMSG_CLOEXEC);
    if (size < 0) return {};
    const cmsghdr* head = CMSG_FIRSTHDR(&message);
    last_was_file_ = head != nullptr;
    if (!last_was_file_) return {buffer.data(), static_cast<std::size_t>(size)};
    cr_assert_eq(size, 0, "a descriptor and bytes");
    int fd;
    std::memcpy(&fd, CMSG_DATA(head), sizeof fd);
    const UniqueFd file{fd};
    constexpr int k_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    cr_assert_eq(fcntl(fd, F_GET_SEALS) & k_seals, k_seals);
    std::string text(static_cast<std::size_t>(lseek(fd, 0, SEEK_END)), '\0');
    cr_assert_eq(pread(fd, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    return text;
}

}  // namespace virtgate::test
