// SPDX-License-Identifier: LGPL-2.1-or-later
// scrutiny - judges the calls of a client whose rights have limits, and what the daemon answers.
#include "workerd/worker/scrutiny.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "libshared/base/result.h"
#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "proto/programs.h"
#include "workerd/worker/claims.h"
#include "workerd/worker/filter.h"
#include "workerd/worker/filter_redact.h"
#include "workerd/worker/open_calls.h"

namespace virtgate::workerd::worker {

using policy::Decision;
using policy::Object;
using policy::ObjectKind;
using policy::Reason;
using policy::Rights;
using proto::ProcedureInfo;
using proto::ProgramInfo;

namespace {

// Clients count from 1 and have not come here in a connection's life; is_used() tells if one has.
constexpr std::uint32_t k_first_serial = 0x80000000;

// The programs that rights know.
const ReplyRules* rules_of(const ProgramInfo& program) {
    static const ReplyRules remote(proto::remote_program());
    static const ReplyRules qemu(proto::qemu_program());
    static const ReplyRules lxc(proto::lxc_program());
    for (const ReplyRules* rules : {&remote, &qemu, &lxc})
        if (&rules->program() == &program) return rules;
    return nullptr;
}

// A list that tells more of its objects than that they are there.
bool tells_more(const ProcedureInfo& procedure) noexcept {
    return !procedure.returns.empty() && procedure.returns.front().list &&
           !procedure.returns.front().path.ends_with("[]");
}

// A look-up is judged by what it finds.
bool is_lookup(const ReplyRule& rule, const ProcedureInfo& procedure) noexcept {
    return rule.action == ReplyAction::single && procedure.objects.empty();
}

// True if one grant allows the procedure on all objects of the kind without conditions.
bool is_open_to(const Rights& rights, const ProgramInfo& program, const ProcedureInfo& procedure,
                ObjectKind kind) {
    const auto grants = rights.grants();
    return std::any_of(grants.begin(), grants.end(), [&](const proto::policy::Grant& grant) {
        return !grant.shadow && grant.listeners.empty() && !grant.not_before && !grant.not_after &&
               grant.conditions.empty() && policy::has(grant.may, program, procedure.number) &&
               (policy::open_kinds(grant) & bit(kind)) != 0;
    });
}

// What the identity may see in the reply to a call.
class RightsSight final : public Sight {
public:
    explicit RightsSight(const Rights& rights) noexcept : rights_(rights) {}
    RightsSight(const Rights& rights, const ProgramInfo& program, const ProcedureInfo& procedure,
                std::uint64_t flags) noexcept
        : rights_(rights), program_(&program), flags_(flags) {
        if (tells_more(procedure)) procedure_ = &procedure;
    }

    bool sees_all(ObjectKind kind) const noexcept override {
        return rights_.sees_all(kind) &&
               (procedure_ == nullptr || is_open_to(rights_, *program_, *procedure_, kind));
    }
    bool sees(const Object& object) const noexcept override {
        return rights_.sees(object) &&
               (procedure_ == nullptr || rights_.judge(*program_, *procedure_, flags_, {&object, 1}).allowed);
    }
    // Not known, so that a grant about a filter's uuid says nothing about its bindings.
    std::optional<policy::Uuid> nwfilter_uuid(std::string_view) const noexcept override {
        return std::nullopt;
    }

private:
    const Rights& rights_;
    const ProgramInfo* program_ = nullptr;
    const ProcedureInfo* procedure_ = nullptr;
    std::uint64_t flags_ = 0;
};

proto::net::Error make_error(int code, int domain, std::string_view text) {
    proto::net::Error error;
    error.code = code;
    error.domain = domain;
    error.level = 2;
    error.message = error.str2 = std::string(text);
    error.str1 = "%s";
    error.int1 = error.int2 = -1;
    return error;
}

Scrutiny::Ruling refuse(proto::net::Error error, std::string log) {
    Scrutiny::Ruling ruling;
    ruling.error = std::move(error);
    ruling.log = std::move(log);
    return ruling;
}

Scrutiny::Ruling pass(ByteVector frame = {}) {
    Scrutiny::Ruling ruling;
    ruling.kind = Scrutiny::Ruling::Kind::pass;
    ruling.frame = std::move(frame);
    return ruling;
}

std::string words_of(const Decision& decision, const ProcedureInfo& procedure) {
    const std::string_view name = procedure.name;
    switch (decision.reason) {
        case Reason::denied_by_rule:
            return decision.grant != nullptr
                       ? fmt::format("role \"{}\" denies {}", decision.grant->role, name)
                       : fmt::format("a rule denies {}", name);
        case Reason::object: return fmt::format("no role allows {} on this object", name);
        case Reason::flag: return fmt::format("no role allows {} with these flags", name);
        case Reason::hard_denied: return fmt::format("nobody may call {}", name);
        case Reason::limit: return fmt::format("a limit does not allow {}", name);
        case Reason::constraint: return fmt::format("no role allows {} at this time", name);
        case Reason::no_binding:
        case Reason::allowed: break;
    }
    return fmt::format("no role allows {}", name);
}

std::string log_of(const Decision& decision, const ProcedureInfo& procedure) {
    std::string text = fmt::format("{}: {}", procedure.name, to_text(decision.reason));
    if (decision.grant != nullptr)
        text += fmt::format(", role {} at {}:{}", decision.grant->role, decision.grant->file,
                            decision.grant->line);
    return text;
}

proto::net::Error denial(const Decision& decision, const ProcedureInfo& procedure) {
    return make_error(rpc::k_code_access_denied, rpc::k_domain_access,
                      "access denied: " + words_of(decision, procedure));
}

Scrutiny::Ruling refuse(const Decision& decision, const ProcedureInfo& procedure) {
    return refuse(denial(decision, procedure), log_of(decision, procedure));
}

ByteVector error_frame(const rpc::Header& call, const proto::net::Error& error) {
    const auto payload = proto::encode(error);
    require(payload.has_value(), "an error does not encode");
    return rpc::make_frame(rpc::reply_to(call, rpc::Status::error), *payload);
}

// No pool has a slash in its name; the part behind it must not pass for a volume's.
bool is_crooked(const Claim& claim) noexcept { return claim.pool.find('/') != std::string::npos; }

bool is_seen(const Rights& rights, const Claim& claim) noexcept {
    return !claim.shape || (!is_crooked(claim) && rights.sees(claim.object()));
}

proto::net::Error not_there(const Rights& rights, Driver driver, const Claim& claim) {
    const bool has_pool = claim.pool.empty() || rights.sees({ObjectKind::pool, claim.pool, {}});
    return not_there(driver, claim, has_pool);
}

std::vector<Object> objects_of(const Claims& claims) {
    std::vector<Object> objects;
    objects.reserve(claims.list.size() + 1);
    for (const Claim& claim : claims.list) {
        objects.push_back(claim.object());
        // The domain keeps its uuid under its new name.
        if (!claim.shape && claim.kind == ObjectKind::domain) objects.back().uuid = objects.front().uuid;
    }
    return objects;
}

}  // namespace

// A call that is being looked at.
struct Scrutiny::Held {
    rpc::Header call;
    const ProgramInfo* program;
    const ProcedureInfo* procedure;
    const ReplyRule* rule;
    std::shared_ptr<const Rights> rights;
    Rights::Need need;
    std::uint64_t flags = 0;
    bool must_look = false;  // at the objects, for the reply
    Claims claims{};
    std::size_t at = 0;  // the claim that is in question
    rpc::Header question{};
    ByteVector frame{};

    [[nodiscard]] bool judges_objects() const noexcept {
        return need == Rights::Need::objects && !is_lookup(*rule, *procedure);
    }
    [[nodiscard]] Decision judge(std::span<const Object> objects, policy::KindMask unknown) const noexcept {
        return rights->judge(*program, *procedure, flags, objects, unknown);
    }
};

// A call that the daemon has, whose reply is wanted.
struct Scrutiny::Open {
    rpc::Header call;
    const ProgramInfo* program;
    const ProcedureInfo* procedure;
    const ProcedureInfo* asked;
    const ReplyRule* rule;
    std::shared_ptr<const Rights> rights;
    std::uint64_t flags = 0;
    std::optional<ReplyFilter> filter{};
    bool judges_reply = false;
    bool redacts = false;
};

Scrutiny::Scrutiny(std::shared_ptr<const Rights> rights) : serial_(k_first_serial) {
    set_rights(std::move(rights));
}
Scrutiny::~Scrutiny() = default;

void Scrutiny::set_rights(std::shared_ptr<const Rights> rights) noexcept {
    require(rights != nullptr, "a session without rights");
    rights_ = std::move(rights);
    is_idle_ = find_idle();
}

void Scrutiny::forget_all() noexcept {
    held_.reset();
    open_.clear();
}

// Nothing depends on objects or flags, nothing is hidden in replies to calls that are allowed, and no event that is
// allowed, or that nobody is allowed to ask for, is about something hidden.
bool Scrutiny::find_idle() const noexcept {
    const Rights& rights = *rights_;
    for (const std::string_view permission : {"domain:read_secure", "secret:read_secure"})
        if (rights.redacts(permission)) return false;
    for (const ProgramInfo* program :
         {&proto::remote_program(), &proto::qemu_program(), &proto::lxc_program()})
        for (const ProcedureInfo& procedure : program->procedures()) {
            if (procedure.kind == ProcedureInfo::Kind::event) {
                if (!rights.may_event(*program, procedure)) {
                    if (policy::is_passthrough(*program, procedure)) continue;
                    return false;
                }
                for (const proto::ObjectPlace& place : procedure.objects) {
                    const auto kind = policy::kind_of(place.object);
                    if (!kind || !rights.sees_all(*kind)) return false;
                }
                continue;
            }
            const Rights::Need need = rights.need(*program, procedure);
            if (need == Rights::Need::refused) continue;
            if (need != Rights::Need::allowed) return false;
            const ReplyRule& rule = rules_of(*program)->of(procedure);
            if (rule.action == ReplyAction::nothing) continue;
            const RightsSight sight(rights, *program, procedure, 0);
            if (rule.action == ReplyAction::withhold || !sight.sees_all(kind_of(rule.shape))) return false;
        }
    return true;
}

Scrutiny::Ruling Scrutiny::on_call(const rpc::Header& call, const ProgramInfo& program,
                                   const ProcedureInfo& procedure, MutableBytes payload,
                                   const IsUsed& is_used) {
    require(!held_, "a call while another is held");
    const auto in_use = [&] {
        return refuse(
            make_error(rpc::k_code_rpc, rpc::k_domain_rpc, "this serial is in use by a call that is open"),
            fmt::format("{}: its serial is in use", procedure.name));
    };
    if (!open_.empty() && open_.contains(key_of(call))) return in_use();
    const Rights::Need need = rights_->need(program, procedure);
    const ReplyRules* rules = rules_of(program);
    if (need == Rights::Need::refused || rules == nullptr) {
        Decision decision = rights_->judge(program, procedure, 0, {});
        if (decision.allowed) decision = {};
        return refuse(decision, procedure);
    }
    const ReplyRule& rule = rules->of(procedure);
    const Secrets secrets = secrets_of(program, procedure);
    const bool filters = rule.action != ReplyAction::nothing &&
                         (rule.action == ReplyAction::withhold ||
                          !RightsSight(*rights_, program, procedure, 0).sees_all(kind_of(rule.shape)));
    const bool redacts = secrets.where != Secrets::Where::nowhere && rights_->redacts(secrets.permission);
    if (need == Rights::Need::allowed && !filters && !redacts) return pass();
    if (open_.size() >= OpenCalls::k_calls_max)
        return refuse(make_error(rpc::k_code_resource_busy, rpc::k_domain_rpc, "too many calls are open"),
                      fmt::format("{}: too many calls are open", procedure.name));

    Held held{.call = call,
              .program = &program,
              .procedure = &procedure,
              .rule = &rule,
              .rights = rights_,
              .need = need,
              .flags = read_flags(program, procedure, payload),
              .must_look = filters || redacts};
    // What is allowed, or not, whatever it is about need not be asked for.
    if (!held.judges_objects()) {
        const bool later = is_lookup(rule, procedure) && need == Rights::Need::objects;
        const Decision decision =
            need == Rights::Need::allowed || later ? Decision{.allowed = true} : held.judge({}, 0);
        if (!decision.allowed) return refuse(decision, procedure);
        if (!held.must_look) return later ? watch(held, payload, is_used) : pass();
    }
    held.claims = read_claims(program, procedure, payload, driver_);
    const auto& list = held.claims.list;
    if (std::none_of(list.begin(), list.end(), [](const Claim& claim) { return claim.question != nullptr; }))
        return decide(held, payload, is_used);
    held.frame = rpc::make_frame(call, payload);
    held_ = std::make_unique<Held>(std::move(held));
    Ruling ruling = ask(is_used);
    if (ruling.kind != Ruling::Kind::ask) held_.reset();
    return ruling;
}

// Asks about the claim at hand, or the next that has a question; without one, decides.
Scrutiny::Ruling Scrutiny::ask(const IsUsed& is_used) {
    Held& held = *held_;
    const auto& list = held.claims.list;
    for (; held.at < list.size() && list[held.at].question == nullptr; ++held.at)
        if (held.judges_objects() && !is_seen(*held.rights, list[held.at]))
            return refuse(not_there(*held.rights, driver_, list[held.at]),
                          fmt::format("{}: object (hidden)", held.procedure->name));
    if (held.at == list.size()) return decide(held, ByteView(held.frame).subspan(rpc::k_frame_min), is_used);
    const ProgramInfo& remote = proto::remote_program();
    do {
        held.question = {.program = remote.number,
                         .version = remote.version,
                         .procedure = list[held.at].question->number,
                         .type = rpc::Type::call,
                         .serial = serial_++};
    } while (is_used(held.question) || open_.contains(key_of(held.question)));
    Ruling ruling;
    ruling.kind = Ruling::Kind::ask;
    ruling.frame = rpc::make_frame(held.question, make_question(list[held.at]));
    return ruling;
}

// Rules on a call whose objects are known.
Scrutiny::Ruling Scrutiny::decide(const Held& held, ByteView payload, const IsUsed& is_used) {
    const Rights& rights = *held.rights;
    const Claims& claims = held.claims;
    const std::vector<Object> objects = objects_of(claims);
    if (held.judges_objects()) {
        Decision decision = held.judge(objects, claims.unknown);
        if (std::any_of(claims.list.begin(), claims.list.end(), is_crooked))
            decision = {.allowed = false, .reason = Reason::object};
        if (!decision.allowed) {
            for (const Claim& claim : claims.list)
                if (!is_seen(rights, claim))
                    return refuse(not_there(rights, driver_, claim),
                                  fmt::format("{} (hidden)", log_of(decision, *held.procedure)));
            return refuse(decision, *held.procedure);
        }
    }
    return watch(held, payload, is_used);
}

// Passes a call that is allowed, and notes what has to be done with its reply.
Scrutiny::Ruling Scrutiny::watch(const Held& held, ByteView payload, const IsUsed& is_used) {
    const Rights& rights = *held.rights;
    const std::vector<Object> objects = objects_of(held.claims);
    const Secrets secrets = secrets_of(*held.program, *held.procedure);
    bool redacts = false;
    if (secrets.where != Secrets::Where::nowhere) {
        redacts = objects.empty() || held.claims.unknown != 0
                      ? rights.redacts(secrets.permission)
                      : std::any_of(objects.begin(), objects.end(), [&](const Object& object) {
                            return rights.redacts(secrets.permission, object);
                        });
        if (redacts && secrets.where == Secrets::Where::in_use)
            return refuse(make_error(rpc::k_code_access_denied, rpc::k_domain_access,
                                     fmt::format("access denied: {} gives away what a role redacts",
                                                 held.procedure->name)),
                          fmt::format("{}: deny-rule, redacted", held.procedure->name));
    }
    Open open{.call = held.call,
              .program = held.program,
              .procedure = held.procedure,
              .asked = held.procedure,
              .rule = held.rule,
              .rights = held.rights,
              .flags = held.flags,
              .judges_reply = held.need == Rights::Need::objects && is_lookup(*held.rule, *held.procedure),
              .redacts = redacts};
    const RightsSight sight(rights, *held.program, *held.procedure, held.flags);
    open.filter =
        ReplyFilter::make(*rules_of(*held.program), *held.procedure, payload, objects, driver_, sight);
    if (!open.filter && !open.redacts && !open.judges_reply) return pass();
    rpc::Header header = held.call;
    ByteVector frame;
    if (open.filter) {
        open.asked = &open.filter->ask_for();
        header.procedure = open.asked->number;
        if (open.filter->changes_args()) frame = rpc::make_frame(header, open.filter->args());
    }
    // Replies come in any order: two open calls of one name could not be told apart.
    if (is_used(header) || open_.contains(key_of(header)))
        return refuse(
            make_error(rpc::k_code_rpc, rpc::k_domain_rpc, "this serial is in use by a call that is open"),
            fmt::format("{}: its serial is in use", held.procedure->name));
    open_.emplace(key_of(header), std::make_unique<Open>(std::move(open)));
    return pass(std::move(frame));
}

bool Scrutiny::wants(const rpc::Header& header) const noexcept {
    if (header.type == rpc::Type::reply)
        return (held_ && key_of(held_->question) == key_of(header)) ||
               (!open_.empty() && open_.contains(key_of(header)));
    if (header.type != rpc::Type::message) return false;
    const ProgramInfo* program = proto::find_program(header.program, header.version);
    const ProcedureInfo* event = program != nullptr ? program->find(header.procedure) : nullptr;
    if (event == nullptr || event->kind != ProcedureInfo::Kind::event) return false;
    if (!rights_->may_event(*program, *event)) return true;
    return std::any_of(event->objects.begin(), event->objects.end(), [&](const proto::ObjectPlace& place) {
        const auto kind = policy::kind_of(place.object);
        return !kind || !rights_->sees_all(*kind);
    });
}

Scrutiny::Outcome Scrutiny::on_frame(const rpc::Header& header, MutableBytes payload, const IsUsed& is_used) {
    if (header.type == rpc::Type::message) return on_event(header, payload);
    if (header.type != rpc::Type::reply) return {};
    if (held_ && key_of(held_->question) == key_of(header)) return on_answer(header, payload, is_used);
    const auto found = open_.find(key_of(header));
    if (found == open_.end()) return {};
    const std::unique_ptr<Open> open = std::move(found->second);
    open_.erase(found);
    return on_reply(header, payload, *open);
}

// The answer to a question about the held call.
Scrutiny::Outcome Scrutiny::on_answer(const rpc::Header& header, MutableBytes payload,
                                      const IsUsed& is_used) {
    Held& held = *held_;
    Claim& claim = held.claims.list[held.at];
    const std::string_view name = held.procedure->name;
    Outcome outcome{
        .kind = Outcome::Kind::resume, .frame = {}, .held = held.call, .held_frame = {}, .ruling = {}};
    if (header.status == rpc::Status::ok) {
        const proto::Verdict verdict =
            validate(proto::remote_program().schema, claim.question->ret, payload, proto::Extent::whole);
        if (verdict.flaw != proto::Flaw::none || !take_answer(claim, payload))
            outcome.ruling = refuse(make_error(rpc::k_code_internal, rpc::k_domain_rpc,
                                               "the libvirt daemon does not say what the call is about"),
                                    fmt::format("{}: a wrong answer of the daemon", name));
        else if (held.judges_objects() && !is_seen(*held.rights, claim))
            outcome.ruling =
                refuse(not_there(*held.rights, driver_, claim), fmt::format("{}: object (hidden)", name));
        else {
            ++held.at;
            outcome.ruling = ask(is_used);
        }
    } else if (rpc::read_error_code(payload) == claim.absent) {
        outcome.ruling =
            refuse(not_there(*held.rights, driver_, claim), fmt::format("{}: no such object", name));
    } else {
        // Nothing is known of the object. The reason, such as a driver that is not there, is the same for all of them.
        const auto error = proto::decode<proto::net::Error>(payload);
        outcome.ruling = refuse(error ? *error
                                      : make_error(rpc::k_code_internal, rpc::k_domain_rpc,
                                                   "the libvirt daemon does not say what the call is about"),
                                fmt::format("{}: the daemon does not know the object", name));
    }
    if (outcome.ruling.kind == Ruling::Kind::ask) return outcome;
    outcome.held_frame = std::move(held.frame);
    held_.reset();
    return outcome;
}

Scrutiny::Outcome Scrutiny::on_reply(const rpc::Header& header, MutableBytes payload, Open& open) {
    Outcome outcome;
    outcome.kind = Outcome::Kind::forward;
    if (header.status == rpc::Status::error) {
        outcome.frame = rpc::make_frame(rpc::reply_to(open.call, rpc::Status::error), payload);
        return outcome;
    }
    const auto withhold = [&] {
        outcome.frame = error_frame(open.call, make_error(rpc::k_code_internal, rpc::k_domain_rpc,
                                                          "the reply of the libvirt daemon cannot be shown"));
        return outcome;
    };
    const Rights& rights = *open.rights;
    const proto::Schema& schema = open.program->schema;
    const proto::Verdict verdict = validate(schema, open.asked->ret, payload, proto::Extent::whole);
    if (header.status != rpc::Status::ok || verdict.flaw != proto::Flaw::none) return withhold();
    ByteView result = payload;
    if (open.filter) {
        Filtered filtered =
            open.filter->finish(payload, RightsSight(rights, *open.program, *open.procedure, open.flags));
        if (filtered.kind == Filtered::Kind::broken) return withhold();
        if (filtered.kind == Filtered::Kind::error) {
            outcome.frame = error_frame(open.call, filtered.error);
            return outcome;
        }
        result = filtered.payload;
    }
    if (open.judges_reply) {
        const proto::Found found = locate(schema, open.asked->ret, result, open.rule->steps, {});
        std::string text;
        const auto named =
            found.present ? read_object(open.rule->shape, result.subspan(found.offset), text) : std::nullopt;
        if (!named) return withhold();
        const Decision decision =
            rights.judge(*open.program, *open.procedure, open.flags, {&named->object, 1});
        if (!decision.allowed) {
            outcome.frame = error_frame(open.call, denial(decision, *open.procedure));
            outcome.ruling.log = log_of(decision, *open.procedure);
            return outcome;
        }
    }
    ByteVector redacted;
    if (open.redacts) {
        const auto clean = redact_reply(result, redacted);
        if (!clean) return withhold();
        result = *clean;
    }
    outcome.frame = rpc::make_frame(rpc::reply_to(open.call), result);
    return outcome;
}

Scrutiny::Outcome Scrutiny::on_event(const rpc::Header& header, MutableBytes payload) const {
    const ProgramInfo* program = proto::find_program(header.program, header.version);
    const ProcedureInfo* event = program != nullptr ? program->find(header.procedure) : nullptr;
    if (event == nullptr || event->kind != ProcedureInfo::Kind::event || header.status != rpc::Status::ok ||
        !rights_->may_event(*program, *event))
        return {};
    const proto::Verdict verdict = validate(program->schema, event->args, payload, proto::Extent::whole);
    if (verdict.flaw != proto::Flaw::none || !may_pass(*program, *event, payload, RightsSight(*rights_)))
        return {};
    Outcome outcome;
    outcome.kind = Outcome::Kind::forward;
    outcome.frame = rpc::make_frame(header, payload);
    return outcome;
}

}  // namespace virtgate::workerd::worker
