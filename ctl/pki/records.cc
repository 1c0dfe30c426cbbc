// SPDX-License-Identifier: LGPL-2.1-or-later
// records - the other half of store: what was issued, what was revoked, and the list of the latter.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <set>

#include "ctl/files.h"
#include "ctl/pki/lifetime.h"
#include "ctl/pki/store.h"

namespace virtgate::ctl::pki {

namespace {

using Records = std::vector<std::pair<std::string, Certificate>>;

State state_of(const Facts& facts, std::time_t now) {
    if (now < facts.from) return State::early;
    return now > facts.until ? State::expired : State::valid;
}

// Which of the two a certificate is for; nothing for one that is for neither.
std::optional<Kind> kind_of(const Facts& facts) {
    for (const std::string& purpose : facts.extended_usage.purposes) {
        if (purpose == GNUTLS_KP_TLS_WWW_SERVER) return Kind::server;
        if (purpose == GNUTLS_KP_TLS_WWW_CLIENT) return Kind::client;
    }
    return std::nullopt;
}

std::time_t changed_at(const std::string& path) {
    struct stat found {};
    return stat(path.c_str(), &found) == 0 ? found.st_mtim.tv_sec : 0;
}

bool is_directory(const std::string& path) {
    struct stat found {};
    return stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
}

// Names in a directory, sorted, without those that begin with a dot. A directory that is missing is empty.
Result<std::vector<std::string>> names_in(const std::string& directory) {
    std::vector<std::string> names;
    std::error_code failure;
    for (std::filesystem::directory_iterator entry{directory, failure}, end; !failure && entry != end;
         entry.increment(failure))
        if (!entry->path().filename().native().starts_with('.')) names.push_back(entry->path().filename());
    if (failure && failure.value() != ENOENT)
        return system_fault(failure.value(), fmt::format("cannot look into {}", directory));
    std::sort(names.begin(), names.end());
    return names;
}

// The file of a revoked certificate tells when by its own time.
Done stamp(const std::string& path, std::time_t now) {
    const timespec times[] = {{.tv_sec = now, .tv_nsec = 0}, {.tv_sec = now, .tv_nsec = 0}};
    if (utimensat(AT_FDCWD, path.c_str(), times, 0) == 0) return {};
    return system_fault(errno, fmt::format("cannot set the time of {}", path));
}

}  // namespace

Result<Records> Store::records(const char* which) const {
    const std::string directory = fmt::format("{}/ca/{}", directory_, which);
    const Result<std::vector<std::string>> names = names_in(directory);
    if (!names) return tl::make_unexpected(names.error());
    Records found;
    for (const std::string& name : *names) {
        if (!name.ends_with(".pem")) continue;
        std::string path = fmt::format("{}/{}", directory, name);
        Result<Certificate> certificate = read_certificate(path);
        if (!certificate) return tl::make_unexpected(certificate.error());
        found.emplace_back(std::move(path), std::move(*certificate));
    }
    return found;
}

std::vector<Kind> Store::kinds_of(const std::string& name, bool with_records) const {
    std::vector<Kind> kinds;
    const Result<Records> issued = with_records ? records("issued") : Result<Records>{};
    for (const Kind kind : k_kinds) {
        const std::string path = bundle_path(kind, name);
        bool found = access(path.c_str(), F_OK) == 0;
        for (std::size_t i = 0; issued && !found && i < issued->size(); ++i) {
            const Facts facts = read_facts((*issued)[i].second.get());
            found = kind_of(facts) == kind && bundle_path(kind, facts.common_name) == path;
        }
        if (found) kinds.push_back(kind);
    }
    return kinds;
}

// Certificates that were renewed are valid until they expire, and are meant too.
Result<Store::Revoked> Store::revoke(Kind kind, const std::string& name, std::time_t now) {
    const std::string path = bundle_path(kind, name);
    Result<Records> issued = records("issued");
    if (!issued) return tl::make_unexpected(issued.error());
    const std::string inside = fmt::format("{}/{}", path, certificate_file(kind));
    const bool has_bundle = access(path.c_str(), F_OK) == 0;
    Facts last;
    if (has_bundle) {
        Result<Certificate> certificate = read_certificate(inside);
        if (!certificate) return tl::make_unexpected(certificate.error());
        last = read_facts(certificate->get());
        issued->emplace_back(inside, std::move(*certificate));
    }
    const std::string place = directory_ + "/ca/revoked";
    if (Done done = make_directory(place, k_directory_mode); !done) return tl::make_unexpected(done.error());
    Revoked revoked;
    std::set<std::string> seen;
    for (const auto& [from, certificate] : *issued) {
        Facts facts = read_facts(certificate.get());
        if (now > facts.until || seen.contains(facts.serial)) continue;
        if (from != inside && (kind_of(facts) != kind || bundle_path(kind, facts.common_name) != path))
            continue;
        const std::string to = fmt::format("{}/{}.pem", place, facts.serial);
        const Result<Pem> pem = export_certificate(certificate);
        if (!pem) return tl::make_unexpected(pem.error());
        if (access(to.c_str(), F_OK) != 0) {
            if (Done done = replace_file(to, pem->text(), k_certificate_mode); !done)
                return tl::make_unexpected(done.error());
            if (Done done = stamp(to, now); !done) return tl::make_unexpected(done.error());
        }
        if (from != inside) unlink(from.c_str());
        seen.insert(facts.serial);
        revoked.certificates.push_back(std::move(facts));
    }
    if (revoked.certificates.empty())
        return tl::make_unexpected(Error{
            .fault = Fault::system,
            .number = ENOENT,
            .text =
                fmt::format("no certificate of the {} \"{}\" is valid, so that there is nothing to revoke",
                            name_of(kind), name)});
    if (Done done = write_crl(now, std::nullopt); !done) return tl::make_unexpected(done.error());
    if (has_bundle) {
        revoked.aside = aside_path(kind, last);
        if (Done done = move_directory(path, revoked.aside); !done) return tl::make_unexpected(done.error());
    }
    return revoked;
}

// The number of a list has to grow with each; seconds do, unless two are made in one.
Done Store::write_crl(std::time_t now, std::optional<std::time_t> until) {
    const Result<Records> revoked = records("revoked");
    if (!revoked) return tl::make_unexpected(revoked.error());
    std::vector<Revocation> rows;
    for (const auto& [path, certificate] : *revoked)
        rows.push_back({read_serial(certificate.get()), changed_at(path)});
    auto number = static_cast<std::uint64_t>(now);
    if (const Result<std::string> text = read_file(crl_path())) {
        std::array<unsigned char, 32> digits{};
        std::size_t size = digits.size();
        const Result<Crl> before = import_crl(*text);
        if (before && gnutls_x509_crl_get_number(before->get(), digits.data(), &size, nullptr) >= 0) {
            std::uint64_t last = 0;
            for (std::size_t i = 0; i < size; ++i) last = last << 8 | digits[i];
            number = std::max(number, last + 1);
        }
    }
    const std::time_t end = std::min(until.value_or(facts_.until), facts_.until);
    if (end <= now)
        return system_fault(
            0, fmt::format("the authority in {} has expired, on {}", directory_, say_time(facts_.until)));
    const Result<Pem> pem = issue_crl(issuer(), rows, number, now - k_before, end);
    if (!pem) return tl::make_unexpected(pem.error());
    return replace_file(crl_path(), pem->text(), k_certificate_mode);
}

Result<CrlFacts> Store::read_crl() const {
    const Result<std::string> text = read_file(crl_path());
    if (!text) return tl::make_unexpected(text.error());
    const Result<Crl> crl = import_crl(*text);
    if (!crl) return wrap(crl.error(), crl_path());
    const int count = gnutls_x509_crl_get_crt_count(crl->get());
    return CrlFacts{.from = gnutls_x509_crl_get_this_update(crl->get()),
                    .until = gnutls_x509_crl_get_next_update(crl->get()),
                    .count = static_cast<std::size_t>(std::max(count, 0))};
}

Result<std::vector<std::pair<Kind, std::string>>> Store::bundles() const {
    std::vector<std::pair<Kind, std::string>> found;
    for (const Kind kind : k_kinds) {
        const Result<std::vector<std::string>> names = names_in(parent_path(kind));
        if (!names) return tl::make_unexpected(names.error());
        for (const std::string& name : *names) {
            std::string path = fmt::format("{}/{}", parent_path(kind), name);
            if (is_directory(path)) found.emplace_back(kind, std::move(path));
        }
    }
    return found;
}

Result<std::vector<Entry>> Store::list(std::time_t now) const {
    std::vector<Entry> entries;
    entries.push_back({.kind = "authority",
                       .facts = facts_,
                       .state = state_of(facts_, now),
                       .revoked = 0,
                       .in_use = true,
                       .path = authority_path()});
    std::set<std::string> seen;
    const Result<Records> revoked = records("revoked");
    if (!revoked) return tl::make_unexpected(revoked.error());
    const Result<Records> issued = records("issued");
    if (!issued) return tl::make_unexpected(issued.error());
    for (const auto& [path, certificate] : *revoked) seen.insert(read_facts(certificate.get()).serial);
    const auto found = bundles();
    if (!found) return tl::make_unexpected(found.error());
    for (const auto& [kind, path] : *found) {
        const Result<Certificate> certificate = read_certificate(fmt::format("{}/{}", path, certificate_file(kind)));
        if (!certificate) return tl::make_unexpected(certificate.error());
        Facts facts = read_facts(certificate->get());
        // Between the record and the move a run may have been cut short.
        if (!seen.insert(facts.serial).second) continue;
        const State state = state_of(facts, now);
        entries.push_back({std::string{name_of(kind)}, std::move(facts), state, 0, true, path});
    }
    for (const auto* from : {&*issued, &*revoked}) {
        for (const auto& [path, certificate] : *from) {
            Facts facts = read_facts(certificate.get());
            const bool is_revoked = from == &*revoked;
            if (!is_revoked && seen.contains(facts.serial)) continue;
            const std::optional<Kind> kind = kind_of(facts);
            const State state = is_revoked ? State::revoked : state_of(facts, now);
            entries.push_back({std::string{kind ? name_of(*kind) : "other"}, std::move(facts), state,
                               is_revoked ? changed_at(path) : 0, false, path});
        }
    }
    return entries;
}

}  // namespace virtgate::ctl::pki
