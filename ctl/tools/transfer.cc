// SPDX-License-Identifier: LGPL-2.1-or-later
// transfer - volumes to a server and back.
//
// A download goes to FILE.virtgate-partial and gets its name when all of it is on the disk; an upload that
// was interrupted is NAME.virtgate-partial in a pool of virtgate's own store. Both can be gone on with.
#include "ctl/tools/transfer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "ctl/tools/asker.h"
#include "ctl/tools/outcome.h"
#include "ctl/tools/progress.h"
#include "ctl/tools/table.h"
#include "libshared/userdb/crypto.h"

namespace virtgate::ctl::tools {

namespace {

using client::Cause;
using client::Deadline;
using client::Done;

constexpr char k_partial[] = ".virtgate-partial";
constexpr std::size_t k_piece = std::size_t{256} << 10;
constexpr int k_flag_sparse = 1;    // of upload and download
constexpr int k_flag_physical = 1;  // of storage_vol_get_info_flags: bytes of the file itself
constexpr int k_no_such_volume = 50;

// The SHA-256 of what passes, if it is wanted.
class Sum {
public:
    explicit Sum(bool wanted) {
        if (wanted) digester_ = std::make_unique<userdb::Digester>(userdb::Hash::sha256);
    }
    void add(ByteView bytes) {
        if (digester_) digester_->add(bytes);
    }
    void add_zeros(std::uint64_t size) {
        static constexpr std::array<std::byte, 65536> k_zeros{};
        for (; digester_ && size > 0; size -= std::min<std::uint64_t>(size, k_zeros.size()))
            digester_->add(ByteView(k_zeros).first(std::min<std::uint64_t>(size, k_zeros.size())));
    }
    // In hexadecimal digits; empty if none was wanted.
    [[nodiscard]] std::string finish() { return digester_ ? to_hex(digester_->finish()) : std::string(); }

private:
    std::unique_ptr<userdb::Digester> digester_;
};

// POOL/VOLUME. A pool's name has no slash.
std::optional<std::pair<std::string, std::string>> split(const std::string& volume) {
    const std::size_t slash = volume.find('/');
    if (slash == volume.npos || slash == 0 || slash + 1 == volume.size()) return std::nullopt;
    return std::pair(volume.substr(0, slash), volume.substr(slash + 1));
}

class Transfer {
public:
    Transfer(const TransferOrder& order, client::Connection& connection, const reflect::Catalogue& catalogue,
             const Signals& signals)
        : order_(order),
          asker_(connection, catalogue),
          deadline_{.at = Instant::max(), .stop = signals.token()},
          buffer_(k_piece),
          sum_(order.checksum) {}

    Done upload();
    Done download();
    // After one of them: what is to be said.
    void report();

private:
    client::Result<Json> find_pool(const std::string& name);
    client::Result<Json> find_volume(const Json& pool, const std::string& name);
    client::Result<Json> create_volume(const Json& pool, const std::string& name, std::uint64_t size);
    // The bytes that a download of all of it brings; 0 if the server does not say.
    client::Result<std::uint64_t> size_of(const Json& volume);
    client::Result<client::Stream> start(const char* procedure, const Json& volume, std::uint64_t offset,
                                         std::uint64_t length);
    Done find_target(std::uint64_t size, Json& volume, std::uint64_t& begin);
    Done send(client::Stream& stream, int fd, std::uint64_t from, std::uint64_t size, bool is_file);
    Done send_sparse(client::Stream& stream, int fd, std::uint64_t from, std::uint64_t end);
    Done send_data(client::Stream& stream, int fd, std::uint64_t from, std::uint64_t end);
    Done hash_beginning(int fd, std::uint64_t size);
    Done read_back(const Json& pool, const std::string& name, std::uint64_t offset, std::uint64_t length);
    Done receive(client::Stream& stream, int fd, std::uint64_t& position, bool is_file);
    Done write_at(int fd, ByteView bytes, std::uint64_t position, bool is_file);
    Done fetch(const Json& volume, int fd, std::uint64_t begin, bool is_file);

    const TransferOrder& order_;
    Asker asker_;
    Deadline deadline_;
    ByteVector buffer_;
    Sum sum_;
    std::string hash_;
    std::optional<Progress> progress_;
    std::uint64_t moved_ = 0;
    double seconds_ = 0;
};

client::Result<Json> Transfer::find_pool(const std::string& name) {
    auto found = asker_.ask("storage_pool_lookup_by_name", {{"name", name}}, deadline_);
    if (!found) return tl::unexpected(found.error());
    return (*found)["pool"];
}

client::Result<Json> Transfer::find_volume(const Json& pool, const std::string& name) {
    auto found = asker_.ask("storage_vol_lookup_by_name", {{"pool", pool}, {"name", name}}, deadline_);
    if (!found) return tl::unexpected(found.error());
    return (*found)["volume"];
}

// As the text of an element.
std::string xml_text(const std::string& text) {
    std::string out;
    for (const char c : text)
        out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
    return out;
}

client::Result<Json> Transfer::create_volume(const Json& pool, const std::string& name, std::uint64_t size) {
    const std::string xml = fmt::format(
        "<volume><name>{}</name><capacity unit='bytes'>{}</capacity><allocation unit='bytes'>0</allocation>"
        "<target><format type='raw'/></target></volume>",
        xml_text(name), size);
    auto made = asker_.ask("storage_vol_create_xml", {{"pool", pool}, {"xml", xml}, {"flags", 0}}, deadline_);
    if (!made) return tl::unexpected(made.error());
    return (*made)["volume"];
}

client::Result<std::uint64_t> Transfer::size_of(const Json& volume) {
    const auto info =
        asker_.ask("storage_vol_get_info_flags", {{"volume", volume}, {"flags", k_flag_physical}}, deadline_);
    if (info) return (*info)["allocation"].get<std::uint64_t>();
    if (info.error().cause != Cause::remote) return tl::unexpected(info.error());
    return 0;
}

client::Result<client::Stream> Transfer::start(const char* procedure, const Json& volume,
                                               std::uint64_t offset, std::uint64_t length) {
    auto opened = asker_.open_stream(procedure,
                                     {{"volume", volume},
                                      {"offset", offset},
                                      {"length", length},
                                      {"flags", order_.sparse ? k_flag_sparse : 0}},
                                     deadline_);
    if (!opened) return tl::unexpected(opened.error());
    return std::move(opened->stream);
}

// Which volume is written to, and from which byte of the file on.
Done Transfer::find_target(std::uint64_t size, Json& volume, std::uint64_t& begin) {
    const auto [pool_name, name] = *split(order_.volume);
    const auto pool = find_pool(pool_name);
    if (!pool) return tl::unexpected(pool.error());
    begin = 0;
    if (order_.resume) {
        const auto partial = find_volume(*pool, name + k_partial);
        if (!partial && !partial.error().is(k_no_such_volume)) return tl::unexpected(partial.error());
        if (partial) {
            const auto there = size_of(*partial);
            if (!there) return tl::unexpected(there.error());
            if (*there > size)
                return client::fail(Cause::invalid,
                                    fmt::format("{} bytes have arrived already, and {} has only {}", *there,
                                                order_.file, size));
            volume = *partial;
            begin = *there;
            return {};
        }
        static_cast<void>(
            say(fmt::format("there is no {}{} to go on with: all of it is sent", show(name), k_partial), 0));
    }
    auto found = find_volume(*pool, name);
    if (!found && found.error().is(k_no_such_volume) && order_.create)
        found = create_volume(*pool, name, size);
    if (!found) return tl::unexpected(found.error());
    volume = *found;
    return {};
}

Done Transfer::hash_beginning(int fd, std::uint64_t size) {
    for (std::uint64_t at = 0; order_.checksum && at < size;) {
        const ssize_t n = pread(fd, buffer_.data(), std::min<std::uint64_t>(buffer_.size(), size - at),
                                static_cast<off_t>(at));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return client::fail_system(n < 0 ? errno : EIO, fmt::format("cannot read {}", order_.file));
        sum_.add(ByteView(buffer_).first(static_cast<std::size_t>(n)));
        at += static_cast<std::uint64_t>(n);
    }
    return {};
}

// `end` is beyond all of it where the end is not known.
Done Transfer::send_data(client::Stream& stream, int fd, std::uint64_t from, std::uint64_t end) {
    while (from < end) {
        const MutableBytes room =
            MutableBytes(buffer_).first(std::min<std::uint64_t>(buffer_.size(), end - from));
        const auto size = read_some(fd, room, order_.file, deadline_);
        if (!size) return tl::unexpected(size.error());
        if (*size == 0) break;
        const ByteView piece = ByteView(buffer_).first(*size);
        sum_.add(piece);
        if (auto done = stream.write(piece, deadline_); !done) return done;
        from += piece.size();
        progress_->add(piece.size());
    }
    return {};
}

Done Transfer::send_sparse(client::Stream& stream, int fd, std::uint64_t from, std::uint64_t end) {
    while (from < end) {
        const off_t data = lseek(fd, static_cast<off_t>(from), SEEK_DATA);
        // Nothing but a hole up to the end is no data at all.
        if (data < 0 && errno != ENXIO)
            return client::fail_system(errno, fmt::format("cannot find the holes of {}", order_.file));
        const std::uint64_t next = data < 0 ? end : std::min(end, static_cast<std::uint64_t>(data));
        if (next > from) {
            sum_.add_zeros(next - from);
            if (auto done = stream.write_hole(next - from, deadline_); !done) return done;
            progress_->add(next - from);
            from = next;
            continue;
        }
        const off_t hole = lseek(fd, data, SEEK_HOLE);
        if (hole < 0 || lseek(fd, data, SEEK_SET) < 0)
            return client::fail_system(errno, fmt::format("cannot find the holes of {}", order_.file));
        const std::uint64_t stop = std::min(end, static_cast<std::uint64_t>(hole));
        if (auto done = send_data(stream, fd, from, stop); !done) return done;
        from = stop;
    }
    return {};
}

Done Transfer::send(client::Stream& stream, int fd, std::uint64_t from, std::uint64_t size, bool is_file) {
    if (is_file && lseek(fd, static_cast<off_t>(from), SEEK_SET) < 0)
        return client::fail_system(errno, fmt::format("cannot read {}", order_.file));
    auto done =
        order_.sparse && is_file ? send_sparse(stream, fd, from, size) : send_data(stream, fd, from, size);
    if (done) return stream.finish(deadline_);
    // What is wrong at the server matters more than that it does not take any more.
    const auto aborted = stream.abort(Deadline::in(client::k_goodbye));
    return done.error().cause != Cause::cancelled && !aborted && aborted.error().cause == Cause::remote
               ? aborted
               : done;
}

Done Transfer::upload() {
    const bool is_stdin = order_.file == "-";
    UniqueFd file;
    // A named pipe is waited for where a signal can end it.
    if (!is_stdin) file = UniqueFd{::open(order_.file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (!is_stdin && !file) return client::fail_system(errno, fmt::format("cannot open {}", order_.file));
    const int fd = is_stdin ? STDIN_FILENO : file.get();
    struct stat facts {};
    if (fstat(fd, &facts) < 0)
        return client::fail_system(errno, fmt::format("cannot look at {}", order_.file));
    const bool is_file = S_ISREG(facts.st_mode) || S_ISBLK(facts.st_mode);
    std::uint64_t size =
        is_file ? static_cast<std::uint64_t>(std::max<off_t>(0, lseek(fd, 0, SEEK_END))) : UINT64_MAX;
    if (is_file && lseek(fd, 0, SEEK_SET) < 0)
        return client::fail_system(errno, fmt::format("cannot read {}", order_.file));
    if (!is_file && (order_.resume || order_.create))
        return client::fail(Cause::invalid, fmt::format("{} is no file: its size is not known", order_.file));
    if (order_.length > 0) size = std::min(size, order_.length);

    Json volume;
    std::uint64_t begin = 0;
    if (auto done = find_target(size, volume, begin); !done) return done;
    if (auto done = hash_beginning(fd, begin); !done) return done;
    auto stream = start("storage_vol_upload", volume, order_.offset + begin, begin > 0 ? 0 : order_.length);
    if (!stream) return tl::unexpected(stream.error());
    progress_.emplace(show(order_.volume), begin, is_file ? size : 0);
    auto done = send(*stream, fd, begin, size, is_file);
    moved_ = progress_->done() - begin;
    seconds_ = progress_->seconds();
    progress_.reset();
    if (!done) return done;
    hash_ = sum_.finish();
    if (!order_.checksum) return {};
    const auto [pool_name, name] = *split(order_.volume);
    const auto pool = find_pool(pool_name);
    if (!pool) return tl::unexpected(pool.error());
    return read_back(*pool, name, order_.offset, begin + moved_);
}

// What the volume has now, is it what was sent?
Done Transfer::read_back(const Json& pool, const std::string& name, std::uint64_t offset,
                         std::uint64_t length) {
    if (length == 0) return {};
    const auto volume = find_volume(pool, name);
    if (!volume) return tl::unexpected(volume.error());
    auto stream = start("storage_vol_download", *volume, offset, length);
    if (!stream) return tl::unexpected(stream.error());
    Sum sum(true);
    progress_.emplace(show(order_.volume) + ", checking", 0, length);
    auto done = stream->receive_all(
        [&](ByteView piece) -> Done {
            sum.add(piece);
            progress_->add(piece.size());
            return {};
        },
        [&](std::uint64_t hole) -> Done {
            sum.add_zeros(hole);
            progress_->add(hole);
            return {};
        },
        deadline_);
    progress_.reset();
    if (!done) return done;
    if (const std::string there = sum.finish(); there != hash_)
        return client::fail(
            Cause::system,
            fmt::format("the volume has another content than {}: its SHA-256 is {}, and should be {}",
                        order_.file, there, hash_));
    return {};
}

Done Transfer::write_at(int fd, ByteView bytes, std::uint64_t position, bool is_file) {
    while (!bytes.empty()) {
        const ssize_t n = is_file ? pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(position))
                                  : write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return client::fail_system(errno, fmt::format("cannot write {}", order_.file));
        bytes = bytes.subspan(static_cast<std::size_t>(n));
        position += static_cast<std::uint64_t>(n);
    }
    return {};
}

Done Transfer::receive(client::Stream& stream, int fd, std::uint64_t& position, bool is_file) {
    const auto sink = [&](ByteView piece) -> Done {
        sum_.add(piece);
        if (auto done = write_at(fd, piece, position, is_file); !done) return done;
        position += piece.size();
        progress_->add(piece.size());
        return {};
    };
    const auto hole = [&](std::uint64_t size) -> Done {
        sum_.add_zeros(size);
        position += size;
        progress_->add(size);
        return {};
    };
    // Without a file of our own the zero bytes have to be written.
    return is_file ? stream.receive_all(sink, hole, deadline_) : stream.receive_all(sink, {}, deadline_);
}

Done Transfer::fetch(const Json& volume, int fd, std::uint64_t begin, bool is_file) {
    const auto size = size_of(volume);
    if (!size) return tl::unexpected(size.error());
    std::uint64_t wanted = *size > order_.offset ? *size - order_.offset : 0;
    if (order_.length > 0) wanted = order_.length;
    if (*size > 0 && begin > wanted)
        return client::fail(
            Cause::invalid,
            fmt::format("{} bytes have arrived already, and there are only {}", begin, wanted));
    std::uint64_t position = begin;
    if (*size == 0 || begin < wanted) {
        auto stream = start("storage_vol_download", volume, order_.offset + begin,
                            order_.length > 0 ? order_.length - begin : 0);
        if (!stream) return tl::unexpected(stream.error());
        progress_.emplace(show(order_.volume), begin, wanted);
        auto done = receive(*stream, fd, position, is_file);
        moved_ = position - begin;
        seconds_ = progress_->seconds();
        progress_.reset();
        if (!done) return done;
    }
    hash_ = sum_.finish();
    // A hole at the end has not made the file any longer.
    if (is_file && ftruncate(fd, static_cast<off_t>(position)) < 0)
        return client::fail_system(errno, fmt::format("cannot write {}", order_.file));
    return {};
}

Done Transfer::download() {
    const auto [pool_name, name] = *split(order_.volume);
    const auto pool = find_pool(pool_name);
    if (!pool) return tl::unexpected(pool.error());
    const auto volume = find_volume(*pool, name);
    if (!volume) return tl::unexpected(volume.error());
    if (order_.file == "-") return fetch(*volume, STDOUT_FILENO, 0, false);

    const std::string partial = order_.file + k_partial;
    const UniqueFd file{::open(
        partial.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (order_.resume ? 0 : O_TRUNC), 0666)};
    struct stat facts {};
    if (!file || fstat(file.get(), &facts) < 0)
        return client::fail_system(errno, fmt::format("cannot open {}", partial));
    const auto begin = static_cast<std::uint64_t>(facts.st_size);
    if (auto done = hash_beginning(file.get(), begin); !done) return done;
    auto done = fetch(*volume, file.get(), begin, true);
    if (!done) {
        // Nothing that anybody could go on with.
        if (fstat(file.get(), &facts) == 0 && facts.st_size == 0) unlink(partial.c_str());
        return done;
    }
    if (fdatasync(file.get()) < 0 || std::rename(partial.c_str(), order_.file.c_str()) < 0)
        return client::fail_system(errno, fmt::format("cannot make {}", order_.file));
    return {};
}

void Transfer::report() {
    std::FILE* const where = order_.file == "-" ? stderr : stdout;
    if (order_.json) {
        Json summary = {{"volume", order_.volume}, {"bytes", moved_}, {"seconds", seconds_}};
        if (!hash_.empty()) summary["sha256"] = hash_;
        fmt::print(where, "{}\n", reflect::print(summary, reflect::Layout::line));
    } else if (!hash_.empty()) {
        fmt::print(where, "{}  {}\n", hash_, order_.file);
    }
}

int run(const TransferOrder& order, Done (Transfer::*job)(), std::string_view kept) {
    if (!split(order.volume)) return say("a volume is called POOL/VOLUME", spawn::k_exit_usage);
    if (order.resume && (order.offset > 0 || order.length > 0))
        return say("--resume goes on with all of a volume, without --offset and --length",
                   spawn::k_exit_usage);
    Signals signals;
    auto connection = open(order.target, signals.token());
    if (!connection) return fail_with(connection.error());
    const reflect::Catalogue catalogue;
    Transfer transfer(order, *connection, catalogue, signals);
    if (const auto done = (transfer.*job)(); !done) {
        const int status = fail_with(done.error());
        const bool broken_off = done.error().cause == Cause::cancelled || done.error().cause == Cause::closed;
        if (broken_off && !kept.empty()) static_cast<void>(say(kept, status));
        return status;
    }
    transfer.report();
    return 0;
}

}  // namespace

bool parse_size(const std::string& text, std::uint64_t& bytes) {
    const char* const end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data(), end, bytes);
    if (error != std::errc{}) return false;
    if (at == end) return true;
    constexpr std::string_view k_units = "KMGT";
    const std::size_t unit = k_units.find(to_upper(std::string_view(at, 1))[0]);
    if (at + 1 != end || unit == k_units.npos) return false;
    const unsigned shift = 10 * (static_cast<unsigned>(unit) + 1);
    if (bytes > UINT64_MAX >> shift) return false;
    bytes <<= shift;
    return true;
}

int run_upload(const TransferOrder& order) {
    const bool whole = order.offset == 0 && order.length == 0;
    return run(order, &Transfer::upload,
               whole ? "virtgate's own store keeps what has arrived: go on with --resume" : "");
}

int run_download(const TransferOrder& order) {
    if (order.file == "-" && order.resume)
        return say("standard output cannot be gone on with", spawn::k_exit_usage);
    const bool whole = order.offset == 0 && order.length == 0 && order.file != "-";
    return run(
        order, &Transfer::download,
        whole ? fmt::format("what has arrived is in {}{}: go on with --resume", order.file, k_partial) : "");
}

}  // namespace virtgate::ctl::tools
