// SPDX-License-Identifier: LGPL-2.1-or-later
// scrutiny_names - a call whose object's name is known is judged as if the daemon had been asked; and nobody learns from
// that what is hidden from him.
#include <criterion/criterion.h>

#include <map>

#include "tests/unit/scrutiny_rig.h"

using namespace virtgate;
using namespace virtgate::test;

namespace {

// Knows what a test says and what it is told.
class KnownNames final : public Names {
public:
    std::optional<std::string_view> find(ObjectKind kind, const Uuid& which) noexcept override {
        ++looked;
        const auto found = names.find({kind, which});
        return found == names.end() ? std::nullopt : std::optional<std::string_view>(found->second);
    }
    Epoch epoch() noexcept override { return now; }
    void learn(ObjectKind kind, const Uuid& which, std::string_view name, Epoch asked) override {
        ++learnt;
        if (asked == now) names[{kind, which}] = name;
    }
    void know(ObjectKind kind) {
        for (const Uuid& which : {k_mine, k_seen, k_theirs}) names[{kind, which}] = name_of(which);
    }

    Epoch now = 5;
    unsigned looked = 0, learnt = 0;
    std::map<std::pair<ObjectKind, Uuid>, std::string> names{};
};

struct KnowingRig : Rig {
    explicit KnowingRig(std::shared_ptr<const Rights> given = usual_rights()) : Rig(std::move(given)) {
        scrutiny.set_names(&names);
    }
    KnownNames names;
};

struct Case {
    std::string_view procedure;
    ObjectKind kind;
    ByteVector (*args)(std::string_view name, const Uuid& which);
};
constexpr Case k_cases[] = {
    {"domain_destroy", ObjectKind::domain,
     [](std::string_view name, const Uuid& which) {
         return encode(remote::DomainDestroyArgs{domain(name, which)});
     }},
    {"domain_get_state", ObjectKind::domain,
     [](std::string_view name, const Uuid& which) {
         return encode(remote::DomainGetStateArgs{domain(name, which), 0});
     }},
    {"domain_snapshot_delete", ObjectKind::domain,
     [](std::string_view name, const Uuid& which) {
         return encode(remote::DomainSnapshotDeleteArgs{{"part", domain(name, which)}, 0});
     }},
    {"network_destroy", ObjectKind::network,
     [](std::string_view name, const Uuid& which) {
         return encode(remote::NetworkDestroyArgs{{std::string(name), which}});
     }},
    {"network_port_delete", ObjectKind::network,
     [](std::string_view name, const Uuid& which) {
         return encode(remote::NetworkPortDeleteArgs{{{std::string(name), which}, k_nobody}, 0});
     }},
    {"storage_pool_destroy", ObjectKind::pool,
     [](std::string_view name, const Uuid& which) {
         return encode(remote::StoragePoolDestroyArgs{{std::string(name), which}});
     }},
    {"secret_undefine", ObjectKind::secret,
     [](std::string_view name, const Uuid& which) {
         return encode(remote::SecretUndefineArgs{{which, 1, std::string(name)}});
     }},
};

ByteVector destroy(const Uuid& which) { return k_cases[0].args("mine", which); }

}  // namespace

Test(scrutiny_names, are_asked_for_once) {
    for (const Case& each : k_cases) {
        KnowingRig rig;
        cr_assert(passes(rig.call(each.procedure, each.args("mine", k_mine))));
        cr_assert_eq(rig.questions, 1);
        const Ruling again = rig.start(each.procedure, each.args("mine", k_mine), 2);
        cr_assert(passes(again), "%s", std::string(each.procedure).c_str());
        cr_assert(again.frame.empty(), "the client's own bytes go on");
        cr_assert(!rig.scrutiny.is_asking());
        cr_assert_eq(rig.questions, 1);
        // Only that one.
        cr_assert_eq(rig.start(each.procedure, each.args("seen", k_seen), 3).kind, Ruling::Kind::ask);
    }
}

// Whoever the client says that it is about: what is known is the daemon's word, and the ruling is the same.
Test(scrutiny_names, change_no_ruling) {
    for (const Case& each : k_cases)
        for (const std::string_view said : {"mine", "seen", "theirs", "nobody", ""})
            for (const Uuid& which : {k_mine, k_seen, k_theirs, k_nobody}) {
                const ByteVector args = each.args(said, which);
                Rig asking;
                KnowingRig knowing;
                knowing.names.know(each.kind);
                const Ruling asked = asking.call(each.procedure, args);
                const Ruling known = knowing.call(each.procedure, args);
                cr_assert_eq(asked.kind, known.kind, "%s", std::string(each.procedure).c_str());
                cr_assert(asked.error == known.error);
                cr_assert_str_eq(asked.log.c_str(), known.log.c_str());
                cr_assert(asked.frame == known.frame);
                const bool may_see = which == k_mine || which == k_seen;
                cr_assert_eq(knowing.questions, may_see ? 0 : 1);
                cr_assert_eq(asking.questions, 1);
            }
}

// A refusal without a round trip would tell that there is something.
Test(scrutiny_names, of_what_is_hidden_are_asked_for_each_time) {
    KnowingRig rig;
    for (std::uint32_t serial = 1; serial < 5; ++serial) {
        const Ruling hidden = rig.call("domain_destroy", destroy(k_theirs), serial);
        const Ruling absent = rig.call("domain_destroy", destroy(k_nobody), serial);
        cr_assert_eq(hidden.error.code, 42);
        cr_assert_eq(absent.error.code, 42);
        cr_assert_eq(rig.questions, 2 * serial);
    }
    cr_assert(rig.names.names.empty());
    cr_assert_eq(rig.names.learnt, 0);
}

Test(scrutiny_names, that_rights_do_not_cover_any_more_are_asked_for) {
    KnowingRig rig;
    cr_assert(passes(rig.call("domain_destroy", destroy(k_mine))));
    rig.scrutiny.set_rights(rights({on(grant_all_calls(), "seen")}), false);
    cr_assert_eq(rig.call("domain_destroy", destroy(k_mine), 2).error.code, 42);
    cr_assert_eq(rig.questions, 2);
}

// The name changed while the daemon was asked: the answer may be of before.
Test(scrutiny_names, are_learnt_in_the_epoch_of_the_question) {
    KnowingRig rig;
    const Ruling ruling = rig.start("domain_destroy", destroy(k_mine));
    ++rig.names.now;
    cr_assert(passes(rig.answer(ruling).ruling), "for this call the answer is as good as ever");
    cr_assert_eq(rig.names.learnt, 1);
    cr_assert(rig.names.names.empty());
    cr_assert(passes(rig.call("domain_destroy", destroy(k_mine), 2)));
    cr_assert_eq(rig.questions, 2);
    cr_assert_eq(rig.names.names.size(), 1);
}

Test(scrutiny_names, are_not_learnt_from_wrong_answers) {
    KnowingRig rig;
    Ruling ruling = rig.start("domain_destroy", destroy(k_mine));
    rpc::Header asked = rpc::reply_to(rpc::read_header(ruling.frame.data()));
    ByteVector other = encode(remote::DomainLookupByUuidRet{domain("mine", k_seen)});
    cr_assert_eq(rig.scrutiny.on_frame(asked, other, rig.is_used).ruling.kind, Ruling::Kind::refuse);
    ruling = rig.start("domain_destroy", destroy(k_mine));
    asked = rpc::reply_to(rpc::read_header(ruling.frame.data()));
    ByteVector broken(7);
    cr_assert_eq(rig.scrutiny.on_frame(asked, broken, rig.is_used).ruling.kind, Ruling::Kind::refuse);
    ruling = rig.start("domain_destroy", destroy(k_mine));
    asked = rpc::reply_to(rpc::read_header(ruling.frame.data()), rpc::Status::error);
    ByteVector failed = rpc::make_error_payload(38, "no");
    cr_assert_eq(rig.scrutiny.on_frame(asked, failed, rig.is_used).ruling.kind, Ruling::Kind::refuse);
    cr_assert_eq(rig.names.learnt, 0);
}

// The test driver goes by the names of networks and pools, and a binding has no uuid.
Test(scrutiny_names, are_of_uuids_only) {
    KnowingRig rig;
    rig.names.know(ObjectKind::network);
    rig.scrutiny.set_driver(Driver::test);
    cr_assert(passes(rig.call("network_destroy", k_cases[3].args("mine", k_theirs))));
    cr_assert_eq(rig.questions, 1);
    rig.scrutiny.set_driver(Driver::qemu);
    const ByteVector binding = encode(remote::NwfilterBindingDeleteArgs{{"port-mine", "theirs"}});
    cr_assert(passes(rig.call("nwfilter_binding_delete", binding)));
    cr_assert_eq(rig.questions, 2);
    cr_assert_eq(rig.names.learnt, 0);
    cr_assert_eq(rig.names.looked, 0);
}

Test(scrutiny_names, can_be_taken_away) {
    KnowingRig rig;
    rig.names.know(ObjectKind::domain);
    cr_assert(passes(rig.start("domain_destroy", destroy(k_mine))));
    rig.scrutiny.set_names(nullptr);
    cr_assert(passes(rig.call("domain_destroy", destroy(k_mine), 2)));
    cr_assert_eq(rig.questions, 1);
}
