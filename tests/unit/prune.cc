// SPDX-License-Identifier: LGPL-2.1-or-later
// prune - elements are taken out of valid payloads in place, compared with decode, erase and encode.
#include "proto/prune.h"

#include <criterion/criterion.h>

#include <string>

#include "proto/codec.h"
#include "proto/programs.h"
#include "proto/remote.h"

using namespace virtgate;
namespace remote = virtgate::proto::remote;
using proto::ProcedureInfo;
using proto::remote::Uuid;

namespace {

const proto::Schema& schema() { return proto::remote_program().schema; }

const ProcedureInfo& call(std::string_view name) {
    const ProcedureInfo* info = proto::remote_program().find(name);
    cr_assert_not_null(info, "%s", std::string(name).c_str());
    return *info;
}

Uuid uuid_of(std::string_view name) {
    Uuid uuid{};
    for (std::size_t i = 0; i < name.size(); ++i) uuid[i % 16] ^= static_cast<std::byte>(name[i]);
    return uuid;
}

}  // namespace

Test(prune, takes_any_elements_out) {
    class Mask final : public proto::Keeper {
    public:
        explicit Mask(unsigned mask) : mask_(mask) {}
        bool keeps(ByteView) noexcept override { return (mask_ >> at_++ & 1) != 0; }

    private:
        unsigned mask_;
        int at_ = 0;
    };
    const ProcedureInfo& info = call("connect_list_all_domains");
    remote::ConnectListAllDomainsRet all;
    for (const char* name : {"a", "bb", "ccc", "dddd", "eeeee", "", "ggggggggg"})
        all.domains.push_back({name, uuid_of(name), 7});
    all.result = 99;
    for (unsigned mask = 0; mask < 128; ++mask) {
        ByteVector payload = proto::encode(all).value();
        Mask keeper(mask);
        const proto::Pruned pruned =
            proto::prune(schema(), info.ret, payload, info.returns[0].steps, 1, keeper);
        cr_assert(pruned.ok);
        remote::ConnectListAllDomainsRet expected;
        for (unsigned i = 0; i < 7; ++i)
            if ((mask >> i & 1) != 0) expected.domains.push_back(all.domains[i]);
        expected.result = static_cast<std::uint32_t>(expected.domains.size());
        cr_assert_eq(pruned.kept, expected.result);
        cr_assert_eq(pruned.gone, 7 - expected.result);
        cr_assert_eq(to_hex(ByteView(payload).first(pruned.size)), to_hex(proto::encode(expected).value()));
    }
}

Test(prune, refuses_what_is_no_list) {
    class None final : public proto::Keeper {
    public:
        bool keeps(ByteView) noexcept override { return false; }
    } none;
    const auto prune_at = [&](std::string_view name, ByteVector payload, std::vector<std::uint32_t> steps) {
        return proto::prune(schema(), call(name).ret, payload, steps, proto::layout::k_none, none).ok;
    };
    const std::uint32_t each = proto::layout::k_each;
    const ByteVector domain = proto::encode(remote::DomainLookupByNameRet{{"a", Uuid{}, 1}}).value();
    cr_assert(!prune_at("domain_lookup_by_name", domain, {0}));
    cr_assert(!prune_at("domain_lookup_by_name", domain, {0, each}));
    cr_assert(!prune_at("domain_lookup_by_name", domain, {each}));
    cr_assert(!prune_at("connect_list_all_domains", {}, {0, each}));
    cr_assert(!prune_at("connect_list_all_domains", ByteVector(4, std::byte{0xff}), {0, each}));
    cr_assert(prune_at("connect_list_all_domains", ByteVector(8), {0, each}));
    // A structure whose fields depend on each other.
    const ProcedureInfo& pages = call("node_alloc_pages");
    ByteVector args(24);
    cr_assert(!proto::prune(schema(), pages.args, args, std::vector<std::uint32_t>{0, each},
                            proto::layout::k_none, none)
                   .ok);
}

// Time grows with the list, not with its square.
Test(prune, is_fast_for_the_longest_list, .timeout = 10) {
    class Odd final : public proto::Keeper {
    public:
        bool keeps(ByteView) noexcept override { return (++at_ & 1) != 0; }

    private:
        unsigned at_ = 0;
    };
    remote::ConnectListAllDomainsRet all;
    for (int i = 0; i < 16384; ++i) all.domains.push_back({std::string(100, 'x'), Uuid{}, i});
    const ByteVector payload = proto::encode(all).value();
    const ProcedureInfo& info = call("connect_list_all_domains");
    for (int i = 0; i < 200; ++i) {
        ByteVector copy = payload;
        Odd keeper;
        const proto::Pruned pruned = proto::prune(schema(), info.ret, copy, info.returns[0].steps, 1, keeper);
        cr_assert_eq(pruned.kept, 8192U);
    }
}
