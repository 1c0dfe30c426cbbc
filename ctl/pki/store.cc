// SPDX-License-Identifier: LGPL-2.1-or-later
// store - the directory of a certificate authority: making it, and what it issues.
#include "ctl/pki/store.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <filesystem>

#include "ctl/files.h"
#include "ctl/pki/lifetime.h"
#include "ctl/pki/names.h"
#include "libshared/base/path_fault.h"

namespace virtgate::ctl::pki {

namespace {

constexpr mode_t k_open_mode = 0755;
constexpr char k_how_to_begin[] = "\"virtgate pki init\" makes one";

Result<Key> load_key(const std::string& path) {
    const Result<std::string> text = read_file(path);
    if (!text) return tl::make_unexpected(text.error());
    Result<Key> key = import_key(*text);
    return key ? std::move(key) : Result<Key>{wrap(key.error(), path)};
}

Result<Certificate> load_certificate(const std::string& path) {
    const Result<std::string> text = read_file(path);
    if (!text) return tl::make_unexpected(text.error());
    Result<Certificate> certificate = import_certificate(*text);
    return certificate ? std::move(certificate) : Result<Certificate>{wrap(certificate.error(), path)};
}

// A refusal that a caller can tell by its number; errno's own words would not help in its text.
tl::unexpected<Error> refuse(int number, std::string text) {
    return tl::make_unexpected(Error{.fault = Fault::system, .number = number, .text = std::move(text)});
}

// What a new certificate has in common with the one that it follows.
Request repeat(Kind kind, const Facts& facts) {
    return {.purpose = purpose_of(kind),
            .organisation = facts.organisation,
            .name = facts.common_name,
            .dns = facts.dns,
            .addresses = facts.addresses,
            .from = 0,
            .until = 0};
}

}  // namespace

std::string Store::parent_path(Kind kind) const { return fmt::format("{}/{}s", directory_, name_of(kind)); }

// A server may be named as it was typed when its certificate was made.
std::string Store::bundle_path(Kind kind, const std::string& name) const {
    std::string common_name = name;
    if (kind == Kind::server)
        if (const Result<ServerNames> names = parse_server_names({name})) common_name = names->common_name;
    return fmt::format("{}/{}", parent_path(kind), directory_name(common_name));
}

std::string Store::aside_path(Kind kind, const Facts& facts) const {
    return fmt::format("{}/old/{}s/{}.{}", directory_, name_of(kind), directory_name(facts.common_name),
                       facts.serial);
}

// The lock is on the directory itself: no file is left behind, and the kernel unlocks when we die.
Done Store::lock() {
    lock_ = UniqueFd{::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!lock_) {
        const int number = errno;
        if (number == ENOENT)
            return refuse(number, fmt::format("there is no authority in {}; {}", directory_, k_how_to_begin));
        return path_fault(number, "cannot open", directory_);
    }
    constexpr timespec k_pause{.tv_sec = 0, .tv_nsec = 100'000'000};
    for (int tries = k_lock_patience * 10; flock(lock_.get(), LOCK_EX | LOCK_NB) < 0; --tries) {
        if (errno != EWOULDBLOCK && errno != EINTR) return path_fault(errno, "cannot lock", directory_);
        if (tries == 0)
            return system_fault(0, fmt::format("another \"virtgate pki\" is at work in {}", directory_));
        nanosleep(&k_pause, nullptr);
    }
    return {};
}

Result<Store> Store::make(const std::string& directory, const Order& order) {
    const std::filesystem::path parent = std::filesystem::path{directory}.parent_path();
    std::error_code failure;
    std::filesystem::create_directories(parent, failure);
    if (failure)
        return system_fault(failure.value(), fmt::format("cannot make the directory {}", parent.native()));
    if (Done done = make_directory(directory, k_open_mode); !done) return tl::make_unexpected(done.error());
    Store store{directory};
    if (Done done = store.lock(); !done) return tl::make_unexpected(done.error());
    if (access((directory + "/ca").c_str(), F_OK) == 0)
        return refuse(EEXIST,
                      fmt::format("{} has an authority already, which is never overwritten", directory));
    remove_leavings(directory);
    if (Done done = store.make_authority(order); !done) return tl::make_unexpected(done.error());
    if (Done done = store.load_authority(true); !done) return tl::make_unexpected(done.error());
    return store;
}

// Key, certificate and list appear together: the directory that has them gets its name last.
Done Store::make_authority(const Order& order) {
    Result<Key> key = generate_key(order.key_type.value_or(KeyType::ecdsa), order.rsa_bits);
    if (!key) return tl::make_unexpected(key.error());
    const Request request{.purpose = Purpose::authority,
                          .organisation = order.organisation,
                          .name = order.common_name,
                          .dns = {},
                          .addresses = {},
                          .from = order.now - k_before,
                          .until = order.now + order.lifetime};
    Result<Certificate> certificate = pki::issue(request, *key, nullptr);
    if (!certificate) return tl::make_unexpected(certificate.error());
    const Result<Pem> key_pem = export_key(*key);
    if (!key_pem) return tl::make_unexpected(key_pem.error());
    const Result<Pem> pem = export_certificate(*certificate);
    if (!pem) return tl::make_unexpected(pem.error());
    const Result<Pem> crl = issue_crl({certificate->get(), key->get()}, {},
                                      static_cast<std::uint64_t>(order.now), request.from, request.until);
    if (!crl) return tl::make_unexpected(crl.error());

    std::string fresh = directory_ + "/.ca.XXXXXX";
    if (mkdtemp(fresh.data()) == nullptr) return path_fault(errno, "cannot make a directory in", directory_);
    Done done = write_new_file(fresh + "/cakey.pem", key_pem->text(), k_key_mode);
    if (done) done = write_new_file(fresh + "/cacert.pem", pem->text(), k_certificate_mode);
    if (done) done = write_new_file(fresh + "/cacrl.pem", crl->text(), k_certificate_mode);
    for (const char* part : {"/issued", "/revoked"})
        if (done) done = make_directory(fresh + part, k_directory_mode);
    if (done) done = sync_directory(fresh);
    if (done) done = move_directory(fresh, directory_ + "/ca");
    if (!done) {
        std::error_code ignored;
        std::filesystem::remove_all(fresh, ignored);
    }
    return done;
}

Done Store::load_authority(bool with_key) {
    Result<std::string> text = read_file(authority_path());
    if (!text && text.error().number == ENOENT)
        return refuse(ENOENT, fmt::format("there is no authority in {}; {}", directory_, k_how_to_begin));
    if (!text) return tl::make_unexpected(text.error());
    pem_ = std::move(*text);
    Result<Certificate> certificate = import_certificate(pem_);
    if (!certificate) return wrap(certificate.error(), authority_path());
    certificate_ = std::move(*certificate);
    facts_ = read_facts(certificate_.get());
    if (!with_key) return {};
    Result<Key> key = load_key(authority_key_path());
    if (!key) return tl::make_unexpected(key.error());
    if (!belong_together(*key, certificate_.get()))
        return system_fault(0,
                            fmt::format("{} is not the key of {}", authority_key_path(), authority_path()));
    key_ = std::move(*key);
    return {};
}

Result<Store> Store::open(const std::string& directory, Access access) {
    Store store{directory};
    const bool writing = access == Access::write;
    if (writing)
        if (Done done = store.lock(); !done) return tl::make_unexpected(done.error());
    if (Done done = store.load_authority(writing); !done) return tl::make_unexpected(done.error());
    if (writing)
        for (const Kind kind : k_kinds) remove_leavings(store.parent_path(kind));
    return store;
}

// A certificate that outlives its authority would fail at a surprising time, so that it never does.
Result<Certificate> Store::record(Request request, const Key& key, bool& cut) {
    cut = request.until > facts_.until;
    request.until = std::min(request.until, facts_.until);
    if (request.until <= request.from + k_before)
        return system_fault(0,
                            fmt::format("the authority in {} has expired, on {}; a new one has to be made in "
                                        "another directory, and clients need its cacert.pem",
                                        directory_, say_time(facts_.until)));
    const Issuer signer = issuer();
    Result<Certificate> certificate = pki::issue(request, key, &signer);
    if (!certificate) return certificate;
    const Result<Pem> pem = export_certificate(*certificate);
    if (!pem) return tl::make_unexpected(pem.error());
    const std::string place = directory_ + "/ca/issued";
    if (Done done = make_directory(place, k_directory_mode); !done) return tl::make_unexpected(done.error());
    const std::string path = fmt::format("{}/{}.pem", place, read_facts(certificate->get()).serial);
    if (Done done = write_new_file(path, pem->text(), k_certificate_mode); !done)
        return tl::make_unexpected(done.error());
    if (Done done = sync_directory(place); !done) return tl::make_unexpected(done.error());
    // As others will read it: GnuTLS does not find everything in an object that it has just put together.
    return import_certificate(pem->text());
}

Result<Issued> Store::issue(Kind kind, const Order& order) {
    const std::string name = directory_name(order.common_name);
    if (name.empty())
        return system_fault(0, fmt::format("\"{}\" cannot be the name of a directory", order.common_name));
    Issued made{
        .facts = {}, .directory = fmt::format("{}/{}", parent_path(kind), name), .cut = {}, .aside = {}};
    if (access(made.directory.c_str(), F_OK) == 0)
        return refuse(EEXIST, fmt::format("{} exists and is never overwritten; \"virtgate pki renew\" "
                                          "prolongs it, \"virtgate pki revoke\" ends it",
                                          made.directory));
    Result<Key> key = generate_key(order.key_type.value_or(facts_.key_type), order.rsa_bits);
    if (!key) return tl::make_unexpected(key.error());
    Result<Certificate> certificate =
        record({.purpose = purpose_of(kind),
                .organisation = order.organisation.empty() ? facts_.organisation : order.organisation,
                .name = order.common_name,
                .dns = order.dns,
                .addresses = order.addresses,
                .from = order.now - k_before,
                .until = order.now + order.lifetime},
               *key, made.cut);
    if (!certificate) return tl::make_unexpected(certificate.error());
    const Result<Pem> key_pem = export_key(*key);
    if (!key_pem) return tl::make_unexpected(key_pem.error());
    const Result<Pem> pem = export_certificate(*certificate);
    if (!pem) return tl::make_unexpected(pem.error());
    made.facts = read_facts(certificate->get());
    const Bundle bundle{kind, key_pem->text(), pem->text(), pem_};
    if (Done done = write_bundle(parent_path(kind), name, bundle); !done)
        return tl::make_unexpected(done.error());
    return made;
}

Result<Issued> Store::renew(Kind kind, const std::string& name, std::time_t now, std::time_t lifetime,
                            bool new_key) {
    const std::string path = bundle_path(kind, name);
    const std::string certificate_path = fmt::format("{}/{}", path, certificate_file(kind));
    const Result<Certificate> before = load_certificate(certificate_path);
    if (!before) return tl::make_unexpected(before.error());
    const Facts facts = read_facts(before->get());
    Result<Key> key = new_key ? generate_key(facts.key_type, Order{}.rsa_bits)
                              : load_key(fmt::format("{}/{}", path, key_file(kind)));
    if (!key) return tl::make_unexpected(key.error());
    if (!new_key && !belong_together(*key, before->get()))
        return system_fault(0, fmt::format("the key in {} does not belong to the certificate beside it; "
                                           "\"--new-key\" makes another",
                                           path));
    Issued made{.facts = {}, .directory = path, .cut = {}, .aside = {}};
    Request request = repeat(kind, facts);
    request.from = now - k_before;
    request.until = now + lifetime;
    Result<Certificate> certificate = record(std::move(request), *key, made.cut);
    if (!certificate) return tl::make_unexpected(certificate.error());
    made.facts = read_facts(certificate->get());
    const Result<Pem> pem = export_certificate(*certificate);
    if (!pem) return tl::make_unexpected(pem.error());
    if (!new_key) {
        if (Done done = replace_file(certificate_path, pem->text(), k_certificate_mode); !done)
            return tl::make_unexpected(done.error());
        return made;
    }
    const Result<Pem> key_pem = export_key(*key);
    if (!key_pem) return tl::make_unexpected(key_pem.error());
    made.aside = aside_path(kind, facts);
    const Bundle bundle{kind, key_pem->text(), pem->text(), pem_};
    if (Done done = exchange_bundle(parent_path(kind), path.substr(path.rfind('/') + 1), bundle, made.aside);
        !done)
        return tl::make_unexpected(done.error());
    return made;
}

}  // namespace virtgate::ctl::pki
