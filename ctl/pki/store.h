// SPDX-License-Identifier: LGPL-2.1-or-later
// store - the directory of a certificate authority, with everything that it has issued.
//
//   DIR/ca/cacert.pem        the authority's certificate
//   DIR/ca/cakey.pem         its key
//   DIR/ca/cacrl.pem         the list of revoked certificates
//   DIR/ca/issued/N.pem      each certificate that was issued, by serial number
//   DIR/ca/revoked/N.pem     those that were revoked; the time of the file is when
//   DIR/servers/NAME/        bundles (bundle.h)
//   DIR/clients/NAME/
//   DIR/old/servers/NAME.N/  bundles that were replaced or revoked
//
// A certificate is recorded before anybody can have it, and counts as revoked before the list is written: a
// run that is cut short leaves too many records, never too few, and the next one completes them.
//
// Trust:  the directory belongs to its administrator; what is read from it is checked all the same.
// Limits: one writer at a time, by a lock on DIR; another waits up to k_lock_patience seconds for it.
// Owns:   the lock and the authority's key, as long as it was opened for writing.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ctl/pki/bundle.h"
#include "ctl/pki/certificate.h"
#include "ctl/pki/facts.h"
#include "libshared/base/fd.h"
#include "libshared/base/result.h"

namespace virtgate::ctl::pki {

inline constexpr int k_lock_patience = 10;

// What an authority or a certificate is asked to be.
struct Order {
    std::string common_name;
    std::string organisation;            // empty: none for an authority, the authority's for the others
    std::vector<std::string> dns;        // alternative names of a server
    std::vector<std::string> addresses;  // the same
    std::optional<KeyType> key_type;     // nothing: ecdsa for an authority, the authority's for the others
    unsigned rsa_bits = 3072;            // the size of a key of that kind
    std::time_t now = 0;                 // seconds since 1970; it is valid from k_before before
    std::time_t lifetime = 0;            // seconds; cut where the authority's certificate ends
};

// A certificate that was made.
struct Issued {
    Facts facts;
    std::string directory;  // its bundle
    bool cut = false;       // it ends with the authority, earlier than asked for
    std::string aside;      // where the bundle is that it has replaced; empty if none
};

enum class State : unsigned char { valid, early, expired, revoked };

// A certificate of the store, for a list.
struct Entry {
    std::string kind;  // "authority", "server", "client"
    Facts facts;
    State state{};
    std::time_t revoked = 0;  // when, for a revoked one
    bool in_use = false;      // it lies in a bundle, or is the authority
    std::string path;         // of the bundle, or of the record
};

// The list of revoked certificates as it is on disk.
struct CrlFacts {
    std::time_t from = 0, until = 0;
    std::size_t count = 0;
};

enum class Access : unsigned char { read, write };

class Store {
public:
    // Makes DIR (with mode 0755, if it is missing) and the authority in it, with an empty list of revoked
    // certificates; the store is open for writing. Error: number is EEXIST when it has an authority.
    static Result<Store> make(const std::string& directory, const Order& order);

    // Opens the store; for writing it takes the lock, reads the authority's key, and removes what
    // interrupted runs left. Error: system's fault; number is ENOENT when there is none.
    static Result<Store> open(const std::string& directory, Access access);

    // Makes a key, a certificate and their bundle. Error: number is EEXIST when the bundle exists.
    Result<Issued> issue(Kind kind, const Order& order);

    // Issues the certificate of a bundle anew, for the same names and key, or for a new key of the same kind.
    // With the same key only the file of the certificate changes, in one step; otherwise the bundle.
    Result<Issued> renew(Kind kind, const std::string& name, std::time_t now, std::time_t lifetime,
                         bool new_key);

    struct Revoked {
        std::vector<Facts> certificates;  // all of that name which have not expired
        std::string aside;                // where the bundle is now; empty if there was none
    };
    // Revokes every certificate that was issued for the name and has not expired, writes the list, and moves
    // the bundle out of the way, so that the name is free. Without any it is an error with ENOENT.
    Result<Revoked> revoke(Kind kind, const std::string& name, std::time_t now);

    // Writes the list of revoked certificates. It is in force until `until`; nothing: until the authority's
    // certificate ends.
    Done write_crl(std::time_t now, std::optional<std::time_t> until);

    // The authority first, then servers and clients by name. A bundle that cannot be read is an error.
    [[nodiscard]] Result<std::vector<Entry>> list(std::time_t now) const;
    // The bundles with their paths, servers first, by name; not what is in them.
    [[nodiscard]] Result<std::vector<std::pair<Kind, std::string>>> bundles() const;
    // Error: number is ENOENT when there is no list.
    [[nodiscard]] Result<CrlFacts> read_crl() const;

    // What was issued under that name: bundles, or (`records`) anything not revoked.
    [[nodiscard]] std::vector<Kind> kinds_of(const std::string& name, bool records) const;

    [[nodiscard]] const Facts& authority() const noexcept { return facts_; }
    [[nodiscard]] const std::string& directory() const noexcept { return directory_; }
    [[nodiscard]] std::string authority_path() const { return directory_ + "/ca/cacert.pem"; }
    [[nodiscard]] std::string authority_key_path() const { return directory_ + "/ca/cakey.pem"; }
    [[nodiscard]] std::string crl_path() const { return directory_ + "/ca/cacrl.pem"; }
    // The bundle for a name, whether it exists or not.
    [[nodiscard]] std::string bundle_path(Kind kind, const std::string& name) const;

private:
    explicit Store(std::string directory) : directory_(std::move(directory)) {}

    Done make_authority(const Order& order);
    Done load_authority(bool with_key);
    Done lock();
    [[nodiscard]] Issuer issuer() const noexcept { return {certificate_.get(), key_.get()}; }
    [[nodiscard]] std::string parent_path(Kind kind) const;
    [[nodiscard]] std::string aside_path(Kind kind, const Facts& facts) const;
    // A certificate for `key`, written down in ca/issued.
    Result<Certificate> record(Request request, const Key& key, bool& cut);
    // The certificates in ca/issued or ca/revoked, with their paths.
    [[nodiscard]] Result<std::vector<std::pair<std::string, Certificate>>> records(const char* which) const;

    std::string directory_;
    Certificate certificate_;
    std::string pem_;  // of the authority's certificate
    Facts facts_;
    Key key_;  // none when it was opened for reading
    UniqueFd lock_;
};

}  // namespace virtgate::ctl::pki
