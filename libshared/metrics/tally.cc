// SPDX-License-Identifier: LGPL-2.1-or-later
// tally - samples, added up.
#include "libshared/metrics/tally.h"

#include <algorithm>

namespace virtgate::metrics {

namespace {

std::vector<std::string> to_texts(std::initializer_list<std::string_view> labels) {
    std::vector<std::string> texts;
    for (const std::string_view label : labels)
        texts.emplace_back(label.substr(0, proto::metrics::k_label_text_max));
    return texts;
}

}  // namespace

std::uint64_t* Tally::place(Key key, bool& is_new) {
    const auto found = values_.find(key);
    is_new = found == values_.end();
    if (!is_new) return &found->second;
    if (values_.size() >= k_series_max) return nullptr;
    return &values_.emplace(std::move(key), 0).first->second;
}

void Tally::add(Family family, std::initializer_list<std::string_view> labels, std::uint64_t value) {
    bool is_new = false;
    if (auto* at = place({static_cast<std::uint32_t>(family), to_texts(labels)}, is_new)) *at += value;
}

void Tally::add(const proto::metrics::Sample& sample) {
    bool is_new = false;
    auto* at = place({sample.family, sample.labels}, is_new);
    if (at == nullptr) return;
    // When the first of several ends, no matter of whom.
    if (!is_new && sample.family == static_cast<std::uint32_t>(Family::certificate_expiry))
        *at = std::min(*at, sample.value);
    else
        *at += sample.value;
}

void Tally::set_least(Family family, std::initializer_list<std::string_view> labels, std::uint64_t value) {
    bool is_new = false;
    if (auto* at = place({static_cast<std::uint32_t>(family), to_texts(labels)}, is_new))
        *at = is_new ? value : std::min(*at, value);
}

Samples Tally::samples() const {
    Samples samples;
    samples.reserve(values_.size());
    for (const auto& [key, value] : values_)
        samples.push_back({.family = key.first, .labels = key.second, .value = value});
    return samples;
}

std::uint64_t Tally::value_of(Family family, std::initializer_list<std::string_view> labels) const {
    const auto found = values_.find({static_cast<std::uint32_t>(family), to_texts(labels)});
    return found != values_.end() ? found->second : 0;
}

Samples counters_of(Samples samples) {
    std::erase_if(samples, [](const auto& sample) {
        return sample.family >= catalogue().size() || catalogue()[sample.family].type != Type::counter;
    });
    return samples;
}

}  // namespace virtgate::metrics
