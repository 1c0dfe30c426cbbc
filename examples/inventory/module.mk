# SPDX-License-Identifier: LGPL-2.1-or-later
# Code from inventory.x for test-service, and the program for the tests that need one that runs. As somebody else builds it,
# tests/system/test_programs.py does it by docs/guides/programs.md, word for word.
LIBRARIES += inventory-proto
inventory-proto_SOURCES := $(BUILD)/gen/proto/inventory.cc
inventory-made := $(addprefix $(BUILD)/gen/proto/inventory,.h .cc .schema _client.h)
GENERATED += $(filter-out %.schema,$(inventory-made))
$(BUILD)/gen/stamp/example-inventory: examples/inventory/inventory.x $(BUILD)/xdrgen
	@echo '  XDRGEN    $<'
	@mkdir -p $(@D) $(BUILD)/gen/proto
	$(Q)$(BUILD)/xdrgen --out $(BUILD)/gen/proto $< && touch $@
$(inventory-made): $(BUILD)/gen/stamp/example-inventory ;

PROGRAMS += inventory
inventory_SOURCES   := examples/inventory/inventory.cc
inventory_LIBRARIES := inventory-proto service server confine spawn rpc channel loop proto xdr base
inventory_PACKAGES  := EVENT
