// SPDX-License-Identifier: LGPL-2.1-or-later
// sasl - the client's side of a SASL login, and the encryption that it may bring along.
#include "libshared/client/sasl.h"

#include <fmt/format.h>
#include <sasl/sasl.h>
#include <string.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>

namespace virtgate::client {

namespace {

constexpr const char* k_service = "libvirt";
constexpr unsigned k_strength_max = 100000;
constexpr unsigned k_piece_max = 65536;  // proposed to the server for one encoded piece
constexpr const char* k_file_keys[] = {"authname", "password", "realm", "username"};

// Once in a process, and never undone: other libraries may use it too.
int init_library() {
    static std::once_flag once;
    static int status = SASL_OK;
    std::call_once(once, [] { status = sasl_client_init(nullptr); });
    return status;
}

}  // namespace

struct SaslLogin::Parts {
    Answerer answerer;
    std::string host;
    bool is_secure = false, complete = false;
    std::array<sasl_callback_t, 5> callbacks{};
    // What libsasl2 was given: it keeps pointers.
    std::array<std::string, 4> answers;
    ByteVector secret;
    std::string missing;  // what nobody answered
    struct Dispose {
        void operator()(sasl_conn_t* used_up) const noexcept { sasl_dispose(&used_up); }
    };
    std::unique_ptr<sasl_conn_t, Dispose> connection;
    std::mutex codec;  // encode and decode share error state in libsasl2; held while bytes are encrypted only

    ~Parts() {
        connection.reset();
        for (std::string& answer : answers) explicit_bzero(answer.data(), answer.size());
        explicit_bzero(secret.data(), secret.size());
    }

    bool ask(Ask what, const char* prompt) noexcept {
        try {
            auto answer = answerer ? answerer({what, host, prompt == nullptr ? "" : prompt}) : std::nullopt;
            if (!answer) return false;
            answers[static_cast<std::size_t>(what)] = std::move(*answer);
            return true;
        } catch (...) {
            return false;  // into C no exception may go
        }
    }

    static int on_simple(void* self, int id, const char** result, unsigned* size) noexcept {
        auto& parts = *static_cast<Parts*>(self);
        const Ask what = id == SASL_CB_AUTHNAME ? Ask::name : Ask::act_as;
        // Nobody wants to act as somebody else: libsasl2 takes an empty name for that.
        if (!parts.ask(what, nullptr) && what == Ask::name) {
            parts.missing = "a user name";
            return SASL_FAIL;
        }
        const std::string& answer = parts.answers[static_cast<std::size_t>(what)];
        *result = answer.c_str();
        if (size != nullptr) *size = static_cast<unsigned>(answer.size());
        return SASL_OK;
    }

    static int on_secret(sasl_conn_t*, void* self, int, sasl_secret_t** result) noexcept {
        auto& parts = *static_cast<Parts*>(self);
        if (!parts.ask(Ask::password, nullptr)) {
            parts.missing = "a password";
            return SASL_FAIL;
        }
        const std::string& answer = parts.answers[static_cast<std::size_t>(Ask::password)];
        parts.secret.assign(sizeof(sasl_secret_t) + answer.size(), std::byte{0});
        auto* const secret = new (parts.secret.data()) sasl_secret_t;
        secret->len = answer.size();
        std::memcpy(secret->data, answer.data(), answer.size());
        *result = secret;
        return SASL_OK;
    }

    static int on_realm(void* self, int, const char** offered, const char** result) noexcept {
        auto& parts = *static_cast<Parts*>(self);
        if (parts.ask(Ask::realm, nullptr))
            *result = parts.answers[static_cast<std::size_t>(Ask::realm)].c_str();
        else
            *result = offered != nullptr && *offered != nullptr ? *offered : "";
        return SASL_OK;
    }

    [[nodiscard]] tl::unexpected<Failure> refuse(int status) const {
        if (!missing.empty())
            return fail(Cause::denied, fmt::format("the login needs {}, and there is none", missing));
        const char* detail =
            connection ? sasl_errdetail(connection.get()) : sasl_errstring(status, nullptr, nullptr);
        return fail(Cause::denied, fmt::format("login: {}", escape(detail == nullptr ? "?" : detail)));
    }

    [[nodiscard]] static SaslLogin::Token token_of(const char* data, unsigned size) {
        if (data == nullptr) return std::nullopt;
        const ByteView bytes = as_bytes({data, size});
        return ByteVector(bytes.begin(), bytes.end());
    }
};

// Encodes what is written and decodes what is read.
class SaslChannel final : public Channel {
public:
    SaslChannel(std::unique_ptr<Channel> inner, std::unique_ptr<SaslLogin::Parts> parts, unsigned strength,
                unsigned piece_max)
        : inner_(std::move(inner)), parts_(std::move(parts)), strength_(strength), piece_max_(piece_max) {}

    [[nodiscard]] int fd() const noexcept override { return inner_->fd(); }
    [[nodiscard]] bool is_secure() const noexcept override { return true; }
    [[nodiscard]] unsigned strength() const noexcept override { return strength_; }
    [[nodiscard]] bool has_buffered() const noexcept override {
        return !clear_.empty() || inner_->has_buffered();
    }
    [[nodiscard]] std::string epitaph() override { return inner_->epitaph(); }

    Result<Progress> read(MutableBytes buffer, std::vector<UniqueFd>& fds) override {
        while (clear_.empty()) {
            std::array<std::byte, 16384> coded;
            const auto progress = inner_->read(coded, fds);
            if (!progress || progress->kind != Progress::Kind::moved) return progress;
            const char* out = nullptr;
            unsigned size = 0;
            const std::lock_guard lock(parts_->codec);
            const int status =
                sasl_decode(parts_->connection.get(), as_text({coded.data(), progress->size}).data(),
                            static_cast<unsigned>(progress->size), &out, &size);
            if (status != SASL_OK)
                return fail(Cause::protocol, fmt::format("the encryption of SASL is broken: {}",
                                                         escape(sasl_errdetail(parts_->connection.get()))));
            const ByteView bytes = as_bytes({out, size});
            // A piece that is not complete gives nothing yet.
            clear_.assign(bytes.begin(), bytes.end());
            given_ = 0;
        }
        const std::size_t size = std::min(buffer.size(), clear_.size() - given_);
        std::copy_n(clear_.begin() + static_cast<std::ptrdiff_t>(given_), size, buffer.begin());
        given_ += size;
        if (given_ == clear_.size()) clear_.clear();
        return Progress{Progress::Kind::moved, size};
    }

    Result<Progress> write(ByteView bytes) override {
        if (coded_.empty()) {
            // Encoded once; what the socket does not take stays here, and the clear bytes count when all of
            // it is gone.
            const std::size_t piece = std::min<std::size_t>(bytes.size(), piece_max_);
            const char* out = nullptr;
            unsigned size = 0;
            const std::lock_guard lock(parts_->codec);
            const int status = sasl_encode(parts_->connection.get(), as_text(bytes).data(),
                                           static_cast<unsigned>(piece), &out, &size);
            if (status != SASL_OK)
                return fail(Cause::system,
                            fmt::format("cannot encrypt: {}", sasl_errdetail(parts_->connection.get())));
            const ByteView coded = as_bytes({out, size});
            coded_.assign(coded.begin(), coded.end());
            piece_ = piece;
            sent_ = 0;
        }
        while (sent_ < coded_.size()) {
            const auto progress = inner_->write(ByteView(coded_).subspan(sent_));
            if (!progress || progress->kind != Progress::Kind::moved) return progress;
            sent_ += progress->size;
        }
        coded_.clear();
        return Progress{Progress::Kind::moved, piece_};
    }

private:
    std::unique_ptr<Channel> inner_;
    std::unique_ptr<SaslLogin::Parts> parts_;
    unsigned strength_, piece_max_;
    ByteVector clear_;  // decoded and not read yet, from given_ on
    std::size_t given_ = 0;
    ByteVector coded_;  // encoded and not written yet, from sent_ on
    std::size_t sent_ = 0, piece_ = 0;
};

Answerer answer_from(AuthFile file, Answerer also) {
    return [file = std::make_shared<AuthFile>(std::move(file)),
            also = std::move(also)](const Question& question) -> std::optional<std::string> {
        const auto section = file->find(k_service, question.host);
        if (section && *section != nullptr) {
            const auto found = (*section)->find(k_file_keys[static_cast<std::size_t>(question.what)]);
            if (found != (*section)->end()) return found->second;
            // libvirt's own files have either word for the name that logs in.
            const auto other = (*section)->find("username");
            if (question.what == Ask::name && other != (*section)->end()) return other->second;
        }
        return also ? also(question) : std::nullopt;
    };
}

SaslLogin::SaslLogin(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
SaslLogin::SaslLogin(SaslLogin&&) noexcept = default;
SaslLogin& SaslLogin::operator=(SaslLogin&&) noexcept = default;
SaslLogin::~SaslLogin() = default;

Result<SaslLogin> SaslLogin::make(const Channel& channel, const std::string& host, Answerer answerer) {
    auto parts = std::make_unique<Parts>();
    if (const int status = init_library(); status != SASL_OK)
        return fail(Cause::system,
                    fmt::format("cannot use SASL: {}", sasl_errstring(status, nullptr, nullptr)));
    parts->answerer = std::move(answerer);
    parts->host = host;
    parts->is_secure = channel.is_secure();
    using Untyped = int (*)();
    const auto row = [&parts](unsigned long id, auto* function) {
        // By way of a type that every function pointer may become.
        return sasl_callback_t{id, reinterpret_cast<Untyped>(reinterpret_cast<void (*)()>(function)),
                               parts.get()};
    };
    parts->callbacks = {row(SASL_CB_AUTHNAME, &Parts::on_simple), row(SASL_CB_USER, &Parts::on_simple),
                        row(SASL_CB_PASS, &Parts::on_secret), row(SASL_CB_GETREALM, &Parts::on_realm),
                        sasl_callback_t{SASL_CB_LIST_END, nullptr, nullptr}};
    const EndNames ends = name_ends(channel.fd());
    sasl_conn_t* made = nullptr;
    int status = sasl_client_new(k_service, host.c_str(), ends.local.c_str(), ends.remote.c_str(),
                                 parts->callbacks.data(), SASL_SUCCESS_DATA, &made);
    if (status != SASL_OK) return parts->refuse(status);
    parts->connection.reset(made);
    sasl_security_properties_t wanted{};
    wanted.maxbufsize = k_piece_max;
    if (!parts->is_secure) {
        wanted.min_ssf = k_strength_min;
        wanted.max_ssf = k_strength_max;
        wanted.security_flags = SASL_SEC_NOANONYMOUS | SASL_SEC_NOPLAINTEXT;
    }
    const sasl_ssf_t outside = channel.strength();
    status = sasl_setprop(made, SASL_SEC_PROPS, &wanted);
    if (status == SASL_OK && outside > 0) status = sasl_setprop(made, SASL_SSF_EXTERNAL, &outside);
    if (status != SASL_OK) return parts->refuse(status);
    return SaslLogin(std::move(parts));
}

Result<SaslLogin::Start> SaslLogin::start(const std::string& offered, const std::string& wanted) {
    std::string list = wanted;
    if (wanted.empty()) {
        list = offered;
    } else {
        const std::string all = "," + to_upper(offered) + ",";
        if (all.find("," + to_upper(wanted) + ",") == std::string::npos)
            return fail(Cause::denied, fmt::format("the server does not offer {}, only {}", escape(wanted),
                                                   escape(offered)));
    }
    std::replace(list.begin(), list.end(), ',', ' ');
    const char *out = nullptr, *mechanism = nullptr;
    unsigned size = 0;
    const int status =
        sasl_client_start(parts_->connection.get(), list.c_str(), nullptr, &out, &size, &mechanism);
    if (status == SASL_NOMECH)
        return fail(Cause::denied, fmt::format("no mechanism in common{}; the server offers {}",
                                               parts_->is_secure ? "" : " that encrypts", escape(offered)));
    if (status != SASL_OK && status != SASL_CONTINUE) return parts_->refuse(status);
    parts_->complete = status == SASL_OK;
    return Start{mechanism, Parts::token_of(out, size)};
}

Result<SaslLogin::Token> SaslLogin::step(const Token& from_server) {
    const char* out = nullptr;
    unsigned size = 0;
    const std::string_view in = from_server ? as_text(*from_server) : std::string_view{};
    // An empty token is not the same as none.
    const char* data = from_server ? (in.empty() ? "" : in.data()) : nullptr;
    const int status = sasl_client_step(parts_->connection.get(), data, static_cast<unsigned>(in.size()),
                                        nullptr, &out, &size);
    if (status != SASL_OK && status != SASL_CONTINUE) return parts_->refuse(status);
    parts_->complete = status == SASL_OK;
    return Parts::token_of(out, size);
}

bool SaslLogin::is_complete() const noexcept { return parts_->complete; }

Result<std::unique_ptr<Channel>> SaslLogin::protect(std::unique_ptr<Channel> channel) {
    const void* value = nullptr;
    unsigned strength = 0, piece = k_piece_max;
    if (sasl_getprop(parts_->connection.get(), SASL_SSF, &value) == SASL_OK && value != nullptr)
        strength = *static_cast<const sasl_ssf_t*>(value);
    if (!parts_->is_secure && strength < k_strength_min)
        return fail(Cause::denied, fmt::format("the login encrypts with {} bits only", strength));
    if (strength == 0) return channel;
    if (sasl_getprop(parts_->connection.get(), SASL_MAXOUTBUF, &value) == SASL_OK && value != nullptr)
        piece = *static_cast<const unsigned*>(value);
    if (piece == 0) return fail(Cause::protocol, "the server takes no encrypted data");
    return std::make_unique<SaslChannel>(std::move(channel), std::move(parts_), strength, piece);
}

}  // namespace virtgate::client
