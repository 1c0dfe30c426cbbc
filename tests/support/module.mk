# SPDX-License-Identifier: LGPL-2.1-or-later
# What several tests of proto share: payloads from schemas, and the list of all proto/*.x with their codecs.
LIBRARIES += prototest
prototest_RECODE  := $(patsubst proto/%.x,$(BUILD)/gen/test/%-recode.cc,$(wildcard proto/*.x))
prototest_SOURCES := tests/support/modules.cc tests/support/payload_json.cc tests/support/random_payload.cc \
                     $(prototest_RECODE)

GENERATED += $(BUILD)/gen/test/modules.def
$(BUILD)/gen/test/modules.def: $(wildcard proto/*.x)
	@mkdir -p $(@D)
	@printf 'MODULE(%s)\n' $(sort $(basename $(notdir $(wildcard proto/*.x)))) > $@

$(prototest_RECODE): $(BUILD)/gen/test/%-recode.cc: proto/%.x $(BUILD)/xdrgen
	@echo '  XDRGEN    $@'
	@$(BUILD)/xdrgen --recode $(@D) $<
