// SPDX-License-Identifier: LGPL-2.1-or-later
// auditor_support - messages to an auditor, and what it wrote.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "proto/audit.h"
#include "workerd/auditor/outlets.h"

namespace virtgate::test {

using workerd::auditor::Moment;
using workerd::auditor::Record;
using Json = nlohmann::ordered_json;

// 2024-11-21T14:02:11.031337Z, until set_time() says otherwise.
[[nodiscard]] Moment test_time() noexcept;
void set_time(Moment moment) noexcept;

// Client alice, with a certificate, from 192.0.2.7, in `session` of `worker`.
[[nodiscard]] proto::audit::ArrivalArgs arrival(std::uint64_t session, std::uint64_t worker);
// DOMAIN_DESTROY of domain db-1.
[[nodiscard]] proto::audit::DecisionArgs allowed(std::uint64_t session, std::uint64_t call);
[[nodiscard]] proto::audit::DecisionArgs refused(std::uint64_t session, std::uint64_t call);
[[nodiscard]] proto::audit::OutcomeArgs outcome(std::uint64_t session, std::uint64_t call,
                                                std::int32_t error = 0);

// Keeps what is written.
class Collector final : public workerd::auditor::Writer {
public:
    void write(const Record& record) noexcept override { records.push_back(record); }
    // The values of `key` in all records of that kind, "-" where it is absent.
    [[nodiscard]] std::vector<std::string> values(std::string_view kind, const char* key) const;

    std::vector<Record> records;
};

// An entry of the journal, read by the rules of its protocol; the test fails if it breaks them.
using Fields = std::vector<std::pair<std::string, std::string>>;
[[nodiscard]] Fields read_entry(std::string_view entry);
// The value of the field; the test fails unless there is exactly one.
[[nodiscard]] std::string field(const Fields& fields, std::string_view name);

// What clients try: every byte that could end a field or a line, or move a terminal's cursor.
[[nodiscard]] const std::vector<std::string>& attacks();

// A directory of its own, removed with all that is in it.
class Scratch {
public:
    Scratch();
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    [[nodiscard]] std::string path(std::string_view name) const {
        return directory_ + "/" + std::string{name};
    }

private:
    std::string directory_;
};

// The whole file; and its lines, each of which has to be JSON.
[[nodiscard]] std::string read_text(const std::string& path);
[[nodiscard]] std::vector<Json> read_records(const std::string& path);

// A bound datagram socket that plays the journal.
class FakeJournal {
public:
    explicit FakeJournal(std::string path);
    ~FakeJournal();
    FakeJournal(const FakeJournal&) = delete;
    FakeJournal& operator=(const FakeJournal&) = delete;

    // The next entry; empty if there is none. One that came in a memory file is read from there, and has to be sealed.
    [[nodiscard]] std::string next();
    [[nodiscard]] bool last_was_file() const noexcept { return last_was_file_; }

private:
    std::string path_;
    int socket_ = -1;
    bool last_was_file_ = false;
};

}  // namespace virtgate::test
