// SPDX-License-Identifier: LGPL-2.1-or-later
// filter - replies and events without what the client may not see.
#include "workerd/worker/filter.h"

#include <algorithm>

#include "libshared/xdr/reader.h"
#include "proto/prune.h"

namespace virtgate::workerd::worker {

namespace {

using proto::ProcedureInfo;
using proto::layout::k_none;

// node_device_list_max and interface_list_max of remote.x
constexpr std::uint32_t k_devices_max = 65536;
constexpr std::uint32_t k_interfaces_max = 16384;
constexpr std::uint32_t k_string_max = 4 << 20;

// Judges an object as read from a payload. The pool of a volume is `pool` unless that is empty: libvirt may
// repeat what the client called it.
bool is_seen(Shape shape, Named& named, std::string_view pool, std::string& text, const Sight& sight) {
    if (shape == Shape::volume && !pool.empty()) {
        text.assign(pool).append(1, '/').append(named.own_name);
        named.object.name = text;
    }
    if (shape == Shape::binding) named.object.uuid = sight.nwfilter_uuid(named.object.name);
    return sight.sees(named.object);
}

// An object in a list of names.
std::optional<Named> read_name(Shape shape, ByteView bytes) noexcept {
    xdr::Reader reader(bytes);
    Named named;
    named.object.kind = kind_of(shape);
    named.object.name = named.own_name = reader.string(k_string_max);
    if (!reader.ok()) return std::nullopt;
    return named;
}

// Keeps what is seen; an object that cannot be read is not.
class SightKeeper final : public proto::Keeper {
public:
    SightKeeper(Shape shape, std::string_view pool, const Sight& sight) noexcept
        : shape_(shape), pool_(pool), sight_(sight) {}

    bool keeps(ByteView object) noexcept override {
        auto named = read_object(shape_, object, text_);
        return named && is_seen(shape_, *named, pool_, text_, sight_);
    }

private:
    Shape shape_;
    std::string_view pool_;
    const Sight& sight_;
    std::string text_;
};

void append_be32(ByteVector& to, std::uint32_t word) {
    to.resize(to.size() + 4);
    store_be32(to.data() + to.size() - 4, word);
}

void append_string(ByteVector& to, std::string_view text) {
    append_be32(to, static_cast<std::uint32_t>(text.size()));
    const ByteView bytes = as_bytes(text);
    to.insert(to.end(), bytes.begin(), bytes.end());
    to.resize(xdr::padded(to.size()));
}

// Where a word that is a field of a structure lies in its value. The field before it may be of any length.
std::optional<std::uint32_t> word_at(const proto::Schema& schema, proto::TypeIndex type, ByteView value,
                                     std::uint32_t field) noexcept {
    const std::uint32_t step[] = {field};
    const proto::Found found = locate(schema, type, value, step, {});
    if (!found.present || value.size() - found.offset < 4) return std::nullopt;
    return found.offset;
}

Filtered broken() { return {}; }

Filtered payload(ByteView bytes) {
    Filtered filtered;
    filtered.kind = Filtered::Kind::payload;
    filtered.payload = bytes;
    return filtered;
}

}  // namespace

std::optional<ReplyFilter> ReplyFilter::make(const ReplyRules& rules, const ProcedureInfo& procedure,
                                             ByteView args, std::span<const policy::Object> called,
                                             Driver driver, const Sight& sight) {
    const ReplyRule& rule = rules.of(procedure);
    if (rule.action == ReplyAction::nothing) return std::nullopt;
    if (rule.action != ReplyAction::withhold && sight.sees_all(kind_of(rule.shape))) return std::nullopt;
    ReplyFilter filter(rules, rule, driver);
    filter.ask_for_ = &procedure;
    for (const policy::Object& object : called)
        if (object.kind == policy::ObjectKind::pool) filter.pool_ = object.name;
    // The arguments are not what their type says, so nobody knows what the reply is about: finish() withholds
    // it.
    static const ReplyRule k_withhold = [] {
        ReplyRule withhold;
        withhold.action = ReplyAction::withhold;
        return withhold;
    }();
    if (!filter.prepare(procedure, args)) filter.rule_ = &k_withhold;
    return filter;
}

bool ReplyFilter::prepare(const ProcedureInfo& procedure, ByteView args) {
    switch (rule_->action) {
        case ReplyAction::prune: {
            if (rule_->need_results == k_none) return true;
            const auto at = word_at(rules_->program().schema, procedure.args, args, rule_->need_results);
            if (!at) return false;
            // A reply with the number alone says nothing of whose number it is: take the list and count.
            only_count_ = load_be32(args.data() + *at) == 0;
            if (!only_count_) return true;
            args_.assign(args.begin(), args.end());
            store_be32(args_.data() + *at, 1);
            return true;
        }
        case ReplyAction::ask: return prepare_ask(procedure, args);
        case ReplyAction::single: return prepare_single(procedure, args);
        case ReplyAction::nothing:
        case ReplyAction::parent:
        case ReplyAction::withhold: return true;
    }
    return false;
}

bool ReplyFilter::prepare_ask(const ProcedureInfo& procedure, ByteView args) {
    const proto::Schema& schema = rules_->program().schema;
    // The daemon is asked for everything: the first that it would choose may all be hidden.
    if (rule_->limit != k_none) {
        const auto at = word_at(schema, procedure.args, args, rule_->limit);
        if (!at) return false;
        limit_ = load_be32(args.data() + *at);
    }
    ask_for_ = rule_->instead;
    switch (rule_->arguments) {
        case Arguments::none: return false;
        case Arguments::list_all: break;
        case Arguments::names: append_be32(args_, k_interfaces_max); return true;
        case Arguments::volumes: {
            // The pool is the first argument of all calls about volumes.
            const std::uint32_t first[] = {0};
            const proto::Found pool = locate(schema, procedure.args, args, first, {});
            const std::uint32_t end =
                pool.present ? end_of(schema, pool.type, args, pool.offset) : proto::k_no_end;
            if (end == proto::k_no_end) return false;
            args_.assign(args.begin(), args.begin() + end);
            break;
        }
        case Arguments::devices: {
            // The capability comes first and the flags last, with or without the number of names between
            // them.
            if (args.size() < 8) return false;
            const std::size_t behind = rule_->limit != k_none ? 8 : 4;
            args_.assign(args.begin(), args.end() - static_cast<std::ptrdiff_t>(behind));
            append_be32(args_, k_devices_max);
            args_.insert(args_.end(), args.end() - 4, args.end());
            return true;
        }
    }
    append_be32(args_, 1);
    append_be32(args_, rule_->flags);
    return true;
}

// Keeps what the object is looked up by, in the form in which libvirt's error repeats it.
bool ReplyFilter::prepare_single(const ProcedureInfo& procedure, ByteView args) {
    if (rule_->by == By::wwn) return true;
    const proto::Found found = locate(rules_->program().schema, procedure.args, args, rule_->key, {});
    if (!found.present) return false;
    xdr::Reader reader(args.subspan(found.offset));
    if (rule_->by == By::uuid) {
        policy::Uuid uuid;
        reader.fixed_opaque(uuid);
        key_ = to_text(uuid);
    } else if (rule_->by == By::id) {
        key_ = std::to_string(reader.i32());
    } else {
        key_ = reader.string(k_string_max);
    }
    return reader.ok();
}

Filtered ReplyFilter::finish(MutableBytes reply, const Sight& sight) {
    switch (rule_->action) {
        case ReplyAction::prune: return finish_prune(reply, sight);
        case ReplyAction::ask: return finish_ask(reply, sight);
        case ReplyAction::single: return finish_single(reply, sight);
        case ReplyAction::parent: return finish_parent(reply, sight);
        case ReplyAction::nothing:
        case ReplyAction::withhold: return broken();
    }
    return broken();
}

Filtered ReplyFilter::finish_prune(MutableBytes reply, const Sight& sight) {
    SightKeeper keeper(rule_->shape, pool_, sight);
    const proto::Schema& schema = rules_->program().schema;
    const proto::Pruned pruned =
        prune(schema, ask_for_->ret, reply, rule_->steps, rule_->count_field, keeper);
    if (!pruned.ok) return broken();
    if (!only_count_) return payload(reply.first(pruned.size));
    // Without a list: an empty array, and the number. All of these replies are just that.
    append_be32(made_, 0);
    append_be32(made_, pruned.kept);
    return payload(made_);
}

Filtered ReplyFilter::finish_ask(ByteView reply, const Sight& sight) {
    const proto::Schema& schema = rules_->program().schema;
    proto::Elements elements(schema, ask_for_->ret, reply, rule_->steps);
    std::uint32_t seen = 0;
    std::string text;
    append_be32(made_, 0);
    for (ByteView element; elements.next(element);) {
        const proto::Found place = locate(schema, elements.type(), element, elements.inner(), {});
        if (!place.present) return broken();
        const ByteView object = element.subspan(place.offset);
        auto named =
            rule_->bare_names ? read_name(rule_->shape, object) : read_object(rule_->shape, object, text);
        if (!named) return broken();
        if (!is_seen(rule_->shape, *named, pool_, text, sight)) continue;
        if (rule_->extract != Extract::count && seen == limit_) continue;
        ++seen;
        put(*named);
    }
    if (!elements.ok()) return broken();
    store_be32(made_.data(), seen);
    return payload(made_);
}

void ReplyFilter::put(const Named& named) {
    switch (rule_->extract) {
        case Extract::count: return;
        case Extract::names: return append_string(made_, named.own_name);
        // In the reply they are text, in the list that it is made of they are bytes.
        case Extract::uuids: return append_string(made_, to_text(named.object.uuid.value_or(policy::Uuid{})));
        case Extract::ids: return append_be32(made_, static_cast<std::uint32_t>(named.id));
    }
}

Filtered ReplyFilter::finish_single(ByteView reply, const Sight& sight) {
    const proto::Found found = locate(rules_->program().schema, ask_for_->ret, reply, rule_->steps, {});
    if (!found.present) return broken();
    std::string text;
    auto named = read_object(rule_->shape, reply.subspan(found.offset), text);
    if (!named) return broken();
    if (is_seen(rule_->shape, *named, pool_, text, sight)) return payload(reply);
    Filtered filtered;
    filtered.kind = Filtered::Kind::error;
    filtered.error = not_found(driver_, rule_->shape, rule_->by, key_);
    return filtered;
}

// A device without a parent is an ordinary thing; an error would say that there is one.
Filtered ReplyFilter::finish_parent(ByteView reply, const Sight& sight) {
    xdr::Reader reader(reply);
    if (!reader.boolean()) return reader.ok() ? payload(reply) : broken();
    const policy::Object parent{policy::ObjectKind::nodedev, reader.string(k_string_max), {}};
    if (reader.close() != proto::Flaw::none) return broken();
    if (sight.sees(parent)) return payload(reply);
    append_be32(made_, 0);
    return payload(made_);
}

bool may_pass(const proto::ProgramInfo& program, const ProcedureInfo& event, ByteView payload,
              const Sight& sight) {
    // The daemon's backend is gone: of interest to everybody.
    if (event.objects.empty()) return event.name == "connect_event_connection_closed";
    std::string text;
    for (const proto::ObjectPlace& place : event.objects) {
        const auto shape = shape_of(place.object);
        // No event of libvirt has a list of objects; one that a newer schema brings is not judged by its
        // first.
        if (!shape || place.list) return false;
        // The most frequent case, without a look into the payload.
        if (sight.sees_all(kind_of(*shape))) continue;
        const proto::Found found = locate(program.schema, event.args, payload, place.steps, {});
        if (!found.present) return false;
        auto named = read_object(*shape, payload.subspan(found.offset), text);
        if (!named || !is_seen(*shape, *named, {}, text, sight)) return false;
    }
    return true;
}

}  // namespace virtgate::workerd::worker
