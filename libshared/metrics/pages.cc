// SPDX-License-Identifier: LGPL-2.1-or-later
// pages - answers to READ (proto/metrics.x), in parts that fit a message.
#include "libshared/metrics/pages.h"

#include "proto/codec.h"

namespace virtgate::metrics {

namespace wire = proto::metrics;

namespace {

// On the wire, with the padding of each text.
std::size_t size_of(const wire::Sample& sample) noexcept {
    constexpr std::size_t k_numbers = 16, k_text = 8;
    std::size_t size = k_numbers;
    for (const std::string& label : sample.labels) size += k_text + label.size();
    return size;
}

}  // namespace

std::optional<std::uint32_t> Pages::read_question(const rpc::Control::Message& message) {
    const auto call =
        rpc::make_call(wire::k_program, wire::k_version, wire::Procedure::read, message.header.serial);
    if (message.header != call) return std::nullopt;
    const auto arguments = proto::decode<wire::ReadArgs>(message.payload);
    if (!arguments) return std::nullopt;
    return arguments->after;
}

wire::ReadRet Pages::cut(const Samples& samples, std::size_t after) {
    wire::ReadRet ret{.samples = {}, .last = true};
    std::size_t size = 0;
    for (std::size_t at = after; at < samples.size(); ++at) {
        size += size_of(samples[at]);
        ret.last = size <= k_page && ret.samples.size() < wire::k_samples_max;
        if (!ret.last) break;
        ret.samples.push_back(samples[at]);
    }
    return ret;
}

Done Pages::answer(rpc::Control& control, const rpc::Header& call, std::uint32_t after) const {
    const auto payload = proto::encode(cut(samples_, after), rpc::Control::k_payload_max);
    require(payload.has_value(), "samples that do not fit their message");
    return control.send_reply(call, *payload);
}

}  // namespace virtgate::metrics
