// SPDX-License-Identifier: LGPL-2.1-or-later
// identity_match - why a client is, or is not, an identity of the policy.
#include "ctl/policy/identity_match.h"

#include <algorithm>
#include <functional>

namespace virtgate::ctl::policy {

using proto::policy::ClientTest;
using proto::policy::X509Test;
using proto::who::AlternativeNameKind;
using virtgate::policy::Table;

namespace {

std::string_view key_of(AlternativeNameKind kind) noexcept {
    switch (kind) {
        case AlternativeNameKind::name_dns: return "san_dns";
        case AlternativeNameKind::name_uri: return "san_uri";
        case AlternativeNameKind::name_email: return "san_email";
        case AlternativeNameKind::name_ip: return "san_ip";
    }
    return "alternative name";
}

// One test of several, and how to leave it out.
struct Part {
    std::string name;
    std::function<void(ClientTest&)> drop;
    bool says_who = true;  // and not only how, or from where
};

void add_x509(const X509Test& x509, std::vector<Part>& parts) {
    for (std::size_t i = 0; i < x509.subject.size(); ++i)
        parts.push_back({"x509 " + x509.subject[i].attribute, [i](ClientTest& test) {
                             auto& all = test.certificate->subject;
                             all.erase(all.begin() + static_cast<std::ptrdiff_t>(i));
                         }});
    for (std::size_t i = 0; i < x509.issuer.size(); ++i)
        parts.push_back({"x509 issuer " + x509.issuer[i].attribute, [i](ClientTest& test) {
                             auto& all = test.certificate->issuer;
                             all.erase(all.begin() + static_cast<std::ptrdiff_t>(i));
                         }});
    for (std::size_t i = 0; i < x509.names.size(); ++i)
        parts.push_back({std::string(key_of(x509.names[i].kind)), [i](ClientTest& test) {
                             auto& all = test.certificate->names;
                             all.erase(all.begin() + static_cast<std::ptrdiff_t>(i));
                         }});
    if (!x509.serial.empty())
        parts.push_back({"serial", [](ClientTest& test) { test.certificate->serial.clear(); }});
    if (!x509.fingerprint.empty())
        parts.push_back({"fingerprint", [](ClientTest& test) { test.certificate->fingerprint.clear(); }});
}

std::vector<Part> parts_of(const ClientTest& test) {
    std::vector<Part> parts;
    if (test.certificate) add_x509(*test.certificate, parts);
    if (test.login) {
        parts.push_back({"sasl", [](ClientTest& each) {
                             each.login->name = {proto::policy::MatchKind::match_glob, "*"};
                         }});
        if (!test.login->mechanisms.empty())
            parts.push_back({"mechanism", [](ClientTest& each) { each.login->mechanisms.clear(); }, false});
    }
    if (test.local)
        parts.push_back({"unix", [](ClientTest& each) { each.local = proto::policy::LocalTest{}; }});
    if (!test.sources.empty())
        parts.push_back({"source", [](ClientTest& each) { each.sources.clear(); }, false});
    if (test.tls) parts.push_back({"tls", [](ClientTest& each) { each.tls = false; }, false});
    if (test.certificate_shown)
        parts.push_back({"client_cert", [](ClientTest& each) { each.certificate_shown = false; }, false});
    if (test.strength != 0) parts.push_back({"ssf", [](ClientTest& each) { each.strength = 0; }, false});
    return parts;
}

// The alternative that decides, if there are any.
const ClientTest* passed_alternative(const Table::Rule& rule, const proto::who::Who& who) {
    for (const ClientTest& test : rule.any) {
        Table::Rule one = rule;
        one.any = {test};
        if (virtgate::policy::fulfils(who, one)) return &test;
    }
    return nullptr;
}

// The test without which `who` would pass `rule`, whose alternatives are at most one; empty if there is not
// exactly one.
std::string single_obstacle(const Table::Rule& rule, const proto::who::Who& who) {
    std::vector<std::string> obstacles;
    // Who shares nothing with an identity but the way by which it comes is not nearly that identity.
    int others = 0;
    const auto try_parts = [&](const ClientTest& test, bool in_alternative) {
        for (const Part& part : parts_of(test)) {
            Table::Rule without = rule;
            part.drop(in_alternative ? without.any.front() : without.all);
            if (virtgate::policy::fulfils(who, without))
                obstacles.push_back(part.name);
            else if (part.says_who)
                ++others;
        }
    };
    try_parts(rule.all, false);
    if (!rule.any.empty()) try_parts(rule.any.front(), true);
    return obstacles.size() == 1 && others != 0 ? obstacles.front() : std::string{};
}

}  // namespace

std::vector<std::string> passed_tests(const Table::Rule& rule, const proto::who::Who& who) {
    std::vector<std::string> names;
    for (const Part& part : parts_of(rule.all)) names.push_back(part.name);
    if (const ClientTest* test = passed_alternative(rule, who))
        for (const Part& part : parts_of(*test)) names.push_back(part.name);
    return names;
}

std::vector<AlmostMatch> almost_matches(const Table& table, const proto::who::Who& who) {
    std::vector<AlmostMatch> found;
    for (const Table::Rule& rule : table.rules()) {
        std::string obstacle;
        if (rule.any.empty()) obstacle = single_obstacle(rule, who);
        for (const ClientTest& test : rule.any) {
            if (!obstacle.empty()) break;
            Table::Rule one = rule;
            one.any = {test};
            obstacle = single_obstacle(one, who);
        }
        if (!obstacle.empty()) found.push_back({&rule, std::move(obstacle)});
    }
    return found;
}

}  // namespace virtgate::ctl::policy
