// SPDX-License-Identifier: LGPL-2.1-or-later
// broker_house - what the tests of the broker share.
#include "tests/unit/broker_house.h"

#include <criterion/criterion.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

#include "libshared/base/log.h"

namespace virtgate::test {

namespace {

std::vector<std::string> g_lines;

}  // namespace

void catch_logs() {
    set_log_level(Level::debug);
    set_log_sink([](Level, std::string_view line) noexcept { g_lines.emplace_back(line); });
}

bool logged(std::string_view part) {
    return std::any_of(g_lines.begin(), g_lines.end(),
                       [&](const auto& line) { return line.find(part) != line.npos; });
}

Directory::Directory() { cr_assert_not_null(mkdtemp(path_)); }

Directory::~Directory() { std::filesystem::remove_all(path_); }

std::string Directory::script(std::string_view name, std::string_view text) const {
    std::ofstream(*this / name) << "#!/bin/sh\n" << text << "\n";
    cr_assert_eq(chmod((*this / name).c_str(), 0755), 0);
    return *this / name;
}

proto::who::CertificateId certificate_id(std::string_view name) {
    proto::who::CertificateId id{.issuer = {}, .serial = fmt::format("{:x}", name.size())};
    for (std::size_t i = 0; i < name.size(); ++i) id.issuer.at(i) = static_cast<std::byte>(name[i]);
    return id;
}

proto::who::Who client(std::string_view name) {
    proto::who::Who who;
    auto& facts = who.certificate.emplace();
    facts.subject = {{.attribute = "CN", .value = std::string(name)}};
    facts.subject_text = fmt::format("CN={}", name);
    facts.chain = {certificate_id(name), certificate_id("the CA")};
    who.source = "192.0.2.7";
    who.source_port = 4711;
    who.listener = "tls";
    return who;
}

proto::policy::IdentityRights rights_of(std::string_view identity, std::uint64_t generation) {
    return {.generation = generation, .identity = std::string(identity), .grants = {}, .limits = {}};
}

bool is_closed(int fd) {
    std::byte byte;
    return recv(fd, &byte, 1, 0) == 0;
}

}  // namespace virtgate::test
