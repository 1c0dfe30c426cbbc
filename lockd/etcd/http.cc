// SPDX-License-Identifier: LGPL-2.1-or-later
// http - POST requests in the loop, many at a time.
//
// libcurl may not be called from within its own callbacks. So those only note what happened, and the users
// are called when curl_multi_socket_action() has returned.
#include "lockd/etcd/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <map>
#include <set>

#include "libshared/base/handle.h"
#include "libshared/base/result.h"

namespace virtgate::lockd::etcd {

using loop::Want;

namespace {

using Easy = std::unique_ptr<CURL, FreeWith<curl_easy_cleanup>>;
using Multi = std::unique_ptr<CURLM, FreeWith<curl_multi_cleanup>>;
using Lines = std::unique_ptr<curl_slist, FreeWith<curl_slist_free_all>>;

constexpr long k_connections_max = 16;    // kept for later
constexpr long k_idle_before_probe = 10;  // s

// Values that libcurl takes are variadic: their types have to be exact. A refusal of an option is our bug.
template <class T>
void set(CURL* easy, CURLoption option, T value) noexcept {
    require(curl_easy_setopt(easy, option, value) == CURLE_OK, "libcurl refuses an option");
}

void set_blob(CURL* easy, CURLoption option, const std::string& text) noexcept {
    if (text.empty()) return;
    curl_blob blob{const_cast<char*>(text.data()), text.size(), CURL_BLOB_NOCOPY};
    set(easy, option, &blob);
}

Lines append(Lines lines, const std::string& line) noexcept {
    curl_slist* const longer = curl_slist_append(lines.get(), line.c_str());
    require(longer != nullptr, "no memory for a header");
    static_cast<void>(lines.release());
    return Lines{longer};
}

}  // namespace

class Http::Engine {
public:
    Engine(loop::Loop& loop, HttpTls tls)
        : loop_(loop), tls_(std::move(tls)), timer_(loop.timer(loop::to<&Engine::on_time>(*this))) {
        require(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK, "libcurl cannot be used");
        multi_.reset(curl_multi_init());
        require(multi_ != nullptr, "no memory for libcurl");
        curl_multi_setopt(multi_.get(), CURLMOPT_SOCKETFUNCTION, &Engine::on_socket_wanted);
        curl_multi_setopt(multi_.get(), CURLMOPT_SOCKETDATA, this);
        curl_multi_setopt(multi_.get(), CURLMOPT_TIMERFUNCTION, &Engine::on_timer_wanted);
        curl_multi_setopt(multi_.get(), CURLMOPT_TIMERDATA, this);
        curl_multi_setopt(multi_.get(), CURLMOPT_MAXCONNECTS, k_connections_max);
    }

    class Transfer;
    void add(Transfer& transfer) noexcept;
    void remove(Transfer& transfer) noexcept;
    [[nodiscard]] const HttpTls& tls() const noexcept { return tls_; }

private:
    struct Socket {
        Engine* engine = nullptr;
        curl_socket_t socket = CURL_SOCKET_BAD;
        std::unique_ptr<loop::Watch> watch{};
        void on_ready(Want ready) noexcept { engine->act(socket, ready); }
    };

    static int on_socket_wanted(CURL*, curl_socket_t socket, int what, void* self, void*) noexcept {
        static_cast<Engine*>(self)->watch(socket, what);
        return 0;
    }
    static int on_timer_wanted(CURLM*, long ms, void* self) noexcept {
        auto& engine = *static_cast<Engine*>(self);
        if (ms < 0)
            engine.timer_->stop();
        else
            engine.timer_->start(Milliseconds{ms});
        return 0;
    }

    void watch(curl_socket_t socket, int what) noexcept {
        if (what == CURL_POLL_REMOVE) {
            // Its watch may be what called us: it goes when that is over.
            if (auto found = sockets_.extract(socket); !found.empty()) {
                found.mapped()->watch->set(Want::nothing);
                gone_.push_back(std::move(found.mapped()));
            }
            return;
        }
        const Want want = what == CURL_POLL_IN    ? Want::read
                          : what == CURL_POLL_OUT ? Want::write
                                                  : Want::both;
        auto& entry = sockets_[socket];
        if (!entry) {
            entry = std::make_unique<Socket>();
            entry->engine = this;
            entry->socket = socket;
            entry->watch = loop_.watch(socket, want, loop::to<&Socket::on_ready>(*entry));
        }
        entry->watch->set(want);
    }

    void on_time() noexcept { act(CURL_SOCKET_TIMEOUT, Want::nothing); }

    void act(curl_socket_t socket, Want ready) noexcept {
        const int bits =
            (has(ready, Want::read) ? CURL_CSELECT_IN : 0) | (has(ready, Want::write) ? CURL_CSELECT_OUT : 0);
        int running = 0;
        curl_multi_socket_action(multi_.get(), socket, bits, &running);
        deliver();
    }

    void deliver() noexcept;

    loop::Loop& loop_;
    const HttpTls tls_;
    std::unique_ptr<loop::Timer> timer_;
    std::map<curl_socket_t, std::unique_ptr<Socket>> sockets_;
    std::vector<std::unique_ptr<Socket>> gone_;
    std::set<Transfer*> transfers_;
    Multi multi_;  // ends first: it calls back

    friend class Transfer;
    std::set<Transfer*> with_body_;  // what came since they were last called
};

// One request.
class Http::Engine::Transfer final : public Http::Exchange {
public:
    Transfer(Engine& engine, HttpRequest request, HttpUser& user)
        : engine_(engine), request_(std::move(request)), user_(user), easy_(curl_easy_init()) {
        require(easy_ != nullptr, "no memory for a request");
        prepare();
        engine_.add(*this);
    }
    ~Transfer() override { engine_.remove(*this); }

    [[nodiscard]] CURL* easy() const noexcept { return easy_.get(); }
    [[nodiscard]] static Transfer& of(CURL* easy) noexcept {
        char* self = nullptr;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &self);
        return *static_cast<Transfer*>(static_cast<void*>(self));
    }

    void tell_body() noexcept {
        long status = 0;
        curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
        if (status == 200) user_.on_body(body_);
    }

    void finish(CURLcode code) noexcept {
        HttpEnd end;
        long sent = 0;
        curl_easy_getinfo(easy_.get(), CURLINFO_REQUEST_SIZE, &sent);
        if (code == CURLE_OK) {
            curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &end.status);
        } else {
            end.not_sent = sent == 0;
            end.error = error_[0] != 0 ? error_ : curl_easy_strerror(code);
        }
        end.body = std::move(body_);
        user_.on_end(std::move(end));
    }

private:
    static std::size_t on_data(char* data, std::size_t, std::size_t size, void* self) noexcept {
        auto& transfer = *static_cast<Transfer*>(self);
        if (transfer.body_.size() + size > transfer.request_.body_max) return 0;
        transfer.body_.append(data, size);
        transfer.engine_.with_body_.insert(&transfer);
        return size;
    }

    void prepare() noexcept {
        CURL* const easy = easy_.get();
        set(easy, CURLOPT_PRIVATE, static_cast<void*>(this));
        set(easy, CURLOPT_URL, request_.url.c_str());
        set(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
        set(easy, CURLOPT_POSTFIELDS, request_.body.data());
        set(easy, CURLOPT_WRITEFUNCTION, &Transfer::on_data);
        set(easy, CURLOPT_WRITEDATA, static_cast<void*>(this));
        set(easy, CURLOPT_ERRORBUFFER, &error_[0]);
        set(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(request_.timeout.count()));
        set(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request_.timeout.count()));
        set(easy, CURLOPT_NOSIGNAL, 1L);
        set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
        set(easy, CURLOPT_FOLLOWLOCATION, 0L);
        set(easy, CURLOPT_PROXY, "");
        set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
        set(easy, CURLOPT_TCP_KEEPALIVE, 1L);
        set(easy, CURLOPT_TCP_KEEPIDLE, k_idle_before_probe);
        set(easy, CURLOPT_TCP_KEEPINTVL, k_idle_before_probe);
        // Only whom we were told of; never what is in the system's directories.
        set(easy, CURLOPT_CAINFO, nullptr);
        set(easy, CURLOPT_CAPATH, nullptr);
        set_blob(easy, CURLOPT_CAINFO_BLOB, engine_.tls().authorities);
        set_blob(easy, CURLOPT_SSLCERT_BLOB, engine_.tls().certificate);
        set_blob(easy, CURLOPT_SSLKEY_BLOB, engine_.tls().key);
        headers_ = append(std::move(headers_), "Content-Type: application/json");
        // Without this, libcurl waits for an agreement before it sends a long body.
        headers_ = append(std::move(headers_), "Expect:");
        if (!request_.authorization.empty())
            headers_ = append(std::move(headers_), "Authorization: " + request_.authorization);
        set(easy, CURLOPT_HTTPHEADER, headers_.get());
        for (const std::string& address : request_.addresses)
            addresses_ = append(std::move(addresses_), address);
        if (addresses_) set(easy, CURLOPT_RESOLVE, addresses_.get());
    }

    Engine& engine_;
    const HttpRequest request_;
    HttpUser& user_;
    Lines headers_, addresses_;
    char error_[CURL_ERROR_SIZE] = {};
    std::string body_;
    Easy easy_;
};

void Http::Engine::add(Transfer& transfer) noexcept {
    transfers_.insert(&transfer);
    require(curl_multi_add_handle(multi_.get(), transfer.easy()) == CURLM_OK, "libcurl refuses a request");
}

void Http::Engine::remove(Transfer& transfer) noexcept {
    if (transfers_.erase(&transfer) != 0) curl_multi_remove_handle(multi_.get(), transfer.easy());
    with_body_.erase(&transfer);
}

// Users may begin and give up any exchange from within: nothing here is kept over a call.
void Http::Engine::deliver() noexcept {
    gone_.clear();
    while (!with_body_.empty()) {
        Transfer& transfer = **with_body_.begin();
        with_body_.erase(with_body_.begin());
        transfer.tell_body();
    }
    int left = 0;
    while (const CURLMsg* const message = curl_multi_info_read(multi_.get(), &left)) {
        if (message->msg != CURLMSG_DONE) continue;
        const CURLcode code = message->data.result;
        Transfer& transfer = Transfer::of(message->easy_handle);
        remove(transfer);
        transfer.finish(code);
    }
}

Http::Http(loop::Loop& loop, HttpTls tls) : engine_(std::make_unique<Engine>(loop, std::move(tls))) {}

Http::~Http() = default;

std::unique_ptr<Http::Exchange> Http::post(HttpRequest request, HttpUser& user) {
    return std::make_unique<Engine::Transfer>(*engine_, std::move(request), user);
}

}  // namespace virtgate::lockd::etcd
